"""The configuration of joint labels on digits."""

import dataclasses

from ..common.config import FittedConfig, Optimizer, option

PLAIN = "plain"
ARMS = (PLAIN, "augmentation", "two_tasks", "single", "aggregated", "distilled")


@dataclasses.dataclass(kw_only=True)
class Config(FittedConfig):
    """Forms of learning from turned digits, each on several numbers of them.

    Attributes:
      methods: ``plain``, and forms of :func:`mtopt.pretext.joint_labels`.
      sizes: of the training sets, images each; a larger one has those of a smaller.
      num_valid: images that the model is chosen on.
      num_test: images that it is tested on.
      width: of the encoder's two hidden layers.
      optimizer: what follows the gradient.
      seeds: each a division of the digits, and a model.
      steps: optimizer steps.
      batch_size: images of a step, without their copies.
      eval_every: steps between validations.
    """

    methods: tuple[str, ...] = option(ARMS, entries=1, one_of=ARMS)
    sizes: tuple[int, ...] = option((100, 300), entries=1, at_least=1)
    num_valid: int = option(300, at_least=1)
    num_test: int = option(700, at_least=1)
    width: int = option(64, at_least=1)
    optimizer: Optimizer = dataclasses.field(
        default_factory=lambda: Optimizer(
            "adamw(weight_decay=1e-3)", 6e-3, "cosine_decay"
        )
    )
    seeds: tuple[int, ...] = option((0, 1, 2, 3, 4, 5), entries=1, at_least=0)
    steps: int = option(1600, at_least=1)
    batch_size: int = option(64, at_least=1)
    eval_every: int = option(100, at_least=1)


def get_config() -> Config:
    """All forms on 100 and 300 digits."""
    return Config()
