"""Models that diverge in one of several groups of tasks are named, each once."""

import dataclasses

import numpy as np
import pytest

from experiments.common import runner
from experiments.common.config import Config
from experiments.common.report import Diverged
from experiments.common.results import Comparison, MethodResult

GONE = "single-task models: seed 0 diverged: the loss of 'b' is not finite"
NOTE = "mgda: seed 1 diverged: losses are finite, and the update is not finite"


def row(name, *notes):
    curves = {"step": np.arange(2), "validation": np.full((2, 2, 1), 0.5)}
    return MethodResult(name, np.full((2, 1, 1), 0.5), curves, notes)


def ran(tmp_path, monkeypatch, *parts):
    """The job of a run whose training gives these results."""
    monkeypatch.setattr(runner, "train_all", lambda *given: list(parts))
    config = Config(data="multi_digits", model="mlp", methods=("mgda",))
    return runner.prepare(config, "e", None)(tmp_path)


def test_single_task_models_of_a_later_group_are_named_too(tmp_path, monkeypatch):
    first = Comparison(
        "e", ("a",), ("accuracy",), (True,), row("single-task models"), [row("mgda")]
    )
    second = dataclasses.replace(
        first, task_names=("b",), baseline=row("single-task models", GONE), group="b"
    )
    with pytest.raises(
        Diverged, match=r"^1 of 2 runs diverged .*\(single-task models\)"
    ):
        ran(tmp_path, monkeypatch, first, second)
    assert GONE in (tmp_path / "table.txt").read_text()


def test_a_method_of_all_groups_is_named_once(tmp_path, monkeypatch):
    one = Comparison("e", ("a",), ("accuracy",), (True,), None, [row("mgda", NOTE)])
    other = dataclasses.replace(one, task_names=("b",), group="b")
    with pytest.raises(Diverged, match=r"^1 of 1 runs diverged .*\(mgda\)"):
        ran(tmp_path, monkeypatch, one, other)
    assert (tmp_path / "table.txt").read_text().count(NOTE) == 1
