"""What wrong tasks cost the others, and what ``outlier_weighted`` gives back.

``mtopt benchmark outliers`` plants wrong tasks among ten small regressions, with heads
of their own and with an output in common, and trains three times: with all tasks, with
all in ``outlier_weighted``, and with the wrong ones left out by hand. It prints the
error of the right tasks on fresh samples over the variance of their labels, how much of
the gap between plain and by hand is closed, the paired ratio to plain with its 95 %
interval over the seeds, and the weights at the end.

=============== ====================================================================
plant           which tasks are wrong, and how
=============== ====================================================================
none            none
noise           three have noise for labels, with twice the deviation of the others
unrelated       three are another function
opposed         three are the others' function, with its sign turned
rare            as opposed, and the right tasks are in one batch of five
halves          five of each sign: nobody is wrong
hundredfold     three opposed, and the loss of one right task times 100
noisy regular   none; the labels of one task carry noise of half the signal's variance
hard regular    none; half of one task is a ripple, of which one learns a part at most
=============== ====================================================================
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

import mtopt
from mtopt.errors import UserError
from mtopt.metrics import paired_interval

from ..common.command import command, start
from ..common.table import align

AGGREGATOR = flags.DEFINE_string("aggregator", "equal_weighting", "A method, as text.")
PLANTED = flags.DEFINE_list("plants", [], "Some of the plants; default: all.")
FIRST_SEED = flags.DEFINE_integer("first_seed", 0, "The first of the seeds.")
NUM_SEEDS = flags.DEFINE_integer("num_seeds", 10, "How many seeds.", lower_bound=1)
OUTLIER_STEPS = flags.DEFINE_integer("outlier_steps", 800, "Updates.", lower_bound=1)

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


def tasks_of(output: str) -> mtopt.Tasks:
    """Ten regressions on one network.

    Args:
      output: ``"own"``: heads of their own; ``"common"``: one output, and an offset of
        every task.
    """

    def encode(shared: Any, x: Any, key: Any) -> Any:
        z = jax.nn.relu(x @ shared["in"] + shared["in_bias"][None])
        z = jax.nn.relu(z @ shared["hidden"] + shared["hidden_bias"][None])
        return z if output == "own" else z @ shared["out"]

    def head_loss(head: Any, z: Any, y: Any, mask: Any, key: Any) -> Any:
        labels, unit = y
        found = z @ head["out"] if output == "own" else z
        return mtopt.masked_mean(unit * (found + head["bias"] - labels) ** 2, mask)

    return mtopt.Tasks(NAMES, encode, head_loss, x_axis=0)


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


@functools.cache
def trainer(output: str, aggregator: str, wrapped: bool, steps: int) -> Any:
    """A program that trains on many draws at once.

    Args:
      output: as for :func:`tasks_of`.
      aggregator: a method, as text.
      wrapped: whether it stands in ``outlier_weighted``.
      steps: updates, of Adam at 3e-3.

    Returns:
      ``(draws, seeds) -> (errors, weights)``, both ``[runs, K]``: the squared error on
      fresh samples over the variance of their labels, and the last task weights.
    """
    tasks = tasks_of(output)
    method = mtopt.method(aggregator, NUM_TASKS)
    if wrapped:
        method = mtopt.outlier_weighted(method)
    tx = mtopt.chain(method, optax.adam(3e-3))
    step = mtopt.make_train_step(tasks, tx)

    def batch_of(draw: Planted, key: Any) -> mtopt.Batch:
        index = jax.random.randint(key, (NUM_TASKS, BATCH), 0, SAMPLES)
        here = jax.random.uniform(jax.random.fold_in(key, 1), (NUM_TASKS,)) < draw.rate
        x = jnp.take_along_axis(draw.x, index[..., None], 1)
        y = jnp.take_along_axis(draw.y, index, 1)
        unit = jnp.broadcast_to(draw.unit[:, None], y.shape)
        mask = jnp.broadcast_to(here[:, None], y.shape)
        return mtopt.Batch(x, (y, unit), mask, NAMES)

    def one(draw: Planted, seed: Any) -> tuple[Any, Any]:
        first, batches = jax.random.split(jax.random.key(seed))
        params = parameters(output, first)
        state = mtopt.TrainState.create(params, tx, first)

        def update(state: Any, key: Any) -> tuple[Any, None]:
            return step(state, batch_of(draw, key))[0], None

        state, _ = jax.lax.scan(update, state, jax.random.split(batches, steps))
        y = draw.fresh_y, jnp.ones_like(draw.fresh_y)
        fresh = mtopt.Batch(draw.fresh_x, y, jnp.ones(draw.fresh_y.shape, bool), NAMES)
        errors = tasks.problem(fresh, first).losses(state.params)
        weights = jnp.ones(NUM_TASKS)
        if wrapped:
            weights = optax.tree.get(state.opt_state, "task_weights")
        return errors / draw.fresh_y.var(axis=1), weights

    return jax.jit(jax.vmap(one))


class Found(NamedTuple):
    """What came of one plant, over the seeds.

    Attributes:
      wrong: which tasks are wrong, ``[K]``.
      plain: the mean error of the right tasks with all of them trained, ``[seeds]``.
      wrapped: in ``outlier_weighted``.
      by_hand: with the wrong tasks left out.
      weights: at the end, ``[seeds, K]``.
    """

    wrong: np.ndarray
    plain: np.ndarray
    wrapped: np.ndarray
    by_hand: np.ndarray
    weights: np.ndarray

    @property
    def closed(self) -> float:
        """How much of the gap between plain and by hand is closed."""
        gap = self.plain.mean() - self.by_hand.mean()
        return float((self.plain.mean() - self.wrapped.mean()) / gap)

    @property
    def ratio(self) -> tuple[float, float]:
        """The mean ratio of wrapped to plain, paired, and half its 95 % interval."""
        ratios = self.wrapped / self.plain
        found = paired_interval(ratios, np.zeros_like(ratios))
        return found.mean, found.high - found.mean


def measure(
    kinds: list[str], output: str, seeds: list[int], aggregator: str, steps: int
) -> dict[str, Found]:
    """Trains on all plants and seeds, in one program for each of two ways to train.

    Args:
      kinds: some of PLANTS.
      output: one of OUTPUTS.
      seeds: one draw and one network each.
      aggregator: a method, as text.
      steps: updates.
    """
    draws = [plant(kind, seed) for kind in kinds for seed in seeds]
    draws = jax.tree.map(lambda *leaves: np.stack(leaves).astype("float32"), *draws)
    first = np.tile(seeds, len(kinds))
    train = trainer(output, aggregator, False, steps)
    alone = draws._replace(rate=np.where(draws.wrong, 0, draws.rate))
    errors, weights = trainer(output, aggregator, True, steps)(draws, first)
    errors = train(draws, first)[0], errors, train(alone, first)[0]
    found = {}
    for i, kind in enumerate(kinds):
        rows = slice(i * len(seeds), (i + 1) * len(seeds))
        wrong = draws.wrong[rows][0] > 0
        plain, wrapped, by_hand = (
            np.asarray(own)[rows][:, ~wrong].mean(axis=1) for own in errors
        )
        last = np.asarray(weights)[rows]
        found[kind] = Found(wrong, plain, wrapped, by_hand, last)
    return found


def table(found: dict[str, Found]) -> str:
    """One row a plant."""
    rows = []
    for kind, one in found.items():
        # Of two halves neither is wrong, and what does no harm leaves no gap.
        harm = one.by_hand.mean() < 0.95 * one.plain.mean() and kind != "halves"
        ratio, interval = one.ratio
        rows.append(
            (
                kind,
                *(f"{e.mean():.3f}" for e in (one.plain, one.wrapped, one.by_hand)),
                f"{one.closed:.2f}" if harm else "",
                f"{ratio:.3f} ± {interval:.3f}",
                f"{one.weights[:, one.wrong].mean():.2f}" if one.wrong.any() else "",
                f"{one.weights[:, ~one.wrong].mean(axis=0).min():.2f}",
            )
        )
    head = "plain", "weighted", "by hand", "gap closed", "paired ratio"
    names = ("", *head, "weight: wrong", "least right")
    return "\n".join(align([list(c) for c in zip(names, *rows, strict=True)]))


@command
def main(_: list[str]) -> None:
    """Prints a table for each kind of output."""
    kinds = PLANTED.value or list(PLANTS)
    for kind in kinds:
        if kind not in PLANTS:
            raise UserError(f"no plant {kind!r}: expected some of {', '.join(PLANTS)}")
    seeds = [FIRST_SEED.value + i for i in range(NUM_SEEDS.value)]
    mtopt.method(AGGREGATOR.value, NUM_TASKS)  # an error before anything is trained
    for output in OUTPUTS:
        print(
            f"{AGGREGATOR.value}, {output} output: error of the right tasks over their "
            f"variance, {len(seeds)} seeds, {OUTLIER_STEPS.value} steps\n",
            flush=True,
        )
        found = measure(kinds, output, seeds, AGGREGATOR.value, OUTLIER_STEPS.value)
        print(table(found) + "\n", flush=True)


if __name__ == "__main__":
    start(main)
