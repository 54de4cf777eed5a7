"""Folders of images with labels of pixels: what is written is what is read."""

import itertools

import jax
import numpy as np
import pytest

from mtopt.data import ArraySplit, Dataset, cityscapes, describe, nyuv2, summary
from mtopt.data.folders.pixels import PixelFiles
from mtopt.errors import UserError
from tests.helpers.folders import cityscapes_arrays, nyuv2_arrays, write_pixels

SMALL = (4, 6)


@pytest.fixture
def rooms(tmp_path):
    return tmp_path, write_pixels(tmp_path, nyuv2_arrays, size=SMALL)


@pytest.fixture
def streets(tmp_path):
    return tmp_path, write_pixels(tmp_path, cityscapes_arrays, size=SMALL)


def whole(split):
    (batch,) = split.in_order(99)
    return batch


def numbers(found, images):
    """Which of the images each of those found is."""
    each = np.round(255 * images).astype(np.uint8)
    return [int((each == x).all(axis=(1, 2, 3)).argmax()) for x in np.asarray(found)]


def test_nyuv2_is_read_as_written(rooms):
    root, written = rooms
    data = nyuv2(root, valid_fraction=0)
    assert data.tasks == ("depth", "normals", "segmentation")
    assert [group.kind for group in data.groups] == list(data.tasks)
    assert [group.outputs for group in data.groups] == [1, 3, 13]
    assert data.shared_inputs
    for part, split in (("train", data.train), ("val", data.test)):
        batch = whole(split)
        depth, normals, classes = batch.y
        np.testing.assert_array_equal(
            batch.x, np.round(255 * written[part, "image"]).astype(np.uint8)
        )
        np.testing.assert_array_equal(classes[0], written[part, "label"])
        np.testing.assert_allclose(
            depth[0], written[part, "depth"][..., 0], rtol=1 / 2048
        )
        np.testing.assert_allclose(normals[0], written[part, "normal"], atol=1 / 2048)
        dtypes = [each.dtype for each in (batch.x, classes, depth, normals)]
        assert dtypes == [np.uint8, np.int8, np.float16, np.float16]
        assert all(mask.all() for mask in batch.mask)
        # What has no label has none however it is kept, and nothing else.
        for name, labels in (("depth", depth[0]), ("normal", normals[0])):
            none = written[part, name].reshape(*labels.shape) == 0
            np.testing.assert_array_equal(labels == 0, none)


def test_cityscapes_keeps_small_inverse_depths(streets):
    root, written = streets
    data = cityscapes(root, valid_fraction=0)
    assert data.tasks == ("depth", "segmentation")
    depth, classes = whole(data.test).y
    np.testing.assert_array_equal(
        depth[0], written["val", "depth"][..., 0].astype(np.float32)
    )
    assert 0 < depth[depth > 0].min() < 1e-5
    np.testing.assert_array_equal(classes[0], written["val", "label_7"])
    assert [group.inverse_depth for group in data.groups] == [True, False]
    assert [group.outputs for group in data.groups] == [1, 7]
    more = cityscapes(root, classes=19, tasks="segmentation")
    assert isinstance(more, Dataset)
    np.testing.assert_array_equal(whole(more.test).y[0], written["val", "label_19"])
    assert more.outputs == 19


def test_classes_of_cityscapes_may_be_in_one_folder(streets):
    root, written = streets
    for part in ("train", "val"):
        (root / part / "label_7").rename(root / part / "label")
    data = cityscapes(root, valid_fraction=0)
    np.testing.assert_array_equal(whole(data.test).y[1][0], written["val", "label_7"])
    with pytest.raises(UserError, match="classes is 8: expected one of"):
        cityscapes(root, classes=8)


def test_validation_is_a_share_of_train_drawn_by_the_seed(tmp_path):
    written = write_pixels(tmp_path, nyuv2_arrays, train=10, val=2, size=SMALL)
    images = written["train", "image"]

    def held_out(**options):
        data = nyuv2(tmp_path, **options)
        parts = [numbers(whole(s).x, images) for s in (data.train, data.valid)]
        assert sorted(itertools.chain(*parts)) == list(range(10))
        assert data.test.size == 2
        return parts[1]

    assert len(held_out()) == 1
    assert len(held_out(valid_fraction=0.3)) == 3
    assert held_out(valid_fraction=0.3) == held_out(valid_fraction=0.3, tasks="depth")
    assert held_out(valid_fraction=0.5) != held_out(valid_fraction=0.5, seed=1)


