r"""ParetoGNN: five pretext tasks train one graph encoder, and MGDA reconciles them.

``python -m experiments.main --experiment=pareto_gnn`` on a planted graph, or with
``--data_dir=DIR --config.data="graph_npz(path='graph_cora/data.npz', scale='rows')"``
on one of yours; see :func:`mtopt.data.graphs.nodes_npz.graph_npz`. ParetoGNN
standardises features; the words of Cora and Citeseer serve better with
``scale='rows'``. A graph without classes has no scores for them. Without
labels the encoder learns from every pretext alone, from all with equal weights, and
from all with those of MGDA: as published, where they are found for unit gradients and
applied to the gradients as they are, and with unit gradients in both
(``normalize_rows + mgda``). Its frozen embeddings then serve four tasks: node
classification, prediction of a partition of the graph, clustering, and link prediction.
For links a second encoder sees a graph without the validation and test edges, padded to
the shape of the first: a method compiles once for both graphs. Ten minutes on two cores
for a graph of 3,000 nodes.

With ``pip install "mtopt[graphs]"`` METIS makes the partition, else spectral clustering
does. The published settings:

=========== ========= ========= ======== ========= ========= ======= ============ ====
published   batch     learning  contrast MI-NG     hops of   decor   views'       head
settings    size      rate      multiple multiple  MI-NG,    size    rates of
                                                   contrast          contrast,
                                                                     decor
=========== ========= ========= ======== ========= ========= ======= ============ ====
wiki_cs     1024      5e-4      5        0         3, 3      10000   .3, .2       512
pubmed      1024      1e-3      5        0         3, 3      10000   .3, .2       512
co_computer 1024      5e-4      5        0         3, 3      10000   .3, .2       512
co_photo    512       1e-4      10       10        3, 3      5000    .3, .2       512
co_cs       1024      5e-5      10       10        3, 3      10000   .5, .5       512
co_phy      1024      1e-4      5        10        2, 1      20000   .5, .5       512
actor       1024      1e-3      5        5         3, 3      5000    .3, .2       512
chameleon   1024      5e-5      1        1         3, 3      1500    .3, .2       512
squirrel    1024      1e-3      3        3         3, 3      5000    .3, .2       512
ogbn-arxiv  512       1e-4      1        20        3, 1      20000   .3, .2       1024
=========== ========= ========= ======== ========= ========= ======= ============ ====

All have two layers, 512 and 256 wide (arxiv three of 512, with LayerNorm), PReLU (actor
and squirrel ReLU), temperature 0.1, lambda 1e-3, AdamW with weight decay 1e-5 at a
constant rate, and 10,000 steps; ``--experiment=pareto_gnn_published`` has those of
pubmed with the released forms of the pretexts. Those of wiki_cs are written::

  --config.encoder="gcn(hidden=(512, 256))" --config.steps=10000
  --config.optimizer.learning_rate=5e-4 --config.evaluation.exponents=None
  --config.pretexts="('decorrelation(sample=\'saint(nodes=10000)\')',
    'feature_reconstruction', 'node_graph_information',
    'node_subgraph_contrast(sample=\'ego(seeds=1024, hops=3, nodes=5120)\')',
    'topology_reconstruction')"

References:
  Ju et al., Multi-task Self-supervised Graph Neural Networks Enable Stronger Task
  Generalization, 2022, arXiv 2210.02016.
"""

from .config import get_config as get_config
from .run import prepare as prepare
