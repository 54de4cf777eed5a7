"""Outlier tasks found in the step: the rule, who is judged when, planted outliers."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from experiments.benchmarks import outlier_plants, outliers
from mtopt.transforms import per_task_sam
from mtopt.wrappers import outlier_weighted
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.compilations import compiled_once
from tests.helpers.methods import FEW, assert_finite, make, over, some_methods

ROWS = jnp.array([[1.0, 0.0, 0.5], [2.0, 0.4, 0.0], [-0.3, 0.1, -0.1], [0.1, 0.2, 0.3]])
PARAMS = jnp.zeros(3)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["at_mean", "labels", "present"],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Stub:
    """A problem of which only what the rule reads is known."""

    at_mean: Any
    labels: Any
    present: Any

    def losses_at_mean(self, params):
        return self.at_mean


def run(tx, rows, batches, **known):
    """The directions and states of several batches, ``(losses, at_mean, labels)``."""

    def update(state, batch):
        losses, at_mean, labels = batch
        seen = mtopt.Evaluation(
            losses=losses, rows=rows, problem=Stub(at_mean, labels, labels > 0), **known
        )
        direction, state = tx.update(rows, state, PARAMS, evaluation=seen)
        return state, (direction, state.memory)

    batches = jax.tree.map(jnp.asarray, batches)
    scan = jax.jit(lambda state, batches: jax.lax.scan(update, state, batches))
    return jax.tree.map(np.asarray, scan(tx.init(rows[0]), batches)[1])


def constant(losses, count, at_mean=1.0, labels=5):
    """The same batch, several times."""
    shape = (count, len(losses))
    return (
        np.broadcast_to(np.asarray(losses, "float32"), shape),
        np.broadcast_to(np.asarray(at_mean, "float32"), shape),
        np.broadcast_to(np.asarray(labels, "int32"), shape),
    )


def test_weights_follow_the_equations_line_by_line():
    """In float64, with loops, for batches of changing losses and labels."""
    rng = np.random.default_rng(0)
    steps, number = 40, 4
    losses = rng.uniform(0, 1, (steps, number)) * [1.0, 1.1, 0.9, 5.0]
    at_mean = rng.uniform(2, 3, (steps, number))
    labels = rng.integers(0, 4, (steps, number))
    own = np.array([1.0, 0.5, 2.0, 1.0])
    with jax.enable_x64(True):
        tx = outlier_weighted(
            mtopt.equal_weighting(number, reduction="sum"), num_shared=9, tolerance=0.7
        )
        found = run(tx, ROWS, (losses, at_mean, labels), task_weights=own)
    directions, memory = found
    judged_at_all = []
    for t in range(steps):
        explained, even, seen = [], [], []
        for k in range(number):
            n = labels[: t + 1, k]
            total = n.sum()
            cost = (n * losses[: t + 1, k]).sum() / total if total else 0
            constant = (n * at_mean[: t + 1, k]).sum() / total if total else 0
            explained.append(1 - cost / constant if total else 0)
            seen.append((n > 0).sum())
            even.append(seen[-1] * constant)
        mean = np.mean([1 / size for size in even if size > 0])
        weights = [1 / size / mean if size else 1 for size in even]
        judged = [count >= 9 for count in seen]
        judged_at_all.append(sum(judged) >= 2.4)
        if judged_at_all[-1]:
            middle = np.median(
                [e for e, known in zip(explained, judged, strict=True) if known]
            )
            if middle >= 0.3:
                share = np.array(explained) / middle
                clear = sum(judged & (share >= 0.6)) >= 2.4
                ramp = np.clip((share / 0.7 - 0.7) / 0.3, 0, 1)
                weights = np.where(judged & clear, ramp, 1)
        here = labels[t] > 0
        applied = np.where(here, weights, 0) * own
        assert_close(memory.explained[t], np.array(explained), rtol=1e-5)
        assert_close(memory.task_weights[t][here], applied[here], rtol=1e-5)
        assert_close(directions[t], applied @ np.asarray(ROWS), rtol=1e-5)
    assert 5 < sum(judged_at_all) < 35
    assert memory.task_weights[-1][3] == 0


def test_what_is_explained_is_the_coefficient_of_determination():
    """Of squared errors and linear heads, in one batch."""
    draw = outlier_plants.plant("noise", 0)
    tasks = outlier_plants.tasks_of("own")
    params = outlier_plants.parameters("own", jax.random.key(0))
    x, y = draw.x.astype("float32"), draw.y.astype("float32")
    z = np.asarray(x)
    mask = np.arange(100) < 40 + np.arange(10)[:, None]
    batch = mtopt.Batch(x, (y, np.ones_like(y)), mask, outlier_plants.NAMES)

    def both(params):
        problem = tasks.problem(batch, jax.random.key(0))
        return problem.losses(params), problem.losses_at_mean(params)

    losses, at_mean = map(np.asarray, jax.jit(both)(params))
    shared, heads = jax.tree.map(np.asarray, (params["shared"], params["tasks"].values))
    for k in range(10):
        z = np.maximum(x[k] @ shared["in"] + shared["in_bias"], 0)
        z = np.maximum(z @ shared["hidden"] + shared["hidden_bias"], 0)
        found = (z @ heads["out"][k] + heads["bias"][k])[mask[k]]
        own = y[k][mask[k]]
        assert_close(losses[k], np.mean((found - own) ** 2), rtol=1e-5)
        assert_close(at_mean[k], np.mean((found.mean() - own) ** 2), rtol=1e-5)


def test_groups_of_one_task_have_the_losses_of_the_stack():
    def encode(shared, x, key):
        return jnp.tanh(x @ shared["w"])

    def head_loss(head, z, y, mask, key):
        return mtopt.masked_mean((z @ head - y) ** 2, mask)

    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 3)).astype("float32")
    labels = {name: rng.normal(size=8).astype("float32") for name in "abc"}
    heads = rng.normal(size=(3, 2)).astype("float32")
    shared = {"w": np.eye(3, 2, dtype="float32")}
    stack = mtopt.Tasks(("a", "b", "c"), encode, head_loss)
    groups = mtopt.TaskGroups(
        tuple(mtopt.Tasks((name,), encode, head_loss) for name in "abc"),
        shared_inputs=True,
    )

    @jax.jit
    def both(shared, heads):
        own = tuple(mtopt.PerTask(heads[i : i + 1], (n,)) for i, n in enumerate("abc"))
        parts = mtopt.Batch(
            x,
            tuple(labels[name][None] for name in "abc"),
            tuple(np.ones((1, 8), bool) for _ in "abc"),
            tuple((name,) for name in "abc"),
        )
        one = stack.problem(mtopt.Batch.shared(x, labels), jax.random.key(0))
        many = groups.problem(parts, jax.random.key(0))
        heads = mtopt.PerTask(heads, stack.names)
        return (
            one.losses_at_mean({"shared": shared, "tasks": heads}),
            many.losses_at_mean({"shared": shared, "tasks": own}),
        )

    found, of_groups = both(shared, heads)
    z = np.tanh(x @ shared["w"]).mean(axis=0)
    y = np.stack([labels[name] for name in "abc"])
    by_hand = (((heads @ z)[:, None] - y) ** 2).mean(axis=1)
    assert_close(found, by_hand, rtol=1e-5)
    assert_close(of_groups, by_hand, rtol=1e-5)


@pytest.mark.parametrize("unit", [1e-12, 100.0, 1e12])
def test_the_unit_of_a_loss_does_not_matter(unit):
    losses, units = np.array([0.2, 0.3, 0.1, 0.9]), np.array([1.0, unit, 1, unit])
    tx = outlier_weighted(mtopt.equal_weighting(4), num_shared=2)
    _, expected = run(tx, ROWS, constant(losses, 4))
    _, found = run(tx, ROWS, constant(losses * units, 4, units))
    assert_close(found.explained, expected.explained, rtol=1e-5)
    assert_close(found.task_weights[2:], expected.task_weights[2:], rtol=1e-5)
    assert found.task_weights[-1, 3] == 0


def test_nobody_is_judged_before_most_tasks_have_been_seen_and_something_is_explained():
    tx = outlier_weighted(mtopt.equal_weighting(4), num_shared=3)
    losses = [0.2, 0.2, 0.2, 1.0]
    _, memory = run(tx, ROWS, constant(losses, 5))
    assert_close(memory.task_weights[:2], np.ones((2, 4)), rtol=1e-6)
    assert_close(memory.task_weights[2:], np.tile([1.0, 1, 1, 0], (3, 1)), rtol=1e-6)
    labels = np.ones((9, 4), int)
    labels[::2, 1:3] = 0  # in every other batch
    _, memory = run(tx, ROWS, (*constant(losses, 9)[:2], labels))
    assert (memory.task_weights[1:5, 3] > 0.3).all()
    assert (memory.task_weights[6:, 3] == 0).all()
    _, memory = run(tx, ROWS, constant([0.72, 0.72, 0.72, 1.0], 5))
    assert_close(memory.task_weights, np.ones((5, 4)), rtol=1e-6)


def test_till_then_tasks_count_the_same_however_often_they_appear():
    labels = np.ones((37, 4), int)
    labels[:, :2] = (np.arange(37) % 4 == 0)[:, None]
    batches = (*constant([1.0] * 4, 37, [1, 1, 1, 10.0])[:2], labels)
    _, memory = run(outlier_weighted(mtopt.equal_weighting(4)), ROWS, batches)
    even = 1 / np.array([10, 10, 37, 370])
    assert_close(memory.task_weights[-1], even / even.mean(), rtol=1e-5)


@pytest.mark.parametrize("number", [2, 4, 10, 11])
def test_of_two_halves_none_is_picked(number):
    rows = jnp.ones((number, 3))
    losses = np.where(np.arange(number) < number // 2, 1.5, 0.2)
    tx = outlier_weighted(mtopt.equal_weighting(number), num_shared=1)
    _, memory = run(tx, rows, constant(losses, 3))
    assert_close(memory.task_weights, np.ones((3, number)), rtol=1e-6)


def test_own_parameters_move_by_their_own_gradient():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = outlier_weighted(mtopt.mgda(3))

    @jax.jit
    def update(state, params):
        seen = tasks.problem(batch, jax.random.key(1)).evaluate(params)
        return seen.gradients, tx.update(seen.gradients, state, params, evaluation=seen)

    grads, (direction, _) = update(tx.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, direction["tasks"], grads["tasks"])


def test_an_outlier_is_absent_from_the_solve_and_can_come_back():
    """The min-norm direction of g, g and -g is 0; without the outlier it is g."""
    rows = jnp.array([[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [-1.0, 0.0, 0.0]])
    tx = outlier_weighted(mtopt.mgda(3), num_shared=2)
    out, back = constant([0.1, 0.1, 1.0], 10), constant([0.1, 0.1, 0.0], 30)
    batches = tuple(np.concatenate(pair) for pair in zip(out, back, strict=True))
    directions, memory = run(tx, rows, batches)
    assert_close(directions[9], np.array([1.0, 0, 0]), rtol=0.01)
    assert memory.task_weights[9, 2] == 0
    assert memory.task_weights[-1, 2] == 1


def test_absent_tasks_neither_judge_nor_are_judged():
    losses = np.array([0.2, 0.3, 1.0, np.nan], "float32")
    tx = outlier_weighted(mtopt.mgda(4), num_shared=1)
    directions, memory = run(
        tx, ROWS.at[3].set(np.nan), constant(losses, 4, labels=[5, 5, 5, 0])
    )
    assert np.isfinite(directions).all()
    # Of four tasks two agree, which is no clear majority.
    assert_close(memory.task_weights, np.ones((4, 4)), rtol=1e-6)
    losses[2] = 0.2
    _, memory = run(tx, ROWS, constant(losses, 4, labels=[5, 5, 5, 0]))
    assert (memory.explained[:, 3] == 0).all()


WITH = {
    "flat_regions": functools.partial(mtopt.flat_regions, rho=0.05),
    "rep_mtl": mtopt.rep_mtl,
    "log_losses": mtopt.log_losses,
    "smoothed_weights": mtopt.smoothed_weights,
}


@some_methods
def test_every_aggregator_is_a_step_with_it(name):
    """Traced with all four families; compiled for a few below."""
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = outlier_weighted(mtopt.rep_mtl(mtopt.flat_regions(make(name, 3), rho=0.05)))
    tx = mtopt.chain(tx, optax.adam(1e-2))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    after, _ = jax.eval_shape(mtopt.make_train_step(tasks, tx), state, batch)
    assert after.opt_state == jax.eval_shape(lambda: state).opt_state


@over(FEW | {"mgda"}, slow=FEW - {"famo"} | {"mgda"})
def test_it_takes_finite_steps(name):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = outlier_weighted(make(name, 3), num_shared=1)
    tx = mtopt.chain(tx, optax.adam(1e-2))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = compiled_once(mtopt.make_train_step(tasks, tx))
    for _ in range(3):
        state, metrics = step(state, batch)
        assert_finite((metrics["losses"], state.params, state.opt_state))


@over(WITH, slow=["log_losses", "smoothed_weights"])
def test_it_stands_around_other_wrappers(name):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = outlier_weighted(WITH[name](mtopt.imtl_g(3)), num_shared=0)
    # Flat regions perturb by themselves, and refuse gradients of other points.
    sam, unit = per_task_sam(3, rho=0.05), mtopt.normalize_rows(3)
    tx = mtopt.chain(unit if name == "flat_regions" else sam, tx, optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = mtopt.make_train_step(tasks, tx)
    for _ in range(2):
        state, _ = step(state, batch)
    assert_finite((state.params, state.opt_state))
    assert (optax.tree.get(state.opt_state, "explained") != 0).all()


# --- planted outliers -----------------------------------------------------------------


def test_planted_outliers_are_let_go_and_regular_tasks_are_not():
    """A few of the benchmark's plants, for fewer steps."""
    kinds, steps = ["noise", "opposed", "halves"], 300
    ways = outliers.measure(kinds, "common", [0, 1], "equal_weighting", steps)
    found = ways["weighted"]
    for kind in ("noise", "opposed"):
        one = found[kind]
        assert one.closed > 2 / 3
        assert one.weights[:, one.wrong].max() == 0
        assert one.weights[:, ~one.wrong].min() > 0.8
    halves = found["halves"].weights
    assert halves.min() > 0.2
    assert abs(halves[:, :5].mean() - halves[:, 5:].mean()) < 0.25
    text = outliers.table(ways)
    assert [line.split()[0] for line in text.splitlines()[2:]] == kinds


