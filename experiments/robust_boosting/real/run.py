"""R-MTGB on the tables of its paper: school, computer, landmine, abalone, bank, avila.

``python -m experiments.main --experiment=robust_boosting_real --data_dir=DIR``, where
DIR holds ``NAME/data.npz`` with the arrays ``x`` ``[N, D]``, ``y`` ``[N]`` and ``task``
``[N]``: numbers, or classes 0 to C - 1. All sets of the paper that DIR has are run, or
those of ``--config.data="('school', 'bank')"``. The split is the paper's, a random
fifth of the rows for testing; ``--config.seeds`` are those of theta, for the learners
that have one. Options go with the learner, as in
:mod:`experiments.robust_boosting_synthetic`, and ``--config.search`` chooses iterations
by 5-fold cross-validation over the paper's grids.

Without it they are fixed to what that search chose: on school, computer, abalone,
landmine and, but for ``r_mtgb``, bank (6 to 11 minutes a set with three seeds, on two
busy cores). ``r_mtgb`` has the published ones on bank, avila and parkinson, and the
search found them again on school and abalone. Those of the other learners on avila and
parkinson are inferred by analogy with the other sets.

The six sets take 4 minutes on a CPU with two cores, most of it compiling. Test RMSE, or
accuracy from landmine on, published and ours; of ``r_mtgb`` the mean of three seeds:

========  ============= ============= ============= ============= ===============
data      r_mtgb        mtgb          stl           pooling       task_as_feature
========  ============= ============= ============= ============= ===============
school    10.169 10.165 10.193 10.193 10.347 10.345 10.445 10.445 10.429 10.429
computer  2.518 1.949   2.541 1.964   2.798 2.056   2.513 2.513   2.449 2.449
abalone   2.302 2.305   2.323 2.323   2.364 2.364   2.444 2.444   2.420 2.420
landmine  .9443 .9439   .9443 .9440   .9450 .9443   .9376 .9376   .9376 .9376
bank      .8924 .8923   .8912 .8912   .8893 .8893   .8859 .8859   .8859 .8859
avila     .5689 .6049   .5531 .5898   .5722 .6562   .4895 .4990   .4408 .5055
========  ============= ============= ============= ============= ===============

With its published settings ``r_mtgb`` has 2.528 on computer, (50, 30, 0), and .9443 on
landmine, (50, 50, 50); the searched ones give all shown.

Regression learns standardised targets, ``--config.standardize=false`` the raw ones, as
published; errors are in units of the target in either case.

Where ours differ:

- computer: 4 of the 190 tasks have no test row, and the released code then gives the
  rows of other tasks a wrong task's trees. Ours read that way, after 20 iterations of
  ``stl`` on raw targets, have the published 2.798; read rightly 2.172. That may be why
  ``r_mtgb`` and ``mtgb`` were published without block 3; here the search gives both 20
  iterations of it, and a fifth less error.
- landmine: ``stl``, ``mtgb`` and ``r_mtgb`` differ by one or two of 2,964 rows.
- avila was published on another split, on which its order can't be checked.
- Ranks over all 415 tasks, 190 of them computer's: ``r_mtgb`` 2.46, ``mtgb`` 2.64,
  ``stl`` 2.84, ``pooling`` 3.48, ``task_as_feature`` 3.58, critical difference .30:
  ``r_mtgb`` is first, as it was published to be over other tasks, but not
  significantly before ``mtgb``.
"""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from sklearn.model_selection import train_test_split

from experiments import boosting_report as report
from experiments.boosting_learners import (
    LEARNERS,
    Fitted,
    Learner,
    build,
    folds,
    name_of,
    run_all,
)
from experiments.ending import conclude
from experiments.pictures import INK, head, save, style_of, tidy
from experiments.table import align, cells
from mtopt.data.tables.boosting_scenarios import Rows
from mtopt.data.tables.npz_file import read_arrays
from mtopt.errors import UserError, expect, nearest
from mtopt.metrics.ranks import Ranking, ranking

