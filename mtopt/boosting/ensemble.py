"""A fitted ensemble, and what it predicts."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Num

from mtopt.boosting.columns import canonical
from mtopt.boosting.trees import Trees, evaluate
from mtopt.errors import UserError, expect


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ensemble:
    r"""The trees of the three blocks, learning rates included, and theta.

    .. math::
       p_t(x) = b_t + F_{shared}(x) + (1 - \sigma(\theta_t)) F_{non}(x)
                + \sigma(\theta_t) F_{out}(x) + F_t(x)

    A pytree, so that ``vmap`` of :func:`fit` returns a stack of ensembles that ``vmap``
    of :func:`predict` reads.

    Attributes:
      start: b, the scores before the first tree, ``[..., T + 1, K]``: of each task, and
        last of all rows as one task, for a task that was not fitted.
      shared: the trees of block 1, one an iteration.
      outlier: F_out, of block 2.
      non_outlier: F_non, of block 2.
      task_specific: the trees of block 3, one a task and iteration.
      theta_path: theta before block 2 and after each of its iterations,
        ``[..., n2 + 1, T]``.
      kept: how many iterations of each block count, ``[..., 3]``; fewer than were
        asked for only with early stopping, and the trees of the others are zero.
      num_classes: None for regression.
      single: whether targets were numbers rather than vectors.
      num_features: D.
    """

    start: Any
    shared: Trees
    outlier: Trees
    non_outlier: Trees
    task_specific: Trees
    theta_path: Any
    kept: Any
    num_classes: int | None = dataclasses.field(metadata={"static": True})
    single: bool = dataclasses.field(metadata={"static": True})
    num_features: int = dataclasses.field(metadata={"static": True})

    @property
    def theta(self) -> Float[Array, "... T"]:
        """The logit of every task's weight on F_out, after the last iteration."""
        return self.theta_path[..., -1, :]


def decision_function(
    ensemble: Ensemble,
    features: Num[Array | np.ndarray, "N D"],
    task: Int[Array | np.ndarray, " N"],
) -> Float[Array, " N"] | Float[Array, "N K"]:
    """The scores p: predictions of a regression, or logits.

    Args:
      ensemble: of :func:`fit`.
      features: one row a sample; NaN counts as below every number.
      task: of every row, in 0..T-1, the numbers that :func:`fit` was given. Any
        subset of tasks may occur: a row's scores depend on that row alone.

    Returns:
      ``[N]`` for a single target or two classes (the logit of class 1), else
      ``[N, K]``. NaN where a traced task is out of range.

    Raises:
      UserError: for another number of features, or a task out of range.
    """
    features, task = _checked(ensemble, features, task)
    return _shaped(ensemble, _scores(ensemble, features, task))


def predict(
    ensemble: Ensemble,
    features: Num[Array | np.ndarray, "N D"],
    task: Int[Array | np.ndarray, " N"],
) -> Num[Array, " N"] | Num[Array, "N O"]:
    """Predictions as the targets were: numbers, vectors, or classes in 0..K-1.

    Args:
      ensemble: of :func:`fit`.
      features: as in :func:`decision_function`.
      task: of every row, in 0..T-1.

    Returns:
      One prediction a row; for a traced task out of range NaN, or class -1.

    Raises:
      UserError: for another number of features, or a task out of range.
    """
    scores = decision_function(ensemble, features, task)
    return _decide(ensemble, scores)


def predict_proba(
    ensemble: Ensemble,
    features: Num[Array | np.ndarray, "N D"],
    task: Int[Array | np.ndarray, " N"],
) -> Float[Array, "N K"]:
    """The probability of every class.

    Args:
      ensemble: of a :func:`fit` with ``num_classes``.
      features: as in :func:`decision_function`.
      task: of every row, in 0..T-1.

    Returns:
      Rows that sum to 1.

    Raises:
      UserError: for a regression, another number of features, or a task out of range.
    """
    if ensemble.num_classes is None:
        raise UserError("a regression has no classes: fit with num_classes, or predict")
    scores = decision_function(ensemble, features, task)
    if ensemble.num_classes == 2:
        return jnp.stack([jax.nn.sigmoid(-scores), jax.nn.sigmoid(scores)], axis=1)
    return jax.nn.softmax(scores, axis=1)


def staged_predict(
    ensemble: Ensemble,
    features: Num[Array | np.ndarray, "N D"],
    task: Int[Array | np.ndarray, " N"],
) -> Num[Array, "I N"] | Num[Array, "I N O"]:
    """Predictions after each iteration of the three blocks, in order.

    Those within block 2 use theta as it was then.

    Args:
      ensemble: of :func:`fit`.
      features: as in :func:`decision_function`.
      task: of every row, in 0..T-1.

    Returns:
      A stack over the n1 + n2 + n3 iterations, whose last is :func:`predict`.

    Raises:
      UserError: for another number of features, or a task out of range.
    """
    features, task = _checked(ensemble, features, task)
    scores = _staged_scores(ensemble, features, task)
    return jax.vmap(lambda stage: _decide(ensemble, _shaped(ensemble, stage)))(scores)


def on_concrete(check: Callable[..., None], *arrays: Any) -> None:
    """Runs a check on concrete arrays; does nothing where one of them is traced."""
    if not any(isinstance(array, Tracer) for array in arrays):
        check(*(None if array is None else np.asarray(array) for array in arrays))


