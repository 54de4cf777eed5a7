r"""One model for a whole Pareto front, beside a model for each of its points.

``python -m experiments.main --experiment=pareto_front``. Every step draws a preference
p over two tasks from a Dirichlet distribution, gives it to the model, and descends a
scalarisation of the losses with it; afterwards the model is asked for any preference.
Beside it stand models of a single point: fixed weightings, one trained for each of
several preferences, and other methods, all with the same number of steps.

The model is a line through weight space: each task has an encoder of its own, and what
runs is their mean with the preference as weights,

.. math:: \theta(p) = \sum_k p_k \theta_k,

a linear hypernetwork that works for every encoder. The heads are the same everywhere.
COSMOS appends p to the input instead; to the features of a network as small as this
one, p so appended hardly moved the losses, unless the cosine forced it to.

What p means depends on the scalarisation. A weighted sum and the smooth Tchebycheff
function lower the loss of a preferred task; the cosine of COSMOS turns the losses
themselves towards p, so that, where it dominates, the preferred loss is the *larger*
one. The column *order* of the table shows which.

References:
  Ruchte and Grabocka, Scalable Pareto Front Approximation for Deep Multi-Objective
  Learning, 2021, arXiv 2103.13392: the training, Dirichlet(1.2), the reference point
  (2, 2). Dimitriadis et al., Pareto Manifold Learning: Tackling Multiple Tasks via
  Ensembles of Single-Task Models, 2022, arXiv 2210.09759: the line of weights, which
  there includes the heads.
"""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from tqdm import tqdm

import mtopt
from experiments import calls, pareto_front_report
from experiments.arrays import read_arrays, write_arrays
from experiments.built import load
from experiments.config import Optimizer, make_optimizer
from experiments.ending import conclude
from experiments.pareto_front_report import Family, Fronts
from mtopt.batch import Batch
from mtopt.data.dataset import Dataset
from mtopt.errors import UserError, expect
from mtopt.methods.cosmos_scalarization import cosmos_loss
from mtopt.methods.smooth_tchebycheff import smooth_tchebycheff_loss
from mtopt.metrics import METRICS, Metric
from mtopt.models import MODELS, Model
from mtopt.models.heads import per_sample_loss

FIXED = "fixed weightings"
PREFERENCES = 1 << 20  # the stream of preferences: a step's own streams start at 0
REPORT_EVERY = 50  # steps between looks at the losses
TEST_BATCH = 512


@dataclasses.dataclass
class Config:
    """One model for many preferences, beside models of a single point.

    Attributes:
      data: a data set of two tasks on shared inputs, as ``name(option=value)`` of
        :data:`mtopt.data.DATASETS`.
      model: the model, likewise of :data:`mtopt.models.MODELS`.
      scalarizations: of the models that see a preference, one each, likewise of
        :data:`SCALARIZATIONS`.
      methods: of the models of a single point, likewise of :data:`mtopt.METHODS`.
      optimizer: what follows the method in the chain.
      seeds: of every model; they start from the same parameters and see the same
        batches, whatever the method.
      steps: of every model.
      batch_size: samples per step.
      preferences: how many the front is traced at, evenly spread inside (0, 1).
      fixed_every: every so many of them has a model of fixed weights of its own.
      alpha: of the symmetric Dirichlet distribution of the preferences, above 0.
      reference: the loss, of either task, up to which the hypervolume counts.
    """

    data: str = "multi_digits"
    model: str = "mlp(hidden=(24,))"
    scalarizations: tuple[str, ...] = ("linear", "smooth_tchebycheff", "cosmos")
    methods: tuple[str, ...] = ("equal_weighting", "mgda")
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 3000
    batch_size: int = 128
    preferences: int = 19
    fixed_every: int = 3
    alpha: float = 1.2
    reference: float = 2.0


def get_config() -> Config:
    """A network so small that its two tasks compete for it."""
    return Config(optimizer=Optimizer(learning_rate=3e-3, schedule="cosine"))


class Scalarization(NamedTuple):
    """One loss out of K, and where it wants them.

    Attributes:
      loss: ``(losses, preference, present) -> scalar``.
      ray: preferences ``[..., K]`` to the directions ``[..., K]`` of losses that the
        scalarisation draws its minimiser to; None if there is no such direction.
    """

    loss: Callable[..., Float[Array, ""]]
    ray: Callable[[np.ndarray], np.ndarray] | None


def linear() -> Scalarization:
    """The weighted sum: p . L."""
    return Scalarization(lambda losses, p, present: p @ losses, None)


