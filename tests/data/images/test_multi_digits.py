"""Multi-Digits: honest splits, exact canvases, the same on every run."""

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from mtopt.data import multi_digits
from mtopt.data.images.multi_digits import LAYOUT, SHARES
from mtopt.data.images.pairs import Images, Layout, overlay, pair_up, split_sources
from mtopt.errors import UserError


def test_shapes_types_and_range():
    data = multi_digits(num_train=50, num_valid=20, num_test=30)
    assert (data.train.size, data.valid.size, data.test.size) == (50, 20, 30)
    samples = data.train.samples
    assert samples.x.shape == (50, 10, 10, 1)
    assert samples.x.dtype == np.float32
    assert (samples.x.min(), samples.x.max()) == (0, 1)
    assert samples.y.shape == (2, 50)
    assert samples.y.dtype == np.int32
    assert samples.mask.all()


def alone(images, rows, columns):
    """What can be seen of digits where the other digit never stands."""
    strips = [images[:, rows].reshape(len(images), -1)]
    strips.append(images[:, :, columns].reshape(len(images), -1))
    return {row.tobytes() for row in np.concatenate(strips, axis=1)}


def test_no_digit_stands_in_two_splits():
    data = multi_digits(num_train=2_000, num_valid=500, num_test=800)
    source = load_digits()
    digits = (source.images / 16).astype(np.float32)
    images = Images(source.images, source.target)
    parts = split_sources(images, SHARES, np.random.default_rng(0))
    first, last = slice(0, 2), slice(6, 8)
    allowed = [alone(digits[m], first, first) for m in parts]
    assert len(allowed[0] & allowed[2]) < 0.05 * len(allowed[2])
    for split, members in zip((data.train, data.valid, data.test), parts, strict=True):
        x = np.asarray(split.samples.x)[..., 0]
        left, right = x[:, :8, :8], x[:, 2:, 2:]
        assert alone(left, first, first) <= alone(digits[members], first, first)
        assert alone(right, last, last) <= alone(digits[members], last, last)


def test_sources_are_divided_by_class():
    labels = np.repeat(np.arange(10), 100)
    images = Images(np.arange(1000), labels)
    parts = split_sources(images, SHARES, np.random.default_rng(1))
    assert sorted(np.concatenate(parts).tolist()) == list(range(1000))
    for part, share in zip(parts, SHARES, strict=True):
        assert np.bincount(labels[part]).tolist() == [round(100 * share)] * 10


def test_too_few_sources_are_an_error():
    with pytest.raises(UserError, match="too few"):
        split_sources(
            Images(np.eye(2), np.arange(2)), (0.9, 0.1), np.random.default_rng(0)
        )


def test_every_left_image_appears_equally_often():
    images = Images(np.zeros((7, 8, 8)), np.arange(7))
    pairs = pair_up(images, images, 17, LAYOUT, np.random.default_rng(0))
    counts = np.bincount(pairs.left_index)
    assert set(counts.tolist()) == {2, 3}
    assert sorted(pairs.left_index[:7].tolist()) == list(range(7))


def test_overlap_shows_the_brighter_pixel():
    rng = np.random.default_rng(0)
    left, right = rng.random((2, 3, 8, 8))
    canvas = overlay(left, right, LAYOUT)[..., 0]
    np.testing.assert_array_equal(canvas[:, :2, :8], left[:, :2])
    np.testing.assert_array_equal(canvas[:, 8:, 2:], right[:, 6:])
    np.testing.assert_array_equal(
        canvas[:, 2:8, 2:8], np.maximum(left[:, 2:, 2:], right[:, :6, :6])
    )
    assert (canvas[:, 8:, :2] == 0).all()


def test_resizing_takes_the_nearest_pixel():
    left = np.arange(9).reshape(1, 3, 3)
    small = overlay(left, np.zeros_like(left), Layout(offset=1, canvas=4, size=2))
    assert small[0, ..., 0].tolist() == [[4, 0], [0, 0]]


def test_the_seed_decides():
    sizes = {"num_train": 40, "num_valid": 5, "num_test": 5}
    a, b, c = (multi_digits(seed=s, **sizes).train.samples for s in (0, 0, 1))
    assert all(
        np.array_equal(p, q)
        for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )
    assert not np.array_equal(a.x, c.x)


def test_splits_do_not_depend_on_the_size_of_others():
    sizes = {"num_train": 40, "num_valid": 5, "num_test": 5}
    a, b = multi_digits(**sizes), multi_digits(**{**sizes, "num_train": 50})
    np.testing.assert_array_equal(a.test.samples.x, b.test.samples.x)
    np.testing.assert_array_equal(a.valid.samples.x, b.valid.samples.x)


def test_an_empty_split_is_an_error():
    with pytest.raises(UserError, match="num_valid is 0"):
        multi_digits(num_valid=0)
