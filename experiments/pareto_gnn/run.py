"""Trains graph encoders by pretext tasks, and judges their frozen embeddings."""

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
from mtopt.data.graphs import SAMPLERS, Graph
from mtopt.data.graphs.description import describe_graph, graph_summary
from mtopt.data.graphs.nodes import LinkSplit, NodeData, link_split
from mtopt.data.graphs.partition import has_metis, partition
from mtopt.data.graphs.sources import GRAPHS
from mtopt.errors import UserError
from mtopt.grammar import CallText, MethodText
from mtopt.metrics.probes import (
    clustering_nmi,
    link_prediction,
    probe_accuracy,
)
from mtopt.models.gcn import gcn
from mtopt.pretext import PRETEXTS, Encoder, Pretext, PretextModel, pretext_model
from mtopt.training.conflicts import gradient_conflicts
from mtopt.training.loop import Measurement, read_per_task, train
from mtopt.training.program import Program, shared_program

from ..common.building import load_dataset, parse_methods, seed_stacks
from ..common.data_record import record_data
from ..common.estimate import step_cost, text_of
from ..common.experiment import Job
from ..common.progress import ProgressBar, seeds_label
from ..common.report import write_report
from ..common.run_folder import read_arrays, run_folder, write_arrays
from . import report
from .config import Config, Evaluation
from .report import RAW, UNTRAINED, Downstream, PretextHistory

ENCODERS = {"gcn": gcn}


class Run(NamedTuple):
    """One row of the table: what trains the encoder, for any number of seeds."""

    model: PretextModel
    program: Callable[[int], Program]

    @classmethod
    def of(cls, model: PretextModel, tx: optax.GradientTransformation) -> "Run":
        """The run whose programs are compiled once, whatever graphs they see."""
        return cls(model, functools.cache(functools.partial(shared_program, model, tx)))


class GraphBenchmark(NamedTuple):
    """The data as training and evaluation see it: the same nodes in both graphs.

    Attributes:
      data: features, labels and edges.
      graphs: ``whole``, and ``links`` without the edges that are set aside.
      split: the edges set aside.
      parts: of the partition, that of every node.
    """

    data: NodeData
    graphs: dict[str, Graph]
    split: LinkSplit
    parts: np.ndarray


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
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
    benchmark, encoder, pretexts, runs = _built(config, data_dir)
    for text in config.methods:
        _check_step(text, runs[text], benchmark)
    untrained = Run.of(pretext_model(encoder, pretexts), optax.identity())

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        described = describe_graph(benchmark.data)
        record_data(folder, described, graph_summary(described))
        scores = read_arrays(folder / "scores.npz")
        ways = {RAW: _raw, UNTRAINED: functools.partial(_untrained, untrained, config)}
        for text, run in runs.items():
            ways[text] = functools.partial(_trained, text, run, config, folder)
        for row, embeddings in ways.items():
            if row not in scores:
                z = embeddings(benchmark)
                scores[row] = _scores(z, benchmark, config.evaluation)
                write_arrays(folder / "scores.npz", scores)
            numbers = zip(report.METRICS, scores[row].mean(axis=0), strict=True)
            line = ", ".join(f"{name} {value:.3f}" for name, value in numbers)
            print(f"{row}: {line}", flush=True)
        result = Downstream(
            experiment,
            benchmark.data.name,
            config.steps,
            tuple(sorted(pretexts)),
            {row: scores[row] for row in ways},
            {text: _history(folder, text, config) for text in config.methods},
            has_metis(),
        )
        pictures = {}
        if config.methods and len(pretexts) > 1:
            pictures["pretexts.png"] = functools.partial(report.picture, result)
        write_report(
            folder, report.table(result), report.summary(result), pictures, started
        )

    return job


def estimate(config: Config, experiment: str, data_dir: pathlib.Path | None) -> str:
    """What a step of every run takes on the whole graph, before it runs.

    Arguments and errors are those of :func:`prepare`.
    """
    benchmark, _, pretexts, runs = _built(config, data_dir)
    count = len(_stacks(config)[0])
    costs = {}
    for text, run in runs.items():
        _check_step(text, run, benchmark)
        make = functools.partial(_batch, run.model, num_seeds=count)
        batch = jax.eval_shape(make, benchmark.graphs["whole"])
        costs[text] = step_cost(run.program(count), batch)
    title = (
        f"{experiment}: one step of {config.encoder} on {config.data}, {len(pretexts)} "
        f"pretexts, {len(benchmark.data.labels)} nodes, {count} "
        f"seed{'s' * (count > 1)} at once"
    )
    return text_of(title, costs)


def _built(
    config: Config, data_dir: pathlib.Path | None
) -> tuple[GraphBenchmark, Encoder, dict[str, Pretext], dict[str, Run]]:
    """The data, the encoder, the pretexts and the runs, checked."""
    config.check()
    optimizer = config.optimizer.build(config.steps)
    methods = parse_methods(config.methods)
    benchmark = _benchmark(
        load_dataset(config.data, data_dir, GRAPHS), config.evaluation
    )
    columns = benchmark.data.features.shape[1]
    encoder = CallText.parse("encoder", config.encoder, ENCODERS, arguments=1).build(
        columns
    )
    pretexts = dict(_pretext(text, encoder) for text in config.pretexts)
    if len(pretexts) < len(config.pretexts):
        raise UserError(f"pretexts are {config.pretexts}: expected none of them twice")
    runs = _runs(config, methods, encoder, pretexts, optimizer)
    return benchmark, encoder, pretexts, runs


