"""The configuration of the Pareto front."""

import dataclasses

from ..common.config import Optimizer, TrainingConfig, option, seeds_option


@dataclasses.dataclass(kw_only=True)
class Config(TrainingConfig):
    """One model for many preferences, beside models of a single point.

    Attributes:
      data: a data set of two tasks on shared inputs, as ``name(option=value)`` of
        :data:`mtopt.data.DATASETS`.
      model: the model, likewise of :data:`mtopt.models.MODELS`.
      scalarizations: of the models that see a preference, one each, likewise of
        :data:`~.scalarizations.SCALARIZATIONS`.
      methods: of the models of a single point, likewise of :data:`mtopt.METHODS`.
      optimizer: what follows the method in the chain.
      seeds: of every model; they start from the same parameters and see the same
        batches, whatever the method.
      steps: of every model.
      batch_size: samples per step.
      log_every: steps between training records.
      checkpoint_every: steps between checkpoints.
      preferences: how many the front is traced at, evenly spread inside (0, 1).
      fixed_every: every so many of them has a model of fixed weights of its own.
      alpha: of the symmetric Dirichlet distribution of the preferences, above 0.
      reference: the loss, of either task, up to which the hypervolume counts.
    """

    data: str = "multi_digits"
    model: str = "mlp(hidden=(24,))"
    scalarizations: tuple[str, ...] = option(
        ("linear", "smooth_tchebycheff", "cosmos"), entries=1
    )
    methods: tuple[str, ...] = option(("equal_weighting", "mgda"))
    seeds: tuple[int, ...] = seeds_option()
    steps: int = option(3000, at_least=1)
    batch_size: int = option(128, at_least=1)
    log_every: int = option(50, at_least=1)
    checkpoint_every: int = option(1500, at_least=1)
    preferences: int = option(19, at_least=3)
    fixed_every: int = option(3, at_least=1)
    alpha: float = option(1.2, above=0)
    reference: float = option(2.0, above=0)


def get_config() -> Config:
    """A network so small that its two tasks compete for it."""
    return Config(optimizer=Optimizer(learning_rate=3e-3, schedule="cosine_decay"))