TEN = [300 + i for i in range(10)]


@functools.cache
def measured(output):
    kinds = list(outlier_plants.PLANTS)
    return outliers.measure(kinds, output, TEN, "equal_weighting", 800)["weighted"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output", "kind"),
    [("own", "noise")]
    + [("common", kind) for kind in ("noise", "unrelated", "opposed", "rare")],
)
def test_two_thirds_of_what_wrong_tasks_cost_is_given_back(output, kind):
    assert measured(output)[kind].closed > 2 / 3


@pytest.mark.slow
@pytest.mark.parametrize("output", outlier_plants.OUTPUTS)
@pytest.mark.parametrize("kind", ["none", "halves"])
def test_where_nobody_is_wrong_it_costs_nothing(output, kind):
    assert measured(output)[kind].ratio[0] < 1.03


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unrelated", "opposed"])
def test_wrong_tasks_with_heads_of_their_own_do_no_harm(kind):
    assert measured("own")[kind].ratio[0] < 1.03


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["noisy regular", "hard regular", "hundredfold"])
def test_a_regular_task_that_is_noisy_hard_or_large_keeps_its_weight(kind):
    first = measured("own")[kind].weights[:, 0]
    assert first.mean() > (0.95 if kind == "hundredfold" else 0.8)


PROTECTED = over(
    ["equal_weighting", "mgda", "upgrad", "cagrad"],
    slow=["equal_weighting", "mgda", "upgrad", "cagrad"],
)


