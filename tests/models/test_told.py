"""Encoders that are told their task, with modules of its own inside them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mtopt
from experiments.analysis.measure import evaluation_problem, evaluation_tasks
from mtopt.models import functional
from mtopt.models.layers import BatchNorm, dense
from tests.helpers.close import assert_close

NAMES = ("a", "b", "c")
K, B, D, H = 3, 16, 4, 6


class Own(nnx.Module):
    def __init__(self, rngs, *, norm, dropout):
        self.gate = dense(D, D, dtype=jnp.float32, rngs=rngs)
        self.norm = BatchNorm(D) if norm else None
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x):
        gate = self.gate(x)
        return self.dropout(2 * jax.nn.sigmoid(self.norm(gate) if self.norm else gate))


class Encoder(nnx.Module):
    """A layer that all tasks use, one that ``task.index`` picks, and one behind."""

    def __init__(self, rngs, *, norm=False):
        self.below = dense(D, D, dtype=jnp.float32, rngs=rngs)
        self.norm = BatchNorm(D) if norm else None
        self.shift = nnx.Param(jnp.arange(3.0 * D).reshape(3, D))
        self.top = dense(D, H, dtype=jnp.float32, rngs=rngs)

    def __call__(self, x, task):
        z = self.below(x)
        z = self.norm(z) if self.norm else z
        z = z * (1 if task.own is None else task.own(x))
        z = z + self.shift[...][task.index][None]
        return jnp.tanh(self.top(z))


def made(*, norm=False, own_norm=False, dropout=0.0, own=True, **options):
    options = {"kind": "regression"} | options
    return functional(
        lambda rngs: Encoder(rngs, norm=norm),
        lambda rngs: nnx.Linear(H, 1, rngs=rngs),
        NAMES,
        per_task=True,
        own=(lambda rngs: Own(rngs, norm=own_norm, dropout=dropout)) if own else None,
        **options,
    )


def batch(labels=B):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(B, D)), jnp.float32)
    y = jnp.asarray(rng.normal(size=(K, B)), jnp.float32)
    mask = jnp.asarray(np.arange(B) < labels)[None].repeat(K, axis=0)
    return mtopt.Batch(x, y, mask, NAMES)


def stepped(model, method="mgda", steps=1, **options):
    params, state = model.init(jax.random.key(0))
    tx = mtopt.chain(mtopt.METHODS[method](K), optax.sgd(0.1))
    start = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    step = mtopt.make_train_step(model.tasks, tx, donate=False, **options)
    found = start
    for _ in range(steps):
        found, _ = step(found, batch())
    return start, found


def test_parameters_stand_where_they_belong():
    params, state = made().init(jax.random.key(0))
    assert params["shared"].keys() == {"below", "shift", "top"}
    assert params["tasks"].values.keys() == {"own", "head"}
    assert params["tasks"].values["own"]["gate"]["kernel"].shape == (K, D, D)
    assert state == {}
    alone, _ = made(own=False).init(jax.random.key(0))
    assert alone["tasks"].values.keys() == {"kernel", "bias"}
    # Heads start where they start without modules below them.
    assert_close(params["tasks"].values["head"], alone["tasks"].values, rtol=0)


@pytest.mark.parametrize("own", [True, False])
def test_predictions_are_those_of_the_modules(own):
    model = made(own=own)
    params, state = model.init(jax.random.key(0))
    x = batch().x
    found = model.predict(params, state, x)
    shared = jax.tree.map(np.asarray, params["shared"])
    x, values = np.asarray(x), jax.tree.map(np.asarray, params["tasks"].values)
    for k in range(K):
        task = jax.tree.map(lambda leaf, k=k: leaf[k], values)
        z = x @ shared["below"]["kernel"] + shared["below"]["bias"]
        if own:
            gate = x @ task["own"]["gate"]["kernel"] + task["own"]["gate"]["bias"]
            z = z * (2 / (1 + np.exp(-gate)))
        z = z + shared["shift"][k]
        z = np.tanh(z @ shared["top"]["kernel"] + shared["top"]["bias"])
        head = task["head"] if own else task
        assert_close(found[k], (z @ head["kernel"] + head["bias"])[:, 0], rtol=1e-5)


@pytest.mark.parametrize("method", ["equal_weighting", "mgda"])
def test_every_part_learns(method):
    start, end = stepped(made(dropout=0.3), method)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), start.params, end.params)
    assert all(jax.tree.leaves(moved))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(end.params))


def test_own_dropout_differs_between_tasks_and_is_that_of_their_names():
    model = made(dropout=0.5)
    params, _ = model.init(jax.random.key(0))
    params["shared"]["shift"] = jnp.zeros((3, D))
    alike = jax.tree.map(lambda leaf: jnp.stack([leaf[0]] * K), params["tasks"].values)
    params = {**params, "tasks": mtopt.PerTask(alike, NAMES)}
    z = model.tasks.problem(batch(), jax.random.key(1)).representation(params)
    assert not np.allclose(z[0], z[1])


def test_statistics_are_of_each_task_and_move_once_a_step():
    model = made(norm=True, own_norm=True)
    start, end = stepped(model)
    assert start.model_state.labels.tolist() == [0.0] * K
    assert end.model_state.labels.tolist() == [B] * K
    values = end.model_state.values
    params = jax.tree.map(np.asarray, start.params)
    x, shared = np.asarray(batch().x), params["shared"]["below"]
    below = x @ shared["kernel"] + shared["bias"]
    for k in range(K):
        mean = values["encoder"]["norm"]["mean"][k]
        assert_close(mean, 0.1 * below.mean(axis=0), rtol=1e-4)
        gate = jax.tree.map(lambda leaf, k=k: leaf[k], params["tasks"].values["own"])
        gated = x @ gate["gate"]["kernel"] + gate["gate"]["bias"]
        assert_close(
            values["own"]["norm"]["mean"][k], 0.1 * gated.mean(axis=0), rtol=1e-4
        )


def test_padding_has_no_part_in_statistics():
    model = made(norm=True, own_norm=True)
    params, state = model.init(jax.random.key(0))
    half = batch(labels=B // 2)
    noise = half.x.at[B // 2 :].set(100.0)
    found = [
        model.tasks.problem(own, jax.random.key(0), state).next_model_state(params)
        for own in (half, mtopt.Batch(noise, half.y, half.mask, NAMES))
    ]
    assert_close(*found, rtol=1e-6)
    assert found[0].labels.tolist() == [B // 2] * K


def test_evaluation_reads_what_training_learned():
    model = made(norm=True, own_norm=True)
    _, end = stepped(model, steps=3)
    x = batch().x
    whole = model.predict(end.params, end.model_state, x)
    alone = model.predict(end.params, end.model_state, x[:1])
    assert_close(whole[:, :1], alone, rtol=1e-5)
    values = jax.tree.map(lambda leaf: leaf + 1, end.model_state.values)
    other = end.model_state._replace(values=values)
    assert not np.allclose(whole, model.predict(end.params, other, x))


def test_analysis_evaluates_each_task_as_it_is_predicted():
    model, seen = made(norm=True, own_norm=True), batch()
    _, end = stepped(model)
    tasks = evaluation_tasks(model, "regression")
    found = evaluation_problem(tasks, seen, end.model_state).losses(end.params)
    errors = (model.predict(end.params, end.model_state, seen.x) - seen.y) ** 2
    assert_close(found, errors.mean(axis=1), rtol=1e-5)


def test_disjoint_inputs_take_the_same_step():
    here = stepped(made(norm=True, own_norm=True))[1]
    model = made(norm=True, own_norm=True, x_axis=0)
    params, state = model.init(jax.random.key(0))
    tx = mtopt.chain(mtopt.mgda(K), optax.sgd(0.1))
    before = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    own = batch()
    copied = jnp.broadcast_to(own.x, (K, *own.x.shape))
    apart = mtopt.Batch(copied, own.y, own.mask, NAMES)
    there, _ = mtopt.make_train_step(model.tasks, tx, donate=False)(before, apart)
    assert_close(here.params, there.params, rtol=1e-4)
    assert_close(here.model_state, there.model_state, rtol=1e-4)


def test_pairs_of_inputs_are_told_too():
    model = made(kind="preference", norm=True, own_norm=True)
    params, state = model.init(jax.random.key(0))
    own = batch()
    x = jnp.stack([own.x, own.x[::-1]], axis=1)
    y = (own.y > 0).astype(jnp.float32)
    of_pairs = mtopt.Batch(x, y, own.mask, NAMES)
    problem = model.tasks.problem(of_pairs, jax.random.key(0), state)
    assert np.isfinite(problem.losses(params)).all()
    swapped = model.predict(params, state, x[:, ::-1])
    assert_close(model.predict(params, state, x), -swapped, rtol=1e-5)


class Deaf(nnx.Module):
    """Layers with BatchNorm that are told a task and do not look at it."""

    def __init__(self, rngs):
        self.layers = nnx.List(
            dense(128, 128, dtype=jnp.float32, rngs=rngs) for _ in range(3)
        )
        self.norms = nnx.List(BatchNorm(128) for _ in range(3))

    def __call__(self, x, *told):
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = jax.nn.relu(norm(layer(x)))
        return x


def test_a_task_that_is_not_looked_at_costs_a_sum_over_representations():
    flops = []
    for per_task in (False, True):
        model = functional(
            Deaf,
            lambda rngs: nnx.Linear(128, 1, rngs=rngs),
            NAMES,
            kind="regression",
            per_task=per_task,
        )
        params, state = model.init(jax.random.key(0))
        tx = mtopt.chain(mtopt.equal_weighting(K), optax.sgd(0.1))
        start = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
        x, y, mask = jnp.ones((64, 128)), jnp.ones((K, 64)), jnp.ones((K, 64), bool)
        step = mtopt.make_train_step(model.tasks, tx)
        compiled = step.lower(start, mtopt.Batch(x, y, mask, NAMES)).compile()
        flops.append(compiled.cost_analysis()["flops"])
    assert flops[1] <= 1.02 * flops[0], flops


MISUSE = {
    "not told its task": {"per_task": False},
    "statistics='pooled'": {"statistics": "pooled", "x_axis": 0},
}


@pytest.mark.parametrize("message", MISUSE)
def test_misuse_is_one_line(message):
    options = {"per_task": True, "kind": "regression"} | MISUSE[message]
    with pytest.raises(mtopt.UserError, match=message):
        functional(
            lambda rngs: Encoder(rngs),
            lambda rngs: nnx.Linear(H, 1, rngs=rngs),
            NAMES,
            own=lambda rngs: Own(rngs, norm=False, dropout=0.0),
            **options,
        )
