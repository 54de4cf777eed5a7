"""IDX files are read exactly, and every kind of damage is one clear line."""

import gzip

import numpy as np
import pytest

from mtopt.data.images.idx import read_idx, write_idx
from mtopt.errors import UserError


@pytest.mark.parametrize("name", ["images-idx3-ubyte", "images-idx3-ubyte.gz"])
def test_written_files_are_read_back(tmp_path, name):
    array = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    write_idx(tmp_path / name, array)
    np.testing.assert_array_equal(read_idx(tmp_path / name), array)


def test_the_format_is_that_of_mnist(tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 255]))
    assert read_idx(path).tolist() == [7, 255]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing"),
        (b"\x89PNG\r\n", "magic number"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 1, 0]), "magic number"),
        (bytes([0, 0, 8, 3, 0, 0]), "ends within its header"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 9, 1]), "holds 1 values: expected 9"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 1, 2]), "holds 2 values: expected 1"),
    ],
)
def test_damage_is_named(tmp_path, content, message):
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_idx(path)
    assert "\n" not in str(error.value)


def test_a_truncated_or_false_gzip_is_named(tmp_path):
    path = tmp_path / "labels.gz"
    write_idx(path, np.arange(200, dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="damaged"):
        read_idx(path)
    path.write_bytes(b"no gzip")
    with pytest.raises(UserError, match="damaged"):
        read_idx(path)
    content = bytearray(gzip.compress(bytes(100)))
    content[15] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="damaged"):
        read_idx(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no file .*labels"):
        read_idx(tmp_path / "labels")


def test_mnist_itself(data_dir):
    labels = read_idx(data_dir / "mnist" / "t10k-labels-idx1-ubyte.gz")
    assert labels.shape == (10_000,)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]
