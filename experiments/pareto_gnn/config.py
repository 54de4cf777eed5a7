"""The configuration of ParetoGNN."""

import dataclasses

from mtopt.errors import UserError

from ..common.config import Optimizer, TrainingConfig, option, seeds_option


@dataclasses.dataclass
class Evaluation:
    """How frozen embeddings are judged; the published numbers are in brackets.

    Attributes:
      splits: of the nodes, for the two classifications [10].
      exponents: C of the logistic regression is one of the powers of two with these;
        None for -10 to 10 [None].
      folds: shuffled halves that C is chosen on [5].
      clusterings: starts of k-means [5].
      parts: of the partition [10].
      link_seed: of the edges that are set aside.
    """

    splits: int = option(3, at_least=1)
    exponents: tuple[int, ...] | None = (-2, 2, 6)
    folds: int = option(2, at_least=1)
    clusterings: int = option(1, at_least=1)
    parts: int = 10
    link_seed: int = 0


@dataclasses.dataclass(kw_only=True)
class Config(TrainingConfig):
    """An encoder trained by pretext tasks, and what its embeddings are good for.

    Attributes:
      data: the graph, as ``name(option=value)`` of
        :data:`mtopt.data.graphs.sources.GRAPHS`.
      encoder: what is trained, likewise.
      pretexts: the tasks, likewise of :data:`mtopt.pretext.PRETEXTS`; their ``sample``
        likewise of :data:`mtopt.data.graphs.SAMPLERS`.
      methods: the methods that reconcile all pretexts, likewise of
        :data:`mtopt.METHODS`; none that reads the representation.
      alone: also train by each pretext alone.
      optimizer: what follows the method in the chain.
      seeds: of the encoder and the views; the same for every method.
      stack_seeds: train the seeds side by side, in one program; slower on two cores.
      steps: optimizer steps.
      log_every: steps between training records; each costs the gradients once more.
      checkpoint_every: steps between checkpoints.
      evaluation: of the embeddings.
    """

    data: str = "stochastic_blocks"
    encoder: str = "gcn(hidden=(128, 64))"
    pretexts: tuple[str, ...] = option(
        (
            "decorrelation(sample='saint(nodes=5000)', "
            "dropped_edges=0.5, masked_columns=0.5)",
            "feature_reconstruction",
            "node_graph_information",
            "node_subgraph_contrast(sample='ego(seeds=64, hops=2, nodes=512)', "
            "dropped_edges=0.5, masked_columns=0.5, hidden=256)",
            "topology_reconstruction(edges=1024, hidden=256)",
        ),
        entries=1,
    )
    methods: tuple[str, ...] = option(
        (
            "equal_weighting",
            "mgda(normalize='l2')",
            "normalize_rows + mgda",
        )
    )
    alone: bool = True
    seeds: tuple[int, ...] = seeds_option()
    stack_seeds: bool = False
    steps: int = option(40, at_least=1)
    log_every: int = option(10, at_least=1)
    checkpoint_every: int = option(40, at_least=1)
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)

    def check(self) -> None:
        """Raises for a value that a field may not have, or with nothing to train."""
        super().check()
        if not self.methods and not self.alone:
            raise UserError("nothing to train: expected a method, or alone=true")


def get_config() -> Config:
    """Settings that two cores finish in ten minutes on a graph of 3,000 nodes.

    Views are as different as the published ones of co_cs, a graph of words like Cora.
    """
    return Config(optimizer=Optimizer("adamw(weight_decay=1e-5)", 5e-3))
