"""What is tuned: the search space of every method, and the draws from it."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import loguniform, uniform
from sklearn.model_selection import ParameterSampler

from ..common.tuned import Numbers
from .texts import set_options, with_options

RATE = "learning_rate"
DECADE = 10.0
"""How far the learning rate may be from that of the experiment, as a factor."""
DIGITS = 4
"""What is drawn is rounded to, so that a setting can be read and typed."""


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

    They are decided by the names alone: other methods leave them as they are, and more
    trials are the same ones and others behind them. An option that the text sets keeps
    its value.

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
      >>> of_two == of_three[:2], of_two[0].text.startswith("cagrad(c=0.")
      (True, True)
    """
    known, told = options(num_tasks), set_options(text)
    space = {
        (name, option): distribution
        for name in told
        for option, distribution in known.get(name, {}).items()
        if option not in told[name]
    }
    flat = {".".join(key): distribution for key, distribution in space.items()}
    flat[RATE] = loguniform(learning_rate / DECADE, learning_rate * DECADE)
    digest = hashlib.sha256(f"{experiment}\n{method}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    found = []
    for values in ParameterSampler(flat, trials, random_state=seed):
        own: dict[str, dict[str, Any]] = {}
        for name, option in space:
            value = _rounded(values[f"{name}.{option}"])
            own.setdefault(name, {})[option] = value
        rate = _rounded(values[RATE])
        found.append(Draw(with_options(text, own), Numbers(rate, own)))
    return found


def _rounded(value: Any) -> Any:
    """To :data:`DIGITS` significant digits."""
    if isinstance(value, tuple):
        return tuple(map(_rounded, value))
    return float(f"{value:.{DIGITS}g}")
