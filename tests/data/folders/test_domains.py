"""Domains of images, by list files and by folders: each a task with its own images."""

import itertools

import jax
import numpy as np
import pytest
from PIL import Image

from mtopt.data import ArraySplit, describe, office_31, office_home, summary
from mtopt.data.folders import office_31 as office
from mtopt.errors import UserError
from tests.helpers.folders import write_domains, write_image, write_lists

DOMAINS = ("amazon", "dslr", "webcam")
ALL = 99


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """As published; of each class 5, 3 and 4 images."""
    root = tmp_path_factory.mktemp("tree")
    write_domains(root, DOMAINS, 31, (5, 3, 4), inside="images")
    return root


@pytest.fixture
def lists(tmp_path):
    """Files of two parts more in one domain than in another."""
    for d, domain in enumerate(DOMAINS):
        write_lists(tmp_path, domain, entries(domain, 2 + d))
    return tmp_path


def entries(domain, count):
    """Part to images and their classes, 0 to 30 among them."""
    return {
        part: [
            (f"{domain}/images/thing {10 * i}/{part}.png", 10 * i)
            for i in range(count - (part != "train"))
        ]
        for part in ("train", "val", "test")
    }


def whole(split):
    (batch,) = split.in_order(10_000)
    return batch


def resized(path, size):
    image = Image.open(path).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def test_lists_say_images_classes_and_parts(lists):
    data = office_31(lists, size=5)
    assert (data.tasks, data.kind, data.outputs) == (DOMAINS, "classification", 31)
    batch = whole(data.train)
    assert (batch.x.shape, batch.x.dtype) == ((3, 4, 5, 5, 3), np.uint8)
    assert batch.mask.sum(axis=1).tolist() == [2, 3, 4]
    for d, domain in enumerate(DOMAINS):
        for i, (path, number) in enumerate(entries(domain, 2 + d)["train"]):
            np.testing.assert_array_equal(batch.x[d, i], resized(lists / path, 5))
            assert batch.y[d, i] == number
    assert whole(data.valid).mask.sum(axis=1).tolist() == [1, 2, 3]
    assert data.reading["parts"] == "by list files"
    assert "classes" not in data.reading  # not all are named by the lists


def test_images_are_as_they_are_where_they_have_the_size(tmp_path):
    for domain in DOMAINS:
        write_lists(tmp_path, domain, entries(domain, 2))
    path = tmp_path / "dslr" / "images" / "thing 10" / "train.png"
    pixels = write_image(path, 7, (6, 6))
    grey = write_image(path.parents[1] / "thing 0" / "train.png", 8, (6, 6), "L")
    batch = whole(office_31(tmp_path, size=6, tasks="dslr").train)
    np.testing.assert_array_equal(batch.x[0, 1], pixels)
    np.testing.assert_array_equal(batch.x[0, 0], np.repeat(grey[..., None], 3, 2))


def test_folders_are_divided_60_20_20_within_classes(tree):
    data = office_31(tree, size=2)
    each = {
        part: whole(getattr(data, part)).mask.sum(axis=1).tolist()
        for part in ("train", "valid", "test")
    }
    assert each == {
        "train": [3 * 31, 31, 2 * 31],
        "valid": [31, 31, 31],
        "test": [31, 31, 31],
    }
    valid = whole(data.valid)
    np.testing.assert_array_equal(np.sort(valid.y, axis=1), [np.arange(31)] * 3)
    words = ", of 31 classes (0: thing_00, 1: thing_01"
    assert words in summary(describe(data))
    assert data.reading["classes"]["dslr"][30] == "thing_30"


def test_the_seed_decides_and_other_domains_do_not(tree):
    def drawn(**options):
        data = office_31(tree, size=2, **options)
        return np.asarray(whole(data.test).x[data.tasks.index("webcam")])

    assert np.array_equal(drawn(), drawn(tasks=("webcam", "dslr")))
    assert not np.array_equal(drawn(), drawn(seed=1))


def test_folders_may_be_directly_in_the_domain(tree, tmp_path):
    for domain in DOMAINS:
        (tmp_path / domain).symlink_to(tree / domain / "images")
    one, two = (office_31(root, size=2) for root in (tree, tmp_path))
    np.testing.assert_array_equal(whole(one.train).x, whole(two.train).x)


def test_streamed_and_on_the_device_it_is_the_same(lists):
    streamed, placed = (
        office_31(lists, size=4, on_device_bytes=most) for most in (0, 2**20)
    )
    assert isinstance(placed.train, ArraySplit)
    for part in ("train", "valid", "test"):
        one, two = (whole(getattr(data, part)) for data in (streamed, placed))
        assert one.names == two.names == DOMAINS
        real = np.asarray(one.mask)
        np.testing.assert_array_equal(real, two.mask)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            np.testing.assert_array_equal(np.asarray(a)[real], np.asarray(b)[real])


