r"""ParetoGNN: five pretext tasks train one graph encoder, and MGDA reconciles them.

``python -m experiments.main --experiment=pareto_gnn`` on a planted graph, or with
``--data_dir=DIR --config.data="graph_npz(path='graph_cora/data.npz')"`` on one of
yours; see :func:`mtopt.data.graphs.graph_npz`. Without labels the encoder learns from
every pretext alone, from all with equal weights, and from all with those of MGDA. Its
frozen embeddings then serve four tasks: node classification, prediction of a partition
of the graph, clustering, and link prediction. For links a second encoder sees a graph
without the validation and test edges, padded to the shape of the first: a method
compiles once for both graphs and all seeds.

With ``pip install "mtopt[graphs]"`` METIS makes the partition, else spectral clustering
does. The published settings of a larger graph, here those of wiki_cs::

  --config.hidden="(512, 256)" --config.optimizer.learning_rate=5e-4
  --config.contrast_multiple=5 --config.steps=10000 --config.exponents=None

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
constant rate, and 10,000 steps.

References:
  Ju et al., Multi-task Self-supervised Graph Neural Networks Enable Stronger Task
  Generalization, 2022, arXiv 2210.02016.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import mtopt
from experiments import calls, pareto_gnn_report
from experiments.arrays import read_arrays, write_arrays
from experiments.built import load, slug
from experiments.config import Optimizer, make_optimizer
from experiments.ending import conclude
from experiments.pareto_gnn_report import Downstream
from mtopt.batch import Batch
from mtopt.data.graphs import GRAPHS, LinkSplit, NodeData, link_split
from mtopt.data.partition import has_metis, partition
from mtopt.errors import UserError, expect, nearest
from mtopt.graphs import Graph, ego, saint, whole
from mtopt.linalg import cosines, gramian
from mtopt.models.gcn import gcn
from mtopt.pretext import PRETEXTS, Encoder, Pretext, PretextModel, pretext_model
from mtopt.training.checkpoint import Checkpoints
from mtopt.training.node_evaluation import (
    clustering_nmi,
    link_prediction,
    probe_accuracy,
)
from mtopt.training.writer import MetricWriter, read_records

RAW, UNTRAINED = "raw features", "untrained encoder"
ALL_EXPONENTS = tuple(range(-10, 11))


@dataclasses.dataclass
class Config:
    """An encoder trained by pretext tasks, and what its embeddings are good for.

    Attributes:
      data: the graph, as ``name(option=value)`` of :data:`mtopt.data.graphs.GRAPHS`.
      methods: the methods that reconcile all pretexts, likewise of
        :data:`mtopt.METHODS`; none that reads the representation.
      pretexts: which, of :data:`mtopt.pretext.PRETEXTS`.
      alone: also train by each pretext alone.
      optimizer: what follows the method in the chain.
      seeds: of the encoder and the views; the same for every method.
      steps: optimizer steps.
      log_every: steps between training records; each costs the gradients once more.
      checkpoint_every: steps between checkpoints.
      hidden: the widths of the encoder's layers.
      normalization: ``batch`` or ``layer``.
      activation: ``prelu`` or ``relu``.
      batch_size: how many nodes the samples start from.
      contrast_multiple: the contrast sees the whole graph if it has at most so many
        times ``batch_size`` nodes, else so many near those of the batch; 0: the whole.
      contrast_hops: how near.
      information_multiple: likewise for node-graph information.
      information_hops: likewise.
      decorrelation_size: how many nodes decorrelation samples.
      link_edges: how many edges topology reconstruction draws; 10 is the released code.
      head_width: of the hidden layers of topology reconstruction and contrast.
      reconstruction_mask: the share of nodes without features.
      reconstruction_drop: the probability of an edge to be dropped there.
      topology_columns: of a feature column to be masked in topology reconstruction.
      contrast_drop: of an edge to be dropped, and a column masked, in a view.
      decorrelation_drop: likewise.
      columns: ``independent`` masks of the two views, or their ``union`` as released.
      temperature: of the contrast.
      strength: of decorrelation, lambda.
      link_seed: of the edges that are set aside.
      splits: of the nodes, for the two classifications.
      exponents: C of the logistic regression is one of the powers of two with these;
        None for the published -10 to 10.
      folds: shuffled halves that C is chosen on.
      clusterings: starts of k-means.
      parts: of the partition.
    """

    data: str = "stochastic_blocks"
    methods: tuple[str, ...] = ("equal_weighting", "mgda(normalize='l2')")
    pretexts: tuple[str, ...] = tuple(PRETEXTS)
    alone: bool = True
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 60
    log_every: int = 10
    checkpoint_every: int = 60
    hidden: tuple[int, ...] = (128, 64)
    normalization: str = "batch"
    activation: str = "prelu"
    batch_size: int = 512
    contrast_multiple: int = 1
    contrast_hops: int = 3
    information_multiple: int = 0
    information_hops: int = 3
    decorrelation_size: int = 5000
    link_edges: int = 1024
    head_width: int = 256
    reconstruction_mask: float = 0.5
    reconstruction_drop: float = 0.35
    topology_columns: float = 0.4
    contrast_drop: float = 0.3
    decorrelation_drop: float = 0.2
    columns: str = "independent"
    temperature: float = 0.1
    strength: float = 1e-3
    link_seed: int = 0
    splits: int = 5
    exponents: tuple[int, ...] | None = (-2, 2, 6)
    folds: int = 2
    clusterings: int = 1
    parts: int = 10


def get_config() -> Config:
    """Settings that two cores finish in minutes on a graph of 3,000 nodes."""
    return Config(optimizer=Optimizer(learning_rate=5e-3, weight_decay=1e-5))


class Run(NamedTuple):
    """One row of the table: what trains the encoder."""

    model: PretextModel
    tx: optax.GradientTransformation


class Study(NamedTuple):
    """The data, as training and evaluation see it."""

    data: NodeData
    encoder: Encoder
    graphs: dict[str, Graph]
    split: LinkSplit


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
      leaves embeddings, metrics, checkpoints, the table and the picture in it.

    Raises:
      UserError: for anything in the configuration or the data that can't be run.
    """
    _check(config)
    optimizer = make_optimizer(config.optimizer, config.steps)
    for text in config.methods:
        calls.check_method(text)
    data = load(config.data, data_dir, GRAPHS)
    encoder = gcn(
        data.features.shape[1],
        hidden=config.hidden,
        normalization=config.normalization,
        activation=config.activation,
    )
    study = _study(config, data, encoder)
    pretexts = _pretexts(config, encoder, data.features.shape[0])
    runs = _runs(config, encoder, pretexts, optimizer)
    for text, run in runs.items():
        _check_step(text, run, study)

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        labels = partition(data.edges, data.features.shape[0], parts=config.parts)
        scores = read_arrays(folder / "scores.npz")

        def measured(row, seed, embed):
            name = f"{row}/{seed}"
            if name not in scores:
                z = {kind: embed(kind) for kind in study.graphs}
                scores[name] = _evaluate(z, study, labels, config)
                write_arrays(folder / "scores.npz", scores)
            return scores[name]

        raw = measured(RAW, 0, lambda kind: _raw(data))
        rows = {RAW: np.repeat(raw[None], len(config.seeds), axis=0)}
        rows[UNTRAINED] = np.stack(
            [
                measured(UNTRAINED, s, functools.partial(_untrained, study, s))
                for s in config.seeds
            ]
        )
        _say(UNTRAINED, rows[UNTRAINED])
        for text, run in runs.items():
            train = _trainer(text, run, study, config, folder)
            rows[text] = np.stack(
                [measured(text, s, functools.partial(train, s)) for s in config.seeds]
            )
            _say(text, rows[text])
        records = {
            text: _records(folder, text, config.seeds)
            for text in runs
            if text in config.methods
        }
        result = Downstream(
            experiment,
            data.name,
            config.steps,
            tuple(sorted(pretexts)),
            rows,
            records,
            has_metis(),
        )
        pictures = {}
        if records:
            pictures["pretexts.png"] = functools.partial(
                pareto_gnn_report.picture, result
            )
        conclude(
            folder,
            pareto_gnn_report.table(result),
            pareto_gnn_report.summary(result),
            pictures,
            started,
        )

    return job


