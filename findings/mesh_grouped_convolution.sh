#!/usr/bin/env bash
# Gradients of a convolution that is mapped over its kernels and over cotangents are a
# NotImplementedError wherever a mesh is set, also one of a single device.
#
# Versions: jax 0.10.2, CPU.
# Guess: a mesh whose axes are all automatic changes where arrays lie, not what can be traced:
#   what differentiates under jit does so inside jax.set_mesh, too.
# Seen: two layers of convolutions, vmapped over two networks, and the gradient of each of two
#   losses by vmap(grad): fine without a mesh; with one a NotImplementedError without a
#   message. The transpose of a convolution states the sharding that its kernel has, which
#   under a mesh is never None, and the rule that maps a convolution of several groups
#   takes none. One layer is not enough: its images have no axis of networks.
# It matters to anyone who trains a network for each task side by side (cross-stitch, ensembles)
#   and takes gradients per task or per sample on a mesh.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "jax==0.10.2" "jaxlib==0.10.2"
JAX_PLATFORMS=cpu "$folder/venv/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp

mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
kernels, images = jnp.ones((2, 3, 3, 4, 4)), jnp.ones((5, 8, 8, 4))


def convolution(x, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=layout
    )


def networks(kernels):
    one_layer = jax.vmap(convolution, (None, 0))(images, kernels)
    return jax.vmap(convolution)(one_layer, kernels)


def gradients(kernels):
    def loss(kernels, task):
        return (networks(kernels)[task] ** 2).mean()

    return jax.vmap(jax.grad(loss), (None, 0))(kernels, jnp.arange(2))


print("without a mesh:", jax.jit(gradients)(kernels).shape)
with jax.set_mesh(mesh):
    try:
        found = jax.jit(gradients)(kernels).shape
    except NotImplementedError as error:
        found = repr(error)
print("with a mesh of one device:", found)
assert found == "NotImplementedError()", "this has changed"
PYTHON
