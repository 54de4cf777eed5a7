#!/usr/bin/env bash
# flax.nnx.vmap maps over the defaults of arguments that nobody passed.
#
# Versions: flax 0.12.8, jax 0.10.2, CPU.
# Guess: nnx.vmap(make)(rngs) with make(rngs, features=3) makes a stack of layers, each
#   with three features: a default stays as it is, as under jax.vmap and nnx.jit.
# Seen: with an integer a ValueError that a rank of 0 can't be mapped, with a dtype a
#   TypeError that it can't be read as an array: nnx.vmap binds the defaults, and maps them
#   along axis 0 with the rest. jax.vmap and nnx.jit of the same functions work.
# It matters to anyone who stacks modules, experts or ensembles, by a constructor with
# options: wrap it in a lambda that takes rngs alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "jax==0.10.2" "jaxlib==0.10.2" "flax==0.12.8"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp
from flax import nnx


def with_number(rngs, features=3):
    return nnx.Linear(features, 2, rngs=rngs)


def with_dtype(rngs, dtype=jnp.float32):
    return nnx.Linear(3, 2, dtype=dtype, rngs=rngs)


def stacked(make):
    build = nnx.split_rngs(splits=4)(nnx.vmap(make, in_axes=0, out_axes=0))
    return build(nnx.Rngs(0)).kernel.shape


for make, kind in ((with_number, ValueError), (with_dtype, TypeError)):
    alone = stacked(lambda rngs: make(rngs))
    try:
        found = stacked(make)
    except kind as error:
        found = f"{type(error).__name__}: {str(error)[:70]}"
    print(f"{make.__name__}: behind a lambda {alone}, itself {found}")
    assert alone == (4, 3, 2) and isinstance(found, str), "this has changed"


def scaled(x, factor=3):
    return x * factor


assert jax.vmap(scaled)(jnp.ones(2)).tolist() == [3.0, 3.0]
assert nnx.jit(scaled)(jnp.ones(2)).tolist() == [3.0, 3.0]
PYTHON