def _check(config: Config) -> None:
    """Raises for a number out of range, or a list that is empty or repeats itself."""
    for field in ("methods", "pretexts", "seeds"):
        values = getattr(config, field)
        expect(len(set(values)) == len(values), field, values, "no entry twice")
    for field in ("pretexts", "seeds", "hidden"):
        expect(len(getattr(config, field)) > 0, field, (), "one entry at least")
    expect(min(config.seeds) >= 0, "seeds", config.seeds, "none below 0")
    for name in config.pretexts:
        if name not in PRETEXTS:
            raise UserError(f"no pretext {name!r}: {nearest(name, list(PRETEXTS))}")
    if not config.methods and not config.alone:
        raise UserError("nothing to train: expected a method, or alone=true")
    for field in (
        "steps",
        "log_every",
        "checkpoint_every",
        "batch_size",
        "decorrelation_size",
        "splits",
        "folds",
        "clusterings",
    ):
        value = getattr(config, field)
        expect(value >= 1, field, value, "1 or more")


def _study(config: Config, data: NodeData, encoder: Encoder) -> Study:
    """The whole graph, and that without the edges set aside, in one shape."""
    nodes = data.features.shape[0]
    split = link_split(data.edges, nodes, seed=config.link_seed)
    everything = data.graph
    part = Graph.of(data.features, split.train_edges)
    shape = {"nodes": nodes, "edges": len(everything.edge_mask)}
    graphs = {"whole": everything, "links": part.padded(**shape)}
    return Study(data, encoder, graphs, split)


