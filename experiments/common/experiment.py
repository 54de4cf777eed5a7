"""What an experiment is, and where to find the one that a name means."""

import dataclasses
import importlib
import pathlib
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from mtopt.errors import UserError, nearest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = __name__.rsplit(".", 2)[0]

Job = Callable[[pathlib.Path], None]
"""Called with the folder of a run: does what is not finished there yet."""


@runtime_checkable
class Experiment(Protocol):
    """What the command line asks of an experiment; a project's package is one."""

    @property
    def get_config(self) -> Callable[[], Any]:
        """``() -> configuration``, every field of which the command line can set."""
        ...

    @property
    def prepare(self) -> Callable[[Any, str, pathlib.Path | None], Job]:
        """``(configuration, name, data_dir) -> job``.

        It checks and builds all that the job needs without touching a file, and raises
        :class:`mtopt.UserError` for anything that can't be run.
        """
        ...


@dataclasses.dataclass(frozen=True)
class ConfiguredComparison:
    """An experiment that is a configuration alone.

    It is run by what its class stands beside: ``common.runner``, or ``run`` of the
    project whose settings it has.
    """

    get_config: Callable[[], Any]

    def prepare(
        self, config: Any, experiment: str, data_dir: pathlib.Path | None
    ) -> Job:
        """As :attr:`Experiment.prepare`."""
        return _runner_of(config).prepare(config, experiment, data_dir)


def estimate(config: Any, experiment: str, data_dir: pathlib.Path | None) -> str:
    """What the steps of an experiment will take, as text.

    Args:
      config: its configuration.
      experiment: its name.
      data_dir: the user's folder of data sets.

    Raises:
      UserError: for an experiment that says nothing of it, or that can't be run.
    """
    runner = _runner_of(config)
    if not hasattr(runner, "estimate"):
        raise UserError(
            f"{experiment} has no estimate: expected an experiment that compares "
            "methods on a data set, outlier_tasks or pareto_gnn"
        )
    return runner.estimate(config, experiment, data_dir)


def _runner_of(config: Any) -> Any:
    """What runs a configuration, and with it all that trains and draws."""
    room = type(config).__module__.rpartition(".")[0]
    if room != __package__:
        return importlib.import_module(f"{room}.run")
    from . import runner

    return runner


CONFIGURATIONS = tuple(
    sorted(
        path.stem
        for path in (ROOT / "configurations").glob("*.py")
        if path.stem != "__init__"
    )
)
PROJECTS = {
    "architectures": "architectures",
    "auxiliary": "auxiliary",
    "joint_labels": "joint_labels",
    "molecules": "molecules",
    "outlier_tasks": "outlier_tasks",
    "pareto_front": "pareto_front",
    "pareto_gnn": "pareto_gnn",
    "raters": "raters",
    "robust_boosting_real": "robust_boosting.real",
    "robust_boosting_synthetic": "robust_boosting.synthetic",
    "scenes_sharing": "scenes_sharing",
    "toy": "toy",
}
"""Name to the package that is the experiment."""

EXPERIMENTS = tuple(sorted((*CONFIGURATIONS, *PROJECTS)))
"""The names of all experiments."""


def find_experiment(name: str) -> Experiment:
    """The experiment of a name, imported.

    Raises:
      UserError: for an unknown name.
    """
    if name in PROJECTS:
        package: Any = importlib.import_module(f"{PACKAGE}.{PROJECTS[name]}")
        return package
    if name not in CONFIGURATIONS:
        raise UserError(f"no experiment {name!r}: {nearest(name, EXPERIMENTS)}")
    module = importlib.import_module(f"{PACKAGE}.configurations.{name}")
    return ConfiguredComparison(module.get_config)
