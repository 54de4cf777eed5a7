"""Tasks compute their own skills alone, and leave the others as they are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS
from mtopt.models.skills import only_skills
from tests.helpers.by_hand import assert_as_by_hand
from tests.helpers.close import assert_close
from tests.helpers.experts import NAMES, number, regressions
from tests.helpers.methods import over

ROWS = {"a": (0, 1), "b": (2,), "c": (0, 2, 3)}


def made(features=5, names=NAMES, matrix=ROWS, **options):
    options = {"width": 6, "hidden": 7} | options
    return MODELS["skills"](
        (features,),
        names=names,
        kind="regression",
        outputs=1,
        matrix=matrix,
        **options,
    )


def normed(norm, x):
    x = x - x.mean(axis=1, keepdims=True)
    x = x / jnp.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-6)
    return x * norm["scale"][None] + norm["bias"][None]


def layer(own, x):
    return x @ own["kernel"] + own["bias"][None]


def by_hand(params, batch):
    losses = []
    for k, name in enumerate(NAMES):
        x = layer(params["shared"]["first"], batch.x)
        for depth in params["shared"]["layers"].values():
            said = []
            for e in ROWS[name]:
                own = jax.tree.map(lambda leaf, e=e: leaf[e], depth["skills"]["stack"])
                said.append(layer(own["down"], jnp.maximum(layer(own["up"], x), 0)))
            x = normed(depth["norm"], x + sum(said) / len(said))
        head = jax.tree.map(lambda leaf, k=k: leaf[k], params["tasks"])
        errors = (number(head, x) - batch.y[k]) ** 2
        losses.append(mtopt.masked_mean(errors, batch.mask[k]))
    return jnp.stack(losses)


@pytest.mark.usefixtures("x64")
def test_losses_and_rows_are_those_of_skills_by_hand():
    model = made(dtype=jnp.float64)
    params, _ = model.init(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    batch = regressions(dtype=np.float64)
    problem = model.tasks.problem(batch, jax.random.key(1))
    assert_as_by_hand(problem, params, lambda p: by_hand(p, batch), rtol=1e-9)


def test_a_task_has_no_gradient_of_skills_that_it_does_not_use():
    model = made(count=6)
    params, _ = model.init(jax.random.key(0))
    problem = model.tasks.problem(regressions(), jax.random.key(1))
    rows = problem.losses_and_grads(params)[1]["shared"]["layers"][0]["skills"]
    reached = (rows["stack"]["up"]["kernel"] != 0).any(axis=(2, 3))
    for k, name in enumerate(NAMES):
        assert np.flatnonzero(reached[k]).tolist() == sorted(ROWS[name])


@functools.cache
def flops(count, active):
    """Of a step of MGDA, two tasks of so many skills."""
    matrix = {"a": tuple(range(active)), "b": tuple(range(active))}
    model = made(32, ("a", "b"), matrix, count=count, width=64, hidden=128, layers=1)
    tx = mtopt.chain(mtopt.mgda(2), optax.sgd(0.1))
    params, _ = model.init(jax.random.key(0))
    state = mtopt.TrainState.create(params, tx, jax.random.key(1), {})
    step = mtopt.make_train_step(model.tasks, tx)
    return step.lower(state, regressions(2, 512, 32)).compile().cost_analysis()["flops"]


def test_a_step_costs_what_is_active():
    """Beside what the update of any parameter costs, whatever the batch."""
    assert flops(16, 2) <= 1.02 * flops(4, 2)
    assert flops(16, 4) >= 1.7 * flops(16, 2)


def test_inactive_skills_keep_their_bits_under_momentum_and_decay():
    """The second stage: a new task with two skills of a model that was trained."""
    old = made(matrix=ROWS)
    params, _ = old.init(jax.random.key(0))
    model = made(names=("new",), matrix={"new": (1, 3)}, count=4)
    own, _ = model.init(jax.random.key(1))
    params = {**own, "shared": params["shared"]}
    optimizer = only_skills(optax.adamw(1e-2, weight_decay=0.1), (1, 3))
    tx = mtopt.chain(mtopt.equal_weighting(1), optimizer)
    state = mtopt.TrainState.create(params, tx, jax.random.key(2), {})
    step = mtopt.make_train_step(model.tasks, tx, donate=False)
    batch = regressions(1)
    for _ in range(3):
        state, _ = step(state, batch)
    before, after = (
        each["shared"]["layers"][1]["skills"] for each in (params, state.params)
    )
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    for one, other in pairs:
        same = np.asarray(one == other).reshape(4, -1).all(axis=1)
        assert same.tolist() == [True, False, True, False]
    first = state.params["shared"]["first"]["kernel"]
    assert (first != params["shared"]["first"]["kernel"]).any()


def test_the_order_of_skills_is_of_no_account():
    model, batch = made(), regressions()
    params, _ = model.init(jax.random.key(0))
    order = np.array([2, 0, 3, 1])  # old skill of each new place
    place = {int(old): new for new, old in enumerate(order)}
    renamed = made(matrix={n: tuple(place[e] for e in ROWS[n]) for n in NAMES})
    layers = {
        i: {**own, "skills": jax.tree.map(lambda leaf: leaf[order], own["skills"])}
        for i, own in params["shared"]["layers"].items()
    }
    other = {**params, "shared": {**params["shared"], "layers": layers}}
    losses = [
        each.tasks.problem(batch, jax.random.key(1)).losses(own)
        for each, own in ((model, params), (renamed, other))
    ]
    assert_close(*losses, rtol=1e-5)


def test_without_a_matrix_all_share_one_skill_and_have_one():
    model = made(matrix=None)
    params, _ = model.init(jax.random.key(0))
    stack = params["shared"]["layers"][0]["skills"]["stack"]["up"]["kernel"]
    assert len(stack) == 1 + len(NAMES)


MISUSE = {
    "matrix has the tasks": {"matrix": {"a": (0,), "d": (1,)}},
    "at least one, each once": {"matrix": {**ROWS, "b": (1, 1)}},
    "numbered from 0": {"matrix": {**ROWS, "b": ()}},
    "count is 2: expected at least 4": {"count": 2},
    "width is 0": {"width": 0},
    "hidden is 0": {"hidden": 0},
    "layers is 0": {"layers": 0},
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    with pytest.raises(mtopt.UserError, match=name):
        made(**MISUSE[name])
