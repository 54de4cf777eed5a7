"""Behind an aggregator: one task's head at a time, and absent tasks stand still."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers.close import assert_close

NAMES = ("a", "b", "c")
OPTIMIZERS = {
    "adam": lambda: optax.adam(0.01),
    "adaptive_grad_clip": lambda: optax.chain(
        optax.adaptive_grad_clip(0.1), optax.sgd(0.01)
    ),
    "adafactor": lambda: optax.adafactor(0.01, min_dim_size_to_factor=4),
    "muon": lambda: optax.contrib.muon(0.01),
    "novograd": lambda: optax.novograd(0.01),
    "lamb": lambda: optax.lamb(0.01),
    "lars": lambda: optax.lars(0.1),
    "fromage": lambda: optax.fromage(0.01),
    "clip_by_block_rms": lambda: optax.chain(
        optax.clip_by_block_rms(0.1), optax.sgd(0.01)
    ),
    "sm3": lambda: optax.sm3(0.01),
    "lion": lambda: optax.lion(0.01),
    "a decay mask by number of dimensions": lambda: optax.adamw(
        0.01,
        weight_decay=1.0,
        mask=lambda tree: jax.tree.map(lambda w: w.ndim > 1, tree),
    ),
}
FEW = ("adafactor", "a decay mask by number of dimensions")
over_optimizers = pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=() if name in FEW else pytest.mark.slow)
        for name, make in OPTIMIZERS.items()
    ],
)


def encode(shared, x, key):
    return x


def head_loss(head, z, y, mask, key):
    hidden = jnp.tanh(z @ head["w"])
    return mtopt.masked_mean((hidden @ head["v"] + head["c"][0] - y) ** 2, mask)


TASKS = mtopt.Tasks(NAMES, encode, head_loss)


@functools.cache
def data():
    """Drawn by NumPy, and put: every draw of JAX is a program."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape).astype("float32")

    x = normal(16, 6)
    labels = {"a": x[:, 0], "b": 30 * x[:, 1] * x[:, 2], "c": np.float32(0.1) * x[:, 3]}
    heads = {
        name: {
            "w": np.float32(0.4) * normal(6, 8),
            "v": np.float32(0.4) * normal(8),
            "c": np.full(1, 0.3, "float32"),
        }
        for name in NAMES
    }
    return jax.device_put((x, labels, heads))


def train(names, make, steps=6, groups=()):
    """The heads of tasks that share nothing, as they were and after some steps."""
    x, labels, heads = data()
    if groups:
        tasks = mtopt.TaskGroups(
            tuple(mtopt.Tasks(own, encode, head_loss) for own in groups),
            shared_inputs=True,
        )
        parts = [mtopt.Batch.shared(x, {n: labels[n] for n in own}) for own in groups]
        batch = mtopt.Batch(
            x, *(tuple(getattr(part, f) for part in parts) for f in ("y", "mask"))
        )
        stacks = tuple(mtopt.PerTask.stack({n: heads[n] for n in g}) for g in groups)
    else:
        tasks = mtopt.Tasks(names, encode, head_loss)
        batch = mtopt.Batch.shared(x, {name: labels[name] for name in names})
        stacks = mtopt.PerTask.stack({name: heads[name] for name in names})
    params = {"shared": {"u": jnp.ones((2, 2))}, "tasks": stacks}
    tx = mtopt.chain(mtopt.equal_weighting(len(names), reduction="sum"), make())

    def step(carry, _):
        params, state = carry
        seen = tasks.problem(batch, jax.random.key(0)).evaluate(params)
        updates, state = tx.update(seen.gradients, state, params, evaluation=seen)
        return (optax.apply_updates(params, updates), state), None

    carry = params, tx.init(params)
    trained, _ = jax.jit(lambda carry: jax.lax.scan(step, carry, None, steps)[0])(carry)
    after = trained["tasks"] if groups else (trained["tasks"],)
    return {name: head for stack in after for name, head in stack.by_name().items()}


