"""CIFAR-100 as 20 tasks, from a tiny file: labels, division, and what is refused."""

import numpy as np
import pytest

from mtopt.data import DATASETS, cifar100
from mtopt.errors import UserError

PARTS = ("train", "valid", "test")
SIZES = {"train": 10, "test": 2}
NAMES = np.array([f"super_{(7 * task) % 20:02}" for task in range(20)])


def arrays(**changes):
    """Images whose first pixel is (fine class, number within it, part)."""
    rng = np.random.default_rng(0)
    # Any five fine classes make a superclass, as in CIFAR-100: not five in a row.
    superclass = rng.permutation(np.repeat(np.arange(20), 5))
    found = {"coarse_names": NAMES}
    for part, (title, size) in enumerate(SIZES.items()):
        fine = rng.permutation(np.repeat(np.arange(100), size))
        x = np.zeros((100 * size, 32, 32, 3), np.uint8)
        x[:, 0, 0, 0], x[:, 0, 0, 2] = fine, part
        for one in range(100):
            x[fine == one, 0, 0, 1] = np.arange(size)
        found |= {
            f"x_{title}": x,
            f"fine_{title}": fine.astype(np.uint8),
            f"coarse_{title}": superclass[fine].astype(np.uint8),
        }
    found |= changes
    return {key: value for key, value in found.items() if value is not None}


@pytest.fixture(scope="module")
def whole():
    return arrays()


def save(tmp_path, found):
    path = tmp_path / "cifar.npz"
    np.savez(path, **found)
    return path


def samples(data, part):
    batch = getattr(data, part).samples
    return np.asarray(batch.x), np.asarray(batch.y), np.asarray(batch.mask)


def test_every_superclass_tells_its_own_five_classes_apart(tmp_path, whole):
    data = cifar100(save(tmp_path, whole), valid_fraction=0.2)
    assert DATASETS["cifar100"] is cifar100
    assert data.tasks == tuple(sorted(NAMES))
    assert (data.kind, data.outputs, data.x_axis) == ("classification", 5, 0)
    superclass = dict(zip(whole["fine_train"], whole["coarse_train"], strict=True))
    for part, size in zip(PARTS, (40, 10, 10), strict=True):
        x, y, mask = samples(data, part)
        assert x.shape == (20, size, 32, 32, 3)
        assert x.dtype == np.uint8
        assert y.dtype == np.int32
        assert mask.all()
        for k, name in enumerate(data.tasks):
            own = sorted(f for f, c in superclass.items() if NAMES[c] == name)
            np.testing.assert_array_equal(np.array(own)[y[k]], x[k, :, 0, 0, 0])
            assert np.bincount(y[k]).tolist() == [size // 5] * 5


def test_validation_images_come_from_the_training_part_alone(tmp_path, whole):
    path = save(tmp_path, whole)
    data = cifar100(path, valid_fraction=0.2)
    seen = [
        {tuple(pixel) for pixel in samples(data, part)[0][:, :, 0, 0].reshape(-1, 3)}
        for part in PARTS
    ]
    assert [len(part) for part in seen] == [800, 200, 200]
    assert not seen[0] & seen[1]
    assert {pixel[2] for pixel in seen[0] | seen[1]} == {0}
    assert {pixel[2] for pixel in seen[2]} == {1}


def test_the_seed_decides_the_division(tmp_path, whole):
    path = save(tmp_path, whole)
    a, b, c = (samples(cifar100(path, seed=seed), "valid")[0] for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"fine_test": None}, "and no fine_test: expected"),
        (lambda a: {"x_test": None, "coarse_names": None}, "x_test, no coarse_names"),
        (lambda a: {"x_train": a["x_train"] / 255}, "x_train is float64"),
        (
            lambda a: {"x_test": a["x_test"][:, :8]},
            r"x_test is uint8 \(200, 8, 32, 3\)",
        ),
        (lambda a: {"fine_train": a["fine_train"][:9]}, r"fine_train is uint8 \(9,\)"),
        (lambda a: {"fine_test": a["fine_test"] + 1}, "integers from 0 to 99, one"),
        (lambda a: {"coarse_test": a["coarse_test"] * 1.0}, "integers from 0 to 19"),
        (lambda a: {"coarse_test": 19 - a["coarse_test"]}, "200 pairs|pairs with"),
        (lambda a: {"fine_train": a["fine_train"] // 2 * 2}, "fine classes in"),
        (lambda a: {"coarse_names": NAMES[:3]}, "coarse_names are"),
        (lambda a: {"coarse_names": np.full(20, "a")}, "coarse_names are"),
        (
            lambda a: {
                f"{k}_test": a[f"{k}_test"][:1] for k in ("x", "fine", "coarse")
            },
            "too few images",
        ),
    ],
)
def test_what_is_not_cifar100_is_one_clear_line(tmp_path, whole, change, message):
    found = {k: v for k, v in (whole | change(whole)).items() if v is not None}
    with pytest.raises(UserError, match=message) as error:
        cifar100(save(tmp_path, found))
    assert "\n" not in str(error.value)


def test_files_and_options_that_do_not_fit_are_named(tmp_path, whole):
    with pytest.raises(UserError, match="no file"):
        cifar100(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("x,y")
    with pytest.raises(UserError, match=r"cannot read .*text.npz"):
        cifar100(tmp_path / "text.npz")
    with pytest.raises(UserError, match=r"valid_fraction is 1.0"):
        cifar100(save(tmp_path, whole), valid_fraction=1.0)


def test_the_real_set(data_dir):
    data = cifar100(data_dir / "cifar100" / "cifar100_sub.npz")
    assert [getattr(data, part).size for part in PARTS] == [9000, 1000, 2000]
    assert {"fish", "people", "vehicles_2"} < set(data.tasks)
    batch = next(data.train.batches(16, seeds=(0, 1)))
    assert batch.x.shape == (2, 20, 16, 32, 32, 3)
    assert batch.x.dtype == np.uint8
