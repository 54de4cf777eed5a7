"""Inner products, norms and sums without rows are those of the rows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.gradients import through_encoder
from mtopt.gradients.outer_products import OuterProducts
from mtopt.gradients.program import Program
from mtopt.linalg import combine, gramian, row_norms
from mtopt.passes import WRITTEN_OUT
from tests.helpers import encoders, problems
from tests.helpers.close import assert_close
from tests.helpers.encoders import ENCODERS, NAMES, SAMPLES, WIDTH, normal

KEY = jax.random.key(0)
WEIGHTS = np.array([0.2, -1.0, 3.0])


def head_loss(head, z, y, mask, key):
    return mtopt.masked_mean((jnp.tanh(z) @ head - y) ** 2, mask)


def case(name, dtype):
    encode, shared, without_rows = ENCODERS[name]
    params = {"shared": shared, "tasks": mtopt.PerTask(normal(3, WIDTH), NAMES)}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
    mask = np.ones((3, SAMPLES), bool)
    mask[0, 2:] = False
    x, y = normal(SAMPLES, WIDTH, seed=2), normal(3, SAMPLES)
    batch = mtopt.Batch(jnp.asarray(x, dtype), jnp.asarray(y, dtype), mask)
    return encode, params, batch, without_rows


def jacobian(problem, params):
    """The rows, by the backward pass of each loss."""
    return jax.jacrev(lambda shared: problem.losses({**params, "shared": shared}))(
        params["shared"]
    )


def answers(problem, params):
    """Gramian, norms and weighted sum, of the rows and without them; and rows."""
    rows = jacobian(problem, params)
    losses, written = problem.losses_and_grads(params)
    found = problem.task_gradients(params)
    weights = jnp.asarray(WEIGHTS, losses.dtype)
    return (
        (gramian(rows), row_norms(rows), combine(weights, rows), rows, losses),
        (
            found.gramian(),
            found.norms(),
            found.combine(weights),
            written["shared"],
            problem.losses(params),
        ),
    )


def close_to_rows(both, rtol):
    expected, found = both
    assert_close(found, expected, rtol=rtol)


def without_rows(gradients):
    """How many parameters have no rows."""
    leaves = jax.tree.leaves(gradients.leaves)
    return sum(isinstance(leaf, OuterProducts) for leaf in leaves)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_they_are_those_of_the_rows(name, dtype, rtol):
    with jax.enable_x64(dtype == np.float64):
        encode, params, batch, expected = case(name, dtype)
        tasks = mtopt.Tasks(NAMES, encode, head_loss, rows="never")
        counted = []

        @jax.jit
        def both(params):
            problem = tasks.problem(batch, KEY)
            counted.append(without_rows(problem.task_gradients(params)))
            return answers(problem, params)

        close_to_rows(both(params), rtol)
    assert counted == [expected]


def test_half_precision_is_within_its_rounding():
    encode, params, batch, _ = case("dense", jnp.bfloat16)
    tasks = mtopt.Tasks(NAMES, encode, head_loss, rows="never")
    both = jax.jit(functools.partial(answers, tasks.problem(batch, KEY)))
    close_to_rows(both(params), 0.03)


def test_a_parameter_cast_to_half_precision_has_its_own_dtype():
    def encode(shared, x, key):
        return jnp.tanh(x.astype(jnp.bfloat16) @ shared.astype(jnp.bfloat16))

    _, _, batch, _ = case("dense", np.float32)
    params = {"shared": jnp.asarray(normal(WIDTH, WIDTH), jnp.float32)}
    params["tasks"] = mtopt.PerTask(jnp.asarray(normal(3, WIDTH), jnp.float32), NAMES)
    tasks = mtopt.Tasks(NAMES, encode, head_loss, rows="never")
    found = tasks.problem(batch, KEY).task_gradients(params)
    assert without_rows(found) == 1
    assert found.combine(jnp.ones(3)).dtype == jnp.float32
    both = jax.jit(functools.partial(answers, tasks.problem(batch, KEY)))
    close_to_rows(both(params), 0.03)


def test_statistics_of_the_batch_couple_its_samples():
    def encode(shared, x, key, state, labelled):
        h = x @ shared["w"]
        h = (h - h.mean(0, keepdims=True)) / (h.std(0, keepdims=True) + 0.1)
        return jnp.tanh(h @ shared["v"]), state

    _, params, batch, _ = case("checkpoint", np.float32)
    tasks = mtopt.Tasks(NAMES, encode, head_loss, stateful=True, rows="never")
    problem = tasks.problem(batch, KEY, {"mean": jnp.zeros(2)})
    assert without_rows(problem.task_gradients(params)) == 2
    close_to_rows(jax.jit(functools.partial(answers, problem))(params), 1e-5)


def grouped(shared_inputs=True, **options):
    """Two groups on one encoder, the second of one task with two layers of its own."""

    def deep_loss(head, z, y, mask, key):
        return mtopt.masked_mean((jnp.tanh(z @ head["w"]) @ head["v"] - y) ** 2, mask)

    encode, params, batch, _ = case("dense", np.float32)
    groups = (
        mtopt.Tasks(("a", "c"), encode, head_loss, **options),
        mtopt.Tasks(("b",), encode, deep_loss, **options),
    )
    tasks = mtopt.TaskGroups(groups, shared_inputs)
    own = {"w": normal(1, WIDTH, WIDTH), "v": normal(1, WIDTH)}
    heads = (params["tasks"].values[np.array([0, 2])], jax.tree.map(jnp.float32, own))
    params["tasks"] = tuple(map(mtopt.PerTask, heads, (("a", "c"), ("b",))))
    places = ([0, 2], [1])
    y, mask = (
        tuple(leaf[np.array(i)] for i in places) for leaf in (batch.y, batch.mask)
    )
    x = batch.x if shared_inputs else (batch.x, 1 + batch.x)
    return tasks.problem(mtopt.Batch(x, y, mask), KEY), params


@pytest.mark.parametrize(("shared_inputs", "expected"), [(True, 2), (False, 0)])
def test_groups_on_one_encoder_go_through_it_together(shared_inputs, expected):
    problem, params = grouped(shared_inputs, rows="never")

    @jax.jit
    def both(params):
        rows = jacobian(problem, params)
        found = problem.task_gradients(params)
        weights = jnp.float32(WEIGHTS)
        pulled = problem.pullback(params, weights)
        losses, written = problem.losses_and_grads(params)
        summed = combine(weights, rows)
        expected = gramian(rows), summed, summed, rows, problem.losses(params)
        return expected, (
            found.gramian(),
            found.combine(weights),
            pulled,
            written["shared"],
            losses,
        )

    assert without_rows(problem.task_gradients(params)) == expected
    close_to_rows(both(params), 1e-5)


@pytest.mark.parametrize("in_a_group", [False, True])
def test_inputs_of_their_own_have_rows(in_a_group):
    encode, params, batch, _ = case("dense", np.float32)
    tasks = mtopt.Tasks(NAMES, encode, head_loss, x_axis=0, rows="never")
    x, y, mask = jnp.stack([batch.x] * 3), batch.y, batch.mask
    if in_a_group:
        tasks, y, mask = mtopt.TaskGroups((tasks,), shared_inputs=True), (y,), (mask,)
        params["tasks"] = (params["tasks"],)
    problem = tasks.problem(mtopt.Batch(x, y, mask), KEY)
    found = problem.task_gradients(params)
    assert without_rows(found) == 0
    rows = problem.losses_and_grads(params)[1]["shared"]
    assert_close(found.gramian(), gramian(rows), rtol=1e-6)


def test_norms_are_right_at_any_scale():
    encode, params, batch, _ = case("dense", np.float32)
    scales = jnp.float32([1e25, 1e-25, 1.0])
    tasks = mtopt.Tasks(NAMES, encode, head_loss, rows="never")
    problem = mtopt.scaled_problem.ScaledProblem(tasks.problem(batch, KEY), scales)
    found = problem.task_gradients(params)
    assert without_rows(found) == 2
    expected = row_norms(problem.losses_and_grads(params)[1]["shared"])
    np.testing.assert_allclose(found.norms(), expected, rtol=1e-5)


METHODS = {
    "mgda": lambda: mtopt.chain(mtopt.mgda(3)),
    "unit rows": lambda: mtopt.chain(mtopt.normalize_rows(3), mtopt.mgda(3)),
    "logarithms": lambda: mtopt.chain(mtopt.log_losses(mtopt.upgrad(3))),
    "flat regions": lambda: mtopt.chain(mtopt.flat_regions(mtopt.mgda(3), rho=0.1)),
    "per-task SAM": lambda: mtopt.chain(mtopt.per_task_sam(3), mtopt.mgda(3)),
    "penalty": lambda: mtopt.chain(mtopt.rep_mtl(mtopt.cagrad(3))),
    "some tasks": lambda: mtopt.chain(mtopt.without_stationary(mtopt.mgda(3))),
    "kept weights": lambda: mtopt.chain(mtopt.weights_every(mtopt.nash_mtl(3), n=2)),
    "momentum": lambda: mtopt.chain(mtopt.task_momentum(3), mtopt.mgda(3)),
    "a layer": lambda: optax.partition(
        {"first": mtopt.mgda(3), "rest": mtopt.equal_weighting(3)},
        lambda params: jax.tree_util.tree_map_with_path(
            lambda path, _: "first" if "w" in str(path) else "rest", params
        ),
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_way_through_a_chain_gives_what_rows_give(name):
    encode, params, batch, _ = case("dense", np.float32)
    found = {}
    for rows in ("never", "always"):
        tx = METHODS[name]()
        tasks = mtopt.Tasks(NAMES, encode, head_loss, rows=rows)

        @jax.jit
        def update(params, tx=tx, tasks=tasks):
            seen = tasks.problem(batch, KEY).evaluate(params)
            return tx.update(seen.gradients, tx.init(params), params, evaluation=seen)[
                0
            ]

        found[rows] = update(params)
    assert_close(found["never"], found["always"], rtol=2e-4)


def test_no_rows_are_in_the_compiled_step():
    """Of a layer that is cheaper without, no array has its size times K."""
    tasks, params, batch = problems.classification(8, 8, 64, (64, 32), 3, None)
    text = {}
    for rows in ("auto", "always"):
        own = dataclasses.replace(tasks, rows=rows)
        tx = mtopt.chain(mtopt.mgda(8), optax.sgd(0.1))
        state = mtopt.TrainState.create(params, tx, KEY)
        lowered = mtopt.make_train_step(own, tx).lower(state, batch)
        text[rows] = lowered.compile().as_text()
    assert "f32[8,64,64]" in text["always"]
    assert "f32[8,64,64]" not in text["auto"]


@pytest.mark.parametrize("encoder", ["convolution", "without layers"])
@pytest.mark.parametrize("passes", ["unroll", "map"])
def test_one_task_after_another_gives_the_same(encoder, passes, monkeypatch):
    monkeypatch.setattr(through_encoder, "passes_of", lambda program, num_tasks: passes)
    encode, params, batch, _ = case(encoder, np.float32)
    problem = mtopt.Tasks(NAMES, encode, head_loss, rows="never").problem(batch, KEY)
    close_to_rows(jax.jit(functools.partial(answers, problem))(params), 1e-5)
    for written in (
        problem.losses_and_grads,
        lambda params: problem.task_gradients(params).rows(),
    ):
        text = str(jax.make_jaxpr(written)(params))
        own = {"unroll": 3, "map": 1}[passes]
        assert text.count("conv_general_dilated[") == 1 + own
        assert passes == "unroll" or "scan[" in text


@pytest.mark.parametrize(
    ("encoder", "platform", "num_tasks", "heavy", "expected"),
    [
        ("dense", "cpu", 9, True, "map"),
        ("dense", "cpu", 9, False, "vmap"),
        ("dense", "gpu", 9, True, "vmap"),
        ("convolution", "cpu", WRITTEN_OUT, True, "unroll"),
        ("convolution", "cpu", WRITTEN_OUT + 1, True, "vmap"),
    ],
)
def test_how_tasks_go_back(encoder, platform, num_tasks, heavy, expected, monkeypatch):
    encode, params, batch, _ = case(encoder, np.float32)
    leaves, tree = jax.tree.flatten(params["shared"])

    def in_a_checkpoint(*own):
        return jax.checkpoint(lambda *own: encode(tree.unflatten(own), batch.x, KEY))(
            *own
        )

    program = Program.of(in_a_checkpoint, leaves)
    monkeypatch.setattr(through_encoder, "HEAVY", 0 if heavy else 2**24)
    monkeypatch.setattr(through_encoder, "platform", lambda: platform)
    assert through_encoder.passes_of(program, num_tasks) == expected


def test_rows_of_more_samples_than_outputs_are_written_one_after_another():
    """Else the activations would be copied for every task."""
    a, few, many = normal(4, 5), normal(3, 4, 4), normal(3, 4, 3)
    for deltas, loops in ((few, 0), (many, 1)):
        products = OuterProducts(
            jnp.asarray(a), jnp.asarray(deltas), lambda matrix: 2 * matrix, None
        )
        jaxpr = jax.make_jaxpr(products.rows)()
        assert str(jaxpr).count("scan[") == loops
        expected = 2 * np.einsum("bi,kbo->kio", a, deltas)
        assert_close(products.rows(), expected, rtol=1e-6)


def test_samples_in_plenty_are_cheaper_by_rows():
    sizes = 4, 512
    few, many = (
        problems.classification(4, size, 32, (32, 32), 3, None) for size in sizes
    )
    counts = []
    for tasks, params, batch in (few, many):
        own = tasks.problem(batch, KEY)
        jax.eval_shape(
            lambda params, own=own: counts.append(
                without_rows(own.task_gradients(params))
            ),
            params,
        )
    assert counts == [2, 0]


def test_several_seeds_at_once():
    encode, params, batch, _ = case("dense", np.float32)
    tasks = mtopt.Tasks(NAMES, encode, head_loss, rows="never")
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), params)
    both = jax.vmap(lambda own: answers(tasks.problem(batch, KEY), own))
    close_to_rows(jax.jit(both)(stacked), 1e-5)


def test_an_unknown_choice_is_refused():
    with pytest.raises(mtopt.UserError, match=r"rows.*sometimes.*auto"):
        mtopt.Tasks(NAMES, encoders.dense, head_loss, rows="sometimes")


def test_a_representation_without_floats_is_refused():
    _, params, batch, _ = case("dense", np.float32)
    tasks = mtopt.Tasks(NAMES, lambda shared, x, key: x > 0, head_loss)
    with pytest.raises(mtopt.UserError, match="no array of floats"):
        tasks.problem(batch, KEY).pullback(params, jnp.ones(3))


def test_a_mask_beside_the_features_is_no_feature():
    def encode(shared, x, key):
        return {"z": encoders.dense(shared, x, key), "real": x[:, 0] > 0}

    def masked(head, z, y, mask, key):
        return head_loss(head, z["z"] * z["real"][:, None], y, mask, key)

    _, params, batch, _ = case("dense", np.float32)
    problem = mtopt.Tasks(NAMES, encode, masked, rows="never").problem(batch, KEY)
    assert without_rows(problem.task_gradients(params)) == 2
    close_to_rows(jax.jit(functools.partial(answers, problem))(params), 1e-5)
