"""The command line as a user meets it: a process of its own, its output, its files."""

import contextlib
import io
import json
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.results_file import read_comparisons
from mtopt.training.checkpoint import Checkpoints
from tests.helpers.commands import KILLED, SMALL, environment, run, run_here


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a comparison, and what it printed."""
    folder, printed = tmp_path_factory.mktemp("whole"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        methods = ("--method=equal_weighting", "--method=mgda")
        run_here(folder, patch, *SMALL, *methods, "--out=here")
    return folder / "here", printed.getvalue()


def test_a_comparison_ends_with_a_table_pictures_and_the_folder(whole):
    folder, printed = whole
    assert printed.rstrip().splitlines()[-1].split() == ["folder", "here"]
    for word in ("equal_weighting", "mgda", "single-task", "Δm%", "Δp%"):
        assert word in printed
    for picture in ("test.png", "curves.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    config = json.loads((folder / "config.json").read_text())
    assert config["config"]["optimizer"]["learning_rate"] == 0.01
    versions = json.loads((folder / "versions.json").read_text())
    assert versions["packages"]["jax"] == jax.__version__
    lines = (folder / "mgda/seed-0-1/metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert {r["split"] for r in records} == {"train", "valid", "test"}
    weights = records[0]["weights"]
    assert abs(weights["left"] + weights["right"] - 1) < 1e-5


def test_a_killed_run_goes_on_where_it_was_and_ends_the_same(
    whole, tmp_path, monkeypatch, capsys
):
    flags = [*SMALL, "--method=mgda", "--config.single_task=false"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *flags, "--out=cut"],
        cwd=tmp_path,
        env=environment(tmp_path),
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    folder = tmp_path / "cut/mgda/seed-0-1"
    with Checkpoints(folder / "checkpoints") as stored:
        assert stored.latest == 20
    assert not (folder / "result.json").exists()
    run_here(tmp_path, monkeypatch, "--resume=cut")
    one, other = (
        json.loads((place / "mgda/seed-0-1/result.json").read_text())
        for place in (whole[0], tmp_path / "cut")
    )
    assert one == other
    trees = []
    for place in (whole[0], tmp_path / "cut"):
        with Checkpoints(place / "mgda/seed-0-1/checkpoints") as stored:
            assert stored.latest == 60
            arrays = sorted(
                (p.relative_to(place), p.read_bytes())
                for p in (place / "mgda").rglob("60/**/_METADATA")
            )
            assert arrays
            trees.append(arrays)
    assert trees[0] == trees[1]
    capsys.readouterr()
    run_here(tmp_path, monkeypatch, "--resume=cut")
    assert "mgda" in capsys.readouterr().out


MISUSE = [
    (["--experiment=multi_digit"], "no experiment 'multi_digit': did you mean"),
    (["--method=mdga"], "no method 'mdga': did you mean 'mgda'?"),
    (["--metod=mgda"], "Unknown command line flag 'metod'. Did you mean: method"),
    (["--config.optimizer.learning_rat=1"], "learning_rat"),
    (["--config.steps=many"], "many"),
    (["--config.optimizer.learning_rate=-1"], "learning_rate is -1"),
    (["--config.optimizer.name=adamww"], "did you mean 'adamw'"),
    (["--config.data=multi_digts"], "did you mean 'multi_digits'"),
    (["--config.model=mlp(hiden=(3,))"], "did you mean 'hidden'?"),
    (["--experiment=school"], "school"),
    (["--experiment=school", "--data_dir=nowhere"], "no folder"),
    (["--resume=nowhere"], "no run in nowhere"),
    (["mgda"], "cannot read 'mgda': flags start with --"),
    (["--out=taken"], "taken exists already"),
]


def check_misuse(folder, message, status, out, err):
    assert status in (1, 2)
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert message in lines[0]
    assert "Traceback" not in out + err
    found = sorted(p.name for p in folder.rglob("*") if p.is_file())
    assert found == ["mine.txt"]


@pytest.fixture
def taken(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("precious")
    return tmp_path


@pytest.mark.parametrize(("flags", "message"), MISUSE)
def test_misuse_is_one_clear_line_and_touches_nothing(
    taken, flags, message, monkeypatch, capfd
):
    with pytest.raises(SystemExit) as stop:
        run_here(taken, monkeypatch, *flags)
    check_misuse(taken, message, stop.value.code, *capfd.readouterr())


@pytest.mark.parametrize(
    ("flags", "message"),
    [pytest.param(*MISUSE[2], marks=pytest.mark.slow), MISUSE[-1]],
)
def test_misuse_ends_a_process_with_one_clear_line(taken, flags, message):
    """Found while flags are parsed, and after."""
    result = run(taken, *flags)
    check_misuse(taken, message, result.returncode, result.stdout, result.stderr)


def test_the_parameters_of_a_checkpoint_can_be_read_back(tmp_path):
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(3, {"w": jnp.arange(4.0)})
    with Checkpoints(folder) as checkpoints:
        tree = checkpoints.load(3, {"w": jnp.zeros(4)})
    np.testing.assert_array_equal(tree["w"], np.arange(4.0))


def test_a_method_that_diverges_is_reported_and_the_others_go_on(
    tmp_path, monkeypatch, capfd
):
    lost = "fixed_weighting(weights=(1e30, 1e30))"
    flags = [
        *SMALL,
        "--config.optimizer.name=sgd",
        "--config.steps=6",
        "--config.eval_every=3",
        "--config.log_every=3",
        "--config.single_task=false",
        "--method=mgda",
        f"--method={lost}",
        "--method=upgrad",
        "--out=here",
    ]
    with pytest.raises(SystemExit) as stop:
        run_here(tmp_path, monkeypatch, *flags)
    assert stop.value.code == 3
    out, err = capfd.readouterr()
    assert err.strip().splitlines()[-1].startswith("error: 1 of 3 runs diverged")
    for seed in (0, 1):
        assert f"{lost}: seed {seed} diverged: the loss or gradient of" in out
    (stored,) = read_comparisons(tmp_path / "here")
    results = {result.name: result.metrics for result in stored.results}
    assert np.isfinite(results["upgrad"]).all()
    assert np.isnan(results[lost]).all()
    # Finished as it is: the same report again, and nothing trained.
    with pytest.raises(SystemExit) as again:
        run_here(tmp_path, monkeypatch, "--resume=here")
    assert again.value.code == 3