SPLIT_SEED = 42
TEST_SHARE = 0.2
LONGEST = 100  # iterations of a block that a search tries
KEYS = ("x", "y", "task")


class Source(NamedTuple):
    """A data set of the paper.

    Attributes:
      kind: ``regression`` or ``classification``.
      counts: iterations of the five learners, in the order of ``LEARNERS``; where from
        is said above.
      published: test RMSE or accuracy, likewise.
      second: what was published of MAE or macro recall: learner to score.
    """

    kind: str
    counts: tuple[tuple[int, int, int], ...]
    published: tuple[float, ...]
    second: Mapping[str, float]


def _counts(r_mtgb, mtgb, stl, others):
    """Both pooled learners ran equally long."""
    return (r_mtgb, mtgb, (0, 0, stl), (others, 0, 0), (others, 0, 0))


SOURCES = {
    "school": Source(
        "regression",
        _counts((50, 50, 20), (50, 0, 20), 50, 100),
        (10.169, 10.193, 10.347, 10.445, 10.429),
        {"r_mtgb": 8.051, "mtgb": 8.074, "stl": 8.187},
    ),
    "computer": Source(
        "regression",
        _counts((50, 50, 20), (50, 0, 20), 20, 100),
        (2.518, 2.541, 2.798, 2.513, 2.449),
        {"r_mtgb": 2.072, "task_as_feature": 2.046},
    ),
    "parkinson": Source(
        "regression",
        _counts((0, 20, 100), (20, 0, 100), 100, 100),
        (0.259, 0.305, 0.252, 8.726, 6.469),
        {"r_mtgb": 0.110, "stl": 0.096},
    ),
    "abalone": Source(
        "regression",
        _counts((50, 50, 100), (50, 0, 100), 100, 100),
        (2.302, 2.323, 2.364, 2.444, 2.420),
        {"r_mtgb": 1.628},
    ),
    "landmine": Source(
        "classification",
        _counts((50, 50, 30), (30, 0, 30), 50, 20),
        (0.9443, 0.9443, 0.9450, 0.9376, 0.9376),
        {"r_mtgb": 0.562, "stl": 0.567},
    ),
    "bank": Source(
        "classification",
        _counts((50, 50, 100), (50, 0, 100), 100, 100),
        (0.8924, 0.8912, 0.8893, 0.8859, 0.8859),
        {"r_mtgb": 0.589},
    ),
    "avila": Source(
        "classification",
        _counts((50, 50, 20), (50, 0, 20), 100, 100),
        (0.5689, 0.5531, 0.5722, 0.4895, 0.4408),
        {"r_mtgb": 0.327, "stl": 0.418},
    ),
}


@dataclasses.dataclass
class Config:
    """Learners on the paper's data sets.

    Attributes:
      methods: the learners, each a name, or one with options.
      data: names of data sets; ``all`` is those that the folder has.
      seeds: of theta.
      learning_rate: of all learners, above 0.
      search: choose iterations by cross-validation.
      standardize: regression learns targets of mean 0 and standard deviation 1.
    """

    methods: tuple[str, ...] = tuple(LEARNERS)
    data: tuple[str, ...] = ("all",)
    seeds: tuple[int, ...] = (0, 1, 2)
    learning_rate: float = 0.1
    search: bool = False
    standardize: bool = True


@dataclasses.dataclass(frozen=True)
class Table:
    """A data set, divided.

    Attributes:
      name: of :data:`SOURCES`.
      train: rows to fit.
      test: rows to predict.
      num_tasks: T.
      num_classes: None for regression.
    """

    name: str
    train: Rows
    test: Rows
    num_tasks: int
    num_classes: int | None

    @property
    def kind(self) -> str:
        """Regression or classification."""
        return SOURCES[self.name].kind

    @property
    def measure(self) -> report.Measure:
        """What it is judged by."""
        return report.MEASURES[self.kind]


