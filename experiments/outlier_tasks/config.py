"""The configuration of the planted outliers."""

import dataclasses

from mtopt.data.images.planted_outliers import PLANTS

from ..common.config import TrainingConfig, option, seeds_option


@dataclasses.dataclass(kw_only=True)
class Config(TrainingConfig):
    """Aggregators beside each other on tasks of which some are planted outliers.

    Attributes:
      methods: the aggregators.
      plants: what the outliers do: any of ``adversarial``, ``noisy``, ``unrelated``.
      num_tasks: annotators, 2 to 100.
      num_outliers: how many of them are planted, at least 1.
      hidden: widths of the hidden layers of the network.
      optimizer: what follows the aggregator in the chain.
      seeds: one model each.
      steps: optimizer steps.
      batch_size: samples per task and step.
      eval_every: steps between validations.
      log_every: steps between training records, which hold the weights.
      checkpoint_every: steps between checkpoints.
    """

    methods: tuple[str, ...] = option(
        ("equal_weighting", "mgda", "upgrad", "cagrad"), entries=1
    )
    plants: tuple[str, ...] = option(PLANTS, entries=1, one_of=PLANTS)
    num_tasks: int = 10
    num_outliers: int = option(3, at_least=1)
    hidden: tuple[int, ...] = (64,)
    seeds: tuple[int, ...] = seeds_option()
    batch_size: int = option(32, at_least=1)
    eval_every: int = option(100, at_least=1)
    checkpoint_every: int = option(1000, at_least=1)


def get_config() -> Config:
    """The four aggregators that the wrapper was made for, all three plants."""
    return Config()
