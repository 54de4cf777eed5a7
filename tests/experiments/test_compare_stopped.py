"""Sweeps that are killed, and sweeps whose workers are."""

import os
import signal
import time

import pytest

from experiments.common.experiment import find_experiment
from experiments.common.run_lock import HOLDER
from experiments.common.stored_run import StoredRun
from experiments.common.stored_sweep import StoredSweep
from experiments.compare import workers
from experiments.compare.plan import plan
from experiments.compare.unit import FINISHED, read_outcome
from tests.helpers.sweeps import TINY, compared_here, ended, kill, started, wait_for

SMALL = [*TINY, "--method=mgda", "--trials=1"]


def test_a_sweep_that_was_killed_ends_the_same(tmp_path, monkeypatch):
    process = started(tmp_path, *SMALL, "--jobs=2", "--out=cut")
    wait_for(process, FINISHED, tmp_path / "cut")
    kill(process)
    finished = [*(tmp_path / "cut").rglob(FINISHED)]
    before = {path: path.stat().st_mtime_ns for path in finished}
    assert not (tmp_path / "cut" / "report.html").exists()
    assert compared_here(tmp_path, monkeypatch, "--resume=cut") == 0
    assert {path: path.stat().st_mtime_ns for path in finished} == before
    assert compared_here(tmp_path, monkeypatch, *SMALL, "--out=whole") == 0
    found = ended(tmp_path / "cut")
    assert found == ended(tmp_path / "whole")
    assert len(found) == 3


def is_running(group):
    """Whether a process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_sweep_that_is_interrupted_leaves_no_worker(tmp_path):
    """Though the signal reaches the command alone."""
    process = started(tmp_path, *SMALL, "--jobs=2", "--out=cut")
    wait_for(process, HOLDER, tmp_path / "cut" / "units")
    process.send_signal(signal.SIGINT)
    # Python hears of a signal when what is being compiled is: on a busy machine, late.
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "stopped; continue with --resume=cut" in said
    until = time.monotonic() + 60
    while is_running(process.pid):
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture
def units(tmp_path):
    """Of a sweep with one trial each of single-task models and three methods."""
    config = find_experiment("multi_digits").get_config()
    config.data = "multi_digits(num_train=64, num_valid=32, num_test=32)"
    config.methods = ("fixed_weighting", "mgda", "cagrad")
    return plan(StoredSweep(StoredRun("multi_digits", config, None), 1)).folders(
        tmp_path
    )


def test_a_unit_whose_process_ends_has_failed_and_the_others_go_on(
    units, monkeypatch, capsys
):
    holder, finished = HOLDER, FINISHED

    def one(unit, folder, command, cache):
        """In a worker: mgda takes all memory, whenever it is run."""
        import os
        import signal
        import time

        folder.mkdir(parents=True, exist_ok=True)
        (folder / holder).write_text("{}")
        if unit.method == "mgda":
            time.sleep(0.5)  # the units beside it have begun
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / finished).write_text('{"scores": [1.0], "metrics": {}, "notes": []}')
        (folder / holder).unlink()
        return unit

    monkeypatch.setattr(workers, "_one", one)
    workers.run_units(units, 2, None, None)
    found = {unit.method: read_outcome(folder) for folder, unit in units.items()}
    assert "its process has ended" in found.pop("mgda").notes[0]
    assert [outcome.notes for outcome in found.values()] == [(), (), ()]
    assert "one at a time" in capsys.readouterr().out


def test_an_error_that_is_no_units_is_raised(units, monkeypatch):
    def one(unit, folder, command, cache):
        raise OSError("the disk is full")

    monkeypatch.setattr(workers, "_one", one)
    with pytest.raises(OSError, match="the disk is full"):
        workers.run_units(units, 2, None, None)