def _pretexts(config: Config, encoder: Encoder, nodes: int) -> dict[str, Pretext]:
    """The pretext tasks with their settings."""

    def near(multiple, hops):
        count = multiple * config.batch_size
        if not multiple or nodes <= count:
            return whole
        return ego(config.batch_size, hops=hops, nodes=count)

    def views(rate):
        return {
            "dropped_edges": rate,
            "masked_columns": rate,
            "columns": config.columns,
        }

    options = {
        "decorrelation": {
            "sample": saint(config.decorrelation_size),
            "strength": config.strength,
            **views(config.decorrelation_drop),
        },
        "feature_reconstruction": {
            "masked": config.reconstruction_mask,
            "dropped_edges": config.reconstruction_drop,
        },
        "node_graph_information": {
            "sample": near(config.information_multiple, config.information_hops)
        },
        "node_subgraph_contrast": {
            "sample": near(config.contrast_multiple, config.contrast_hops),
            "temperature": config.temperature,
            "hidden": config.head_width,
            **views(config.contrast_drop),
        },
        "topology_reconstruction": {
            "edges": config.link_edges,
            "masked_columns": config.topology_columns,
            "hidden": config.head_width,
        },
    }
    return {name: PRETEXTS[name](encoder, **options[name]) for name in config.pretexts}


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
            runs[name] = Run(model, mtopt.chain(mtopt.equal_weighting(1), optimizer))
    together = pretext_model(encoder, pretexts)
    for text in config.methods:
        method = calls.build_method(text, len(pretexts))
        runs[text] = Run(together, mtopt.chain(method, optimizer))
    return runs


def _check_step(text: str, run: Run, study: Study) -> None:
    """Raises where a method can't run on tasks with views of their own."""

    def one(graph):
        state = _start(run, jax.random.key(0))
        return mtopt.make_train_step(run.model.tasks, run.tx)(
            state, run.model.batch(graph)
        )

    try:
        jax.eval_shape(one, study.graphs["whole"])
    except TypeError as error:
        raise UserError(
            f"{text} cannot train pretext tasks ({str(error).splitlines()[0][:80]}): "
            "expected a method that does not differentiate the representation"
        ) from error


def _start(run: Run, key: jax.Array) -> mtopt.TrainState:
    init_key, run_key = jax.random.split(key)
    return mtopt.TrainState.create(run.model.init(init_key), run.tx, run_key)


def _trainer(
    text: str, run: Run, study: Study, config: Config, folder: pathlib.Path
) -> Callable[[int, str], np.ndarray]:
    """``(seed, kind) -> embeddings`` of one row, all from one compiled step."""
    step = mtopt.make_train_step(run.model.tasks, run.tx)
    start = jax.jit(functools.partial(_start, run))

    def train(seed, kind):
        place = folder / slug(text) / f"seed-{seed}" / kind
        place.mkdir(parents=True, exist_ok=True)
        batch = run.model.batch(study.graphs[kind])
        state = start(jax.random.key(seed))
        with Checkpoints(place / "checkpoints") as checkpoints:
            if checkpoints.latest is not None:
                state = checkpoints.load(checkpoints.latest, state)
            done = int(state.step)
            with (
                MetricWriter(place / "metrics.jsonl", resume_from=done) as writer,
                _Bar(f"{text} seed {seed} {kind}", config.steps, done) as bar,
            ):
                for t in range(done + 1, config.steps + 1):
                    due = (t - 1) % config.log_every == 0
                    rows = _rows(run, state, batch) if due else {}
                    state, metrics = step(state, batch)
                    if due:
                        writer.write(_record(run, seed, state, metrics, rows))
                    if t % config.log_every == 0 or t == config.steps:
                        bar.update(t, _checked(metrics["losses"], text, t, run))
                    if t % config.checkpoint_every == 0 or t == config.steps:
                        checkpoints.save(t, state)
        return _embed(study.encoder, state.params, study.graphs[kind])

    return train


