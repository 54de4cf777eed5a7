"""The toy experiment: its files, its resumption, its errors, its picture."""

import contextlib
import dataclasses
import io
import json
import shutil

import jax
import numpy as np
import pytest

from experiments import toy
from experiments.common.config import Optimizer, from_dict, to_dict
from experiments.toy import config as toy_config
from experiments.toy import report
from experiments.toy import run as toy_run
from mtopt.data.toy import STARTS, pareto_front
from mtopt.errors import UserError

INITS = STARTS["nash_mtl"]
FILES = ["report.html", "results.json", "table.txt", "toy.png", "trajectories.npz"]
FOLDERS = ["equal_weighting", "mgda"]


def trajectories(folder):
    with np.load(folder / "trajectories.npz") as file:
        return dict(file)


def small(**changes):
    config = toy_config.Config(
        methods=("equal_weighting", "mgda"),
        steps=25,
        log_every=10,
        checkpoint_every=20,
    )
    return dataclasses.replace(config, **changes)


def run(config, folder):
    toy.prepare(config, "toy", None)(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run, and what it printed."""
    folder, printed = tmp_path_factory.mktemp("toy"), io.StringIO()
    with contextlib.redirect_stdout(printed):
        run(small(), folder)
    return folder, printed.getvalue()


def test_a_run_leaves_trajectories_results_a_table_and_a_picture(finished):
    folder, printed = finished
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES + FOLDERS)
    assert (folder / "toy.png").read_bytes().startswith(b"\x89PNG")
    stored = trajectories(folder)
    results = json.loads((folder / "results.json").read_text())
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
    lines = printed.splitlines()
    assert lines[-3:] == [
        f"picture  {folder / 'toy.png'}",
        f"page     {folder / 'report.html'}",
        f"folder   {folder}",
    ]
    assert (folder / "table.txt").read_text().strip() in "\n".join(lines)


@pytest.fixture(scope="module")
def resumed(finished, tmp_path_factory):
    """As if killed late in its second method: the folder, and what ran again."""
    folder, ran, steps = tmp_path_factory.mktemp("resumed") / "run", [], []
    shutil.copytree(finished[0], folder)
    first = trajectories(folder)["equal_weighting"]
    np.savez(folder / "trajectories.npz", equal_weighting=first)
    (last,) = folder.glob("mgda/**/checkpoints/25")
    shutil.rmtree(last)
    original, check = toy_run.trajectories, toy_run._check_finite

    def told(text, *rest):
        ran.append(text)
        return original(text, *rest)

    def checked(points, names, step):
        steps.append(step)
        check(points, names, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toy_run, "trajectories", told)
        patch.setattr(toy_run, "_check_finite", checked)
        run(small(), folder)
    return folder, ran, steps


def test_finished_methods_are_read_again_and_the_others_run(finished, resumed):
    folder, ran, _ = resumed
    assert ran == ["mgda"]
    one, other = (trajectories(f)["equal_weighting"] for f in (finished[0], folder))
    np.testing.assert_array_equal(one, other)


def test_a_method_stopped_in_the_middle_goes_on_to_the_same_points(finished, resumed):
    folder, _, steps = resumed
    assert steps == [25]
    one, other = (trajectories(f)["mgda"] for f in (finished[0], folder))
    np.testing.assert_array_equal(one, other)
    assert (np.abs(np.diff(one, axis=1)).max(axis=(0, 2)) > 0).all()


def test_the_scale_of_the_first_loss_decides_where_its_gradient_leads(tmp_path):
    ends = []
    for scale in (0.1, 1.0):
        folder = tmp_path / str(scale)
        folder.mkdir()
        sgd = Optimizer("sgd(momentum=0.9)", 0.01)
        config = small(methods=("single_task(task=0)",), scale=scale, optimizer=sgd)
        run(config, folder)
        ends.append(trajectories(folder)["single_task(task=0)"][:, 1])
    moved = [np.linalg.norm(end - INITS, axis=1) for end in ends]
    assert (moved[1] > 2 * moved[0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 0.0}, "scale is 0.0: expected a number above 0"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"scale": float("inf")}, "scale is inf"),
        ({"steps": 0}, "steps is 0: expected 1 or more"),
        ({"log_every": 0}, "log_every is 0"),
        ({"methods": ()}, "methods is (): expected 1 or more entries"),
        ({"methods": ("mgda", "mgda")}, "expected no entry twice"),
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
    hot = Optimizer("sgd(momentum=0.9)", 1e300)
    with pytest.raises(UserError, match=r"\(equal_weighting from \(-8.5, 7.5\)\)"):
        run(small(optimizer=hot), tmp_path)


def test_the_configuration_survives_its_json():
    config = toy.get_config()
    stored = json.loads(json.dumps(to_dict(config)))
    assert from_dict(toy.get_config(), stored) == config


def test_on_the_front_means_near_one_of_its_points():
    front, _ = pareto_front(7)
    assert report.on_front(front).all()
    assert not report.on_front(front + np.array([0.0, 0.06])).any()
    beyond = front[[0, -1]] + np.array([[-0.06, 0.0], [0.06, 0.0]])
    assert not report.on_front(beyond).any()


def test_losses_of_the_table_are_those_of_the_problem():
    points = np.array([[0.0, -8.0], [7.0, -8.0]])
    with jax.enable_x64(True):
        scaled, full = (report.losses(points, scale) for scale in (0.1, 1.0))
    np.testing.assert_allclose(scaled[:, 0], 0.1 * full[:, 0], rtol=1e-12)
    np.testing.assert_allclose(scaled[:, 1], full[:, 1], rtol=1e-12)
    # In the middle of the lower half-plane both quadratics are the same.
    np.testing.assert_allclose(full[0], 4.9 - 20, rtol=1e-3)


def test_more_methods_than_panels_in_a_row_are_drawn(tmp_path):
    points = np.array(INITS)[:, None].repeat(2, axis=1)
    many = {f"method {i}": points + 0.1 * i for i in range(4)}
    result = report.Trajectories("toy", 0.1, 1, many)
    report.picture(result, tmp_path / "toy.png")
    assert (tmp_path / "toy.png").stat().st_size > 10_000
    lines = report.table(result).splitlines()
    assert [line for line in lines if line.startswith("method")] == list(many)
