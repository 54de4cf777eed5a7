"""How the suite has JAX and XLA compile."""

import functools
import itertools
import threading
from importlib.metadata import version

TRIED = version("jaxlib").startswith("0.10.")
# Nearly all of the suite's time is compilation, of programs that run for milliseconds.
# A jaxlib aborts on a flag that it does not know: on versions not tried there is none.
SUITE_FLAGS = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    if TRIED
    else ""
)
PROGRAMS_PER_CONTEXT = 100


def share_contexts() -> None:
    """Has a hundred programs lowered in one MLIR context, where JAX makes one for each.

    A context takes 4 ms of the 20 that a program of one operation takes to be lowered
    and compiled, and most programs of the suite are no larger. What a context has seen
    it keeps, so that one does not stay for good. Threads have their own, and so has a
    program that is lowered while another is.
    """
    if not TRIED:  # JAX has no public name for this.
        return
    from jax._src.interpreters import mlir
    from jaxlib.mlir import ir

    make, count = mlir.make_ir_context, itertools.count()
    of = functools.lru_cache(maxsize=4)(lambda thread, hundred: make())

    def make_ir_context() -> ir.Context:
        try:
            _ = ir.Context.current
        except ValueError:  # none
            return of(threading.get_ident(), next(count) // PROGRAMS_PER_CONTEXT)
        return make()

    mlir.make_ir_context = make_ir_context
