"""What an analysis is told."""

import dataclasses

from ..common.config import check_fields, option


@dataclasses.dataclass(frozen=True)
class AnalysisConfig:
    """How trained models are measured.

    Attributes:
      rho: the radius of the ball that sharpness is measured in, at least 0.
      adaptive: see :func:`mtopt.analysis.sharpness`.
      points: along each axis of the plane, from -1 to 1; even numbers are made odd,
        so that the model itself is one of them.
      samples: of the test split, for the sharpness and the plane.
      seed: of the directions and the choice of samples.
    """

    rho: float = option(0.05, at_least=0)
    adaptive: bool = False
    points: int = option(21, at_least=3)
    samples: int = option(1024, at_least=1)
    seed: int = option(0, at_least=0)

    def check(self) -> None:
        """Raises for a flag whose value it may not have."""
        check_fields(self, "--")
