"""The toy experiment: its files, its resumption, its errors, its picture."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments import toy, toy_report
from experiments.config import Optimizer, from_dict, to_dict
from mtopt.data.toy import STARTS, pareto_front
from mtopt.errors import UserError

INITS = STARTS["nash_mtl"]
FILES = ["results.json", "table.txt", "toy.png", "trajectories.npz"]


def trajectories(folder):
    with np.load(folder / "trajectories.npz") as file:
        return dict(file)


def small(**changes):
    config = toy.Config(("equal_weighting", "mgda"), steps=25, log_every=10)
    return dataclasses.replace(config, **changes)


def run(config, folder):
    toy.prepare(config, "toy", None)(folder)


def test_a_run_leaves_trajectories_results_a_table_and_a_picture(tmp_path, capsys):
    run(small(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert (tmp_path / "toy.png").read_bytes().startswith(b"\x89PNG")
    stored = trajectories(tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    for method in ("equal_weighting", "mgda"):
        points = stored[method]
        assert points.shape == (5, 4, 2)  # the start, 10, 20 and 25 steps
        assert points.dtype == np.float64
        np.testing.assert_array_equal(points[:, 0], INITS)
        # Adam's first steps are of the size of the learning rate, 1e-3.
        moved = np.abs(points[:, -1] - INITS).max(axis=1)
        assert (moved > 0.01).all()
        assert (moved < 0.03).all()
        np.testing.assert_array_equal(results["methods"][method]["end"], points[:, -1])
        assert results["methods"][method]["on_front"] == [False] * 5
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        f"picture  {tmp_path / 'toy.png'}",
        f"folder   {tmp_path}",
    ]
    assert (tmp_path / "table.txt").read_text().strip() in "\n".join(lines)


def test_finished_methods_are_read_again_and_the_others_run(tmp_path, monkeypatch):
    run(small(methods=("mgda",)), tmp_path)
    before = trajectories(tmp_path)["mgda"]
    ran = []
    original = toy._run
    monkeypatch.setattr(
        toy, "_run", lambda text, *rest: ran.append(text) or original(text, *rest)
    )
    run(small(), tmp_path)
    assert ran == ["equal_weighting"]
    np.testing.assert_array_equal(trajectories(tmp_path)["mgda"], before)


def test_the_scale_of_the_first_loss_decides_where_its_gradient_leads(tmp_path):
    ends = []
    for scale in (0.1, 1.0):
        folder = tmp_path / str(scale)
        folder.mkdir()
        sgd = Optimizer(name="sgd", learning_rate=0.01)
        config = small(methods=("single_task(task=0)",), scale=scale, optimizer=sgd)
        run(config, folder)
        ends.append(trajectories(folder)["single_task(task=0)"][:, 1])
    moved = [np.linalg.norm(end - INITS, axis=1) for end in ends]
    assert (moved[1] > 2 * moved[0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 0.0}, "scale is 0.0: expected a positive number"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"scale": float("inf")}, "scale is inf"),
        ({"steps": 0}, "steps is 0: expected 1 or more"),
        ({"log_every": 0}, "log_every is 0"),
        ({"methods": ()}, "methods is empty"),
        ({"methods": ("mgda", "mgda")}, "methods has an entry twice"),
        ({"methods": ("mdga",)}, "did you mean 'mgda'?"),
        ({"methods": ("single_task(task=2)",)}, "task is 2"),
        ({"optimizer": Optimizer(learning_rate=0.0)}, "learning_rate is 0.0"),
    ],
)
def test_misuse_is_one_line_before_anything_runs(change, message):
    with pytest.raises(UserError) as caught:
        toy.prepare(small(**change), "toy", None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_step_that_leaves_the_plane_says_what_to_change(tmp_path):
    hot = Optimizer(name="sgd", learning_rate=1e300)
    with pytest.raises(UserError, match=r"^equal_weighting from \(-8.5, 7.5\) is at"):
        run(small(optimizer=hot), tmp_path)


def test_the_configuration_survives_its_json():
    config = toy.get_config()
    stored = json.loads(json.dumps(to_dict(config)))
    assert from_dict(toy.get_config(), stored) == config


def test_on_the_front_means_near_one_of_its_points():
    front, _ = pareto_front(7)
    assert toy_report.on_front(front).all()
    assert not toy_report.on_front(front + np.array([0.0, 0.06])).any()
    beyond = front[[0, -1]] + np.array([[-0.06, 0.0], [0.06, 0.0]])
    assert not toy_report.on_front(beyond).any()


def test_losses_of_the_table_are_those_of_the_problem():
    points = np.array([[0.0, -8.0], [7.0, -8.0]])
    with jax.enable_x64(True):
        scaled, full = (toy_report.losses(points, scale) for scale in (0.1, 1.0))
    np.testing.assert_allclose(scaled[:, 0], 0.1 * full[:, 0], rtol=1e-12)
    np.testing.assert_allclose(scaled[:, 1], full[:, 1], rtol=1e-12)
    # In the middle of the lower half-plane both quadratics are the same.
    np.testing.assert_allclose(full[0], 4.9 - 20, rtol=1e-3)


def test_more_methods_than_panels_in_a_row_are_drawn(tmp_path):
    points = np.array(INITS)[:, None].repeat(2, axis=1)
    many = {f"method {i}": points + 0.1 * i for i in range(4)}
    result = toy_report.Trajectories("toy", 0.1, 1, many)
    toy_report.picture(result, tmp_path / "toy.png")
    assert (tmp_path / "toy.png").stat().st_size > 10_000
    lines = toy_report.table(result).splitlines()
    assert [line for line in lines if line.startswith("method")] == list(many)
