"""Where a metric is undefined on validation data, models are chosen by the loss."""

import functools

import jax
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import ArraySplit, Dataset
from mtopt.models import MODELS
from mtopt.training.criterion import criterion
from mtopt.training.evaluate import evaluate
from mtopt.training.fit import BestModel, FitOptions, _score, fit, read_result
from mtopt.training.program import separate_program, shared_program

TASKS = ("a", "b")


def data(classes):
    """Task b has so many classes on validation data."""
    rng = np.random.default_rng(0)

    def split(size, of_b=2):
        x = rng.normal(size=(size, 4)).astype("float32")
        if of_b == 1:
            x[:, 1] = -np.abs(x[:, 1])
        y = (x.T[:2] > 0).astype("int32")
        mask = np.ones((2, size), bool)
        mask[1] = of_b > 0
        return ArraySplit(mtopt.Batch(x, y, mask, TASKS), None)

    return Dataset(
        "d", TASKS, "binary", 1, None, split(64), split(32, classes), split(32)
    )


def model(names=TASKS):
    return MODELS["mlp"]((4,), names=names, kind="binary", outputs=1, hidden=(8,))


def fitted(tmp_path, made, classes):
    options = FitOptions(
        steps=60, batch_size=32, eval_every=20, log_every=60, checkpoint_every=60
    )
    found = fit(made, data(classes), options, tmp_path, seeds=(0,))
    return found.best, read_result(tmp_path)


def test_the_loss_stands_in_for_what_one_class_leaves_undefined():
    tx = mtopt.chain(mtopt.equal_weighting(2), optax.adam(1e-2))
    made = shared_program(model(), tx, 1)
    state = made.init(jax.random.split(jax.random.key(0), 1))
    held = data(1)
    scores = evaluate(
        functools.partial(made.predict, state.params, state.model_state),
        held,
        held.valid,
    )
    assert np.isnan(scores.metrics[0, 1, 0])
    logits = np.asarray(
        made.predict(state.params, state.model_state, held.valid.samples.x)
    )[0, 1]
    expected = -np.log1p(np.exp(logits.astype(np.float64))).mean()
    np.testing.assert_allclose(scores.selection[0, 1], expected, rtol=1e-5)
    assert scores.selection[0, 0] == scores.metrics[0, 0, 0]


@pytest.mark.parametrize("classes", [1, 0])
def test_a_single_task_model_is_chosen_by_its_loss_and_without_labels_by_nothing(
    tmp_path, classes
):
    tx = mtopt.chain(mtopt.equal_weighting(1), optax.adam(1e-2))
    made = separate_program(model(("task",)), tx, TASKS, 1)
    best, result = fitted(tmp_path, made, classes)
    assert np.isnan(result["validation"][0, :, 1]).all()
    # Its loss on one class falls for longer than the first look.
    step = int(np.asarray(best.step)[0, 1])
    assert step > 20 if classes else step == 20
    assert result["test"][0, 1, 0] > 0.5


def test_a_model_without_numbers_of_a_task_is_never_chosen():
    """However good the other task is: undefined is what the labels leave, not it."""
    tx = mtopt.chain(mtopt.equal_weighting(2), optax.adam(1e-2))
    made = shared_program(model(), tx, 1)
    state = made.init(jax.random.split(jax.random.key(0), 1))
    heads = jax.tree.map(lambda leaf: leaf.at[:, 1].set(np.nan), state.params["tasks"])
    held = data(2)
    params = state.params | {"tasks": heads}
    scores = evaluate(
        functools.partial(made.predict, params, state.model_state), held, held.valid
    )
    assert np.isfinite(scores.selection[0, 0])
    assert scores.selection[0, 1] == -np.inf
    best = BestModel.first(state)
    assert not (
        best.update(_score(scores, made, [True] * 2), state).score > best.score
    ).any()


def test_a_named_metric_that_is_undefined_leaves_the_loss():
    """R2 of a target that is the same in all samples, while its error is defined."""
    x = np.zeros((4, 1), np.float32)
    y = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 5.0, 5.0, 5.0]], np.float32)
    split = ArraySplit(mtopt.Batch(x, y, np.ones((2, 4), bool), TASKS), None)
    scale = {"target_mean": np.zeros(2), "target_std": np.ones(2)}
    held = Dataset("d", TASKS, "regression", 1, None, split, split, split, **scale)
    outputs = np.stack([y[0] + 1, y[1] + 2])[None]
    scores = evaluate(
        lambda x: outputs, held, split, by=criterion("r2", held)
    ).selection
    np.testing.assert_allclose(scores, [[1 - 4 / 5, -4.0]], rtol=1e-6)
    errors = evaluate(lambda x: outputs, held, split).selection
    np.testing.assert_allclose(errors, [[-1, -2]])
    # Of one task, the others are judged as ever.
    of_b = evaluate(lambda x: outputs, held, split, by=criterion("b", held)).selection
    np.testing.assert_allclose(of_b, [[-1, -2]])
