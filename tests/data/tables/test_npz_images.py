"""Images in an npz file: what they become, and what is refused."""

import numpy as np
import pytest

import mtopt
from mtopt.data import describe, npz, summary
from mtopt.errors import UserError
from tests.helpers.npz import save
from tests.helpers.trained import trained

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (40, 16, 20), dtype=np.uint8)
LABELS = {"y": np.stack([np.arange(40) % 2, np.arange(40) // 3 % 2], 1)}
NUMBERS = RNG.normal([3.0, -50.0], [1.0, 9.0], (40, 16, 20, 2))


def test_bytes_are_kept_and_numbers_are_standardised_by_channel(tmp_path):
    data = npz(save(tmp_path, x=BYTES, **LABELS))
    assert data.train.samples.x.dtype == np.uint8
    assert data.train.samples.x.shape[1:] == (16, 20, 1)
    assert "images of 16 x 20 x 1, bytes" in summary(describe(data))
    data = npz(save(tmp_path, x=NUMBERS, **LABELS))
    x = np.asarray(data.train.samples.x)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.mean(axis=(0, 1, 2)), [0, 0], atol=1e-5)
    np.testing.assert_allclose(x.std(axis=(0, 1, 2)), [1, 1], rtol=1e-5)


def test_equal_images_stay_in_one_part(tmp_path):
    twice = np.concatenate([BYTES[:20], BYTES[:20]])
    data = npz(save(tmp_path, x=twice, **LABELS))
    assert data.reading["equal inputs"] == {"valid": 0, "test": 0}


@pytest.mark.parametrize("x", [BYTES, NUMBERS], ids=["bytes", "numbers"])
def test_a_convolutional_model_predicts_for_raw_images(tmp_path, x):
    path = save(tmp_path, x=x, **LABELS)
    data = npz(path)
    _, fitted = trained(tmp_path, data, text="lenet")
    model = mtopt.load(tmp_path)
    found = model.predict(x)
    for task, values in model.predict(path).items():
        np.testing.assert_array_equal(values, found[task])
    scores = model.evaluate(data, data.test).metrics
    np.testing.assert_allclose(scores, fitted.test.metrics, rtol=1e-5)
    with pytest.raises(UserError, match="expected images"):
        model.predict(x[:, :10])
    other = x.astype(float) if x is BYTES else (x * 9).astype(np.uint8)
    with pytest.raises(UserError, match="as in training"):
        model.predict(other)


def test_a_task_each_has_images_of_its_own(tmp_path):
    task = np.arange(40) % 2
    path = save(tmp_path, x=BYTES, y=np.arange(40) // 2 % 2, task=task)
    data = npz(path)
    assert data.train.samples.x.shape[0] == 2
    trained(tmp_path, data)
    assert len(mtopt.load(tmp_path).predict(path)["task_0"]) == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"desc": np.ones((40, 2))}, "x has images .* and there is desc"),
        ({"x": BYTES[..., None, None]}, r"expected \(40, columns\), .* or images"),
        ({"x": np.full((40, 4, 4), "a")}, "expected images of numbers"),
        ({"x": np.full((40, 4, 4), np.nan)}, "640 pixels that are not finite"),
        ({"x": BYTES[:, :0]}, "expected images of numbers"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        npz(save(tmp_path, **({"x": BYTES} | LABELS | changes)))
