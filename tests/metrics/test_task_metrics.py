"""Metrics of tasks, against scikit-learn."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as reference

from mtopt import metrics
from mtopt.errors import UserError

NAN = float("nan")


def everything(n):
    return np.ones(n, bool)


# Task metrics.
def test_metrics_match_scikit_learn_on_the_labelled_samples():
    rng = np.random.default_rng(0)
    n = 200
    mask = rng.random(n) < 0.7
    score, target = rng.normal(size=n), rng.normal(size=n)
    y, p = target[mask], score[mask]
    assert metrics.rmse(score, target, mask) == pytest.approx(
        reference.root_mean_squared_error(y, p), rel=1e-12
    )
    assert metrics.mae(score, target, mask) == pytest.approx(
        reference.mean_absolute_error(y, p), rel=1e-12
    )
    assert metrics.r2(score, target, mask) == pytest.approx(reference.r2_score(y, p))
    label = (target > 0).astype(np.int32)
    assert metrics.auc(score, label, mask) == pytest.approx(
        reference.roc_auc_score(label[mask], p)
    )
    assert metrics.f1(score, label, mask) == pytest.approx(
        reference.f1_score(label[mask], p > 0)
    )
    assert metrics.accuracy(score, label, mask) == pytest.approx(
        reference.accuracy_score(label[mask], p > 0)
    )
    logits, classes = rng.normal(size=(n, 4)), rng.integers(0, 4, n)
    assert metrics.accuracy(logits, classes, mask) == pytest.approx(
        reference.accuracy_score(classes[mask], logits[mask].argmax(1))
    )
    labels = (rng.normal(size=(n, 4)) > 0).astype(np.float32)
    assert metrics.auc(logits, labels, mask) == pytest.approx(
        reference.roc_auc_score(labels[mask], logits[mask], average="macro")
    )
    assert metrics.accuracy(logits, labels, mask) == pytest.approx(
        np.mean((logits > 0)[mask] == labels[mask])
    )


def test_planted_answers():
    mask = np.array([True, True, True, True, False])
    target = np.array([1.0, 2.0, 3.0, 4.0, NAN])
    output = np.array([2.0, 3.0, 4.0, 3.0, NAN])  # every error is 1, the mean is 2.5
    assert metrics.rmse(output, target, mask) == 1.0
    assert metrics.mae(output, target, mask) == 1.0
    assert metrics.r2(output, target, mask) == pytest.approx(1 - 4 / 5)
    labels = np.array([0, 1, 0, 1, 0])
    assert metrics.auc(np.array([0.1, 0.9, 0.2, 0.8, 9.0]), labels, mask) == 1.0
    assert metrics.auc(np.array([0.9, 0.1, 0.8, 0.2, 9.0]), labels, mask) == 0.0
    assert metrics.auc(np.zeros(5), labels, mask) == 0.5
    assert metrics.accuracy(np.array([-1.0, 1.0, 1.0, 1.0, 9.0]), labels, mask) == 0.75


def test_f1_needs_a_label_that_is_1_or_taken_for_it():
    none, one = np.zeros(3), np.array([0.0, 1.0, 0.0])
    assert metrics.f1(-np.ones(3), one, everything(3)) == 0.0
    assert metrics.f1(np.array([1.0, -1.0, -1.0]), none, everything(3)) == 0.0
    assert np.isnan(metrics.f1(-np.ones(3), none, everything(3)))
    assert np.isnan(metrics.f1(np.array([np.nan, 1.0, 1.0]), one, everything(3)))


def test_macro_auc_leaves_out_the_columns_of_one_class():
    score = np.array([[0.1, 0.1], [0.9, 0.9], [0.8, 0.8]])
    labels = np.array([[0, 1], [1, 1], [0, 1]])
    assert metrics.auc(score, labels, everything(3)) == 1.0
    assert np.isnan(metrics.auc(score, np.ones((3, 2)), everything(3)))


OUTPUTS = {
    "classification": (np.zeros((3, 4)), np.array([0, 1, 2])),
    "binary": (np.zeros(3), np.array([0, 1, 1])),
    "multilabel": (np.zeros((3, 2)), np.array([[0, 1], [1, 0], [1, 1]])),
    "regression": (np.zeros(3), np.array([1.0, 2.0, 3.0])),
    "ordinal": (np.zeros((3, 3)), np.array([0, 1, 3])),
    "ordinal_adjacent": (np.zeros((3, 3)), np.array([0, 1, 3])),
    "soft": (np.zeros((3, 2)), np.array([[0.2, 0.8], [1.0, 0.0], [0.5, 0.5]])),
    "preference": (np.zeros(3), np.array([0, 0.5, 1])),
    "pretext": (np.zeros((3, 0)), np.zeros(3)),
    "segmentation": (
        np.zeros((3, 2, 1, 4)),
        np.array([[[0], [-1]], [[1], [1]]] * 2)[:3],
    ),
    "depth": (np.zeros((3, 2, 1)), np.ones((3, 2, 1))),
    "normals": (np.full((3, 1, 1, 3), 3**-0.5), np.tile([0.0, 0, 1], (3, 1, 1, 1))),
}


@pytest.mark.parametrize("kind", metrics.METRICS)
def test_no_labelled_sample_or_a_diverged_model_is_nan_without_a_warning(kind):
    output, target = OUTPUTS[kind]
    for metric in metrics.METRICS[kind]:
        assert np.isfinite(metric.value(output, target, everything(3)))
        assert np.isnan(metric.value(output, target, np.zeros(3, bool)))
        assert np.isnan(metric.value(output[:0], target[:0], np.zeros(0, bool)))
        for value in (NAN, np.inf):
            diverged = output.copy()
            diverged[1] = value
            assert np.isnan(metric.value(diverged, target, everything(3)))
            behind_mask = np.array([True, False, True])
            assert np.isfinite(metric.value(diverged, target, behind_mask))


def test_half_precision_predictions_are_measured_in_double():
    output = np.full(4096, 1000.0, np.float16)
    assert metrics.rmse(output, np.zeros(4096), everything(4096)) == 1000.0


def test_undefined_metrics_are_nan():
    assert np.isnan(metrics.auc(np.array([0.1, 0.2]), np.ones(2), everything(2)))
    assert np.isnan(metrics.r2(np.array([1.0, 2.0]), np.ones(2), everything(2)))
    assert np.isnan(metrics.r2(np.ones(1), np.zeros(1), everything(1)))


def test_directions_and_primary_metrics():
    table = {
        kind: [(m.name, m.higher_is_better) for m in row]
        for kind, row in metrics.METRICS.items()
    }
    assert table == {
        "classification": [("accuracy", True)],
        "binary": [("auc", True), ("accuracy", True)],
        "multilabel": [("macro_auc", True), ("accuracy", True)],
        "regression": [("rmse", False), ("mae", False), ("r2", True)],
        "ordinal": [("mae", False), ("macro_mae", False), ("kappa", True)],
        "ordinal_adjacent": [("mae", False), ("macro_mae", False), ("kappa", True)],
        "soft": [("accuracy", True), ("kl", False)],
        "preference": [("accuracy", True)],
        "pretext": [],
        "segmentation": [("miou", True), ("pixel_accuracy", True)],
        "depth": [("abs_err", False), ("rel_err", False)],
        "normals": [
            ("angle_mean", False),
            ("angle_median", False),
            ("within_11.25", True),
            ("within_22.5", True),
            ("within_30", True),
        ],
    }


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (metrics.rmse, (np.zeros(3), np.zeros(2), everything(3)), "do not match"),
        (metrics.rmse, (np.zeros((3, 1)), np.zeros(3), everything(3)), "do not match"),
        (metrics.rmse, (np.zeros(3), np.zeros(3), everything(2)), "do not match"),
        (metrics.rmse, (np.zeros(3), np.zeros(3), np.ones(3)), "mask > 0"),
        (metrics.mae, (np.zeros(2), np.array([0, NAN]), everything(2)), "1 labelled"),
        (metrics.auc, (np.zeros(2), np.array([-1, 1]), everything(2)), "0 and 1"),
        (metrics.accuracy, (np.zeros(2), np.array([1, 2]), everything(2)), "0 and 1"),
    ],
)
def test_bad_input_is_a_user_error(function, arguments, message):
    with pytest.raises(UserError, match=message):
        function(*arguments)


def test_importing_the_module_does_not_import_scikit_learn():
    code = "import sys, mtopt.metrics; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