def assert_as_alone(found, make, names=NAMES):
    for name in names:
        alone, start = train((name,), make)[name], data()[2][name]
        for leaf, before in start.items():
            moved = np.abs(alone[leaf] - before).max()
            assert moved > 1e-4
            np.testing.assert_allclose(
                found[name][leaf], alone[leaf], atol=1e-3 * moved
            )


@over_optimizers
def test_a_head_moves_as_when_its_task_is_trained_alone(make):
    assert_as_alone(train(NAMES, make), make, ("b",))


def test_so_do_those_of_groups():
    groups = (("a", "c"), ("b",))
    assert_as_alone(train(NAMES, OPTIMIZERS["lamb"], groups=groups), OPTIMIZERS["lamb"])


def both_chains(*behind):
    """Updates of mtopt.chain and of optax.chain on heads of unequal gradients."""
    params = {
        "shared": {"u": np.ones(2, "float32")},
        "tasks": mtopt.PerTask({"w": np.ones((3, 2, 2), "float32")}, NAMES),
    }
    rising = np.arange(1, 4, dtype="float32")[:, None, None]
    updates = {
        "shared": {"u": np.ones((3, 2), "float32")},
        "tasks": mtopt.PerTask({"w": rising * params["tasks"].values["w"]}, NAMES),
    }
    for chain in (mtopt.chain, optax.chain):
        tx = chain(mtopt.equal_weighting(3), *behind)
        yield jax.jit(lambda *at, tx=tx: tx.update(at[0], tx.init(at[1]), at[1])[0])(
            updates, params
        )


def test_what_looks_at_all_parameters_sees_them_all():
    for behind in (
        optax.clip_by_global_norm(0.1),
        optax.contrib.prodigy(),
        optax.apply_if_finite(optax.sgd(0.1), 3),
    ):
        jax.tree.map(np.testing.assert_array_equal, *both_chains(behind))


