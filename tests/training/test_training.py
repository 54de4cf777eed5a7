"""Runs: learning, choosing on validation, stopping and going on."""

import dataclasses
import functools
import json
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.models import MODELS
from mtopt.training import tensorboard
from mtopt.training.checkpoint import Checkpoints
from mtopt.training.conflicts import gradient_conflicts
from mtopt.training.evaluate import evaluate
from mtopt.training.fit import FitOptions, fit, read_result
from mtopt.training.loop import LoopOptions, Measurement, read_per_task, train
from mtopt.training.program import separate_program, shared_program
from mtopt.training.writer import MetricWriter, read_records

SCHEDULE = FitOptions(
    steps=40, batch_size=16, eval_every=10, log_every=5, checkpoint_every=10
)


@functools.cache
def dataset(x_axis, kind="classification", num_samples=64, noise=0.0):
    """Three tasks that a linear model can learn."""
    rng = np.random.default_rng(0)
    names = ("a", "b", "c")

    def split(size):
        lead = (size,) if x_axis is None else (3, size)
        x = rng.normal(size=(*lead, 6)).astype("float32")
        shifts = np.arange(3)
        columns = x[..., :3].T if x_axis is None else x[shifts, :, shifts]
        y = columns + noise * rng.normal(size=columns.shape)
        if kind == "classification":
            y = (y > 0).astype("int32")
        mask = rng.random((3, size)) < 0.9
        return ArraySplit(mtopt.Batch(x, y.astype(y.dtype), mask), x_axis)

    scale = {}
    if kind == "regression":
        scale = {"target_mean": np.zeros(3), "target_std": np.array([1.0, 2.0, 3.0])}
    outputs = 2 if kind == "classification" else 1
    splits = (split(num_samples), split(32), split(32))
    return Dataset("planted", names, kind, outputs, x_axis, *splits, **scale)


@functools.cache
def mlp(names, kind, outputs, x_axis, dropout=0.1):
    return MODELS["mlp"](
        (6,),
        names=names,
        kind=kind,
        outputs=outputs,
        x_axis=x_axis,
        dtype=jnp.float32,
        hidden=(16,),
        dropout=dropout,
    )


@functools.cache
def compiled(names, form, num_seeds, separate):
    model = mlp(("task",) if separate else names, *form)
    tx = mtopt.chain(
        mtopt.mgda(len(model.tasks.names)),
        optax.adamw(1e-2),
        mtopt.average_parameters(0.5),
    )
    if separate:
        return separate_program(model, tx, names, num_seeds)
    return shared_program(model, tx, num_seeds)


def program(data, num_seeds=2, separate=False):
    """For data of one form, one program: what it compiles, other runs find."""
    form = (data.kind, data.outputs, data.x_axis)
    return compiled(data.tasks, form, num_seeds, separate)


@pytest.mark.parametrize(
    ("x_axis", "kind", "separate"),
    [
        (0, "regression", False),
        pytest.param(None, "classification", True, marks=pytest.mark.slow),
        pytest.param(None, "classification", False, marks=pytest.mark.slow),
        pytest.param(0, "regression", True, marks=pytest.mark.slow),
        pytest.param(None, "regression", True, marks=pytest.mark.slow),
        pytest.param(0, "classification", True, marks=pytest.mark.slow),
        pytest.param(0, "classification", False, marks=pytest.mark.slow),
        pytest.param(None, "regression", False, marks=pytest.mark.slow),
    ],
)
def test_a_run_learns_and_leaves_its_files(tmp_path, x_axis, kind, separate):
    data = dataset(x_axis, kind, num_samples=256)
    schedule = dataclasses.replace(
        SCHEDULE, steps=120, eval_every=30, log_every=6, checkpoint_every=60
    )
    built = program(data, separate=separate)
    result = fit(built, data, schedule, tmp_path, seeds=(0, 1))
    primary = result.test.metrics[..., 0]
    assert primary.shape == (2, 3)
    if kind == "classification":
        assert primary.min() > 0.85
    else:
        assert (primary / [[1, 2, 3]]).max() < 0.5
    stored = read_result(tmp_path)
    np.testing.assert_allclose(stored["test"], result.test.metrics)
    assert stored["step"].tolist() == [30, 60, 90, 120]
    assert stored["validation"].shape == (2, 4, 3)
    records = read_records(tmp_path / "metrics.jsonl")
    losses = [r["loss"]["a"] for r in records if r["split"] == "train"]
    assert len(losses) == 2 * 20
    assert losses[-1] < 0.5 * losses[0]


