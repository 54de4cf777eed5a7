"""The toy problem in two dimensions: where methods end that start in five places.

``python -m experiments.main --experiment=toy``. Two losses of one point in the plane,
with a narrow valley between the starts and the Pareto front; see
:func:`mtopt.data.toy.toy_tasks`. Nash-MTL, FAMO and others draw this picture with the
first loss scaled by 0.1, CAGrad with ``--config.scale=1 --config.starts=cagrad``.
"""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import mtopt
from experiments import calls, toy_report
from experiments.arrays import read_arrays, write_arrays
from experiments.config import Optimizer, make_optimizer
from experiments.ending import conclude
from experiments.toy_report import Trajectories
from mtopt.data import toy
from mtopt.errors import UserError, expect_one_of


@dataclasses.dataclass
class Config:
    """Methods on the toy problem.

    Attributes:
      methods: the methods, as ``name(option=value)`` of :data:`mtopt.METHODS`.
      optimizer: what follows the method in the chain.
      scale: of the first loss, above 0: 0.1 as Nash-MTL, 1 as CAGrad.
      starts: whose starting points, ``nash_mtl`` (five) or ``cagrad`` (three).
      steps: optimizer steps from every start.
      log_every: steps between the points that are kept.
    """

    methods: tuple[str, ...]
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    scale: float = 0.1
    starts: str = "nash_mtl"
    steps: int = 50_000
    log_every: int = 100


def get_config() -> Config:
    """The methods that the papers draw, and what came after them.

    MGDA in two forms: the second combines the gradients that it scaled to unit length.
    Applied to the original ones, the weights of two such gradients are 1/2 each: equal
    weighting. FAMO is told the least losses, as in its paper.
    """
    return Config(
        methods=(
            "equal_weighting",
            "mgda",
            "mgda(normalize='l2', apply_to='normalized')",
            "pcgrad",
            "cagrad(c=0.4)",
            "imtl_g",
            "nash_mtl",
            "aligned_mtl",
            "fairgrad",
            "conflict_free",
            "upgrad",
            "famo(gamma=0, min_losses=(-2.1, -21))",
        )
    )


def prepare(
    config: Config, experiment: str, data_dir: pathlib.Path | None
) -> Callable[[pathlib.Path], None]:
    """Checks and builds all that the runs need, without touching a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: not used; the problem is a formula.

    Returns:
      The job: called with a folder, it runs the methods that are not finished there
      yet, and leaves trajectories, results, the table and the picture in it.

    Raises:
      UserError: for anything in the configuration that can't be run.
    """
    del data_dir
    if not config.methods:
        raise UserError("methods is empty: expected one at least")
    if len(set(config.methods)) < len(config.methods):
        raise UserError(f"methods has an entry twice: {config.methods}")
    if not 0 < config.scale < math.inf:
        raise UserError(f"scale is {config.scale}: expected a positive number")
    expect_one_of("starts", config.starts, tuple(toy.STARTS))
    for field in ("steps", "log_every"):
        if getattr(config, field) < 1:
            raise UserError(f"{field} is {getattr(config, field)}: expected 1 or more")
    optimizer = make_optimizer(config.optimizer, config.steps)
    chains = {
        text: mtopt.chain(calls.build_method(text, 2), optimizer)
        for text in config.methods
    }

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        path = folder / "trajectories.npz"
        points = read_arrays(path)
        for text, tx in chains.items():
            if text not in points:
                points[text] = _run(text, tx, config)
                write_arrays(path, points)
            end = points[text][:, -1]
            count = int(toy_report.on_front(end).sum())
            print(f"{text}: {count} of {len(end)} starts end on the front", flush=True)
        ordered = {text: points[text] for text in chains}
        result = Trajectories(experiment, config.scale, config.steps, ordered)
        conclude(
            folder,
            toy_report.table(result),
            toy_report.summary(result),
            {"toy.png": functools.partial(toy_report.picture, result)},
            started,
        )

    return job


def _run(text: str, tx: optax.GradientTransformation, config: Config) -> np.ndarray:
    """The points ``[N, T, 2]`` of one method, from all N starts at once.

    In float64, since the walls of the valley magnify rounding.
    """
    starts = toy.STARTS[config.starts]
    points = [np.array(starts)]
    bar = tqdm(total=config.steps, desc=text, unit="step", disable=None, leave=False)
    with jax.enable_x64(True), bar:
        step = mtopt.make_train_step(toy.toy_tasks(config.scale), tx)
        batch = toy.toy_batch()

        def start(point):
            params = toy.toy_params(point)
            return mtopt.TrainState.create(params, tx, jax.random.key(0))

        def advance(state, steps):
            return jax.lax.fori_loop(0, steps, lambda _, s: step(s, batch)[0], state)

        advance = jax.jit(jax.vmap(advance, in_axes=(0, None)), donate_argnums=0)
        state = jax.vmap(start)(jnp.array(starts))
        for done in range(0, config.steps, config.log_every):
            steps = min(config.log_every, config.steps - done)
            state = advance(state, steps)
            points.append(_checked(state.params["shared"], starts, text, done + steps))
            bar.update(steps)
    return np.stack(points, axis=1)


def _checked(
    points: jax.Array, starts: Sequence[tuple[float, float]], text: str, step: int
) -> np.ndarray:
    """The points as numbers; raises where one is none."""
    found = np.asarray(points)
    for start, point in zip(starts, found, strict=True):
        if not np.isfinite(point).all():
            raise UserError(
                f"{text} from {start} is at {tuple(point.tolist())} by step {step}: "
                "lower the learning rate, or clip the gradient"
            )
    return found
