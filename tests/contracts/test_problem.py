"""The problem: one function of the parameters, everything else derived from it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers import problems
from tests.helpers.close import assert_close

KEY = jax.random.key(7)


def compiled(function, *static):
    """As in a step, and to NumPy: an operation on arrays of JAX is a program."""
    run = jax.jit(function, static_argnames=static)
    return lambda *arguments: jax.device_get(run(*arguments))


losses_and_grads = compiled(
    lambda problem, params, shared_axis=None: problem.losses_and_grads(
        params, shared_axis=shared_axis
    ),
    "shared_axis",
)
losses_of = compiled(
    lambda problem, params, shared_axis=None: problem.losses(
        params, shared_axis=shared_axis
    ),
    "shared_axis",
)

SHAPES = pytest.mark.parametrize("x_axis", [None, 0])


def assert_trees_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def by_hand(params, batch, k, x_axis):
    """The loss of task k, without vmap, masks by selection."""
    keep = np.flatnonzero(np.asarray(batch.mask)[k])
    x = batch.x if x_axis is None else batch.x[k]
    z = problems.encode(params["shared"], x[keep], None)
    head = jax.tree.map(lambda leaf: leaf[k], params["tasks"].values)
    logits = z @ head["w"] + head["b"][None]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.y[k][keep])
    return losses.mean()


@SHAPES
def test_losses_and_rows_are_those_of_each_task_alone(x_axis):
    tasks, params, batch = problems.classification(
        3, 12, 5, (7, 6), 4, x_axis, missing=0.4
    )
    problem = tasks.problem(batch, KEY)
    losses, grads = losses_and_grads(problem, params)
    np.testing.assert_allclose(losses_of(problem, params), losses, rtol=1e-6)

    @compiled
    def alone(params):
        one = jax.value_and_grad(by_hand)
        return [one(params, batch, k, x_axis) for k in range(3)]

    for k, (expected, grad) in enumerate(alone(params)):
        np.testing.assert_allclose(losses[k], expected, rtol=1e-5)
        row = jax.tree.map(lambda leaf, k=k: leaf[k], grads["shared"])
        assert_close(row, grad["shared"], rtol=1e-4)
        head = jax.tree.map(lambda leaf, k=k: leaf[k], grad["tasks"].values)
        assert_close(grads["tasks"][tasks.names[k]], head, rtol=1e-4)


@SHAPES
def test_pullback_is_the_weighted_sum_of_rows(x_axis):
    tasks, params, batch = problems.classification(4, 8, 5, (7,), 3, x_axis)
    problem = tasks.problem(batch, KEY)
    weights = jnp.array([0.1, 0.0, 2.0, -1.0])

    @jax.jit
    def both(params):
        _, grads = problem.losses_and_grads(params)
        return problem.pullback(params, weights), grads["shared"]

    pulled, rows = both(params)
    assert_close(pulled, mtopt.combine(weights, rows), rtol=1e-4)


@functools.cache
def regression_step(x_axis):
    """A step of three regressions, as a function of the batch's arrays."""
    task_names = problems.names(3)
    tasks = mtopt.Tasks(task_names, problems.encode, problems.regress, x_axis)
    params = problems.mlp_params(task_names, 5, (7,), 3)
    heads = {"v": params["tasks"].values["w"][:, :, 0]}
    params = {**params, "tasks": mtopt.PerTask(heads, task_names)}
    tx = mtopt.chain(mtopt.mgda(3), optax.adam(0.1))

    @jax.jit
    def step(x, y, mask):
        state = mtopt.TrainState.create(params, tx, KEY)
        state, metrics = mtopt.make_train_step(tasks, tx)(
            state, mtopt.Batch(x, y, mask)
        )
        return state.params, metrics

    return step


@SHAPES
@pytest.mark.parametrize("hidden_value", [np.nan, np.inf, -np.inf, 1e30])
def test_what_stands_behind_a_mask_changes_no_bit(x_axis, hidden_value):
    rng = np.random.default_rng(0)
    mask = rng.random((3, 10)) < 0.6
    mask[2] = False
    x = rng.normal(size=(10, 5) if x_axis is None else (3, 10, 5)).astype("float32")
    y = rng.normal(size=(3, 10)).astype("float32")
    spoilt_y = np.where(mask, y, np.float32(hidden_value))
    spoilt_x = x if x_axis is None else np.where(mask[..., None], x, hidden_value)

    step = regression_step(x_axis)
    clean = step(x, y, mask)
    spoilt = step(spoilt_x.astype("float32"), spoilt_y, mask)
    assert_trees_equal(clean, spoilt)
    assert np.isfinite(np.asarray(clean[1]["losses"])).all()