def test_without_validation_images_the_test_part_is_both(rooms):
    root, _ = rooms
    data = nyuv2(root, valid_fraction=0)
    assert (data.train.size, data.valid.size, data.test.size) == (6, 3, 3)
    np.testing.assert_array_equal(whole(data.valid).x, whole(data.test).x)
    assert "valid and test: val/" in data.groups[0].reading["parts"]


def test_streamed_and_on_the_device_it_is_the_same(rooms):
    root, _ = rooms
    streamed, placed = (nyuv2(root, on_device_bytes=size) for size in (0, 2**20))
    assert isinstance(placed.groups[0].train, ArraySplit)
    for part in ("train", "valid", "test"):
        one, two = (whole(getattr(data, part)) for data in (streamed, placed))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_a_batch_reads_each_file_once(rooms, monkeypatch):
    root, _ = rooms
    data = nyuv2(root, on_device_bytes=0)
    read = []
    plain = PixelFiles.__getitem__
    monkeypatch.setattr(
        PixelFiles, "__getitem__", lambda self, i: read.append(i) or plain(self, i)
    )
    whole(data.test)
    assert sorted(read) == [0, 1, 2]


def test_files_of_other_tasks_are_not_looked_for(rooms):
    root, written = rooms
    for part, folder in itertools.product(("train", "val"), ("normal", "label")):
        for path in (root / part / folder).glob("*"):
            path.unlink()
    data = nyuv2(root, tasks=("depth",), valid_fraction=0)
    assert data.tasks == ("depth",)
    np.testing.assert_allclose(
        whole(data.train).y[0], written["train", "depth"][..., 0], rtol=1 / 2048
    )
    known = written["train", "depth"][written["train", "depth"] > 0]
    np.testing.assert_allclose(data.target_scale, known.std(), rtol=1e-3)


def test_vectors_shortened_by_interpolation_are_normals(rooms):
    root, written = rooms
    path = root / "val" / "normal" / "0.npy"
    np.save(path, 0.5 * np.load(path))
    data = nyuv2(root, tasks="normals")
    np.testing.assert_allclose(
        whole(data.test).y[0], written["val", "normal"], atol=1 / 2048
    )


def test_what_was_found_is_said(rooms):
    root, written = rooms
    text = summary(describe(nyuv2(root, on_device_bytes=0)))
    assert f"folder   {root}" in text
    assert "rows     5 train, 1 valid, 3 test" in text
    assert "parts    valid: 0.1 of train/, by seed 0; test: val/" in text
    assert "of kind segmentation (13 classes)" in text
    missing = nyuv2(root, valid_fraction=0).groups[2].reading["of labels"]
    share = (written["train", "label"] == -1).mean()
    assert missing["segmentation"] == f", {share:.1%} of pixels have none in 6 images"
    assert missing["segmentation"] in summary(describe(nyuv2(root, valid_fraction=0)))


def change(folder, i, to):
    """A change of one file of the training images."""
    return lambda root: np.save(root / "train" / folder / f"{i}.npy", to)


def at_a_pixel(folder, i, value):
    def damage(root):
        path = root / "train" / folder / f"{i}.npy"
        array = np.load(path)
        array[0, 0] = value
        np.save(path, array)

    return damage


def cut(root):
    path = root / "train" / "depth" / "2.npy"
    path.write_bytes(path.read_bytes()[:100])


def emptied(root):
    for path in (root / "val" / "image").iterdir():
        path.unlink()


