"""SAM per task: the gradients at each task's own worst point."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.methods import over
from tests.helpers.quadratics import NAMES, D, joined, moves_of, random_quadratics
from tests.helpers.updates import KEY, update_on

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
            return update_on(tx, tx.init(params), problem, params)[0]

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
    assert_close(unmoved, grads[1], rtol=1e-12)


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
                sam, _ = update_on(tx, (), problem, params)
                flat = jax.tree.map(lambda s, g: (s - g) / rho, sam, grads)
                gap = jax.tree.map(jnp.subtract, flat, expected)
                return optax.tree.norm(gap) / optax.tree.norm(expected)

            return error(4e-4), error(2e-4)

        wider, narrower = map(float, errors(params))
    assert narrower < 1e-3
    assert wider / narrower == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(
    ("x_axis", "adaptive"),
    [
        (None, True),
        (0, False),
        pytest.param(None, False, marks=pytest.mark.slow),
        pytest.param(0, True, marks=pytest.mark.slow),
    ],
)
def test_every_task_is_perturbed_as_if_it_were_alone(x_axis, adaptive):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, x_axis, 0.2)

    def alone(params, k):
        own = jax.tree.map(lambda leaf: leaf[k][None], params["tasks"].values)
        one_task = dataclasses.replace(tasks, names=("alone",))
        params = {**params, "tasks": mtopt.PerTask(own, one_task.names)}
        x = batch.x if x_axis is None else batch.x[k][None]
        part = mtopt.Batch(x, batch.y[k][None], batch.mask[k][None])
        problem = one_task.problem(part, KEY)
        tx = mtopt.per_task_sam(1, rho=0.3, adaptive=adaptive)
        rows, _ = update_on(tx, tx.init(params), problem, params)
        row = rows["shared"], rows["tasks"].values
        return jax.tree.map(lambda leaf: leaf[0], row)

    @jax.jit
    def both(params):
        tx = mtopt.per_task_sam(3, rho=0.3, adaptive=adaptive)
        problem = tasks.problem(batch, KEY)
        rows, _ = update_on(tx, tx.init(params), problem, params)
        expected = jax.lax.map(functools.partial(alone, params), jnp.arange(3))
        return (rows["shared"], rows["tasks"].values), expected

    assert_close(*both(params), rtol=1e-4)


def test_the_perturbed_pass_drops_the_same_features():
    def encode(shared, x, key):
        kept = jax.random.bernoulli(key, 0.5, shared.shape)
        return jnp.tanh(x @ (shared * kept))

    def head_loss(head, z, y, mask, key):
        kept = jax.random.bernoulli(key, 0.5, head.shape)
        return mtopt.masked_mean((z @ (head * kept) - y) ** 2, mask)

    tasks = mtopt.Tasks(NAMES, encode, head_loss)
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.normal(size=shape).astype("float32")

    params = {"shared": draw(8, 6), "tasks": mtopt.PerTask(draw(3, 6), NAMES)}
    batch = mtopt.Batch(draw(5, 8), draw(3, 5), np.ones((3, 5), bool))
    problem = tasks.problem(batch, KEY)

    @jax.jit
    def both(params):
        _, grads = problem.losses_and_grads(params)
        return grads, update_on(mtopt.per_task_sam(3, rho=0.5), (), problem, params)[0]

    grads, sam = jax.tree.map(np.asarray, both(params))
    dropped = jax.tree.map(lambda g: g == 0, grads)
    share = np.mean(dropped["shared"])
    assert 0.4 < share < 0.95
    jax.tree.map(lambda s, d: np.testing.assert_array_equal(s == 0, d), sam, dropped)
    changed = jax.tree.map(lambda s, g: np.abs(s - g).max() > 1e-3, sam, grads)
    assert all(jax.tree.leaves(changed))


@over(["split", "direct", "per_task_sam", "sam"], slow=["direct", "per_task_sam"])
def test_running_statistics_are_those_of_one_clean_forward(name):
    """While the perturbed passes normalise by the statistics of their own batch."""

    def encode(shared, x, key, running, labelled):
        del key, labelled
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
    running = {"mean": np.zeros(7, "float32"), "std": np.ones(7, "float32")}
    _, expected = jax.jit(encode)(params["shared"], batch.x, None, running, None)
    tx = {
        "per_task_sam": mtopt.chain(mtopt.per_task_sam(3), mtopt.mgda(3)),
        "sam": mtopt.chain(mtopt.sam(3), mtopt.equal_weighting(3)),
    }.get(name)
    tx = tx or mtopt.flat_regions(mtopt.equal_weighting(3), rho=1.0, variant=name)
    tx = mtopt.chain(tx, optax.sgd(0.5))
    state = mtopt.TrainState.create(params, tx, KEY, running)
    state, _ = mtopt.make_train_step(tasks, tx)(state, batch)
    assert_close(state.model_state, expected, rtol=1e-5)
    assert np.abs(state.params["shared"] - params["shared"]).max() > 1e-3


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
            return update_on(tx, (), problem, params)[0]

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
    assert_close(
        joined(found_some)[present], expected(0.5, present)[present], rtol=1e-9
    )


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
    with pytest.raises(mtopt.UserError, match="reads problem"):
        tx.update(rows, state, params, evaluation=mtopt.Evaluation(losses=losses))
    known = mtopt.Evaluation(problem=problem, losses=losses)
    with pytest.raises(mtopt.UserError, match="has a problem and no rows"):
        tx.update(rows, state, evaluation=known)
    shared = {"shared": rows[0], "tasks": params["tasks"]}
    with pytest.raises(mtopt.UserError, match="expected rows of 3 tasks"):
        jax.eval_shape(
            lambda: tx.update(
                shared, state, params, evaluation=problem.evaluate(params)
            )
        )
