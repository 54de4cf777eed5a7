"""What few samples gain from sources of many: planted transfer, and its two controls.

``mtopt benchmark transfer`` plants a task of 300 samples and six of 8,000, whose labels
come from the same hidden representation, three directions of 30 inputs. The task of few
is trained alone and with the six (``mtopt.data.join``, ``mtopt.models.join``), as they
are, with their labels permuted among their samples, and with labels from another
representation: what is left of a gain there is not of the labels. Weight decay is
chosen for every way by the mean validation error over the seeds, the step for every
model by its own; validation has labels of the task of few alone.
"""

import dataclasses
import functools
import pathlib
import tempfile

import numpy as np
from absl import flags

import mtopt
from mtopt.data import ArraySplit, Dataset, join
from mtopt.data.sources import JointDataset
from mtopt.metrics import paired_interval
from mtopt.models import MODELS
from mtopt.models import join as join_models
from mtopt.training.fit import FitOptions, fit
from mtopt.training.program import Program, shared_program

from ..common.command import command, start
from ..common.config import Optimizer
from ..common.sheet import UNDEFINED
from ..common.table import align, cells

ALONE = "alone"
WAYS = (ALONE, "joint", "permuted", "unrelated")
FEW = ("few",)
MANY = tuple(f"many_{i}" for i in range(6))
INPUTS, HIDDEN, UNITS = 30, 3, 8
TRAIN, VALID, TEST, SOURCE = 300, 2000, 4000, 8000
NOISE = 0.1  # of the labels of few in training, in their standard deviations
DECAYS = (1.0, 3.0, 10.0, 30.0)

DRAWS = flags.DEFINE_integer("draws", 8, "Of data, a model each.", lower_bound=1)
STEPS = flags.DEFINE_integer("transfer_steps", 1500, "Updates.", lower_bound=1)


def labels(rng: np.random.Generator, hidden: np.ndarray, tasks: int) -> np.ndarray:
    """Standardised labels ``[tasks, n]``, each of a random network on ``hidden``."""
    found = []
    for _ in range(tasks):
        weights = 1.5 * rng.normal(size=(HIDDEN, UNITS))
        bias, last = rng.normal(size=(2, UNITS))
        found.append(np.tanh(hidden @ weights + bias) @ last)
    y = np.stack(found)
    y -= y.mean(axis=1, keepdims=True)
    return (y / y.std(axis=1, keepdims=True)).astype(np.float32)


@functools.cache
def sources(seed: int) -> dict[str, Dataset | JointDataset]:
    """The data of every way, of one draw."""
    rng = np.random.default_rng(seed)

    def representation() -> np.ndarray:
        return np.linalg.qr(rng.normal(size=(INPUTS, HIDDEN)))[0]

    def inputs(count: int) -> np.ndarray:
        return rng.normal(size=(count, INPUTS)).astype(np.float32)

    common, other = representation(), representation()
    x, x_many = inputs(TRAIN + VALID + TEST), inputs(SOURCE)
    y = labels(rng, x @ common, 1)
    y[:, :TRAIN] += NOISE * rng.normal(size=TRAIN)
    few = _dataset(
        FEW,
        *(
            _split(FEW, x[part], y[:, part])
            for part in np.split(np.arange(len(x)), [TRAIN, TRAIN + VALID])
        ),
    )

    def with_few(y_many: np.ndarray) -> JointDataset:
        held_out = _split(MANY, x_many[:1], y_many[:, :1], labelled=False)
        many = _dataset(MANY, _split(MANY, x_many, y_many), held_out, held_out)
        return join(few, many)

    y_many = labels(rng, x_many @ common, len(MANY))
    return {
        ALONE: few,
        "joint": with_few(y_many),
        "permuted": with_few(y_many[:, rng.permutation(SOURCE)]),
        "unrelated": with_few(labels(rng, x_many @ other, len(MANY))),
    }


def _split(
    names: tuple[str, ...], x: np.ndarray, y: np.ndarray, *, labelled: bool = True
) -> ArraySplit:
    mask = np.full(y.shape, labelled)
    return ArraySplit(mtopt.Batch(x, y, mask, names), None)


def _dataset(names: tuple[str, ...], *parts: ArraySplit) -> Dataset:
    train, valid, test = parts
    return Dataset(names[0], names, "regression", 1, None, train, valid, test)


@functools.cache
def program(together: bool, decay: float, steps: int) -> Program:
    """An MLP for the task of few, or for all seven; the six weigh as two."""
    groups = (FEW, MANY) if together else (FEW,)
    models = [
        MODELS["mlp"](
            (INPUTS,), names=names, kind="regression", outputs=1, hidden=(64, 64)
        )
        for names in groups
    ]
    weights = (1.0, *(1 / 3 for _ in MANY)) if together else (1.0,)
    method = mtopt.fixed_weighting(len(weights), weights=weights)
    optimizer = Optimizer(f"adamw(weight_decay={decay})", 2e-3).build(steps)
    model = join_models(models) if together else models[0]
    return shared_program(model, mtopt.chain(method, optimizer), 1)


@dataclasses.dataclass(frozen=True)
class Found:
    """What came of one way.

    Attributes:
      decay: the weight decay that validation chose.
      errors: squared errors on test samples over the variance of their labels,
        ``[seeds]``.
    """

    decay: float
    errors: np.ndarray


def measure(seeds: int, steps: int) -> dict[str, Found]:
    """Trains every way with every weight decay, on every draw.

    Args:
      seeds: how many draws, each with a network of its own.
      steps: updates.

    Returns:
      By way.
    """
    found = {}
    for way in WAYS:
        valid, test = np.zeros((2, len(DECAYS), seeds))
        for i, decay in enumerate(DECAYS):
            for seed in range(seeds):
                valid[i, seed], test[i, seed] = _errors(way, decay, seed, steps)
        best = int(valid.mean(axis=1).argmin())
        found[way] = Found(DECAYS[best], test[best])
    return found


def _errors(way: str, decay: float, seed: int, steps: int) -> tuple[float, float]:
    """On validation and test samples, of the step that is best on validation."""
    options = FitOptions(
        steps=steps,
        batch_size=128,
        eval_every=100,
        log_every=steps,
        checkpoint_every=steps,
    )
    trained = program(way != ALONE, decay, steps)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        done = fit(trained, sources(seed)[way], options, place, seeds=(seed,))
    # The mean over tasks of minus the RMSE: the six have no label there.
    return float(done.best.score[0] ** 2), float(done.test.metrics[0, 0, 0] ** 2)


def table(found: dict[str, Found]) -> str:
    """A row a way."""
    alone = found[ALONE].errors
    ratios = []
    for one in found.values():
        ratio = paired_interval(one.errors / alone, np.zeros_like(alone))
        ratios.append(f"{ratio.mean:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]")
    columns = [
        ["", *found],
        ["test error ↓", *cells([one.errors for one in found.values()], 3)],
        ["ratio to alone", UNDEFINED, *ratios[1:]],
        ["weight decay", *(f"{one.decay:g}" for one in found.values())],
    ]
    return "\n".join(align(columns))


@command
def main(_: list[str]) -> None:
    """Prints the errors, and how they compare with those alone."""
    print(
        f"{TRAIN} samples beside six tasks of {SOURCE}: squared error over the "
        f"variance of the labels,\nmean ± standard deviation over {DRAWS.value} draws; "
        "ratio: its mean, draw by draw [95 % interval]\n",
        flush=True,
    )
    print(table(measure(DRAWS.value, STEPS.value)))


if __name__ == "__main__":
    start(main)