def run(folder, separate, progress=lambda step, losses: None):
    data = dataset(None, noise=1.0)
    built = program(data, separate=separate)
    return fit(built, data, SCHEDULE, folder, seeds=(3, 4), progress=progress)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Runs that go to their end, and their folders."""

    @functools.cache
    def made(separate):
        folder = tmp_path_factory.mktemp("unbroken")
        return run(folder, separate), folder

    return made


@pytest.mark.parametrize(
    ("stop", "separate"),
    [
        (10, False),  # nothing is stored yet
        (23, True),
        pytest.param(23, False, marks=pytest.mark.slow),
        pytest.param(10, True, marks=pytest.mark.slow),
        pytest.param(30, False, marks=pytest.mark.slow),
        pytest.param(30, True, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(
    tmp_path, stop, separate, unbroken
):
    whole, folder = unbroken(separate)

    def interrupt(step, losses):
        if step >= stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, separate, interrupt)
    assert read_result(tmp_path) is None
    resumed = run(tmp_path, separate)
    for one, other in zip(
        jax.tree.leaves((whole.state, whole.best)),
        jax.tree.leaves((resumed.state, resumed.best)),
        strict=True,
    ):
        if jax.dtypes.issubdtype(one.dtype, jax.dtypes.prng_key):
            one, other = jax.random.key_data(one), jax.random.key_data(other)
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))

    def records(folder):
        return [
            {k: v for k, v in record.items() if k != "steps_per_second"}
            for record in read_records(folder / "metrics.jsonl")
        ]

    assert records(folder) == records(tmp_path)


def test_a_run_cut_off_before_its_result_tests_once_in_its_records(tmp_path):
    data = dataset(None)
    built = program(data)
    fit(built, data, SCHEDULE, tmp_path, seeds=(0, 1))
    before = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "result.json").unlink()
    fit(built, data, SCHEDULE, tmp_path, seeds=(0, 1))
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_a_checkpoint_cut_short_is_passed_over_or_named(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": jnp.zeros(3)})
        checkpoints.save(2, {"w": jnp.ones(3)})
    for file in (tmp_path / "2").rglob("*"):
        if (
            file.is_file()
            and file.stat().st_size
            and "metadata" not in file.name.lower()
        ):
            file.write_bytes(b"")
    with Checkpoints(tmp_path) as checkpoints:
        step = checkpoints.latest
        with pytest.raises(mtopt.UserError, match="cannot read checkpoint"):
            checkpoints.load(step, {"w": jnp.zeros(3)})
    shutil.rmtree(tmp_path / "2")
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest == 1
        np.testing.assert_array_equal(
            checkpoints.load(1, {"w": jnp.ones(3)})["w"], jnp.zeros(3)
        )


def test_numbers_of_64_bits_come_back_whole(tmp_path):
    with jax.enable_x64(True):
        tree = {"w": jnp.arange(3.0) / 3, "step": jnp.array(2**40)}
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(1, tree)
            stored = checkpoints.load(1, jax.tree.map(jnp.zeros_like, tree))
    for one, other in zip(*map(jax.tree.leaves, (tree, stored)), strict=True):
        assert isinstance(other, jax.Array)
        assert other.dtype == one.dtype
        np.testing.assert_array_equal(other, one)


def test_a_checkpoint_of_another_model_is_named(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": jnp.zeros(3)})
    other = {"w": jnp.zeros((2, 2)), "v": jnp.zeros(1)}
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(
            mtopt.UserError, match="does not belong to this run: it has no v"
        ),
    ):
        checkpoints.load(1, other)


def test_the_model_is_chosen_on_validation_not_at_the_end(tmp_path):
    data = dataset(None, noise=3.0, num_samples=16)
    schedule = dataclasses.replace(
        SCHEDULE, steps=200, eval_every=20, checkpoint_every=200
    )
    result = fit(program(data), data, schedule, tmp_path, seeds=(0, 1))
    curves = read_result(tmp_path)
    mean = curves["validation"].mean(axis=2)
    best = curves["step"][mean.argmax(axis=1)]
    assert result.best.step.tolist() == best.tolist()
    np.testing.assert_allclose(result.best.score, mean.max(axis=1), rtol=1e-6)


@pytest.mark.parametrize("separate", [False, True])
def test_validation_and_the_chosen_model_take_the_average(tmp_path, separate):
    data = dataset(None, noise=1.0)
    schedule = dataclasses.replace(SCHEDULE, eval_every=40)
    built = program(data, separate=separate)
    result = fit(built, data, schedule, tmp_path, seeds=(3, 4))
    average = result.state.evaluated_params
    jax.tree.map(np.testing.assert_array_equal, result.best.params, average)
    last = jax.tree.leaves(result.state.params["shared"])[0]
    assert (jax.tree.leaves(average["shared"])[0] != last).any()
    scores = evaluate(
        functools.partial(built.predict, average, result.state.model_state),
        data,
        data.valid,
    )
    found = read_result(tmp_path)["validation"][:, 0]
    np.testing.assert_allclose(found, scores.metrics[..., 0])


def test_single_task_models_are_chosen_task_by_task(tmp_path):
    data = dataset(None, noise=3.0, num_samples=16)
    schedule = dataclasses.replace(
        SCHEDULE, steps=200, eval_every=20, checkpoint_every=200
    )
    built = program(data, separate=True)
    result = fit(built, data, schedule, tmp_path, seeds=(0, 1))
    curves = read_result(tmp_path)
    best = curves["step"][curves["validation"].argmax(axis=1)]
    assert result.best.step.tolist() == best.tolist()


def test_single_task_models_know_nothing_of_each_other(tmp_path):
    """The model of task a is the same whatever the labels of b and c are."""
    plain = dataset(None)
    samples = plain.train.samples
    y = np.array(samples.y)
    y[1:] = 1 - y[1:]
    other = mtopt.Batch(samples.x, y, samples.mask)
    changed = Dataset(
        "changed",
        plain.tasks,
        plain.kind,
        2,
        None,
        ArraySplit(other, None),
        plain.valid,
        plain.test,
    )
    runs = [
        fit(
            program(data, separate=True),
            data,
            SCHEDULE,
            tmp_path / data.name,
            seeds=(0, 1),
        )
        for data in (plain, changed)
    ]
    first, second = (
        [np.asarray(x)[0, 0] for x in jax.tree.leaves(r.state.params)] for r in runs
    )
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)


def test_seeds_as_one_program_equal_seeds_one_by_one(tmp_path):
    data = dataset(None)
    both = fit(program(data), data, SCHEDULE, tmp_path / "both", seeds=(0, 1))
    for s in (0, 1):
        alone = fit(program(data, 1), data, SCHEDULE, tmp_path / str(s), seeds=(s,))
        jax.tree.map(
            lambda a, b, s=s: np.testing.assert_allclose(
                np.asarray(a)[s], np.asarray(b)[0], rtol=1e-3, atol=1e-4
            ),
            both.state.params,
            alone.state.params,
        )


def test_a_loss_that_is_no_longer_finite_stops_the_run_with_its_name(tmp_path):
    data = dataset(0, "regression")
    samples = data.train.samples
    y = np.array(samples.y)
    y[1] = np.inf
    spoilt = mtopt.Batch(samples.x, y, samples.mask)
    data = Dataset(
        "spoilt",
        data.tasks,
        "regression",
        1,
        0,
        ArraySplit(spoilt, 0),
        data.valid,
        data.test,
        data.target_mean,
        data.target_std,
    )
    every_step = dataclasses.replace(SCHEDULE, steps=5, log_every=1)
    with pytest.raises(mtopt.UserError, match="loss of task 'b' is inf at step 1 "):
        fit(program(data), data, every_step, tmp_path, seeds=(0, 1))


def test_records_keep_what_is_whole_and_drop_half_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricWriter(path) as writer:
        writer.write({"step": 1, "value": np.float32("nan"), "array": np.arange(2)})
    with path.open("a") as file:
        file.write('{"step": 2, "va')
    assert read_records(path) == [{"step": 1, "value": None, "array": [0, 1]}]
    with MetricWriter(path, resume_from=5) as writer:
        writer.write({"step": 2})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [
        1,
        2,
    ]


@pytest.mark.parametrize("field", ["steps", "batch_size", "eval_every"])
def test_a_schedule_without_steps_is_an_error(field):
    values = {"steps": 1, "batch_size": 1, "eval_every": 1, "log_every": 1}
    with pytest.raises(mtopt.UserError, match=f"{field} is 0"):
        FitOptions(**(values | {"checkpoint_every": 1, field: 0}))


def test_what_is_measured_stands_in_the_records_and_changes_nothing(tmp_path):
    data = dataset(None)
    model = mlp(data.tasks, data.kind, data.outputs, data.x_axis)
    built = shared_program(
        model, mtopt.chain(mtopt.normalize_rows(3), mtopt.mgda(3), optax.sgd(0.1)), 2
    )

    def run(folder, measure):
        return train(
            built,
            lambda start: data.train.batches(16, seeds=(0, 1), start=start),
            LoopOptions(steps=6, log_every=2, checkpoint_every=6),
            tmp_path / folder,
            tasks=data.tasks,
            seeds=(0, 1),
            measure=measure,
        )[0]

    states = (
        run("plain", None),
        run("measured", Measurement(2, gradient_conflicts(model.tasks))),
    )
    for one, other in zip(*(jax.tree.leaves(s.params) for s in states), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not read_per_task(tmp_path / "plain", "cosine")["values"].size
    found = {
        name: read_per_task(tmp_path / "measured", name)
        for name in ("norm", "cosine", "weights")
    }
    assert found["cosine"]["step"].tolist() == [2, 4, 6]
    # The direction is the shortest sum of unit gradients: it gains alike for all tasks
    # that weigh. Its weights belong to the cosines of the very same step.
    cosines, weights = found["cosine"]["values"], found["weights"]["values"]
    np.testing.assert_allclose(np.diagonal(cosines, axis1=2, axis2=3), 1, rtol=1e-5)
    gains = np.einsum("stij,stj->sti", cosines, weights)
    slack = gains - np.einsum("sti,sti->st", gains, weights)[..., None]
    assert slack.min() > -1e-4
    np.testing.assert_allclose(weights * slack, 0, atol=1e-4)
    assert found["norm"]["values"].shape == (2, 3, 3)
    assert (found["norm"]["values"] > 0).all()


def test_tensorboard_gets_what_the_json_lines_get(tmp_path):
    data = dataset(None)
    built = program(data)
    fit(built, data, SCHEDULE, tmp_path, seeds=(0, 1), tensorboard=True)
    for seed in (0, 1):
        events = list((tmp_path / f"tensorboard/seed-{seed}").glob("events*"))
        assert len(events) == 1
        content = b"".join(file.read_bytes() for file in events)
        for tag in (b"train/loss/a", b"valid/accuracy/b", b"test/pooled_accuracy"):
            assert tag in content


def test_tensorboard_gets_no_number_that_is_none(tmp_path, caplog):
    """Which it would warn of, time after time."""
    board = tensorboard.TensorBoard(tmp_path)
    numbers = {"rmse": {"a": float("nan"), "b": 1.0}, "pooled_rmse": float("inf")}
    board.write({"step": 1, "seed": 0, "split": "valid"} | numbers)
    board.close()
    (events,) = (tmp_path / "tensorboard/seed-0").glob("events*")
    content = events.read_bytes()
    assert b"valid/rmse/b" in content
    assert b"valid/rmse/a" not in content
    assert b"pooled" not in content
    assert not caplog.records


def test_tensorboard_without_its_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(mtopt.UserError, match="pip install"):
        tensorboard.require()
