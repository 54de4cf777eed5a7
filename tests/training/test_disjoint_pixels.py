"""Labels of pixels of tasks that each have images of their own."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import ArraySplit, Dataset, scenes
from mtopt.pixels import has_label
from mtopt.training.evaluate import metric_tasks
from mtopt.training.fit import FitOptions, fit
from mtopt.training.program import shared_program
from tests.helpers.pixel_model import one_convolution

TASKS = ("east", "west")
SIZES = {"num_train": 12, "num_valid": 4, "num_test": 5, "size": 8}
OPTIONS = FitOptions(
    steps=40, batch_size=4, eval_every=20, log_every=20, checkpoint_every=40
)


def rooms(kind):
    """Scenes of two draws, as a task each, with one kind of labels."""
    each = [scenes(**SIZES, seed=seed, missing=0.2) for seed in (0, 1)]
    places = [group.kind for group in each[0].groups]
    group = each[0].groups[places.index(kind)]

    def split(name):
        found = [next(getattr(own, name).in_order(12)) for own in each]
        y = [np.asarray(batch.y[places.index(kind)][0]) for batch in found]
        mask = [np.asarray(batch.mask[places.index(kind)][0]) for batch in found]
        x = [np.asarray(batch.x) for batch in found]
        return ArraySplit(mtopt.Batch(*map(np.stack, (x, y, mask)), TASKS), 0)

    parts = map(split, ("train", "valid", "test"))
    return Dataset("rooms", TASKS, kind, group.outputs, 0, *parts)


@pytest.mark.parametrize("kind", ["segmentation", "depth", "normals"])
def test_each_task_is_scored_on_its_own_images(kind, tmp_path):
    data = rooms(kind)
    model = one_convolution(
        (8, 8, 3),
        names=TASKS,
        kind=kind,
        outputs=data.outputs,
        x_axis=0,
        dtype=jnp.float32,
    )
    tx = mtopt.chain(mtopt.mgda(2), optax.adam(3e-2))
    program = shared_program(model, tx, 1)
    found = fit(program, data, OPTIONS, tmp_path, seeds=(0,))
    batch = next(data.test.in_order(5))
    outputs = np.asarray(
        program.predict(found.best.params, found.best.model_state, batch.x)
    )[0]
    names = list(metric_tasks(data))
    for k in range(2):
        y, mask = np.asarray(batch.y[k]), np.asarray(batch.mask[k])
        known = has_label(y, kind) & mask.reshape(-1, 1, 1)
        if kind == "segmentation":
            name, right = "pixel_accuracy", outputs[k].argmax(-1) == y
            expected = right[known].mean()
            most = np.bincount(y[known].astype(int)).max() / known.sum()
            assert expected > most
        elif kind == "depth":
            name, expected = "abs_err", np.abs(outputs[k] - y)[known].mean()
        else:
            own = outputs[k] / np.linalg.norm(outputs[k], axis=-1, keepdims=True)
            angle = np.degrees(np.arccos((own * y).sum(-1).clip(-1, 1)))
            name, expected = "angle_mean", angle[known].mean()
        score = found.test.metrics[0, k, names.index(name)]
        np.testing.assert_allclose(score, expected, rtol=1e-3)
