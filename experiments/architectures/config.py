"""The configuration of the architectures."""

import dataclasses

from ..common.config import Optimizer, TrainingConfig, option

METHODS = ("equal_weighting", "mgda", "cagrad")
ONE_LEVEL = "levels=1, experts=2, own_experts=0, rank=0, norm='none', hidden=(17, 15)"
"""An expert a group and two of all, as in HoME without what it has beside groups."""
MODELS = (
    "mlp(hidden=(75, 16))",
    "one_gate(experts=4, hidden=(18, 16))",
    "mmoe(experts=4, hidden=(16, 16))",
    "cgc(experts=2, own_experts=1, hidden=(11, 16))",
    "dselect_k(experts=4, selectors=2, hidden=(19, 15))",
    f"home(groups=(('a1', 'b1'), ('a2', 'b2')), {ONE_LEVEL})",
    f"home(groups=(('a1', 'a2'), ('b1', 'b2')), {ONE_LEVEL})",
    "ple(experts=1, own_experts=1, hidden=(8, 14))",
    "cross_stitch(encoder='mlp(hidden=(18, 16))')",
    "task_expert(hidden=(15, 15), experts=2, width=12)",
    "skills(width=18, hidden=16, layers=1)",
    "field_gate(hidden=(30, 16), reduction=4.0)",
    "set_attention(width=8, points=6, gate=21)",
)
"""All that read a vector; others read images, sequences, or events in an order."""
SETS = (
    "related_tasks(within=1.0, across=1.0)",
    "related_tasks(within=0.95, across=0.0)",
)


@dataclasses.dataclass(kw_only=True)
class Config(TrainingConfig):
    """Architectures of as many parameters, each trained by each method.

    Seeds are trained side by side, in one program; the models of the last step are
    tested, and nothing is chosen.

    Attributes:
      methods: each of them on every architecture.
      models: the architectures, as ``name(option=value)`` of
        :data:`mtopt.models.MODELS`, of equal numbers of parameters.
      controls: the first so many models are each what all later ones are compared with,
        1 or more.
      data: the data sets, likewise of :data:`mtopt.data.DATASETS`.
      redrawn: whether each seed has data of its own, by the option ``seed`` of the data
        set; if not, all have the same.
      rows: the first so many training samples, of shared inputs; 0: all.
      optimizer: what follows the method in the chain.
      seeds: one model each.
      steps: optimizer steps.
      batch_size: samples per step.
      diagnose_every: steps between records of what gates do; 0: none.
    """

    methods: tuple[str, ...] = option(METHODS, entries=1)
    models: tuple[str, ...] = option(MODELS, entries=2)
    controls: int = option(2, at_least=1)
    data: tuple[str, ...] = option(SETS, entries=1)
    redrawn: bool = True
    rows: int = option(0, at_least=0)
    optimizer: Optimizer = dataclasses.field(
        default_factory=lambda: Optimizer("adam", 3e-3, "cosine_decay")
    )
    seeds: tuple[int, ...] = option(tuple(range(8)), entries=1, at_least=0)
    steps: int = option(1500, at_least=1)
    batch_size: int = option(128, at_least=1)
    log_every: int = option(500, at_least=1)
    checkpoint_every: int = option(1500, at_least=1)
    diagnose_every: int = option(0, at_least=0)


def get_config() -> Config:
    """Two relations of four tasks, three methods, eight seeds."""
    return Config()
