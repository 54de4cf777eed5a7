"""Constants: no step changes them, no method sees them, no program holds them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mtopt
from mtopt.models import functional, join
from mtopt.models.layers import BatchNorm
from mtopt.training.checkpoint import Checkpoints
from mtopt.training.program import shared_program
from tests.helpers.close import assert_close
from tests.helpers.methods import RULES, K, make, over

NAMES = ("a", "b", "c", "d")
WIDTH, SAMPLES = 16, 12
KEY = jax.random.key(0)
# What decides by the rows themselves would decide by those of a wider model otherwise.
ON_GRAMIANS = {name for name, rule in RULES.items() if rule.gradients is not None}
FEW = {"mgda", "nash_mtl", "famo", "equal_weighting"}


def normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def trunk(layers, x):
    for weights in layers:
        x = jnp.tanh(x @ weights)
    return x


def encode(shared, x, key):
    del key
    return features(shared, trunk(shared["trunk"], x))


def features(shared, z):
    return z + jnp.tanh(z @ shared["adapter"]["down"]) @ shared["adapter"]["up"]


def head_loss(head, z, y, mask, key):
    del key
    return mtopt.masked_mean((z @ head - y) ** 2, mask)


def setting(width=WIDTH, x_axis=None):
    """An adapter behind a trunk, with some labels missing."""
    layers = [normal(width, width, seed=i) / width**0.5 for i in range(3)]
    shared = {
        "trunk": layers,
        "adapter": {"down": normal(width, 2), "up": normal(2, width)},
    }
    params = {"shared": shared, "tasks": mtopt.PerTask(normal(K, width), NAMES)}
    params = jax.device_put(params)
    own = (K,) if x_axis == 0 else ()
    mask = np.random.default_rng(0).random((K, SAMPLES)) < 0.8
    batch = mtopt.Batch(normal(*own, SAMPLES, width), normal(K, SAMPLES), mask)
    return mtopt.Tasks(NAMES, encode, head_loss, x_axis=x_axis), params, batch


def frozen(*given):
    tasks, params, batch = setting(*given)
    return *mtopt.freeze(tasks, params, "trunk"), batch


def chain(name="mgda"):
    return mtopt.chain(make(name, K), optax.adamw(1e-2, weight_decay=0.1))


def start(params, constants, tx):
    return mtopt.TrainState.create(params, tx, KEY, constants=constants)


def lowered(tasks, params, constants, batch, tx):
    state = start(params, constants, tx)
    return mtopt.make_train_step(tasks, tx).lower(state, batch)


@over(ON_GRAMIANS, slow=ON_GRAMIANS - FEW)
def test_weights_are_those_of_the_model_whose_trunk_is_not_there(name):
    tasks, params, constants, batch = frozen()
    tx = chain(name)
    state, step = start(params, constants, tx), mtopt.make_train_step(tasks, tx)
    z = trunk([jnp.asarray(own) for own in constants["trunk"]], batch.x)
    alone = mtopt.Tasks(NAMES, lambda shared, x, key: features(shared, x), head_loss)
    rest = {**params, "shared": {"adapter": params["shared"]["adapter"]}}
    other, step_alone = start(rest, None, tx), mtopt.make_train_step(alone, tx)
    inner = mtopt.Batch(z, batch.y, batch.mask)
    for _ in range(3):
        state, metrics = step(state, batch)
        other, expected = step_alone(other, inner)
        assert_close(metrics["losses"], expected["losses"], rtol=1e-5)
        found, wanted = (
            optax.tree.get(each.opt_state, "weights") for each in (state, other)
        )
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    adapter = state.params["shared"]["adapter"]
    assert_close(adapter, other.params["shared"]["adapter"], rtol=1e-3)


def test_they_cost_no_row_and_stand_in_no_program():
    """As little as a trunk that is written into the program, which grows by it."""
    tasks, params, constants, batch = frozen(64)
    tx = mtopt.chain(mtopt.mgda(K), optax.adam(1e-2))
    with_them = lowered(tasks, params, constants, batch, tx)
    layers = [jnp.asarray(own) for own in constants["trunk"]]
    closed = mtopt.Tasks(
        NAMES, lambda shared, x, key: features(shared, trunk(layers, x)), head_loss
    )
    rest = {**params, "shared": {"adapter": params["shared"]["adapter"]}}
    without = lowered(closed, rest, None, batch, tx)
    flops, least = (
        each.compile().cost_analysis()["flops"] for each in (with_them, without)
    )
    assert flops <= 1.02 * least
    every = lowered(*setting(64)[:2], None, batch, tx).compile()
    assert flops < 0.7 * every.cost_analysis()["flops"]
    narrow, wide = (len(lowered(*frozen(n), tx).as_text()) for n in (64, 128))
    assert wide < 1.05 * narrow
    assert len(without.as_text()) > 2 * narrow


class Trunk(nnx.Module):
    """A body with batch normalisation and dropout, and an adapter with both."""

    def __init__(self, rngs):
        self.body = nnx.List(
            [nnx.Linear(5, WIDTH, rngs=rngs), BatchNorm(WIDTH), nnx.Dropout(0.5)]
        )
        self.adapter = nnx.Sequential(nnx.Linear(WIDTH, 3, rngs=rngs), BatchNorm(3))
        self.body[2].rngs = rngs

    def __call__(self, x):
        for layer in self.body:
            x = layer(x)
        return self.adapter(jax.nn.relu(x))


def branch(rngs):
    return nnx.Linear(3, 1, rngs=rngs)


def network(x_axis, names=NAMES):
    return functional(Trunk, branch, names, kind="regression", x_axis=x_axis)


def copied(tree):
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)


def equal(one, other):
    return jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), one, other))


@pytest.mark.parametrize("guard", [None, "skip_step"])
@pytest.mark.parametrize("x_axis", [None, 0])
def test_no_bit_of_them_changes_in_a_thousand_steps(x_axis, guard):
    params, model_state = network(x_axis).init(KEY)
    model, params, constants = mtopt.freeze(network(x_axis), params, "body")
    tx = chain()
    step = mtopt.make_train_step(model.tasks, tx, on_nonfinite=guard)
    state = mtopt.TrainState.create(params, tx, KEY, model_state, constants)
    own = (K,) if x_axis == 0 else ()
    x, y = 3 + normal(*own, SAMPLES, 5), normal(K, SAMPLES)
    before, rest = copied((constants, model_state)), copied(state.params)

    @jax.jit
    def many(state):
        def one(state, here):
            mask = jnp.broadcast_to(here[:, None], y.shape)
            return step(state, mtopt.Batch(jnp.asarray(x), jnp.asarray(y), mask))[0], ()

        present = jax.random.bernoulli(KEY, 0.7, (1000, K)).at[:, 0].set(True)
        return jax.lax.scan(one, state, present)[0]

    after = many(state)
    assert after.step == 1000
    assert equal(before[0], after.constants)
    statistics = [
        own.values if x_axis == 0 else own for own in (before[1], after.model_state)
    ]
    assert equal(*(own["body"] for own in statistics))
    adapter = [own["adapter"] for own in statistics]
    for pair in ((rest["shared"], after.params["shared"]), adapter):
        for old, new in zip(*map(jax.tree.leaves, pair), strict=True):
            assert (old != new).any()


def test_frozen_modules_run_as_in_evaluation_and_others_as_in_training():
    whole = network(None)
    params, model_state = whole.init(KEY)
    model, rest, constants = mtopt.freeze(whole, params, "body")
    x = jnp.asarray(3 + normal(SAMPLES, 5))
    labelled = jnp.ones(SAMPLES, bool)
    for seed in (1, 2):  # dropout draws nothing
        z, moved = model.tasks.encode(
            params["shared"], x, jax.random.key(seed), model_state, labelled
        )
        own = jax.tree.map(np.asarray, params["shared"])
        body, adapter = own["body"][0], own["adapter"]["layers"][0]
        hidden = np.asarray(x) @ body["kernel"] + body["bias"]
        hidden = np.maximum(hidden / np.sqrt(1 + 1e-5), 0)  # running mean 0, variance 1
        out = hidden @ adapter["kernel"] + adapter["bias"]
        out = (out - out.mean(0)) / np.sqrt(out.var(0) + 1e-5)
        assert_close(z, out, rtol=1e-4)
        assert equal(moved["body"], model_state["body"])
    # A module of which a part is trained is in training.
    partly, *_ = mtopt.freeze(whole, params, lambda path: path.startswith("body.0"))
    _, moved = partly.tasks.encode(params["shared"], x, KEY, model_state, labelled)
    assert not equal(moved["body"], model_state["body"])
    assert_close(
        model.predict(mtopt.thaw(rest, constants), model_state, x),
        whole.predict(params, model_state, x),
        rtol=1e-6,
    )


OPTIONS = {
    "micro-batches": {"micro_batches": 3},
    "a guard": {"on_nonfinite": "skip_task"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(
    "tx",
    [mtopt.mgda(K), mtopt.flat_regions(mtopt.mgda(K), rho=0.1), mtopt.graddrop(K)],
    ids=["mgda", "flat_regions", "graddrop"],
)
def test_a_step_is_that_of_a_trunk_that_is_closed_over(tx, options):
    tasks, params, constants, batch = frozen()
    layers = [jnp.asarray(own) for own in constants["trunk"]]
    closed = mtopt.Tasks(
        NAMES, lambda shared, x, key: features(shared, trunk(layers, x)), head_loss
    )
    rest = {**params, "shared": {"adapter": params["shared"]["adapter"]}}
    tx = mtopt.chain(tx, optax.sgd(0.1))
    found, _ = mtopt.make_train_step(tasks, tx, **options)(
        start(params, constants, tx), batch
    )
    expected, _ = mtopt.make_train_step(closed, tx, **options)(
        start(rest, None, tx), batch
    )
    own = found.params["shared"]["adapter"], found.params["tasks"]
    assert_close(
        own, (expected.params["shared"]["adapter"], expected.params["tasks"]), rtol=1e-4
    )


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_groups_have_them_in_common(micro_batches):
    models = [
        functional(
            lambda rngs: nnx.Sequential(
                nnx.Linear(5, WIDTH, rngs=rngs),
                jnp.tanh,
                nnx.Linear(WIDTH, 3, rngs=rngs),
            ),
            branch,
            names,
            kind=kind,
        )
        for names, kind in ((("a", "b"), "regression"), (("c",), "binary"))
    ]
    model = join(models, shared_inputs=True)
    params, _ = model.init(KEY)
    own, rest, constants = mtopt.freeze(model, params, "layers.0")
    before = copied(constants)
    tx = mtopt.chain(mtopt.mgda(3), optax.sgd(0.1))
    step = mtopt.make_train_step(own.tasks, tx, micro_batches=micro_batches)
    y = normal(2, SAMPLES), (normal(1, SAMPLES) > 0).astype(np.float32)
    batch = mtopt.Batch(
        normal(SAMPLES, 5), y, tuple(np.ones(each.shape, bool) for each in y)
    )
    state, _ = step(start(rest, constants, tx), batch)
    assert equal(before, state.constants)
    whole = mtopt.thaw(state.params, state.constants)
    assert jax.tree.structure(whole) == jax.tree.structure(params)


def test_seeds_have_one_copy_of_them():
    tasks, params, constants, batch = frozen()
    tx = chain()
    alone = [
        start(jax.tree.map(lambda leaf, s=s: leaf * (1 + s), params), constants, tx)
        for s in range(2)
    ]
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    axes = mtopt.TrainState(*(0,) * 7, None)
    stack = dataclasses.replace(stack, constants=alone[0].constants)
    step = mtopt.make_train_step(tasks, tx, donate=False)
    many = jax.jit(jax.vmap(step, (axes, None), (axes, 0)))
    found, _ = many(stack, batch)
    assert equal(found.constants, constants)
    for s, state in enumerate(alone):
        own, _ = step(state, batch)
        one = jax.tree.map(lambda leaf, s=s: leaf[s], found.params)
        assert_close(one, own.params, rtol=1e-4)


def test_averages_are_evaluated_with_them_and_checkpoints_hold_them(tmp_path):
    tasks, params, constants, batch = frozen()
    tx = mtopt.chain(mtopt.mgda(K), optax.adam(1e-2), mtopt.average_parameters(0.9))
    state, _ = mtopt.make_train_step(tasks, tx)(start(params, constants, tx), batch)
    whole = setting()[1]
    assert jax.tree.structure(state.evaluated_params) == jax.tree.structure(whole)
    assert equal(state.evaluated_params["shared"]["trunk"], whole["shared"]["trunk"])
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        again = checkpoints.load(1, start(params, constants, tx))
    assert equal(again.constants, constants)
    assert equal(again.params, state.params)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("trunc", r"nothing at 'trunc': did you mean 'trunk'"),
        ("head", r"nothing at 'head'.* below adapter, trunk"),
        (["trunk", "trunk.7"], r"nothing at 'trunk.7'"),
        ("tr", r"nothing at 'tr'"),
        (lambda path: False, r"freezes nothing of params.*adapter\.down"),
        ([], r"freezes nothing"),
    ],
)
def test_paths_that_name_nothing_are_one_line(where, message):
    tasks, params, _ = setting()
    with pytest.raises(mtopt.UserError, match=message) as found:
        mtopt.freeze(tasks, params, where)
    assert "\n" not in str(found.value)


def test_a_model_that_cannot_be_told_is_refused_where_it_keeps_statistics():
    model = network(None)
    params, _ = model.init(KEY)
    untold = dataclasses.replace(model, encode_frozen=None)
    with pytest.raises(mtopt.UserError, match="cannot be told"):
        mtopt.freeze(untold, params, "body")


def test_a_model_keeps_what_was_changed_of_it():
    model = network(None)
    params, _ = model.init(KEY)
    tasks = dataclasses.replace(
        model.tasks, remat=True, rows="never", head_loss=lambda *own: jnp.float32(7)
    )
    own, *_ = mtopt.freeze(dataclasses.replace(model, tasks=tasks), params, "body")
    assert (own.tasks.remat, own.tasks.rows) == (True, "never")
    assert own.tasks.head_loss is tasks.head_loss
    assert own.tasks.encode is not tasks.encode


def test_what_is_frozen_twice_or_there_twice_is_one_line():
    model = network(None)
    params, model_state = model.init(KEY)
    own, rest, constants = mtopt.freeze(model, params, "body")
    with pytest.raises(mtopt.UserError, match=r"has gaps.*frozen already"):
        mtopt.freeze(own, rest, "adapter")
    tx = chain()
    with pytest.raises(mtopt.UserError, match=r"'adapter.*' stands in params.*and in"):
        mtopt.TrainState.create(rest, tx, KEY, model_state, params["shared"])
    with pytest.raises(mtopt.UserError, match=r"constants are of another tree"):
        mtopt.TrainState.create(rest, tx, KEY, model_state, {"body": constants["body"]})
    with pytest.raises(mtopt.UserError, match=r"has gaps.*evaluated_params"):
        own.predict(rest, model_state, jnp.ones((2, 5)))
    with pytest.raises(mtopt.UserError, match=r"a program starts with all of them"):
        shared_program(own, tx, 1)
    with pytest.raises(mtopt.UserError, match=r"params are \['adapter', 'body'\]"):
        mtopt.freeze(model, params["shared"], "body")


def test_all_that_is_shared_may_be_frozen():
    """Heads alone are trained, by any method; the shared part has no row."""
    model = network(None)
    params, model_state = model.init(KEY)
    own, rest, constants = mtopt.freeze(model, params, lambda path: True)
    for method in ("mgda", "famo"):
        tx = chain(method)
        state = mtopt.TrainState.create(rest, tx, KEY, model_state, constants)
        before = copied(state.params)
        batch = mtopt.Batch(
            normal(SAMPLES, 5), normal(K, SAMPLES), np.ones((K, SAMPLES), bool)
        )
        state, _ = mtopt.make_train_step(own.tasks, tx)(state, batch)
        assert not equal(before["tasks"], state.params["tasks"])
        assert equal(copied(model_state), state.model_state)
        assert jax.tree.leaves(state.params["shared"]) == []