@SHAPES
def test_an_absent_task_has_no_loss_no_gradient_and_is_not_present(x_axis):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, x_axis)
    mask = np.array(batch.mask)
    mask[1] = False
    problem = tasks.problem(mtopt.Batch(batch.x, batch.y, mask), KEY)
    losses, grads = losses_and_grads(problem, params)
    assert problem.present.tolist() == [True, False, True]
    assert losses[1] == 0
    own = jax.tree.map(lambda leaf: leaf[1], (grads["shared"], grads["tasks"].values))
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(own))


def test_each_task_can_be_evaluated_at_parameters_of_its_own():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    problem = tasks.problem(batch, KEY)
    shift = np.array([0.0, 0.1, -0.2], "float32")
    moved = jax.tree.map(
        lambda leaf: np.asarray(leaf)[None] + shift.reshape(-1, *(1,) * leaf.ndim),
        params["shared"],
    )
    losses, grads = losses_and_grads(problem, {**params, "shared": moved}, 0)
    for k in range(3):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], moved)
        loss, grad = losses_and_grads(problem, {**params, "shared": own})
        np.testing.assert_allclose(losses[k], loss[k], rtol=1e-5)
        assert_close(
            jax.tree.map(lambda leaf, k=k: leaf[k], grads["shared"]),
            jax.tree.map(lambda leaf, k=k: leaf[k], grad["shared"]),
            rtol=1e-4,
        )


def test_representation_gramian_is_that_of_the_explicit_jacobian():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None, missing=0.3)
    problem = tasks.problem(batch, KEY)

    def losses_at(z):
        heads = params["tasks"].values
        apply = jax.vmap(problems.classify, (0, None, 0, 0, None))
        return apply(heads, z, problem.batch.y, problem.batch.mask, None)

    @jax.jit
    def both(params):
        jacobian = jax.jacrev(losses_at)(problem.representation(params)).reshape(3, -1)
        return problem.evaluate(params).representation_gramian(), jacobian @ jacobian.T

    assert_close(*both(params), rtol=1e-4)


def test_representation_gramian_of_disjoint_inputs_is_diagonal():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, 0)
    problem = tasks.problem(batch, KEY)
    products = jax.jit(lambda own: problem.evaluate(own).representation_gramian())(
        params
    )
    assert np.all(np.asarray(products)[~np.eye(3, dtype=bool)] == 0)
    assert np.all(np.diagonal(products) > 0)


@SHAPES
def test_the_randomness_of_a_task_does_not_depend_on_the_others(x_axis):
    def noisy_encode(shared, x, key):
        return x @ shared + jax.random.normal(key, (1, 4))

    def noisy_head(head, z, y, mask, key):
        return mtopt.masked_mean((z @ head - y) ** 2, mask) + jax.random.normal(key)

    def losses(task_names):
        tasks = mtopt.Tasks(task_names, noisy_encode, noisy_head, x_axis)
        heads = mtopt.PerTask(np.ones((len(task_names), 4), "float32"), task_names)
        lead = () if x_axis is None else (len(task_names),)
        ones = np.ones((len(task_names), 2), "float32")
        x = np.ones((*lead, 2, 3), "float32")
        batch = mtopt.Batch(x, ones, ones.astype(bool))
        shared = np.ones((3, 4), "float32")
        values = losses_of(
            tasks.problem(batch, KEY), {"shared": shared, "tasks": heads}
        )
        return dict(zip(task_names, values.tolist(), strict=True))

    few, many = losses(("b", "d")), losses(("a", "b", "c", "d"))
    assert few == {name: many[name] for name in few}
    assert len(set(many.values())) == 4


def test_groups_with_inputs_of_their_own_draw_noise_of_their_own():
    """Not one noise for all groups; none of it changes with another group."""

    def noise(shared, x, key):
        return x * shared + jax.random.normal(key, x.shape)

    def seen(head, z, y, mask, key):
        return jnp.sum(z) + jnp.sum(head)

    def losses(group_names, shared_inputs):
        groups = tuple(mtopt.Tasks((name,), noise, seen) for name in group_names)
        x, label = np.zeros((2, 3), "float32"), np.zeros((1, 2), "float32")
        many = len(groups)
        batch = mtopt.Batch(
            x if shared_inputs else (x,) * many,
            (label,) * many,
            (np.ones((1, 2), bool),) * many,
        )
        heads = tuple(
            mtopt.PerTask(np.zeros((1, 1), "float32"), (name,)) for name in group_names
        )
        both = mtopt.TaskGroups(groups, shared_inputs)
        params = {"shared": np.float32(1), "tasks": heads}
        found = losses_of(both.problem(batch, KEY), params)
        return dict(zip(both.names, found.tolist(), strict=True))

    three = losses(("a", "b", "c"), False)
    assert len(set(three.values())) == 3
    assert losses(("b",), False) == {"b": three["b"]}
    assert losses(("c", "a"), False) == {name: three[name] for name in ("a", "c")}
    assert len(set(losses(("a", "b"), True).values())) == 1


