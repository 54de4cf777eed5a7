#!/usr/bin/env bash
# A flag that is joined from n arrays and decides about n arrays is a program of n * n
# operations on a CPU: XLA computes the whole chain of "or" again in the part of every array.
#
# Versions: jax 0.10.2, CPU.
# Guess: a scalar that many arrays wait for is computed once, whatever it is computed from.
# Seen: jnp.where(flag, old, new) for each of n arrays, with flag = bad_1 | bad_2 | ... | bad_n:
#   the compiled program has n * n "or": 3,151 lines for 32 arrays and 37,039 for 128, which
#   take 20 s to compile. jnp.stack([...]).any() is taken apart into the same chain. A
#   product, jnp.dot(flags, flags) > 0, is not copied: 5,078 lines, 0.7 s.
# It matters to anyone who guards a step against numbers that are not finite ("if any
#   gradient is NaN, keep the state"): a ResNet with an optimizer of two moments has 240 arrays.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "jax==0.10.2" "jaxlib==0.10.2"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import functools
import operator
import time

import jax
import jax.numpy as jnp


def by_or(flags):
    return functools.reduce(operator.or_, flags)


def by_stack(flags):
    return jnp.stack(flags).any()


def by_product(flags):
    each = jnp.stack(flags).astype(jnp.float32)
    return jnp.dot(each, each) > 0


def lines_and_seconds(join, count):
    def step(state, gradients):
        new = [old - 0.1 * g for old, g in zip(state, gradients)]
        bad = join([(~jnp.isfinite(each)).any() for each in new])
        return [jnp.where(bad, old, each) for old, each in zip(state, new)]

    arrays = [jnp.ones((8, 8))] * count
    lowered = jax.jit(step).lower(arrays, arrays)
    started = time.process_time()
    text = lowered.compile().as_text()
    return len(text.splitlines()), time.process_time() - started


lines = {}
for join in (by_or, by_stack, by_product):
    for count in (32, 128):
        lines[join, count], seconds = lines_and_seconds(join, count)
        print(f"{join.__name__}, {count} arrays: {lines[join, count]} lines, {seconds:.1f} s")
growth = {join: lines[join, 128] / lines[join, 32] for join in (by_or, by_stack, by_product)}
assert growth[by_or] > 8, "this has changed"
assert growth[by_stack] > 8, "this has changed"
assert growth[by_product] < 4.5, "this has changed"
PYTHON
