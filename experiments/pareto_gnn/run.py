r"""ParetoGNN: five pretext tasks train one graph encoder, and MGDA reconciles them.

``python -m experiments.main --experiment=pareto_gnn`` on a planted graph, or with
``--data_dir=DIR --config.data="graph_npz(path='graph_cora/data.npz', scale='rows')"``
on one of yours; see :func:`mtopt.data.graphs.nodes.graph_npz`. ParetoGNN standardises
features; the words of Cora and Citeseer serve better with ``scale='rows'``. Without
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
constant rate, and 10,000 steps. Those of wiki_cs are written::

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

import dataclasses
import functools
import itertools
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from experiments import calls
from experiments import pareto_gnn_report as report
from experiments.arrays import read_arrays, write_arrays
from experiments.bar import Bar
from experiments.built import load, place_of, stacks
from experiments.config import Optimizer, make_optimizer
from experiments.ending import conclude
from experiments.pareto_gnn_report import RAW, UNTRAINED, Course, Downstream
from mtopt.data.graphs import SAMPLERS, Graph
from mtopt.data.graphs.nodes import GRAPHS, LinkSplit, NodeData, link_split
from mtopt.data.graphs.partition import has_metis, partition
from mtopt.errors import UserError, expect
from mtopt.metrics.probes import (
    clustering_nmi,
    link_prediction,
    probe_accuracy,
)
from mtopt.models.gcn import gcn
from mtopt.pretext import PRETEXTS, Encoder, Pretext, PretextModel, pretext_model
from mtopt.training.conflicts import gradient_conflicts
from mtopt.training.loop import Schedule, read_per_task, train
from mtopt.training.program import Program, shared_program

ENCODERS = {"gcn": gcn}


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

    splits: int = 3
    exponents: tuple[int, ...] | None = (-2, 2, 6)
    folds: int = 2
    clusterings: int = 1
    parts: int = 10
    link_seed: int = 0


@dataclasses.dataclass
class Config:
    """An encoder trained by pretext tasks, and what its embeddings are good for.

    Attributes:
      data: the graph, as ``name(option=value)`` of
        :data:`mtopt.data.graphs.nodes.GRAPHS`.
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
    pretexts: tuple[str, ...] = (
        "decorrelation(sample='saint(nodes=5000)', "
        "dropped_edges=0.5, masked_columns=0.5)",
        "feature_reconstruction",
        "node_graph_information",
        "node_subgraph_contrast(sample='ego(seeds=512, hops=3, nodes=512)', "
        "dropped_edges=0.5, masked_columns=0.5, hidden=256)",
        "topology_reconstruction(edges=1024, hidden=256)",
    )
    methods: tuple[str, ...] = (
        "equal_weighting",
        "mgda(normalize='l2')",
        "normalize_rows + mgda",
    )
    alone: bool = True
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    seeds: tuple[int, ...] = (0, 1, 2)
    stack_seeds: bool = False
    steps: int = 40
    log_every: int = 10
    checkpoint_every: int = 40
    evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)


def get_config() -> Config:
    """Settings that two cores finish in ten minutes on a graph of 3,000 nodes.

    Views are as different as the published ones of co_cs, a graph of words like Cora.
    """
    return Config(optimizer=Optimizer(learning_rate=5e-3, weight_decay=1e-5))


class Run(NamedTuple):
    """One row of the table: what trains the encoder, for any number of seeds."""

    model: PretextModel
    program: Callable[[int], Program]

    @classmethod
    def of(cls, model: PretextModel, tx: optax.GradientTransformation) -> "Run":
        """The run whose programs are compiled once, whatever graphs they see."""
        return cls(model, functools.cache(functools.partial(shared_program, model, tx)))


class Study(NamedTuple):
    """The data, as training and evaluation see it: the same nodes in every graph."""

    data: NodeData
    graphs: dict[str, Graph]
    split: LinkSplit
    parts: np.ndarray


