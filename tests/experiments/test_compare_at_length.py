"""Two sets, four methods, two seeds: killed again and again, and on a cluster."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers import npz
from tests.helpers.commands import environment
from tests.helpers.sweeps import TINY, ended, kill, started, wait_for

pytestmark = pytest.mark.slow

TWO_SETS = [
    *(flag for flag in TINY if not flag.startswith("--config.data")),
    "--experiments=multi_digits,sarcos",
    "--method=equal_weighting",
    "--method=mgda",
    "--method=cagrad",
    "--trials=2",
    "--data_dir=sets",
]
UNITS = 2 * 5 * 2


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the second set is."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "sets" / "sarcos_test").mkdir(parents=True)
    npz.save(folder / "sets" / "sarcos_test", **npz.shared()).rename(
        folder / "sets" / "sarcos_test" / "data.npz"
    )
    return folder


@pytest.fixture(scope="module")
def whole(place):
    """What a sweep comes to that nothing has stopped, and the seconds it took."""
    begun = time.monotonic()
    process = started(place, *TWO_SETS, "--jobs=2", "--out=whole")
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return ended(place / "whole"), time.monotonic() - begun


def finished(folder):
    """The units that have come to their end, and when."""
    found = folder.rglob("finished.json")
    return {path: path.stat().st_mtime_ns for path in found}


def test_killed_at_ten_random_moments_it_gives_the_same_table(place, whole):
    (expected, seconds), cut = whole, place / "cut"
    rng = random.Random(0)
    for _ in range(10):
        before = finished(cut)
        process = started(place, *TWO_SETS, "--jobs=2", "--out=cut")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0, seconds / 2))
        kill(process)
        after = finished(cut)
        assert {path: after[path] for path in before} == before
    process = started(place, *TWO_SETS, "--jobs=2", "--out=cut")
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert len(finished(cut)) == UNITS
    assert ended(cut) == expected


def test_on_a_cluster_that_loses_a_worker_it_gives_the_same_table(place, whole):
    pytest.importorskip("distributed")
    with contextlib.ExitStack() as stack:

        def part(*words):
            """A process of the cluster, in a group of its own."""
            process = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli." + words[0], *words[1:]],
                cwd=place,
                env=environment(place),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            stack.callback(process.wait)
            stack.callback(end, process)
            return process

        def end(process):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        at = "--port=0", "--scheduler-file=scheduler.json", "--no-dashboard"
        scheduler = part("dask_scheduler", *at)
        wait_for(scheduler, "scheduler.json", place)
        one = "--scheduler-file=scheduler.json", "--nthreads=1", "--no-dashboard"
        workers = [part("dask_worker", *one) for _ in range(2)]
        address = json.loads((place / "scheduler.json").read_text())["address"]
        process = started(place, *TWO_SETS, f"--cluster={address}", "--out=cluster")
        wait_for(process, "finished.json", place / "cluster")
        end(workers[0])
        said, _ = process.communicate()
        assert process.returncode == 0, said
    assert len(finished(place / "cluster")) == UNITS
    assert ended(place / "cluster") == whole[0]


def test_a_scheduler_that_is_not_there_is_said(place):
    pytest.importorskip("distributed")
    process = started(place, *TWO_SETS, "--cluster=tcp://127.0.0.1:9", "--out=none")
    said, _ = process.communicate()
    assert process.returncode == 2
    assert "no Dask scheduler at tcp://127.0.0.1:9" in said.splitlines()[-1]
