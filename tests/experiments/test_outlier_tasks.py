"""Planted outliers: the data, the gate between two networks, the experiment."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.datasets import load_digits

import mtopt
from experiments import outlier_tasks
from experiments.common.config import Optimizer
from experiments.common.run_folder import folder_name
from experiments.outlier_tasks import report
from mtopt.data import planted_outliers
from mtopt.data.images.planted_outliers import PLANTS
from mtopt.errors import UserError
from mtopt.models import MODELS, functional
from mtopt.models.outlier_gate import branches, gated
from mtopt.training.loop import read_per_task

# --- data -----------------------------------------------------------------------------


def true_digits(x):
    """The digit of every image, by looking it up."""
    images, digits = load_digits(return_X_y=True)
    known = {
        row.astype(np.float32).tobytes(): d
        for row, d in zip(images, digits, strict=True)
    }
    flat = np.asarray(x).reshape(-1, 64) * 16
    return np.array([known[row.tobytes()] for row in flat]).reshape(x.shape[:2])


@pytest.mark.parametrize("plant", PLANTS)
def test_regular_tasks_name_the_digit_and_outliers_do_what_was_planted(plant):
    data = planted_outliers(plant=plant, num_tasks=6, num_outliers=2)
    assert data.tasks[:3] == ("outlier00", "outlier01", "regular00")
    for split in (data.train, data.valid, data.test):
        digits, y = true_digits(split.samples.x), np.asarray(split.samples.y)
        np.testing.assert_array_equal(y[2:], digits[2:])
        agree = (y[:2] == digits[:2]).mean()
        if plant == "adversarial":
            np.testing.assert_array_equal(y[:2], 9 - digits[:2])
        else:
            assert 0.03 < agree < 0.2  # a tenth by chance
    if plant == "unrelated":
        ink = np.asarray(data.test.samples.x[0]).sum(axis=(1, 2, 3))
        assert np.corrcoef(ink, y[0])[0, 1] > 0.95
        np.testing.assert_array_equal(y[0], y[1])
    if plant == "noisy":
        assert (y[0] == y[1]).mean() < 0.2


def test_every_training_digit_belongs_to_one_task_and_none_is_tested():
    data = planted_outliers()
    seen = [np.asarray(s.samples.x) for s in (data.train, data.valid, data.test)]
    train = {image.tobytes() for image in seen[0].reshape(-1, 64)}
    assert len(train) == seen[0].shape[0] * seen[0].shape[1]
    for held_out in seen[1:]:
        np.testing.assert_array_equal(held_out[0], held_out[-1])
        assert not train & {image.tobytes() for image in held_out[0].reshape(-1, 64)}


def test_without_the_outliers_the_others_keep_their_digits():
    everyone, regular = planted_outliers(), planted_outliers(keep_outliers=False)
    assert regular.tasks == everyone.tasks[3:]
    for one, other in ((everyone.train, regular.train), (everyone.test, regular.test)):
        jax.tree.map(
            np.testing.assert_array_equal,
            (other.samples.x, other.samples.y),
            (one.samples.x[3:], one.samples.y[3:]),
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"plant": "evil"}, "plant is 'evil': expected one of"),
        ({"num_tasks": 1}, "num_tasks is 1: expected 2 to 100"),
        ({"num_outliers": 10}, "num_outliers is 10: expected 0 to 9"),
    ],
)
def test_misuse_of_the_data_is_one_line(options, message):
    with pytest.raises(UserError, match=message):
        planted_outliers(**options)


# --- the gate -------------------------------------------------------------------------


@functools.cache
def gated_model():
    """The model, its first parameters, and how it predicts, compiled."""
    model = functional(
        branches(lambda rngs: nnx.Linear(3, 4, rngs=rngs)),
        gated(lambda rngs: nnx.Linear(4, 2, rngs=rngs)),
        ("a", "b", "c"),
        kind="classification",
    )
    params, state = jax.jit(model.init)(jax.random.key(0))
    assert not jax.tree.leaves(state)
    return model, params, jax.jit(lambda params, x: model.predict(params, state, x))


def inputs(samples=5):
    x = np.random.default_rng(0).normal(size=(samples, 3))
    return jnp.asarray(x, jnp.float32)


def test_the_gate_mixes_the_branches_as_published():
    """(1 - sigma) z_non + sigma z_out, by numpy in float64."""
    _, params, predict = gated_model()
    logits = np.array([-40.0, 0.3, 40.0], np.float32)
    params, x = optax.tree.set(params, outlier_logit=logits), inputs()
    found = predict(params, x)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, float), params)
    share = 1 / (1 + np.exp(-np.asarray(logits, float)))
    ends = [
        np.asarray(x, float) @ p["shared"][name]["kernel"] + p["shared"][name]["bias"]
        for name in ("majority", "outliers")
    ]
    heads = p["tasks"].values["head"]
    for k in range(3):
        z = (1 - share[k]) * ends[0] + share[k] * ends[1]
        expected = z @ heads["kernel"][k] + heads["bias"][k]
        np.testing.assert_allclose(found[k], expected, rtol=1e-5, atol=1e-6)


def test_swapping_the_branches_and_the_sign_changes_nothing():
    _, params, predict = gated_model()
    shared = params["shared"]
    logits = np.asarray(optax.tree.get(params, "outlier_logit"))
    assert 0 < abs(logits).max() < 0.5
    other = {"majority": shared["outliers"], "outliers": shared["majority"]}
    turned = optax.tree.set({**params, "shared": other}, outlier_logit=-logits)
    x = inputs()
    np.testing.assert_allclose(predict(turned, x), predict(params, x), atol=1e-6)


def test_theta_moves_by_its_own_loss_whatever_the_weights():
    model, params, _ = gated_model()
    batch = mtopt.Batch.shared(inputs(6), {name: np.arange(6) % 2 for name in "abc"})
    tx = mtopt.chain(mtopt.outlier_weighted(mtopt.mgda(3)), optax.sgd(1.0))

    @jax.jit
    def both(params):
        """The update of theta, and the gradient of its own loss."""
        problem = model.tasks.problem(batch, jax.random.key(2), {})
        evaluation = problem.evaluate(params)
        grads = evaluation.gradients
        update, _ = tx.update(grads, tx.init(params), params, evaluation=evaluation)
        own = grads["tasks"]
        return [optax.tree.get(tree, "outlier_logit") for tree in (update, own)]

    theta, gradient = map(np.asarray, both(params))
    np.testing.assert_allclose(theta, -gradient, rtol=1e-6)
    assert abs(theta).min() > 0


def test_all_but_an_offset_is_shared():
    make = MODELS["pooled_mlp"]
    common = {"names": ("a", "b"), "kind": "classification", "outputs": 3}
    model = make((4,), **common, hidden=(5,))
    params, state = jax.jit(model.init)(jax.random.key(0))
    assert jax.tree.map(jnp.shape, params["tasks"].values) == {"bias": (2, 3)}
    x, predict = jnp.ones((1, 4)), jax.jit(model.predict)
    one, other = np.asarray(predict(params, state, x))
    np.testing.assert_array_equal(one, other)
    bias = np.eye(2, 3, dtype=np.float32)
    tasks = dataclasses.replace(params["tasks"], values={"bias": bias})
    one, other = np.asarray(predict({**params, "tasks": tasks}, state, x))
    np.testing.assert_allclose(one - other, [[1.0, -1.0, 0.0]], atol=1e-6)


# --- the experiment -------------------------------------------------------------------

QUICK = {
    "methods": ("equal_weighting",),
    "plants": ("noisy",),
    "num_tasks": 5,
    "num_outliers": 1,
    "hidden": (16,),
    "seeds": (0, 1),
    "optimizer": Optimizer(learning_rate=1e-2),
    "steps": 120,
    "log_every": 10,
    "eval_every": 120,
    "checkpoint_every": 120,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outlier_tasks") / "run"
    config = dataclasses.replace(outlier_tasks.get_config(), **QUICK)
    folder.mkdir()
    outlier_tasks.prepare(config, "it", None)(folder)
    return folder


@pytest.mark.slow  # five arms to compile; CI runs them
def test_a_run_leaves_its_table_results_and_pictures(finished):
    for name in ("scores.png", "task_weights.png", "gates.png"):
        assert (finished / name).stat().st_size > 10_000
    text = (finished / "table.txt").read_text()
    assert "1 noisy" in text
    assert "no outlier" in text
    arms = json.loads((finished / "results.json").read_text())["arms"]
    assert {(arm["plant"], arm["arm"]) for arm in arms} == {
        ("none", "plain"),
        ("none", "outlier_weighted"),
        ("noisy", "plain"),
        ("noisy", "outlier_weighted"),
        ("noisy", "gate"),
    }


@pytest.mark.slow  # five arms to compile; CI runs them
def test_the_planted_task_is_the_one_that_loses_its_weight(finished):
    arms = json.loads((finished / "results.json").read_text())["arms"]
    by = {
        (arm["plant"], arm["arm"]): np.array(arm["last"]) for arm in arms if arm["last"]
    }
    noisy = by["noisy", "outlier_weighted"][0]
    assert noisy[:, 0].max() < 0.5 * noisy[:, 1:].min()
    assert by["none", "outlier_weighted"].min() > 0.9


@pytest.mark.slow  # five arms to compile; CI runs them
def test_weights_and_logits_are_logged_by_name(finished):
    method = folder_name("outlier_weighted(equal_weighting)")
    place = finished / "noisy-outlier_weighted" / method
    found = read_per_task(place / "seed-0-1", "task_weights")
    np.testing.assert_array_equal(found["step"], np.arange(10, 121, 10))
    assert found["values"].shape == (2, 12, 5)
    np.testing.assert_allclose(found["values"][:, 0], 1, atol=0.02)
    place = finished / "noisy-gate" / "equal_weighting" / "seed-0-1"
    logits = read_per_task(place, "outlier_logit")["values"]
    assert abs(logits[:, -1] - logits[:, 0]).min() > 0
    assert read_per_task(place, "task_weights")["values"].size == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plants": ()}, "plants is ()"),
        ({"plants": ("nosy",)}, "plants is 'nosy'"),
        ({"plants": ("noisy", "noisy")}, "expected no entry twice"),
        ({"num_outliers": 0}, "num_outliers is 0: expected 1 or more"),
        ({"num_outliers": 12}, "num_outliers is 12"),
        ({"methods": ("mgdaa",)}, "did you mean 'mgda'"),
    ],
)
def test_misuse_is_one_line_before_anything_runs(changes, message):
    config = dataclasses.replace(outlier_tasks.get_config(), **changes)
    with pytest.raises(UserError) as caught:
        outlier_tasks.prepare(config, "it", None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def found(**fallen):
    """A report of two regular tasks, whose arms fell to these scores at the end."""
    logged = report.TaskHistory(np.arange(2), np.ones((2, 2, 3)))
    arms = {}
    for plant, kind in (
        *(("none", kind) for kind in ("plain", "outlier_weighted")),
        *(("noisy", kind) for kind in ("plain", "outlier_weighted", "gate")),
    ):
        number = 2 if plant == "none" else 3
        regular = np.arange(3)[-number:] > 0
        last = np.array([0.1, *fallen.get(kind, (0.9, 0.9))])[-number:]
        looks = np.full((2, 2, number), 0.9)
        looks[1, -1] = last
        curves = {"step": np.arange(2), "validation": looks}
        own = report.TaskHistory(logged.step, logged.values[..., -number:])
        accuracy = np.full((1, 2, number), 0.9)
        arms[plant, kind] = report.Arm(regular, accuracy, [curves], [own])
    return report.Outliers("it", ("mgda",), ("noisy",), 10, arms)


def test_a_report_says_which_regular_tasks_fell_late():
    """What the planted one loses is no fall."""
    text = report.table(found())
    last = text.split("\n\n")[-1]
    assert last == (
        "No method fell more than 5 points behind an earlier look at validation data."
    )
    text = report.table(found(gate=(0.9, 0.7)))
    last = " ".join(text.split("\n\n")[-1].split())
    assert last.startswith("noisy, gate: mgda: 1 of 4 looks at validation data were")
    assert last.endswith("by 10.0 at most; 1 of 2 seeds ended so")


def test_groups_are_parted_either_way_up():
    logits = np.array([[1.0, -1.0, -2.0], [-3.0, -1.0, 0.0], [0.0, -1.0, 1.0]])
    found = report.separated(logits, np.array([False, True, True]))
    np.testing.assert_array_equal(found, [True, True, False])