def own_norm():
    """A transformation that mtopt has never heard of, of all parameters at once."""

    def update(updates, state, params=None):
        norm = optax.tree.norm(updates)
        return jax.tree.map(lambda leaf: leaf / norm, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def test_so_does_one_that_is_in_no_list():
    jax.tree.map(np.testing.assert_array_equal, *both_chains(own_norm()))


class WithoutDict:
    """An optimizer whose update is a method of an object without attributes."""

    __slots__ = ()

    def update(self, updates, state, params=None):
        return jax.tree.map(lambda leaf: -leaf, updates), state


def of_unusual_make():
    def update(updates, state, params=None):
        return jax.tree.map(lambda leaf: -leaf, updates), state if waits else again()

    waits = True
    if not waits:
        again = update  # a name of the closure that is never bound
    return optax.GradientTransformation(lambda params: (), update)


@pytest.mark.parametrize(
    "behind",
    [
        optax.GradientTransformation(lambda params: (), WithoutDict().update),
        of_unusual_make(),
    ],
    ids=["a method of an object without attributes", "a name that is not bound"],
)
def test_a_transformation_of_any_make_is_taken(behind):
    jax.tree.map(np.testing.assert_array_equal, *both_chains(behind))


def test_one_that_is_both_has_to_be_taken_apart():
    both = optax.chain(optax.clip_by_global_norm(0.1), optax.lamb(0.1))
    with pytest.raises(
        mtopt.UserError, match=r"scale_by_trust_ratio looks at one layer"
    ):
        list(both_chains(both))
    first, second = both_chains(optax.clip_by_global_norm(0.1), optax.lamb(0.1))
    assert_close(first["shared"]["u"], second["shared"]["u"], rtol=1e-6)


LAYERS_BESIDE = {
    "optax.chain": lambda *both: optax.chain(*both),
    "optax.named_chain": lambda *both: optax.named_chain(*zip("ab", both, strict=True)),
    "in a partition": lambda *both: optax.partition({"all": optax.chain(*both)}, "all"),
    "around a chain": lambda method, layers: optax.chain(mtopt.chain(method), layers),
}


@pytest.mark.parametrize("beside", LAYERS_BESIDE.values(), ids=LAYERS_BESIDE)
@pytest.mark.parametrize(
    "build",
    [mtopt.chain, functools.partial(mtopt.make_train_step, TASKS)],
    ids=["chain", "step"],
)
def test_an_optimizer_of_layers_stands_in_a_chain_that_maps_it(beside, build):
    expected = r"scale_by_trust_ratio.*expected mtopt\.chain\(mtopt\.mgda\(3\), optax"
    with pytest.raises(mtopt.UserError, match=expected):
        build(beside(mtopt.mgda(3), optax.lamb(0.1)))
    build(beside(mtopt.mgda(3), optax.adam(0.1)))
    build(optax.partition({"all": mtopt.chain(mtopt.mgda(3), optax.lamb(0.1))}, "all"))


def test_an_optimizer_that_takes_no_scalars_says_so():
    params = {"shared": jnp.ones(2), "tasks": mtopt.PerTask(jnp.ones(3), NAMES)}
    tx = mtopt.chain(mtopt.equal_weighting(3), optax.sm3(0.1))
    with pytest.raises(
        mtopt.UserError, match=r"sm3 takes no scalar parameters.*\(1,\)"
    ):
        tx.init(params)


def test_the_state_has_one_count_and_a_moment_for_each_head():
    params = {
        "shared": jnp.ones((4, 4)),
        "tasks": mtopt.PerTask(jnp.ones((3, 4, 5)), NAMES),
    }
    tx = mtopt.chain(
        mtopt.equal_weighting(3), optax.adafactor(0.1, min_dim_size_to_factor=2)
    )
    state = tx.init(params)
    assert optax.tree.get(state, "v_row")["tasks"].values.shape == (3, 4)
    assert optax.tree.get(state, "v_col")["tasks"].values.shape == (3, 5)
    assert {c.shape for _, c in optax.tree.get_all_with_path(state, "count")} == {()}


ABSENT = {
    "adam": lambda: optax.adam(0.1),
    "momentum and decay": lambda: optax.chain(
        optax.add_decayed_weights(0.1), optax.sgd(0.1, momentum=0.9)
    ),
    "decay alone": lambda: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)),
}


@pytest.mark.parametrize("make", ABSENT.values(), ids=ABSENT)
def test_an_absent_task_stands_still(make):
    """After its return it goes on as if the batches without it had not been."""
    params = {"shared": jnp.ones(2), "tasks": mtopt.PerTask(jnp.ones((3, 2)), NAMES)}
    rows = jnp.arange(1.0, 7).reshape(3, 2)
    gradients = {"shared": rows, "tasks": mtopt.PerTask(rows, NAMES)}

    def heads(presence, absent="wait"):
        tx = mtopt.chain(mtopt.equal_weighting(3), make(), absent=absent)
        own, state = params, tx.init(params)
        for present in presence:
            seen = mtopt.Evaluation(present=jnp.array([True, present, True]))
            updates, state = tx.update(gradients, state, own, evaluation=seen)
            own = optax.apply_updates(own, updates)
        return own["tasks"], optax.tree.get(state, "mu", default=None)

    first, after = heads([True]), heads([True, False, False])
    np.testing.assert_array_equal(after[0]["b"], first[0]["b"])
    assert (after[0]["a"] != first[0]["a"]).all()
    if after[1] is not None:
        np.testing.assert_array_equal(after[1]["tasks"]["b"], first[1]["tasks"]["b"])
    assert (heads([True, False], "move")[0]["b"] != first[0]["b"]).all()


def test_another_value_of_absent_is_an_error():
    with pytest.raises(mtopt.UserError, match="absent"):
        mtopt.chain(mtopt.mgda(2), absent="stay")
