"""Small models of every kind, and batches for them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import mtopt
from mtopt.models import MODELS, functional
from mtopt.models.layers import BatchNorm
from mtopt.models.residual import Block

NAMES = ("left", "middle", "right")


KINDS = {
    "classification": 3,
    "binary": 1,
    "multilabel": 4,
    "regression": 1,
    "ordinal": 4,
    "ordinal_adjacent": 4,
    "soft": 3,
    "preference": 1,
}


EXPERTS = {"hidden": (16,), "experts": 3, "dropout": 0.1}
TINY = {
    "cgc": ((6,), {**EXPERTS, "own_experts": 2, "tower": 8}),
    "dselect_k": ((6,), {**EXPERTS, "selectors": 2, "per_sample": True}),
    "mlp": ((6,), {"hidden": (64, 32), "dropout": 0.1}),
    "ple": ((6,), {"hidden": (8,), "dropout": 0.1}),
    "deeplab": ((32, 32, 1), {"depth": 18, "width": 2, "rates": (1, 2)}),
    "cross_stitch": ((6,), {"encoder": "mlp(hidden=(8, 4), dropout=0.1)"}),
    "field_gate": ((6,), {"hidden": (8,), "dropout": 0.1}),
    "funnel": ((6,), {"hidden": (8,), "dropout": 0.1}),
    "home": ((6,), {"hidden": (8, 4), "rank": 2}),
    "mtan": ((8, 8, 1), {"network": "resnet18(width=2)"}),
    "message_passing": ((5, 4), {"width": 8, "layers": 1, "basis": 4}),
    "mmoe": ((6,), {**EXPERTS, "tower": 8}),
    "one_gate": ((6,), {**EXPERTS, "top": 2}),
    "pooled_mlp": ((6,), {"hidden": (64, 32), "outlier_gate": True}),
    "lenet": ((16, 16, 3), {}),
    "resnet18": ((8, 8, 1), {"width": 4, "representation": 6}),
    "task_expert": (
        (6,),
        {"hidden": (16, 8), "experts": 3, "width": 8, "dropout": 0.1},
    ),
    "segnet": ((32, 32, 1), {"width": 2}),
    "skills": ((6,), {"width": 8, "hidden": 6}),
    "set_attention": ((6,), {"width": 8, "points": 3, "dropout": 0.1}),
    "transformer": ((5, 6), {"width": 8, "layers": 1, "dropout": 0.1}),
}


OF_KIND = {
    "deeplab": ("depth", 1),
    "funnel": ("binary", 1),
    "segnet": ("segmentation", 3),
}
"""Labels and outputs, where a model is not of all kinds."""


def tiny(name, *, names=NAMES, kind=None, outputs=None, **common):
    shape, options = TINY[name]
    kind, outputs = (
        (kind, outputs) if kind else OF_KIND.get(name, ("classification", 3))
    )
    return MODELS[name](
        shape, names=names, kind=kind, outputs=outputs, **common, **options
    )


def make_batch(shape, kind, outputs, *, size=8, x_axis=None, tasks=3):
    rng = np.random.default_rng(0)
    lead = (size,) if x_axis is None else (tasks, size)
    lead = (*lead, 2) if kind == "preference" else lead
    pixels = (tasks, size, *shape[:2])
    x = rng.normal(size=(*lead, *shape)).astype(np.float32)
    y = {
        "classification": rng.integers(outputs, size=(tasks, size)),
        "binary": rng.integers(2, size=(tasks, size)),
        "multilabel": rng.integers(2, size=(tasks, size, outputs)),
        "regression": rng.normal(size=(tasks, size)).astype(np.float32),
        "ordinal": rng.integers(outputs, size=(tasks, size)),
        "ordinal_adjacent": rng.integers(outputs, size=(tasks, size)),
        "soft": rng.dirichlet(np.ones(outputs), (tasks, size)).astype(np.float32),
        "preference": rng.choice([0, 0.5, 1], (tasks, size)).astype(np.float32),
        "segmentation": rng.integers(-1, outputs, size=pixels),
        "normals": _of_length_one(rng.normal(size=(*pixels, 3))).astype(np.float32),
        "depth": np.maximum(rng.normal(1, 1, size=pixels), 0).astype(np.float32),
    }[kind]
    if np.issubdtype(y.dtype, np.integer):
        y = y.astype(np.int32)
    return mtopt.Batch(jnp.asarray(x), jnp.asarray(y), jnp.ones((tasks, size), bool))


def _of_length_one(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


class Normed(nnx.Module):
    """A linear layer, BatchNorm, relu, dropout: all a step has to keep apart."""

    def __init__(self, *, dropout=0.0, rngs):
        self.linear = nnx.Linear(3, 4, rngs=rngs)
        self.norm = BatchNorm(4)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x):
        return self.dropout(jax.nn.relu(self.norm(self.linear(x))))


def normed(x_axis=None, dropout=0.0, statistics="own"):
    return functional(
        lambda rngs: Normed(dropout=dropout, rngs=rngs),
        lambda rngs: nnx.Linear(4, 3, rngs=rngs),
        NAMES,
        kind="classification",
        x_axis=x_axis,
        statistics=statistics,
    )


def residual(dtype=jnp.float32):
    """One block of a ResNet: compiled in a tenth of the time of eight."""
    return functional(
        lambda rngs: nnx.Sequential(
            Block(1, 6, stride=2, dtype=dtype, rngs=rngs),
            lambda x: x.mean(axis=(1, 2)),
        ),
        lambda rngs: nnx.Linear(6, 3, dtype=dtype, rngs=rngs),
        NAMES,
        kind="classification",
    )


def moved_statistics(params, x):
    """The statistics after one clean forward from (0, 1), by numpy in float64."""
    layer = jax.tree.map(lambda leaf: np.asarray(leaf, float), params["shared"])
    h = np.asarray(x, float) @ layer["linear"]["kernel"] + layer["linear"]["bias"]
    mean = 0.1 * h.mean(axis=-2)
    return {"norm": {"mean": mean, "var": 0.9 + 0.1 * h.var(axis=-2)}}
