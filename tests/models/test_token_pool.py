"""Tokens for an absent input: what is chosen, what moves, what they are worth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mtopt
from mtopt.models import functional
from mtopt.models.token_pool import token_pool

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
CODES, WIDTH = 4, 6


class Both(nnx.Module):
    """Tokens of one input, or of the pool where it is absent, chosen by the other."""

    def __init__(self, entries, rngs):
        self.linear = nnx.Linear(WIDTH, 8, rngs=rngs)
        self.pool = token_pool(entries, 1, features=WIDTH)(rngs)

    def __call__(self, x):
        tokens = self.pool(x["tokens"], x["present"], x["other"])
        return jax.nn.relu(self.linear(tokens.mean(axis=1)))


@functools.cache
def model(entries):
    return functional(
        lambda rngs: Both(entries, rngs),
        lambda rngs: nnx.Linear(8, CODES, rngs=rngs),
        ("code",),
        kind="classification",
    )


def samples(size, seed, present):
    """A code, its token, and another input that tells the code as well."""
    rng = np.random.default_rng(seed)
    code = rng.integers(CODES, size=size)
    shown = np.random.default_rng(9).normal(size=(2, CODES, WIDTH))
    tokens, other = shown[:, code] + 0.1 * rng.normal(size=(2, size, WIDTH))
    there = np.full(size, present) if present is not None else rng.random(size) < 0.5
    x = {"tokens": tokens[:, None], "present": there, "other": 3 * other}
    x = jax.tree.map(lambda a: jnp.asarray(a, bool if a.dtype == bool else "f4"), x)
    return mtopt.Batch.shared(x, {"code": jnp.asarray(code)})


def test_chosen_are_the_entries_nearest_to_the_query_in_order():
    module = token_pool(7, 3, features=4)(nnx.Rngs(0))
    query = RNG.normal(size=(5, 4)).astype(np.float32)
    found = module(jnp.zeros((5, 3, 4)), jnp.zeros(5, bool), jnp.asarray(query))
    pool = np.asarray(module.pool[...])
    order = np.argsort(-(query @ pool.T), axis=1)[:, :3]
    np.testing.assert_array_equal(found, pool[order])


def test_where_the_input_is_there_nothing_changes():
    """Bit for bit that of a model without a pool, forward and back."""
    batch = samples(16, 0, present=True)
    plain = functional(
        lambda rngs: nnx.Sequential(
            lambda x: x["tokens"].mean(axis=1),
            nnx.Linear(WIDTH, 8, rngs=rngs),
            jax.nn.relu,
        ),
        lambda rngs: nnx.Linear(8, CODES, rngs=rngs),
        ("code",),
        kind="classification",
    )
    params, _ = jax.jit(model(12).init)(KEY)
    without = {"layers": {1: params["shared"]["linear"]}}
    gradients = [
        jax.jit(
            lambda shared, tasks=tasks: tasks.problem(batch, KEY, {}).losses_and_grads(
                {**params, "shared": shared}
            )
        )(shared)
        for tasks, shared in (
            (model(12).tasks, params["shared"]),
            (plain.tasks, without),
        )
    ]
    (loss, grads), (wanted, expected) = gradients
    np.testing.assert_array_equal(loss, wanted)
    jax.tree.map(
        np.testing.assert_array_equal,
        grads["shared"]["linear"],
        expected["shared"]["layers"][1],
    )
    assert not np.any(grads["shared"]["pool"]["pool"])


def test_only_chosen_entries_of_absent_inputs_move_and_the_query_does_not():
    batch = samples(6, 1, present=None)
    there = np.asarray(batch.x["present"])
    assert 0 < there.sum() < 6
    params, state = jax.jit(model(12).init)(KEY)
    pool = np.asarray(params["shared"]["pool"]["pool"])
    chosen = np.argmax(np.asarray(batch.x["other"]) @ pool.T, axis=1)[~there]
    tx = mtopt.chain(mtopt.equal_weighting(1), optax.sgd(0.1))
    start = mtopt.TrainState.create(params, tx, KEY, state)
    moved, _ = mtopt.make_train_step(model(12).tasks, tx, donate=False)(start, batch)
    after = np.asarray(moved.params["shared"]["pool"]["pool"])
    rows = (after != pool).any(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(rows), np.unique(chosen))

    def loss(other):
        own = mtopt.Batch({**batch.x, "other": other}, batch.y, batch.mask)
        return model(12).tasks.problem(own, KEY, state).losses(params)[0]

    assert not np.any(jax.jit(jax.grad(loss))(batch.x["other"]))


def test_a_pool_beats_a_constant_where_the_other_input_tells():
    """The encoder reads the tokens alone; half of the inputs are absent."""
    accuracy = {}
    for entries in (1, 16):
        tx = mtopt.chain(mtopt.equal_weighting(1), optax.adam(0.03))
        params, state = jax.jit(model(entries).init)(KEY)
        start = mtopt.TrainState.create(params, tx, KEY, state)
        step = mtopt.make_train_step(model(entries).tasks, tx)
        batch = samples(256, 2, present=None)
        for _ in range(50):
            start, _ = step(start, batch)
        test = samples(400, 3, present=False)
        logits = model(entries).predict(start.params, {}, test.x)[0]
        found = np.asarray(logits).argmax(axis=1)
        accuracy[entries] = (found == np.asarray(test.y[0])).mean()
    # Two codes may choose the same entry: the choice is not learned.
    assert accuracy[1] < 0.4
    assert accuracy[16] > 0.7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: token_pool(2, 3, features=4), "entries is 2: expected k, which is 3"),
        (lambda: token_pool(2, 0, features=4), "k is 0"),
        (lambda: token_pool(2, 1, features=0), "features is 0"),
        (
            lambda: token_pool(4, 2, features=3)(nnx.Rngs(0))(
                jnp.zeros((5, 1, 3)), jnp.ones(5, bool), jnp.zeros((5, 3))
            ),
            r"expected tokens \(5, 2, 3\) and a query of 3 numbers",
        ),
    ],
)
def test_misuse(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
