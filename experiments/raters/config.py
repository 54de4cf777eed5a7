"""The configuration of the raters."""

import dataclasses

from ..common.config import BaseConfig, Optimizer, option, seeds_option

HEADS = (
    "adjacent_severity",
    "adjacent",
    "cumulative_severity",
    "cumulative",
    "softmax_biases",
    "softmax",
)


@dataclasses.dataclass(kw_only=True)
class Config(BaseConfig):
    """Heads on ratings, with and without parameters of the raters.

    Attributes:
      methods: the heads, of ``adjacent`` and ``cumulative`` (one score and thresholds),
        each also with ``_severity``, ``softmax`` and ``softmax_biases`` (a bias for
        every rater and level).
      path: of the file, in the folder of data sets; samples of task k are rater k's.
      hidden: widths of the encoder's hidden layers; none is the inputs themselves.
      penalties: of the squared parameters of the raters, summed, over the number of
        ratings; which of them it is, validation data decides.
      optimizer: what follows the gradient of all training data.
      seeds: of the splits, a tenth for validation and three for the test.
      steps: optimizer steps.
    """

    methods: tuple[str, ...] = option(HEADS, entries=1, one_of=HEADS)
    path: str = "computer/data.npz"
    hidden: tuple[int, ...] = ()
    penalties: tuple[float, ...] = option(
        (0.03, 0.1, 0.3, 1.0, 3.0, 10.0), entries=1, at_least=0
    )
    optimizer: Optimizer = dataclasses.field(
        default_factory=lambda: Optimizer("adam", 0.05, "cosine_decay")
    )
    seeds: tuple[int, ...] = seeds_option()
    steps: int = option(500, at_least=1)


def get_config() -> Config:
    """All heads on the profiles' own features."""
    return Config()
