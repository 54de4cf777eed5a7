"""Labels of pixels: losses, holes, and three kinds trained on one encoder."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt import Batch, metrics
from mtopt.data import ArraySplit, Dataset
from mtopt.data import join as join_data
from mtopt.errors import UserError
from mtopt.models import functional, join
from mtopt.models.heads import LOSSES, label_losses, label_mask, predictions
from mtopt.models.pixels import PixelHead, pixel_head
from mtopt.pixels import PIXELS
from mtopt.training.evaluate import evaluate
from tests.helpers.close import assert_close

OUTPUTS = {"segmentation": 4, "depth": 1, "normals": 3}
SIZE = (6, 5, 5)


def labels(seed=0):
    """Of six images of 5 x 5 pixels, with holes."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(*SIZE, 3))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    holes = rng.random((2, *SIZE)) < 0.7
    return {
        "segmentation": rng.integers(-1, 4, SIZE).astype(np.int32),
        "depth": ((1 + rng.random(SIZE)) * holes[0]).astype(np.float32),
        "normals": (vectors * holes[1][..., None]).astype(np.float32),
    }


def of_kind(kind, names=None, **options):
    """A model of one layer of pixels."""
    from flax import nnx

    return functional(
        lambda rngs: nnx.Conv(3, 4, (3, 3), rngs=rngs),
        pixel_head(4, OUTPUTS[kind], kind=kind),
        (kind,) if names is None else names,
        kind=kind,
        **options,
    )


def by_hand(kind, raw, target):
    """The mean loss over labelled pixels in float64, one pixel after another."""
    found = []
    for place in np.ndindex(*target.shape[:3]):
        own, y = raw[place].astype(np.float64), target[place]
        if kind == "segmentation" and y >= 0:
            found.append(np.log(np.exp(own).sum()) - own[y])
        elif kind == "depth" and y != 0:
            found.append(abs(own[0] - y))
        elif kind == "normals" and y.any():
            found.append(1 - own @ y / np.linalg.norm(own))
    return np.mean(found)


@pytest.mark.parametrize("kind", PIXELS)
def test_a_loss_is_the_mean_over_labelled_pixels_of_labelled_images(kind):
    target = labels()[kind]
    raw = np.random.default_rng(1).normal(size=(*SIZE, OUTPUTS[kind]))
    raw = raw.astype(np.float32)
    outputs = predictions(jnp.asarray(raw), kind)
    losses = label_losses(outputs, jnp.asarray(target), kind)
    mask = jnp.array([True, True, False, True, True, True])
    of_pixels = label_mask(jnp.asarray(target), mask, kind)
    found = mtopt.masked_mean(losses, of_pixels)
    assert_close(found, by_hand(kind, raw[mask], target[mask]), rtol=1e-6)
    twice = label_mask(jnp.asarray(target), jnp.where(mask, 2.0, 0.0), kind)
    assert_close(mtopt.masked_mean(losses, twice), found, rtol=1e-6)


@pytest.mark.parametrize("kind", PIXELS)
def test_pixels_without_a_label_and_hidden_images_have_no_gradient(kind):
    model = of_kind(kind)
    params, _ = model.init(jax.random.key(0))
    x = np.random.default_rng(2).normal(size=(*SIZE, 3)).astype(np.float32)
    y = labels()[kind]
    nothing = y < 0 if kind == "segmentation" else y == 0

    def gradient(target, mask):
        batch = Batch.shared(x, {kind: target}, {kind: mask})
        problem = model.tasks.problem(batch, jax.random.key(1))
        return problem.losses_and_grads(params)[1]

    all_images = np.ones(6, bool)
    hidden = np.arange(6) < 4
    garbage = np.where(hidden.reshape(-1, *[1] * (y.ndim - 1)), y, 3).astype(y.dtype)
    assert_close(gradient(garbage, hidden), gradient(y, hidden), rtol=0)
    without = gradient(np.where(nothing, y, 0 * y + nothing), all_images)
    kept = gradient(np.where(nothing, y, 0 * y - (kind == "segmentation")), all_images)
    assert jax.tree.all(jax.tree.map(lambda leaf: not leaf.any(), kept))
    assert jax.tree.all(jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), without))


def test_normals_are_unit_vectors_and_have_a_gradient_at_zero():
    outputs = jnp.array([[[[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]]]])
    found = predictions(outputs, "normals")
    assert_close(found[0, 0], np.array([[0.6, 0.0, 0.8], [0.0] * 3]), rtol=1e-6)
    slope = jax.grad(lambda z: predictions(z, "normals").sum())(outputs)
    assert bool(jnp.isfinite(slope).all())


