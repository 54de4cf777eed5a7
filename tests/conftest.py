"""What every test runs under: CPU, strict ranks, a compilation cache."""

import os
import pathlib
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Nearly all of the suite's time is compilation, of programs that run for milliseconds.
# Processes that tests start inherit this; XLA_FLAGS="" runs the suite without it. A
# jaxlib aborts on a flag that it does not know: on versions not tried it goes without.
if version("jaxlib").startswith("0.10."):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )

import jax
import pytest
from absl import flags

from tests.helpers.repository import ROOT

# grain and tfds read absl flags, and under pytest nobody parses them.
flags.FLAGS.mark_as_parsed()
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update(
    "jax_compilation_cache_dir",
    str(ROOT / ".jax_cache"),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


@pytest.fixture
def data_dir() -> pathlib.Path:
    """The folder of real data sets that MTOPT_DATA_DIR names; skips without it."""
    folder = os.environ.get("MTOPT_DATA_DIR")
    if not folder:
        pytest.skip("MTOPT_DATA_DIR is not set: no real data to train on")
    return pathlib.Path(folder)
