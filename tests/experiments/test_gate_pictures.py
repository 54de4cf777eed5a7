"""The picture of what gates weigh over training."""

import numpy as np
import pytest
from matplotlib import image

from experiments.common import gate_pictures
from experiments.common.gallery import gallery
from experiments.common.gate_pictures import gate_masses, masses
from experiments.common.results import Comparison, MethodResult
from experiments.common.run_folder import run_folder
from mtopt.training.writer import MetricWriter

NAMES = ("$a$", "b")


def recorded(folder, text, gates=("head",), experts=3, tasks=NAMES):
    """Two seeds; at step t the first expert of the first one weighs t / 10."""
    place = run_folder(folder, text, (0, 1))
    place.mkdir(parents=True)
    with MetricWriter(place / "metrics.jsonl") as writer:
        for step in (2, 4, 6):
            for seed in (0, 1):
                first = step / 10 if seed == 0 else 0.0
                others = [(1 - first) / (experts - 1)] * (experts - 1)
                record = {"step": step, "seed": seed, "split": "train"}
                for gate in gates:
                    record[f"gate_mass/{gate}"] = {k: [first, *others] for k in tasks}
                record["dead_experts"] = ["expert 2"] if seed == 0 else []
                writer.write(record)


def test_a_gate_is_that_of_the_first_seed(tmp_path):
    recorded(tmp_path, "mmoe", ("encoder.level", "head"))
    place = run_folder(tmp_path, "mlp", (0,))
    place.mkdir(parents=True)
    with MetricWriter(place / "metrics.jsonl") as writer:
        writer.write({"step": 2, "seed": 0, "split": "train", "loss": {"b": 1.0}})
    level, own = masses(tmp_path, ["mlp", "mmoe", "not run"])
    assert (level.title, own.title) == ("mmoe, encoder.level", "mmoe, head")
    assert own.tasks == NAMES
    np.testing.assert_allclose(own.values[:, 1, 0], [0.2, 0.4, 0.6])
    assert own.dead == ("expert 2",)


@pytest.mark.parametrize(("runs", "experts", "tasks"), [(1, 2, 2), (8, 9, 7)])
def test_any_number_of_gates_experts_and_tasks_is_drawn(
    tmp_path, monkeypatch, runs, experts, tasks
):
    names = [f"model {i}" for i in range(runs)]
    for name in names:
        own = tuple(f"t{k}" for k in range(tasks))
        recorded(tmp_path, name, experts=experts, tasks=own)
    figures = []
    original = gate_pictures.save
    monkeypatch.setattr(
        gate_pictures,
        "save",
        lambda *given: (figures.append(given[0]), original(*given)),
    )
    gate_masses("it", masses(tmp_path, names), tmp_path / "it.png")
    assert image.imread(tmp_path / "it.png").ndim == 3
    (figure,) = figures
    assert len(figure.axes) == min(runs, 6) * min(tasks, 6)
    assert "dead: expert 2" in figure.axes[0].get_ylabel()


def test_a_comparison_has_the_picture_where_gates_were_measured(tmp_path):
    results = [MethodResult(name, np.ones((2, 2, 1)), {}) for name in ("one", "two")]
    part = Comparison("it", NAMES, ("accuracy",), (True,), None, results)
    assert "gates.png" not in gallery(tmp_path, [part])
    recorded(tmp_path, "two")
    gallery(tmp_path, [part])["gates.png"](tmp_path / "gates.png")
    assert (tmp_path / "gates.png").exists()
