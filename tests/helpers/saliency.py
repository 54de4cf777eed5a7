"""The equations of the saliency penalties, written out, and tasks in two groups."""

import jax
import jax.numpy as jnp
import numpy as np

import mtopt

FORMS = {
    "literal": {"smoothing": 0},  # the paper's
    "smoothed": {},
    "balanced": {"smoothing": 0.1, "balanced": True},
}


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape) + 0.2


# The equations, written out; ``seen`` says which pairs of a task and a sample exist.


def in_places(saliency):
    return saliency.reshape(*saliency.shape[:2], -1, saliency.shape[-1])


def regulation(saliency, seen, smoothing=0.03, balanced=False):
    """TSR over the samples that one task at least has a label for."""
    mean = in_places(saliency).mean(axis=-1)[:, seen.any(axis=0)]
    own = seen[:, seen.any(axis=0), None]
    squares = jnp.where(own, mean**2, 0).sum() / (own.sum() * mean.shape[-1])
    floor = smoothing * jax.lax.stop_gradient(jnp.sqrt(squares))
    size = jnp.abs(mean)
    if smoothing:
        size = jnp.where(own, jnp.sqrt(mean**2 + floor**2), 0)
    share = size / size.sum(axis=0, keepdims=True)

    def entropy(share):
        return -(share * jnp.log(jnp.where(share > 0, share, 1))).sum(axis=0)

    value = entropy(share).mean()
    return value - entropy(share.mean(axis=(1, 2))) if balanced else value


def alignment(saliency, seen, temperature=0.5, anchor="tasks"):
    """CSA from explicit matrices of channels by channels, of what is seen alone."""
    saliency = in_places(saliency)
    task, sample = np.nonzero(seen)
    known = np.flatnonzero(seen.any(axis=0))

    def unit(matrices):
        flat = matrices.reshape(len(matrices), -1)
        return flat / jnp.sqrt((flat**2).sum(axis=1, keepdims=True))

    own = saliency[task, sample]
    own = unit(jnp.einsum("npc,npd->ncd", own, own))
    columns = saliency[:, known].mean(axis=2)
    if anchor == "mean":
        columns = columns.mean(axis=0, keepdims=True)
    anchors = unit(jnp.einsum("kbc,kbd->bcd", columns, columns))
    others = ~np.eye(len(known), dtype=bool)
    scores = jnp.exp(anchors @ anchors.T / temperature)
    spread = jnp.log(jnp.where(others, scores, 0).sum(axis=1))
    place = np.searchsorted(known, sample)
    positive = (own * anchors[place]).sum(axis=1)
    return (spread[place] - positive / temperature).mean()


def in_groups(tasks, params, batch):
    """The same three tasks as two groups: the outer ones, and the one in between."""
    parts, heads, indices = [], [], (np.array([0, 2]), np.array([1]))
    for index in indices:
        names = tuple(tasks.names[k] for k in index)
        own = jax.tree.map(lambda leaf, i=index: leaf[i], params["tasks"].values)
        parts.append(mtopt.Tasks(names, tasks.encode, tasks.head_loss, tasks.x_axis))
        heads.append(mtopt.PerTask(own, names))
    pieces = [tuple(leaf[i] for i in indices) for leaf in (batch.y, batch.mask)]
    groups = mtopt.TaskGroups(tuple(parts), shared_inputs=True)
    return groups, {**params, "tasks": tuple(heads)}, mtopt.Batch(batch.x, *pieces)
