"""Regressions for models of experts, and what experts and gates say, by hand."""

import jax
import jax.numpy as jnp
import numpy as np

import mtopt
from tests.helpers.by_hand import assert_as_by_hand

NAMES = ("a", "b", "c")


def regressions(tasks=3, size=12, features=5, dtype="float32"):
    """A batch of shared inputs with about a fifth of the labels missing."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(size, features)), rng.normal(size=(tasks, size))
    mask = rng.random((tasks, size)) < 0.8
    return mtopt.Batch(jnp.asarray(x, dtype), jnp.asarray(y, dtype), jnp.asarray(mask))


def said(stack, x):
    """What each of a stack of experts of one layer says, one after another."""
    (layer,) = stack["layers"].values()
    return [
        jnp.maximum(x @ kernel + bias[None], 0)
        for kernel, bias in zip(layer["kernel"], layer["bias"], strict=True)
    ]


def weighed(gate, x):
    """The weights of a gate by softmax."""
    scores = jnp.exp(x @ gate["kernel"] + gate["bias"][None])
    return scores / scores.sum(axis=1, keepdims=True)


def mixed(weights, outputs):
    """A sum over experts, one after another."""
    assert weights.shape[1] == len(outputs)
    return sum(weights[:, [e]] * output for e, output in enumerate(outputs))


def number(head, z):
    """What a linear head says."""
    return (z @ head["kernel"] + head["bias"][None])[:, 0]


def assert_as_output_by_hand(model, output):
    """Losses and gradients are those of a function of one task, in float64, to 1e-9.

    Args:
      model: of ``regressions()``.
      output: ``(shared, own, x) -> [b]``.
    """
    seen = regressions(dtype="float64")
    params, _ = model.init(jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)

    @jax.jit
    def losses_of(params):
        losses = []
        for k in range(len(seen.y)):
            own = jax.tree.map(lambda leaf, k=k: leaf[k], params["tasks"])
            found = output(params["shared"], own, seen.x)
            losses.append(mtopt.masked_mean((found - seen.y[k]) ** 2, seen.mask[k]))
        return jnp.stack(losses)

    problem = model.tasks.problem(seen, jax.random.key(1))
    assert_as_by_hand(problem, params, losses_of, rtol=1e-9)
