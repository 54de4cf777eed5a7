"""``optax.chain`` whose members can see the update that leaves the whole chain."""

from typing import Any

import optax

from mtopt.evaluation import Evaluation


def chain(
    *transforms: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Chains transformations: per-task gradients in, one update out.

    It is ``optax.chain``, and hands every member an evaluation whose ``after`` is a
    function from the update that the member makes to the one that leaves the whole
    chain, learning rate, momentum and clipping included. A method that adapts by what
    the step does to the losses, such as FAMO, evaluates ``problem.losses(params +
    after(update))``. ``after`` changes no state; the chain then computes the same once
    more, which ``jit`` merges.

    Args:
      *transforms: transformations of per-task gradients, one aggregator, then ordinary
        optax. A chain may be a member of another one.

    Returns:
      A transformation whose state is the tuple of its members' states.

    Example:
      >>> import jax.numpy as jnp, mtopt
      >>> tx = mtopt.chain(mtopt.equal_weighting(2), optax.sgd(0.1))
      >>> params = jnp.zeros(2)
      >>> rows = jnp.array([[1., 0.], [3., 2.]])
      >>> updates, state = tx.update(rows, tx.init(params), params)
      >>> print(updates)
      [-0.2 -0.1]
    """
    members = [optax.with_extra_args_support(transform) for transform in transforms]

    def init(params: Any) -> tuple[Any, ...]:
        return tuple(member.init(params) for member in members)

    def update(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        evaluation: Evaluation | None = None,
        **extra: Any,
    ) -> tuple[Any, tuple[Any, ...]]:
        known = Evaluation() if evaluation is None else evaluation
        after = known.after or (lambda updates: updates)

        def run(index: int, updates: Any) -> tuple[Any, tuple[Any, ...]]:
            """The updates of the members from this one on, and their new states."""
            if index == len(members):
                return updates, ()

            def rest(own_updates: Any) -> Any:
                return after(run(index + 1, own_updates)[0])

            seen = known.replace(after=rest)
            updates, first = members[index].update(
                updates, state[index], params, evaluation=seen, **extra
            )
            updates, others = run(index + 1, updates)
            return updates, (first, *others)

        return run(0, updates)

    return optax.GradientTransformationExtraArgs(init, update)
