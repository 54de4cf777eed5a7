#!/usr/bin/env bash
# jax.lax.optimization_barrier does not keep XLA:CPU from computing a value again in every
# fusion that reads it.
#
# Versions: jax 0.10.2, jaxlib 0.10.2, CPU.
# Guess: behind a barrier, a sine that three sums read is computed once, so that the
#   compiler counts a third of the transcendental operations.
# Seen: 196608 = 3 x 65536 of them with the barrier and without, and three sines in the
#   compiled program: the barrier is gone before fusion duplicates what is cheap to repeat.
# It matters to anyone who counts FLOPs of compiled steps: a mask made once for all tasks is
# counted as often as it is read.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "jax==0.10.2" "jaxlib==0.10.2"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp

SIZE = 256


def three_sums(barrier, mask, *values):
    weight = jnp.sin(mask)
    if barrier:
        weight = jax.lax.optimization_barrier(weight)
    ones = jnp.ones((SIZE, 4))
    return [jnp.where(weight > 0, value, 0) @ ones for value in values]


arguments = [jnp.ones((SIZE, SIZE))] * 4
counts = {}
for barrier in (False, True):
    program = jax.jit(three_sums, static_argnums=0).lower(barrier, *arguments).compile()
    sines = program.as_text().count(" sine(")
    counts[barrier] = program.cost_analysis()["transcendentals"], sines
    print(f"barrier={barrier}: transcendentals, sines in the program: {counts[barrier]}")
assert counts[False] == counts[True] == (3 * SIZE * SIZE, 3), "this has changed"
PYTHON
