"""What trained models are like: ``python -m experiments.analyze --run=FOLDER``.

For every method and seed of a finished comparison it takes the parameters after the
last step and measures, on test data and with the model in evaluation form, the loss,
its sharpness and how often the tasks' gradients conflict, and of the weights the
power-law exponents. It prints a table and leaves ``analysis.json``, ``landscape.png``,
``slice.png`` and ``alphas.png`` in the folder; nothing else there is touched.
"""

import functools
import itertools
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

import mtopt
from experiments import analysis_pictures
from experiments.analysis_pictures import Analysis, Measured
from experiments.built import load, make_aggregators, make_model, place_of, stacks
from experiments.cli import command
from experiments.config import Config, from_dict, make_optimizer
from experiments.main import FLAGS, experiment
from experiments.table import align, cells, pages
from mtopt import analysis
from mtopt.data.dataset import Dataset
from mtopt.errors import UserError, expect
from mtopt.models import Model
from mtopt.models.heads import per_sample_loss
from mtopt.training.checkpoint import Checkpoints
from mtopt.training.fit import read_result, restore
from mtopt.training.program import shared_program
from mtopt.training.writer import write_json

flags.DEFINE_string("run", None, "The folder of a finished run of experiments.main.")
flags.DEFINE_float("rho", 0.05, "The radius of the ball that sharpness is measured in.")
flags.DEFINE_bool("adaptive", False, "Measure parameters in units of their own size.")
flags.DEFINE_integer("points", 21, "Points along each axis of the loss landscape.")
flags.DEFINE_integer("samples", 1024, "Test samples for sharpness and landscape.")
flags.DEFINE_integer("seed", 0, "Of the directions and the choice of samples.")

CONFLICT_BATCHES = 20
ELSEWHERE = ("experiment", "method", "out", "resume")  # flags of experiments.main
PICTURES = ("landscape.png", "slice.png", "alphas.png")


@command
def main(argv: list[str]) -> None:
    """Checks everything, then measures, then writes."""
    del argv
    foreign = [f"--{name}" for name in ELSEWHERE if FLAGS[name].present]
    if foreign or FLAGS.run is None:
        raise UserError(
            f"{', '.join(foreign) or 'no --run'}: expected --run=FOLDER, the folder of "
            "a finished run, whose experiment and methods are stored in it"
        )
    rho = FLAGS.rho
    expect(math.isfinite(rho) and rho >= 0, "--rho", rho, "a number of at least 0")
    expect(FLAGS.points >= 3, "--points", FLAGS.points, "at least 3")
    expect(FLAGS.samples >= 1, "--samples", FLAGS.samples, "at least 1")
    expect(FLAGS.seed >= 0, "--seed", FLAGS.seed, "at least 0")
    folder = pathlib.Path(FLAGS.run)
    found = analyze(
        folder,
        pathlib.Path(FLAGS.data_dir) if FLAGS["data_dir"].present else None,
        rho=rho,
        adaptive=FLAGS.adaptive,
        points=FLAGS.points,
        samples=FLAGS.samples,
        seed=FLAGS.seed,
    )
    write_json(folder / "analysis.json", summary(found))
    draw = (
        analysis_pictures.landscape,
        analysis_pictures.slices,
        analysis_pictures.alphas,
    )
    for picture, name in zip(draw, PICTURES, strict=True):
        picture(found, folder / name)
    print(f"\n{table(found)}\n")
    for name in PICTURES:
        print(f"picture  {folder / name}")
    print(f"numbers  {folder / 'analysis.json'}")


def analyze(
    folder: pathlib.Path,
    data_dir: pathlib.Path | None = None,
    *,
    rho: float,
    adaptive: bool,
    points: int,
    samples: int,
    seed: int,
) -> Analysis:
    """Measures every method and seed of a finished run; writes nothing.

    Args:
      folder: the run.
      data_dir: the folder of data sets, where it is no longer the run's own.
      rho: the radius of the ball, at least 0.
      adaptive: see :func:`mtopt.analysis.sharpness`.
      points: along each axis of the plane, from -1 to 1; even numbers are made odd,
        so that the model itself is one of them.
      samples: of the test split, for the sharpness and the plane.
      seed: of the directions and the choice of samples.

    Raises:
      UserError: where the folder holds no such run, or one that is not finished.
    """
    name, config, stored_dir = _stored(folder)
    places = {text: _places(folder, text, config) for text in config.methods}
    dataset = load(config.data, data_dir or stored_dir)
    model = make_model(config, dataset, dataset.tasks)
    drawn = dataset.test.batches(samples, seeds=(seed,))
    sample = jax.tree.map(lambda leaf: leaf[0], next(drawn))
    offsets = jnp.linspace(-1, 1, points + 1 - points % 2)
    measure = _measures(config, dataset, model, sample, offsets, rho, adaptive, seed)
    optimizer = make_optimizer(config.optimizer, config.steps)
    restored = {
        text: _restored(model, mtopt.chain(aggregator, optimizer), places[text])
        for text, aggregator in make_aggregators(config, dataset).items()
    }
    methods = []
    for text, pairs in restored.items():
        print(f"analyzing {text}", flush=True)
        methods.append(measure(text, pairs))
    return Analysis(
        experiment=name,
        task_names=dataset.tasks,
        steps=config.steps,
        rho=rho,
        adaptive=adaptive,
        samples=sample.mask.shape[1],
        offsets=np.asarray(offsets),
        methods=methods,
    )


