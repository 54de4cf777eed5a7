"""What stands in the repository is written by hand, or small."""

import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LARGEST = 1_000_000
"""Bytes of a file: three times the largest notebook with its pictures."""


@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(),
    reason="needs git and a checkout",
)
def test_no_download_is_committed():
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    found = [ROOT / name for name in names if name]
    assert found
    # One that was deleted and is not yet committed has no size.
    there = [path for path in found if path.is_file()]
    large = [path for path in there if path.stat().st_size > LARGEST]
    assert not large
