"""Groups of unequal kinds of labels, losses and sizes, each with inputs of its own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from tests.helpers.problems import squared_loss, tanh_encode

FEATURES, WIDTH, CLASSES = 5, 4, 3
GROUPS = {"classes": ("a", "d"), "numbers": ("b",), "apart": ("c", "e")}
NAMES = tuple(sorted(name for names in GROUPS.values() for name in names))
SAMPLES = {"classes": 8, "numbers": 12, "apart": 4}
# The tasks of the last have samples of their own each.
X_AXIS = {"classes": None, "numbers": None, "apart": 0}
KEY = jax.random.key(5)


def class_loss(head, z, y, mask, key):
    losses = optax.softmax_cross_entropy_with_integer_labels(z @ head, y)
    return mtopt.masked_mean(losses, mask)


def absolute_loss(head, z, y, mask, key):
    return mtopt.masked_mean(abs(z @ head - y), mask)


LOSSES = {"classes": class_loss, "numbers": squared_loss, "apart": absolute_loss}


def tasks(kinds=tuple(GROUPS)):
    groups = [
        mtopt.Tasks(GROUPS[kind], tanh_encode, LOSSES[kind], X_AXIS[kind])
        for kind in kinds
    ]
    return mtopt.TaskGroups(tuple(groups), shared_inputs=False)


def params(kinds=tuple(GROUPS)):
    rng = np.random.default_rng(0)
    shared = jnp.asarray(rng.normal(size=(FEATURES, WIDTH)), "float32")
    heads = {}
    for kind, names in GROUPS.items():
        shape = (CLASSES,) if kind == "classes" else ()
        values = rng.normal(size=(len(names), WIDTH, *shape))
        heads[kind] = mtopt.PerTask(jnp.asarray(values, "float32"), names)
    return {"shared": shared, "tasks": tuple(heads[kind] for kind in kinds)}


def arrays(kind):
    """Inputs, labels and mask of a group: every sample stands there twice.

    Of the second copies no label is real. Those of a task are not the same share of
    even and of odd samples.
    """
    rng = np.random.default_rng(len(kind))
    lead, size = (len(GROUPS[kind]),), SAMPLES[kind]
    x_lead = lead if X_AXIS[kind] == 0 else ()
    x = rng.normal(size=(*x_lead, size, FEATURES)).astype("float32")
    y = rng.normal(size=(*lead, size)).astype("float32")
    if kind == "classes":
        y = rng.integers(CLASSES, size=y.shape).astype("int32")
    mask = rng.random((*lead, size)) < 0.6
    mask[:, 0], mask[:, -1] = True, False
    if kind == "numbers":  # has labels in one half alone
        mask[:, 1::2] = False
    x = np.concatenate([x, x], axis=len(x_lead))
    y, mask = np.tile(y, 2), np.concatenate([mask, mask & False], axis=1)
    return x, y, mask


def batch(kinds=tuple(GROUPS)):
    x, y, mask = zip(*map(arrays, kinds), strict=True)
    return mtopt.Batch(x, y, mask, tuple(GROUPS[kind] for kind in kinds))


def doubled(batch):
    """With the labels of the copies too."""
    mask = tuple(own | np.roll(own, own.shape[1] // 2, axis=1) for own in batch.mask)
    return dataclasses.replace(batch, mask=mask)


def lacking(batch, names):
    """The batch in which some tasks have no label."""
    mask = tuple(
        own & ~np.isin(tasks, names)[:, None]
        for own, tasks in zip(batch.mask, batch.names, strict=True)
    )
    return dataclasses.replace(batch, mask=mask)


def spoilt(batch, value):
    """With a value in labels that are missing, and in inputs of nobody with a label."""
    x, y = [], []
    for own_x, own_y, mask in zip(batch.x, batch.y, batch.mask, strict=True):
        hidden = -1 if own_y.dtype == np.int32 else np.float32(value)
        y.append(np.where(mask, own_y, hidden))
        read = mask[..., None] if own_x.ndim == 3 else mask.any()
        x.append(np.where(read, own_x, np.float32(value)))
    return dataclasses.replace(batch, x=tuple(x), y=tuple(y))
