"""The configuration of R-MTGB on synthetic tasks."""

import dataclasses

from mtopt.data.tables.boosting_scenarios import KINDS
from mtopt.errors import expect

from ...common.config import option
from ..config import LearnersConfig


@dataclasses.dataclass(kw_only=True)
class Config(LearnersConfig):
    """Learners on repeated draws of a scenario.

    Attributes:
      methods: the learners, each a name, or one with options.
      scenario: 1, one function for all tasks; 2, independent ones; 3, a common and an
        own part; 4, so too, and outliers with another common part.
      kind: ``regression`` or ``classification``.
      repeats: draws, with seeds from 0 on.
      learning_rate: of all learners, above 0.
      search: choose iterations by cross-validation.
    """

    scenario: int = 4
    kind: str = option("regression", one_of=KINDS)
    repeats: int = option(20, at_least=1)
    learning_rate: float = option(1.0, above=0)

    def check(self) -> None:
        """Raises for a value that a field may not have."""
        super().check()
        right = self.scenario in (1, 2, 3, 4)
        expect(right, "scenario", self.scenario, "one of 1, 2, 3 and 4")


def get_config() -> Config:
    """The paper's scenario with outliers, all learners, iterations as it chose them."""
    return Config()
