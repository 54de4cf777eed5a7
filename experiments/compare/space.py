"""What is tuned: the search space of every method, and the draws from it."""

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import loguniform, uniform
from scipy.stats.qmc import Halton
from sklearn.model_selection import ParameterSampler

from mtopt.methods import METHODS
from mtopt.transforms import TRANSFORMS
from mtopt.transforms.perturbed import DEFAULT_RHO
from mtopt.wrappers import WRAPPERS

from ..common.tuned import Numbers
from .texts import set_options, with_options

DECADE = 10.0
"""How far the learning rate may be from that of the experiment, as a factor."""
DIGITS = 4
"""What is drawn is rounded to, so that a setting can be read and typed."""

UNSET = {"rho": DEFAULT_RHO}
"""What a default of None stands for."""
INSTEAD = {"rho": ("rho_shared", "rho_task")}
"""What a text may set in place of an option."""


class Simplex:
    """Weights of K tasks that sum to 1, all alike probable.

    Args:
      num_tasks: K.
    """

    def __init__(self, num_tasks: int) -> None:
        self._ones = np.ones(num_tasks)

    def rvs(self, random_state: np.random.RandomState) -> tuple[float, ...]:
        """One draw."""
        return tuple(random_state.dirichlet(self._ones).tolist())

    @property
    def middle(self) -> tuple[float, ...]:
        """The weights that are all the same, for a method that has no default."""
        return tuple((self._ones / len(self._ones)).tolist())


def options(num_tasks: int) -> dict[str, dict[str, Any]]:
    """The options that are tuned beside the learning rate, and how they are drawn.

    The registry of search spaces. Ranges hold the default of each option, and what its
    docstring says that the authors use. What has no entry is tuned by its learning rate
    alone.

    Args:
      num_tasks: K.

    Returns:
      Name of a method, a wrapper or a transformation to option to distribution.
    """
    coefficient = loguniform(1e-2, 1e1)
    radius = loguniform(2.5e-3, 2.0)
    share = uniform(0, 1)
    return {
        "bloop": {"aux_weight": coefficient},
        "cagrad": {"c": share},
        "db_mtl": {"beta": uniform(0, 0.99)},
        "dynamic_weight_average": {"temperature": loguniform(0.5, 8)},
        "excess_mtl": {"eta": loguniform(1e-3, 1)},
        "fairgrad": {"alpha": loguniform(0.5, 8)},
        "famo": {"gamma": loguniform(1e-5, 1e-2)},
        "fixed_weighting": {"weights": Simplex(num_tasks)},
        "flat_regions": {"rho": radius},
        "gradcraft": {"tau": uniform(0.1, 0.9)},
        "graddrop": {"leak": share},
        "gradnorm": {"alpha": uniform(0, 3)},
        "gradvac": {"beta": loguniform(1e-3, 0.5)},
        "imgrad": {"c": share},
        "per_task_sam": {"rho": radius},
        "rep_mtl": {"tsr": coefficient, "csa": coefficient},
        "sam": {"rho": radius},
        "sdmgrad": {"lam": coefficient},
        "smooth_tchebycheff": {"mu": loguniform(1e-2, 1e1)},
        "smooth_tchebycheff_warmup": {"mu": loguniform(1e-2, 1e1)},
    }


Space = Mapping[tuple[str, str], Any]
"""Name of a method, a wrapper or a transformation, and option, to distribution."""


class Draw(NamedTuple):
    """The setting of a trial.

    Attributes:
      text: the method with its options.
      numbers: what was drawn: these options, and the learning rate of the optimizer
        behind it.
    """

    text: str
    numbers: Numbers