def _rows(run: Run, state: mtopt.TrainState, batch: Batch) -> dict[str, Any]:
    """Norms and cosines of the gradients of the step to come."""
    names = run.model.tasks.names
    if len(names) == 1:
        return {}
    norms, conflicts = _gradients(run.model)(state, batch)
    return {
        "norm": dict(zip(names, np.asarray(norms).tolist(), strict=True)),
        "cosine": np.asarray(conflicts).tolist(),
    }


def _record(
    run: Run,
    seed: int,
    state: mtopt.TrainState,
    metrics: dict[str, jax.Array],
    rows: dict[str, Any],
) -> dict[str, Any]:
    """What there is to say of a step that is done."""
    names = run.model.tasks.names
    losses = np.asarray(metrics["losses"]).tolist()
    record = {
        "step": int(state.step),
        "seed": seed,
        "split": "train",
        "loss": dict(zip(names, losses, strict=True)),
        **rows,
    }
    weights = optax.tree.get(state.opt_state, "weights", default=None)
    if weights is not None:
        record["weights"] = dict(zip(names, np.asarray(weights).tolist(), strict=True))
    return record


@functools.cache
def _gradients(model: PretextModel) -> Callable[..., Any]:
    """Norms and cosines of the rows of a step, compiled once for all methods."""

    @jax.jit
    def measure(state, batch):
        key = jax.random.fold_in(state.key, state.step)
        problem = model.tasks.problem(batch, key)
        _, grads = problem.losses_and_grads(state.params)
        rows = grads["shared"]
        return jnp.sqrt(jnp.diagonal(gramian(rows))), cosines(rows)

    return measure


def _checked(losses: jax.Array, text: str, step: int, run: Run) -> float:
    """The mean loss; raises where one is no number."""
    for task, loss in zip(run.model.tasks.names, np.asarray(losses), strict=True):
        if not np.isfinite(loss):
            raise UserError(
                f"{text}: the loss of {task} is {loss} at step {step}: lower the "
                "learning rate, or clip the gradient"
            )
    return float(np.mean(losses))


@functools.partial(jax.jit, static_argnums=0)
def _apply(encoder, parameters, graph):
    return encoder.apply(parameters, graph)


def _embed(encoder: Encoder, params: Any, graph: Graph) -> np.ndarray:
    return np.asarray(_apply(encoder, params["shared"]["encoder"], graph))


def _untrained(study: Study, seed: int, kind: str) -> np.ndarray:
    """The embeddings that training starts from."""
    model = pretext_model(study.encoder, {"none": _nothing()})
    params = model.init(jax.random.split(jax.random.key(seed))[0])
    return _embed(study.encoder, params, study.graphs[kind])


def _nothing() -> Pretext:
    return Pretext(lambda key: {}, lambda *_: None, lambda *_: jnp.zeros(()))


def _raw(data: NodeData) -> np.ndarray:
    """The features as they are; the graph plays no part."""
    return np.asarray(data.raw.project(jnp.eye(data.raw.shape[1])))


def _evaluate(
    z: dict[str, np.ndarray], study: Study, parts: np.ndarray, config: Config
) -> np.ndarray:
    """The scores of :data:`experiments.pareto_gnn_report.METRICS`."""
    labels = study.data.labels
    exponents = ALL_EXPONENTS if config.exponents is None else config.exponents
    probe = functools.partial(
        probe_accuracy, splits=config.splits, exponents=exponents, folds=config.folds
    )
    area, top = link_prediction(z["links"], study.split)
    return np.array(
        [
            probe(z["whole"], labels),
            probe(z["whole"], parts),
            clustering_nmi(z["whole"], labels, repeats=config.clusterings),
            area,
            top,
        ]
    )


def _records(
    folder: pathlib.Path, text: str, seeds: tuple[int, ...]
) -> list[list[dict]]:
    """The training records of every seed, on the whole graph."""
    places = [folder / slug(text) / f"seed-{s}" / "whole" for s in seeds]
    return [read_records(place / "metrics.jsonl") for place in places]


def _say(text: str, scores: np.ndarray) -> None:
    numbers = zip(pareto_gnn_report.METRICS, scores.mean(axis=0), strict=True)
    said = ", ".join(f"{name} {value:.3f}" for name, value in numbers)
    print(f"{text}: {said}", flush=True)


class _Bar:
    """A progress bar on a terminal; nothing in a log file."""

    def __init__(self, label: str, steps: int, done: int):
        self._bar = tqdm(
            total=steps,
            initial=done,
            desc=label,
            unit="step",
            disable=None,
            leave=False,
        )
        self._bar.set_postfix_str("compiling")

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *exception):
        self._bar.close()

    def update(self, step: int, loss: float) -> None:
        self._bar.update(step - self._bar.n)
        self._bar.set_postfix(mean_loss=f"{loss:.3f}")
