"""What every test runs under: CPU, strict ranks, a compilation cache."""

import os
import pathlib

from tests.helpers.repository import ROOT
from tests.helpers.xla import SUITE_FLAGS, share_contexts

# Set before jax is imported, and inherited by the processes that tests start;
# XLA_FLAGS="" runs the suite on programs as users' are.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", SUITE_FLAGS)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
# Where in Python an operation was written, which under pytest is some sixty frames.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# Threads of OpenMP and of BLAS wait by spinning: on small arrays and busy cores they
# take many times the time of one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest
from absl import flags
from threadpoolctl import threadpool_limits

# What pytest's plugins have loaded has read the environment already.
threadpool_limits(1)

# grain and tfds read absl flags, and under pytest nobody parses them.
flags.FLAGS.mark_as_parsed()
jax.config.update("jax_numpy_rank_promotion", "raise")
share_contexts()


@pytest.fixture
def x64():
    """Programs in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def data_dir() -> pathlib.Path:
    """The folder of real data sets that MTOPT_DATA_DIR names; skips without it."""
    folder = os.environ.get("MTOPT_DATA_DIR")
    if not folder:
        pytest.skip("MTOPT_DATA_DIR is not set: no real data to train on")
    return pathlib.Path(folder)
