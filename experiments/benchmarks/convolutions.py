"""What convolutions cost on this machine: ``mtopt benchmark convolutions``.

Every line is one computation twice, in turns: by the form that
:func:`mtopt.models.convolution.form_of` chooses, and by ``lax.conv_general_dilated``
(``native``). First kinds of layers, then LeNet (256 images of 36 x 36 pixels, one
channel) and ResNet-18 (16 images of 32 x 32 pixels, three channels).

* ``forward``: the layer, or the losses;
* ``gradient``: by the kernel, and by the inputs where they are not the images; for a
  model, that of the mean loss;
* ``K rows``: the same for K cotangents, or the gradients of K losses;
* ``4 seeds``: the gradient with four kernels, each on a fourth of the images.

Times are CPU time (wall-clock time on another platform), minima over rounds: read the
ratios, ``ms`` over ``native``. ``MB`` is the temporary memory of both.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
from absl import flags

import mtopt
from mtopt.models import convolution as forms
from mtopt.models import lenet, resnet18

from ..common.command import command, start
from .clock import fastest

NETWORKS = flags.DEFINE_multi_enum(
    "network", ["lenet", "resnet"], ["lenet", "resnet"], "A network; repeat it."
)
ROWS = flags.DEFINE_multi_integer(
    "rows", [2, 8], "Number of gradients at once; repeat it.", lower_bound=1
)
IMAGES = flags.DEFINE_integer(
    "images", None, "Images of a batch, in place of a line's own.", lower_bound=4
)
REPEATS = flags.DEFINE_integer("repeats", 5, "Rounds of timing.", lower_bound=1)

ROUND_SECONDS = 0.03  # what one side is timed for in each round, at least one call


class Layer(NamedTuple):
    """One convolution: pixels, channels in and out, kernel, stride, padding, images."""

    pixels: int
    inputs: int
    outputs: int
    size: int
    stride: int
    padding: int
    images: int


LAYERS = {
    "lenet conv1": Layer(36, 1, 10, 5, 1, 0, 256),
    "lenet conv2": Layer(16, 10, 20, 5, 1, 0, 256),
    "resnet stage 1": Layer(32, 64, 64, 3, 1, 1, 16),
    "resnet shortcut": Layer(32, 64, 128, 1, 2, 0, 16),
    "resnet stage 3": Layer(8, 256, 256, 3, 1, 1, 16),
    "resnet stage 4": Layer(4, 512, 512, 3, 1, 1, 16),
}
"""The kinds of layers that the rule tells apart."""

Call = Callable[..., Any]
Computation = tuple[str, Call, tuple[Any, ...]]


@command
def main(argv: list[str]) -> None:
    """Measures, and prints each line as it is known."""
    del argv
    device = jax.devices()[0]
    print(f"jax {jax.__version__} on {device.device_kind}, float32\n")
    head = (
        f"{'convolution of':<16}  {'form':<8}  {'computation':<11}  {'ms':>8}  "
        f"{'native':>8}  {'ratio':>5}  {'MB':>5}  {'native':>6}"
    )
    print(f"{head}\n{'-' * len(head)}", flush=True)
    for name, layer in LAYERS.items():
        if name.split()[0] in NETWORKS.value:
            pixels = (layer.pixels + 2 * layer.padding - layer.size) // layer.stride + 1
            kernel = layer.size, layer.size, layer.inputs, layer.outputs
            form = forms.form_of((pixels, pixels), kernel, device.platform)
            _print(name, form.name, of_layer(layer))
    for name in NETWORKS.value:
        _print(name, "", of_network(name))


def of_layer(layer: Layer) -> Iterable[Computation]:
    """The computations of one layer."""
    images = IMAGES.value or layer.images
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (images, layer.pixels, layer.pixels, layer.inputs))
    shape = (4, layer.size, layer.size, layer.inputs, layer.outputs)
    kernels = jax.random.normal(keys[1], shape)
    padding = ((layer.padding, layer.padding),) * 2

    def forward(kernel: Any, x: Any) -> Any:
        return forms.convolution(x, kernel, (layer.stride,) * 2, padding)

    def gradient(kernel: Any, x: Any, cotangents: Any) -> Any:
        if layer.inputs > 3:
            _, pull = jax.vjp(forward, kernel, x)
        else:
            _, pull = jax.vjp(lambda kernel: forward(kernel, x), kernel)
        return jax.vmap(pull)(cotangents) if cotangents.ndim == 5 else pull(cotangents)

    out = jax.eval_shape(forward, kernels[0], x).shape
    one = jax.random.normal(keys[2], out)
    yield "forward", forward, (kernels[0], x)
    yield "gradient", gradient, (kernels[0], x, one)
    for k in ROWS.value:
        many = jax.random.normal(keys[3], (k, *out))
        yield f"{k} rows", gradient, (kernels[0], x, many)
    parts = [a[: images // 4 * 4].reshape(4, -1, *a.shape[1:]) for a in (x, one)]
    yield "4 seeds", jax.vmap(gradient), (kernels, *parts)


def of_network(name: str) -> Iterable[Computation]:
    """The computations of a network, for each number of tasks."""
    make, shape, images = {
        "lenet": (lenet, (36, 36, 1), 256),
        "resnet": (resnet18, (32, 32, 3), 16),
    }[name]
    images = IMAGES.value or images
    for k in ROWS.value:
        names = tuple(f"task_{task:02d}" for task in range(k))
        model = make(shape, names=names, kind="classification", outputs=10)
        params, state = jax.jit(model.init)(jax.random.key(0))
        x, y = jax.random.split(jax.random.key(1))
        batch = mtopt.Batch(
            jax.random.normal(x, (images, *shape)),
            jax.random.randint(y, (k, images), 0, 10),
            jnp.ones((k, images), bool),
        )

        def problem(batch: Any, model: Any = model, state: Any = state) -> Any:
            return model.tasks.problem(batch, jax.random.key(2), state)

        def losses(params: Any, batch: Any, problem: Call = problem) -> Any:
            return problem(batch).losses(params)

        def plain(params: Any, batch: Any, losses: Call = losses) -> Any:
            return jax.grad(lambda params: losses(params, batch).mean())(params)

        def rows(params: Any, batch: Any, problem: Call = problem) -> Any:
            return problem(batch).losses_and_grads(params)

        if k == ROWS.value[0]:
            yield "forward", losses, (params, batch)
            yield "gradient", plain, (params, batch)
        yield f"{k} rows", rows, (params, batch)


def _print(name: str, form: str, computations: Iterable[Computation]) -> None:
    for what, call, arguments in computations:
        ours, mb = _compiled(call, arguments)
        with mock.patch.object(forms, "form_of", return_value=forms.NATIVE):
            native, native_mb = _compiled(call, arguments)
        a, b = fastest([ours, native], REPEATS.value, ROUND_SECONDS)
        print(
            f"{name:<16}  {form:<8}  {what:<11}  {1e3 * a:>8.2f}  {1e3 * b:>8.2f}  "
            f"{a / b:>5.2f}  {mb:>5.0f}  {native_mb:>6.0f}",
            flush=True,
        )


def _compiled(call: Call, arguments: tuple[Any, ...]) -> tuple[Call, float]:
    """A call without arguments, and the megabytes that it takes."""
    # A new function: jax.jit keeps the program of one that it has seen.
    function = jax.jit(lambda *arguments: call(*arguments))
    program = function.lower(*arguments).compile()
    memory = program.memory_analysis()
    megabytes = memory.temp_size_in_bytes / 1e6 if memory else float("nan")
    return lambda: jax.block_until_ready(program(*arguments)), megabytes


if __name__ == "__main__":
    start(main)
