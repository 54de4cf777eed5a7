"""Memory that is freed stays with the process that a command started."""

import ctypes
import platform
import subprocess
import sys
import types

import pytest
from absl import app

from experiments.common import allocator, command

FAULTS = """
import resource
import numpy as np
from experiments.common.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(2**23, 1.0)  # 64 MB, 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = [faults() for _ in range(2)][-1]
assert keep_freed_memory()
after = [faults() for _ in range(2)][-1]
print(before, after)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_pages_are_mapped_once(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    run = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    before, after = map(int, run.stdout.split())
    # Fewer than 16,384 where the system has larger pages.
    assert before > 0
    assert after < before / 20


@pytest.fixture
def calls(monkeypatch):
    """What glibc is told, by a stand-in for it."""
    found = []

    def mallopt(name, value):
        found.append((name, value))
        return 1

    library = types.SimpleNamespace(mallopt=mallopt)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    return found


def test_what_the_user_said_stays(calls, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1")
    assert not allocator.keep_freed_memory()
    assert calls == []
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.pthread.rseq=0")
    assert allocator.keep_freed_memory()
    assert calls == [(-3, 2**30), (-1, 2**31 - 1)]


def test_another_library_is_fine(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace())
    assert not allocator.keep_freed_memory()


def test_a_program_asks_for_it(calls, monkeypatch):
    monkeypatch.setattr(app, "run", lambda main, flags_parser: None)
    command.start(lambda argv: None)
    assert len(calls) == 2
