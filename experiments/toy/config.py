"""The configuration of the toy problem."""

import dataclasses

from mtopt.data import toy

from ..common.config import TrainingConfig, option


@dataclasses.dataclass(kw_only=True)
class Config(TrainingConfig):
    """Methods on the toy problem.

    Attributes:
      methods: the methods, as ``name(option=value)`` of :data:`mtopt.METHODS`.
      optimizer: what follows the method in the chain.
      scale: of the first loss, above 0: 0.1 as Nash-MTL, 1 as CAGrad.
      starts: whose starting points, ``nash_mtl`` (five) or ``cagrad`` (three).
      steps: optimizer steps from every start.
      log_every: steps between the points that are kept.
      checkpoint_every: steps between checkpoints.
    """

    scale: float = option(0.1, above=0)
    starts: str = option("nash_mtl", one_of=tuple(toy.STARTS))
    steps: int = option(50_000, at_least=1)
    log_every: int = option(100, at_least=1)
    checkpoint_every: int = option(25_000, at_least=1)


def get_config() -> Config:
    """The methods that the papers draw, and what came after them.

    MGDA in two forms: the second combines the gradients that it scaled to unit length.
    Applied to the original ones, the weights of two such gradients are 1/2 each: equal
    weighting. FAMO is told the least losses, as in its paper.
    """
    return Config(
        methods=(
            "equal_weighting",
            "mgda",
            "mgda(normalize='l2', apply_to='normalized')",
            "pcgrad",
            "cagrad(c=0.4)",
            "imtl_g",
            "nash_mtl",
            "aligned_mtl",
            "fairgrad",
            "conflict_free",
            "upgrad",
            "famo(gamma=0, min_losses=(-2.1, -21))",
        )
    )