def prepare(
    config: Config, experiment: str, data_dir: pathlib.Path | None
) -> Callable[[pathlib.Path], None]:
    """Checks and builds all that the runs need, without touching a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: the user's folder of data sets, for data that reads files.

    Returns:
      The job: called with a folder, it trains what is not finished there yet, and
      leaves embeddings' scores, metrics, checkpoints, the table and the picture in it.

    Raises:
      UserError: for anything in the configuration or the data that can't be run.
    """
    _check(config)
    schedule = Schedule(config.steps, config.log_every, config.checkpoint_every)
    optimizer = make_optimizer(config.optimizer, config.steps)
    for text in config.methods:
        calls.check_method(text)
    study = _study(load(config.data, data_dir, GRAPHS), config.evaluation)
    columns = study.data.features.shape[1]
    encoder = calls.build("encoder", config.encoder, ENCODERS, columns)
    pretexts = dict(_pretext(text, encoder) for text in config.pretexts)
    if len(pretexts) < len(config.pretexts):
        raise UserError(f"pretexts are {config.pretexts}: expected none of them twice")
    runs = _runs(config, encoder, pretexts, optimizer)
    for text in config.methods:
        _check_step(text, runs[text], study)
    untrained = Run.of(pretext_model(encoder, pretexts), optax.identity())

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        scores = read_arrays(folder / "scores.npz")
        ways = {RAW: _raw, UNTRAINED: functools.partial(_untrained, untrained, config)}
        for text, run in runs.items():
            ways[text] = functools.partial(
                _trained, text, run, config, schedule, folder
            )
        for row, embeddings in ways.items():
            if row not in scores:
                z = embeddings(study)
                scores[row] = _scores(z, study, config.evaluation)
                write_arrays(folder / "scores.npz", scores)
            numbers = zip(report.METRICS, scores[row].mean(axis=0), strict=True)
            said = ", ".join(f"{name} {value:.3f}" for name, value in numbers)
            print(f"{row}: {said}", flush=True)
        result = Downstream(
            experiment,
            study.data.name,
            config.steps,
            tuple(sorted(pretexts)),
            {row: scores[row] for row in ways},
            {text: _course(folder, text, config) for text in config.methods},
            has_metis(),
        )
        pictures = {}
        if config.methods and len(pretexts) > 1:
            pictures["pretexts.png"] = functools.partial(report.picture, result)
        conclude(
            folder, report.table(result), report.summary(result), pictures, started
        )

    return job


def _check(config: Config) -> None:
    """Raises for a number out of range, or a list that is empty or repeats itself."""
    for field in ("methods", "seeds"):
        values = getattr(config, field)
        expect(len(set(values)) == len(values), field, values, "no entry twice")
    for field in ("pretexts", "seeds"):
        expect(len(getattr(config, field)) > 0, field, (), "one entry at least")
    expect(min(config.seeds) >= 0, "seeds", config.seeds, "none below 0")
    if not config.methods and not config.alone:
        raise UserError("nothing to train: expected a method, or alone=true")
    for field in ("splits", "folds", "clusterings"):
        value = getattr(config.evaluation, field)
        expect(value >= 1, f"evaluation.{field}", value, "1 or more")


def _study(data: NodeData, evaluation: Evaluation) -> Study:
    """The whole graph, and that without the edges set aside, in one shape."""
    nodes = len(data.labels)
    split = link_split(data.edges, nodes, seed=evaluation.link_seed)
    whole = data.graph
    part = Graph.of(data.features, split.train_edges)
    part = part.padded(nodes=nodes, edges=len(whole.edge_mask))
    parts = partition(data.edges, nodes, parts=evaluation.parts)
    return Study(data, {"whole": whole, "links": part}, split, parts)


def _pretext(text: str, encoder: Encoder) -> tuple[str, Pretext]:
    """The task that ``text`` spells out, and its name."""
    name, options = calls.check("pretext", text, PRETEXTS, encoder)
    fixed = {}
    if "sample" in options:
        fixed["sample"] = calls.build("sampler", str(options["sample"]), SAMPLERS)
    return name, calls.build("pretext", text, PRETEXTS, encoder, **fixed)


def _runs(
    config: Config,
    encoder: Encoder,
    pretexts: dict[str, Pretext],
    optimizer: optax.GradientTransformation,
) -> dict[str, Run]:
    """What is trained, in the order of the table."""
    runs = {}
    if config.alone:
        for name, pretext in sorted(pretexts.items()):
            model = pretext_model(encoder, {name: pretext})
            runs[name] = Run.of(model, mtopt.chain(mtopt.equal_weighting(1), optimizer))
    together = pretext_model(encoder, pretexts)
    for text in config.methods:
        method = calls.build_method(text, len(pretexts))
        runs[text] = Run.of(together, mtopt.chain(method, optimizer))
    return runs


