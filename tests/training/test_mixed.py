"""Tasks of several kinds and sources: batches, training, scores, going on."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import ArraySplit, Dataset, join
from mtopt.metrics import METRICS
from mtopt.models import MODELS
from mtopt.models import join as join_models
from mtopt.training.evaluate import evaluate, metric_tasks, primary_metrics
from mtopt.training.fit import FitOptions, fit, read_result
from mtopt.training.program import shared_program
from mtopt.training.writer import read_records

KINDS = {"classification": ("c", "a"), "binary": ("d",), "regression": ("b",)}
OUTPUTS = {"classification": 3, "binary": 1, "regression": 1, "ordinal": 3}
SCHEDULE = FitOptions(
    steps=60, batch_size=16, eval_every=20, log_every=20, checkpoint_every=20
)


@functools.cache
def source(kind, inputs_seed=0, sizes=(64, 24, 24)):
    """Tasks of one kind that a linear model can learn; some labels are missing."""
    names = tuple(sorted(KINDS[kind]))
    rng = np.random.default_rng(inputs_seed)
    labels = np.random.default_rng(len(kind))

    def split(size):
        x = rng.normal(size=(size, 6)).astype("float32")
        values = np.stack([x[:, k] + x[:, k + 1] for k in range(len(names))])
        y = values.astype("float32")
        if kind != "regression":
            y = ((values > -0.5).astype(int) + (values > 0.5)).astype("int32")
            y = np.minimum(y, OUTPUTS[kind] if kind == "classification" else 1)
        mask = labels.random((len(names), size)) < 0.9
        return ArraySplit(mtopt.Batch(x, y, mask, names), None)

    scale = {}
    if kind == "regression":
        scale = {"target_mean": np.full(1, 3.0), "target_std": np.full(1, 2.0)}
    parts = map(split, sizes)
    return Dataset(kind, names, kind, OUTPUTS[kind], None, *parts, **scale)


@functools.cache
def mixed(shared_inputs):
    if shared_inputs:
        return join(*map(source, KINDS), shared_inputs=True)
    apart = [source(kind, i, (48 + 16 * i, 24, 20 + i)) for i, kind in enumerate(KINDS)]
    return join(*apart)


@functools.cache
def program(shared_inputs, num_seeds=2):
    models = [
        MODELS["mlp"](
            (6,),
            names=group.tasks,
            kind=group.kind,
            outputs=group.outputs,
            hidden=(16,),
            dropout=0.1,
        )
        for group in mixed(shared_inputs).groups
    ]
    model = join_models(models, shared_inputs=shared_inputs)
    return shared_program(
        model, mtopt.chain(mtopt.mgda(4), optax.adam(1e-2)), num_seeds
    )


BOTH = pytest.mark.parametrize("shared_inputs", [True, False])


@BOTH
def test_a_run_of_three_kinds_learns_and_scores_each_task_by_its_own(
    tmp_path, shared_inputs
):
    data, built = mixed(shared_inputs), program(shared_inputs)
    assert data.tasks == ("a", "b", "c", "d")
    result = fit(built, data, SCHEDULE, tmp_path, seeds=(0, 1))
    names = list(metric_tasks(data))
    assert names == ["accuracy", "rmse", "mae", "r2", "auc"]
    test = dict(zip(names, np.moveaxis(result.test.metrics, 2, 0), strict=True))
    has = {
        name: [
            task
            for group in data.groups
            for task in group.tasks
            if name in {metric.name for metric in METRICS[group.kind]}
        ]
        for name in names
    }
    for name, values in test.items():
        own = np.isin(data.tasks, has[name])
        assert np.isfinite(values[:, own]).all()
        assert np.isnan(values[:, ~own]).all()
    assert test["accuracy"][:, [0, 2]].min() > 0.55
    assert test["auc"][:, 3].min() > 0.9
    assert test["r2"][:, 1].min() > 0.5
    primary = {task: metric.name for task, metric in primary_metrics(data).items()}
    assert primary == {"a": "accuracy", "b": "rmse", "c": "accuracy", "d": "auc"}
    curves = read_result(tmp_path)["validation"]
    assert curves.shape == (2, 3, 4)
    assert np.isfinite(curves).all()
    validation = read_records(tmp_path / "metrics.jsonl")[-1]
    assert sorted(validation["accuracy"]) == ["a", "c", "d"]
    assert sorted(validation["rmse"]) == ["b"]


def test_kinds_with_metrics_of_one_name_are_recorded_for_all_their_tasks(tmp_path):
    """The error in units of a number, and in levels, are both an ``mae``."""
    numbers, levels = source("regression"), source("classification")
    levels = dataclasses.replace(levels, name="levels", kind="ordinal")
    data = join(numbers, levels, shared_inputs=True)
    models = [
        MODELS["mlp"]((6,), names=g.tasks, kind=g.kind, outputs=g.outputs, hidden=(4,))
        for g in data.groups
    ]
    tx = mtopt.chain(mtopt.equal_weighting(3), optax.adam(1e-2))
    built = shared_program(join_models(models, shared_inputs=True), tx, 1)
    schedule = dataclasses.replace(SCHEDULE, steps=2)
    result = fit(built, data, schedule, tmp_path, seeds=(0,))
    records = read_records(tmp_path / "metrics.jsonl")
    assert sorted(records[-1]["mae"]) == ["a", "b", "c"]
    column = list(metric_tasks(data)).index("mae")
    tested = np.array([records[-1]["mae"][task] for task in data.tasks])
    np.testing.assert_array_equal(tested, result.test.metrics[0, :, column])
    assert np.isfinite(read_result(tmp_path)["validation"]).all()


def test_scores_are_those_of_each_group_alone():
    data, built = mixed(False), program(False)
    state = built.init(jax.vmap(jax.random.key)(np.arange(2, dtype="uint32")))
    params, model_state = state.params, state.model_state
    found = evaluate(
        functools.partial(built.predict, params, model_state),
        data,
        data.test,
        batch_size=8,
    )
    for i, group in enumerate(data.groups):
        alone = MODELS["mlp"](
            (6,),
            names=group.tasks,
            kind=group.kind,
            outputs=group.outputs,
            hidden=(16,),
        )
        own = shared_program(alone, mtopt.chain(mtopt.mgda(4), optax.sgd(1.0)), 2)
        heads = {"shared": params["shared"], "tasks": params["tasks"][i]}
        wanted = evaluate(
            functools.partial(own.predict, heads, model_state[i]), group, group.test
        )
        rows = [data.tasks.index(task) for task in group.tasks]
        columns = [
            list(metric_tasks(data)).index(metric.name)
            for metric in METRICS[group.kind]
        ]
        np.testing.assert_allclose(
            found.metrics[:, rows][..., columns], wanted.metrics, rtol=1e-5
        )
        np.testing.assert_allclose(
            found.selection[:, rows], wanted.selection, rtol=1e-5
        )


@BOTH
def test_another_source_leaves_batches_parameters_and_heads_as_they_were(shared_inputs):
    """Bit for bit."""
    all_three = mixed(shared_inputs)
    two = join(*all_three.groups[:2], shared_inputs=shared_inputs)

    def some(data, count=3):
        batches = data.train.batches(16, seeds=(0, 1))
        return [next(batches) for _ in range(count)]

    for many, few in zip(some(all_three), some(two), strict=True):
        for i in range(2):
            np.testing.assert_array_equal(many.y[i], few.y[i])
            np.testing.assert_array_equal(many.mask[i], few.mask[i])
            if not shared_inputs:
                np.testing.assert_array_equal(many.x[i], few.x[i])
        if shared_inputs:
            np.testing.assert_array_equal(many.x, few.x)
    models = [
        MODELS["mlp"]((6,), names=g.tasks, kind=g.kind, outputs=g.outputs, hidden=(16,))
        for g in all_three.groups
    ]
    key = jax.random.key(3)
    full, part = join_models(models).init(key)[0], join_models(models[:2]).init(key)[0]
    jax.tree.map(np.testing.assert_array_equal, full["shared"], part["shared"])
    jax.tree.map(np.testing.assert_array_equal, full["tasks"][:2], part["tasks"])


def test_a_mixed_run_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    data, built = mixed(False), program(False)

    def interrupt(step, losses):
        if step >= 40:
            raise KeyboardInterrupt

    run = functools.partial(fit, built, data, SCHEDULE, seeds=(0, 1))
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", progress=interrupt)
    resumed = run(tmp_path / "cut")
    jax.tree.map(np.testing.assert_array_equal, resumed.best, whole.best)
    jax.tree.map(
        np.testing.assert_array_equal, resumed.state.params, whole.state.params
    )


def test_sources_of_their_own_sizes_give_batches_of_their_own_sizes():
    one, two, three = (source(kind, i) for i, kind in enumerate(KINDS))
    data = join(one, two, three, batch_size=(4, 8, 2))
    assert [group.name for group in data.groups] == [
        "classification",
        "regression",
        "binary",
    ]
    batch = next(data.train.batches(16, seeds=(0,)))
    assert [mask.shape[2] for mask in batch.mask] == [4, 2, 8]
    # As many steps as the longest takes.
    assert data.train.steps_per_epoch(16) == 64 // 2
    # In order, every sample once, however long the others are.
    test = mixed(False).test
    seen = [batch.mask for batch in test.in_order(7)]
    for i, part in enumerate(test.parts):
        labels = sum(int(np.sum(mask[i])) for mask in seen)
        assert labels == part.labels.sum()


MISUSE = [
    (lambda: join(source("binary")), "1 source to join"),
    (
        lambda: join(source("binary"), dataclasses.replace(source("binary"), name="m")),
        "task 'd' stands in 'binary' and in 'm'",
    ),
    (
        lambda: join(source("binary", 1), source("regression"), shared_inputs=True),
        "the train inputs of 'binary' and 'regression' differ",
    ),
    (
        lambda: join(source("binary"), source("regression"), batch_size=(4,)),
        "batch_size has 1 entries for 2 sources",
    ),
    (
        lambda: join(source("binary"), source("regression"), batch_size=(4, 0)),
        "batch_size is (4, 0)",
    ),
    (lambda: join_models([]), "0 models to join"),
    (
        lambda: join_models(
            [
                MODELS["mlp"]((6,), names=(n,), kind="binary", outputs=1, hidden=(w,))
                for n, w in (("a", 3), ("b", 4))
            ]
        ),
        "have other parameters",
    ),
]


@pytest.mark.parametrize(("make", "message"), MISUSE, ids=[m for _, m in MISUSE])
def test_misuse_is_one_line(make, message):
    with pytest.raises(mtopt.UserError) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
