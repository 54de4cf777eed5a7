"""Real data is learned: short runs of the experiments, on the user's data folder."""

import dataclasses
import importlib
import json

import pytest


def train(name, data_dir, folder, **changes):
    """One seed of equal weighting; returns the test metrics and their names."""
    module = importlib.import_module(f"experiments.{name}")
    defaults = {"methods": ("equal_weighting",), "seeds": (0,), "single_task": False}
    config = dataclasses.replace(module.get_config(), **(defaults | changes))
    module.prepare(config, name, data_dir)(folder)
    return json.loads((folder / "equal_weighting/seed-0/result.json").read_text())


def mean(values):
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined)


def test_school_139_disjoint_tasks(data_dir, tmp_path):
    result = train("school", data_dir, tmp_path, steps=300)
    assert len(result["tasks"]) == 139
    rmse = result["pooled_test"][0][result["metrics"].index("rmse")]
    assert rmse < 10.6


def test_tox21_with_its_missing_labels(data_dir, tmp_path):
    result = train("tox21", data_dir, tmp_path, steps=100)
    assert len(result["tasks"]) == 12
    auc = mean([task[result["metrics"].index("auc")] for task in result["test"][0]])
    assert auc > 0.75


@pytest.mark.parametrize(
    ("name", "tasks", "metric", "worst", "best"),
    [
        ("landmine", 29, "auc", 0.70, 1.0),
        ("sarcos", 7, "r2", 0.85, 1.0),
        ("census_income", 3, "auc", 0.90, 1.0),
        ("qm8", 12, "r2", 0.5, 1.0),
    ],
)
def test_tabular_and_molecule_sets(
    name, tasks, metric, worst, best, data_dir, tmp_path
):
    result = train(name, data_dir, tmp_path, steps=300, eval_every=100)
    assert len(result["tasks"]) == tasks
    values = [task[result["metrics"].index(metric)] for task in result["test"][0]]
    assert worst < mean(values) <= best


def test_toxcast_617_tasks_run_as_one_stacked_computation(data_dir, tmp_path):
    changes = {"steps": 60, "eval_every": 60, "model": "mlp(hidden=(64,))"}
    result = train("toxcast", data_dir, tmp_path, **changes)
    assert len(result["tasks"]) > 600
    auc = [task[result["metrics"].index("auc")] for task in result["test"][0]]
    assert mean(auc) > 0.55


@pytest.mark.slow
def test_multi_mnist_at_the_paper_protocol(data_dir, tmp_path):
    result = train("multi_mnist", data_dir, tmp_path, steps=600)
    accuracy = [task[0] for task in result["test"][0]]
    assert mean(accuracy) > 0.93
