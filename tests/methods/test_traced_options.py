"""Numeric options may be traced: of all methods, wrappers and transformations."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.compilations import compiled_once
from tests.helpers.methods import over
from tests.helpers.options import (
    MAKERS,
    K,
    cases,
    fixed,
    numeric,
    one_step,
    start,
    two_steps,
)

CASES = [pytest.param(*case, id="-".join((case[0], *case[1]))) for case in cases()]
# What a traced number computes is by default for one of each kind: a method that counts
# steps, one with preferences, a ball, a wrapper that keeps something between steps.
BY_DEFAULT = {
    "dynamic_weight_average-steps_per_epoch-temperature",
    "pareto_mtl-preferences-index-search_steps",
    "flat_regions-rho_shared-rho_task",
    "weights_every-n",
}
COMPUTED = [
    pytest.param(*case.values, id=case.id, marks=[pytest.mark.slow] * (not default))
    for case in CASES
    for default in [case.id in BY_DEFAULT]
]


def test_the_options_are_found():
    assert numeric("cagrad") == {"c": 0.5}
    assert numeric("fixed_weighting").keys() == {"weights"}
    assert numeric("pareto_mtl").keys() == {"preferences", "index", "search_steps"}
    assert numeric("per_task_sam").keys() == {"rho", "rho_shared", "rho_task", "beta"}
    assert numeric("rep_mtl").keys() == {"tsr", "csa", "smoothing", "temperature"}
    assert numeric("uncertainty_weighting").keys() == {"init", "learning_rate"}
    assert not numeric("mgda")
    assert {case.id for case in CASES} > BY_DEFAULT
    assert {"weights_every", "sam", "add_penalty", "undo_momentum"} <= {
        case.values[0] for case in CASES
    }


def arrays(options):
    """As in a chain of optax: traced numbers of the parameters' precision."""
    return {option: jnp.asarray(value) for option, value in options.items()}


@pytest.mark.parametrize(("name", "options"), CASES)
def test_an_option_may_be_traced(name, options):
    """And the state keeps its shapes and dtypes, whatever the options are."""
    _, make = MAKERS[name]
    traced = jax.eval_shape(lambda own: one_step(make(**own)), arrays(options))
    plain = jax.eval_shape(lambda: start(make(**options)))
    assert traced == plain


@pytest.mark.parametrize(("name", "options"), COMPUTED)
def test_a_traced_option_does_what_a_plain_one_does(name, options):
    _, make = MAKERS[name]

    @jax.jit
    def both(traced):
        return two_steps(make(**traced)), two_steps(make(**options))

    traced, plain = both(arrays(options))
    assert_close(traced, plain, rtol=1e-5)


@pytest.fixture
def untyped(monkeypatch):
    """Calls as users make them, without the suite's check of types."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", [name for name in MAKERS if fixed(name)])
def test_what_is_said_to_be_fixed_cannot_be_traced(name):
    for option, reason in fixed(name).items():
        value = numeric(name)[option]
        assert reason
        message = f"^{option} is traced: expected a plain number"
        with pytest.raises(mtopt.UserError, match=message):
            jax.eval_shape(
                lambda traced, option=option: one_step(
                    MAKERS[name][1](**{option: traced})
                ),
                value,
            )


@pytest.mark.usefixtures("untyped")
def test_the_number_of_tasks_is_refused_in_words():
    for make in (mtopt.mgda, mtopt.normalize_rows):
        with pytest.raises(mtopt.UserError, match=r"num_tasks is traced.*static_args"):
            jax.eval_shape(lambda k, make=make: make(k).init(jnp.zeros(2)), 3)


SCHEDULED = {
    "cagrad": ("c", optax.linear_schedule(0.1, 0.9, 8)),
    "famo": ("gamma", optax.linear_schedule(1e-3, 1e-1, 8)),
}


@over(SCHEDULED, slow=["cagrad"])
def test_a_schedule_of_an_option_trains_in_one_program(name):
    option, schedule = SCHEDULED[name]
    method = optax.inject_hyperparams(mtopt.METHODS[name], static_args="num_tasks")
    tx = mtopt.chain(method(3, **{option: schedule}), optax.adam(0.05))
    tasks, params, batch = problems.classification(3, 16, 5, (7,), 4, None)
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = compiled_once(mtopt.make_train_step(tasks, tx))
    losses = []
    for index in range(6):
        state, metrics = step(state, batch)
        losses.append(float(metrics["losses"].sum()))
        used = state.opt_state[0].hyperparams[option]
        np.testing.assert_allclose(used, schedule(index), rtol=1e-6)
    assert losses[-1] < losses[0]


ROWS = jnp.array([[1.0, 2.0, 0.0], [-1.0, 0.5, 4.0], [0.2, -3.0, 0.1]])


def squared(make):
    """Of an option's value, the square of the direction's length."""

    def length(value):
        tx = make(value)
        direction, _ = tx.update(ROWS.astype(float), tx.init(jnp.zeros(3)))
        return direction @ direction

    return length


@pytest.mark.parametrize(
    ("make", "value"),
    [
        pytest.param(lambda c: mtopt.cagrad(3, c=c), 0.4, id="cagrad"),
        pytest.param(
            lambda alpha: mtopt.fairgrad(3, alpha=alpha),
            1.5,
            id="fairgrad",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda tau: mtopt.gradcraft(3, tau=tau),
            0.3,
            id="gradcraft",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_many_values_at_once_and_the_slope_of_one(make, value):
    with jax.enable_x64(True):
        length, step = squared(make), 1e-5
        at = jnp.array([value - step, value, value + step])
        low, middle, high = jax.jit(jax.vmap(length))(at)
        alone, slope = jax.jit(jax.value_and_grad(length))(value)
        np.testing.assert_allclose(middle, alone, rtol=1e-9)
        # Differences over 1e-5 are good to its square over the size of the curve.
        np.testing.assert_allclose(slope, (high - low) / (2 * step), rtol=1e-4)


def test_injected_numbers_are_checked():
    make = optax.inject_hyperparams(mtopt.cagrad, static_args="num_tasks")
    with pytest.raises(mtopt.UserError, match=r"c is .*: expected a number above 0"):
        make(K, c=-0.5).init(jnp.zeros(2))
