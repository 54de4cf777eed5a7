"""Gradients at perturbed points: SAM per task, and F-MTL around any aggregator."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.passes import PASSES, over_tasks
from mtopt.transforms.perturbed import (
    check_ball,
    make_ball,
    perturbations,
    sam_gradients,
    task_norms,
)
from mtopt.wrappers.flat_regions import VARIANTS
from tests.helpers import problems
from tests.helpers.methods import assert_finite, make, over

KEY = jax.random.key(3)
NAMES = ("a", "b", "c")
D, H, B = 4, 2, 6


# --- Quadratic tasks, and what their gradients are ------------------------------------


def repeat(shared, x, key):
    del key
    return jnp.broadcast_to(shared[None], (len(x), len(shared)))


def quadratic(head, z, y, mask, key):
    del key
    own = jnp.broadcast_to(head[None], (len(z), len(head)))
    u = jnp.concatenate([z, own], axis=1)
    curved = 0.5 * jnp.einsum("bi,bij,bj->b", u, y["curve"], u, precision="highest")
    return mtopt.masked_mean(curved + jnp.sum(y["line"] * u, axis=1) + y["at"], mask)


@dataclasses.dataclass(frozen=True)
class Quadratics:
    """Losses u'Cu/2 + l'u + c, u the shared and the task's own parameters."""

    curve: np.ndarray
    line: np.ndarray
    at: np.ndarray
    shared: np.ndarray
    own: np.ndarray

    @property
    def points(self):
        return np.concatenate([np.tile(self.shared, (len(self.own), 1)), self.own], 1)

    def grads(self, points):
        return np.einsum("kij,kj->ki", self.curve, points) + self.line

    def sam(self, moves):
        return self.grads(self.points + moves)

    def only(self, tasks):
        return Quadratics(
            self.curve[tasks],
            self.line[tasks],
            self.at[tasks],
            self.shared,
            self.own[tasks],
        )

    @property
    def labels(self):
        def per_sample(array):
            return jnp.asarray(np.repeat(array[:, None], B, axis=1))

        return {n: per_sample(getattr(self, n)) for n in ("curve", "line", "at")}

    def problem(self, present=None):
        num_tasks = len(self.own)
        mask = np.ones((num_tasks, B), bool)
        if present is not None:
            mask &= np.asarray(present)[:, None]
        tasks = mtopt.Tasks(NAMES[:num_tasks], repeat, quadratic)
        own = mtopt.PerTask(jnp.asarray(self.own), tasks.names)
        params = {"shared": jnp.asarray(self.shared), "tasks": own}
        batch = mtopt.Batch(jnp.zeros(B), self.labels, jnp.asarray(mask))
        return tasks.problem(batch, KEY), params


def random_quadratics(num_tasks=3, seed=0):
    rng = np.random.default_rng(seed)
    n = D + H
    root = rng.normal(size=(num_tasks, n, n))
    curve = np.einsum("kij,klj->kil", root, root) / n
    centre = rng.normal(size=(num_tasks, n))
    line = -np.einsum("kij,kj->ki", curve, centre)
    at = 0.1 - 0.5 * np.einsum("ki,ki->k", line, centre)  # losses from 0.1 on
    shared, own = rng.normal(size=D), rng.normal(size=(num_tasks, H))
    return Quadratics(curve, line, at, shared, own)


def paper_quadratics():
    """L_1 = (3x^2 + y^2)/2 and L_2 = (x^2 + 2y^2)/2 - 5x - 5y, at (1, 4)."""
    curve = np.zeros((2, 3, 3))
    curve[0, :2, :2], curve[1, :2, :2] = np.diag([3.0, 1.0]), np.diag([1.0, 2.0])
    line = np.array([[0.0, 0.0, 0.0], [-5.0, -5.0, 0.0]])
    return Quadratics(curve, line, np.zeros(2), np.array([1.0, 4.0]), np.zeros((2, 1)))


def moves_of(points, towards, *, rho=None, separate=None, adaptive=False):
    """The displacement of every task, written out; rho is a number or [K]."""
    size = np.abs(points) if adaptive else np.ones_like(points)
    measured = size * towards
    parts = [slice(0, D), slice(D, None)] if separate else [slice(None)]
    moves = np.zeros_like(points)
    for part, radius in zip(parts, separate or [rho], strict=True):
        length = np.linalg.norm(measured[:, part], axis=1)
        scale = np.broadcast_to(radius, length.shape) / length
        moves[:, part] = scale[:, None] * (size * measured)[:, part]
    return moves


def joined(tree):
    """Rows and head gradients of quadratics side by side, ``[K, D + H]``."""
    return np.concatenate([tree["shared"], tree["tasks"].values], axis=1)


def update(tx, state, problem, params, **extra):
    """One update, with all that a step hands over."""
    losses, grads = problem.losses_and_grads(params)
    known = {
        "rows": grads["shared"],
        "losses": losses,
        "present": problem.present,
        "pullback": functools.partial(problem.pullback, params),
        "problem": problem,
        "key": KEY,
        "after": lambda updates: jax.tree.map(lambda u: -0.01 * u, updates),
    }
    return tx.update(grads, state, params, **{**known, **extra})


def one(tx, problem, params, **extra):
    """The first update, compiled."""
    run = jax.jit(lambda params: update(tx, tx.init(params), problem, params, **extra))
    return jax.tree.map(np.asarray, run(params))


def assert_trees_close(found, expected, rtol=1e-5, atol=1e-6):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol, atol), found, expected
    )


# --- The quadratic of the paper's two objectives --------------------------------------


PAPER = {
    "equal_weighting": {"reduction": "sum"},
    "mgda": {},
    "pcgrad": {},
}


@functools.cache
def on_paper_quadratics():
    """All that the tests read, from one program."""
    with jax.enable_x64(True):
        problem, params = paper_quadratics().problem()

        def answers(params):
            _, grads = problem.losses_and_grads(params)
            adaptive = make_ball(0.5, None, None, True, "vmap")
            found = {
                "grads": grads["shared"],
                "sam": update(mtopt.per_task_sam(2, rho=0.5), (), problem, params)[0],
                "adaptive": perturbations(params, grads, adaptive)["shared"],
            }
            for name, options in PAPER.items():
                tx = mtopt.METHODS[name](2, **options)
                for variant in ("loss", "split", "direct"):
                    if variant != "loss":
                        own = mtopt.METHODS[name](2, **options)
                        tx = mtopt.flat_regions(own, rho=0.5, variant=variant)
                    direction, state = update(tx, tx.init(params), problem, params)
                    found[f"{name} {variant}"] = direction["shared"], state
            return found

        return jax.tree.map(np.asarray, jax.jit(answers)(params))


