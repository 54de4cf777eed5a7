"""Models whose shared parameters are coefficients: what they are, learn and cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.merging import blockwise, isotropic, merged, slerp, task_vectors
from mtopt.merging.slerp import weights_of
from mtopt.models import MODELS, join
from tests.helpers.close import assert_close
from tests.helpers.methods import make, over

NAMES, KEY = ("a", "b"), jax.random.key(0)
RULES = {"blockwise": blockwise, "isotropic": isotropic, "slerp": slerp}
N = 3


def normal(*shape, seed=0):
    found = np.random.default_rng((seed, *shape)).normal(size=shape)
    return jnp.asarray(found.astype(np.float32))


def encode(shared, x, key):
    del key
    return x @ shared["w"] + (x**2) @ shared["v"]


def head_loss(head, z, y, mask, key):
    del key
    return mtopt.masked_mean(((z @ head - y) ** 2).mean(axis=1), mask)


def parameters(seed, width=4):
    return {"w": normal(6, width, seed=seed), "v": normal(6, width, seed=seed + 100)}


@functools.cache
def setting(rule, x_axis=None, width=4):
    """A model that is linear in its parameters, and three that were tuned."""
    heads = jnp.stack([jnp.eye(width), jnp.eye(width)[::-1]])
    base = {"shared": parameters(0, width), "tasks": mtopt.PerTask(heads, NAMES)}
    tuned = [parameters(i + 1, width) for i in range(N)]
    tasks = mtopt.Tasks(NAMES, encode, head_loss, x_axis=x_axis)
    vectors = task_vectors(base["shared"], tuned)
    return base, tuned, tasks, merged(tasks, base, vectors, RULES[rule])


def at(rule, coefficients):
    """The merged shared parameters, as ``encode`` gets them."""
    seen = []
    base, _, _, (_, params, held) = setting(rule)
    tasks = mtopt.Tasks(
        NAMES, lambda shared, x, key: seen.append(shared) or x @ shared["w"], head_loss
    )
    vectors = held["vectors"]
    own, params, held = merged(tasks, base, vectors, RULES[rule])
    params["shared"]["coefficients"] = coefficients
    own.encode(mtopt.thaw(params, held)["shared"], normal(5, 6), KEY)
    return seen[0]


def starting(rule):
    return setting(rule)[3][1]["shared"]["coefficients"]


@pytest.mark.parametrize("rule", ["blockwise", "isotropic"])
def test_coefficients_of_zero_are_the_base_and_a_unit_row_is_a_tuned_model(rule):
    base, tuned, _, _ = setting(rule)
    zero = starting(rule)
    jax.tree.map(np.testing.assert_array_equal, at(rule, zero), base["shared"])
    for i, own in enumerate(tuned):
        unit = jax.tree.map(lambda leaf, i=i: leaf.at[i].set(1.0), zero)
        assert_close(at(rule, unit), own, rtol=1e-6)


def trained(rule, targets, *, method="equal_weighting", steps=2000, rate=0.01):
    """The coefficients that come nearest to some outputs, all samples in each step."""
    _, _, _, (tasks, params, held) = setting(rule)
    x = normal(40, 6, seed=7)
    heads = params["tasks"].values
    y = jnp.stack([encode(targets, x, KEY) @ head for head in heads])
    batch = mtopt.Batch(x, y, jnp.ones((2, 40), bool))
    descent = optax.sgd(optax.cosine_decay_schedule(rate, steps), momentum=0.9)
    tx = mtopt.chain(make(method, 2), descent, mtopt.scale_tasks(0))
    step = mtopt.make_train_step(tasks, tx)
    state = mtopt.TrainState.create(params, tx, KEY, constants=held)

    @jax.jit
    def run(state):
        def one(state, _):
            return step(state, batch)[0], None

        return jax.lax.scan(one, state, length=steps)[0]

    after = run(state)
    np.testing.assert_array_equal(after.params["tasks"].values, heads)
    return after.params["shared"]["coefficients"]


@pytest.mark.parametrize("method", ["equal_weighting", "mgda"])
def test_planted_coefficients_of_blocks_are_found(method):
    planted = {"w": jnp.array([0.3, -0.5, 1.2]), "v": jnp.array([0.0, 0.7, -0.1])}
    found = trained("blockwise", at("blockwise", planted), method=method)
    assert_close(found, planted, rtol=1e-5)


def test_planted_coefficients_of_vectors_are_found_and_are_too_few_for_blocks():
    planted = jnp.array([0.3, -0.5, 1.2])
    found = trained("isotropic", at("isotropic", planted))
    assert_close(found, planted, rtol=1e-5)
    blocks = {"w": planted, "v": planted[::-1]}
    target = at("blockwise", blocks)
    off = at("isotropic", trained("isotropic", target))
    assert max(float(abs(off[name] - target[name]).max()) for name in target) > 0.5


def test_a_planted_position_and_length_are_found():
    planted = {"position": jnp.array([0.5, -0.3, 0.1]), "norm": jnp.array(1.4)}
    found = trained("slerp", at("slerp", planted), steps=4000)
    assert_close(found["norm"], planted["norm"], rtol=1e-4)
    ratios = found["position"] - found["position"][0]
    expected = planted["position"] - planted["position"][0]
    np.testing.assert_allclose(ratios, expected, atol=1e-3)


def test_a_position_is_a_point_of_a_great_circle():
    vectors = jnp.array([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    products = vectors @ vectors.T
    for lead, expected in ((40.0, [1, 0]), (-40.0, [0, 1])):
        weights = weights_of(jnp.array([lead, 0.0]), products)
        np.testing.assert_allclose(weights, expected, atol=1e-6)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(weights_of(jnp.zeros(2), products), half, rtol=1e-6)
    # A third of the way, at a : b = 2 : 1, and of one length all along.
    thirds = weights_of(jnp.log(jnp.array([2.0, 1.0])), products)
    np.testing.assert_allclose(
        thirds, np.sin(np.pi / 2 * np.array([2, 1]) / 3), rtol=1e-5
    )
    # Of other lengths, the weights of the vectors are the same.
    longer = jnp.diag(jnp.array([1.0, 16.0]))
    np.testing.assert_allclose(weights_of(jnp.zeros(2), longer), half, rtol=1e-6)
    moved = weights_of(5 + jnp.log(jnp.array([2.0, 1.0])), products)
    np.testing.assert_allclose(moved, thirds, rtol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(thirds @ vectors), 3, rtol=1e-5)


@pytest.mark.parametrize("other", [[2.0, 0.0], [-1.0, 0.0], [1.0, 1e-6], [0.0, 0.0]])
def test_between_parallel_vectors_it_is_a_straight_line(other):
    vectors = jnp.array([[1.0, 0.0], other])

    def end(position):
        return weights_of(position, vectors @ vectors.T) @ vectors

    position = jnp.log(jnp.array([3.0, 1.0]))
    expected = 0.75 * vectors[0] + 0.25 * vectors[1]
    np.testing.assert_allclose(end(position), expected, atol=1e-5)
    assert np.isfinite(jax.jacobian(end)(position)).all()


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("lead", [-500.0, 500.0])
def test_positions_far_apart_are_finite(lead, place):
    def weights(position):
        return weights_of(position, jnp.eye(3))

    position = jnp.zeros(3).at[place].set(lead)
    assert np.isfinite(jax.jacobian(weights)(position)).all()
    found = np.asarray(weights(position))
    if lead > 0 and place == 2:  # the last is alone
        np.testing.assert_allclose(found, [0, 0, 1], atol=1e-6)
    if lead < 0 and place == 2:
        np.testing.assert_allclose(found[2], 0, atol=1e-6)
    assert np.isfinite(found).all()


def test_vectors_of_another_tree_are_one_line():
    base, _, tasks, (*_, held) = setting("blockwise")
    with pytest.raises(mtopt.UserError, match=r"vectors\['v'\] is not there"):
        merged(tasks, base, {"w": held["vectors"]["w"]}, blockwise)
    with pytest.raises(mtopt.UserError, match=r"vectors\['v'\] is \(4,\)"):
        merged(tasks, base, base["shared"], blockwise)


@pytest.mark.parametrize("x_axis", [None, 0])
@pytest.mark.parametrize("rule", RULES)
def test_a_step_merges_once_and_pulls_back_once(rule, x_axis):
    """4 n D FLOPs, whatever the number of tasks; the norm of slerp is a few more."""
    width = 64
    base, _, plain, (tasks, params, held) = setting(rule, x_axis, width)
    own = (2,) if x_axis == 0 else ()
    batch = mtopt.Batch(normal(*own, 8, 6), normal(2, 8, width), jnp.ones((2, 8), bool))
    tx = mtopt.chain(mtopt.equal_weighting(2), optax.sgd(0.1))

    def flops(tasks, params, constants):
        state = mtopt.TrainState.create(params, tx, KEY, constants=constants)
        lowered = mtopt.make_train_step(tasks, tx).lower(state, batch)
        return lowered.compile().cost_analysis()["flops"]

    entries = sum(leaf.size for leaf in jax.tree.leaves(base["shared"]))
    extra = flops(tasks, params, held) - flops(plain, base, None)
    assert extra <= 4.4 * N * entries


@over(mtopt.METHODS)
def test_every_method_aggregates_gradients_of_coefficients(name):
    _, _, _, (tasks, params, held) = setting("blockwise")
    tx = mtopt.chain(make(name, 2), optax.adam(1e-2))
    batch = mtopt.Batch(normal(8, 6), normal(2, 8, 4), jnp.ones((2, 8), bool))

    def start():
        return mtopt.TrainState.create(params, tx, KEY, constants=held)

    before = jax.eval_shape(start)
    after, _ = jax.eval_shape(mtopt.make_train_step(tasks, tx), before, batch)
    assert jax.tree.structure(after) == jax.tree.structure(before)


def test_models_of_networks_are_merged_and_joined():
    x = normal(5, 4)
    each = [
        MODELS["mlp"]((4,), names=names, kind=kind, outputs=1, hidden=(6,))
        for names, kind in ((("a", "b"), "regression"), (("c",), "binary"))
    ]
    for model in (each[0], join(each, shared_inputs=True)):
        base, model_state = model.init(KEY)
        tuned = model.init(jax.random.key(1))[0]["shared"]
        vectors = task_vectors(base["shared"], [tuned])
        own, params, held = merged(model, base, vectors, isotropic)
        for weight, shared in ((0.0, base["shared"]), (1.0, tuned)):
            params["shared"]["coefficients"] = jnp.array([weight])
            found = own.predict(mtopt.thaw(params, held), model_state, x)
            expected = model.predict({**base, "shared": shared}, model_state, x)
            assert_close(found, expected, rtol=1e-5)
        problem = own.tasks
        groups = getattr(problem, "groups", (problem,))
        assert len({group.encode for group in groups}) == 1
