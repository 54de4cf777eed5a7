"""Losses below the lowest that a method takes, and what a guarded step does of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.made_of import least_losses
from tests.helpers.methods import FROM_ZERO, make, over

K = 2
NAMES = ("height", "width")


def test_the_methods_of_the_table_say_so():
    """Those that the formulas of their papers divide by losses, or take their logs."""
    assert {"gradnorm", "ldc", "epo", "cosmos_scalarization", "pbi"} <= FROM_ZERO
    assert FROM_ZERO.isdisjoint({"equal_weighting", "mgda", "cagrad", "excess_mtl"})
    for name in mtopt.METHODS:
        found = least_losses(mtopt.chain(make(name, K), optax.adam(1e-3)))
        assert (found is not None) == (name in FROM_ZERO)
        assert found is None or not np.any(found)


def chained(aggregator):
    return mtopt.chain(mtopt.chain(aggregator), optax.adamw(1e-3))


def of_layers(aggregator):
    parts = {"a": mtopt.mgda(K), "b": mtopt.chain(aggregator, optax.sgd(0.1))}
    return optax.partition(parts, {"shared": "b", "tasks": "a"})


GRADNORM = mtopt.gradnorm(K)
INJECT = functools.partial(optax.inject_hyperparams, static_args="num_tasks")


@pytest.mark.parametrize(
    ("tx", "expected"),
    [
        (mtopt.famo(K, min_losses=(-2.0, 1.0)), (-2, 1)),
        (mtopt.pbi(K, ideal=(-5.0, 0.5)), (-5, 0.5)),
        (mtopt.mgda(K, normalize="loss"), 0),
        (mtopt.moco(K, variant="libmtl"), 0),
        (chained(GRADNORM), 0),
        (optax.chain(GRADNORM, optax.adam(1e-3)), 0),
        (of_layers(GRADNORM), 0),
        (mtopt.chain(mtopt.normalize_rows(K, by="loss"), mtopt.mgda(K)), 0),
        (mtopt.chain(mtopt.normalize_rows(K), mtopt.mgda(K)), None),
        (INJECT(mtopt.gradnorm)(K, alpha=0.5), 0),
        (optax.inject_hyperparams(lambda c: mtopt.offset_losses(GRADNORM, offset=c))(
            c=lambda step: -3.0 + step
        ), -3),
        # What a wrapper makes of the losses must be what the method takes.
        (mtopt.offset_losses(GRADNORM, offset=-5.0), -5),
        (mtopt.offset_losses(GRADNORM, offset=(1.0, 2.0)), (1, 2)),
        (mtopt.offset_losses(mtopt.mgda(K), offset=-5.0), None),
        (mtopt.log_losses(mtopt.mgda(K)), 0),
        (mtopt.log_losses(GRADNORM), 1),
        (mtopt.offset_losses(mtopt.log_losses(GRADNORM), offset=-5.0), -4),
        (mtopt.log_losses(mtopt.offset_losses(GRADNORM, offset=2.0)), np.e**2),
        (mtopt.outlier_weighted(mtopt.mgda(K)), 0),
        (mtopt.outlier_weighted(mtopt.pbi(K, ideal=(-1.0, 2.0))), (0, 2)),
        (mtopt.offset_losses(mtopt.outlier_weighted(mtopt.mgda(K)), offset=-1.0), -1),
        (mtopt.smoothed_weights(mtopt.without_stationary(GRADNORM)), 0),
        (mtopt.weights_every(mtopt.rep_mtl(mtopt.scale_invariant(K)), n=2), 0),
        (mtopt.flat_regions(GRADNORM), 0),
    ],
)  # fmt: skip
def test_it_is_found_and_mapped(tx, expected):
    found = least_losses(tx)
    if expected is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, expected, atol=1e-6)


def encode(shared, x, key):
    del key
    return x @ shared


def head_loss(head, z, y, mask, key):
    """Of any sign: the label is what the loss begins with."""
    del key
    return mtopt.masked_mean(y + 0.01 * z @ head, mask)


TASKS = mtopt.Tasks(NAMES, encode, head_loss)


def batch(height, width):
    labels = {"height": jnp.full(4, height), "width": jnp.full(4, width)}
    return mtopt.Batch.shared(jnp.eye(4, 3), labels)


@functools.cache
def program(aggregator, on_nonfinite):
    """One for all that is run on it: how a state begins, and the step."""
    tx = mtopt.chain(aggregator, optax.adam(0.1))

    def start():
        heads = mtopt.PerTask(jnp.ones((K, 2)), NAMES)
        params = {"shared": jnp.zeros((3, 2)), "tasks": heads}
        return mtopt.TrainState.create(params, tx, jax.random.key(0))

    return start, mtopt.make_train_step(TASKS, tx, on_nonfinite=on_nonfinite)


@functools.cache
def method(name):
    return make(name, K)


def run(aggregator, on_nonfinite, *losses):
    start, step = program(aggregator, on_nonfinite)
    state = start()
    for own in losses:
        state, metrics = step(state, batch(*own))
    return state, metrics


def numbers(state):
    return jax.tree.leaves((state.step, state.params, state.opt_state))


SEVERAL = {"scale_invariant", "gradnorm"}  # the others differ in the number alone


@over(FROM_ZERO, slow=FROM_ZERO - SEVERAL)
def test_the_first_negative_loss_is_refused(name):
    once, _ = run(method(name), "raise", (1.0, 2.0))
    state, metrics = run(method(name), "raise", (1.0, 2.0), (1.0, -0.5))
    assert metrics["nonfinite"].tolist() == [False, True]
    for found, expected in zip(numbers(state), numbers(once), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(
        mtopt.UserError,
        match=r"^the loss of 'width' is -0.5\d* at step 2 \(seed 3\): "
        r"expected 0 or more.*write offset_losses",
    ):
        mtopt.check_finite(state.nonfinite, NAMES, "seed 3")


def test_a_task_below_it_may_be_left_out():
    state, metrics = run(method("scale_invariant"), "skip_task", (1.0, -0.5))
    assert metrics["present"].tolist() == [True, False]
    assert state.step == 1
    moved = state.params["tasks"].values != 1
    assert not moved[1].any()
    with pytest.raises(mtopt.UserError, match=r"'width' is -0.5 at step 1"):
        mtopt.check_finite(state.nonfinite, NAMES)


@pytest.mark.parametrize(
    "aggregator",
    [mtopt.equal_weighting(K), mtopt.offset_losses(mtopt.pbi(K), offset=-1.0)],
    ids=["any losses", "an offset"],
)
def test_a_method_that_takes_them_goes_on(aggregator):
    state, metrics = run(aggregator, "raise", (1.0, -0.5))
    assert not metrics["nonfinite"].any()
    mtopt.check_finite(state.nonfinite, NAMES)
    assert state.step == 1


def test_rounding_is_not_refused():
    """A divergence of equal distributions, a cosine of equal vectors."""
    state, _ = run(method("scale_invariant"), "raise", (1.0, -1e-6))
    assert state.step == 1


def test_a_step_without_a_guard_has_no_trace_of_it():
    def weigh(memory, evaluation):
        return evaluation.losses, memory

    tx = mtopt.weighting(K, weigh, heads="plain", least_losses=-1.2345)

    def traced(on_nonfinite):
        start, step = program(tx, on_nonfinite)
        return str(jax.make_jaxpr(step)(start(), batch(1.0, 2.0)))

    assert "-1.2345" in traced("skip_step")
    assert "-1.2345" not in traced(None)
