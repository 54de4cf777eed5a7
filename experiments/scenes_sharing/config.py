"""The configuration of what tasks of scenes gain from each other."""

import dataclasses

from ..common.config import Optimizer, TrainingConfig, option

DATA = "scenes(num_train=300, num_valid=1, num_test=200, labelled=100)"
"""As many training images as have a label; validation data is not looked at."""


@dataclasses.dataclass(kw_only=True)
class Config(TrainingConfig):
    """Each task alone, with the others, and with the others' labels permuted.

    In a step every task reads images of its own, the very ones that it reads alone. The
    models of the last step are tested: what tasks choose together is no fair match for
    what one chooses for itself.

    Attributes:
      methods: of joint training, each as ``name(option=value)`` of
        :data:`mtopt.METHODS`; each has controls of its own.
      data: as ``name(option=value)`` of :data:`mtopt.data.DATASETS`: a group for each
        task, with the options ``seed`` and ``permuted``, which are given.
      model: as of :data:`mtopt.models.MODELS`.
      optimizer: what follows the method in the chain; alone, too.
      seeds: each another draw of scenes, of which are labelled, of the model, and of
        the order of images.
      steps: optimizer steps.
      batch_size: labelled images of each task in a step.
    """

    methods: tuple[str, ...] = option(("equal_weighting", "mgda"), entries=1)
    data: str = DATA
    model: str = "deeplab(depth=18, width=8)"
    # As in the benchmark of scenes.
    optimizer: Optimizer = dataclasses.field(
        default_factory=lambda: Optimizer("adam", 1e-2, "cosine_decay")
    )
    seeds: tuple[int, ...] = option((0, 1, 2), entries=1, at_least=0)
    steps: int = option(250, at_least=1)
    batch_size: int = option(8, at_least=1)
    log_every: int = option(50, at_least=1)
    checkpoint_every: int = option(250, at_least=1)


def get_config() -> Config:
    """Equal weighting and MGDA at 100 labelled images a task, three seeds."""
    return Config()