def _check_step(text: str, run: Run, study: Study) -> None:
    """Raises where a method can't run on tasks with views of their own."""
    program = run.program(1)
    try:
        state = jax.eval_shape(program.init, _keys((0,)))
        jax.eval_shape(program.step, state, _batch(run.model, study.graphs["whole"], 1))
    except TypeError as error:
        raise UserError(
            f"{text} cannot train pretext tasks ({str(error).splitlines()[0][:80]}): "
            "expected a method that does not differentiate the representation"
        ) from error


def _trained(
    text: str,
    run: Run,
    config: Config,
    schedule: Schedule,
    folder: pathlib.Path,
    study: Study,
) -> dict[str, np.ndarray]:
    """Embeddings ``[S, N, D]`` of every graph, by encoders that learned from it."""
    tasks = run.model.tasks.names
    measure = gradient_conflicts(run.model.tasks) if len(tasks) > 1 else None
    found = {kind: [] for kind in study.graphs}
    for kind, seeds in itertools.product(study.graphs, stacks(config)):
        graph = study.graphs[kind]
        batch = _batch(run.model, graph, len(seeds))
        with Bar(f"{text}, {kind}", seeds, config.steps, tasks) as bar:
            state, _ = train(
                run.program(len(seeds)),
                lambda start, batch=batch: itertools.repeat(batch),
                schedule,
                place_of(folder, text, seeds) / kind,
                tasks=tasks,
                seeds=seeds,
                measure=measure,
                progress=bar.update,
            )
        found[kind].append(_embeddings(run.program(len(seeds)), state, graph))
    return {kind: np.concatenate(parts) for kind, parts in found.items()}


def _untrained(run: Run, config: Config, study: Study) -> dict[str, np.ndarray]:
    """The embeddings that training starts from."""
    program = run.program(len(config.seeds))
    state = program.init(_keys(config.seeds))
    return {k: _embeddings(program, state, g) for k, g in study.graphs.items()}


def _raw(study: Study) -> dict[str, np.ndarray]:
    """The features as they are, as if they were embeddings: no seed plays a part."""
    raw = study.data.raw
    features = np.asarray(raw.project(jnp.eye(raw.shape[1])))
    return dict.fromkeys(study.graphs, features[None])


def _keys(seeds: tuple[int, ...]) -> jax.Array:
    return jax.vmap(jax.random.key)(jnp.array(seeds, jnp.uint32))


def _batch(model: PretextModel, graph: Graph, num_seeds: int) -> mtopt.Batch:
    """The graph as the batch of every seed."""
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (num_seeds, *leaf.shape)),
        model.batch(graph),
    )


def _embeddings(program: Program, state: mtopt.TrainState, graph: Graph) -> np.ndarray:
    return np.asarray(program.predict(state.params, state.model_state, graph))


def _scores(z: dict[str, np.ndarray], study: Study, how: Evaluation) -> np.ndarray:
    """The scores of :data:`experiments.pareto_gnn_report.METRICS`, a row a seed."""
    labels = study.data.labels
    grid = {} if how.exponents is None else {"exponents": how.exponents}
    probe = functools.partial(
        probe_accuracy, splits=how.splits, folds=how.folds, **grid
    )
    return np.array(
        [
            [
                probe(whole, labels),
                probe(whole, study.parts),
                clustering_nmi(whole, labels, repeats=how.clusterings),
                *link_prediction(links, study.split),
            ]
            for whole, links in zip(z["whole"], z["links"], strict=True)
        ]
    )


def _course(folder: pathlib.Path, text: str, config: Config) -> Course:
    """What the records of a method hold of the pretexts, on the whole graph."""
    places = [place_of(folder, text, seeds) / "whole" for seeds in stacks(config)]

    def read(name):
        parts = [read_per_task(place, name) for place in places]
        return parts[0]["step"], np.concatenate([part["values"] for part in parts])

    steps, losses = read("loss")
    return Course(steps, losses, *(read(n)[1] for n in ("weights", "norm", "cosine")))