def test_groups_of_one_input_have_one_representation_whoever_has_labels():
    """Statistics are over samples with a label in any group, for all groups."""

    def centred(shared, x, key, state, labelled):
        seen = labelled[:, None]
        mean = (x * seen).sum(0, keepdims=True) / seen.sum()
        return jnp.tanh((x - mean) @ shared), state

    groups = tuple(
        mtopt.Tasks((name,), centred, problems.squared_loss, stateful=True)
        for name in ("a", "b")
    )
    both = mtopt.TaskGroups(groups, shared_inputs=True)
    x = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    early, late = np.arange(6) < 3, np.arange(6) > 1
    labels = x[None, :, 0], x[None, :, 1]
    heads = tuple(mtopt.PerTask(np.ones((1, 4), "float32"), g.names) for g in groups)
    params = {"shared": np.eye(3, 4, dtype="float32"), "tasks": heads}
    params = jax.device_put(params)
    weights = jax.device_put(np.array([1, 2], "float32"))

    @jax.jit
    def two_ways(masks):
        problem = both.problem(mtopt.Batch(x, labels, masks), KEY, ({}, {}))
        rows = problem.losses_and_grads(params)[1]["shared"]
        pulled = problem.pullback(params, weights)
        hidden = problem.without(jnp.array([False, True]))
        return jnp.tensordot(weights, rows, 1), pulled, hidden.losses(params)[0]

    summed, pulled, alone = two_ways((early[None], late[None]))
    assert_close(pulled, summed, rtol=1e-6)
    # A group that is hidden has no labels.
    only = groups[0].problem(mtopt.Batch(x, labels[0], early[None]), KEY, {})
    own = losses_of(only, {**params, "tasks": heads[0]})
    np.testing.assert_allclose(alone, own[0], rtol=1e-6)


