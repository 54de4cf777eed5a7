"""A run in two processes: what it writes, how it dies, and where it can go on."""

import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from mtopt.training.checkpoint import Checkpoints
from tests.helpers.commands import KILLED, SMALL, environment, run, run_here

FLAGS = [*SMALL, "--method=mgda", "--config.single_task=false"]


def free_port():
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return taken.getsockname()[1]


def in_two_processes(folder, *flags, start=("-m", "experiments.main")):
    """Exit statuses and what was printed; each process has two devices."""
    env = environment(folder)
    env["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    )
    shared = [f"--coordinator=localhost:{free_port()}", "--num_processes=2"]
    processes = [
        subprocess.Popen(
            [sys.executable, *start, *flags, *shared, f"--process_id={i}"],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    printed = [process.communicate(timeout=600) for process in processes]
    return [process.returncode for process in processes], printed


def numbers(folder):
    """Losses and weights of all training records."""
    lines = (folder / "mgda/seed-0-1/metrics.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if "weights" in record]
    assert [record["step"] for record in records[::2]] == [10, 20, 30, 40, 50, 60]
    return np.array(
        [[*record["loss"].values(), *record["weights"].values()] for record in records]
    )


@pytest.mark.slow  # four processes
def test_two_processes_train_are_killed_and_go_on_in_one(tmp_path, monkeypatch):
    grid = "--config.devices.data=4"
    killed, _ = in_two_processes(
        tmp_path, *FLAGS, grid, "--out=cut", start=("-c", KILLED)
    )
    assert -signal.SIGKILL in killed
    with Checkpoints(tmp_path / "cut/mgda/seed-0-1/checkpoints") as stored:
        assert stored.latest == 20
    run_here(tmp_path, monkeypatch, "--resume=cut", "--config.devices.data=1")
    run_here(tmp_path, monkeypatch, *FLAGS, "--out=alone")
    wanted = numbers(tmp_path / "alone")
    np.testing.assert_allclose(numbers(tmp_path / "cut"), wanted, rtol=0, atol=1e-3)


@pytest.mark.slow  # two processes
def test_the_first_process_alone_writes_and_prints(tmp_path):
    statuses, printed = in_two_processes(
        tmp_path, *FLAGS, "--config.devices.data=4", "--out=here"
    )
    assert statuses == [0, 0], printed
    assert printed[0][0].rstrip().splitlines()[-1].split() == ["folder", "here"]
    # What connects the processes says so itself.
    own = [line for line in printed[1][0].splitlines() if not line.startswith("[Gloo]")]
    assert not own
    for name in (
        "config.json",
        "results.json",
        "test.png",
        "mgda/seed-0-1/result.json",
    ):
        assert (tmp_path / "here" / name).exists()
    assert np.isfinite(numbers(tmp_path / "here")).all()


MISUSE = [
    (["--num_processes=2"], "--num_processes and --process_id need --coordinator"),
    (["--coordinator=a:1"], "needs --out"),
    (["--coordinator=a:1", "--out=o"], "needs --num_processes and --process_id"),
    (
        ["--experiment=toy", "--coordinator=a:1", "--out=o"],
        "toy runs on one device: drop --coordinator",
    ),
    (["--config.devices.data=0"], "devices.data is 0"),
    (["--config.devices.data=3"], "data=3, task=1 on 1 devices (cpu)"),
    (["--config.devices.parameters=some"], "devices.parameters is 'some'"),
]


@pytest.mark.parametrize(("flags", "message"), MISUSE, ids=str)
def test_misuse_of_devices_is_one_clear_line(
    flags, message, tmp_path, monkeypatch, capfd
):
    small = [] if "--experiment=toy" in flags else SMALL  # its fields are others
    with pytest.raises(SystemExit) as stop:
        run_here(tmp_path, monkeypatch, *small, *flags)
    assert stop.value.code == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # a process
def test_samples_that_cannot_be_dealt_out_are_refused_before_a_file_is_made(tmp_path):
    result = run(
        tmp_path,
        *SMALL,
        "--config.devices.data=3",
        XLA_FLAGS="--xla_force_host_platform_device_count=3",
    )
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert "batch_size is 32" in line
    assert not list(tmp_path.glob("runs/*"))
