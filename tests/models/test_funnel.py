"""Events in a row are multiplied, exactly and for any logits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS
from tests.helpers.close import assert_close

ORDER = ("view", "click", "buy")
NAMES = tuple(sorted(ORDER))


def made(**options):
    options = {"kind": "binary", "outputs": 1, "order": ORDER, "names": NAMES} | options
    return MODELS["funnel"]((5,), hidden=(8,), **options)


@pytest.fixture(scope="module")
def started():
    model = made()
    return model, model.init(jax.random.key(0))[0]


def with_steps(params, scale):
    steps = jax.tree.map(lambda leaf: scale * leaf, params["shared"]["steps"])
    return {**params, "shared": {**params["shared"], "steps": steps}}


def test_log_odds_are_those_of_the_product(started):
    model, params = started
    x = jax.random.normal(jax.random.key(1), (64, 5))
    shared = jax.tree.map(np.asarray, params["shared"])
    layer = shared["network"]["layers"][0]
    z = np.maximum(np.asarray(x) @ layer["kernel"] + layer["bias"], 0)
    logits = z @ shared["steps"]["kernel"] + shared["steps"]["bias"]
    product = np.cumprod(1 / (1 + np.exp(-logits.astype(np.float64))), axis=1)
    found = model.predict(params, {}, x)
    for name, outputs in zip(NAMES, found, strict=True):
        p = product[:, ORDER.index(name)]
        assert_close(outputs, jnp.asarray(np.log(p / (1 - p))), rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 100.0, 1e4])
def test_no_event_is_more_likely_than_the_one_before(started, scale):
    model, params = started
    x = jax.random.normal(jax.random.key(2), (256, 5))
    far = with_steps(params, scale)
    found = dict(zip(NAMES, model.predict(far, {}, x), strict=True))
    assert all(np.isfinite(outputs).all() for outputs in found.values())
    for before, after in (("view", "click"), ("click", "buy")):
        slack = 1e-6 * np.abs(found[before])
        assert (found[after] <= found[before] + slack).all()


def test_gradients_of_certain_events_are_finite(started):
    model, params = started
    y = jnp.asarray(np.arange(24).reshape(3, 8) % 2)
    x = jax.random.normal(jax.random.key(3), (8, 5))
    batch = mtopt.Batch(x, y, jnp.ones((3, 8), bool), NAMES)
    problem = model.tasks.problem(batch, jax.random.key(0))
    _, grads = problem.losses_and_grads(with_steps(params, 1e4))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_a_loss_reaches_the_events_before_its_own_alone(started):
    model, params = started
    y, x = jnp.zeros((3, 8), int), jax.random.normal(jax.random.key(3), (8, 5))
    batch = mtopt.Batch(x, y, jnp.ones((3, 8), bool), NAMES)
    _, grads = model.tasks.problem(batch, jax.random.key(0)).losses_and_grads(params)
    reached = np.asarray(grads["shared"]["steps"]["bias"] != 0)
    for row, name in zip(reached, NAMES, strict=True):
        assert row.tolist() == [i <= ORDER.index(name) for i in range(3)]


def test_a_planted_funnel_is_calibrated():
    """Whoever buys has clicked; a common cause makes both more likely."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8000, 5)).astype(np.float32)
    cause = rng.normal(size=8000)
    draws = rng.random((3, 8000))
    y = np.zeros((3, 8000), np.int32)
    happened = np.ones(8000, bool)
    for j, name in enumerate(ORDER):
        chance = 1 / (1 + np.exp(-(x[:, j] + 0.7 * cause)))
        happened = happened & (draws[j] < chance)
        y[NAMES.index(name)] = happened
    batch = mtopt.Batch(jnp.asarray(x), jnp.asarray(y), jnp.ones(y.shape, bool), NAMES)
    model = made()
    params, _ = model.init(jax.random.key(0))
    tx = mtopt.chain(mtopt.equal_weighting(3), optax.adam(1e-2))
    state = mtopt.TrainState.create(params, tx, jax.random.key(1), {})
    step = mtopt.make_train_step(model.tasks, tx)
    for _ in range(200):
        state, _ = step(state, batch)
    said = jax.nn.sigmoid(model.predict(state.params, {}, batch.x))
    for chances, truth in zip(np.asarray(said), y, strict=True):
        parts = np.array_split(np.argsort(chances), 5)
        for part in parts:
            assert abs(chances[part].mean() - truth[part].mean()) < 0.03


MISUSE = {
    "expected binary ones": {"kind": "regression"},
    "each once": {"order": ("view", "click")},
    "hidden is": {"hidden": ()},
}


@pytest.mark.parametrize("message", MISUSE)
def test_misuse_is_one_line(message):
    with pytest.raises(mtopt.UserError, match=message):
        MODELS["funnel"](
            (5,),
            **{"names": NAMES, "kind": "binary", "outputs": 1} | MISUSE[message],
        )
