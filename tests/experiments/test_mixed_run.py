"""Tasks of several kinds and sources by the command: one model, one table."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from experiments.catalogue import catalogue
from experiments.common import groups, runner
from experiments.common.building import load_dataset
from experiments.common.config import Config, Optimizer
from experiments.common.results import MethodResult
from experiments.common.results_file import read_comparisons
from experiments.common.table import table
from mtopt.data import Dataset, JointDataset
from mtopt.errors import UserError
from mtopt.training.evaluate import metric_tasks
from tests.helpers.commands import KILLED, environment, run_here

STAGES = "npz(path='one.npz', kind={'stage': 'ordinal'})"
BOTH = f"join({STAGES}, npz(path='two.npz'), batch_size=(16, 8))"
FLAGS = [
    "--experiment=npz",
    "--config.model=mlp(hidden=(8,))",
    "--config.steps=60",
    "--config.batch_size=16",
    "--config.eval_every=20",
    "--config.log_every=20",
    "--config.checkpoint_every=20",
    "--config.seeds=(0, 1)",
    "--config.optimizer.learning_rate=0.01",
    "--method=mgda",
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three kinds of columns that a linear model can learn, and another file."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    stage = 1.0 * (x[:, 2] > -0.5) + (x[:, 2] > 0.5)
    y = np.stack([5 * x[:, 0] + 40, x[:, 1] > 0, stage], 1)
    names = np.array(["size", "sick", "stage"])
    np.savez(folder / "one.npz", x=x, y=y, target_names=names)
    other = rng.normal(size=(120, 4))
    np.savez(
        folder / "two.npz", x=other, y=other[:, :2], target_names=np.array(["u", "v"])
    )
    np.savez(folder / "wide.npz", x=np.eye(40), y=np.arange(40)[:, None] / 7)
    return folder


@pytest.fixture(scope="module")
def whole(files):
    """The folder of a run, killed at its first checkpoint and continued."""
    flags = [*FLAGS, f"--config.data={BOTH}", "--out=cut"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *flags],
        cwd=files,
        env=environment(files),
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    with pytest.MonkeyPatch.context() as patch:
        run_here(files, patch, "--resume=cut")
        run_here(files, patch, *flags[:-1], "--out=whole")
    return files / "whole"


def test_a_killed_run_goes_on_bit_for_bit(whole):
    results = [
        sorted(
            (path.parent.name, path.read_text()) for path in place.rglob("result.json")
        )
        for place in (whole, whole.parent / "cut")
    ]
    assert len(results[0]) == 5  # a run for each group alone, and one for all
    assert results[0] == results[1]


def test_each_kind_has_its_own_metrics_and_one_summary_follows(whole):
    text = (whole / "table.txt").read_text()
    for group, metric in {
        "one binary": "auc",
        "one regression": "rmse",
        "one ordinal": "mae",
        "two": "rmse",
    }.items():
        assert f"npz, {group}: test {metric}" in text
    every = text.split("all groups")[1]
    assert "Δm%" in every
    assert "Δm%" not in text.split("all groups")[0]
    stored = read_comparisons(whole)
    tasks = [each.task_names for each in stored]
    assert tasks == [("sick",), ("size",), ("stage",), ("u", "v")]
    (mgda,) = (each for each in stored[0].methods if each.name == "mgda")
    assert mgda.metrics[:, 0, 0].min() > 0.6
    assert text.startswith(table(*stored))


def test_the_data_is_said_and_stored_group_by_group(whole):
    stored = json.loads((whole / "data.json").read_text())
    assert [group["name"] for group in stored["groups"]] == ["one"] * 3 + ["two"]
    assert stored["name"] == "one + two"
    assert stored["shared_inputs"] is False


def test_another_file_under_a_resumed_run_is_refused(whole, files, monkeypatch):
    stored = json.loads((whole / "data.json").read_text())
    (whole / "data.json").write_text(json.dumps(stored | {"fingerprint": "0" * 16}))
    try:
        with pytest.raises(SystemExit):
            run_here(files, monkeypatch, "--resume=whole")
    finally:
        (whole / "data.json").write_text(json.dumps(stored))


def test_columns_of_one_file_read_one_input(files):
    config = small(STAGES, single_task=False)
    training = runner.Training.of(config, files)
    (run,) = training.methods
    assert isinstance(run.dataset, JointDataset)
    assert run.dataset.shared_inputs
    batch = next(run.dataset.train.batches(8, seeds=(0,)))
    assert batch.x.shape == (1, 8, 4)


def small(data, **changes):
    fields = {"optimizer": Optimizer(), "seeds": (0,), "steps": 3, "batch_size": 8}
    return Config(
        data=data, model="mlp(hidden=(4,))", methods=("mgda",), **(fields | changes)
    )


def test_an_estimate_has_a_line_for_every_group_alone(files):
    text = runner.estimate(small(BOTH), "npz", files)
    starts = [line.split("  ")[0] for line in text.splitlines()]
    for task in ("sick", "size", "stage", "u"):
        assert f"{runner.SINGLE_TASK}, {task}" in starts
    assert "mgda" in starts


def test_single_task_models_see_the_batches_that_all_see(files):
    config = small(BOTH, batch_size=5)
    alone = [run.batch_size for run in runner.Training.of(config, files).baselines]
    assert alone == [16, 16, 16, 8]
    assert "batches of 16 and 8, 1 seed" in runner.estimate(config, "npz", files)
    (whole,) = runner.Training.of(small(STAGES), files).methods
    assert whole.batch_size == 8


def test_pooled_sources_are_one_plain_data_set(files):
    text = "join(npz(path='two.npz'), npz(path='two.npz', seed=1), pool=True)"
    data = load_dataset(text, files)
    assert isinstance(data, Dataset)
    assert data.train.size == 2 * 84


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("join(npz(path='two.npz'))", "1 source to join: expected two or more"),
        ("join()", "0 sources to join"),
        ("join(npz(path='two.npz'), npz(path='two.npz'))", "task 'u' stands in 'two'"),
        ("join(npz(path='two.npz'), nzp(path='one.npz'))", "no data set 'nzp'"),
        ("join(npz(path='two.npz'), npz(path='no.npz'))", "no file"),
        (BOTH.replace("batch_size", "batchsize"), "did you mean 'batch_size'"),
        (BOTH.replace("(16, 8)", "(16,)"), "1 entries for 2 sources"),
        (BOTH.replace("batch_size=(16, 8)", "shared_inputs=True"), "inputs"),
        (BOTH.replace("(16, 8)", "x + 1"), "cannot read the data set"),
        ("join(npz(path='two.npz'), npz(path='wide.npz'))", "other parameters"),
    ],
)
def test_misuse_is_one_line(files, data, message):
    with pytest.raises(UserError, match=message) as error:
        runner.prepare(small(data), "npz", files)
    assert "\n" not in str(error.value)


def test_a_front_takes_one_kind(files, monkeypatch, capsys):
    flags = ["--experiment=pareto_front", f"--config.data={STAGES}", "--out=front"]
    with pytest.raises(SystemExit):
        run_here(files, monkeypatch, *flags)
    assert "a front takes a data set of one" in capsys.readouterr().err


def test_results_are_dealt_to_the_groups_by_task_and_metric(files):
    data = load_dataset(BOTH, files)
    metrics = list(metric_tasks(data))
    values = np.arange(5)[:, None] + np.arange(len(metrics)) / 100
    every = MethodResult(
        "m", values[None], {"step": np.arange(2), "validation": np.ones((1, 2, 5))}
    )
    parts = groups.compared_by_group("e", data, [], [every])
    for part in parts:
        for k, task in enumerate(part.task_names):
            for m, metric in enumerate(part.metric_names):
                expected = data.tasks.index(task) + metrics.index(metric) / 100
                assert part.methods[0].metrics[0, k, m] == expected


def test_the_list_names_what_joins():
    assert "join(name=None, batch_size=None" in catalogue()


def test_what_is_pooled_has_no_metric_of_several_groups(files, capsys):
    """Errors of two groups are in no common unit; and a seed may have diverged."""
    run = runner.Training.of(small(BOTH), files).methods[0]
    names = list(metric_tasks(run.dataset))
    pooled = np.where(np.isin(names, ["rmse", "mae", "r2"]), np.nan, 0.5)
    runner._print_pooled(run, {"pooled": np.stack([pooled, np.full(7, np.nan)])})
    assert capsys.readouterr().out == (
        "mgda: test over all samples of all tasks: auc 0.5, accuracy 0.5, macro_mae "
        "0.5, kappa 0.5\n"
    )
