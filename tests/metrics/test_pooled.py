"""Scores of several tasks together: samples of two are never compared."""

import numpy as np
import pytest

from mtopt.metrics import METRICS, pooled_metrics

SIZES = (30, 50, 7)
RNG = np.random.default_rng(0)


def columns(kind):
    several = {"classification": (4,), "multilabel": (3,), "soft": (3,)}
    several |= {"segmentation": (2, 2, 4), "depth": (2, 2), "normals": (2, 2, 3)}
    return (several | {"ordinal": (3,), "ordinal_adjacent": (3,)}).get(kind, ())


def tasks(kind):
    """Outputs, targets and masks of three tasks; a label in four is missing, NaN."""
    outputs = [RNG.normal(size=(n, *columns(kind))) for n in SIZES]
    if kind == "regression":
        targets = [o + RNG.normal(size=o.shape) for o in outputs]
    elif kind == "soft":
        targets = [RNG.dirichlet(np.ones(3), size=n) for n in SIZES]
    elif kind == "segmentation":
        targets = [RNG.integers(-1, 4, size=(n, 2, 2)).astype(float) for n in SIZES]
    elif kind in ("depth", "normals"):
        targets = [np.abs(o + RNG.normal(size=o.shape)) for o in outputs]
    elif kind in ("classification", "ordinal", "ordinal_adjacent"):
        targets = [RNG.integers(4, size=n).astype(float) for n in SIZES]
    else:
        targets = [(o + RNG.normal(size=o.shape) > 0) * 1.0 for o in outputs]
    masks = [np.arange(n) % 4 > 0 for n in SIZES]
    for target, mask in zip(targets, masks, strict=True):
        target[~mask] = np.nan
    return outputs, targets, masks


DATA = {kind: tasks(kind) for kind in METRICS}
ONES = np.ones(3)


def scores(kind, parts, units=ONES):
    return dict(
        zip(
            [metric.name for metric in METRICS[kind]],
            pooled_metrics(kind, *parts, units),
            strict=True,
        )
    )


@pytest.mark.parametrize("kind", METRICS)
def test_of_one_task_they_are_its_own(kind):
    one = [part[:1] for part in DATA[kind]]
    own = [metric.value(*(part[0] for part in one)) for metric in METRICS[kind]]
    np.testing.assert_allclose(pooled_metrics(kind, *one, np.ones(1)), own, rtol=1e-12)


def longer(array):
    """Five rows more, of ones, and of False in a mask."""
    return np.concatenate([array, np.full_like(array[:5], array.dtype != bool)])


@pytest.mark.parametrize("kind", METRICS)
def test_order_of_rows_and_tasks_padding_and_units_change_no_score(kind):
    parts = DATA[kind]
    outputs, targets, masks = parts
    exact = pooled_metrics(kind, *parts, ONES)
    rows = [np.random.default_rng(1).permutation(n) for n in SIZES]
    moved = [[a[i] for a, i in zip(part, rows, strict=True)] for part in parts]
    swapped = [[part[k] for k in (2, 0, 1)] for part in parts]
    pad = [[(0, 5)] + [(0, 0)] * (a.ndim - 1) for a in outputs]
    padded = (
        [
            np.pad(a, p, constant_values=np.nan)
            for a, p in zip(outputs, pad, strict=True)
        ],
        [np.pad(a, p[: a.ndim]) for a, p in zip(targets, pad, strict=True)],
        [np.pad(a, (0, 5)) for a in masks],
    )
    for other in (moved, swapped, padded):
        np.testing.assert_allclose(pooled_metrics(kind, *other, ONES), exact, rtol=1e-9)
    if kind == "regression":
        scale, shift = np.array([1e-3, 1.0, 1e3]), np.array([5.0, -1e3, 1e4])
        changed = [
            [a * s + c for a, s, c in zip(part, scale, shift, strict=True)]
            for part in (outputs, targets)
        ]
        found = pooled_metrics(kind, *changed, masks, scale)
        np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_means_of_tasks_explain_nothing_within_them():
    masks = [np.ones(400, bool)] * 3
    noise, guess = RNG.normal(size=(2, 3, 400))
    means = np.array([[0.0], [50.0], [500.0]])
    known = scores("regression", (means.repeat(400, axis=1), noise + means, masks))
    within = noise - noise.mean(axis=1, keepdims=True)
    assert known["r2"] == pytest.approx(1 - (noise**2).sum() / (within**2).sum())
    assert abs(known["r2"]) < 0.01
    # Random numbers with the means of the tasks: twice the variance, and not 1.
    random = scores("regression", (guess + means, noise + means, masks))
    expected = 1 - ((guess - noise) ** 2).sum() / (within**2).sum()
    assert random["r2"] == pytest.approx(expected)
    assert -1.3 < random["r2"] < -0.8


def test_base_rates_of_tasks_order_nothing_within_them():
    labels = [np.arange(200) % 20 == 0, np.arange(200) % 20 > 0]
    targets, masks = [y * 1.0 for y in labels], [np.ones(200, bool)] * 2
    rates = [np.full(200, y.mean()) for y in labels]
    assert scores("binary", (rates, targets, masks))["auc"] == 0.5


def test_means_of_tasks_are_no_agreement_within_them():
    levels = [np.arange(60) % 3, np.arange(60) % 3 + 4]
    logits = [np.tile(np.where(np.arange(6) < c, 5.0, -5), (60, 1)) for c in (1, 5)]
    masks = [np.ones(60, bool)] * 2
    assert scores("ordinal", (logits, levels, masks))["kappa"] == pytest.approx(0)


def test_an_auc_counts_the_pairs_of_every_task():
    outputs, targets, masks = DATA["binary"]
    right = pairs = 0
    for score, y, mask in zip(outputs, targets, masks, strict=True):
        ones, zeros = score[mask & (y == 1)], score[mask & (y == 0)]
        right += (ones[:, None] > zeros[None]).sum()
        pairs += len(ones) * len(zeros)
    assert scores("binary", DATA["binary"])["auc"] == pytest.approx(right / pairs)


def test_a_task_with_nothing_to_tell_takes_no_part():
    outputs, targets, masks = DATA["regression"]
    constant = targets[2] * 0 + 3
    nothing = [masks[0], masks[1], masks[2] & False]
    found = pooled_metrics("regression", outputs, [*targets[:2], constant], masks, ONES)
    whole = pooled_metrics("regression", outputs, targets, nothing, ONES)
    assert found[2] == pytest.approx(whole[2])
    assert found[0] > whole[0]  # its errors count
    alone = pooled_metrics("regression", outputs[2:], [constant], masks[2:], np.ones(1))
    assert np.isnan(alone[2])
    scores_of_zeros = [outputs, [y * 0 for y in targets], masks]
    assert np.isnan(pooled_metrics("binary", *scores_of_zeros, ONES)[0])


@pytest.mark.parametrize("kind", METRICS)
def test_a_diverged_task_leaves_no_score(kind):
    outputs, targets, masks = DATA[kind]
    broken = [outputs[0] * np.inf, *outputs[1:]]
    assert np.isnan(pooled_metrics(kind, broken, targets, masks, ONES)).all()
