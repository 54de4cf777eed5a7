"""How the suite has XLA compile."""

from importlib.metadata import version

# Nearly all of the suite's time is compilation, of programs that run for milliseconds.
# A jaxlib aborts on a flag that it does not know: on versions not tried there is none.
SUITE_FLAGS = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    if version("jaxlib").startswith("0.10.")
    else ""
)
