"""HoME's hierarchy is what it is by hand; groups, gates and statistics do as told."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtopt
from mtopt import analysis
from mtopt.models import MODELS
from mtopt.models.home import Expert
from mtopt.models.mlp import MLP
from tests.helpers.by_hand import assert_as_by_hand, at
from tests.helpers.close import assert_close
from tests.helpers.experts import mixed, number, regressions, weighed
from tests.helpers.methods import over

NAMES = ("a", "b", "c")
D, H = 5, 3
GROUPS = (("a", "c"), ("b",))
GROUP_OF = (0, 1, 0)


def made(**options):
    given = {"groups": GROUPS, "hidden": (4, H), "rank": 2, "group_experts": 2}
    return MODELS["home"](
        (D,), names=NAMES, kind="regression", outputs=1, **given | options
    )


@functools.cache
def started(**options):
    """A model and where it starts, moved so that no gate is the identity."""
    model = made(**options)
    params, state = model.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    moved = jax.tree.map(
        lambda leaf: jnp.asarray(leaf + 0.3 * rng.normal(size=leaf.shape), leaf.dtype),
        params,
    )
    return model, params, moved, state


def expert(own, x, seen):
    """One expert, normalised by the labelled samples."""
    open_to = 2 / (1 + jnp.exp(-(x @ own["down"]["kernel"] @ own["up"])))
    first = own["below"]["layers"][0]
    y = jnp.maximum((x * open_to) @ first["kernel"] + first["bias"][None], 0)
    y = y @ own["layer"]["kernel"]
    share = (seen / seen.sum())[:, None]
    mean = (y * share).sum(0)[None]
    var = ((y - mean) ** 2 * share).sum(0)[None]
    y = (y - mean) / jnp.sqrt(var + 1e-5) * own["norm"]["scale"][None]
    y = y + own["norm"]["bias"][None]
    return y / (1 + jnp.exp(-y))


def by_hand(params, batch):
    shared, own = params["shared"], params["tasks"]["own"]
    meta, used, x = shared["meta"], batch.mask.any(axis=0), batch.x

    def those(stack, x, *index):
        count = len(jax.tree.leaves(at(stack, *index))[0])
        return [expert(at(stack, *index, n), x, used) for n in range(count)]

    of_group = [those(meta["own"]["stack"]["stack"], x, g) for g in (0, 1)]
    of_all = those(meta["shared"]["stack"], x)
    every = [*of_group[0], *of_group[1], *of_all]
    z_all = mixed(weighed(meta["shared_gate"], x), every)
    losses = []
    for k, g in enumerate(GROUP_OF):
        gate = weighed(at(meta["gates"]["stack"], g), x)
        r = jnp.concatenate([mixed(gate, [*of_group[g], *of_all]), z_all], axis=1)
        mine = those(at(own["experts"]["stack"], k), r)
        seen = [
            *mine,
            *those(shared["groups"]["stack"]["stack"], r, g),
            *those(shared["shared"]["stack"], r),
        ]
        h = mixed(weighed(at(own["gate"], k), r), seen)
        scores = r @ at(own["self_gate"]["layers"][0], k)["kernel"]
        scores = scores + at(own["self_gate"]["layers"][0], k)["bias"][None]
        h = h + mine[0] / (1 + jnp.exp(-scores))
        errors = (number(at(params["tasks"]["head"], k), h) - batch.y[k]) ** 2
        losses.append(mtopt.masked_mean(errors, batch.mask[k]))
    return jnp.stack(losses)


@pytest.mark.usefixtures("x64")
def test_losses_and_rows_are_those_of_the_hierarchy_by_hand():
    model, _, moved, state = started(dtype=jnp.float64)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), moved)
    batch = regressions(dtype=np.float64)
    problem = model.tasks.problem(batch, jax.random.key(1), state)
    assert_as_by_hand(problem, params, lambda p: by_hand(p, batch), rtol=1e-9)


def rows_and_state(params):
    model, _, _, state = started()
    problem = model.tasks.problem(regressions(), jax.random.key(1), state)
    rows = problem.losses_and_grads(params)[1]["shared"]
    return rows, problem.next_model_state(params)


@functools.cache
def measured():
    return jax.jit(rows_and_state)(started()[2])


def reached(tree):
    return {bool(np.asarray(leaf).any()) for leaf in jax.tree.leaves(tree)}


def test_tasks_reach_experts_of_their_own_group_alone_in_the_last_level():
    rows, _ = measured()
    for k, g in enumerate(GROUP_OF):
        last = rows["groups"]["stack"]["stack"]
        assert reached(at(last, k, 1 - g)) == {False}
        assert reached(at(last, k, g)) == {True}
        assert reached(at(rows["shared"], k)) == {True}
        # Below, what is mixed of all experts reaches every group.
        meta = rows["meta"]["own"]["stack"]["stack"]
        assert reached(at(meta, k, 1 - g)) == {True}


def test_statistics_of_a_task_are_of_what_it_computes():
    _, state = measured()
    labelled = int(regressions().mask.any(axis=0).sum())
    assert state.labels.tolist() == [labelled] * 3
    norm = state.values["encoder"]["groups"]["stack"]["stack"]["norm"]["mean"]
    for k, g in enumerate(GROUP_OF):
        assert np.asarray(norm[k, g]).any()
        assert not np.asarray(norm[k, 1 - g]).any()
    below = state.values["encoder"]["meta"]["own"]["stack"]["stack"]["norm"]
    assert_close(below["mean"][0], below["mean"][1], rtol=1e-6)


def test_feature_gates_are_the_identity_at_first():
    model, params, _, state = started()
    plain = made(rank=0)
    bare = jax.tree_util.tree_map_with_path(
        lambda path, leaf: None if {"down", "up"} & set(_keys(path)) else leaf, params
    )
    assert reached([leaf for path, leaf in _paths(params) if "up" in _keys(path)]) == {
        False
    }
    batch = regressions()
    losses = [
        own.tasks.problem(batch, jax.random.key(1), state).losses(start)
        for own, start in ((model, params), (plain, _without_none(bare)))
    ]
    assert_close(*losses, rtol=1e-6)


def _paths(tree):
    return jax.tree_util.tree_leaves_with_path(tree)


def _keys(path):
    return [getattr(entry, "key", None) for entry in path]


def _without_none(tree):
    if isinstance(tree, mtopt.PerTask):
        return mtopt.PerTask(_without_none(tree.values), tree.names)
    if not isinstance(tree, dict):
        return tree
    kept = {name: _without_none(own) for name, own in tree.items()}
    return {name: own for name, own in kept.items() if jax.tree.leaves(own)}


def test_a_model_predicts_what_it_learned_by_running_statistics():
    model, _, moved, state = started()
    x = regressions().x
    whole = model.predict(moved, state, x)
    assert_close(whole[:, :1], model.predict(moved, state, x[:1]), rtol=1e-5)


def badly_scaled(size=512, features=16):
    """Columns of any unit, a few deviations from zero, as raw ones of a table are."""
    rng = np.random.default_rng(0)
    scales = 10.0 ** rng.uniform(-2, 3, features)
    shift = 3 * rng.normal(size=features)
    x = (rng.normal(size=(size, features)) + shift[None]) * scales[None]
    return jnp.asarray(x, jnp.float32)


@pytest.mark.parametrize("make", ["relu", "home"])
def test_normalised_experts_do_not_die_where_columns_are_badly_scaled(make):
    """A quarter of ReLU units at least, and none behind HoME's normalisation."""
    x = badly_scaled()
    told = {"dtype": jnp.float32, "rngs": nnx.Rngs(0)}
    experts = [
        MLP(x.shape[1], (64,), 0.0, **told)
        if make == "relu"
        else Expert(x.shape[1], (64,), "batch", 0, **told)
        for _ in range(4)
    ]
    outputs = jnp.stack([expert(x) for expert in experts], axis=1)
    dead = float(analysis.silence(outputs).units)
    assert dead >= 0.25 if make == "relu" else dead == 0, dead
    # What is not zero is alive: a unit says different things of different samples.
    assert make == "relu" or float(outputs.std(axis=0).min()) > 0.3


MISUSE = {
    "levels": 3,
    "experts": 0,
    "group_experts": 0,
    "own_experts": -1,
    "rank": -1,
    "norm": "group",
    "tower": -1,
    "hidden": (),
    "groups": (("a", "b"),),
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    with pytest.raises(mtopt.UserError, match=f"^{name} is"):
        made(**{name: MISUSE[name]})