def check_task(task: Any, num_tasks: int) -> None:
    """Raises unless all tasks are in 0..T-1; a traced task is not looked at."""

    def in_range(numbers: np.ndarray) -> None:
        wrong = numbers[(numbers < 0) | (numbers >= num_tasks)]
        if len(wrong):
            raise UserError(
                f"task has {wrong[0]}: expected numbers in 0..{num_tasks - 1}, one of "
                "the tasks that were fitted"
            )

    on_concrete(in_range, task)


def _checked(
    ensemble: Ensemble,
    features: Num[Array | np.ndarray, "N D"],
    task: Int[Array | np.ndarray, " N"],
) -> tuple[Num[Array, "N D"], Int[Array, " N"]]:
    features = jnp.asarray(features)
    expected = (len(task), ensemble.num_features)
    expect(features.shape == expected, "features.shape", features.shape, f"{expected}")
    check_task(task, ensemble.theta.shape[-1])
    return features, jnp.asarray(task, jnp.int32)


@jax.jit
def _scores(
    ensemble: Ensemble, features: Num[Array, "N D"], task: Int[Array, " N"]
) -> Float[Array, "K N"]:
    """Scores ``[K, N]``; NaN for a task out of range."""
    columns, task, known = _rows(ensemble, features, task)
    every = jnp.zeros_like(task)

    def total(trees: Trees, segment: Int[Array, " N"]) -> Float[Array, "K N"]:
        def add(
            scores: Float[Array, "K N"], tree: Trees
        ) -> tuple[Float[Array, "K N"], None]:
            return scores + evaluate(tree, columns, segment), None

        return lax.scan(add, _zeros(ensemble, task), trees)[0]

    out, non = total(ensemble.outlier, every), total(ensemble.non_outlier, every)
    mixed = _mix(_gate(ensemble.theta)[task][None], out, non)
    trees = total(ensemble.shared, every) + mixed + total(ensemble.task_specific, task)
    scores = ensemble.start[task].T + trees
    return jnp.where(known[None], scores, jnp.nan)


@jax.jit
def _staged_scores(
    ensemble: Ensemble, features: Num[Array, "N D"], task: Int[Array, " N"]
) -> Float[Array, "I K N"]:
    """Scores after every iteration, ``[I, K, N]``."""
    columns, task, known = _rows(ensemble, features, task)
    every = jnp.zeros_like(task)
    zeros = _zeros(ensemble, task)

    def plain(
        segment: Int[Array, " N"],
    ) -> Callable[[Array, Trees], tuple[Array, Array]]:
        def after(
            scores: Float[Array, "K N"], tree: Trees
        ) -> tuple[Float[Array, "K N"], Float[Array, "K N"]]:
            scores = scores + evaluate(tree, columns, segment)
            return scores, scores

        return after

    def mixed(
        state: tuple[Array, Array], stage: tuple[Trees, Trees, Array]
    ) -> tuple[tuple[Array, Array], Float[Array, "K N"]]:
        outlier, non_outlier, theta = stage
        out = state[0] + evaluate(outlier, columns, every)
        non = state[1] + evaluate(non_outlier, columns, every)
        return (out, non), shared + _mix(_gate(theta)[task][None], out, non)

    begin = ensemble.start[task].T
    shared, first = lax.scan(plain(every), begin, ensemble.shared)
    stages = (ensemble.outlier, ensemble.non_outlier, ensemble.theta_path[1:])
    (out, non), second = lax.scan(mixed, (zeros, zeros), stages)
    begin = shared + _mix(_gate(ensemble.theta)[task][None], out, non)
    _, third = lax.scan(plain(task), begin, ensemble.task_specific)
    scores = jnp.concatenate([first, second, third])
    return jnp.where(known[None, None], scores, jnp.nan)


def _rows(
    ensemble: Ensemble, features: Num[Array, "N D"], task: Int[Array, " N"]
) -> tuple[Float[Array, "D N"], Int[Array, " N"], Bool[Array, " N"]]:
    known = (task >= 0) & (task < ensemble.theta.shape[-1])
    return canonical(features), jnp.where(known, task, 0), known


def _zeros(ensemble: Ensemble, task: Int[Array, " N"]) -> Float[Array, "K N"]:
    value = ensemble.shared.value
    return jnp.zeros((value.shape[-1], len(task)), value.dtype)


def _gate(theta: Float[Array, " T"]) -> Float[Array, "T 2"]:
    """Sigma(theta) and 1 - sigma(theta), which swap exactly with the sign."""
    return jnp.stack([jax.nn.sigmoid(theta), jax.nn.sigmoid(-theta)], axis=-1)


def _mix(
    gate: Float[Array, "1 N 2"], out: Float[Array, "K N"], non: Float[Array, "K N"]
) -> Float[Array, "K N"]:
    return gate[..., 1] * non + gate[..., 0] * out


def _shaped(ensemble: Ensemble, scores: Float[Array, "K N"]) -> Float[Array, "N ..."]:
    alone = ensemble.single if ensemble.num_classes is None else len(scores) == 1
    return scores[0] if alone else scores.T


def _decide(ensemble: Ensemble, scores: Float[Array, "N ..."]) -> Num[Array, "N ..."]:
    if ensemble.num_classes is None:
        return scores
    if ensemble.num_classes == 2:
        chosen, known = (scores > 0).astype(jnp.int32), jnp.isnan(scores)
    else:
        chosen = scores.argmax(axis=1).astype(jnp.int32)
        known = jnp.isnan(scores).any(axis=1)
    return jnp.where(known, -1, chosen)