@PROTECTED
def test_whatever_the_aggregator(name):
    kinds = ["noise", "opposed", "none"]
    found = outliers.measure(kinds, "common", TEN[:3], name, 800)["weighted"]
    assert found["noise"].closed > 2 / 3
    assert found["opposed"].weights[:, ~found["opposed"].wrong].min() > 0.8
    assert found["none"].weights.min() > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_shared": -1}, "num_shared is -1"),
        ({"tolerance": 1.0}, "tolerance is 1.0"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
    ],
)
def test_misuse_is_one_clear_line(options, message):
    with pytest.raises(mtopt.UserError, match=message):
        outlier_weighted(mtopt.mgda(3), **options)


def test_a_chain_is_refused():
    with pytest.raises(mtopt.UserError, match="expected an aggregator alone"):
        outlier_weighted(optax.chain(mtopt.mgda(3)))


@pytest.mark.parametrize("between", [mtopt.smoothed_weights, mtopt.rep_mtl, None])
def test_logarithms_around_it_are_refused(between):
    tx = outlier_weighted(mtopt.mgda(3))
    with pytest.raises(mtopt.UserError, match=r"outlier_weighted\(log_losses"):
        mtopt.log_losses(between(tx) if between else tx)


def test_without_a_problem_it_says_what_it_reads():
    tx = outlier_weighted(mtopt.mgda(4))
    seen = mtopt.Evaluation(losses=jnp.ones(4))
    with pytest.raises(mtopt.UserError, match="reads problem"):
        tx.update(ROWS, tx.init(PARAMS), evaluation=seen)


def test_around_a_scalarization_a_step_keeps_its_single_backward_pass():
    # An encoder that is large beside the heads, whose second pass is not free.
    tasks, params, batch = problems.classification(8, 64, 512, (256,), 4, None)

    def cost(aggregator):
        tx = mtopt.chain(aggregator, optax.sgd(0.1))
        state = mtopt.TrainState.create(params, tx, jax.random.key(0))
        return problems.flops(mtopt.make_train_step(tasks, tx), state, batch)

    plain = mtopt.equal_weighting(8)
    assert cost(outlier_weighted(plain)) < 1.1 * cost(plain)