def draws(
    experiment: str,
    method: str,
    text: str,
    *,
    learning_rate: float,
    num_tasks: int,
    trials: int,
) -> list[Draw]:
    """The settings of a method's trials.

    The first is what the method is without tuning: its defaults, at the learning rate
    of the experiment, so that tuning finds nothing worse; weights without a default are
    all the same. The others are drawn. Trial i of every method has the same learning
    rate, so that none wins by a luckier one, and few rates are spread over the range:
    a scrambled Halton sequence. Options are drawn at random. All are decided by the
    names alone: other methods leave them as they are, and more trials are the same ones
    and others behind them. An option that the text sets keeps its value.

    Source:
      Gulrajani and Lopez-Paz, "In Search of Lost Domain Generalization", ICLR 2021
      (arXiv:2007.01434), whose code begins each search with the defaults, too. Bousquet
      et al., "Critical Hyper-Parameters: No Random, No Cry", 2017 (arXiv:1706.03200),
      for the sequence.

    Args:
      experiment: the name of the experiment.
      method: what is tuned, by its name in the table.
      text: of the method that is trained.
      learning_rate: of the experiment; drawn from a tenth to ten times of it.
      num_tasks: K.
      trials: how many.

    Raises:
      UserError: for a text that can't be read.

    Example:
      >>> of_two = draws("it", "cagrad", "cagrad", learning_rate=0.01, num_tasks=2,
      ...                trials=2)
      >>> of_three = draws("it", "cagrad", "cagrad", learning_rate=0.01, num_tasks=2,
      ...                  trials=3)
      >>> of_two == of_three[:2], of_two[0].text, of_two[0].numbers.learning_rate
      (True, 'cagrad(c=0.5)', 0.01)
    """
    known, told = options(num_tasks), set_options(text)
    space = {
        (name, option): distribution
        for name in told
        for option, distribution in known.get(name, {}).items()
        if not told[name] & {option, *INSTEAD.get(option, ())}
    }
    rates = _rates(experiment, learning_rate, trials)
    drawn = [_defaults(space), *_drawn_options(experiment, method, space, trials - 1)]
    return [
        _draw(text, values, space, rate)
        for values, rate in zip(drawn, rates, strict=True)
    ]


def _rates(experiment: str, middle: float, trials: int) -> list[float]:
    """That of the experiment, and others about it, the same for every method."""
    points = Halton(1, rng=_seed(experiment)).random(trials - 1)[:, 0]
    drawn = loguniform(middle / DECADE, middle * DECADE).ppf(points)
    return [middle, *drawn.tolist()]


def _drawn_options(
    experiment: str, method: str, space: Space, count: int
) -> list[dict[str, Any]]:
    """At random; as many empty ones where there is nothing to draw."""
    if not space or not count:
        return [{}] * count
    flat = {".".join(key): distribution for key, distribution in space.items()}
    seed = _seed(f"{experiment}\n{method}")
    return list(ParameterSampler(flat, count, random_state=seed))


def _seed(names: str) -> int:
    """The same on every machine."""
    return int.from_bytes(hashlib.sha256(names.encode()).digest()[:4], "big")


def _draw(text: str, values: Mapping[str, Any], space: Space, rate: float) -> Draw:
    """The method at some values, rounded."""
    own: dict[str, dict[str, Any]] = {}
    for name, option in space:
        value = _rounded(values[f"{name}.{option}"])
        own.setdefault(name, {})[option] = value
    return Draw(with_options(text, own), Numbers(_rounded(rate), own))


def _defaults(space: Space) -> dict[str, Any]:
    """What each option is where nobody sets it; of weights, all the same."""
    found = {}
    for (name, option), distribution in space.items():
        maker = {**METHODS, **WRAPPERS, **TRANSFORMS}[name]
        default = inspect.signature(maker).parameters[option].default
        if default is inspect.Parameter.empty:
            default = distribution.middle
        found[f"{name}.{option}"] = UNSET[option] if default is None else default
    return found


def _rounded(value: Any) -> Any:
    """To :data:`DIGITS` significant digits."""
    if isinstance(value, tuple):
        return tuple(map(_rounded, value))
    return float(f"{value:.{DIGITS}g}")