class TestGroups:
    """Tasks of unequal structure: class labels beside numbers, named in between."""

    def setup_method(self):
        classes = mtopt.Tasks(("a", "c"), problems.encode, problems.classify)
        numbers = mtopt.Tasks(("b", "d"), problems.encode, problems.regress)
        self.groups = mtopt.TaskGroups((classes, numbers), shared_inputs=True)
        params = problems.mlp_params(("a", "c"), 5, (7,), 4)
        values = {"v": np.arange(14, dtype="float32").reshape(2, 7) / 14}
        self.params = {
            "shared": params["shared"],
            "tasks": (params["tasks"], mtopt.PerTask(values, ("b", "d"))),
        }
        rng = np.random.default_rng(0)
        x = rng.normal(size=(6, 5)).astype("float32")
        labels = rng.integers(0, 4, (2, 6))
        targets = rng.normal(size=(2, 6)).astype("float32")
        mask = np.ones((2, 6), bool)
        mask[1] = False
        self.batch = mtopt.Batch(x, (labels, targets), (np.ones((2, 6), bool), mask))
        self.problem = self.groups.problem(self.batch, KEY)

    def test_axis_k_is_the_sorted_names_of_all_groups(self):
        @compiled
        def whole_and_parts(params):
            """In one program, which rounds both alike."""
            parts = [
                part.losses_and_grads({**params, "tasks": heads})
                for part, heads in zip(self.problem.parts, params["tasks"], strict=True)
            ]
            return self.problem.losses_and_grads(params), parts

        (losses, grads), parts = whole_and_parts(self.params)
        assert self.problem.names == ("a", "b", "c", "d")
        assert self.problem.present.tolist() == [True, True, True, False]
        for k, (group, index) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
            loss, grad = parts[group]
            np.testing.assert_array_equal(losses[k], loss[index])
            assert_trees_equal(
                jax.tree.map(lambda leaf, k=k: leaf[k], grads["shared"]),
                jax.tree.map(lambda leaf, i=index: leaf[i], grad["shared"]),
            )

    def test_perturbed_copies_reach_their_own_task(self):
        shift = np.array([0.0, 0.1, 0.2, 0.3], "float32")
        moved = jax.tree.map(
            lambda leaf: np.asarray(leaf)[None] + shift.reshape(-1, *(1,) * leaf.ndim),
            self.params["shared"],
        )
        losses = losses_of(self.problem, {**self.params, "shared": moved}, 0)
        for k in range(4):
            own = jax.tree.map(lambda leaf, k=k: leaf[k], moved)
            alone = losses_of(self.problem, {**self.params, "shared": own})
            np.testing.assert_allclose(losses[k], alone[k], rtol=1e-6)

    def test_weighted_heads_find_their_weight_by_name(self):
        tx = mtopt.fixed_weighting(4, weights=(1.0, 2.0, 3.0, 4.0))

        @compiled
        def both(params):
            _, grads = self.problem.losses_and_grads(params)
            return grads, tx.update(grads, tx.init(params), params)[0]

        grads, updates = both(self.params)
        for group, name, weight in [(0, "a", 1), (1, "b", 2), (0, "c", 3)]:
            assert_close(
                updates["tasks"][group][name],
                jax.tree.map(
                    lambda leaf, w=weight: w * leaf, grads["tasks"][group][name]
                ),
                rtol=1e-6,
            )

    def test_a_step_trains_both_groups(self):
        tx = mtopt.chain(mtopt.mgda(4), optax.adam(1e-2))
        state = mtopt.TrainState.create(self.params, tx, KEY)
        step = mtopt.make_train_step(self.groups, tx)
        state, first = step(state, self.batch)
        for _ in range(60):
            state, last = step(state, self.batch)
        improved = np.asarray(last["losses"] < first["losses"])
        assert improved.tolist() == [True, True, True, False]

    def test_one_encode_serves_all_groups(self):
        tasks, params, batch = problems.classification(4, 64, 256, (128, 64), 4, None)
        halves = (
            mtopt.Tasks(tasks.names[:2], problems.encode, problems.classify),
            mtopt.Tasks(tasks.names[2:], problems.encode, problems.classify),
        )
        groups = mtopt.TaskGroups(halves, shared_inputs=True)
        heads = params["tasks"].values
        first = jax.tree.map(lambda leaf: leaf[:2], heads)
        second = jax.tree.map(lambda leaf: leaf[2:], heads)
        split = {
            "shared": params["shared"],
            "tasks": (
                mtopt.PerTask(first, tasks.names[:2]),
                mtopt.PerTask(second, tasks.names[2:]),
            ),
        }
        pieces = mtopt.Batch(
            batch.x, (batch.y[:2], batch.y[2:]), (batch.mask[:2], batch.mask[2:])
        )
        whole = problems.flops(
            lambda p, b: tasks.problem(b, KEY).losses_and_grads(p), params, batch
        )
        grouped = problems.flops(
            lambda p, b: groups.problem(b, KEY).losses_and_grads(p), split, pieces
        )
        assert grouped <= 1.005 * whole

    def test_a_task_in_two_groups_is_an_error(self):
        one = mtopt.Tasks(("a", "b"), problems.encode, problems.classify)
        two = mtopt.Tasks(("b", "c"), problems.encode, problems.regress)
        with pytest.raises(mtopt.UserError, match=r"\['b'\] stand in two groups"):
            mtopt.TaskGroups((one, two), shared_inputs=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": np.ones((2, 6), bool)}, r"mask has shape \(2, 6\).*K=3"),
        ({"y": np.zeros((3, 5), int)}, r"batch\.y has shape \(3, 5\).*\(3, 6\)"),
        ({"x": np.zeros((5, 5))}, r"batch\.x has shape \(5, 5\).*\(6,\)"),
    ],
)
def test_a_wrong_shape_is_named(change, message):
    tasks, _, batch = problems.classification(3, 6, 5, (7,), 4, None)
    fields = {"x": batch.x, "y": batch.y, "mask": batch.mask} | change
    with pytest.raises(mtopt.UserError, match=message):
        tasks.problem(mtopt.Batch(**fields), KEY)


def test_names_out_of_order_are_an_error():
    with pytest.raises(mtopt.UserError, match="must be sorted"):
        mtopt.Tasks(("right", "left"), problems.encode, problems.classify)


def test_heads_of_other_tasks_are_an_error():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    wrong = {
        **params,
        "tasks": mtopt.PerTask(params["tasks"].values, ("x", "y", "z")),
    }
    with pytest.raises(mtopt.UserError, match=r"holds \('x', 'y', 'z'\)"):
        tasks.problem(batch, KEY).losses(wrong)
