"""Labels in order: logits, thresholds, and the severities of raters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mtopt
from mtopt.models import functional
from mtopt.models.heads import linear_head
from mtopt.models.ordinal import (
    ORDINAL,
    Thresholds,
    adjacent_loss,
    cumulative_loss,
    judged,
    log_probabilities,
    rated,
    severities,
)
from tests.helpers.close import assert_close
from tests.helpers.models import NAMES, OF_KIND, TINY, tiny

LEVELS = 5
LOSSES = {"ordinal": cumulative_loss, "ordinal_adjacent": adjacent_loss}


@functools.cache
def functions(kind):
    """Logits, log-probabilities and losses of scores under thresholds of any values."""

    def run(raw, scores, labels):
        thresholds = Thresholds(raw.shape[-1] + 1, kind=kind)
        thresholds.threshold[...] = raw
        z = thresholds(scores[:, None])
        return z, log_probabilities(z, kind=kind), LOSSES[kind](z, labels)

    return jax.jit(run)


@pytest.mark.parametrize("kind", ORDINAL)
def test_probabilities_are_at_least_0_sum_to_1_and_rise_with_the_score(kind):
    rng = np.random.default_rng(0)
    scores = np.linspace(-40, 40, 41)
    labels = rng.integers(LEVELS, size=41)
    for _ in range(5):
        raw = 2 * rng.normal(size=LEVELS - 1)
        z, found, losses = map(np.asarray, functions(kind)(raw, scores, labels))
        assert np.isfinite(found).all()
        assert np.isfinite(losses).all()
        chances = np.exp(found.astype(float))
        np.testing.assert_allclose(chances.sum(-1), 1, rtol=1e-5)
        at_least = chances[:, ::-1].cumsum(-1)[:, ::-1]
        assert (np.diff(at_least, axis=0) >= -1e-6).all()
        z = z.astype(float)
        if kind == "ordinal":
            expected = -np.diff(1 / (1 + np.exp(-z)), prepend=1, append=0)
        else:
            expected = np.exp(np.pad(z.cumsum(-1), [(0, 0), (1, 0)]))
            expected /= expected.sum(-1, keepdims=True)
        np.testing.assert_allclose(chances, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ORDINAL)
def test_two_levels_are_binary_cross_entropy(kind):
    scores, labels = np.linspace(-3, 3, 41), np.arange(41) % 2
    z, chances, losses = functions(kind)(np.array([0.7]), scores, labels)
    logits = scores + 0.7
    assert_close(z[:, 0], logits, rtol=1e-6)
    np.testing.assert_allclose(losses, np.log1p(np.exp(logits)) - labels * logits, 1e-5)
    picked = np.take_along_axis(np.asarray(chances), labels[:, None], 1)[:, 0]
    np.testing.assert_allclose(losses, -picked, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ORDINAL)
def test_a_label_that_is_no_level_is_not_silently_another(kind):
    labels = np.tile([-1, 0, LEVELS - 1, LEVELS], 11)[:41]
    raw = np.zeros(LEVELS - 1)
    losses = np.asarray(functions(kind)(raw, np.zeros(41), labels)[2])
    assert (np.isnan(losses) == np.isin(labels, (-1, LEVELS))).all()


@pytest.mark.parametrize("kind", ORDINAL)
def test_all_levels_are_equally_likely_at_first(kind):
    z = Thresholds(LEVELS, kind=kind)(jnp.zeros((1, 1)))
    chances = np.exp(log_probabilities(z, kind=kind))
    np.testing.assert_allclose(chances, np.full((1, LEVELS), 1 / LEVELS), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(TINY.keys() - OF_KIND.keys()))
def test_every_model_has_one_score_and_thresholds(name):
    model = tiny(name, kind="ordinal", outputs=LEVELS)
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    shapes = [
        (jax.tree_util.keystr(path), leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    ]
    thresholds = {shape for path, shape in shapes if "threshold" in path}
    if name == "pooled_mlp":  # of two networks; a task has a shift of the score
        assert thresholds == {(LEVELS - 1,)}
        assert ("['tasks'].values['head']['bias']", (3, 1)) in shapes
    else:
        assert thresholds == {(3, LEVELS - 1)}
        # Of the head, which gates and experts of the tasks' own may stand beside.
        own = [
            shape[::2]
            for path, shape in shapes
            if path.startswith("['tasks']") and path.endswith("['kernel']")
        ]
        assert (3, 1) in own


# The ratings of raschpy's table: a row of five persons, of each person 4 x 3 levels,
# those of rater 0 on the items a, b, c first. Drawn from the many-facet model: persons
# N(0, 1), items -.5, 0, .5, thresholds -1, 0, 1, severities -.9, -.3, .3, .9.
TABLE = """
221331200010 311110210220 322213212101 322123120010 311310101100
222323211201 333311333213 332333320321 211212221000 220001000010
212112110120 333020022120 100011100100 123311110000 120012110101
111002121001 110202310201 322310111101 323321111100 333331202321
222310100200 232222222212 221231010300 223211231110 233231312131
223102232111 032230110010 321001000101 122310321120 123221130100
201012210001 231221200100 323230110201 322321212321 332221112100
332321220020 222210121100 322311202110 333321232032 333223322311
220321000200 333222332213 223333303222 321322303111 220332110011
222220021020 333223333321 232322232233 332333331123 323323212221
333322132311 110021010110 221332103102 322133121101 112201110010
322322322211 321122122110 331232311321 120121111101 310322011100
"""
# raschpy 1.4.0: MFRM(table, max_score=3).calibrate_global().facet_effects_global, of
# the table as a frame of (rater, person) rows and columns a, b, c.
RASCHPY = np.array([-0.8108, -0.3525, 0.2768, 0.8865])
PLANTED = np.array([-1.3, -0.1, 0.4, 1.0])
ROWS, RATERS, ITEMS, WIDTH = 2400, 4, ("a", "b", "c"), 60
ADJACENT = "ordinal_adjacent"


def raschpy_table():
    levels = np.array([list(word) for word in TABLE.split()], int)
    levels = levels.reshape(60, RATERS, 3)
    x, y = np.zeros((ROWS, WIDTH)), np.zeros((3, ROWS), int)
    rater, mask = np.zeros(ROWS, int), np.zeros((3, ROWS), bool)
    x[:240] = np.eye(60).repeat(RATERS, axis=0)
    rater[:240] = np.tile(np.arange(RATERS), 60)
    y[:, :240], mask[:, :240] = levels.reshape(240, 3).T, True
    return x, rater, y, mask


def planted(spread):
    """Persons known by 60 features, their scores of this spread."""
    rng = np.random.default_rng(0)
    x, rater = rng.normal(size=(ROWS, WIDTH)), rng.integers(RATERS, size=ROWS)
    weights = rng.normal(size=WIDTH)
    theta = spread * x @ weights / np.linalg.norm(weights)
    steps = np.array([-0.5, 0, 0.5])[:, None] + np.array([-1, 0, 1])
    z = (theta - PLANTED[rater])[None, :, None] - steps[:, None]
    odds = np.pad(z.cumsum(-1), [(0, 0), (0, 0), (1, 0)])
    y = (odds + rng.gumbel(size=odds.shape)).argmax(-1)
    return x, rater, y, np.ones((3, ROWS), bool)


@functools.cache
def fitted():
    """Severities and loss fitted to three tables, by one program."""
    model = functional(
        rated(
            lambda rngs: nnx.Linear(WIDTH, 1, use_bias=False, rngs=rngs), raters=RATERS
        ),
        judged(lambda rngs: Thresholds(4, kind=ADJACENT)),
        ITEMS,
        kind=ADJACENT,
    )
    tables = [raschpy_table(), planted(0.5), planted(2.0)]
    x, rater, y, mask = (np.stack(column) for column in zip(*tables, strict=True))
    batches = mtopt.Batch(
        {"inputs": x.astype(np.float32), "rater": rater.astype(np.int32)},
        y.astype(np.int32),
        mask,
        ITEMS,
    )
    optimizer = optax.adam(optax.cosine_decay_schedule(0.2, 120))

    @jax.jit
    @jax.vmap
    def fit(batch):
        params, state = model.init(jax.random.key(0))
        problem = model.tasks.problem(batch, jax.random.key(1), state)

        def step(carry, _):
            params, memory = carry
            slope = jax.grad(lambda p: problem.losses(p).mean())(params)
            updates, memory = optimizer.update(slope, memory)
            return (optax.apply_updates(params, updates), memory), None

        start = params, optimizer.init(params)
        (params, _), _ = jax.lax.scan(step, start, length=120)
        return severities(params)

    return np.asarray(fit(batches))


def test_planted_severities_are_recovered_whatever_the_spread_of_the_persons():
    _, narrow, wide = fitted()
    planted = PLANTED - PLANTED.mean()
    # 1,800 labels a rater leave a standard error of about .04.
    for found in (narrow, wide):
        assert abs(found.sum()) < 1e-5
        np.testing.assert_allclose(found, planted, atol=0.09)
        assert found @ planted / (planted @ planted) == pytest.approx(1, abs=0.05)


def test_severities_agree_with_the_many_facet_model_of_raschpy():
    # There the persons are conditioned out. Here each is a parameter, with 12 labels of
    # its own, which stretches all estimates by about 12 / 11 (Wright and Douglas,
    # Conditional versus unconditional procedures for sample-free item analysis, 1977).
    found = fitted()[0] * 11 / 12
    np.testing.assert_allclose(found, RASCHPY, atol=0.03)


@functools.cache
def small():
    """A rated model, and its losses and logits for raters 0 to 5."""
    encoder = functools.partial(nnx.Linear, 3, 4)
    model = functional(
        rated(lambda rngs: encoder(rngs=rngs), raters=2),
        judged(linear_head(4, LEVELS, kind=ADJACENT)),
        NAMES,
        kind=ADJACENT,
    )

    @jax.jit
    def run(rater, severity):
        params, state = model.init(jax.random.key(0))
        params["shared"]["severity"] = severity
        x = {"inputs": jnp.ones((4, 3)), "rater": rater}
        labels = jnp.zeros((3, 4), jnp.int32)
        batch = mtopt.Batch(x, labels, jnp.ones((3, 4), bool))
        problem = model.tasks.problem(batch, jax.random.key(0), state)
        return model.predict(params, state, x), problem.losses(params)

    return model, run


def test_a_severity_is_off_every_logit_and_somebody_new_has_none():
    _, run = small()
    z, _ = run(jnp.array([0, 1, -1, 0]), jnp.array([5.0, 2.0]))
    z = np.asarray(z)
    assert_close(z[:, 2] - z[:, 0], np.full((3, LEVELS - 1), 1.5), rtol=1e-6)
    assert_close(z[:, 2] - z[:, 1], np.full((3, LEVELS - 1), -1.5), rtol=1e-6)


def test_a_rater_that_does_not_exist_is_not_silently_another():
    _, run = small()
    for odd in (2, -2):
        losses = run(jnp.array([0, 1, odd, 0]), jnp.array([5.0, 2.0]))[1]
        assert np.isnan(losses).all()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (jnp.ones((4, 3)), "expected {'inputs'"),
        ({"inputs": jnp.ones((4, 3))}, r"are \['inputs'\]"),
        ({"inputs": jnp.ones((4, 3)), "rater": jnp.ones(4)}, "rater is float32"),
        ({"inputs": jnp.ones((4, 3)), "rater": jnp.ones((4, 1), int)}, r"int32\[4, 1"),
    ],
)
def test_inputs_without_raters(x, message):
    model, _ = small()
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    with pytest.raises(mtopt.UserError, match=message):
        jax.eval_shape(model.predict, params, state, x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rated(lambda rngs: nnx.Linear(1, 1, rngs=rngs), raters=0), "raters"),
        (lambda: Thresholds(1, kind="ordinal"), "2 levels or more"),
        (lambda: Thresholds(3, kind="ordinl"), "ordinl"),
        (lambda: log_probabilities(jnp.zeros(3), kind="soft"), "soft"),
    ],
)
def test_options_out_of_range(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
