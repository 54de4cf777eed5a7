"""FAMO: weigh the tasks so that all losses fall at the same rate."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.memory.learned import learn, start
from mtopt.methods.tchebycheff import zeros_or
from mtopt.options import Number, Numbers
from mtopt.registry import method

EPSILON = 1e-8


@method(
    family="losses",
    traits=("mean-like",),
)
def famo(
    num_tasks: int,
    *,
    learning_rate: Number = 0.025,
    gamma: Number = 1e-5,
    min_losses: Numbers | None = None,
    heads: str = "weighted",
) -> Aggregator:
    r"""Fast adaptive multitask optimization: even progress at the cost of one forward.

    .. math::
       D_k = L_k - b_k + \epsilon,
       \qquad z = \mathrm{softmax}(\xi),
       \qquad w_k = \frac{z_k / D_k}{\sum_j z_j / D_j}

    and after the step, with the losses on the same batch again,

    .. math::
       \delta = J^\top (\log D^{\text{before}} - \log D^{\text{after}}),
       \qquad \xi \leftarrow \mathrm{Adam}(\delta + \gamma \xi)

    with J the Jacobian of the softmax: the task whose logarithm fell least gains
    weight. The step is the one that leaves the whole chain, learning rate, momentum
    and clipping included, so that FAMO belongs in a :func:`mtopt.chain`, which tells
    it. The second evaluation draws the same dropout noise as the first and leaves the
    model state alone.

    Args:
      num_tasks: K, at least 1.
      learning_rate: of Adam on the logits, above 0.
      gamma: the decay of the logits towards equal weights, at least 0. 1e-5 is the
        default of the authors' experiments, whose scripts set 1e-3 (NYUv2, CelebA,
        QM9) or 1e-2 (Cityscapes, and the stand-alone ``famo.py``); 1e-3 in LibMTL
        and TorchJD.
      min_losses: b, K numbers that no loss goes below, in the sorted order of the
        task names. None: zeros.
      heads: ``"weighted"`` differentiates the scalarised loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator, for ``mtopt.chain``. It needs a problem; a loss
      below its b counts as b, so that losses below zero need a b below them. An absent
      task leaves its logit as it is, and z is over those present.

    Raises:
      UserError: for a number out of its range, or, on update, in ``optax.chain``.

    Example:
      >>> import jax, jax.numpy as jnp, mtopt
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head - y) ** 2, mask)
      >>> tasks = mtopt.Tasks(("a", "b"), lambda shared, x, key: x @ shared, head_loss)
      >>> params = {"shared": 0.1 * jnp.ones((3, 4)),
      ...           "tasks": mtopt.PerTask(jnp.ones((2, 4)), tasks.names)}
      >>> tx = mtopt.chain(famo(2), optax.sgd(0.05))
      >>> state = mtopt.TrainState.create(params, tx, jax.random.key(0))
      >>> batch = mtopt.Batch.shared(
      ...     jnp.eye(3), {"a": jnp.ones(3), "b": jnp.array([1., 2., 3.])})
      >>> state, metrics = mtopt.make_train_step(tasks, tx)(state, batch)
      >>> weights = optax.tree.get(state.opt_state, "weights")
      >>> [round(float(w), 3) for w in weights]
      [0.9, 0.1]

    Nothing to balance:
      one task: its gradient; equal losses: weights of its own; a zero gradient: d
      = 0; all zero: d = 0. A solved task holds the others back; see
      :func:`mtopt.without_stationary`.

    References:
      Liu et al., FAMO: Fast Adaptive Multitask Optimization, 2023, arXiv 2306.03792.

    Differences from released code:
      ``famo.py`` clips the shared gradient to norm 1 (in the experiments the clipping
      stands before the backward pass and does nothing), LibMTL and TorchJD do not;
      here a clipping is a member of the chain. Theirs needs a second call by the
      training loop; their toy takes the losses of the next step instead.
    """
    expect_number("learning_rate", learning_rate, above=0)
    expect_number("gamma", gamma, at_least=0)
    floor = zeros_or("min_losses", min_losses, num_tasks)
    adam = optax.chain(optax.add_decayed_weights(gamma), optax.adam(learning_rate))

    def above_floor(losses: Float[Array, " K"]) -> Float[Array, " K"]:
        return jnp.maximum(losses - floor, 0) + EPSILON

    def weigh(logits: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        z = jax.nn.softmax(logits.values, where=present)
        rates = z / above_floor(losses)
        return rates / rates.sum(), logits

    def learn_from(logits: Any, evaluation: Evaluation, step: Any) -> Any:
        """The logits after the step, whose losses are taken on the same batch."""
        params, present = evaluation.params, evaluation.present
        ahead: Any = optax.apply_updates(params, step)
        moved = evaluation.problem.losses(ahead)
        before, after = above_floor(evaluation.losses), above_floor(moved)
        slope = logit_slope(logits.values, jnp.log(before) - jnp.log(after), present)
        return learn(adam, logits, slope, present)

    memory = functools.partial(start, adam, num_tasks, 0)
    rule = weighting(
        num_tasks,
        weigh,
        heads=heads,
        reduction="mean",
        memory=memory,
        least_losses=floor,
    ).rule
    return Aggregator(rule.replace(after_step=learn_from))


def logit_slope(
    logits: Float[Array, " K"],
    progress: Float[Array, " K"],
    present: Bool[Array, " K"],
) -> Float[Array, " K"]:
    """The gradient of the weighted progress with respect to the logits.

    Args:
      logits: ``[K]``.
      progress: by how much the logarithm of every loss fell, ``[K]``.
      present: which tasks take part, ``[K]``.
    """
    z = jax.nn.softmax(logits, where=present)
    progress = jnp.where(present, progress.astype(z.dtype), 0)
    return z * (progress - z @ progress)
