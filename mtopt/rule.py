"""Rules: how an aggregator decides, as a value that wrappers map to another."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mtopt.evaluation import Evaluation
from mtopt.options import is_traced

Memory = Any


class Solution(NamedTuple):
    """What a rule returns: weights, its memory, and the gradients to be weighted.

    Attributes:
      weights: w, ``[K]``, before the ``task_weights``; 0 for absent tasks.
      memory: what the rule remembers for the next step.
      gradients: whose :meth:`~mtopt.Evaluation.weighted_gradient` by w is the
        direction; the evaluation that the rule got, or one with other rows.
    """

    weights: Float[Array, " K"]
    memory: Memory
    gradients: Evaluation


class PenaltyGradient(NamedTuple):
    """The gradient of a penalty beside the losses.

    Attributes:
      representation: with respect to the representation; it goes back with the weighted
        loss, in one pass where that is one.
      heads: with respect to the tasks' own parameters.
    """

    representation: Any
    heads: Any


@dataclasses.dataclass(frozen=True)
class Rule:
    r"""How an aggregator decides: pure functions that init, solve and add penalties.

    :class:`mtopt.Aggregator` makes an optax transformation of it.

    .. math:: d = \sum_k w_k t_k g_k + \sum_i \nabla P_i

    A wrapper is a function from a rule to a rule: it maps the solution, the memory or
    the evaluation, and hands on the rest.

    Attributes:
      num_tasks: K, at least 1.
      init: the shared parameters to the memory before the first step.
      solve: ``(memory, evaluation) -> Solution``.
      heads: ``"weighted"``: a task's own parameters move along :math:`w_k t_k` times
        their gradient, as when the weighted loss is differentiated; ``"plain"``: along
        their gradient alone.
      reduction: how the weights hang on the number of present tasks, as a reduction of
        losses does: ``"mean"``: their sum is the same for any number of tasks;
        ``"sum"``: their mean is; ``"share"``: their sum times their number is, as for
        the largest of K losses times 1 / K; ``"none"``: each has a size of its own,
        whoever else is present. Who keeps weights for a step with other tasks reads it.
      gradients: from an evaluation to the one whose gradients are summed, where that
        takes no solve, so that weights may be kept from an earlier step; None for a
        rule that makes the rows it sums.
      one_sum: False for a rule whose direction has weights for more than one sum: no
        wrapper can replace them.
      any_rows: False for a rule that takes its rows for the gradients of the problem at
        the parameters, and perturbs these along them: no wrapper can hand it others.
      takes_logs: False for a rule that compares losses with others of the same unit:
        ``log_losses`` cannot stand around it.
      penalty: from an evaluation to the gradients of all penalties :math:`P_i`.
      after_step: ``(memory, evaluation, step) -> memory`` for a rule that learns from
        the step which its whole chain makes, or None.
      least_losses: the lowest losses that its formulas take, a number or ``[K]``: 0
        where it divides by losses, compares their ratios or takes logarithms; None: it
        takes any. A guarded step takes a loss below it for one that is not finite.
    """

    num_tasks: int
    init: Callable[[Any], Memory]
    solve: Callable[[Memory, Evaluation], Solution]
    heads: str
    reduction: str = "none"
    gradients: Callable[[Evaluation], Evaluation] | None = None
    one_sum: bool = True
    any_rows: bool = True
    takes_logs: bool = True
    penalty: Callable[[Evaluation], tuple[PenaltyGradient, ...]] = lambda _: ()
    after_step: Callable[[Memory, Evaluation, Any], Memory] | None = None
    least_losses: Any = None

    def replace(self, **changes: Any) -> "Rule":
        """This rule with other values in some fields."""
        return dataclasses.replace(self, **changes)

    def on(
        self, view: Callable[[Evaluation], Evaluation], *, least_losses: Any
    ) -> "Rule":
        """The same rule on a transformed evaluation, such as that of the log losses.

        Args:
          view: what it sees, such as the evaluation of the logarithms of the losses.
          least_losses: the lowest losses of which it can be shown that, or None.
        """
        solve, gradients, penalty = self.solve, self.gradients, self.penalty
        after_step = self.after_step
        return self.replace(
            solve=lambda memory, evaluation: solve(memory, view(evaluation)),
            gradients=gradients and (lambda evaluation: gradients(view(evaluation))),
            penalty=lambda evaluation: penalty(view(evaluation)),
            after_step=after_step
            and (lambda memory, seen, step: after_step(memory, view(seen), step)),
            least_losses=least_losses,
        )

    def remembering(
        self,
        init: Callable[[Memory, Any], Any],
        solve: Callable[[Any, Evaluation], Solution],
        **changes: Any,
    ) -> "Rule":
        """A rule around this one, whose memory holds this one's as ``inner``.

        Args:
          init: ``(memory of this rule, shared parameters) -> memory``, a NamedTuple
            with a field ``inner``.
          solve: as that of a rule, on such a memory.
          **changes: other fields of the new rule.
        """
        after_step = self.after_step

        def follow(memory: Any, evaluation: Evaluation, step: Any) -> Any:
            assert after_step is not None
            return memory._replace(inner=after_step(memory.inner, evaluation, step))

        own = {
            "init": lambda shared: init(self.init(shared), shared),
            "solve": solve,
            "after_step": follow if after_step is not None else None,
        }
        return self.replace(**{**own, **changes})


def greatest(first: Any, second: Any) -> Any:
    """The lowest losses that two parts of a method both take.

    Args:
      first: as ``least_losses`` of a :class:`Rule`.
      second: likewise.

    Example:
      >>> print(greatest(None, None), greatest(None, 0.0), greatest(0.0, np.ones(2)))
      None 0.0 [1. 1.]
    """
    if first is None or second is None:
        return second if first is None else first
    if is_traced((first, second)):
        return jnp.maximum(first, second)
    return np.maximum(first, second)
