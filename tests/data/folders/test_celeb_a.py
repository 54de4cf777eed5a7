"""Faces with attributes: lists, parts, and images that are decoded as they are read."""

import jax
import numpy as np
import pytest

from mtopt.data import ArraySplit, celeb_a, describe, summary
from mtopt.errors import UserError
from tests.helpers.folders import write_celeb_a, write_image

SIZE = 9
NAMES = ("5_o_Clock_Shadow", "Bald", "Smiling")


@pytest.fixture
def faces(tmp_path):
    pixels, labels = write_celeb_a(tmp_path)
    return tmp_path, pixels, labels


def whole(split):
    (batch,) = split.in_order(99)
    return batch


@pytest.mark.parametrize("published", [False, True])
def test_images_and_attributes_are_as_written(tmp_path, published):
    _, labels = write_celeb_a(tmp_path, published=published)
    for path in tmp_path.rglob("*.png"):
        write_image(path, int(path.stem), (SIZE, SIZE))
    data = celeb_a(tmp_path, size=SIZE)
    assert (data.tasks, data.outputs, data.x_axis) == (NAMES, 1, None)
    for p, part in enumerate(("train", "valid", "test")):
        batch = whole(getattr(data, part))
        for i in range(3):
            image = tmp_path / "again.png"
            pixels = write_image(image, 3 * p + i, (SIZE, SIZE))
            np.testing.assert_array_equal(batch.x[i], pixels)
        own = [labels[name][3 * p : 3 * p + 3] for name in NAMES]
        np.testing.assert_array_equal(batch.y, own)
        assert (batch.x.dtype, batch.y.dtype) == (np.uint8, np.int8)


def test_some_attributes_on_the_same_images(faces):
    root, _, labels = faces
    every, some = celeb_a(root), celeb_a(root, tasks=("Smiling", "Bald"))
    assert some.tasks == ("Bald", "Smiling")
    assert (every.train.size, some.train.size) == (3, 3)
    np.testing.assert_array_equal(whole(some.train).y, whole(every.train).y[1:])
    np.testing.assert_array_equal(whole(some.test).y[0], labels["Bald"][6:])


def test_streamed_and_on_the_device_it_is_the_same(faces):
    root, *_ = faces
    streamed, placed = (celeb_a(root, on_device_bytes=most) for most in (0, 2**20))
    assert isinstance(placed.train, ArraySplit)
    for part in ("train", "valid", "test"):
        one, two = (whole(getattr(data, part)) for data in (streamed, placed))
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_was_found_is_said(faces):
    root, _, labels = faces
    text = summary(describe(celeb_a(root, on_device_bytes=0)))
    share = labels["Bald"][:3].mean()
    assert "rows             3 train, 3 valid, 3 test" in text
    words = f"Bald             9 labels, 0 missing, {share:.1%} of those of training"
    assert words in text


def replaced(name, old, new):
    def damage(root):
        path = root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return damage


ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
MISFITS = {
    "no list": (
        lambda root: (root / ATTRIBUTES).unlink(),
        r"no list_attr_celeba\.txt in \S+: expected img_align_celeba/, list_attr",
    ),
    "no images": (
        lambda root: (root / "img_align_celeba").rename(root / "elsewhere"),
        "no img_align_celeba in ",
    ),
    "no image": (
        lambda root: (root / "img_align_celeba" / "000004.png").unlink(),
        r"no file \S+img_align_celeba/000004\.png: list_attr_celeba\.txt names it",
    ),
    "another count": (
        replaced(ATTRIBUTES, "9\nSmiling", "8\nSmiling"),
        r"list_attr_celeba\.txt starts with '8' and has 10 lines more: expected the",
    ),
    "a table": (
        replaced(ATTRIBUTES, "9\nSmiling", "image_id,Smiling"),
        r"list_attr_celeba\.txt starts with 'image_id,Smiling 5_o_Clock_Shadow Bald'",
    ),
    "another value": (
        replaced(ATTRIBUTES, "000001.png   1", "000001.png   2"),
        r"list_attr_celeba\.txt: the line of 000001\.png is not a file and 3 times 1",
    ),
    "a value missing": (
        replaced(ATTRIBUTES, "Smiling 5_o", "Smiling Other 5_o"),
        r"the line of 000000\.png is not a file and 4 times 1 or -1",
    ),
    "attribute twice": (
        replaced(ATTRIBUTES, "Bald", "Smiling"),
        "has an attribute twice",
    ),
    "another part": (
        replaced(PARTITION, "000004.png 1", "000004.png 3"),
        r"list_eval_partition\.txt has the line '000004\.png 3': expected a file and",
    ),
    "part of no image": (
        replaced(PARTITION, "000004.png 1\n", ""),
        r"list_eval_partition\.txt has no line of 000004\.png, which list_attr",
    ),
    "image of no attribute": (
        replaced(PARTITION, "000004.png 1\n", "000004.png 1\n4.png 1\n"),
        r"list_eval_partition\.txt has a line of 4\.png, which list_attr_celeba\.txt ",
    ),
    "no validation": (
        replaced(PARTITION, ".png 1\n", ".png 0\n"),
        r"list_eval_partition\.txt has no image of part 1 \(valid\)",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_misfit_is_one_line_with_its_file(name, faces):
    root, *_ = faces
    damage, message = MISFITS[name]
    damage(root)
    with pytest.raises(UserError, match=message) as error:
        celeb_a(root)
    assert "\n" not in str(error.value)


def test_an_image_that_cannot_be_read_is_one_line(faces):
    root, *_ = faces
    (root / "img_align_celeba" / "000004.png").write_bytes(b"no image")
    data = celeb_a(root, on_device_bytes=0)
    with pytest.raises(UserError, match=r"cannot read \S+000004\.png \(.+\): expected"):
        whole(data.valid)


def test_options_out_of_range(faces):
    root, *_ = faces
    with pytest.raises(UserError, match="tasks names 'Smilling': did you mean 'Smilin"):
        celeb_a(root, tasks="Smilling")
    with pytest.raises(UserError, match="size is 0: expected a whole number of pixels"):
        celeb_a(root, size=0)
    with pytest.raises(UserError, match=r"no folder \S+none: expected CelebA: img_al"):
        celeb_a(root / "none")