def test_office_home_has_a_folder_with_a_space(tmp_path):
    names = ("Art", "Clipart", "Product", "Real World")
    write_domains(tmp_path, names, 65, (3, 3, 3, 3))
    data = office_home(tmp_path, size=1)
    assert data.tasks == ("Art", "Clipart", "Product", "Real_World")
    assert data.outputs == 65
    assert [split.size for split in (data.train, data.valid, data.test)] == [260] * 3


def damaged(path):
    path.write_bytes(path.read_bytes()[:60])


def line(to):
    return lambda root: (root / "dslr_val.txt").write_text(to)


LIST_MISFITS = {
    "no image": (
        lambda root: (root / "dslr/images/thing 20/train.png").unlink(),
        r"no file \S+dslr/images/thing 20/train\.png: \S+dslr_train\.txt names it",
    ),
    "no list": (
        lambda root: (root / "dslr_val.txt").unlink(),
        r"cannot read \S+dslr_val\.txt \(No such file or directory\): expected a text",
    ),
    "empty list": (line("\n"), r"\S+dslr_val\.txt has no lines"),
    "class above": (
        line("dslr/images/thing 0/val.png 31\n"),
        r"dslr_val\.txt has the line 'dslr/images/thing 0/val\.png 31': expected a "
        "path, a space and a class from 0 to 30",
    ),
    "class below": (line("dslr/images/thing 0/val.png -1\n"), "a class from 0 to 30"),
    "no class": (line("dslr/images/thing_0/val.png\n"), "a class from 0 to 30"),
}


@pytest.mark.parametrize("name", LIST_MISFITS)
def test_a_misfit_of_lists_is_one_line(name, lists):
    damage, message = LIST_MISFITS[name]
    damage(lists)
    with pytest.raises(UserError, match=message) as error:
        office_31(lists)
    assert "\n" not in str(error.value)
    office_31(lists, tasks="webcam")


@pytest.mark.parametrize("content", [b"no image", None])
def test_an_image_that_cannot_be_read_is_one_line(lists, content):
    path = lists / "dslr" / "images" / "thing 20" / "train.png"
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    data = office_31(lists, size=4, on_device_bytes=0)
    message = r"cannot read \S+/thing 20/train\.png \(.+\): expected an image"
    with pytest.raises(UserError, match=message) as error:
        list(itertools.islice(data.train.batches(2, seeds=(0,)), 4))
    assert "\n" not in str(error.value)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Two classes, of 4 images in each domain."""
    monkeypatch.setattr(office, "CLASSES", 2)
    write_domains(tmp_path, DOMAINS, 2, (4, 4, 4))
    return tmp_path


def emptied(root):
    for path in (root / "dslr" / "thing_01").iterdir():
        path.unlink()


def few(root):
    for domain, i in itertools.product(DOMAINS, (1, 2, 3)):
        for path in (root / domain).glob(f"*/frame_000{i}.png"):
            path.unlink()


FOLDER_MISFITS = {
    "no domain": (
        lambda root: (root / "dslr").rename(root / "d"),
        r"no folder \S+dslr/images: expected the images of dslr, a folder a class",
    ),
    "empty class": (emptied, r"\S+dslr/thing_01 is empty: expected images"),
    "more classes": (
        lambda root: (root / "dslr" / "more").mkdir(),
        r"\S+dslr has 3 folders: expected 2, one a class",
    ),
    "other classes": (
        lambda root: (root / "dslr" / "thing_01").rename(root / "dslr" / "other"),
        r"no folder \S+dslr/thing_01: expected the classes of \S+amazon",
    ),
    "few images": (few, "amazon has no image to validate on: expected more images"),
}


@pytest.mark.parametrize("name", FOLDER_MISFITS)
def test_a_misfit_of_folders_is_one_line(name, small):
    assert office_31(small).train.size == 2 * 2 * 3
    damage, message = FOLDER_MISFITS[name]
    damage(small)
    with pytest.raises(UserError, match=message) as error:
        office_31(small)
    assert "\n" not in str(error.value)


def test_what_a_system_hides_in_a_folder_is_no_image(small):
    (small / "dslr" / ".DS_Store").write_text("")
    (small / "dslr" / "thing_01" / ".DS_Store").write_text("")
    assert whole(office_31(small, size=1).train).mask.sum() == 12


def test_options_out_of_range(small):
    with pytest.raises(UserError, match="size is 0: expected a whole number of pixels"):
        office_31(small, size=0)
    with pytest.raises(UserError, match="tasks names 'amason': did you mean 'amazon'"):
        office_31(small, tasks="amason")
    with pytest.raises(UserError, match=r"no folder \S+none: expected office_31, with"):
        office_31(small / "none")
