"""Flax models behind plain functions: ``MODELS["lenet"]((28, 28, 1), names=...)``."""

from collections.abc import Callable

from mtopt.models.functional import Model as Model
from mtopt.models.functional import functional as functional
from mtopt.models.joint import JointModel as JointModel
from mtopt.models.joint import join as join
from mtopt.models.lenet import lenet
from mtopt.models.mlp import mlp
from mtopt.models.mmoe import mmoe
from mtopt.models.pooled_mlp import pooled_mlp
from mtopt.models.resnet import resnet18
from mtopt.models.serialization import register_stacks
from mtopt.models.set_attention import set_attention
from mtopt.models.transformer import transformer

register_stacks()

MODELS: dict[str, Callable[..., Model]] = {
    "lenet": lenet,
    "mlp": mlp,
    "mmoe": mmoe,
    "pooled_mlp": pooled_mlp,
    "resnet18": resnet18,
    "set_attention": set_attention,
    "transformer": transformer,
}
"""Every model by its name: ``(input_shape, *, names, kind, outputs, x_axis, dtype, ...)
-> Model``, with options of its own after those."""
