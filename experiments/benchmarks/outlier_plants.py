"""Ten small regressions, of which some are wrong, and the network that they share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import mtopt

PLANTS = (
    "none",
    "noise",
    "unrelated",
    "opposed",
    "rare",
    "halves",
    "hundredfold",
    "noisy regular",
    "hard regular",
)
OUTPUTS = ("own", "common")
NUM_TASKS, INPUTS, HIDDEN, SAMPLES, FRESH, BATCH = 10, 8, 32, 100, 500, 32
NAMES = tuple(f"task{k}" for k in range(NUM_TASKS))


class Planted(NamedTuple):
    """One draw of a plant.

    Attributes:
      x: inputs, ``[K, n, D]``.
      y: labels, ``[K, n]``.
      fresh_x: inputs to test on.
      fresh_y: labels without noise.
      wrong: which tasks are, ``[K]``.
      rate: how often each is in a batch, ``[K]``.
      unit: what its loss is multiplied by, ``[K]``.
    """

    x: Any
    y: Any
    fresh_x: Any
    fresh_y: Any
    wrong: Any
    rate: Any
    unit: Any


def plant(kind: str, seed: int) -> Planted:
    """Draws the tasks of a plant.

    Args:
      kind: one of PLANTS.
      seed: of the functions, the samples and the noise.
    """
    rng = np.random.default_rng(seed)
    shapes = (INPUTS, 16), (16,)
    ours, other = (
        tuple(rng.normal(size=shape) / np.sqrt(shape[0]) for shape in shapes)
        for _ in range(2)
    )
    ripple = rng.normal(size=INPUTS) / np.sqrt(INPUTS)
    slope = 1 + 0.1 * rng.normal(size=NUM_TASKS)
    count = {"halves": NUM_TASKS // 2, "none": 0}.get(kind, 3)
    count = 0 if kind.endswith("regular") else count
    wrong = np.arange(NUM_TASKS) >= NUM_TASKS - count

    def value(weights: Any, x: np.ndarray) -> np.ndarray:
        return 2 * np.tanh(x @ weights[0]) @ weights[1]

    def draw(size: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(size=(NUM_TASKS, size, INPUTS))
        y = slope[:, None] * value(ours, x)
        if kind in ("opposed", "rare", "halves", "hundredfold"):
            y[wrong] *= -1
        if kind == "unrelated":
            y[wrong] = value(other, x)[wrong]
        if kind == "noise":
            y[wrong] = 2 * y.std() * rng.normal(size=(count, size))
        if kind == "hard regular":
            wave = np.sqrt(2) * y[1:].std() * np.sin(1.7 * x[0] @ ripple)
            y[0] = (y[0] + wave) / np.sqrt(2)
        return x, y

    (x, y), (fresh_x, fresh_y) = draw(SAMPLES), draw(FRESH)
    spread = np.full(NUM_TASKS, 0.2)
    if kind == "noisy regular":
        spread[0] = np.sqrt(0.5) * y[0].std()
    y = y + spread[:, None] * rng.normal(size=y.shape)
    rate = np.where(wrong | (kind != "rare"), 1.0, 0.2)
    unit = np.where((np.arange(NUM_TASKS) == 0) & (kind == "hundredfold"), 100.0, 1.0)
    return Planted(x, y, fresh_x, fresh_y, wrong, rate, unit)


def tasks_of(output: str, cost: Callable[..., Any] = jnp.square) -> mtopt.Tasks:
    """Ten regressions on one network.

    Args:
      output: ``"own"``: heads of their own; ``"common"``: one output, and an offset of
        every task.
      cost: of residuals, and of what stands behind label and unit in the labels.
    """

    def encode(shared: Any, x: Any, key: Any) -> Any:
        return represent(output, shared, x)

    def head_loss(head: Any, z: Any, y: Any, mask: Any, key: Any) -> Any:
        labels, unit, *more = y
        return mtopt.masked_mean(unit * cost(answer(head, z) - labels, *more), mask)

    return mtopt.Tasks(NAMES, encode, head_loss, x_axis=0)


def represent(output: str, shared: Any, x: Any) -> Any:
    """What the network makes of inputs ``[b, D]``: hidden units, or an output."""
    z = jax.nn.relu(x @ shared["in"] + shared["in_bias"][None])
    z = jax.nn.relu(z @ shared["hidden"] + shared["hidden_bias"][None])
    return z if output == "own" else z @ shared["out"]


def answer(head: Any, z: Any) -> Any:
    """What a task makes of it, ``[b]``."""
    return (z @ head["out"] if "out" in head else z) + head["bias"]


def parameters(output: str, key: Any) -> dict[str, Any]:
    """The network before training."""
    keys = jax.random.split(key, 3)
    shared = {
        "in": jax.random.normal(keys[0], (INPUTS, HIDDEN)) / np.sqrt(INPUTS),
        "in_bias": jnp.zeros(HIDDEN),
        "hidden": jax.random.normal(keys[1], (HIDDEN, HIDDEN)) * np.sqrt(2 / HIDDEN),
        "hidden_bias": jnp.zeros(HIDDEN),
    }
    heads = {"bias": jnp.zeros(NUM_TASKS)}
    if output == "own":
        heads["out"] = 0.1 * jax.random.normal(keys[2], (NUM_TASKS, HIDDEN))
    else:
        shared["out"] = 0.1 * jax.random.normal(keys[2], (HIDDEN,))
    return {"shared": shared, "tasks": mtopt.PerTask(heads, NAMES)}
