"""ParetoGNN at its published budget: 10,000 steps of the released forms of its tasks.

``python -m experiments.main --experiment=pareto_gnn_published --data_dir=DIR
--out=runs/cora``, and for another graph
``--config.data="graph_npz(path='graph_citeseer/data.npz')"``. It goes on by
``--resume=runs/cora`` from its last checkpoint, every hundred steps, and repeats no row
of the table. On two cores that takes hours.

The settings are those that are published for pubmed, of which neither Cora nor Citeseer
has any: two layers of 512 and 256, AdamW at 1e-3 and 1e-5 of decay, and the evaluation
of :class:`experiments.pareto_gnn.config.Evaluation` in brackets. Samples of more nodes
than there are take the graph whole, as in the released code. Released forms are named
in the texts of the pretexts; the decorrelation keeps its epsilon, without which a
constant column ends the run.

One seed, and no pretext alone: these are five more runs for each seed
(``--config.alone``, ``--config.seeds="(0, 1, 2)"``).

References:
  Ju et al., Multi-task Self-supervised Graph Neural Networks Enable Stronger Task
  Generalization, 2022, arXiv 2210.02016.
"""

from ..common.config import Optimizer
from ..pareto_gnn.config import Config, Evaluation

VIEWS = "columns='union'"
CONTRASTED = "ego(seeds=1024, hops=3, nodes=5120, form='released')"


def get_config() -> Config:
    """The published settings of pubmed, on Cora."""
    return Config(
        data="graph_npz(path='graph_cora/data.npz')",
        encoder="gcn(hidden=(512, 256))",
        pretexts=(
            f"decorrelation(sample='saint(nodes=10000)', {VIEWS})",
            "feature_reconstruction",
            "node_graph_information",
            f'node_subgraph_contrast(sample="{CONTRASTED}", {VIEWS})',
            "topology_reconstruction(form='released', edges=10)",
        ),
        alone=False,
        seeds=(0,),
        steps=10_000,
        log_every=100,
        checkpoint_every=100,
        optimizer=Optimizer("adamw(weight_decay=1e-5)", 1e-3),
        evaluation=Evaluation(splits=10, exponents=None, folds=5, clusterings=5),
    )