def evaluation(model: Model, kind: str) -> mtopt.Tasks:
    """The tasks of a model in evaluation form: running statistics, no dropout.

    Args:
      model: the model.
      kind: of its labels, an entry of :data:`mtopt.models.heads.LOSSES`.
    """
    x_axis = model.tasks.x_axis

    def encode(shared, x, key, model_state):
        del key
        return (shared, x, model_state), model_state

    def head_loss(head, inputs, targets, mask, key):
        del key
        shared, x, model_state = inputs
        own, x_own = jax.tree.map(lambda leaf: leaf[None], (head, x))
        params = {"shared": shared, "tasks": mtopt.PerTask(own, ("task",))}
        outputs = model.predict(params, model_state, x if x_axis is None else x_own)
        return mtopt.masked_mean(per_sample_loss(outputs[0], targets, kind), mask)

    return mtopt.Tasks(
        model.tasks.names, encode, head_loss, x_axis=x_axis, stateful=True
    )


def summary(found: Analysis) -> dict[str, Any]:
    """All that was measured but the landscapes, as ``analysis.json`` holds it."""
    return {
        "experiment": found.experiment,
        "tasks": list(found.task_names),
        "steps": found.steps,
        "rho": found.rho,
        "adaptive": found.adaptive,
        "samples": found.samples,
        "methods": {
            method.name: {
                "test_loss": method.loss,
                "sharpness": method.sharpness,
                "conflict_share": method.conflict,
                "layers": list(method.layers),
                "alpha": method.alphas,
            }
            for method in found.methods
        },
    }


def table(found: Analysis) -> str:
    """One row a method, as text without a final newline.

    Example:
      >>> ours = Measured(
      ...     "ours", np.full((1, 2), 0.5), np.full((1, 2), 0.02), np.array([0.25]),
      ...     ("shared/kernel",), np.array([[2.5]]), np.zeros((1, 3, 2)),
      ...     np.zeros((3, 3, 2)))
      >>> found = Analysis("demo", ("l", "r"), 9, 0.05, False, 64, np.ones(3), [ours])
      >>> print(table(found))  # doctest: +ELLIPSIS
      demo: test data, model after 9 steps, 1 seed
      <BLANKLINE>
            test loss  sharpness  conflicts %  alpha encoder  alpha heads
      -------------------------------------------------------------------
      ours      0.500     0.0200        25.00          2.500            –
      <BLANKLINE>
      Sharpness: ...
    """
    methods = found.methods
    shared = [name.startswith("shared/") for name in methods[0].layers]
    heads = [not own for own in shared]
    columns = {
        "test loss": [method.loss.mean(axis=1) for method in methods],
        "sharpness": [method.sharpness.mean(axis=1) for method in methods],
        "conflicts %": [100 * method.conflict for method in methods],
        "alpha encoder": [_mean_or_nan(method.alphas[:, shared]) for method in methods],
        "alpha heads": [_mean_or_nan(method.alphas[:, heads]) for method in methods],
    }
    filled = [[head, *cells(column)] for head, column in columns.items()]
    names = ["", *(method.name for method in methods)]
    seeds = len(found.methods[0].loss)
    spread = "1 seed" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    adaptive = " in units of the parameters' sizes" if found.adaptive else ""
    lines = [
        f"{found.experiment}: test data, model after {found.steps:,} steps, {spread}",
        "",
    ]
    for page in pages(names, filled[:3], filled[3:]):
        lines += [*align(page), ""]
    lines += [
        f"Sharpness: rise of the loss at distance {found.rho:g}{adaptive} along the",
        f"     gradient, mean of tasks, on {found.samples:,} samples.",
        "Conflicts: pairs of tasks whose gradients have a negative cosine, in "
        f"{CONFLICT_BATCHES} batches.",
        "Alpha: exponent of the tail of the weights' spectra, mean of layers; "
        "smaller is heavier.",
    ]
    return "\n".join(lines)


