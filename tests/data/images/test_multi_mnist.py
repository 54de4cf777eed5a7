"""Multi-MNIST from tiny IDX files: layouts, honest splits, prepared files."""

import jax
import numpy as np
import pytest
from tensorflow_datasets.core.utils import file_utils

from mtopt.data import (
    ArraySplit,
    StreamSplit,
    describe,
    multi_fashion,
    multi_fashion_mnist,
    summary,
)
from mtopt.data import multi_mnist as load
from mtopt.data.images.idx import write_idx
from mtopt.data.images.image_files import FILES
from mtopt.errors import UserError
from tests.helpers.prepared import mocked

COUNTS = {"num_train": 60, "num_valid": 12, "num_test": 20}
SIZES = {"train": 100, "test": 30}
PARTS = ("train", "valid", "test")


def write_set(folder, brightest, suffix=".gz"):
    """Images whose every pixel is the image's own number plus 1, at most brightest."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in FILES.items():
        n = SIZES[split]
        number = np.arange(n, dtype=np.uint8) + brightest - n
        write_idx(
            folder / (images + suffix), np.tile(number[:, None, None], (1, 28, 28))
        )
        write_idx(folder / (labels + suffix), (np.arange(n) % 10).astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
    write_set(tmp_path / "data" / "mnist", 120)
    write_set(tmp_path / "data" / "fashion_mnist", 250, suffix="")
    return tmp_path / "data"


def samples(split):
    if isinstance(split, StreamSplit):
        (batch,) = split.in_order(split.size)
        return batch
    return jax.tree.map(np.asarray, split.samples)


def numbers(batch):
    """Which images stand left and right, as their pixels tell."""
    return batch.x[:, 0, 0, 0].astype(int), batch.x[:, -1, -1, 0].astype(int)


def test_shapes_and_labels(folder):
    data = load(folder=folder, **COUNTS)
    assert (data.tasks, data.kind, data.outputs) == (
        ("left", "right"),
        "classification",
        10,
    )
    for part, count in zip(PARTS, (60, 12, 20), strict=True):
        batch = samples(getattr(data, part))
        assert batch.x.shape == (count, 36, 36, 1)
        assert batch.x.dtype == np.uint8
        first = 120 - SIZES["test" if part == "test" else "train"]
        for k, number in enumerate(numbers(batch)):
            np.testing.assert_array_equal(batch.y[k], (number - first) % 10)


@pytest.mark.parametrize("on_device_bytes", [10**9, 0])
def test_pairs_that_show_a_training_image_are_counted(folder, on_device_bytes):
    """The test images here are the last of the training images."""
    cache = folder.parent / "cache"
    data = load(folder=folder, cache=cache, on_device_bytes=on_device_bytes, **COUNTS)
    trained = np.concatenate(numbers(samples(data.train)))
    left, right = (np.isin(n, trained) for n in numbers(samples(data.test)))
    found = int((left | right).sum())
    assert 0 < found < 20
    assert data.reading["equal inputs"] == {"valid": 0, "test": found}
    assert f"0 of 12 valid and {found} of 20 test rows" in summary(describe(data))


def test_the_canvas_of_pareto_mtl(folder):
    batch = samples(load(folder=folder, **COUNTS).train)
    left, right = (n[:, None, None] for n in numbers(batch))
    x = batch.x[..., 0]
    assert (x[:, :28, :8] == left).all()
    assert (x[:, :8, :28] == left).all()
    assert (x[:, 8:, 28:] == right).all()
    assert (x[:, 28:, 8:] == right).all()
    assert (x[:, 8:28, 8:28] == np.maximum(left, right)).all()
    assert (x[:, :8, 28:] == 0).all()
    assert (x[:, 28:, :8] == 0).all()


def test_the_canvas_of_sener_and_koltun(folder):
    data = load(folder=folder, variant="sener_koltun", **COUNTS)
    x = samples(data.train).x[..., 0]
    assert x.shape == (60, 28, 28)
    # Pixel k of 28 shows pixel floor((k + 1/2) 36 / 28) of 36.
    pixel = (2 * np.arange(28) + 1) * 36 // 56
    left = np.flatnonzero(pixel < 28)
    assert (x[:, left, 0] == x[:, :1, 0]).all()
    assert (x[:, left[-1] + 1 :, 0] == 0).all()
    assert (x[:, pixel >= 34] == 0).all()
    assert (x[:, pixel < 6][:, :, (pixel >= 28)] == 0).all()


def test_no_image_stands_in_two_splits(folder):
    data = load(folder=folder, **COUNTS)
    seen = [
        set(np.concatenate(numbers(samples(getattr(data, p)))).tolist()) for p in PARTS
    ]
    assert not seen[0] & seen[1]
    assert len(seen[1]) <= 10
    assert seen[2] <= set(range(90, 120))


def test_the_fashion_sets(folder):
    left, right = numbers(samples(multi_fashion(folder=folder, **COUNTS).train))
    assert min(left.min(), right.min()) >= 150
    left, right = numbers(samples(multi_fashion_mnist(folder=folder, **COUNTS).train))
    assert left.max() < 120 <= right.min()


def test_files_may_stand_in_the_folder_itself(folder):
    inner = load(folder=folder / "mnist", **COUNTS)
    outer = load(folder=folder, **COUNTS)
    np.testing.assert_array_equal(samples(inner.test).x, samples(outer.test).x)


def test_prepared_files_hold_the_same_pairs(folder, tmp_path):
    options = {"folder": folder, "cache": tmp_path / "cache", **COUNTS}
    memory, disk = load(**options), load(on_device_bytes=0, **options)
    assert isinstance(memory.train, ArraySplit)
    assert isinstance(disk.train, StreamSplit)
    for part in PARTS:
        a, b = (samples(getattr(data, part)) for data in (memory, disk))
        for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            assert p.dtype == q.dtype
            np.testing.assert_array_equal(p, q)
    batch = next(disk.train.batches(16, seeds=(0, 1)))
    assert batch.x.shape == (2, 16, 36, 36, 1)
    assert batch.y.shape == (2, 2, 16)
    again = next(load(on_device_bytes=0, **options).train.batches(16, seeds=(0, 1)))
    np.testing.assert_array_equal(batch.x, again.x)


def test_other_options_or_images_are_prepared_anew(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("MTOPT_CACHE", str(cache))
    options = {"folder": folder, "on_device_bytes": 0, **COUNTS}
    load(**options)
    load(**options)
    assert len(list(cache.iterdir())) == 1
    load(**options, seed=1)
    load(**{**options, "num_test": 21})
    load(**options, variant="sener_koltun")
    multi_fashion(**options)
    assert len(list(cache.iterdir())) == 5
    write_set(folder / "mnist", 121)
    batch = samples(load(**options).train)
    assert len(list(cache.iterdir())) == 6
    assert max(n.max() for n in numbers(batch)) <= 120


def test_a_build_that_breaks_off_is_not_trusted(folder, tmp_path, monkeypatch):
    from mtopt.data.images import pairs_builder

    options = {"folder": folder, "cache": tmp_path / "cache", **COUNTS}
    whole = pairs_builder.PairsBuilder._generate_examples

    def killed(self, pairs):
        for count, example in enumerate(whole(self, pairs)):
            if count == 10:
                raise KeyboardInterrupt
            yield example

    with monkeypatch.context() as broken:
        broken.setattr(pairs_builder.PairsBuilder, "_generate_examples", killed)
        with pytest.raises(KeyboardInterrupt):
            load(on_device_bytes=0, **options)
    assert load(on_device_bytes=0, **options).train.size == 60


def test_two_processes_may_prepare_the_same_pairs(folder, tmp_path, monkeypatch):
    from mtopt.data.images import pairs_builder

    options = {"folder": folder, "cache": tmp_path / "cache", "on_device_bytes": 0}
    whole, running = pairs_builder.PairsBuilder._generate_examples, []

    def overtaken(self, pairs):
        if not running:
            running.append(True)
            load(**options, **COUNTS)
        yield from whole(self, pairs)

    monkeypatch.setattr(pairs_builder.PairsBuilder, "_generate_examples", overtaken)
    assert samples(load(**options, **COUNTS).train).x.shape == (60, 36, 36, 1)


def test_a_cache_that_cannot_be_written_is_named(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="MTOPT_CACHE"):
        load(folder=folder, cache=tmp_path / "file", on_device_bytes=0, **COUNTS)


def test_images_that_tfds_has_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(file_utils, "list_data_dirs", lambda **_: [str(tmp_path)])
    mocked(tmp_path, "mnist", train=40, test=30)
    data = load(**COUNTS)
    assert data.train.size == 60
    assert samples(data.test).x.shape == (20, 36, 36, 1)
    (info,) = tmp_path.glob("mnist/*/dataset_info.json")
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match=r"holds tfrecord files.*folder="):
        load(**COUNTS)


def test_images_that_tfds_has_not_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(file_utils, "list_data_dirs", lambda **_: [str(tmp_path)])
    with pytest.raises(UserError, match=r"no fashion_mnist in .*folder="):
        multi_fashion(**COUNTS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_train": 0}, "num_train is 0"),
        ({"folder": "nowhere"}, r"no train-images-idx3-ubyte\[.gz\] in nowhere"),
    ],
)
def test_options_out_of_range_are_named(folder, options, message):
    with pytest.raises(UserError, match=message) as error:
        load(**{"folder": folder, **COUNTS, **options})
    assert "\n" not in str(error.value)


def test_a_second_set_needs_a_folder_of_its_own(folder):
    with pytest.raises(UserError, match="mnist there, or in its subfolder mnist"):
        multi_fashion_mnist(folder=folder / "mnist", **COUNTS)


def test_files_that_do_not_fit_are_named(folder):
    labels = folder / "mnist" / "t10k-labels-idx1-ubyte.gz"
    write_idx(labels, np.zeros(29, np.uint8))
    with pytest.raises(UserError, match=r"labels \(29,\)"):
        load(folder=folder, **COUNTS)
    write_idx(labels, np.full(30, 10, np.uint8))
    with pytest.raises(UserError, match="go up to 10"):
        load(folder=folder, **COUNTS)


def test_mnist_itself(data_dir):
    data = load(folder=data_dir, num_train=2_000, num_valid=200, num_test=300)
    batch = samples(data.train)
    assert batch.x.shape == (2_000, 36, 36, 1)
    assert np.bincount(batch.y[0], minlength=10).min() > 100
