"""Fits heads to ratings, and scores them on ratings they have not seen."""

import functools
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from mtopt.batch import is_real
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.data.division import SPLITS
from mtopt.errors import UserError
from mtopt.models.ordinal import severities
from mtopt.problem import Params

from ..common.building import load_dataset
from ..common.data_record import record_datasets
from ..common.experiment import Job
from ..common.report import write_report
from ..common.run_folder import read_arrays, write_arrays
from . import report
from .config import Config
from .models import TASK, Head, make_head
from .report import Scored

Ratings = mtopt.Batch
"""One task; ``x`` is ``{"inputs": [B, D], "rater": [B]}``."""


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks and reads all that the fits need, without writing a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: the folder of the data sets.

    Returns:
      The job: called with a folder, it fits the heads that are not finished there yet,
      and leaves scores, severities, results, the table and the picture in it.

    Raises:
      UserError: for anything in the configuration that can't be run, or data that is
        missing or has no raters.
    """
    config.check()
    sets = [_load(config.path, seed, data_dir) for seed in config.seeds]
    splits = [{title: ratings(data, title) for title in SPLITS} for data in sets]
    optimizer = config.optimizer.build(config.steps)

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        record_datasets(folder, sets)
        path = folder / "raters.npz"
        stored = read_arrays(path)
        for name in config.methods:
            if f"{name} scores" not in stored:
                head = make_head(
                    name,
                    features=splits[0]["train"].x["inputs"].shape[1],
                    hidden=config.hidden,
                    levels=sets[0].outputs,
                    raters=len(sets[0].tasks),
                )
                found = _fit_and_score(head, optimizer, config, splits)
                stored |= {f"{name} {key}": value for key, value in found.items()}
                write_arrays(path, stored)
            mean = stored[f"{name} scores"][:, 0].mean()
            print(f"{name}: held-out negative log-likelihood {mean:.3f}", flush=True)
        heads = {
            name: Scored(stored[f"{name} scores"], stored.get(f"{name} severities"))
            for name in config.methods
        }
        result = report.Result(experiment, heads)
        write_report(
            folder,
            report.table(result),
            report.summary(result),
            {"raters.png": functools.partial(report.picture, result)},
            started,
        )

    return job


def ratings(dataset: Dataset, title: str) -> Ratings:
    """A split of one task per rater as one task, the rater an input."""
    split = getattr(dataset, title)
    if dataset.x_axis is None or not isinstance(split, ArraySplit):
        raise UserError(
            f"{dataset.name} has {len(dataset.tasks)} tasks on shared inputs: expected "
            "a task for every rater, with samples of its own"
        )
    weights = np.asarray(split.samples.mask)
    known = is_real(weights)
    inputs = np.asarray(split.samples.x)[known]
    rater = np.nonzero(known)[0].astype(np.int32)
    labels = np.asarray(split.samples.y)[known]
    x = {"inputs": inputs, "rater": rater}
    return mtopt.Batch(x, labels[None], weights[known][None], TASK)


def _load(path: str, seed: int, data_dir: pathlib.Path | None) -> Dataset:
    options = f"path={path!r}, kind='ordinal', seed={seed}"
    text = f"npz({options}, valid_fraction=0.1, test_fraction=0.3)"
    return load_dataset(text, data_dir)


def _fit_and_score(
    head: Head,
    optimizer: optax.GradientTransformation,
    config: Config,
    splits: list[dict[str, Ratings]],
) -> dict[str, np.ndarray]:
    """Scores of every split, and the severities of heads that have them.

    Returns:
      ``scores [S, 3]``: the mean negative log-likelihood of a held-out rating, its
      error in levels at the median, and the penalty that validation chose;
      ``severities [S, R]``.
    """
    # Without parameters of the raters there is nothing to choose.
    penalties = np.array(config.penalties if head.of_raters else (0.0,))
    run = jax.jit(functools.partial(_fit, head, optimizer, config.steps))
    rows, severe = [], []
    for split in splits:
        params, outputs = run(penalties, split)
        valid, test = (
            [_score(head, out, split[title]) for out in outputs[title]]
            for title in ("valid", "test")
        )
        best = int(np.argmin([nll for nll, _ in valid]))
        rows.append([*test[best], penalties[best]])
        if head.of_raters == "severity":
            severe.append(jax.vmap(severities)(params)[best])
    found = {"scores": np.array(rows)}
    return found | ({"severities": np.array(severe)} if severe else {})


def _fit(
    head: Head,
    optimizer: optax.GradientTransformation,
    steps: int,
    penalties: jax.Array,
    split: dict[str, Ratings],
) -> tuple[Params, dict[str, jax.Array]]:
    """Parameters by penalty, and their outputs for the held-out ratings."""
    train = split["train"]
    key = jax.random.key(0)

    def one(penalty: jax.Array) -> tuple[Params, dict[str, jax.Array]]:
        params, state = head.model.init(key)
        problem = head.model.tasks.problem(train, key, state)

        def loss(params: Params) -> jax.Array:
            size = 0.0
            if head.of_raters:
                size = jnp.square(optax.tree.get(params, head.of_raters)).sum()
            return problem.losses(params)[0] + penalty * size / train.mask.size

        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            params, memory = carry
            updates, memory = optimizer.update(jax.grad(loss)(params), memory, params)
            return (optax.apply_updates(params, updates), memory), None

        start = params, optimizer.init(params)
        (params, _), _ = jax.lax.scan(step, start, length=steps)
        outputs = {
            title: head.model.predict(params, state, split[title].x)[0]
            for title in ("valid", "test")
        }
        return params, outputs

    return jax.vmap(one)(penalties)


def _score(head: Head, outputs: jax.Array, held_out: Ratings) -> tuple[float, float]:
    """The mean negative log-likelihood, and the error of the median level."""
    labels = np.asarray(held_out.y[0])
    chances = np.asarray(head.log_probabilities(outputs), np.float64)
    nll = -chances[np.arange(len(labels)), labels].mean()
    at_least = np.exp(chances)[:, ::-1].cumsum(axis=1)[:, ::-1]
    median = (at_least[:, 1:] > 0.5).sum(axis=1)
    return float(nll), float(np.abs(median - labels).mean())