@pytest.mark.parametrize(
    ("name", "loss", "flat", "split", "direct"),
    [
        ("equal_weighting", (-1.0, 7.0), (0.5, 1.0), (-0.5, 8.0), (-0.5, 8.0)),
        (
            *("mgda", (-0.5, 3.5), (0.080925, 0.526012)),
            *((-0.419075, 4.026012), (-0.384295, 3.987056)),
        ),
        (
            *("pcgrad", (-1.0, 7.0), (0.519033, 1.187946)),
            *((-0.480967, 8.187946), (-0.530788, 8.315037)),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_golden_directions_of_two_quadratics(name, loss, flat, split, direct):
    found = on_paper_quadratics()
    (clean, _), (whole, _), (of_sam, _) = (
        found[f"{name} {variant}"] for variant in ("loss", "split", "direct")
    )
    np.testing.assert_allclose(clean, loss, atol=1e-6)
    np.testing.assert_allclose(whole - clean, flat, atol=1e-6)
    np.testing.assert_allclose(whole, split, atol=1e-6)
    np.testing.assert_allclose(of_sam, direct, atol=1e-6)


def test_the_golden_rows_and_weights_of_two_quadratics():
    found = on_paper_quadratics()
    np.testing.assert_allclose(found["grads"], [[3, 4], [-4, 3]], atol=1e-12)
    flat = found["sam"]["shared"] - found["grads"]
    np.testing.assert_allclose(flat, [[0.9, 0.4], [-0.4, 0.6]], atol=1e-12)
    np.testing.assert_allclose(found["adaptive"][0], [0.092144, 1.965744], atol=1e-6)
    _, state = found["mgda split"]
    weights = optax.tree.get(state, "weights")
    assert weights.shape == state.flat_weights.shape == (2,)
    np.testing.assert_allclose(weights, [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(state.flat_weights, [0.369942, 0.630058], atol=1e-6)
    assert optax.tree.get((state, ()), "flat_weights") is state.flat_weights
    _, state = found["mgda direct"]
    for own in (state.flat_weights, optax.tree.get(state, "weights")):
        np.testing.assert_allclose(own, [0.483820, 0.516180], atol=1e-6)


# --- The balls ------------------------------------------------------------------------


def moved(params, grads, ball):
    return jax.jit(functools.partial(perturbations, ball=ball))(params, grads)


def test_the_golden_balls():
    params = {"shared": jnp.zeros(2), "tasks": mtopt.PerTask(jnp.zeros((1, 1)), ("a",))}
    grads = {
        "shared": jnp.array([[3.0, 4.0]]),
        "tasks": mtopt.PerTask(jnp.array([[12.0]]), ("a",)),
    }
    ball = make_ball(0.5, None, None, False, "vmap")
    joint = moved(params, grads, ball)
    np.testing.assert_allclose(joint["shared"], [[1.5 / 13, 2.0 / 13]], rtol=1e-6)
    np.testing.assert_allclose(joint["tasks"]["a"], [6.0 / 13], rtol=1e-6)
    ball = make_ball(None, 0.5, 0.25, False, "vmap")
    separate = moved(params, grads, ball)
    np.testing.assert_allclose(separate["shared"], [[0.3, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(separate["tasks"]["a"], [0.25], rtol=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_perturbation_is_as_long_as_its_ball_at_any_scale(adaptive):
    """Over all leaves; in adaptive mode in units of the parameters' own sizes."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    names = ("a", "b")
    shared = {"w": draw(3, 2).at[0, 0].set(0.0), "b": draw(2)}
    params = {"shared": shared, "tasks": mtopt.PerTask({"v": draw(2, 4)}, names)}
    rows = {"w": draw(2, 3, 2), "b": draw(2, 2)}
    grads = {"shared": rows, "tasks": mtopt.PerTask({"v": draw(2, 4)}, names)}

    @jax.jit
    def balls(grads):
        joint = make_ball((0.5, 2.0), None, None, adaptive, "vmap")
        separate = make_ball(None, (0.1, 0.2), (0.3, 0.4), adaptive, "vmap")
        return [perturbations(params, grads, ball) for ball in (joint, separate)]

    def lengths(moves):
        """Of the shared and of the own part of every task's move, ``[2, K]``."""

        def length(part):
            squares = 0.0
            for move, value in zip(
                jax.tree.leaves(moves[part]), jax.tree.leaves(params[part]), strict=True
            ):
                size = np.abs(value) if adaptive else np.ones(value.shape)
                unit = np.where(size > 0, size, 1)
                ratio = np.asarray(move) / (unit[None] if part == "shared" else unit)
                squares = squares + (ratio.reshape(2, -1) ** 2).sum(axis=1)
            return np.sqrt(squares)

        return np.stack([length("shared"), length("tasks")])

    for scale in (1e-20, 1.0, 1e15):
        scaled = jax.tree.map(lambda g, scale=scale: scale * g, grads)
        joint, separate = balls(scaled)
        both = np.linalg.norm(lengths(joint), axis=0)
        np.testing.assert_allclose(both, [0.5, 2.0], rtol=1e-5)
        expected = [[0.1, 0.2], [0.3, 0.4]]
        np.testing.assert_allclose(lengths(separate), expected, rtol=1e-5)
        for moves in (joint, separate):
            still = (np.asarray(moves["shared"]["w"][:, 0, 0]) == 0).all()
            assert still == adaptive


RADII = {
    "joint": {"rho": 0.3},
    "joint, per task": {"rho": (0.3, 0.0, 1.0)},
    "separate": {"rho_shared": 0.3, "rho_task": 0.7},
    "separate, per task": {"rho_shared": (0.3, 0.0, 1.0), "rho_task": 0.0},
}


@pytest.mark.parametrize("adaptive", [False, True])
def test_rows_are_the_gradients_at_the_perturbed_points(adaptive):
    """Written out in NumPy for quadratics with parameters of their own."""
    tasks = random_quadratics()
    with jax.enable_x64(True):
        problem, params = tasks.problem()

        def sam(params, radii):
            tx = mtopt.per_task_sam(3, adaptive=adaptive, **radii)
            return update(tx, tx.init(params), problem, params)[0]

        found = jax.jit(lambda p: {n: sam(p, radii) for n, radii in RADII.items()})(
            params
        )
    grads = tasks.grads(tasks.points)
    for name, radii in RADII.items():
        rho = radii.get("rho")
        separate = None if rho else (radii["rho_shared"], radii["rho_task"])
        moves = moves_of(
            tasks.points, grads, rho=rho, separate=separate, adaptive=adaptive
        )
        expected = tasks.sam(moves)
        np.testing.assert_allclose(joined(found[name]), expected, 1e-10, 1e-12)
    unmoved = joined(found["joint, per task"])[1]
    np.testing.assert_allclose(unmoved, grads[1], rtol=1e-12)


def test_the_default_radius_is_that_of_the_sam_paper():
    ball = make_ball(None, None, None, False, "vmap")
    assert ball.rho_shared == 0.05
    assert ball.rho_task is None
    assert not ball.is_point
    assert make_ball(None, 0, (0, 0), False, "vmap").is_point
    assert not make_ball(None, 0, (0, 1), False, "vmap").is_point


def test_lengths_of_own_parameters_come_in_the_order_of_the_names():
    groups = (
        mtopt.PerTask(jnp.array([[3.0, 4.0], [0.0, 1.0]]), ("b", "d")),
        mtopt.PerTask(jnp.array([[2.0]]), ("c",)),
    )
    np.testing.assert_allclose(task_norms(groups, 3), [5, 2, 1])
    np.testing.assert_allclose(task_norms(mtopt.PerTask((), NAMES), 3), [0, 0, 0])


def test_a_small_radius_gives_the_product_of_hessian_and_direction():
    """(SAM row - row) / rho -> H g / |g|, with an error that halves as rho does."""

    def encode(shared, x, key):
        del key
        for layer in shared:
            x = jnp.tanh(x @ layer["w"] + layer["b"][None])
        return x

    base, params, batch = problems.classification(3, 8, 5, (7,), 4, None)
    with jax.enable_x64(True):
        tasks = mtopt.Tasks(base.names, encode, base.head_loss)
        wide = lambda leaf: jnp.asarray(leaf, float)  # noqa: E731
        params = jax.tree.map(wide, params)
        batch = mtopt.Batch(wide(batch.x), batch.y, batch.mask)
        problem = tasks.problem(batch, KEY)

        def loss(k, shared, head):
            return base.head_loss(
                head, encode(shared, batch.x, None), batch.y[k], batch.mask[k], None
            )

        def product(k):
            point = params["shared"], params["tasks"][tasks.names[k]]
            gradient = jax.grad(functools.partial(loss, k), argnums=(0, 1))
            towards = gradient(*point)
            length = optax.tree.norm(towards)
            unit = jax.tree.map(lambda g: g / length, towards)
            return jax.jvp(gradient, point, unit)[1]

        @jax.jit
        def errors(params):
            products = [product(k) for k in range(3)]
            shared, own = jax.tree.map(lambda *leaves: jnp.stack(leaves), *products)
            expected = {"shared": shared, "tasks": mtopt.PerTask(own, tasks.names)}
            _, grads = problem.losses_and_grads(params)

            def error(rho):
                tx = mtopt.per_task_sam(3, rho=rho)
                sam, _ = update(tx, (), problem, params)
                flat = jax.tree.map(lambda s, g: (s - g) / rho, sam, grads)
                gap = jax.tree.map(jnp.subtract, flat, expected)
                return optax.tree.norm(gap) / optax.tree.norm(expected)

            return error(4e-4), error(2e-4)

        wider, narrower = map(float, errors(params))
    assert narrower < 1e-3
    assert wider / narrower == pytest.approx(2, rel=0.02)


# --- One task, one batch, one dropout mask --------------------------------------------


def single_loss_sam(adaptive, rho, loss, params):
    """SAM or ASAM of one loss as in their papers."""
    gradient = jax.grad(loss)(params)
    size = jax.tree.map(lambda p: jnp.abs(p) if adaptive else jnp.ones_like(p), params)
    measured = jax.tree.map(jnp.multiply, size, gradient)
    length = optax.tree.norm(measured)
    worst = jax.tree.map(
        lambda p, s, m: p + rho * s * m / length, params, size, measured
    )
    return jax.grad(loss)(worst)


@pytest.mark.parametrize("adaptive", [False, True])
def test_one_task_is_sam(adaptive):
    """For aggregators that return the gradient of a single task."""
    tasks, params, batch = problems.classification(1, 6, 5, (7,), 4, None)
    names = ["equal_weighting", "mgda", "pcgrad", "imtl_g", "upgrad", "famo"]

    def loss(params):
        z = problems.encode(params["shared"], batch.x, None)
        head = params["tasks"][tasks.names[0]]
        return problems.classify(head, z, batch.y[0], batch.mask[0], None)

    @jax.jit
    def directions(params):
        problem = tasks.problem(batch, KEY)

        def of(tx):
            return update(tx, tx.init(params), problem, params)[0]

        txs = {
            f"{name} {variant}": mtopt.flat_regions(
                make(name, 1), rho=0.5, adaptive=adaptive, variant=variant
            )
            for name in names
            for variant in ("split", "direct")
        }
        chain = mtopt.per_task_sam(1, rho=0.5, adaptive=adaptive)
        found = {name: of(tx) for name, tx in txs.items()}
        rows = of(chain)
        shared = jax.tree.map(lambda row: row[0], rows["shared"])
        found["per_task_sam"] = {"shared": shared, "tasks": rows["tasks"]}
        return single_loss_sam(adaptive, 0.5, loss, params), found

    expected, found = directions(params)
    for direction in found.values():
        assert_trees_close(direction, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("x_axis", [None, 0], ids=["shared", "disjoint"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_every_task_is_perturbed_as_if_it_were_alone(x_axis, adaptive):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, x_axis, 0.2)

    def alone(params, k):
        name = tasks.names[k]
        own = jax.tree.map(lambda leaf: leaf[k : k + 1], params["tasks"].values)
        params = {"shared": params["shared"], "tasks": mtopt.PerTask(own, (name,))}
        x = batch.x if x_axis is None else batch.x[k : k + 1]
        part = mtopt.Batch(x, batch.y[k : k + 1], batch.mask[k : k + 1])
        one_task = dataclasses.replace(tasks, names=(name,))
        problem = one_task.problem(part, KEY)
        tx = mtopt.per_task_sam(1, rho=0.3, adaptive=adaptive)
        rows, _ = update(tx, tx.init(params), problem, params)
        return rows["shared"], rows["tasks"].values

    @jax.jit
    def both(params):
        tx = mtopt.per_task_sam(3, rho=0.3, adaptive=adaptive)
        problem = tasks.problem(batch, KEY)
        rows, _ = update(tx, tx.init(params), problem, params)
        parts = [alone(params, k) for k in range(3)]
        expected = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
        return (rows["shared"], rows["tasks"].values), expected

    assert_trees_close(*both(params), rtol=1e-4, atol=1e-6)


def test_the_perturbed_pass_drops_the_same_features():
    def encode(shared, x, key):
        kept = jax.random.bernoulli(key, 0.5, shared.shape)
        return jnp.tanh(x @ (shared * kept))

    def head_loss(head, z, y, mask, key):
        kept = jax.random.bernoulli(key, 0.5, head.shape)
        return mtopt.masked_mean((z @ (head * kept) - y) ** 2, mask)

    tasks = mtopt.Tasks(NAMES, encode, head_loss)
    draws = jax.random.split(KEY, 4)
    params = {
        "shared": jax.random.normal(draws[0], (8, 6)),
        "tasks": mtopt.PerTask(jax.random.normal(draws[1], (3, 6)), NAMES),
    }
    y = jax.random.normal(draws[3], (3, 5))
    batch = mtopt.Batch(jax.random.normal(draws[2], (5, 8)), y, jnp.ones((3, 5), bool))
    problem = tasks.problem(batch, KEY)
    grads, _ = one(mtopt.per_task_sam(3, rho=0), problem, params)
    sam, _ = one(mtopt.per_task_sam(3, rho=0.5), problem, params)
    dropped = jax.tree.map(lambda g: np.asarray(g) == 0, grads)
    share = np.mean(dropped["shared"])
    assert 0.4 < share < 0.95
    jax.tree.map(lambda s, d: np.testing.assert_array_equal(s == 0, d), sam, dropped)
    changed = jax.tree.map(lambda s, g: np.abs(s - g).max() > 1e-3, sam, grads)
    assert all(jax.tree.leaves(changed))


def test_running_statistics_are_those_of_one_clean_forward():
    """While the perturbed passes normalise by the statistics of their own batch."""

    def encode(shared, x, key, running):
        del key
        z = x @ shared
        mean, std = z.mean(axis=0), z.std(axis=0) + 0.1
        normal = (z - mean[None]) / std[None]
        return jnp.tanh(normal), {
            "mean": 0.9 * running["mean"] + 0.1 * mean,
            "std": 0.9 * running["std"] + 0.1 * std,
        }

    tasks = mtopt.Tasks(NAMES, encode, problems.classify, stateful=True)
    _, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    heads = mtopt.PerTask(params["tasks"].values, NAMES)
    params = {"shared": params["shared"][0]["w"], "tasks": heads}
    running = {"mean": jnp.zeros(7), "std": jnp.ones(7)}
    _, expected = encode(params["shared"], batch.x, None, running)
    for name in ("split", "direct", "per_task_sam", "sam"):
        tx = {
            "per_task_sam": mtopt.chain(mtopt.per_task_sam(3), mtopt.mgda(3)),
            "sam": mtopt.chain(mtopt.sam(3), mtopt.equal_weighting(3)),
        }.get(name)
        tx = tx or mtopt.flat_regions(mtopt.equal_weighting(3), rho=1.0, variant=name)
        tx = optax.chain(tx, optax.sgd(0.5))
        state = mtopt.TrainState.create(params, tx, KEY, running)
        state, _ = mtopt.make_train_step(tasks, tx)(state, batch)
        assert_trees_close(state.model_state, expected)
        assert np.abs(state.params["shared"] - params["shared"]).max() > 1e-3


# --- No radius, and linear aggregators ------------------------------------------------


def program(tx, problem, params):
    """What an update computes, operation by operation."""
    wrapper = tx.init(params)
    wrapped = hasattr(wrapper, "flat_weights")

    def directions(grads, losses, params, state):
        updates, _ = tx.update(
            grads,
            wrapper._replace(aggregator=state) if wrapped else state,
            params,
            losses=losses,
            present=problem.present,
            problem=problem,
            key=KEY,
            after=lambda updates: jax.tree.map(lambda u: -0.01 * u, updates),
        )
        return updates

    losses, grads = jax.eval_shape(problem.losses_and_grads, params)
    state = wrapper.aggregator if wrapped else wrapper
    traced = jax.make_jaxpr(directions)(grads, losses, params, state)
    return re.sub(r" at 0x[0-9a-f]+", "", str(traced))


@over(mtopt.METHODS)
def test_without_a_radius_it_is_the_aggregator(name):
    """Exactly: both are the same operations in the same order."""
    problem, params = random_quadratics().problem()
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    same = functools.partial(program, problem=problem, params=params)
    point = {"rho_shared": 0.0, "rho_task": (0, 0, 0)}
    txs = [mtopt.flat_regions(make(name, 3), **point)]
    if name == "mgda":
        txs += [mtopt.flat_regions(make(name, 3), rho=0, variant=v) for v in VARIANTS]
        own = mtopt.flat_regions(make(name, 3), rho=0, heads="aggregator")
        assert same(own) == same(make(name, 3))
    expected = same(make(name, 3, heads="plain"))
    assert all(same(tx) == expected for tx in txs)


# What they make of the gradients does not depend on the gradients.
LINEAR = (
    *("equal_weighting", "fixed_weighting", "single_task"),
    *("cosmos_scalarization", "dynamic_weight_average", "famo", "geometric_loss"),
    *("go4align", "improvable_gap_balancing", "imtl_l", "ldc", "pbi"),
    *("scale_invariant", "smooth_tchebycheff", "smooth_tchebycheff_warmup"),
    *("tchebycheff", "uncertainty_weighting"),
)


@functools.cache
def linear_runs():
    """Three steps of each, split and direct, in one program."""
    with jax.enable_x64(True):
        problem, params = random_quadratics(seed=4).problem()

        def run(name, variant):
            aggregator = mtopt.flat_regions(make(name, 3), rho=0.3, variant=variant)
            tx = mtopt.chain(aggregator, optax.sgd(0.05))

            def step(carry, _):
                params, state = carry
                updates, state = update(tx, state, problem, params, after=_itself)
                return (optax.apply_updates(params, updates), state), ()

            start = (params, tx.init(params))
            (end, state), _ = jax.lax.scan(step, start, length=3)
            return end, optax.tree.get(state, "weights")

        def runs():
            return {n: [run(n, v) for v in ("split", "direct")] for n in LINEAR}

        return jax.tree.map(np.asarray, (jax.jit(runs)(), params))


def _itself(updates):
    return updates


@pytest.mark.parametrize("name", LINEAR)
def test_split_is_direct_where_the_weights_do_not_read_the_gradients(name):
    """Whatever they remember: both parts are told of the same losses and steps."""
    found, start = linear_runs()
    (split, weights), (direct, expected) = found[name]
    np.testing.assert_allclose(weights, expected, rtol=1e-9)
    assert_trees_close(split, direct, rtol=1e-9, atol=1e-12)
    assert np.abs(split["shared"] - start["shared"]).max() > 1e-4


# --- The other variants ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [("mgda", {}), ("imtl_g", {}), ("pcgrad", {"order": "fixed"})],
    ids=["mgda", "imtl_g", "pcgrad"],
)
def test_two_vectors_are_aggregated_as_two_tasks(name, options):
    tasks = random_quadratics(seed=1)
    with jax.enable_x64(True):
        problem, params = tasks.problem()

        def aggregate(rows):
            tx = mtopt.METHODS[name](len(rows), **options)
            direction, state = tx.update(rows, tx.init(rows[0]))
            return direction, state.weights

        @jax.jit
        def both(params):
            own = mtopt.METHODS[name](3, **options)
            found = {}
            for variant in ("second_aggregate", "each_aggregate"):
                tx = mtopt.flat_regions(own, rho=0.3, variant=variant)
                found[variant] = update(tx, tx.init(params), problem, params)
            rows = problem.losses_and_grads(params)[1]["shared"]
            sam = update(mtopt.per_task_sam(3, rho=0.3), (), problem, params)[0]
            flat = sam["shared"] - rows
            (loss, loss_weights), (flat_sum, flat_weights) = map(
                aggregate, (rows, flat)
            )
            second, _ = aggregate(jnp.stack([loss, flat_sum]))
            pairs = [aggregate(jnp.stack([rows[k], flat[k]])) for k in range(3)]
            each, each_weights = aggregate(jnp.stack([pair[0] for pair in pairs]))
            of_flat = jnp.stack([pair[1][1] for pair in pairs])
            return (
                found,
                sam["tasks"],
                {
                    "second_aggregate": (second, loss_weights, flat_weights),
                    "each_aggregate": (each, each_weights, of_flat),
                },
            )

        found, heads, expected = both(params)
    for variant, (shared, weights, flat_weights) in expected.items():
        direction, state = found[variant]
        close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-8)
        close(direction["shared"], shared)
        close(optax.tree.get(state, "weights"), weights)
        close(state.flat_weights, flat_weights)
        close(direction["tasks"].values, heads.values)


@pytest.mark.parametrize("variant", ["second_aggregate", "each_aggregate"])
def test_two_vectors_have_no_losses(variant):
    problem, params = random_quadratics().problem()
    tx = mtopt.flat_regions(mtopt.scale_invariant(3), variant=variant)
    with pytest.raises(TypeError, match="losses"):
        jax.eval_shape(lambda p: update(tx, tx.init(p), problem, p), params)


@pytest.mark.parametrize("variant", ["second_aggregate", "each_aggregate"])
def test_two_vectors_need_two_tasks(variant):
    tx = mtopt.flat_regions(mtopt.mgda(1), variant=variant)
    with pytest.raises(mtopt.UserError, match="expected two tasks at least"):
        tx.init(jnp.zeros(2))


def test_heads_take_their_own_sam_gradient_or_the_rule_of_the_aggregator():
    tasks = random_quadratics(seed=2)
    with jax.enable_x64(True):
        problem, params = tasks.problem()

        @jax.jit
        def both(params):
            sam = update(mtopt.per_task_sam(3, rho=0.3), (), problem, params)[0]
            found = {}
            for heads in ("plain", "aggregator"):
                for variant in VARIANTS:
                    tx = mtopt.flat_regions(
                        mtopt.imtl_g(3, heads="weighted"),
                        **{"rho": 0.3, "heads": heads, "variant": variant},
                    )
                    direction, state = update(tx, tx.init(params), problem, params)
                    weights = optax.tree.get(state, "weights")
                    found[f"{heads} {variant}"] = direction["tasks"].values, weights
            return sam["tasks"].values, found

        sam, found = jax.tree.map(np.asarray, both(params))
    for name, (heads, weights) in found.items():
        factor = weights[:, None] if name.startswith("aggregator") else 1
        np.testing.assert_allclose(heads, factor * sam, rtol=1e-10)


# --- What must not blow up ------------------------------------------------------------

SCALE_FREE = {
    "nash_mtl": mtopt.nash_mtl(3),
    "imtl_g": mtopt.imtl_g(3),
    "mgda": mtopt.mgda(3, normalize="l2", apply_to="normalized"),
}


@functools.cache
def with_tiny_radii():
    """A step of each on an MLP in float32, whose second pass differs by rounding."""
    tasks, params, batch = problems.classification(3, 16, 12, (33, 17), 4, None)
    problem = tasks.problem(batch, KEY)

    def directions(params):
        found = {}
        for name, aggregator in SCALE_FREE.items():
            for rho in (0.0, 1e-30, 1e-9, 1e-2):
                tx = mtopt.flat_regions(aggregator, rho=rho)
                direction, state = update(tx, tx.init(params), problem, params)
                found[f"{name} {rho}"] = direction["shared"], state.flat_weights
        _, grads = problem.losses_and_grads(params)
        sam, _ = update(mtopt.per_task_sam(3, rho=1e-9), (), problem, params)
        found["noise"] = jax.tree.map(jnp.subtract, sam["shared"], grads["shared"])
        return found

    return jax.tree.map(np.asarray, jax.jit(directions)(params))


@pytest.mark.parametrize("name", SCALE_FREE)
def test_a_tiny_radius_does_not_magnify_rounding_noise(name):
    found = with_tiny_radii()
    assert any(leaf.any() for leaf in jax.tree.leaves(found["noise"]))
    clean, _ = found[f"{name} 0.0"]
    for rho in (1e-30, 1e-9):
        direction, flat_weights = found[f"{name} {rho}"]
        assert_trees_close(direction, clean, rtol=1e-4, atol=1e-6)
        assert not flat_weights.any()
    direction, flat_weights = found[f"{name} 0.01"]
    assert_finite(direction)
    assert flat_weights.all()
    gap = jax.tree.map(jnp.subtract, direction, clean)
    assert optax.tree.norm(gap) > 1e-3 * optax.tree.norm(clean)


@functools.cache
def with_two_tasks_of_three():
    """All variants: the third absent, the third at rest, all at rest, two tasks."""
    tasks = random_quadratics(seed=5)
    still = np.array([1.0, 1.0, 0.0])
    at_rest = dataclasses.replace(
        tasks,
        curve=tasks.curve * still[:, None, None],
        line=tasks.line * still[:, None],
    )
    nothing = dataclasses.replace(tasks, curve=0 * tasks.curve, line=0 * tasks.line)
    with jax.enable_x64(True):
        cases = {
            "absent": tasks.problem(present=[True, True, False]),
            "at rest": at_rest.problem(),
            "all at rest": nothing.problem(),
            "two": tasks.only([0, 1]).problem(),
        }

        def directions(params):
            found = {}
            for case, (problem, _) in cases.items():
                for variant in VARIANTS:
                    own = mtopt.pcgrad(len(problem.names), order="fixed")
                    tx = mtopt.flat_regions(own, rho=0.3, variant=variant)
                    state = tx.init(params[case])
                    found[f"{case}, {variant}"] = update(
                        tx, state, problem, params[case]
                    )
                    assert len(state.flat_weights) == len(problem.names)
            return found

        params = {case: own for case, (_, own) in cases.items()}
        return jax.tree.map(np.asarray, jax.jit(directions)(params))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", ["absent", "at rest"])
def test_a_task_without_a_gradient_leaves_the_others_theirs(case, variant):
    """For PCGrad, a sum that projects, two of three tasks are as if alone."""
    found = with_two_tasks_of_three()
    direction, state = found[f"{case}, {variant}"]
    expected, two = found[f"two, {variant}"]
    np.testing.assert_allclose(direction["shared"], expected["shared"], rtol=1e-7)
    own = direction["tasks"].values
    np.testing.assert_allclose(own[:2], expected["tasks"].values, rtol=1e-7)
    assert not own[2].any()
    np.testing.assert_allclose(state.flat_weights[:2], two.flat_weights, rtol=1e-6)
    if case == "absent":
        assert state.flat_weights[2] == 0
    assert_finite(state)


@pytest.mark.parametrize("rho", [(0.5, 0.0, 1.0), 0.5])
def test_split_is_direct_for_a_mean_whatever_the_radii(rho):
    """A task that is not perturbed counts in the mean of the flat parts too."""
    tasks = random_quadratics()
    with jax.enable_x64(True):
        problem, params = tasks.problem()
        mean = mtopt.equal_weighting(3)
        split, direct = (
            one(mtopt.flat_regions(mean, rho=rho, variant=variant), problem, params)[0]
            for variant in ("split", "direct")
        )
        np.testing.assert_allclose(split["shared"], direct["shared"], rtol=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_rows_from_a_transformation_are_what_it_aggregates(rho):
    """MoDo, which pulls gradients back, does not do so in place of doubled rows."""
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    problem = tasks.problem(batch, KEY)
    tx = mtopt.flat_regions(mtopt.modo(3, gamma=0.0), rho=rho)

    @jax.jit
    def both(params):
        _, grads = problem.losses_and_grads(params)
        rows = jax.tree.map(lambda row: 2 * row, grads["shared"])
        doubled = {**grads, "shared": rows}
        known = {"rows": grads["shared"], "pullback": None, "problem": problem}
        found, _ = tx.update(doubled, tx.init(params), params, **known)
        if rho > 0:
            ball = make_ball(rho, None, None, False, "vmap")
            rows = sam_gradients(problem, params, doubled, ball)[1]["shared"]
        # Without a step (gamma 0) MoDo's weights stay uniform: the mean of both parts.
        return found["shared"], jax.tree.map(lambda row: row.mean(axis=0), rows)

    assert_trees_close(*both(params))


@pytest.mark.parametrize("variant", VARIANTS)
def test_tasks_at_rest_give_no_direction(variant):
    direction, state = with_two_tasks_of_three()[f"all at rest, {variant}"]
    assert not any(leaf.any() for leaf in jax.tree.leaves(direction))
    assert_finite(state)


def test_parameters_in_bfloat16_stay_so():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    batch = mtopt.Batch(batch.x.astype(jnp.bfloat16), batch.y, batch.mask)
    problem = tasks.problem(batch, KEY)
    tx = mtopt.flat_regions(mtopt.mgda(3), rho=1.0, adaptive=True)
    direction, state = one(tx, problem, params)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(direction)} == {"bfloat16"}
    assert state.flat_weights.dtype == np.float32
    assert_finite((direction, state))
    assert state.flat_weights.sum() == pytest.approx(1, abs=1e-5)


# --- Directions of the perturbation, groups, passes -----------------------------------


def test_beta_mixes_in_the_mean_gradient():
    """SAMO: the direction is the task's own gradient, the mean loss's, or both."""
    tasks = random_quadratics(seed=3)
    betas, ends = (0, 0.5, 1), {}
    present = np.array([True, False, True])
    with jax.enable_x64(True):
        problem, params = tasks.problem()
        some, _ = tasks.problem(present=present)

        def rows(params, problem, beta):
            tx = mtopt.per_task_sam(3, rho=0.3, beta=beta)
            return update(tx, (), problem, params)[0]

        @jax.jit
        def found_for(params):
            cases = [rows(params, problem, beta) for beta in betas]
            return cases, rows(params, some, 0.5)

        found, found_some = found_for(params)
    grads = tasks.grads(tasks.points)

    def expected(beta, here):
        share = here / here.sum()
        # A task's own parameters appear in one of the losses of the mean alone.
        towards = np.concatenate(
            [
                beta * grads[:, :D] + (1 - beta) * (share @ grads[:, :D])[None],
                (beta + (1 - beta) * share)[:, None] * grads[:, D:],
            ],
            axis=1,
        )
        return tasks.sam(moves_of(tasks.points, towards, rho=0.3))

    for beta, own in zip(betas, found, strict=True):
        ends[beta] = expected(beta, np.ones(3))
        np.testing.assert_allclose(joined(own), ends[beta], rtol=1e-9, atol=1e-12)
    assert np.abs(ends[0] - ends[1]).max() > 0.01
    np.testing.assert_allclose(
        joined(found_some)[present], expected(0.5, present)[present], rtol=1e-9
    )


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_of_the_mean_loss_is_sam_of_one_loss(adaptive):
    """Before equal weighting: jax.grad of the mean loss at its own worst point."""
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None, 0.2)
    problem = tasks.problem(batch, KEY)
    gone = mtopt.Batch(batch.x, batch.y, batch.mask.at[1].set(False))
    without = tasks.problem(gone, KEY)

    @jax.jit
    def both(params):
        pairs = []
        for case, here in ((problem, jnp.ones(3)), (without, jnp.array([1.0, 0, 1]))):
            tx = mtopt.chain(
                mtopt.sam(3, rho=0.3, adaptive=adaptive), mtopt.equal_weighting(3)
            )
            found, _ = update(tx, tx.init(params), case, params)

            def mean(params, case=case, here=here):
                return here @ case.losses(params) / here.sum()

            pairs.append((found, single_loss_sam(adaptive, 0.3, mean, params)))
        return pairs

    for found, expected in both(params):
        assert_trees_close(found, expected, rtol=1e-4, atol=1e-6)


def test_sam_moves_all_tasks_to_one_point():
    tasks = random_quadratics(seed=6)
    with jax.enable_x64(True):
        problem, params = tasks.problem()
        found, _ = one(mtopt.sam(3, rho=0.3), problem, params)
        clean, _ = one(mtopt.sam(3, rho=0), problem, params)
    grads = tasks.grads(tasks.points)
    shared, own = grads[:, :D].mean(axis=0), grads[:, D:] / 3
    length = np.sqrt((shared**2).sum() + (own**2).sum())
    moves = np.concatenate([np.tile(shared, (3, 1)), own], axis=1) * 0.3 / length
    np.testing.assert_allclose(joined(found), tasks.sam(moves), rtol=1e-10)
    np.testing.assert_allclose(joined(clean), grads, rtol=1e-12)


def test_groups_of_tasks_are_perturbed_like_one_stack():
    """Tasks a and c in one group, b in the other: rows come in the order of names."""
    tasks = random_quadratics(seed=7)
    groups = mtopt.TaskGroups(
        (
            mtopt.Tasks(("b",), repeat, quadratic),
            mtopt.Tasks(("a", "c"), repeat, quadratic),
        ),
        shared_inputs=True,
    )
    parts = [tasks.only([1]), tasks.only([0, 2])]
    options = {"rho": (0.1, 0.2, 0.3), "adaptive": True}
    with jax.enable_x64(True):
        problem, params = tasks.problem()
        masks = (jnp.ones((1, B), bool), jnp.ones((2, B), bool))
        batch = mtopt.Batch(jnp.zeros(B), tuple(part.labels for part in parts), masks)
        grouped = groups.problem(batch, KEY)
        own = tuple(
            mtopt.PerTask(jnp.asarray(part.own), group.names)
            for part, group in zip(parts, groups.groups, strict=True)
        )

        def rows_and_direction(problem, params):
            sam = mtopt.per_task_sam(3, **options)
            flat = mtopt.flat_regions(mtopt.mgda(3), **options)
            return (
                update(sam, (), problem, params)[0],
                update(flat, flat.init(params), problem, params),
            )

        @jax.jit
        def both(params, own):
            in_groups = {"shared": params["shared"], "tasks": own}
            return (
                rows_and_direction(problem, params),
                rows_and_direction(grouped, in_groups),
            )

        (rows, flat), (grouped_rows, grouped_flat) = both(params, own)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    close(grouped_rows["shared"], rows["shared"])
    close(grouped_flat[0]["shared"], flat[0]["shared"])
    close(grouped_flat[1].flat_weights, flat[1].flat_weights)
    for group in grouped_rows["tasks"]:
        for name in group.names:
            close(group[name], rows["tasks"][name])


def test_one_after_another_is_all_at_once():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, 0, 0.2)
    problem = tasks.problem(batch, KEY)

    @jax.jit
    def directions(params):
        found = []
        for passes in PASSES:
            tx = mtopt.flat_regions(mtopt.mgda(3), rho=0.3, passes=passes)
            found.append(update(tx, tx.init(params), problem, params))
        return found

    vmapped, unrolled, mapped = directions(params)
    assert_trees_close(unrolled, vmapped, rtol=1e-5, atol=1e-6)
    assert_trees_close(mapped, vmapped, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("passes", PASSES)
def test_over_tasks_stacks_what_the_function_of_a_task_returns(passes):
    def function(common, x, tree):
        return {"sum": common + x, "product": (tree["a"] * x, common)}

    x, tree = jnp.arange(3.0), {"a": jnp.arange(6.0).reshape(3, 2)}
    on_tasks = over_tasks(function, (None, 0, 0), passes)
    found = on_tasks(jnp.float32(2), x, tree)
    np.testing.assert_array_equal(found["sum"], [2, 3, 4])
    np.testing.assert_array_equal(found["product"][0], [[0, 0], [2, 3], [8, 10]])
    np.testing.assert_array_equal(found["product"][1], [2, 2, 2])
    swapped = over_tasks(lambda a, b: a - b, (0, None), passes)
    np.testing.assert_array_equal(swapped(x, 1), [-1, 0, 1])


# --- What it costs, and how often it compiles -----------------------------------------


COSTLY = (4, 128, 256, (256, 256), 10, None)


@functools.cache
def costs():
    """Operations of one task's forward and backward pass, and of a solve."""
    tasks, params, batch = problems.classification(1, *COSTLY[1:])

    def gradient(params):
        return tasks.problem(batch, KEY).losses_and_grads(params)

    forward = problems.flops(lambda p: tasks.problem(batch, KEY).losses(p), params)
    backward = problems.flops(gradient, params) - forward
    size = sum(leaf.size for leaf in jax.tree.leaves(params["shared"]))
    num_tasks = COSTLY[0]
    solve = problems.flops(mtopt.solvers.min_norm_weights, jnp.eye(num_tasks))
    solve += 2 * num_tasks**2 * size + 2 * num_tasks * size  # Gramian, weighted sum
    return forward, backward, solve


@pytest.mark.parametrize(
    ("tx", "forwards", "backwards", "solves"),
    [
        (mtopt.flat_regions(mtopt.mgda(4)), 1 + 4, 2 * 4, 2),
        (mtopt.flat_regions(mtopt.mgda(4), variant="direct"), 1 + 4, 2 * 4, 1),
        (mtopt.chain(mtopt.per_task_sam(4), mtopt.mgda(4)), 1 + 4, 2 * 4, 1),
        (mtopt.chain(mtopt.sam(4), mtopt.mgda(4)), 2, 2 * 4, 1),
        (mtopt.flat_regions(mtopt.mgda(4), rho=0), 1, 4, 1),
    ],
    ids=["split", "direct", "per_task_sam", "sam", "no radius"],
)
def test_a_step_keeps_its_budget(tx, forwards, backwards, solves):
    """(1 + K) forwards, 2K backwards and two solves, and no less than the passes.

    3 % are for what is done once per parameter of a task: the norms, the move, the
    difference of two gradients, and for the heads of all tasks in the clean forward.
    """
    forward, backward, solve = costs()
    tasks, params, batch = problems.classification(*COSTLY)
    state = mtopt.TrainState.create(params, optax.chain(tx, optax.sgd(0.1)), KEY)
    step = mtopt.make_train_step(tasks, optax.chain(tx, optax.sgd(0.1)))
    found = step.lower(state, batch).compile().cost_analysis()["flops"]
    passes = forwards * forward + backwards * backward
    assert 0.97 * passes <= found <= 1.03 * (passes + solves * solve)


def test_seeds_vmapped_equal_seeds_alone_and_compile_once():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = mtopt.chain(mtopt.flat_regions(mtopt.mgda(3), rho=0.3), optax.adam(1e-2))
    step = mtopt.make_train_step(tasks, tx)

    def start(seed):
        own = jax.tree.map(lambda leaf: leaf * (1 + 0.1 * seed), params)
        return mtopt.TrainState.create(own, tx, jax.random.key(seed))

    alone = [start(0), start(1)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    together = jax.jit(jax.vmap(step, in_axes=(0, None)))
    for _ in range(3):
        stacked, _ = together(stacked, batch)
        alone = [step(state, batch)[0] for state in alone]
    assert together._cache_size() == step._cache_size() == 1
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    assert_trees_close(stacked.params, expected.params, rtol=1e-4, atol=1e-5)
    weights = optax.tree.get(stacked.opt_state, "flat_weights")
    np.testing.assert_allclose(weights.sum(axis=1), [1, 1], rtol=1e-5)


# --- Other wrappers, and errors -------------------------------------------------------


@pytest.mark.parametrize(
    "wrapper",
    [
        functools.partial(mtopt.weights_every, n=2),
        functools.partial(mtopt.smoothed_weights, alpha=0.5),
    ],
    ids=["weights_every", "smoothed_weights"],
)
def test_a_wrapper_of_weights_stands_inside(wrapper):
    problem, params = random_quadratics(seed=8).problem()
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    outside = wrapper(mtopt.flat_regions(mtopt.mgda(3)))
    with pytest.raises(mtopt.UserError, match="not the other way round"):
        jax.eval_shape(lambda p: update(outside, outside.init(p), problem, p), params)

    inside = mtopt.flat_regions(wrapper(mtopt.mgda(3)), rho=0.3)
    plain = mtopt.flat_regions(mtopt.mgda(3), rho=0.3)

    @jax.jit
    def two_steps(params):
        """Both from one point, then another: of the second step, all weights."""
        found = []
        for tx in (inside, plain):
            first, state = update(tx, tx.init(params), problem, params)
            moved = jax.tree.map(lambda p: p + 0.5, params)
            found.append((first, state, *update(tx, state, problem, moved)))
        return found

    (first, begun, _, state), (expected, plain_begun, _, plain_state) = two_steps(
        params
    )
    assert_trees_close(first, expected, rtol=1e-5, atol=1e-5)

    def both(state):
        return np.stack([optax.tree.get(state, "weights"), state.flat_weights])

    held = both(begun)
    if wrapper.func is mtopt.smoothed_weights:
        held = 0.5 * held + 0.5 * both(plain_state)
    np.testing.assert_allclose(both(state), held, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both(begun), both(plain_begun), rtol=1e-4, atol=1e-5)
    assert np.abs(both(plain_state) - both(plain_begun)).max() > 0.01


def test_a_chain_cannot_be_wrapped():
    tx = mtopt.flat_regions(mtopt.chain(mtopt.mgda(3), optax.sgd(0.1)))
    with pytest.raises(mtopt.UserError, match="got a chain"):
        tx.init(jnp.zeros(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": -0.1}, "rho is -0.1: expected a number of at least 0, or one per"),
        ({"rho": float("nan")}, "rho is nan: expected"),
        ({"rho": (0.1, -1.0, 0.1)}, "rho is .* expected a number of at least 0"),
        ({"rho": 0.1, "rho_shared": 0.1}, "expected rho alone"),
        ({"rho": 0.1, "rho_shared": 0.1, "rho_task": 0.1}, "expected rho alone"),
        ({"rho_shared": 0.1}, "rho_shared and rho_task"),
        ({"rho_task": 0.1}, "rho_shared and rho_task"),
        ({"rho_shared": -1, "rho_task": 1}, "rho_shared is -1"),
        ({"rho_shared": 1, "rho_task": -1}, "rho_task is -1"),
        ({"passes": "scan"}, "passes is 'scan': expected one of"),
    ],
)
def test_a_ball_out_of_range_is_an_error(options, message):
    with pytest.raises(mtopt.UserError, match=message):
        mtopt.per_task_sam(3, **options)
    with pytest.raises(mtopt.UserError, match=message):
        mtopt.flat_regions(mtopt.mgda(3), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": (0.1, 0.2)}, r"rho is \[0.1, 0.2\]: expected 1 number, or 3: one per"),
        ({"rho_shared": (1, 1, 1, 1), "rho_task": 1}, "rho_shared is .* or 3: one per"),
        ({"rho_shared": 1, "rho_task": (1,)}, "rho_task is .* or 3: one per task"),
    ],
)
def test_radii_per_task_are_one_for_each(options, message):
    with pytest.raises(mtopt.UserError, match=message):
        mtopt.per_task_sam(3, **options)
    with pytest.raises(mtopt.UserError, match=message):
        mtopt.flat_regions(mtopt.mgda(3), **options).init(jnp.zeros(2))
    check_ball(make_ball(0.1, None, None, False, "vmap"), 3)


def test_other_options_out_of_range_are_errors():
    for make_one, message in (
        (lambda: mtopt.per_task_sam(0), "num_tasks is 0: expected at least 1"),
        (lambda: mtopt.per_task_sam(3, beta=1.5), "beta is 1.5: expected a number"),
        (lambda: mtopt.per_task_sam(3, beta=-1), "beta is -1: expected a number"),
        (lambda: mtopt.sam(0), "num_tasks is 0"),
        (lambda: mtopt.sam(3, rho=-1), "rho is -1"),
        (
            lambda: mtopt.flat_regions(mtopt.mgda(3), variant="both"),
            "variant is 'both': expected one of",
        ),
        (
            lambda: mtopt.flat_regions(mtopt.mgda(3), heads="weighted"),
            "heads is 'weighted': expected one of",
        ),
    ):
        with pytest.raises(mtopt.UserError, match=message):
            make_one()


@pytest.mark.parametrize(
    "tx",
    [mtopt.per_task_sam(3), mtopt.sam(3), mtopt.flat_regions(mtopt.mgda(3))],
    ids=["per_task_sam", "sam", "flat_regions"],
)
def test_what_an_update_needs(tx):
    problem, params = random_quadratics().problem()
    rows, losses = jnp.ones((3, D)), jnp.ones(3)
    state = tx.init(params)
    with pytest.raises(TypeError, match="missing 'params' or 'problem'"):
        tx.update(rows, state, params, losses=losses)
    with pytest.raises(TypeError, match="missing 'params' or 'problem'"):
        tx.update(rows, state, problem=problem, losses=losses)
    shared = {"shared": rows[0], "tasks": params["tasks"]}
    with pytest.raises(mtopt.UserError, match="expected rows of 3 tasks"):
        tx.update(shared, state, params, problem=problem, losses=losses)
