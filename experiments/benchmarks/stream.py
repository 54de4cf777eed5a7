"""How long steps wait for data that does not fit into memory, and what memory it takes.

``mtopt benchmark stream``. Images of NYUv2's size with classes, depth and normals of
every pixel, 1.3 MB each, are made as they are read, which is about as much work as
decoding a file. A model is trained on them by equal weighting, once for each number of
threads that read ahead. ``waiting`` is the share of time in which a step waits for its
batch; ``peak MB`` is the most memory that the process has held until then, program and
model included.
"""

import itertools
import json
import resource
import time
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from absl import flags

import mtopt
from mtopt.data import Dataset, StreamSplit, join
from mtopt.data.sources import JointDataset
from mtopt.training.program import shared_program

from ..common.building import make_model
from ..common.command import command, start

GIGABYTES = flags.DEFINE_float("stream_gb", 0.5, "What is read, in GB.", lower_bound=0)
WORKERS = flags.DEFINE_multi_integer(
    "stream_workers", [1, 2, 4], "Numbers of threads; repeat it.", lower_bound=1
)
MODEL = flags.DEFINE_string(
    "stream_model", "deeplab(depth=18, width=8)", "The model, of labels of pixels."
)
BATCH_SIZE = flags.DEFINE_integer("stream_batch", 2, "Images a step.", lower_bound=1)
AS_JSON = flags.DEFINE_bool("stream_json", False, "A line of JSON for each.")

PIXELS = 288, 384
CLASSES = 13
OUTPUTS = {"depth": 1, "normals": 3, "segmentation": CLASSES}
WARM_UP = 2
"""Steps that are not counted: the first is compiled, the second finds what was read."""


class Pictures:
    """Noise with labels, another at every place.

    Args:
      size: how many.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        rng = np.random.default_rng(0)
        normals = rng.normal(size=(1, *PIXELS, 3))
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        self.x = rng.integers(0, 256, (*PIXELS, 3)).astype(np.uint8)
        self.y = (
            rng.uniform(1, 5, (1, *PIXELS)).astype(np.float16),
            normals.astype(np.float16),
            rng.integers(-1, CLASSES, (1, *PIXELS)).astype(np.int8),
        )

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        x = np.roll(self.x, index, axis=0)
        return {"x": x, "y": tuple(np.roll(y, index, axis=1) for y in self.y)}


class Found(NamedTuple):
    """What was measured of a number of threads."""

    workers: int
    gigabytes: float
    step_ms: float
    waiting: float
    peak_mb: float


def streamed(size: int, workers: int) -> JointDataset:
    """A data set of so many training images, read by so many threads."""
    source, few = Pictures(size), Pictures(BATCH_SIZE.value)
    groups = [
        Dataset(
            name="noise",
            tasks=(kind,),
            kind=kind,
            outputs=outputs,
            x_axis=None,
            train=StreamSplit(source, group=g, workers=workers),
            valid=StreamSplit(few, group=g),
            test=StreamSplit(few, group=g),
        )
        for g, (kind, outputs) in enumerate(OUTPUTS.items())
    ]
    return join(*groups, shared_inputs=True)


def measure(workers: int) -> Found:
    """Trains on the whole stream once."""
    one = Pictures(1)
    each = sum(leaf.nbytes for leaf in jax.tree.leaves(one[0]))
    steps = max(1, round(GIGABYTES.value * 1e9 / each / BATCH_SIZE.value))
    data = streamed((steps + WARM_UP) * BATCH_SIZE.value, workers)
    model = make_model(MODEL.value, data)
    tx = mtopt.chain(mtopt.equal_weighting(len(OUTPUTS)), optax.adam(1e-3))
    program = shared_program(model, tx, 1)
    state = program.init(jax.random.split(jax.random.key(0), 1))
    batches = data.train.batches(BATCH_SIZE.value, seeds=(0,))
    waited = computed = 0.0
    asked = time.perf_counter()
    for t, batch in enumerate(itertools.islice(batches, steps + WARM_UP)):
        given = time.perf_counter()
        state, _ = jax.block_until_ready(program.step(state, batch))
        done = time.perf_counter()
        if t >= WARM_UP:
            waited, computed = waited + given - asked, computed + done - given
        asked = done
    return Found(
        workers,
        steps * BATCH_SIZE.value * each / 1e9,
        1e3 * computed / steps,
        waited / (waited + computed),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    )


@command
def main(argv: list[str]) -> None:
    """Prints a line for each number of threads."""
    del argv
    titles = ("workers", "GB", "step ms", "waiting", "peak MB")
    if not AS_JSON.value:
        print("".join(f"{title:>10}" for title in titles))
    for workers in WORKERS.value:
        found = measure(workers)
        if AS_JSON.value:
            print(json.dumps(found._asdict()), flush=True)
            continue
        print(
            f"{found.workers:>10}{found.gigabytes:>10.2f}{found.step_ms:>10.1f}"
            f"{found.waiting:>10.1%}{found.peak_mb:>10.0f}",
            flush=True,
        )


if __name__ == "__main__":
    start(main)
