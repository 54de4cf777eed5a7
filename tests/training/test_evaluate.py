"""Scores of a model on a split, in units that change none of them."""

import numpy as np

from mtopt import Batch
from mtopt.data import ArraySplit, Dataset
from mtopt.training.evaluate import evaluate

RNG = np.random.default_rng(0)
SIZE = 40
Y, OUTPUT = RNG.normal(size=(2, 3, SIZE)).astype(np.float32)
MEAN, STD = np.array([0.0, 50.0, 500.0]), np.array([1.0, 0.1, 30.0])


def scored(y=Y, output=OUTPUT, mean=MEAN, std=STD, order=None, padding=0, **options):
    """The scores of outputs that are looked up by a sample's number."""
    order = np.arange(SIZE) if order is None else order
    mask = np.pad(np.ones((3, SIZE), bool), ((0, 0), (0, padding)))
    x = np.pad(np.tile(order, (3, 1)), ((0, 0), (0, padding)))
    y = np.pad(y[:, order], ((0, 0), (0, padding)), constant_values=9.0)
    split = ArraySplit(Batch(x.astype(np.int32), y.astype(np.float32), mask), 0)
    data = Dataset(
        "d",
        ("a", "b", "c"),
        "regression",
        1,
        0,
        *[split] * 3,
        target_mean=mean,
        target_std=std,
        **options,
    )

    def predict(x):
        return np.take_along_axis(output, np.asarray(x), axis=1)[None]

    return evaluate(predict, data, split, batch_size=16)


def test_order_of_rows_and_padding_change_no_score():
    exact = scored()
    for other in (scored(order=RNG.permutation(SIZE)), scored(padding=7)):
        for found, wanted in zip(other, exact, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_units_of_targets_change_no_score_but_the_errors_themselves():
    exact = scored()
    scale, shift = np.array([1e3, 1e-3, 7.0]), np.array([1e4, -1.0, 0.0])
    other = scored(mean=MEAN * scale + shift, std=STD * scale)
    np.testing.assert_allclose(other.pooled, exact.pooled, rtol=1e-6)
    np.testing.assert_allclose(other.selection, exact.selection, rtol=1e-6)
    errors, r2 = other.metrics[..., :2], other.metrics[..., 2]
    np.testing.assert_allclose(r2, exact.metrics[..., 2], rtol=1e-6)
    wanted = exact.metrics[..., :2] * scale[None, :, None]
    np.testing.assert_allclose(errors, wanted, rtol=1e-6)


def test_errors_are_pooled_in_their_unit_where_there_is_one():
    std = np.full(3, 4.0)
    own, common = scored(std=std), scored(std=std, common_units=True)
    np.testing.assert_allclose(common.pooled[:, :2], 4 * own.pooled[:, :2], rtol=1e-6)
    np.testing.assert_allclose(common.pooled[:, 2], own.pooled[:, 2], rtol=1e-6)
    rmse = np.sqrt(np.mean((4.0 * (Y - OUTPUT)) ** 2))
    np.testing.assert_allclose(common.pooled[0, 0], rmse, rtol=1e-5)
    np.testing.assert_array_equal(own.selection, common.selection)