@dataclasses.dataclass(frozen=True)
class Result:
    """What all learners predicted.

    Attributes:
      experiment: its name, for titles.
      config: what was run.
      fitted: data set and learner to what it came to, in pairs with the data set.
    """

    experiment: str
    config: Config
    fitted: list[tuple[Table, dict[str, Fitted]]]

    @property
    def title(self) -> str:
        """What was compared."""
        return f"{self.experiment}: learning rate {self.config.learning_rate:g}"

    @functools.cached_property
    def ranks(self) -> Ranking | None:
        """The learners' ranks, each task of a data set a case; None for one learner.

        A task's score is its mean over seeds; tasks without a test row are left out.
        """
        if len(self.config.methods) < 2:
            return None
        values, higher = [], []
        for data, fitted in self.fitted:
            task, targets = data.test.task, data.test.targets
            rows = [
                report.scores_of_tasks(
                    data.kind,
                    found.said,
                    np.broadcast_to(targets, found.said.shape),
                    task,
                    data.num_tasks,
                ).mean(axis=0)
                for found in fitted.values()
            ]
            present = np.unique(task)
            values.append(np.stack(rows)[:, present])
            higher += [data.measure.higher] * len(present)
        return ranking(np.concatenate(values, axis=1), higher)


def get_config() -> Config:
    """All data sets that there are, with fixed iterations."""
    return Config()


def prepare(
    config: Config, experiment: str, data_dir: pathlib.Path | None
) -> Callable[[pathlib.Path], None]:
    """Checks and reads all that the runs need, without writing a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: the folder of the data sets.

    Returns:
      The job: called with a folder, it runs the learners that are not finished there
      yet, and leaves predictions, results, the table and the pictures in it.

    Raises:
      UserError: for anything in the configuration that can't be run, or a missing or
        damaged data set.
    """
    right = 0 < config.learning_rate < math.inf
    expect(right, "learning_rate", config.learning_rate, "a positive number")
    expect(bool(config.seeds), "seeds", config.seeds, "one at least")
    if data_dir is None:
        raise UserError(
            "no folder of data sets: name one with --data_dir or MTOPT_DATA_DIR"
        )
    names = _names(config.data, data_dir)
    learners = {}
    for name in names:
        counts = dict(zip(LEARNERS, SOURCES[name].counts, strict=True))
        learners[name] = build(config.methods, counts, LONGEST)
    tables = [_read(name, data_dir) for name in names]

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        fitted = [
            (data, _fitted(folder, data, learners[data.name], config))
            for data in tables
        ]
        result = Result(experiment, config, fitted)
        conclude(folder, table(result), summary(result), pictures(result), started)

    return job


def _names(asked: tuple[str, ...], data_dir: pathlib.Path) -> list[str]:
    """The data sets to run."""
    expect(bool(asked), "data", asked, "names of data sets, or all")
    for name in asked:
        if name not in SOURCES and name != "all":
            raise UserError(f"no data set {name!r}: {nearest(name, [*SOURCES, 'all'])}")
    found = [name for name in SOURCES if _file(name, data_dir).is_file()]
    if "all" in asked and not found:
        raise UserError(
            f"{data_dir} has no NAME/data.npz: expected one of {', '.join(SOURCES)}"
        )
    return found if "all" in asked else [name for name in SOURCES if name in asked]


def _file(name: str, data_dir: pathlib.Path) -> pathlib.Path:
    return data_dir / name / "data.npz"