def smooth_tchebycheff(*, mu: float = 0.1) -> Scalarization:
    """A soft maximum of p_k L_k, of smoothness ``mu`` above 0: L towards 1 / p."""
    expect(mu > 0, "mu", mu, "a number above 0")

    def loss(losses, p, present):
        return smooth_tchebycheff_loss(losses, p, jnp.zeros_like(p), mu, present)

    return Scalarization(loss, lambda p: 1 / p)


def cosmos(*, penalty: float = 2.0) -> Scalarization:
    """The weighted sum less ``penalty`` (0 or more) times cos(p, L): L towards p."""
    expect(penalty >= 0, "penalty", penalty, "a number of at least 0")

    def loss(losses, p, present):
        return cosmos_loss(losses, p, penalty, present)

    return Scalarization(loss, lambda p: p)


SCALARIZATIONS: dict[str, Callable[..., Scalarization]] = {
    function.__name__: function for function in (cosmos, linear, smooth_tchebycheff)
}
"""Every scalarisation by its name."""


class Part(NamedTuple):
    """Models that are trained together.

    Attributes:
      model: of inputs ``{"inputs": x, "preference": [B, K]}``.
      method: the aggregator.
      preferences: ``[R, P, K]``: R models, each tested at P preferences. With P = 1 a
        model is trained at that one, otherwise at a new one in every step.
    """

    model: Model
    method: optax.GradientTransformation
    preferences: np.ndarray


def prepare(
    config: Config, experiment: str, data_dir: pathlib.Path | None
) -> Callable[[pathlib.Path], None]:
    """Checks and builds all that the runs need, without touching a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: the user's folder of data sets, for data that reads files.

    Returns:
      The job: called with a folder, it trains the models that are not finished there
      yet, and leaves fronts, results, the table and the picture in it.

    Raises:
      UserError: for anything in the configuration or the data that can't be run.
    """
    _check(config)
    optimizer = make_optimizer(config.optimizer, config.steps)
    aims = {
        text: calls.build("scalarization", text, SCALARIZATIONS)
        for text in config.scalarizations
    }
    for text in config.methods:
        calls.check_method(text)
    dataset = load(config.data, data_dir)
    if dataset.x_axis is not None or len(dataset.tasks) != 2:
        inputs = "shared inputs" if dataset.x_axis is None else "inputs of their own"
        raise UserError(
            f"{dataset.name} has {len(dataset.tasks)} tasks on {inputs}: expected two "
            "on shared inputs, for a front that is a curve"
        )
    parts = _parts(config, dataset, aims)

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        path = folder / "fronts.npz"
        measured = read_arrays(path)
        for text, part in parts.items():
            if text not in measured:
                measured[text] = _run(text, part, optimizer, config, dataset)
                write_arrays(path, measured)
            print(f"{text}: {_said(measured[text], dataset)}", flush=True)
        families = {
            text: Family(
                part.preferences.reshape(-1, 2),
                measured[text],
                len(part.preferences),
                _size(part),
                text in aims,
                aims[text].ray if text in aims else None,
            )
            for text, part in parts.items()
        }
        fronts = Fronts(
            experiment,
            dataset.tasks,
            METRICS[dataset.kind][0].name,
            config.reference,
            config.steps,
            config.fixed_every,
            families,
        )
        conclude(
            folder,
            pareto_front_report.table(fronts),
            pareto_front_report.summary(fronts),
            {"front.png": functools.partial(pareto_front_report.picture, fronts)},
            started,
        )

    return job


def preferences_inside(count: int) -> Float[np.ndarray, "N 2"]:
    """Evenly spread preferences over two tasks, none of which is without weight.

    Example:
      >>> preferences_inside(3).tolist()
      [[0.25, 0.75], [0.5, 0.5], [0.75, 0.25]]
    """
    first = np.arange(1, count + 1) / (count + 1)
    return np.stack([first, 1 - first], axis=1).astype(np.float32)


def with_preference(batch: Batch, preference: Float[Array, " K"]) -> Batch:
    """The batch whose inputs also hold one preference, repeated for every sample."""
    shape = (batch.mask.shape[1], *preference.shape)
    x = {"inputs": batch.x, "preference": jnp.broadcast_to(preference, shape)}
    return Batch(x, batch.y, batch.mask)


