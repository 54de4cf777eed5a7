"""Tasks of pixels from a stream, augmented: training, validation, going on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import Dataset, StreamSplit, augmented, join, multi_digits
from mtopt.models import MODELS, functional
from mtopt.models import join as join_models
from mtopt.models.layers import as_floats
from mtopt.models.pixels import pixel_head
from mtopt.training.fit import FitOptions, fit, read_result
from mtopt.training.program import separate_program, shared_program
from mtopt.training.writer import read_records

OUTPUTS = {"depth": 1, "normals": 3, "segmentation": 4}
SCHEDULE = FitOptions(
    steps=8, batch_size=4, eval_every=4, log_every=2, checkpoint_every=2
)
BY = "scale_crop + flip + colour + normalise"


class Pictures:
    """Images made as they are read, with holes in every kind of label."""

    def __init__(self, seed, size):
        self.seed, self.size = seed, size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index])
        normals = rng.normal(size=(1, 8, 8, 3))
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        holes = rng.random((2, 1, 8, 8)) < 0.9
        y = (
            (rng.uniform(1, 5, (1, 8, 8)) * holes[0]).astype(np.float16),
            (normals * holes[1][..., None]).astype(np.float16),
            rng.integers(-1, 4, (1, 8, 8)).astype(np.int8),
        )
        mask = tuple(np.array([index % 5 != g]) for g in range(3))
        image = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        return {"x": image, "y": y, "mask": mask}


@functools.cache
def pictures():
    sources = [Pictures(seed, size) for seed, size in enumerate((13, 6, 6))]
    groups = [
        Dataset(
            kind,
            (kind,),
            kind,
            OUTPUTS[kind],
            None,
            *[StreamSplit(source, group=g) for source in sources],
        )
        for g, kind in enumerate(OUTPUTS)
    ]
    return augmented(join(*groups, shared_inputs=True), BY)


def convolution(dtype):
    """One layer of pixels."""
    from flax import nnx

    class Layer(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs, dtype=dtype)

        def __call__(self, x):
            return self.conv(as_floats(x, dtype))

    return Layer


@functools.cache
def program(dtype=jnp.float32):
    models = [
        functional(
            convolution(dtype),
            pixel_head(4, outputs, kind=kind, dtype=dtype),
            (kind,),
            kind=kind,
        )
        for kind, outputs in OUTPUTS.items()
    ]
    model = join_models(models, shared_inputs=True)
    return shared_program(model, mtopt.chain(mtopt.mgda(3), optax.adam(1e-2)), 2)


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def resumed(built, data, folder, stop=3):
    def interrupt(step, losses):
        if step >= stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(built, data, SCHEDULE, folder, seeds=(0, 1), progress=interrupt)
    return fit(built, data, SCHEDULE, folder, seeds=(0, 1))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_three_kinds_of_pixels_train_from_a_stream_and_go_on(tmp_path, dtype):
    built = program(dtype)
    whole = fit(built, pictures(), SCHEDULE, tmp_path / "whole", seeds=(0, 1))
    again = resumed(built, pictures(), tmp_path / "again")
    assert_same((whole.state, whole.best), (again.state, again.best))
    np.testing.assert_array_equal(whole.test.metrics, again.test.metrics)
    assert np.isfinite(whole.test.metrics).any(axis=2).all()
    records = [
        [r["loss"] for r in read_records(tmp_path / f / "metrics.jsonl") if "loss" in r]
        for f in ("whole", "again")
    ]
    assert records[0] == records[1]
    assert read_result(tmp_path / "whole") is not None


def test_a_single_task_model_trains_on_a_group_of_it(tmp_path):
    (group,) = (g for g in pictures().groups if g.kind == "depth")
    model = functional(
        convolution(jnp.float32),
        pixel_head(4, 1, kind="depth"),
        ("task",),
        kind="depth",
    )
    tx = mtopt.chain(mtopt.equal_weighting(1), optax.adam(1e-2))
    built = separate_program(model, tx, ("depth",), 2)
    whole = fit(built, group, SCHEDULE, tmp_path / "whole", seeds=(0, 1))
    again = resumed(built, group, tmp_path / "again")
    assert_same(whole.state, again.state)


def test_augmented_batches_are_made_inside_of_the_steps_program(tmp_path):
    """Of samples in memory: many steps in a call, and the same going on."""
    digits = multi_digits(num_train=32, num_valid=8, num_test=8)
    data = augmented(digits, "scale_crop + flip + colour")
    model = MODELS["mlp"](
        (10, 10, 1),
        names=data.tasks,
        kind=data.kind,
        outputs=10,
        x_axis=None,
        dtype=jnp.float32,
        hidden=(8,),
    )
    tx = mtopt.chain(mtopt.mgda(2), optax.adam(1e-2))
    built = shared_program(model, tx, 2)
    whole = fit(built, data, SCHEDULE, tmp_path / "whole", seeds=(0, 1))
    again = resumed(built, data, tmp_path / "again")
    assert_same(whole.state, again.state)
    plain = fit(built, digits, SCHEDULE, tmp_path / "plain", seeds=(0, 1))
    one, other = (jax.tree.leaves(each.state.params)[0] for each in (whole, plain))
    assert not np.array_equal(one, other)