def _read(name: str, data_dir: pathlib.Path) -> Table:
    path = _file(name, data_dir)
    arrays = read_arrays(path, KEYS.__contains__)
    if lacking := [key for key in KEYS if key not in arrays]:
        raise UserError(f"{path} has no {', '.join(lacking)}: expected x, y and task")
    x, y, labels = (arrays[key] for key in KEYS)
    sized = x.ndim == 2 and y.shape == labels.shape == x.shape[:1]
    shapes = (x.shape, y.shape, labels.shape)
    expect(sized, f"{path}: x, y and task", shapes, "[N, D], [N] and [N]")
    num_classes, dtype = None, np.float32
    if SOURCES[name].kind == "classification":
        whole = np.isin(y, range(1 + int(y.max()))).all()
        expect(
            bool(whole), f"{path}: y", np.unique(y)[:5].tolist(), "classes from 0 on"
        )
        num_classes, dtype = 1 + int(y.max()), np.int32
    tasks, task = np.unique(labels, return_inverse=True)
    order = np.arange(len(y))
    divided = train_test_split(order, test_size=TEST_SHARE, random_state=SPLIT_SEED)
    train, test = (
        Rows(x[rows], y[rows].astype(dtype), task[rows].astype(np.int32))
        for rows in divided
    )
    return Table(name, train, test, len(tasks), num_classes)


def _fitted(
    folder: pathlib.Path, data: Table, learners: dict[str, Learner], config: Config
) -> dict[str, Fitted]:
    """What the learners came to; predictions in units of the target."""
    train, test = data.train, data.test
    scale = data.num_classes is None and config.standardize
    mean, spread = (train.targets.mean(), train.targets.std()) if scale else (0, 1)
    if scale:
        train = train._replace(targets=(train.targets - mean) / (spread or 1))
    fold = folds(train.task, SPLIT_SEED) if config.search else None
    found = {}
    for name, learner in learners.items():
        # Without block 2 theta has no effect.
        moves = any(learner.grid[1]) if config.search else learner.counts[1]
        seeds = config.seeds if moves else config.seeds[:1]
        found |= run_all(
            folder / f"{data.name}.npz",
            {name: learner},
            _repeated(train, len(seeds)),
            _repeated(test, len(seeds)),
            None if fold is None else np.stack([fold] * len(seeds)),
            num_tasks=data.num_tasks,
            learning_rate=config.learning_rate,
            num_classes=data.num_classes,
            seeds=seeds,
        )
    if not scale:
        return found
    return {
        name: fitted._replace(said=mean + (spread or 1) * fitted.said)
        for name, fitted in found.items()
    }


def _repeated(rows: Rows, times: int) -> Rows:
    return Rows(*(np.broadcast_to(leaf, (times, *leaf.shape)) for leaf in rows))


def scores(data: Table, fitted: Fitted) -> np.ndarray:
    """Both scores of every seed, ``[S, 2]``."""
    targets = np.broadcast_to(data.test.targets, fitted.said.shape)
    return report.scores(data.kind, fitted.said, targets)


def published(data: Table, learner: str) -> float:
    """Its published primary score."""
    of = dict(zip(LEARNERS, SOURCES[data.name].published, strict=True))
    return of[name_of(learner)]


def summary(result: Result) -> dict[str, Any]:
    """The numbers of :func:`table` and theta, as they go into ``results.json``."""
    sets = {}
    for data, fitted in result.fitted:
        learners = {}
        for name, found in fitted.items():
            values = scores(data, found)
            entry: dict[str, Any] = dict(zip(data.measure.names, values.T, strict=True))
            entry |= {
                "published": published(data, name),
                "iterations": found.counts,
                "seconds": float(found.seconds),
            }
            if found.counts[:, 1].any():
                entry["theta"] = found.theta
            learners[name] = entry
        sets[data.name] = {
            "tasks": data.num_tasks,
            "train_rows": len(data.train.task),
            "test_rows": len(data.test.task),
            "learners": learners,
        }
    order = result.ranks
    return {
        "data": sets,
        "ranks": order and report.ranking_results(result.config.methods, order),
    }


def table(result: Result) -> str:
    """A block a data set, ours beside the published, and ranks; no final newline."""
    lines = [result.title]
    for data, fitted in result.fitted:
        lines += ["", *_block(data, fitted)]
    lines += [
        "",
        "published, change: of the first score, and ours against it; ± over seeds of "
        "theta.",
        "s: seconds to compile, fit and predict.",
    ]
    order = result.ranks
    if order is not None:
        lines += report.ranking_lines(result.config.methods, order, "tasks")
    return "\n".join(lines)