def joint():
    """Three data sets on the same images, and models of their kinds."""
    x = np.random.default_rng(3).normal(size=(*SIZE, 3)).astype(np.float32)
    sets = []
    for kind, y in labels().items():
        split = ArraySplit(Batch.shared(x, {kind: y}), None)
        scale = np.array([0.3]) if kind == "depth" else None
        sets.append(
            Dataset(
                "small",
                (kind,),
                kind,
                OUTPUTS[kind],
                None,
                *[split] * 3,
                target_scale=scale,
            )
        )
    model = join([of_kind(kind) for kind in sorted(PIXELS)], shared_inputs=True)
    return join_data(*sets, shared_inputs=True), model, x


@pytest.fixture(scope="module")
def trained():
    data, model, x = joint()
    chain = mtopt.chain(mtopt.mgda(3), optax.adam(0.02))
    params, model_state = model.init(jax.random.key(0))
    step = mtopt.make_train_step(model.tasks, chain)
    state = mtopt.TrainState.create(params, chain, jax.random.key(1), model_state)
    batches = data.train.batches(6, seeds=(0,))
    losses = []
    for _ in range(60):
        batch = jax.tree.map(lambda leaf: leaf[0], next(batches))
        state, logs = step(state, batch)
        losses.append(np.asarray(logs["losses"]))
    return data, model, x, state, np.array(losses)


def test_three_kinds_of_pixels_are_learned_together(trained):
    *_, losses = trained
    assert (losses[-1] < 0.9 * losses[0]).all()


def test_a_split_is_scored_from_the_rows_of_its_images(trained):
    data, model, x, state, _ = trained

    def predict(inputs):
        found = model.predict(state.params, state.model_state, inputs)
        return tuple(outputs[None] for outputs in found)

    outputs = dict(zip(data.tasks, (o[0, 0] for o in predict(x)), strict=True))
    for batch_size in (1, 4, 6):
        scores = evaluate(predict, data, data.test, batch_size=batch_size)
        column = 0
        for k, kind in enumerate(data.tasks):
            for metric in metrics.METRICS[kind]:
                wanted = metric.value(
                    np.asarray(outputs[kind]), labels()[kind], np.ones(6, bool)
                )
                assert_close(scores.metrics[0, k, column], wanted, rtol=1e-5)
                assert_close(scores.pooled[0, column], wanted, rtol=1e-5)
                column += 1
        first = scores.metrics[0, [0, 1, 2], [0, 2, 7]]
        units = [-1 / 0.3, -1 / 90, 1]
        assert_close(scores.selection[0], first * units, rtol=1e-6)


def test_large_images_are_evaluated_a_few_at_a_time(monkeypatch):
    data, *_ = joint()
    seen = []

    def predict(x):
        seen.append(len(x))
        return tuple(
            np.zeros((1, 1, *shape))
            for shape in ((len(x), 5, 5), (len(x), 5, 5, 3), (len(x), 5, 5, 4))
        )

    # Of 75 numbers each; labels and masks have other axes in front.
    monkeypatch.setattr("mtopt.training.evaluate.MOST_NUMBERS", 2 * 75 + 1)
    evaluate(predict, data, data.test)
    assert seen == [2, 2, 2]


def test_a_model_that_diverged_is_chosen_by_nobody(trained):
    data, model, _, state, _ = trained

    def predict(inputs):
        found = model.predict(state.params, state.model_state, inputs)
        return tuple(outputs[None] * np.nan for outputs in found)

    scores = evaluate(predict, data, data.test)
    assert (scores.selection == -np.inf).all()
    assert np.isnan(scores.metrics).all()


@pytest.mark.parametrize("kind", PIXELS)
def test_a_head_of_another_kind_is_told_so_in_one_line(kind):
    raw = inspect.unwrap(predictions)
    with pytest.raises(UserError, match=f"the head of a {kind} task put out"):
        raw(jnp.zeros((2, 4)), kind)
    count = OUTPUTS[kind] + 1 if kind != "segmentation" else 1
    with pytest.raises(UserError, match=r"expected \[b, h, w, (classes|1|3)\]"):
        raw(jnp.zeros((2, 5, 5, count)), kind)
    assert kind in LOSSES


def test_the_head_keeps_the_size_of_its_inputs():
    from flax import nnx

    head = pixel_head(4, 7, kind="segmentation")(nnx.Rngs(0))
    assert isinstance(head, PixelHead)
    assert head(jnp.ones((2, 6, 5, 4))).shape == (2, 6, 5, 7)
