"""What both experiments on robust boosting are told."""

import dataclasses

from ..common.config import BaseConfig, option
from .learners import LEARNERS


@dataclasses.dataclass(kw_only=True)
class LearnersConfig(BaseConfig):
    """Learners beside each other.

    Attributes:
      methods: the learners, each a name, or one with options.
      learning_rate: of all learners, above 0.
      search: choose iterations by cross-validation.
    """

    methods: tuple[str, ...] = option(tuple(LEARNERS), entries=1)
    learning_rate: float = option(0.1, above=0)
    search: bool = False