def _stored(folder: pathlib.Path) -> tuple[str, Config, pathlib.Path | None]:
    """Experiment, configuration and data folder of a run.

    Raises:
      UserError: for a folder that is no run, or none of a comparison.
    """
    try:
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        name, values, data_dir = (
            stored[key] for key in ("experiment", "config", "data_dir")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"no run in {folder}: {type(error).__name__} on config.json; expected the "
            "folder that experiments.main wrote to"
        ) from error
    template = experiment(name).get_config()
    if not isinstance(template, Config):
        raise UserError(
            f"{folder} is a run of {name}: expected one that compares methods on a "
            "data set"
        )
    return name, from_dict(template, values), data_dir and pathlib.Path(data_dir)


def _places(
    folder: pathlib.Path, text: str, config: Config
) -> list[tuple[pathlib.Path, tuple[int, ...]]]:
    """The checkpoint folders of a method, each with the seeds in it.

    Raises:
      UserError: where one has not finished.
    """
    places = []
    for seeds in stacks(config):
        place = place_of(folder, text, seeds)
        if read_result(place) is None or not (place / "checkpoints").is_dir():
            raise UserError(
                f"{place} has no finished checkpoint: continue the run with "
                f"experiments.main --resume={folder}"
            )
        places.append((place / "checkpoints", seeds))
    return places


def _restored(
    model: Model,
    tx: optax.GradientTransformationExtraArgs,
    places: list[tuple[pathlib.Path, tuple[int, ...]]],
) -> list[tuple[Any, Any]]:
    """Parameters and model state after the last step, one pair a seed."""
    pairs = []
    for place, seeds in places:
        program = shared_program(model, tx, len(seeds))
        with Checkpoints(place) as checkpoints:
            if checkpoints.latest is None:
                raise UserError(f"no checkpoint in {place}: run the method again")
            state, _ = restore(program, seeds, checkpoints)
        for s in range(len(seeds)):
            pairs.append(
                jax.tree.map(
                    lambda leaf, s=s: leaf[s], (state.params, state.model_state)
                )
            )
    return pairs


def _measures(
    config: Config,
    dataset: Dataset,
    model: Model,
    sample: mtopt.Batch,
    offsets: jax.Array,
    rho: float,
    adaptive: bool,
    seed: int,
) -> Callable[[str, list[tuple[Any, Any]]], Measured]:
    """The function that measures a method from the pairs of :func:`_restored`."""
    tasks = evaluation(model, dataset.kind)
    first_key, second_key, unused = jax.random.split(jax.random.key(seed), 3)

    def problem(batch, model_state):
        return tasks.problem(batch, unused, model_state)

    @jax.jit
    def losses(params, model_state, batch):
        return problem(batch, model_state).losses(params)

    @jax.jit
    def cosines(params, model_state, batch):
        _, grads = problem(batch, model_state).losses_and_grads(params)
        return analysis.cosines(grads["shared"])

    @jax.jit
    def rise(params, model_state):
        return analysis.sharpness(
            problem(sample, model_state),
            params,
            rho=rho,
            adaptive=adaptive,
            passes="map",
        )

    @jax.jit
    def surface(params, model_state, betas):
        directions = (
            analysis.filter_normalized_direction(first_key, params),
            analysis.filter_normalized_direction(second_key, params),
        )
        own = problem(sample, model_state)
        return analysis.plane(own.losses, params, directions, offsets, betas)

    def test_loss(pair):
        total = count = np.zeros(len(dataset.tasks))
        for batch in dataset.test.in_order(1024):
            labels = np.asarray(batch.mask).sum(axis=1)
            total = total + np.asarray(losses(*pair, batch), float) * labels
            count = count + labels
        return total / np.where(count, count, np.nan)

    def conflict(pair):
        drawn = dataset.test.batches(config.batch_size, seeds=(seed,))
        batches = [
            jax.tree.map(lambda leaf: leaf[0], batch)
            for batch in itertools.islice(drawn, CONFLICT_BATCHES)
        ]
        every = jnp.stack([cosines(*pair, batch) for batch in batches])
        return float(analysis.conflict_share(every))

    def measure(text, pairs):
        layers = [analysis.layer_alphas(params) for params, _ in pairs]
        line = functools.partial(surface, betas=jnp.zeros(1))
        return Measured(
            name=text,
            loss=np.stack([test_loss(pair) for pair in pairs]),
            sharpness=np.stack([np.asarray(rise(*pair)) for pair in pairs]),
            conflict=np.array([conflict(pair) for pair in pairs]),
            layers=tuple(row.name for row in layers[0]),
            alphas=np.array([[row.alpha for row in rows] for rows in layers]),
            lines=np.stack([np.asarray(line(*pair))[:, 0] for pair in pairs]),
            surface=np.asarray(surface(*pairs[0], betas=offsets)),
        )

    return measure


def _mean_or_nan(values: np.ndarray) -> np.ndarray:
    """The mean over layers, nan without any."""
    return values.mean(axis=1) if values.shape[1] else np.full(len(values), np.nan)


if __name__ == "__main__":
    app.run(main)
