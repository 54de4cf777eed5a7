"""The configuration of the auxiliary task."""

import dataclasses

from ..common.config import FittedConfig, option

ALONE = "single_task(task=0)"
METHODS = (
    ALONE,
    "fixed_weighting(weights=(1.0, 1.0))",
    "fixed_weighting(weights=(1.0, 10.0))",
    "mgda",
    "bloop(aux_weight=1.0)",
    "bloop(aux_weight=10.0)",
    "auto_lambda(primary=(0,))",
)


@dataclasses.dataclass(kw_only=True)
class Config(FittedConfig):
    """Methods on few labels beside a reconstruction.

    Attributes:
      methods: the first is what all others are compared with; task 0 is the digit, task
        1 the reconstruction.
      labels: how many training images are labelled; each number is a comparison.
      masked: the share of hidden pixels.
      hidden: widths of the encoder's layers.
      seeds: of the division, of which images are labelled, and of the model.
      steps: optimizer steps.
      batch_size: labelled images in a step, and as many of all training images; all
        that are labelled, where they are fewer.
      eval_every: steps between validations.
      steps_per_call: one, unlike elsewhere: a call of many steps is compiled anew for
        the data of every seed.
    """

    methods: tuple[str, ...] = option(METHODS, entries=2)
    labels: tuple[int, ...] = option((50, 150), entries=1, at_least=2)
    masked: float = option(0.5, above=0, below=1)
    hidden: tuple[int, ...] = (128, 128)
    seeds: tuple[int, ...] = option(tuple(range(10)), entries=1, at_least=0)
    steps: int = option(600, at_least=1)
    checkpoint_every: int = option(600, at_least=1)
    steps_per_call: int = option(1, at_least=0)
    batch_size: int = option(128, at_least=1)
    eval_every: int = option(50, at_least=1)


def get_config() -> Config:
    """Seven methods, 50 and 150 labels, ten seeds."""
    return Config()