def by_preference(
    num_tasks: int, loss: Callable[..., Float[Array, ""]]
) -> optax.GradientTransformationExtraArgs:
    """Descends a scalarisation with the preference that the batch holds.

    Args:
      num_tasks: K, at least 1.
      loss: ``(losses, preference, present) -> scalar``; its gradient is the weights.
    """

    def weigh(memory, *, losses, problem, present, **_):
        preference = problem.batch.x["preference"][0]
        return jax.grad(loss)(losses, preference, present), memory

    return mtopt.weighting(num_tasks, weigh, heads="weighted")


def unconditioned(model: Model) -> Model:
    """The model that overlooks the preference beside its inputs."""

    def encode(shared, x, *rest):
        return model.tasks.encode(shared, x["inputs"], *rest)

    def predict(params, model_state, x):
        return model.predict(params, model_state, x["inputs"])

    tasks = dataclasses.replace(model.tasks, encode=encode)
    return Model(tasks, model.init, predict)


def conditioned(model: Model) -> Model:
    """The model with an encoder per task, mixed by the preference of the batch.

    ``params["shared"]`` is K encoders stacked, each from a start of its own.
    """
    plain = unconditioned(model)

    def mixed(shared, x):
        weights = x["preference"][0]
        return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), shared)

    def init(key):
        keys = jax.random.split(key, len(model.tasks.names))
        params, model_state = jax.vmap(model.init)(keys)
        heads, model_state = jax.tree.map(
            lambda leaf: leaf[0], (params["tasks"], model_state)
        )
        return {"shared": params["shared"], "tasks": heads}, model_state

    def encode(shared, x, *rest):
        return plain.tasks.encode(mixed(shared, x), x, *rest)

    def predict(params, model_state, x):
        here = {**params, "shared": mixed(params["shared"], x)}
        return plain.predict(here, model_state, x)

    return Model(dataclasses.replace(model.tasks, encode=encode), init, predict)


def _check(config: Config) -> None:
    """Raises for a number out of range, or a list that is empty or repeats itself."""
    for field in ("scalarizations", "methods", "seeds"):
        values = getattr(config, field)
        if len(set(values)) < len(values):
            raise UserError(f"{field} has an entry twice: {values}")
    for field in ("scalarizations", "seeds"):
        expect(len(getattr(config, field)) > 0, field, (), "one entry at least")
    expect(min(config.seeds) >= 0, "seeds", config.seeds, "none below 0")
    for field, least in (
        ("steps", 1),
        ("batch_size", 1),
        ("preferences", 3),
        ("fixed_every", 1),
    ):
        value = getattr(config, field)
        expect(value >= least, field, value, f"{least} or more")
    for field in ("alpha", "reference"):
        value = getattr(config, field)
        expect(0 < value < math.inf, field, value, "a positive number")


def _parts(
    config: Config, dataset: Dataset, aims: Mapping[str, Scalarization]
) -> dict[str, Part]:
    """What is trained, in the order of the table."""
    first = next(dataset.train.in_order(1))
    model = calls.build(
        "model",
        config.model,
        MODELS,
        np.shape(first.x)[1:],
        names=dataset.tasks,
        kind=dataset.kind,
        outputs=dataset.outputs,
        x_axis=None,
        dtype=jnp.float32,
    )
    plain, mixed = unconditioned(model), conditioned(model)
    front = preferences_inside(config.preferences)
    chosen = front[:: config.fixed_every, None]
    anywhere = np.full((1, 1, 2), 0.5, np.float32)
    parts = {
        text: Part(mixed, by_preference(2, aim.loss), front[None])
        for text, aim in aims.items()
    }
    parts[FIXED] = Part(plain, by_preference(2, linear().loss), chosen)
    for text in config.methods:
        method = calls.build_method(text, 2)
        parts[text] = Part(plain, method, anywhere)
    return parts


def _run(
    text: str,
    part: Part,
    optimizer: optax.GradientTransformation,
    config: Config,
    dataset: Dataset,
) -> np.ndarray:
    """Trains a part, and measures it on the test split: ``[S, R P, K, 2]``."""
    tx = mtopt.chain(part.method, optimizer)
    state = _start(part, tx, config.seeds)
    advance = _step(part, tx, config.alpha)
    own = jnp.asarray(part.preferences[:, 0])
    bar = tqdm(total=config.steps, desc=text, unit="step", disable=None, leave=False)
    batches = dataset.train.batches(config.batch_size, seeds=config.seeds)
    with bar:
        bar.set_postfix_str("compiling")
        for step in range(1, config.steps + 1):
            state, losses = advance(state, next(batches), own)
            if step % REPORT_EVERY == 0 or step == config.steps:
                mean = _checked(losses, text, step, dataset.tasks)
                bar.set_postfix(dict(zip(dataset.tasks, mean.round(3), strict=True)))
                bar.update(step - bar.n)
    return _measure(part, state, dataset)


