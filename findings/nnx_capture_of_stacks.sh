#!/usr/bin/env bash
# flax.nnx.capture fails for a stack of modules that keeps its layers in a list.
#
# Versions: flax 0.12.8, jax 0.10.2, CPU.
# Guess: nnx.capture(module, Seen, method_outputs=Seen) runs any module that runs, and
#   notes what its methods return; layers in an nnx.List are as good as attributes.
# Seen: a module that maps over a stack of others by nnx.vmap is captured where these keep
#   a layer as an attribute. Where they keep the same layer in an nnx.List, the module runs,
#   and its capture raises a ValueError: places in the list are numbers, names of what was
#   seen are strings, and JAX can't sort the two as keys of one dictionary.
# It matters to anyone who looks into mixtures of experts or ensembles, whose members are
# MLPs as a rule.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "jax==0.10.2" "jaxlib==0.10.2" "flax==0.12.8"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import jax.numpy as jnp
from flax import nnx


class Seen(nnx.Intermediate):
    pass


class AsAttribute(nnx.Module):
    def __init__(self, rngs):
        self.layer = nnx.Linear(3, 3, rngs=rngs)

    def __call__(self, x):
        return self.layer(x)


class InList(nnx.Module):
    def __init__(self, rngs):
        self.layers = nnx.List([nnx.Linear(3, 3, rngs=rngs)])

    def __call__(self, x):
        return self.layers[0](x)


class Stacked(nnx.Module):
    def __init__(self, member, rngs):
        build = nnx.vmap(member, in_axes=0, out_axes=0)
        self.stack = nnx.split_rngs(splits=4)(build)(rngs)

    def __call__(self, x):
        each = nnx.vmap(lambda member, x: member(x), in_axes=(0, None))
        return each(self.stack, x)


def captured(member):
    module = Stacked(member, nnx.Rngs(0))
    assert module(jnp.ones((2, 3))).shape == (4, 2, 3)
    looked_at = nnx.capture(module, Seen, method_outputs=Seen)
    return looked_at(jnp.ones((2, 3)))[0].shape


print("as an attribute:", captured(AsAttribute))
try:
    found = captured(InList)
except ValueError as error:
    found = f"ValueError: {error}"
print("in a list:", found)
assert str(found).startswith("ValueError"), "this has changed"
PYTHON
