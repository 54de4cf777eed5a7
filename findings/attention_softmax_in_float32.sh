#!/usr/bin/env bash
# Attention of float64 arrays has the accuracy of float32.
#
# Versions: jax 0.10.2, jaxlib 0.10.2, flax 0.12.8, CPU, jax_enable_x64.
# Guess: of float64 queries, keys and values jax.nn.dot_product_attention gives what the
#   formula gives in float64, to about 1e-15, as jax.nn.softmax does.
# Seen: a float64 array, 6e-8 from the formula. The softmax inside is computed in float32
#   and cast back. flax.nnx.dot_product_attention differs as much, and so does
#   nnx.MultiHeadAttention, which calls it.
# It matters to anyone who checks a transformer against a float64 reference, or its
# gradients against finite differences: errors of 1e-8 are not the model's.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "jax==0.10.2" "jaxlib==0.10.2" "flax==0.12.8"
JAX_PLATFORMS=cpu JAX_ENABLE_X64=1 "$folder/venv/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

rng = np.random.default_rng(0)
query, key, value = (jnp.asarray(rng.normal(size=(1, 5, 2, 4))) for _ in range(3))
scores = jnp.einsum("bthd,bshd->bhts", query, key) / 4**0.5
expected = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), value)
by_hand = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
print(f"jax.nn.softmax: {abs(jax.nn.softmax(scores) - by_hand).max():.0e} off")
assert abs(jax.nn.softmax(scores) - by_hand).max() < 1e-15
for name, attention in {
    "jax.nn": jax.nn.dot_product_attention,
    "flax.nnx": nnx.dot_product_attention,
}.items():
    found = attention(query, key, value)
    off = float(abs(found - expected).max())
    print(f"{name}.dot_product_attention: {found.dtype}, {off:.0e} off")
    assert found.dtype == jnp.float64, "this has changed"
    assert 1e-9 < off < 1e-6, "this has changed"
PYTHON
