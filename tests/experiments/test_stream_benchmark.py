"""The benchmark of streams: its lines, and eight gigabytes through less than two."""

import json
import subprocess
import sys

import pytest

from tests.helpers.repository import ROOT

CHEAP = "--stream_model=tests.helpers.pixel_model:coarse"


def benchmark(*flags):
    """What it prints."""
    run = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.stream", CHEAP, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


def test_a_line_for_each_number_of_threads():
    flags = ("--stream_gb=0.02", "--stream_workers=1", "--stream_workers=2")
    head, *lines = benchmark(*flags).splitlines()
    assert head.split() == ["workers", "GB", "step", "ms", "waiting", "peak", "MB"]
    assert [line.split()[:2] for line in lines] == [["1", "0.02"], ["2", "0.02"]]


@pytest.mark.slow
def test_eight_gigabytes_pass_through_less_than_two_at_length():
    flags = ("--stream_gb=8", "--stream_workers=2", "--stream_json")
    found = json.loads(benchmark(*flags))
    print(f"steps wait {found['waiting']:.0%} of the time, peak {found['peak_mb']} MB")
    assert found["gigabytes"] >= 7.99
    assert found["peak_mb"] < 2000
    assert 0 <= found["waiting"] <= 1
