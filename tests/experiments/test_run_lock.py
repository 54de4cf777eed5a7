"""Two runs do not write to one folder."""

import json
import signal
import subprocess
import sys
import threading

import pytest

from experiments.common.run_lock import held, new_folder
from mtopt.errors import UserError
from tests.helpers.commands import KILLED, SMALL, environment, run_here


def test_the_second_is_told_who_holds_the_folder(tmp_path):
    folder = tmp_path / "run"
    with held(folder):
        holder = json.loads((folder / "running.json").read_text())
        told = f"process {holder['process']} on"
        with pytest.raises(UserError, match=told) as error, held(folder):
            pass
        assert "\n" not in str(error.value)
    assert not (folder / "running.json").exists()
    with held(folder):
        pass


HOLDING = """
import pathlib, sys, time
from experiments.common.run_lock import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_another_process_is_refused_until_the_first_is_gone_however(
    tmp_path, monkeypatch, capfd
):
    folder = tmp_path / "here"
    flags = (*SMALL, "--method=mgda", "--config.steps=2", "--out=here")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(folder)],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "held\n"
            with pytest.raises(SystemExit) as stop:
                run_here(tmp_path, monkeypatch, *flags)
        finally:
            first.send_signal(signal.SIGKILL)
    assert stop.value.code == 2
    message = capfd.readouterr().err.strip()
    assert message.startswith("error: here is written by another run (process")
    assert "\n" not in message
    assert not (folder / "config.json").exists()
    # What it left behind holds nothing.
    run_here(tmp_path, monkeypatch, *flags)
    assert (folder / "results.json").exists()


def test_a_killed_run_lets_go_of_its_folder(tmp_path, monkeypatch):
    flags = [*SMALL, "--method=mgda", "--config.single_task=false", "--out=cut"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *flags],
        cwd=tmp_path,
        env=environment(tmp_path),
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "cut/running.json").exists()
    run_here(tmp_path, monkeypatch, "--resume=cut")
    assert not (tmp_path / "cut/running.json").exists()


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path):
    made, start = [], threading.Barrier(8)

    def make():
        start.wait()
        made.append(new_folder(tmp_path / "runs/multi_digits-20260101-120000"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*made}) == 8
    assert all(folder.is_dir() for folder in made)


def test_a_finished_run_is_not_written_over(tmp_path, monkeypatch, capfd):
    flags = (*SMALL, "--method=mgda", "--config.steps=2", "--out=here")
    run_here(tmp_path, monkeypatch, *flags)
    before = (tmp_path / "here/results.json").read_bytes()
    with pytest.raises(SystemExit):
        run_here(tmp_path, monkeypatch, *flags)
    assert "here exists already" in capfd.readouterr().err
    assert (tmp_path / "here/results.json").read_bytes() == before


@pytest.mark.parametrize("make", [new_folder, lambda folder: held(folder).__enter__()])
def test_a_folder_inside_of_a_file_is_one_line(tmp_path, make):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot make the folder .*name another --out"):
        make(tmp_path / "file" / "runs" / "mine")
