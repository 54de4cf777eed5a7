"""The configuration of R-MTGB on the tables of its paper."""

import dataclasses

from ...common.config import option, seeds_option
from ..config import LearnersConfig
from .published import SOURCES


@dataclasses.dataclass(kw_only=True)
class Config(LearnersConfig):
    """Learners on the paper's data sets.

    Attributes:
      methods: the learners, each a name, or one with options.
      data: names of data sets; ``all`` is those that the folder has.
      seeds: of theta.
      learning_rate: of all learners, above 0.
      search: choose iterations by cross-validation.
      standardize: regression learns targets of mean 0 and standard deviation 1.
    """

    data: tuple[str, ...] = option(("all",), entries=1, one_of=(*SOURCES, "all"))
    seeds: tuple[int, ...] = seeds_option()
    standardize: bool = True


def get_config() -> Config:
    """All data sets that there are, with fixed iterations."""
    return Config()
