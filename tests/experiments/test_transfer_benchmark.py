"""The benchmark of planted transfer: what is planted, what is chosen, its bounds."""

import numpy as np
import pytest

from experiments.benchmarks import transfer
from experiments.benchmarks.transfer import ALONE, Found, measure, sources, table


def samples(way, part="train"):
    """Those of few and of many."""
    data = sources(0)[way]
    return [getattr(group, part).samples for group in data.groups]


def test_ways_differ_in_the_labels_of_many_alone():
    (few,), (same, many) = samples(ALONE), samples("joint")
    for way in ("permuted", "unrelated"):
        other, others = samples(way)
        assert other is same
        np.testing.assert_array_equal(others.x, many.x)
        assert (np.asarray(others.y) != np.asarray(many.y)).mean() > 0.9
    assert few is same
    assert few.x.shape == (300, 30)
    assert many.y.shape == (6, 8000)
    _, permuted = samples("permuted")
    order = np.lexsort(np.asarray(many.y)), np.lexsort(np.asarray(permuted.y))
    np.testing.assert_array_equal(many.y[:, order[0]], permuted.y[:, order[1]])


def test_few_and_many_are_of_three_directions_of_one_space():
    def directions(batch):
        """The subspace in which the labels' products with the inputs lie."""
        x, y = np.asarray(batch.x, float), np.asarray(batch.y, float)
        moments = (x.T @ y.T) / len(x)
        return np.linalg.svd(moments)[0][:, : min(3, len(y))]

    (few, many), (_, unrelated) = samples("joint"), samples("unrelated")
    own = directions(few)
    assert np.linalg.norm(directions(many).T @ own) > 0.8
    assert np.linalg.norm(directions(unrelated).T @ own) < 0.6


def test_validation_has_labels_of_few_alone():
    few, many = samples("joint", "valid")
    assert few.mask.all()
    assert not many.mask.any()
    # And no noise: one function gave all labels of few but those of training.
    assert np.asarray(few.y).std() == pytest.approx(1, abs=0.1)


def test_a_way_has_the_weight_decay_that_validation_chose(monkeypatch):
    monkeypatch.setattr(transfer, "DECAYS", (1.0, 3.0))
    errors = {1.0: (0.2, 0.3), 3.0: (0.1, 0.4)}
    monkeypatch.setattr(
        transfer, "_errors", lambda way, decay, seed, steps: errors[decay]
    )
    found = measure(2, 1)
    assert set(found) == set(transfer.WAYS)
    for one in found.values():
        assert one.decay == 3
        np.testing.assert_array_equal(one.errors, [0.4, 0.4])


def test_the_table_has_ratios_draw_by_draw():
    found = {
        ALONE: Found(10.0, np.array([0.1, 0.2])),
        "joint": Found(1.0, np.array([0.05, 0.1])),
    }
    *_, row = table(found).splitlines()
    assert " ".join(row.split()) == "joint 0.075 ± 0.035 0.50 [0.50, 0.50] 1"


def test_models_are_chosen_and_scored_for_few():
    few = sources(0)[ALONE]
    variance = [np.var(getattr(few, part).samples.y) for part in ("valid", "test")]
    found = transfer._errors("joint", 1.0, 0, steps=40)
    # It has learned something, and no more than there is to learn.
    assert all(0.01 < e < 0.95 * v for e, v in zip(found, variance, strict=True))


@pytest.mark.slow
def test_a_gain_is_of_the_labels_of_one_representation():
    found = measure(8, 1500)
    alone = found[ALONE].errors
    ratio = {way: (one.errors / alone).mean() for way, one in found.items()}
    assert ratio["joint"] <= 0.65
    assert ratio["permuted"] >= 0.95
    assert ratio["unrelated"] >= 0.95
