"""The configuration of the molecules."""

import dataclasses

from ..common.config import FittedConfig, Optimizer, option, seeds_option

SOURCES = (
    "npz(path='qm8/data.npz')",
    "npz(path='chembl_5thresh/data.npz', min_labels=100)",
)


@dataclasses.dataclass(kw_only=True)
class Config(FittedConfig):
    """A data set of few labels alone, and beside each of some sources.

    Attributes:
      methods: of the runs with a source, each as ``name(option=value)`` of
        :data:`mtopt.METHODS`. The weights of ``fixed_weighting`` are given: those of a
        source's tasks add up to 1.
      target: what is tested, as ``name(option=value)`` of :data:`mtopt.data.DATASETS`.
      sources: what stands beside it, likewise; inputs as those of the target.
      labelled: how many training molecules of the target keep their place, 0 for all.
      permute: whether every source is there a second time, its labels permuted.
      model: as of :data:`mtopt.models.MODELS`.
      batch_size: molecules of each source in a step.
      eval_every: steps between looks at the validation data of the target, by which
        the model is chosen.
      seeds: each another choice of molecules and another permutation.
    """

    methods: tuple[str, ...] = option(("fixed_weighting",), entries=1)
    target: str = "npz(path='tox21/data.npz')"
    sources: tuple[str, ...] = option(SOURCES, entries=1)
    labelled: tuple[int, ...] = option((300, 0), entries=1, at_least=0)
    permute: bool = True
    model: str = "mlp(hidden=(192, 192))"
    optimizer: Optimizer = dataclasses.field(
        default_factory=lambda: Optimizer(
            "adamw(weight_decay=1e-2)", 1e-3, "cosine_decay"
        )
    )
    batch_size: int = option(128, at_least=1)
    steps: int = option(600, at_least=1)
    eval_every: int = option(50, at_least=1)
    log_every: int = option(50, at_least=1)
    seeds: tuple[int, ...] = seeds_option()


def get_config() -> Config:
    """Tox21 beside quantum properties and beside many sparse assays, five seeds."""
    return Config(seeds=(0, 1, 2, 3, 4))
