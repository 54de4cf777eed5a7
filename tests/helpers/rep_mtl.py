"""Tasks with saliency penalties, and their losses and penalties written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from tests.helpers.saliency import FORMS, alignment, regulation

KEY = jax.random.key(2)


LOG_EPSILON = 1e-8


TSR, CSA = 0.7, 1.3


def difference(tree, other):
    return jax.tree.map(jnp.subtract, tree, other)


def encode(shared, x, key):
    del key
    return jnp.tanh(x @ shared["first"]) @ shared["second"]


def scores(head, z):
    """Class scores of representations [B, ..., C], curved in them."""
    places = jnp.tanh(z).reshape(len(z), -1, z.shape[-1])
    return places.mean(axis=1) @ head["w"] + head["b"][None]


def head_loss(head, z, y, mask, key):
    del key
    losses = optax.softmax_cross_entropy_with_integer_labels(scores(head, z), y)
    return mtopt.masked_mean(losses, mask)


def setting(kind, dtype=float):
    """Three tasks on five samples, and which labels they have; needs enable_x64."""
    rng = np.random.default_rng(3)
    x_axis, lead = (0 if kind == "disjoint" else None), ()
    if kind == "spatial":
        lead = (2, 2)
    own = () if x_axis is None else (3,)
    tasks = mtopt.Tasks(("a", "b", "c"), encode, head_loss, x_axis)
    shared = {"first": rng.normal(size=(4, 6)), "second": rng.normal(size=(6, 7))}
    heads = {"w": rng.normal(size=(3, 7, 3)), "b": rng.normal(size=(3, 3))}
    params = {"shared": shared, "tasks": mtopt.PerTask(heads, tasks.names)}
    params = jax.device_put(jax.tree.map(lambda leaf: leaf.astype(dtype), params))
    mask = np.ones((3, 5), bool)
    mask[[0, 1, 1, 2, 0, 2], [0, 0, 1, 2, 3, 3]] = False
    if kind == "absent":
        mask[1] = False
    x = rng.normal(size=(*own, 5, *lead, 4)).astype(dtype)
    return tasks, params, mtopt.Batch(x, rng.integers(0, 3, size=(3, 5)), mask)


# The same, written out: one function of all parameters, task after task.
def losses_by_hand(tasks, batch, heads, z):
    losses = {}
    for k in np.flatnonzero(batch.mask.any(axis=1)):
        head = jax.tree.map(lambda leaf, k=k: leaf[k], heads)
        keep = np.flatnonzero(batch.mask[k])
        own = (z if tasks.x_axis is None else z[k])[keep]
        logs = jax.nn.log_softmax(scores(head, own))
        losses[k] = -logs[np.arange(len(keep)), batch.y[k][keep]].mean()
    return losses


def penalty_by_hand(
    tasks, batch, params, *, tsr=TSR, logs=False, anchor="tasks", form="smoothed"
):
    z = encode(params["shared"], batch.x, None)
    heads = params["tasks"].values

    def loss(z, k):
        found = losses_by_hand(tasks, batch, heads, z)[k]
        return jnp.log(found + LOG_EPSILON) if logs else found

    saliency = []
    for k in range(3):
        gradient = jnp.zeros_like(z)
        if batch.mask[k].any():
            gradient = jax.grad(loss)(z, k)
        saliency.append(gradient if tasks.x_axis is None else gradient[k])
    saliency = jnp.stack(saliency)
    apart = regulation(saliency, batch.mask, **FORMS[form])
    return tsr * apart + CSA * alignment(saliency, batch.mask, 0.4, anchor)


def base_by_hand(tasks, batch, params, *, logs=False, reduction="mean"):
    z = encode(params["shared"], batch.x, None)
    losses = losses_by_hand(tasks, batch, params["tasks"].values, z)
    values = jnp.stack(list(losses.values()))
    if logs:
        values = jnp.log(values + LOG_EPSILON)
    return values.mean() if reduction == "mean" else values.sum()


def saliency_penalties(aggregator, *, tsr=TSR, csa=CSA, **options):
    return mtopt.rep_mtl(aggregator, tsr=tsr, csa=csa, temperature=0.4, **options)


@functools.partial(jax.jit, static_argnames=("txs", "tasks"))
def _directions(txs, tasks, params, batch, task_weights):
    problem = tasks.problem(batch, KEY)
    seen = problem.evaluate(params).replace(
        task_weights=task_weights,
        key=KEY,
        after=lambda updates: jax.tree.map(lambda u: -0.01 * u, updates),
    )
    found = []
    for tx in txs:
        direction, state = tx.update(
            seen.gradients, tx.init(params), params, evaluation=seen
        )
        found.append((direction, optax.tree.get(state, "weights")))
    return found


def directions(txs, tasks, params, batch, task_weights=None):
    """The first update of every aggregator, with all that a step would hand it."""
    found = _directions(tuple(txs), tasks, params, batch, task_weights)
    return [direction for direction, _ in found]


def equal(**options):
    return mtopt.equal_weighting(3, **options)


def one_number():
    """z = 2, heads 1 and 1, targets 0 and 1.5: saliencies 2 and 0.5."""

    def head_loss(head, z, y, mask, key):
        del key
        return mtopt.masked_mean((head * z[:, 0] - y) ** 2 / 2, mask)

    tasks = mtopt.Tasks(
        ("a", "b"), lambda shared, x, key: shared.reshape(1, 1), head_loss
    )
    params = {
        "shared": jnp.array([2.0]),
        "tasks": mtopt.PerTask(jnp.ones(2), tasks.names),
    }
    labels = np.array([[0.0], [1.5]])
    return tasks, params, mtopt.Batch(np.zeros((1, 1)), labels, np.ones((2, 1), bool))


def activity(problem, params, representation):
    del problem, params
    return jnp.mean(representation**2)
