"""IDX files: the format in which MNIST and Fashion-MNIST are published."""

import gzip
import pathlib
import struct
import zlib

import numpy as np

from mtopt.errors import UserError

UINT8 = 0x08


def read_idx(path: pathlib.Path) -> np.ndarray:
    """An array of bytes from an IDX file.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions,
    each dimension as a big-endian 32-bit integer, then the values in C order.

    Args:
      path: the file; one whose name ends in ``.gz`` is decompressed.

    Returns:
      uint8, in the shape that the file states.

    Raises:
      UserError: for a missing or truncated file, or one that is no IDX file of bytes.

    Example:
      >>> import tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
      >>> write_idx(path, np.array([3, 1, 4], np.uint8))
      >>> read_idx(path).tolist()
      [3, 1, 4]
    """
    if not path.is_file():
        raise UserError(f"no file {path}: expected an IDX file there")
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"cannot read {path} ({error}): it is damaged, fetch it again"
        ) from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UINT8:
        raise UserError(
            f"{path} starts with {content[:4].hex() or 'nothing'}: expected 000008 and "
            "the number of dimensions, the magic number of an IDX file of bytes"
        )
    dims, header = content[3], 4 + 4 * content[3]
    if len(content) < header:
        raise UserError(f"{path} ends within its header: fetch it again")
    shape = struct.unpack(f">{dims}I", content[4:header])
    expected = int(np.prod(shape, dtype=np.int64))
    if len(content) - header != expected:
        raise UserError(
            f"{path} holds {len(content) - header} values: expected {expected} for its "
            f"shape {shape}; it is truncated or damaged, fetch it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def write_idx(path: pathlib.Path, array: np.ndarray) -> None:
    """Writes an array of bytes as an IDX file, gzipped if the name ends in ``.gz``.

    Args:
      path: the file.
      array: uint8.
    """
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, UINT8, array.ndim, *array.shape)
    content = header + array.tobytes()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
