"""DSelect-k: codes, what selectors decide, and which experts they find."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mtopt
from mtopt.models import MODELS
from mtopt.models.pure import Pure
from mtopt.models.selector_gate import selector_gate, smooth_step
from tests.helpers.experts import (
    NAMES,
    assert_as_output_by_hand,
    mixed,
    number,
    regressions,
    said,
)
from tests.helpers.methods import over

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = jnp.ones((1, 1))


def model(names=NAMES, **options):
    options = {"experts": 5, "hidden": (7,), **options}
    return MODELS["dselect_k"](
        (5,), names=names, kind="regression", outputs=1, **options
    )


def weights_at(codes, count, **options):
    """What gates with these codes ``[n, k, bits]`` weigh, whatever the sample."""
    pure = Pure.of(selector_gate(count, codes.shape[1], **options))
    params, _ = pure.init(KEY)

    def weights(code):
        of_codes = {**params["codes"], "bias": code.reshape(-1)}
        return pure.evaluate({**params, "codes": of_codes}, {}, X)[0]

    return np.asarray(jax.jit(jax.vmap(weights))(jnp.asarray(codes, jnp.float32)))


def by_hand(codes, mix, count, gamma):
    """The weights ``[b, E]``, as products over bits of codes ``[b, k, bits]``."""
    bits = codes.shape[-1]
    inside = 0.5 + 1.5 * codes / gamma - 2 * (codes / gamma) ** 3
    s = jnp.where(codes <= -gamma / 2, 0.0, jnp.where(codes >= gamma / 2, 1.0, inside))
    table = np.array([[code >> j & 1 for j in range(bits)] for code in range(2**bits)])
    s = s[:, :, None]
    each = jnp.where(table[None, None] == 1, s, 1 - s).prod(axis=-1)
    # Codes without an expert of their own are those of the first ones.
    second = each[..., count:]
    chosen = each[..., :count].at[..., : second.shape[-1]].add(second)
    shares = jnp.exp(mix) / jnp.exp(mix).sum(axis=1, keepdims=True)
    return (shares[..., None] * chosen).sum(axis=1)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("per_sample", [False, True])
def test_losses_and_gradients_are_those_of_products_over_bits(per_sample):
    def output(shared, own, x):
        codes, mix = (
            jnp.broadcast_to(part["bias"], (len(x), len(part["bias"])))
            + (x @ part["kernel"] if per_sample else 0)
            for part in (own["gate"]["codes"], own["gate"]["mix"])
        )
        weights = by_hand(codes.reshape(len(x), 3, 3), mix, 5, gamma=0.7)
        z = mixed(weights, said(shared["stack"], x))
        return number(own["head"], z)

    options = {"selectors": 3, "per_sample": per_sample, "gamma": 0.7}
    assert_as_output_by_hand(model(dtype=jnp.float64, **options), output)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_weights_sum_to_one_decided_or_not(count):
    bits = (count - 1).bit_length()
    scales = np.array([1e-3, 0.4, 10.0])[:, None, None]
    weights = weights_at(scales * RNG.normal(size=(3, 2, bits)), count)
    assert weights.shape == (3, count)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("count", [2, 5, 8])
def test_every_expert_can_be_chosen(count):
    """Alone, with a weight of 1 and exactly 0 for all others."""
    bits = (count - 1).bit_length()
    codes = np.array(list(itertools.product([-0.5, 0.5], repeat=bits)))
    weights = weights_at(codes[:, None], count)
    assert set(weights.argmax(axis=1)) == set(range(count))
    np.testing.assert_array_equal(np.sort(weights)[:, :-1], 0)
    np.testing.assert_array_equal(weights.max(axis=1), 1)


def test_a_choice_has_no_gradient():
    pure = Pure.of(selector_gate(4, 1))
    params, _ = pure.init(KEY)

    def weight(codes):
        of_codes = {**params["codes"], "bias": codes}
        return pure.evaluate({**params, "codes": of_codes}, {}, X)[0, 3]

    codes = jnp.array([[0.5, 0.6], [0.5, 0.2]])
    decided, open_ = np.asarray(jax.jit(jax.vmap(jax.grad(weight)))(codes))
    np.testing.assert_array_equal(decided, 0)
    assert open_[0] == 0
    assert open_[1] > 0


def test_the_smooth_step_is_smooth():
    at = jnp.linspace(-1, 1, 201)
    both = jax.value_and_grad(lambda x: smooth_step(x, 0.8))
    values, slopes = jax.jit(jax.vmap(both))(at)
    assert float(slopes.min()) >= 0
    assert abs(np.diff(slopes)).max() < 0.15  # of at most 1.9; no jump at the ends
    assert (values[at <= -0.4] == 0).all()
    assert (values[at >= 0.4] == 1).all()


SEEDS, SAMPLES, COUNT = 6, 128, 8


def of_two(seed):
    """What eight experts say, two of them by name, and the mean of these."""
    rng = np.random.default_rng(seed)
    experts = rng.normal(size=(SAMPLES, COUNT, 4))
    chosen = np.sort(rng.choice(COUNT, 2, replace=False))
    return experts, chosen, experts[:, chosen].mean(axis=1)


def weights_after(gammas):
    """Of gates trained on the labels of ``of_two``, and which experts made these.

    One training run for each gamma, each from where the one before it ended.
    """
    experts, chosen, labels = map(
        np.stack, zip(*map(of_two, range(SEEDS)), strict=True)
    )
    x = jnp.zeros((SAMPLES, 1))
    tx = optax.adam(0.02)
    pure = Pure.of(selector_gate(COUNT, 2))
    params = jax.vmap(lambda key: pure.init(key)[0])(jax.random.split(KEY, SEEDS))

    def train(params, experts, labels):
        def loss(params):
            found = jnp.einsum("be,bef->bf", gate.evaluate(params, {}, x), experts)
            return ((found - labels) ** 2).mean()

        def step(state, _):
            params, memory = state
            updates, memory = tx.update(jax.grad(loss)(params), memory)
            return (optax.apply_updates(params, updates), memory), None

        start = params, tx.init(params)
        (params, _), _ = jax.lax.scan(step, start, length=500)
        return params, gate.evaluate(params, {}, x)[0]

    for gamma in gammas:
        gate = Pure.of(selector_gate(COUNT, 2, gamma=gamma))
        data = jnp.asarray(experts, jnp.float32), jnp.asarray(labels, jnp.float32)
        params, weights = jax.jit(jax.vmap(train))(params, *data)
    return np.asarray(weights), chosen


def test_two_selectors_find_the_two_experts_that_made_the_labels():
    weights, chosen = weights_after([0.5])
    for found, experts in zip(weights, chosen, strict=True):
        assert np.flatnonzero(found).tolist() == experts.tolist()
        np.testing.assert_allclose(found[experts], 0.5, atol=0.02)


def test_a_smaller_gamma_decides_what_is_undecided():
    wide, _ = weights_after([2.0])
    assert ((wide > 0).sum(axis=1) > 2).any()
    narrow, chosen = weights_after([2.0, 1.0, 0.5])
    found = [np.flatnonzero(weights).tolist() for weights in narrow]
    assert found == chosen.tolist()


def test_the_encoder_gets_no_gradient_from_the_gate():
    """What a gate reads is beside the representation."""
    made = model(selectors=2, per_sample=True)
    params, _ = made.init(KEY)
    problem = made.tasks.problem(regressions(), KEY)
    z = problem.representation(params)
    assert [leaf.shape for leaf in jax.tree.leaves(z)] == [(12, 5, 7)]


MISUSE = {
    "experts": 1,
    "selectors": 6,
    "gamma": 0.0,
    "tower": -1,
    "dropout": 1.0,
    "hidden": (),
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    with pytest.raises(mtopt.UserError, match=f"^{name} is") as caught:
        model(**{name: MISUSE[name]})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: selector_gate(1, 1), "count is 1"),
        (lambda: selector_gate(4, 0), "selectors is 0: expected from 1 to 4"),
        (lambda: selector_gate(4, 2, gamma=float("nan")), "gamma is nan"),
        (
            lambda: selector_gate(4, 2, features=3)(nnx.Rngs(0))(jnp.ones((5, 2))),
            "3 features reads inputs of 2 numbers",
        ),
    ],
)
def test_misuse_of_the_gate(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
