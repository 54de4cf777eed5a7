#!/usr/bin/env bash
# safetensors writes a jax array of another memory layout with its numbers in another order.
#
# Versions: safetensors 0.8.0, jax 0.10.2, numpy 2.4.1, CPU.
# Guess: safetensors.flax.save writes what an array holds, or refuses it. Its documentation
#   asks for contiguous and dense arrays; a jax array has no strides that a user sees, and
#   jax.Array is what the module is for.
# Seen: of a 2 x 3 array that jax.device_put has laid out column by column, the file has the
#   same shape and the numbers of memory: [[0, 3, 1], [4, 2, 5]] for [[0, 1, 2], [3, 4, 5]].
#   No error, no warning. numpy.asarray of such an array is a view with Fortran strides, of
#   which safetensors takes the pointer.
# It matters to anyone who lets XLA choose layouts (jax.experimental.layout) and saves
# parameters: give it numpy.ascontiguousarray(array).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "safetensors==0.8.0" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.1"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Format, Layout
from safetensors.flax import load, save

here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
usual = jnp.arange(6.0).reshape(2, 3)
columns = jax.device_put(usual, Format(Layout((1, 0)), here))
print("the array:", np.asarray(columns).tolist())
read = {name: load(save({"w": x}))["w"] for name, x in
        {"row by row": usual, "column by column": columns}.items()}
for name, found in read.items():
    print(f"saved and loaded, {name}:", found.tolist())

assert (np.asarray(columns) == np.asarray(usual)).all()
assert (read["row by row"] == usual).all()
assert read["column by column"].tolist() == [[0, 3, 1], [4, 2, 5]]
PYTHON