def _block(data: Table, fitted: dict[str, Fitted]) -> list[str]:
    """The lines of one data set."""
    source, found = SOURCES[data.name], fitted.values()
    values = [scores(data, one) for one in found]
    first, second = data.measure.names
    digits = 3 if data.kind == "regression" else 4
    reported = [published(data, name) for name in fitted]
    changes = [
        100 * (one[:, 0].mean() / old - 1)
        for one, old in zip(values, reported, strict=True)
    ]
    seconds = [source.second.get(name_of(name)) for name in fitted]
    way = "higher" if data.measure.higher else "lower"
    columns = [
        ["", *fitted],
        ["(n1, n2, n3)", *(report.settings(one.counts) for one in found)],
        [first, *cells([one[:, 0] for one in values], digits)],
        ["published", *(f"{old:.{digits}f}" for old in reported)],
        ["change", *(f"{round(change, 2) + 0.0:+.2f}%" for change in changes)],
        [second, *cells([one[:, 1] for one in values])],
        ["published", *("" if old is None else f"{old:.3f}" for old in seconds)],
        ["s", *(report.seconds(one) for one in found)],
    ]
    return [
        f"{data.name}: {data.num_tasks} tasks, {len(data.train.task):,} rows to fit, "
        f"{len(data.test.task):,} to test; {first} ({way} is better)",
        "",
        *align(columns),
    ]


def pictures(result: Result) -> dict[str, Callable[[pathlib.Path], None]]:
    """What draws each picture: scores, theta and ranks, as far as there are any."""
    found: dict[str, Callable[[pathlib.Path], None]] = {
        "scores.png": functools.partial(scores_picture, result)
    }
    panels = {
        data.name if len(fitted) == 1 else f"{data.name}: {name}": report.gates(
            learner.theta
        )
        for data, fitted in result.fitted
        for name, learner in fitted.items()
        if learner.counts[:, 1].all()
    }
    title, order = result.title, result.ranks
    if panels:
        draw = functools.partial(report.gates_picture, panels, (), title)
        found["theta.png"] = draw
    if order is not None:
        names = result.config.methods
        draw = functools.partial(report.ranks_picture, names, order, "tasks", title)
        found["ranks.png"] = draw
    return found


def scores_picture(result: Result, path: pathlib.Path) -> None:
    """Draws the primary score of every learner beside the published one.

    Args:
      result: the scores.
      path: the PNG file to write.
    """
    names = result.config.methods
    figure, axes = report.grid_of(len(result.fitted), 3.0, 0.9 + 0.32 * len(names))
    for k, (panel, (data, fitted)) in enumerate(zip(axes, result.fitted, strict=False)):
        for i, (name, one) in enumerate(fitted.items()):
            values = scores(data, one)[:, 0]
            style = style_of(i)
            old = {"color": "#999999", "lw": 2, "solid_capstyle": "butt", "zorder": 2}
            panel.plot([published(data, name)] * 2, [i - 0.3, i + 0.3], **old)
            dots = {"color": style["color"], "mew": 0, "ms": 4, "alpha": 0.45}
            panel.plot(values, [i] * len(values), "o", **dots)
            mean = {"color": style["color"], "marker": style["marker"], "mec": "white"}
            panel.plot(values.mean(), i, ms=9, zorder=3, **mean)
        tidy(panel)
        panel.margins(x=0.12)
        panel.set_title(data.name, loc="left", fontsize=10, color=INK)
        panel.set_xlabel(f"test {data.measure.names[0]}")
        report.label_rows(figure, panel, k, names)
    head(figure, result.title)
    handles = [
        Line2D([], [], ls="", marker="o", color=report.GREY, ms=7, label="ours"),
        Line2D([], [], color="#999999", lw=2, label="published"),
    ]
    place = {"loc": "outside lower left", "ncols": 2}
    figure.legend(handles=handles, frameon=False, fontsize=9, **place)
    save(figure, path)
