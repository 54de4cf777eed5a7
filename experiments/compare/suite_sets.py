"""The suite: its data sets, each at a budget that two cores have, and its methods."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

from mtopt.errors import UserError, nearest

from ..common.config import Optimizer
from ..common.experiment import PROJECTS, find_experiment
from ..common.paired import TUNED_WEIGHTS
from ..common.stored_run import StoredRun
from ..common.stored_sweep import StoredSweep

TRIALS = 5
SEEDS = (0, 1, 2)
METHODS = (
    TUNED_WEIGHTS,
    "equal_weighting",
    # The four families: the published MGDA of ParetoGNN, the same in flat regions.
    "mgda(normalize='l2')",
    "flat_regions(mgda(normalize='l2'))",
    "rep_mtl(equal_weighting)",
    "outlier_weighted(equal_weighting)",
    # One of each kind: by losses, the Gramian, the gradients, parts of the batch.
    "uncertainty_weighting",
    "cagrad",
    "graddrop",
    "modo",
)
"""What is compared beside single-task models. None decides by a preference: no set
comes with one."""


class Member(NamedTuple):
    """A data set of the suite.

    Where its experiment is a project, such as graph pretexts, whose encoder no
    validation data judges, there are no trials: it is run as it is.

    Attributes:
      group: what kind of data it is, by which several are asked for at once.
      experiment: what it is a budget of.
      fields: of the experiment's configuration, in place of its own.
    """

    group: str
    experiment: str
    fields: dict[str, Any]

    @property
    def is_project(self) -> bool:
        """Whether it has a way of its own to train, and a table of its own."""
        return self.experiment in PROJECTS


SUITE = {
    "multi_mnist": Member(
        "image",
        "multi_mnist",
        {
            "data": "multi_mnist(variant='sener_koltun', num_train=20000, "
            "num_valid=2000, num_test=4000)",
            "model": "mlp(hidden=(256, 128))",
            "steps": 500,
            "batch_size": 128,
            "eval_every": 100,
            "stack_seeds": True,
        },
    ),
    "cifar100": Member(
        "image",
        "rep_mtl_cifar100",
        {
            "model": "mlp(hidden=(128,))",
            "steps": 150,
            "eval_every": 50,
            "stack_seeds": True,
            "optimizer": Optimizer(learning_rate=1e-3, schedule="cosine_decay"),
        },
    ),
    "census_income": Member(
        "table", "census_income", {"steps": 400, "eval_every": 100}
    ),
    "sarcos": Member("table", "sarcos", {"steps": 600, "eval_every": 100}),
    "energy": Member(
        "table",
        "npz",
        {
            "data": "npz(path='mulan_mtr/enb.npz', kind='regression')",
            "model": "mlp(hidden=(64, 64))",
            "steps": 1000,
            "batch_size": 64,
            "optimizer": Optimizer(learning_rate=3e-3, schedule="cosine_decay"),
        },
    ),
    "cars": Member(
        "table",
        "table",
        {
            "data": "table(path='cars/cars.csv', tasks=('Miles_per_Gallon', "
            "'Acceleration', 'Horsepower', 'Origin'), features=('Cylinders', "
            "'Displacement', 'Weight_in_lbs', 'Year'), kind={'Horsepower': "
            "'regression'})",
            "model": "mlp(hidden=(64, 64))",
            "steps": 600,
            "batch_size": 64,
            "eval_every": 50,
        },
    ),
    "school": Member(
        "disjoint",
        "school",
        {
            "steps": 300,
            "eval_every": 50,
            "optimizer": Optimizer("adamw(weight_decay=1e-2)", 3e-3, "cosine_decay"),
        },
    ),
    "landmine": Member("disjoint", "landmine", {"steps": 200, "eval_every": 50}),
    "tox21": Member(
        "molecules",
        "tox21",
        {
            "model": "mlp(hidden=(128,), dropout=0.3)",
            "steps": 200,
            "batch_size": 128,
        },
    ),
    "toxcast": Member(
        "molecules",
        "toxcast",
        {
            "data": "npz(path='toxcast/data.npz', min_labels=1400)",
            "model": "mlp(hidden=(16,), dropout=0.3)",
            "steps": 150,
            "batch_size": 64,
            "eval_every": 50,
        },
    ),
    "qm8": Member(
        "molecules",
        "qm8",
        {
            "model": "mlp(hidden=(64, 64))",
            "steps": 600,
            "batch_size": 64,
            "eval_every": 100,
        },
    ),
    "reviews": Member(
        "text",
        "rep_mtl_reviews",
        {"steps": 200, "eval_every": 40, "batch_size": 16},
    ),
    "cora": Member(
        "graph",
        "pareto_gnn",
        {"data": "graph_npz(path='graph_cora/data.npz', scale='rows')"},
    ),
}
"""Every set by its name."""
GROUPS = tuple(dict.fromkeys(member.group for member in SUITE.values()))


def named_sets(names: list[str]) -> list[str]:
    """The sets asked for, each once and in the order of the suite.

    Args:
      names: of sets, and of groups of them; none for all.

    Raises:
      UserError: for another name.

    Example:
      >>> named_sets(["school", "text", "disjoint"])
      ['school', 'landmine', 'reviews']
    """
    for name in names:
        if name not in SUITE and name not in GROUPS:
            raise UserError(f"--sets={name}: {nearest(name, [*SUITE, *GROUPS])}")
    return [
        name
        for name, member in SUITE.items()
        if not names or {name, member.group} & {*names}
    ]


def run_of(name: str, data_dir: pathlib.Path | None) -> StoredRun:
    """What a set is, before the suite's methods.

    Args:
      name: of the set.
      data_dir: the user's folder of data sets.
    """
    _, experiment, fields = SUITE[name]
    config = find_experiment(experiment).get_config()
    return StoredRun(experiment, dataclasses.replace(config, **fields), data_dir)


def sweep_of(name: str, data_dir: pathlib.Path | None) -> StoredSweep:
    """The sweep of a set that is no project; arguments as of :func:`run_of`."""
    run = run_of(name, data_dir)
    config = dataclasses.replace(
        run.config,
        methods=METHODS,
        seeds=SEEDS,
        single_task=True,
        paired=1,
        checkpoint_every=run.config.steps,
    )
    return StoredSweep(run._replace(config=config), TRIALS)
