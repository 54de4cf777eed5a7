"""Encodings as JSON values, and back."""

import dataclasses
from typing import Any

import numpy as np

from mtopt.data.augment.encoding import TransformedImages
from mtopt.data.dataset import Dataset
from mtopt.data.encoding import AsTheyAre, Encoding, Unknown
from mtopt.data.tables.frame_encoding import FrameEncoding
from mtopt.data.tables.npz_encoding import NpzEncoding
from mtopt.data.tables.npz_images import ImageEncoding

ENCODINGS = {
    "as they are": AsTheyAre,
    "columns": FrameEncoding,
    "arrays": NpzEncoding,
    "images": ImageEncoding,
    "transformed": TransformedImages,
    "unknown": Unknown,
}
"""Name to encoding; a loader's own is one line here."""


def encoding_of(dataset: Dataset) -> Encoding:
    """What makes inputs of raw ones: that of the loader, or none needed.

    Args:
      dataset: of one group of tasks.
    """
    if dataset.encoding is not None:
        return dataset.encoding
    x = next(dataset.train.in_order(1)).x
    if not hasattr(x, "shape"):
        return Unknown("its inputs are several arrays")
    shape = np.shape(x)[1 if dataset.x_axis is None else 2 :]
    return AsTheyAre(str(x.dtype), shape)


def encoding_to_json(encoding: Encoding) -> dict[str, Any]:
    """An encoding as JSON values, by its name.

    Example:
      >>> encoding_to_json(AsTheyAre("uint8", (8, 8)))
      {'encoding': 'as they are', 'dtype': 'uint8', 'shape': (8, 8)}
    """
    names = {made: name for name, made in ENCODINGS.items()}
    fields: Any = encoding
    values = {"encoding": names[type(fields)], **dataclasses.asdict(fields)}
    for name in _encodings_in(type(fields)):
        values[name] = encoding_to_json(getattr(fields, name))
    return values


def encoding_from_json(values: dict[str, Any]) -> Encoding:
    """The encoding that :func:`encoding_to_json` was given.

    Example:
      >>> encoding_from_json({"encoding": "as they are", "dtype": "int8", "shape": [8]})
      AsTheyAre(dtype='int8', shape=(8,))
    """
    fields = {name: _frozen(value) for name, value in values.items()}
    made = ENCODINGS[fields.pop("encoding")]
    for name in _encodings_in(made):
        fields[name] = encoding_from_json(values[name])
    return made(**fields)


def _encodings_in(made: Any) -> list[str]:
    """The fields of an encoding that hold another."""
    return [field.name for field in dataclasses.fields(made) if field.type is Encoding]


def _frozen(value: Any) -> Any:
    """Lists as tuples, at any depth."""
    if isinstance(value, dict):
        return {key: _frozen(entry) for key, entry in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
