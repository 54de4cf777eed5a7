"""What a boosted tree costs by its depth, beside libraries of boosting.

The table that ``mtopt benchmark boosting --boosting_tables=depth`` prints has a line
for each data set, depth and learner: seconds to compile, milliseconds a tree of a whole
fit, bins included (the fastest of a few, the learners in turns), the median over turns
of its ratio to LightGBM's, and the error on the rows held out, beside LightGBM's. On a
CPU these are times of the processor, which other programs do not lengthen. Exact trees
take part up to a depth of four.

All learn one function of all rows by the same algorithm: trees of so many full levels,
without penalties or a least number of rows, on squared error from the mean. LightGBM,
XGBoost and scikit-learn's ``HistGradientBoostingRegressor`` take part where they are
installed, the first two by ``pip install 'mtopt[bench]'``; each has one thread, for
which scikit-learn's needs to be held on one core (``taskset -c 1``).
"""

import functools
import importlib
import importlib.util
import pathlib
import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from sklearn.datasets import make_friedman1
from sklearn.ensemble import HistGradientBoostingRegressor

from mtopt import boosting
from mtopt.data.tables.npz_file import Archive

from .clock import seconds

DEPTHS = (1, 4, 6)
TREES = 50
RATE = 0.1
MAX_BINS = 255
DATA = ("school", "abalone", "friedman")
BESIDE = "lightgbm"

EXACT_DEPTH = 4

Predict = Callable[[np.ndarray], np.ndarray]
Fit = Callable[[], Predict]


class Division(NamedTuple):
    """Rows to fit, and rows to say the error on."""

    x: Float[np.ndarray, "N D"]
    x_test: Float[np.ndarray, "M D"]
    y: Float[np.ndarray, " N"]
    y_test: Float[np.ndarray, " M"]


def divided(name: str, folder: pathlib.Path | None) -> Division | None:
    """Four fifths and the rest of a data set; None where its folder is not given."""
    if name == "friedman":
        # Numbers, none of them twice: more than there are bins.
        x, y = make_friedman1(12_500, 20, noise=1.0, random_state=0)
    elif folder is None:
        return None
    else:
        archive = Archive(folder / name / "data.npz")
        x, y = archive["x"], archive["y"]
    x, y = x.astype(np.float32), y.astype(np.float64)
    order = np.random.default_rng(1).permutation(len(x))
    test, train = np.split(order, [len(x) // 5])
    return Division(x[train], x[test], y[train], y[test])


def ours(data: Division, depth: int, max_bins: int | str) -> tuple[float, Fit]:
    """Seconds to compile, and a fit of block 1 alone."""
    mean, task = data.y.mean(), np.zeros(len(data.y), np.int32)
    fit = functools.partial(
        boosting.fit,
        num_tasks=1,
        num_shared=TREES,
        num_partition=0,
        num_task_specific=0,
        learning_rate=RATE,
        theta=np.zeros(1),
        max_depth=depth,
        max_bins=max_bins,
    )
    arrays = [jnp.asarray(array) for array in (data.x, data.y - mean, task)]
    begin = seconds()
    program = jax.jit(fit).lower(*arrays).compile()
    compiling = seconds() - begin

    def run() -> Predict:
        model = jax.block_until_ready(program(*arrays))

        def predict(x: np.ndarray) -> np.ndarray:
            said = boosting.predict(model, x, np.zeros(len(x), np.int32))
            return mean + np.asarray(said, np.float64)

        return predict

    return compiling, run


def lightgbm(data: Division, depth: int) -> Fit:
    """LightGBM's, whose trees have as many leaves as full levels make."""
    model = importlib.import_module("lightgbm").LGBMRegressor(
        n_estimators=TREES,
        learning_rate=RATE,
        max_depth=depth,
        num_leaves=2**depth,
        max_bin=MAX_BINS,
        min_child_samples=1,
        min_child_weight=0,
        min_data_in_bin=1,
        n_jobs=1,
        verbose=-1,
    )
    return lambda: model.fit(data.x, data.y).booster_.predict


def xgboost(data: Division, depth: int) -> Fit:
    """XGBoost's histograms."""
    model = importlib.import_module("xgboost").XGBRegressor(
        n_estimators=TREES,
        learning_rate=RATE,
        max_depth=depth,
        tree_method="hist",
        max_bin=MAX_BINS,
        min_child_weight=0,
        reg_lambda=0,
        n_jobs=1,
    )
    return lambda: model.fit(data.x, data.y).predict


def scikit_learn(data: Division, depth: int) -> Fit:
    """scikit-learn's histograms."""
    model = HistGradientBoostingRegressor(
        max_iter=TREES,
        learning_rate=RATE,
        max_depth=depth,
        max_leaf_nodes=2**depth,
        max_bins=MAX_BINS,
        min_samples_leaf=1,
        early_stopping=False,  # pyright: ignore[reportArgumentType]
    )
    return lambda: model.fit(data.x, data.y).predict


def learners(data: Division, depth: int) -> Iterator[tuple[str, float, Fit]]:
    """Name, seconds to compile and fit of each."""
    for name, fit in (("lightgbm", lightgbm), ("xgboost", xgboost)):
        if importlib.util.find_spec(name) is not None:
            yield name, 0.0, fit(data, depth)
    yield "scikit-learn", 0.0, scikit_learn(data, depth)
    yield "mtopt", *ours(data, depth, MAX_BINS)
    if depth <= EXACT_DEPTH:
        yield "mtopt, exact", *ours(data, depth, "exact")


def table(rounds: int, folder: pathlib.Path | None, names: list[str]) -> None:
    """Prints the table."""
    installed = (
        f"{name} {importlib.import_module(name).__version__}"
        for name in ("lightgbm", "xgboost", "sklearn")
        if importlib.util.find_spec(name) is not None
    )
    print(f"{TREES} trees, {MAX_BINS} bins, {rounds} turns; {', '.join(installed)}")
    print(
        f"{'data':<9}{'rows':>6}{'columns':>8}{'depth':>6}  {'learner':<13}"
        f"{'compile s':>10}{'ms a tree':>10}{'/ lightgbm':>11}"
        f"{'test RMSE':>11}{'/ lightgbm':>11}"
    )
    for name in names:
        data = divided(name, folder)
        if data is None:
            continue
        for depth in DEPTHS:
            lines(name, data, depth, rounds)


def lines(name: str, data: Division, depth: int, rounds: int) -> None:
    """Prints the lines of one data set and depth."""
    found = list(learners(data, depth))
    spent: dict[str, list[float]] = {learner: [] for learner, _, _ in found}
    error = {}
    for turn in range(rounds + 1):
        for learner, _, fit in found:
            begin = seconds()
            predict = fit()
            # The first fit finds nothing in the caches.
            if turn:
                spent[learner].append(seconds() - begin)
            else:
                apart = np.asarray(predict(data.x_test)) - data.y_test
                error[learner] = np.sqrt(np.mean(apart**2))
    for learner, compiling, _ in found:
        times = spent[learner]
        line = (
            f"{name:<9}{data.x.shape[0]:>6}{data.x.shape[1]:>8}{depth:>6}  "
            f"{learner:<13}{compiling:>10.1f}{1e3 * min(times) / TREES:>10.2f}"
        )
        if BESIDE in spent:
            pairs = zip(times, spent[BESIDE], strict=True)
            slower = statistics.median(mine / other for mine, other in pairs)
            line += f"{slower:>11.2f}{error[learner]:>11.4f}"
            line += f"{error[learner] / error[BESIDE]:>11.4f}"
        else:
            line += f"{'':>11}{error[learner]:>11.4f}"
        print(line, flush=True)