def _benchmark(data: NodeData, evaluation: Evaluation) -> GraphBenchmark:
    """The whole graph, and that without the edges set aside, in one shape."""
    nodes = len(data.labels)
    split = link_split(data.edges, nodes, seed=evaluation.link_seed)
    whole = data.graph
    part = Graph.of(data.features, split.train_edges)
    part = part.padded(nodes=nodes, edges=len(whole.edge_mask))
    parts = partition(data.edges, nodes, parts=evaluation.parts)
    return GraphBenchmark(data, {"whole": whole, "links": part}, split, parts)


def _pretext(text: str, encoder: Encoder) -> tuple[str, Pretext]:
    """The task that ``text`` spells out, and its name."""
    call = CallText.parse("pretext", text, PRETEXTS, arguments=1)
    given = {}
    if "sample" in call.options:
        sampler = str(call.options["sample"])
        given["sample"] = CallText.parse("sampler", sampler, SAMPLERS).build()
    return call.name, call.build(encoder, **given)


def _runs(
    config: Config,
    methods: dict[str, MethodText],
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
    for text, method in methods.items():
        tx = mtopt.chain(method.build(len(pretexts)), optimizer)
        runs[text] = Run.of(together, tx)
    return runs


def _check_step(text: str, run: Run, benchmark: GraphBenchmark) -> None:
    """Raises where a method can't run on tasks with views of their own."""
    program = run.program(1)
    try:
        state = jax.eval_shape(program.init, _keys((0,)))
        jax.eval_shape(
            program.step, state, _batch(run.model, benchmark.graphs["whole"], 1)
        )
    except UserError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{text} cannot train pretext tasks: {reason}") from error


def _trained(
    text: str,
    run: Run,
    config: Config,
    folder: pathlib.Path,
    benchmark: GraphBenchmark,
) -> dict[str, np.ndarray]:
    """Embeddings ``[S, N, D]`` of every graph, by encoders that learned from it."""
    tasks = run.model.tasks.names
    measure = Measurement(config.log_every, gradient_conflicts(run.model.tasks))
    found = {kind: [] for kind in benchmark.graphs}
    for kind, seeds in itertools.product(benchmark.graphs, _stacks(config)):
        graph = benchmark.graphs[kind]
        batch = _batch(run.model, graph, len(seeds))
        label = seeds_label(f"{text}, {kind}", seeds)
        with ProgressBar(label, config.steps, tasks) as bar:
            state, _ = train(
                run.program(len(seeds)),
                lambda start, batch=batch: itertools.repeat(batch),
                config.loop_options,
                run_folder(folder, text, seeds) / kind,
                tasks=tasks,
                seeds=seeds,
                measure=measure if len(tasks) > 1 else None,
                progress=bar.update,
            )
        found[kind].append(_embeddings(run.program(len(seeds)), state, graph))
    return {kind: np.concatenate(parts) for kind, parts in found.items()}


def _untrained(
    run: Run, config: Config, benchmark: GraphBenchmark
) -> dict[str, np.ndarray]:
    """The embeddings that training starts from."""
    program = run.program(len(config.seeds))
    state = program.init(_keys(config.seeds))
    return {k: _embeddings(program, state, g) for k, g in benchmark.graphs.items()}


def _raw(benchmark: GraphBenchmark) -> dict[str, np.ndarray]:
    """The features as they are, as if they were embeddings: no seed plays a part."""
    raw = benchmark.data.raw
    features = np.asarray(raw.project(jnp.eye(raw.shape[1])))
    return dict.fromkeys(benchmark.graphs, features[None])


def _stacks(config: Config) -> list[tuple[int, ...]]:
    return seed_stacks(config.seeds, config.stack_seeds)


def _keys(seeds: tuple[int, ...]) -> jax.Array:
    return jax.vmap(jax.random.key)(jnp.array(seeds, jnp.uint32))


def _batch(model: PretextModel, graph: Graph, num_seeds: int) -> mtopt.Batch:
    """The graph as the batch of every seed."""
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (num_seeds, *leaf.shape)),
        model.batch(graph),
    )


def _embeddings(program: Program, state: mtopt.TrainState, graph: Graph) -> np.ndarray:
    return np.asarray(program.predict(state.evaluated_params, state.model_state, graph))


def _scores(
    z: dict[str, np.ndarray], benchmark: GraphBenchmark, how: Evaluation
) -> np.ndarray:
    """The scores of :data:`~.report.METRICS`, a row a seed; NaN without classes."""
    labels = benchmark.data.labels
    classes = len(np.unique(labels[labels >= 0])) > 1
    grid = {} if how.exponents is None else {"exponents": how.exponents}
    probe = functools.partial(
        probe_accuracy, splits=how.splits, folds=how.folds, **grid
    )
    return np.array(
        [
            [
                probe(whole, labels) if classes else np.nan,
                probe(whole, benchmark.parts),
                clustering_nmi(whole, labels, repeats=how.clusterings)
                if classes
                else np.nan,
                *link_prediction(links, benchmark.split),
            ]
            for whole, links in zip(z["whole"], z["links"], strict=True)
        ]
    )


def _history(folder: pathlib.Path, text: str, config: Config) -> PretextHistory:
    """What the records of a method hold of the pretexts, on the whole graph."""
    places = [run_folder(folder, text, seeds) / "whole" for seeds in _stacks(config)]

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        parts = [read_per_task(place, name) for place in places]
        return parts[0]["step"], np.concatenate([part["values"] for part in parts])

    steps, losses = read("loss")
    return PretextHistory(
        steps, losses, *(read(n)[1] for n in ("weights", "norm", "cosine"))
    )
