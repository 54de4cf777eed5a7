"""Pictures of how the tasks' gradients stand to one another over training."""

import numpy as np
import pytest
from matplotlib import image

from experiments.common.conflict_pictures import (
    agreement,
    conflicts,
    diagnosed,
)
from experiments.common.gallery import gallery
from experiments.common.over_time import recorded
from experiments.common.results import Comparison, MethodResult
from experiments.common.run_folder import run_folder
from mtopt.training.loop import read_per_model, read_per_task
from mtopt.training.writer import MetricWriter

STEPS = (10, 20, 30, 40)


def compared(folder, methods, tasks, *, records=STEPS):
    """A comparison, and the records of two seeds; the second one stops early."""
    rng = np.random.default_rng(0)
    names = tuple(f"$t{k}$ <b>" for k in range(tasks))
    results = [
        MethodResult(f"m{i}", rng.uniform(0.5, 0.9, (2, tasks, 1)), {})
        for i in range(methods)
    ]
    for result in results:
        for seed in (0, 1):
            place = run_folder(folder, result.name, (seed,))
            place.mkdir(parents=True)
            with MetricWriter(place / "metrics.jsonl") as writer:
                for step in records[: len(records) - seed]:
                    cosine = np.full((tasks, tasks), -seed / 2 - step / 100)
                    np.fill_diagonal(cosine, 1)
                    writer.write(
                        {
                            "step": step,
                            "seed": seed,
                            "split": "train",
                            "norm": dict.fromkeys(names, 1.0 + step),
                            "descent": dict.fromkeys(names, step / 50),
                            "cosine": dict(zip(names, cosine.tolist(), strict=True)),
                            "condition": np.inf if step == 20 else 3.0 * step,
                            "rank": tasks,
                            "conflict_share": 0.25,
                        }
                    )
    return Comparison("it", names, ("accuracy",), (True,), None, results)


@pytest.mark.parametrize(("methods", "tasks"), [(1, 2), (7, 3), (2, 40)])
def test_a_diagnosed_run_has_its_pictures(tmp_path, methods, tasks):
    part = compared(tmp_path, methods, tasks)
    assert diagnosed(tmp_path, [part])
    drawn = gallery(tmp_path, [part])
    wanted = {"conflicts.png", "agreement.png", "norm.png", "descent.png"}
    assert wanted <= set(drawn)
    for name in wanted:
        drawn[name](tmp_path / name)
        assert image.imread(tmp_path / name)[..., :3].std() > 0.02


def test_what_is_drawn_is_what_was_recorded(tmp_path):
    part = compared(tmp_path, 1, 2)
    (cosine,) = recorded(tmp_path, [part], "cosine", read_per_task)
    assert cosine.step.tolist() == list(STEPS)
    np.testing.assert_allclose(cosine.values[0, :, 0, 1], -np.array(STEPS) / 100)
    assert np.isnan(cosine.values[1, -1]).all()
    (condition,) = recorded(tmp_path, [part], "condition", read_per_model)
    np.testing.assert_array_equal(condition.values[0], [30, np.nan, 90, 120])
    assert condition.tasks == ()


@pytest.mark.parametrize("records", [(), (10,)])
def test_of_few_records_or_none(tmp_path, records):
    part = compared(tmp_path, 1, 2, records=records)
    assert diagnosed(tmp_path, [part]) == bool(records)
    if records:
        conflicts(tmp_path, [part], tmp_path / "conflicts.png")
        agreement(tmp_path, [part], tmp_path / "agreement.png")
    else:
        assert not {"conflicts.png", "norm.png"} & set(gallery(tmp_path, [part]))


def test_one_task_has_nobody_to_agree_with(tmp_path):
    assert not diagnosed(tmp_path, [compared(tmp_path, 1, 1)])
