"""What wrong tasks cost the others, and what ``outlier_weighted`` gives back.

``mtopt benchmark outliers`` plants wrong tasks among ten small regressions, with heads
of their own and with an output in common, and trains three times: with all tasks, with
all in ``outlier_weighted``, and with the wrong ones left out by hand. It prints the
error of the right tasks on fresh samples over the variance of their labels, how much of
the gap between plain and by hand is closed, the paired ratio to plain with its 95 %
interval over the seeds, and the weights at the end.

A second table has the same of two simpler ways. *One dropped*: training with all tasks
measures every ten steps what a step on each alone does for the others' losses (the
look-ahead affinities of Fifty et al., 2021), and the task whose mean is least is left
out of a second training; whichever it is has a network of its own. It is always one,
how many ever are wrong. *Huber*: lines in place of squares beyond 1.345 standard
deviations of the residuals of the batch.

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

import dataclasses
import functools
from collections.abc import Callable, Sequence
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
from .outlier_baselines import (
    EVERY,
    affinities,
    huber,
    huber_threshold,
    least_affine,
)
from .outlier_plants import (
    BATCH,
    NAMES,
    NUM_TASKS,
    OUTPUTS,
    PLANTS,
    SAMPLES,
    Planted,
    answer,
    parameters,
    plant,
    represent,
    tasks_of,
)

AGGREGATOR = flags.DEFINE_string("aggregator", "equal_weighting", "A method, as text.")
PLANTED = flags.DEFINE_list("plants", [], "Some of the plants; default: all.")
FIRST_SEED = flags.DEFINE_integer("first_seed", 0, "The first of the seeds.")
NUM_SEEDS = flags.DEFINE_integer("num_seeds", 10, "How many seeds.", lower_bound=1)
OUTLIER_STEPS = flags.DEFINE_integer("outlier_steps", 800, "Updates.", lower_bound=1)


PLAIN, WATCHED = "plain", "watched"
WEIGHTED, DROPPED, HUBER = WAYS = "weighted", "one dropped", "huber"
RATE = 3e-3


class Trained(NamedTuple):
    """What came of many trainings.

    Attributes:
      errors: the squared error on fresh samples over the variance of their labels,
        ``[runs, K]``.
      weights: the last task weights, ``[runs, K]``.
      least: the task of the least mean affinity, ``[runs]``.
    """

    errors: Any
    weights: Any
    least: Any


@functools.cache
def trainer(
    output: str, aggregator: str, way: str, steps: int
) -> Callable[[Planted, Any], Trained]:
    """A program that trains on many draws at once.

    Args:
      output: as for :func:`tasks_of`.
      aggregator: a method, as text.
      way: ``"plain"``; ``"watched"``, plain with the affinities measured;
        ``"weighted"``, in ``outlier_weighted``; or ``"huber"``.
      steps: updates, of Adam at 3e-3.

    Returns:
      A function of draws and seeds.
    """
    tasks = tasks_of(output)
    trained = tasks_of(output, huber) if way == HUBER else tasks
    method = mtopt.method(aggregator, NUM_TASKS)
    if way == WEIGHTED:
        method = mtopt.outlier_weighted(method)
    tx = mtopt.chain(method, optax.adam(RATE))
    step = mtopt.make_train_step(trained, tx)

    def batch_of(draw: Planted, key: Any, params: Any) -> mtopt.Batch:
        index = jax.random.randint(key, (NUM_TASKS, BATCH), 0, SAMPLES)
        here = jax.random.uniform(jax.random.fold_in(key, 1), (NUM_TASKS,)) < draw.rate
        x = jnp.take_along_axis(draw.x, index[..., None], 1)
        y = jnp.take_along_axis(draw.y, index, 1)
        mask = jnp.broadcast_to(here[:, None], y.shape)
        labels = y, jnp.broadcast_to(draw.unit[:, None], y.shape)
        if way == HUBER:
            z = jax.vmap(lambda x: represent(output, params["shared"], x))(x)
            found = jax.vmap(answer)(params["tasks"].values, z)
            threshold = huber_threshold(found - y, mask)
            labels = *labels, jnp.broadcast_to(threshold, y.shape)
        return mtopt.Batch(x, labels, mask, NAMES)

    def one(draw: Planted, seed: Any) -> Trained:
        first, batches = jax.random.split(jax.random.key(seed))
        params = parameters(output, first)
        state = mtopt.TrainState.create(params, tx, first)

        def update(carry: Any, now: Any) -> tuple[Any, None]:
            state, sums = carry
            key, count = now
            batch = batch_of(draw, key, state.params)

            def measured() -> Any:
                z = affinities(tasks.problem(batch, key), state.params, RATE)
                return jnp.nan_to_num(z), ~jnp.isnan(z)

            def not_now() -> Any:
                return jax.tree.map(jnp.zeros_like, jax.eval_shape(measured))

            if way == WATCHED:
                new = jax.lax.cond(count % EVERY == 0, measured, not_now)
                sums = jax.tree.map(jnp.add, sums, new)
            return (step(state, batch)[0], sums), None

        pairs = jnp.zeros((NUM_TASKS, NUM_TASKS))
        times = jax.random.split(batches, steps), jnp.arange(steps)
        start = state, (pairs, pairs.astype(int))
        (state, (total, count)), _ = jax.lax.scan(update, start, times)
        y = draw.fresh_y, jnp.ones_like(draw.fresh_y)
        fresh = mtopt.Batch(draw.fresh_x, y, jnp.ones(draw.fresh_y.shape, bool), NAMES)
        errors = tasks.problem(fresh, first).losses(state.params)
        weights = jnp.ones(NUM_TASKS)
        if way == WEIGHTED:
            weights = optax.tree.get(state.opt_state, "task_weights")
        least = jnp.zeros((), int)
        if way == WATCHED:  # two tasks that never met: 0 / 0, which is not known
            least = least_affine(total / count)
        return Trained(errors / draw.fresh_y.var(axis=1), weights, least)

    return jax.jit(jax.vmap(one))


@dataclasses.dataclass(frozen=True)
class Found:
    """What came of a way to train on one plant, over the seeds.

    Attributes:
      wrong: which tasks are wrong, ``[K]``.
      plain: the mean error of the right tasks with all of them trained, ``[seeds]``.
      by_hand: with the wrong tasks left out.
      by_it: trained in this way.
      weights: of the tasks at the end, ``[seeds, K]``; 0 for one that was dropped.
    """

    wrong: np.ndarray
    plain: np.ndarray
    by_hand: np.ndarray
    by_it: np.ndarray
    weights: np.ndarray

    @property
    def closed(self) -> float:
        """How much of the gap between plain and by hand is closed."""
        gap = self.plain.mean() - self.by_hand.mean()
        return float((self.plain.mean() - self.by_it.mean()) / gap)

    @property
    def harmed(self) -> bool:
        """Whether there is a gap: what does no harm leaves none."""
        return bool(self.by_hand.mean() < 0.95 * self.plain.mean())

    @property
    def ratio(self) -> tuple[float, float]:
        """The mean ratio to plain, paired, and half its 95 % interval."""
        ratios = self.by_it / self.plain
        found = paired_interval(ratios, np.zeros_like(ratios))
        return found.mean, found.high - found.mean


def measure(
    kinds: list[str],
    output: str,
    seeds: list[int],
    aggregator: str,
    steps: int,
    ways: Sequence[str] = (WEIGHTED,),
) -> dict[str, dict[str, Found]]:
    """Trains on all plants and seeds at once, in every way.

    Args:
      kinds: some of PLANTS.
      output: one of OUTPUTS.
      seeds: one draw and one network each.
      aggregator: a method, as text.
      steps: updates.
      ways: some of WAYS.

    Returns:
      By way and kind.
    """
    draws = [plant(kind, seed) for kind in kinds for seed in seeds]
    draws = jax.tree.map(lambda *leaves: np.stack(leaves).astype("float32"), *draws)
    first = np.tile(seeds, len(kinds))

    def train(way: str, without: Any = False) -> Trained:
        here = draws._replace(rate=np.where(without, 0, draws.rate))
        program = trainer(output, aggregator, way, steps)
        return jax.tree.map(np.asarray, program(here, first))

    def drop_one() -> Trained:
        least = train(WATCHED).least[:, None] == np.arange(NUM_TASKS)
        rest, alone = train(PLAIN, least), train(PLAIN, ~least)
        errors = np.where(least, alone.errors, rest.errors)
        return rest._replace(errors=errors, weights=1.0 - least)

    plain, by_hand = train(PLAIN).errors, train(PLAIN, draws.wrong > 0).errors
    found: dict[str, dict[str, Found]] = {}
    for way in ways:
        it = drop_one() if way == DROPPED else train(way)
        for i, kind in enumerate(kinds):
            rows = slice(i * len(seeds), (i + 1) * len(seeds))
            wrong = draws.wrong[rows][0] > 0
            means = [
                own[rows][:, ~wrong].mean(axis=1) for own in (plain, by_hand, it.errors)
            ]
            one = Found(wrong, means[0], means[1], means[2], it.weights[rows])
            found.setdefault(way, {})[kind] = one
    return found


def table(found: dict[str, dict[str, Found]]) -> str:
    """One row a plant; of WAYS."""
    rows = []
    for kind, one in found[WEIGHTED].items():
        means = (e.mean() for e in (one.plain, one.by_it, one.by_hand))
        rows.append(
            (
                kind,
                *(f"{mean:.3f}" for mean in means),
                *_beside_plain(kind, one),
                f"{one.weights[:, one.wrong].mean():.2f}" if one.wrong.any() else "",
                f"{one.weights[:, ~one.wrong].mean(axis=0).min():.2f}",
            )
        )
    head = "plain", "weighted", "by hand", "gap closed", "paired ratio"
    return _aligned(("", *head, "weight: wrong", "least right"), rows)


def table_of_baselines(found: dict[str, dict[str, Found]]) -> str:
    """Likewise, of the simpler ways."""
    rows = []
    for kind, dropped in found[DROPPED].items():
        other = found[HUBER][kind]
        hits = dropped.weights[:, dropped.wrong] == 0
        rows.append(
            (
                kind,
                f"{dropped.by_it.mean():.3f}",
                *_beside_plain(kind, dropped),
                f"{hits.any(axis=1).mean():.1f}" if dropped.wrong.any() else "",
                f"{other.by_it.mean():.3f}",
                *_beside_plain(kind, other),
            )
        )
    beside = "gap closed", "paired ratio"
    head = "one dropped", *beside, "a wrong one", "huber", *beside
    return _aligned(("", *head), rows)


def _beside_plain(kind: str, one: Found) -> tuple[str, str]:
    """The gap closed, where there is one, and the paired ratio."""
    ratio, interval = one.ratio
    gap = one.harmed and kind != "halves"  # of which neither is wrong
    return f"{one.closed:.2f}" if gap else "", f"{ratio:.3f} ± {interval:.3f}"


def _aligned(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Text, of rows."""
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
        steps = OUTLIER_STEPS.value
        found = measure(kinds, output, seeds, AGGREGATOR.value, steps, WAYS)
        print(table(found) + "\n\n" + table_of_baselines(found) + "\n", flush=True)


if __name__ == "__main__":
    start(main)
