#!/usr/bin/env bash
# Saving parameters by safetensors.flax turns the caller's own jax arrays into NumPy's.
#
# Versions: safetensors 0.8.0, jax 0.10.2, numpy 2.4.1, CPU.
# Guess: safetensors.flax.save(params) reads the dict that it is given.
# Seen: afterwards the same dict holds numpy.ndarray in the place of every jax.Array; nothing
#   in the documentation says so. safetensors.flax.save_file does the same.
# It matters in a training loop that saves now and then: the next step is given arrays on the
# host, which are sent to the device again, and what only jax arrays have, such as
# w.at[0].set(1), fails. Save a copy of the dict: save(dict(params)).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "safetensors==0.8.0" "jax==0.10.2" "jaxlib==0.10.2" "numpy==2.4.1"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - "$folder" <<'PYTHON'
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.flax import save, save_file

path = pathlib.Path(sys.argv[1]) / "params.safetensors"
for name, write in {"save": save, "save_file": lambda p: save_file(p, path)}.items():
    params, copied = {"w": jnp.ones(3)}, {"w": jnp.ones(3)}
    write(params)
    write(dict(copied))
    print(f"after {name}(params): {type(params['w']).__name__};",
          f"after {name}(dict(params)): {type(copied['w']).__name__}")
    assert type(params["w"]) is np.ndarray
    assert isinstance(copied["w"], jax.Array)
PYTHON
