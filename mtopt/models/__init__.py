"""Flax models behind plain functions: ``MODELS["lenet"]((28, 28, 1), names=...)``."""

from collections.abc import Callable

from mtopt.models.cgc import cgc
from mtopt.models.cross_stitch import cross_stitch
from mtopt.models.deeplab import deeplab
from mtopt.models.dselect_k import dselect_k
from mtopt.models.field_gate import field_gate
from mtopt.models.functional import Mixtures as Mixtures
from mtopt.models.functional import Model as Model
from mtopt.models.functional import functional as functional
from mtopt.models.funnel import funnel
from mtopt.models.home import home
from mtopt.models.joint import JointModel as JointModel
from mtopt.models.joint import join as join
from mtopt.models.lenet import lenet
from mtopt.models.message_passing import message_passing
from mtopt.models.mlp import mlp
from mtopt.models.mmoe import mmoe
from mtopt.models.mtan import mtan
from mtopt.models.noted import gate as gate
from mtopt.models.one_gate import one_gate
from mtopt.models.ple import ple
from mtopt.models.pooled_mlp import pooled_mlp
from mtopt.models.resnet import resnet18
from mtopt.models.segnet import segnet
from mtopt.models.serialization import register_stacks
from mtopt.models.set_attention import set_attention
from mtopt.models.skills import skills
from mtopt.models.some_tasks import some_tasks as some_tasks
from mtopt.models.task_expert import task_expert
from mtopt.models.transformer import transformer

register_stacks()

MODELS: dict[str, Callable[..., Model]] = {
    "cgc": cgc,
    "cross_stitch": cross_stitch,
    "deeplab": deeplab,
    "dselect_k": dselect_k,
    "field_gate": field_gate,
    "funnel": funnel,
    "home": home,
    "lenet": lenet,
    "message_passing": message_passing,
    "mlp": mlp,
    "mmoe": mmoe,
    "mtan": mtan,
    "one_gate": one_gate,
    "ple": ple,
    "pooled_mlp": pooled_mlp,
    "resnet18": resnet18,
    "segnet": segnet,
    "set_attention": set_attention,
    "skills": skills,
    "task_expert": task_expert,
    "transformer": transformer,
}
"""Every model by its name: ``(input_shape, *, names, kind, outputs, x_axis, dtype, ...)
-> Model``, with options of its own after those."""