MISFITS = {
    "missing file": (
        lambda root: (root / "train" / "label" / "4.npy").unlink(),
        r"no file \S+train/label/4\.npy: expected one for each of the 6 in \S+image",
    ),
    "missing image": (
        lambda root: (root / "val" / "image" / "1.npy").unlink(),
        r"no file \S+val/image/1\.npy: expected one for each of the 3 in \S+val/\w+",
    ),
    "missing folder": (
        lambda root: (root / "val" / "depth").rename(root / "elsewhere"),
        r"no folder \S+val/depth: expected files 0\.npy",
    ),
    "empty folder": (emptied, r"\S+val/image has no \.npy file: expected files 0\.npy"),
    "another name": (
        lambda root: (root / "train" / "depth" / "4.npy").rename(
            root / "train" / "depth" / "four.npy"
        ),
        r"\S+train/depth/four\.npy: expected files 0\.npy",
    ),
    "another image size": (
        change("image", 4, np.zeros((4, 7, 3))),
        r"\S+train/image/4\.npy is an image of \(4, 7\): expected \(4, 6\), as that "
        r"of \S+train/image/\d\.npy",
    ),
    "another label size": (
        change("label", 4, np.zeros((4, 7))),
        r"\S+train/label/4\.npy is float64 \(4, 7\): expected .*, \(4, 6\)",
    ),
    "channels first": (
        change("image", 4, np.zeros((3, 4, 6))),
        r"\S+train/image/4\.npy is float64 \(3, 4, 6\): expected floats from 0 to 1",
    ),
    "image of bytes": (
        change("image", 4, np.full((4, 6, 3), 255.0)),
        r"\S+train/image/4\.npy has 255\.0: expected floats from 0 to 1",
    ),
    "class out of range": (
        at_a_pixel("label", 4, 13),
        r"\S+train/label/4\.npy has 13: expected classes from 0 to 12, or -1 for none",
    ),
    "class below": (
        at_a_pixel("label", 4, -2),
        r"\S+train/label/4\.npy has -2: expected classes from 0 to 12",
    ),
    "class between": (
        at_a_pixel("label", 4, 1.5),
        r"\S+train/label/4\.npy has a pixel of class 1\.5: expected classes",
    ),
    "class that is none": (
        at_a_pixel("label", 4, np.nan),
        r"\S+train/label/4\.npy has a pixel of class nan: expected classes",
    ),
    "negative depth": (
        at_a_pixel("depth", 4, -1),
        r"\S+train/depth/4\.npy has -1\.0: expected depths, or 0 for none",
    ),
    "infinite depth": (
        at_a_pixel("depth", 4, np.inf),
        r"\S+train/depth/4\.npy has inf: expected depths, or 0 for none, at most 65504",
    ),
    "long vector": (
        at_a_pixel("normal", 4, 1.0),
        r"\S+train/normal/4\.npy has a vector of length 1\.732: expected vectors",
    ),
    "vector that is none": (
        at_a_pixel("normal", 4, np.nan),
        r"\S+train/normal/4\.npy has a vector of length nan: expected vectors",
    ),
    "flat normals": (
        change("normal", 4, np.zeros((4, 6))),
        r"\S+train/normal/4\.npy is float64 \(4, 6\): expected vectors",
    ),
    "damaged file": (cut, r"cannot read \S+train/depth/2\.npy \(.+\): expected what"),
    "Python objects": (
        change("depth", 4, np.array([{}], object)),
        r"cannot read \S+train/depth/4\.npy \(Object arrays .+\): expected what",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_misfit_is_one_line_with_its_file(name, rooms):
    root, _ = rooms
    damage, message = MISFITS[name]
    damage(root)
    with pytest.raises(UserError, match=message) as error:
        nyuv2(root)
    assert "\n" not in str(error.value)


def test_a_misfit_deep_in_a_stream_is_one_line_too(tmp_path, monkeypatch):
    monkeypatch.setattr("mtopt.data.folders.pixels.SAMPLED", 2)
    write_pixels(tmp_path, nyuv2_arrays, train=9, size=SMALL)
    at_a_pixel("label", 4, 13)(tmp_path)
    data = nyuv2(tmp_path, valid_fraction=0, on_device_bytes=0)
    with pytest.raises(UserError, match=r"train/label/4\.npy has 13") as error:
        list(itertools.islice(data.train.batches(3, seeds=(0,)), 9))
    assert "\n" not in str(error.value)


def test_depths_that_are_all_alike_have_no_scale(rooms):
    root, _ = rooms
    for path in (root / "train" / "depth").iterdir():
        np.save(path, np.zeros((4, 6, 1)))
    with pytest.raises(UserError, match="train/depth: 0 different depths"):
        nyuv2(root)
    assert nyuv2(root, tasks="normals").tasks == ("normals",)


def test_options_out_of_range(rooms, tmp_path):
    root, _ = rooms
    with pytest.raises(UserError, match="valid_fraction is 1: expected a number from"):
        nyuv2(root, valid_fraction=1)
    with pytest.raises(UserError, match="tasks names 'depht': did you mean 'depth'"):
        nyuv2(root, tasks="depht")
    with pytest.raises(UserError, match=r"no folder \S+none: expected nyuv2 as it is"):
        nyuv2(tmp_path / "none")
    with pytest.raises(UserError, match=r"no folder \S+train/image"):
        nyuv2(tmp_path / "train")


def test_a_share_of_few_images_may_be_none(tmp_path):
    write_pixels(tmp_path, nyuv2_arrays, train=2, size=SMALL)
    with pytest.raises(UserError, match="leaves none of the 2 images"):
        nyuv2(tmp_path)
