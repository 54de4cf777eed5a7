#!/usr/bin/env bash
# The gradient of one entry of a stack of losses goes back through all of them.
#
# Versions: jax 0.10.2, jaxlib 0.10.2, CPU.
# Guess: under jax.jit, the gradient of jnp.stack(losses)[k] with k a Python number costs
#   what the gradient of losses[k] costs: the other losses get a cotangent of zeros, and
#   products with zeros are dropped.
# Seen: with eight losses on one layer, each behind a layer of its own, 16966144 FLOPs and
#   5812288, 2.92 times as many. jnp.array(losses)[k], jnp.concatenate and a slice by
#   jax.lax.index_in_dim are the same: the zeros are made in the program, and XLA does not
#   see through the slices that hand them out.
# It matters to anyone who takes per-task gradients one by one of a function that returns
# the vector of losses: K gradients cost K times all backward passes. Return a list, or
# pull the rows of an identity back at once.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "jax==0.10.2" "jaxlib==0.10.2"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp

TASKS, SAMPLES, INPUTS, WIDTH = 8, 64, 128, 32
TASK = 3
x = jnp.ones((SAMPLES, INPUTS))
heads = [jnp.ones((WIDTH, 1))] * TASKS
shared = {
    "first": jnp.ones((INPUTS, INPUTS)),
    "own": [jnp.ones((INPUTS, WIDTH))] * TASKS,
}


def losses(shared):
    z = jnp.tanh(x @ shared["first"])
    return [
        ((jnp.tanh(z @ own) @ head) ** 2).mean()
        for own, head in zip(shared["own"], heads)
    ]


forms = {
    "losses[k]": lambda shared: losses(shared)[TASK],
    "stack(losses)[k]": lambda shared: jnp.stack(losses(shared))[TASK],
    "index_in_dim": lambda shared: jax.lax.index_in_dim(
        jnp.stack(losses(shared)), TASK, keepdims=False
    ),
}
flops = {}
for name, loss in forms.items():
    program = jax.jit(jax.grad(loss)).lower(shared).compile()
    flops[name] = program.cost_analysis()["flops"]
    print(f"{name}: {flops[name]:.0f} FLOPs")
ratio = flops["stack(losses)[k]"] / flops["losses[k]"]
assert ratio > 2.5, "this has changed"
assert flops["index_in_dim"] == flops["stack(losses)[k]"], "this has changed"
PYTHON