def _start(
    part: Part, tx: optax.GradientTransformation, seeds: tuple[int, ...]
) -> mtopt.TrainState:
    """The state ``[S, R, ...]``; the models of a seed start as equals."""

    def start(key):
        init_key, run_key = jax.random.split(key)
        params, model_state = part.model.init(init_key)
        return mtopt.TrainState.create(params, tx, run_key, model_state)

    count = len(part.preferences)
    keys = jax.vmap(jax.random.key)(jnp.array(seeds, jnp.uint32))
    repeated = jax.vmap(jax.vmap(start))
    return jax.jit(repeated)(jnp.stack([keys] * count, axis=1))


def _step(
    part: Part, tx: optax.GradientTransformation, alpha: float
) -> Callable[..., tuple[mtopt.TrainState, Float[Array, "S R K"]]]:
    """``(state [S, R, ...], batch [S, ...], preferences [R, K]) -> state, losses``."""
    step = mtopt.make_train_step(part.model.tasks, tx)
    draws = part.preferences.shape[1] > 1

    def one(state, batch, preference):
        if draws:
            key = jax.random.fold_in(state.key, state.step)
            key = jax.random.fold_in(key, PREFERENCES)
            preference = jax.random.dirichlet(key, jnp.full_like(preference, alpha))
        state, metrics = step(state, with_preference(batch, preference))
        return state, metrics["losses"]

    models = jax.vmap(one, in_axes=(0, None, 0))
    return jax.jit(jax.vmap(models, in_axes=(0, 0, None)), donate_argnums=0)


def _measure(part: Part, state: mtopt.TrainState, dataset: Dataset) -> np.ndarray:
    """The test loss and primary metric ``[S, R P, K, 2]``."""

    def predict(params, model_state, batch, preferences):
        def at(preference):
            x = with_preference(batch, preference).x
            return part.model.predict(params, model_state, x)

        return jax.lax.map(at, preferences)

    models = jax.vmap(predict, in_axes=(0, 0, None, 0))
    seeds = jax.jit(jax.vmap(models, in_axes=(0, 0, None, None)))
    preferences = jnp.asarray(part.preferences)
    batches = list(dataset.test.in_order(TEST_BATCH))
    outputs = np.concatenate(
        [
            np.asarray(seeds(state.params, state.model_state, batch, preferences))
            for batch in batches
        ],
        axis=4,
    )
    targets = np.concatenate([np.asarray(batch.y) for batch in batches], axis=1)
    mask = np.concatenate([np.asarray(batch.mask) for batch in batches], axis=1)
    metrics = (_mean_loss(dataset.kind), METRICS[dataset.kind][0])

    def scores(out):
        return [
            [metric.function(*task) for metric in metrics]
            for task in zip(out, targets, mask, strict=True)
        ]

    count = len(part.preferences) * part.preferences.shape[1]
    flat = outputs.reshape(outputs.shape[0], count, *outputs.shape[3:])
    return np.array([[scores(out) for out in seed] for seed in flat])


def _mean_loss(kind: str) -> Metric:
    """The loss that was trained on, as a metric of outputs and labels."""

    def function(output, target, mask):
        losses = per_sample_loss(
            jnp.asarray(output[mask]), jnp.asarray(target[mask]), kind
        )
        return float(losses.mean())

    return Metric("loss", False, function)


def _checked(
    losses: Float[Array, "S R K"], text: str, step: int, tasks: tuple[str, ...]
) -> np.ndarray:
    """The mean losses ``[K]`` over seeds and models; raises where one is no number."""
    mean = np.asarray(losses).mean(axis=(0, 1))
    for task, loss in zip(tasks, mean, strict=True):
        if not np.isfinite(loss):
            raise UserError(
                f"{text}: the loss of task {task!r} is {loss} at step {step}: lower "
                "the learning rate, or clip the gradient"
            )
    return mean


def _size(part: Part) -> int:
    """The number of parameters of all models of one seed."""
    params, _ = jax.eval_shape(part.model.init, jax.random.key(0))
    own = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    return own * len(part.preferences)


def _said(measured: np.ndarray, dataset: Dataset) -> str:
    """The lowest test loss of every task, over preferences, mean over seeds."""
    lowest = measured[..., 0].min(axis=1).mean(axis=0)
    numbers = zip(dataset.tasks, lowest, strict=True)
    return "test loss " + ", ".join(f"{task} {loss:.3f}" for task, loss in numbers)
