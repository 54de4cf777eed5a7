"""A set of tensorflow-datasets on disk: its features, its splits, its records."""

import dataclasses
import functools
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mtopt.data.prepared.pictures import decoded
from mtopt.errors import UserError, nearest

FORMAT = "array_record"
"""The one format of tfds that is read in any order, and without TensorFlow."""


@dataclasses.dataclass(frozen=True)
class PreparedSet:
    """A set that ``tensorflow_datasets`` has prepared as array_record files.

    It is read from what stands beside the records, ``features.json`` and
    ``dataset_info.json``: the code that made it, which may need TensorFlow, is not.

    Args:
      name: as its user has it, ``shapes3d`` or ``domainnet/real``.
      builder: what reads it.
    """

    name: str
    builder: Any

    @classmethod
    def of(cls, name: str, folder: str | pathlib.Path | None) -> "PreparedSet":
        """The set of a name.

        Args:
          name: ``name``, ``name/configuration`` or ``name:version``, as tfds has it.
          folder: that of all prepared sets; None for tfds's own.

        Raises:
          UserError: where it is not there, in another format, or not whole.
        """
        from google.protobuf.json_format import ParseError
        from tensorflow_datasets.core import read_only_builder, registered

        place = None if folder is None else pathlib.Path(folder).expanduser()
        where = {} if place is None else {"data_dir": str(place)}
        try:
            builder = read_only_builder.builder_from_files(name, **where)
        except registered.DatasetNotFoundError:
            raise UserError(_not_prepared(name, place)) from None
        except (OSError, ValueError, ParseError) as error:
            raise UserError(
                f"cannot read what was prepared of {name}, {_in_a_line(error)}: "
                f"`{_build(name, place)} --overwrite` prepares it anew"
            ) from error
        formats = {each.value for each in builder.info.available_file_formats()}
        if FORMAT not in formats:
            found = " and ".join(sorted(formats)) or "no"
            raise UserError(
                f"{builder.data_path} holds {found} files, expected {FORMAT}: "
                f"`tfds convert_format --dataset_version_dir={builder.data_path} "
                f"--out_file_format={FORMAT}` adds them, or `{_build(name, place)} "
                "--overwrite` prepares the set anew; both need TensorFlow, here or on "
                "another machine"
            )
        builder.info.set_file_format(
            FORMAT, override=True, override_if_initialized=True
        )
        return cls(name, builder)

    @property
    def path(self) -> pathlib.Path:
        """The folder of the set's files."""
        return pathlib.Path(self.builder.data_path)

    @functools.cached_property
    def features(self) -> dict[str, Any]:
        """The features by their nested names, ``attributes/Smiling``."""
        return {"/".join(path): each for path, each in _leaves(self.builder.info)}

    @property
    def splits(self) -> dict[str, int]:
        """The records of each split, of those that have some."""
        found = self.builder.info.splits
        return {
            name: int(found[name].num_examples)
            for name in found
            if found[name].num_examples
        }

    def records(self, split: str, names: Collection[str]) -> "Records":
        """The records of a split, with some of their features.

        Args:
          split: its name.
          names: of the features, nested ones as in :attr:`features`.

        Raises:
          UserError: for a file of it that is missing.
        """
        for file in self.builder.info.splits[split].filepaths:
            if not file.exists():
                raise UserError(
                    f"no file {file}: expected all files of the split {split!r}; "
                    "prepare the set anew"
                )
        return Records(self.builder, split, names)


class Records:
    """Some features of the records of a split, each a dict by nested name.

    What is not asked for is not decoded: labels are read at a fraction of the time
    that their images take.

    Args:
      builder: of the set.
      split: its name.
      names: of the features.
    """

    def __init__(self, builder: Any, split: str, names: Collection[str]) -> None:
        import tensorflow_datasets as tfds

        self._path, self._split = builder.data_path, split
        self._paths = {
            "/".join(path): path
            for path, _ in _leaves(builder.info)
            if "/".join(path) in names
        }
        # tfds takes images as their files have them; sets of photographs have some in
        # grey or CMYK among those in colour.
        files = {p: each for p, each in _leaves(builder.info) if is_photograph(each)}
        self._channels = {
            name: files[path].shape[2] or 3
            for name, path in self._paths.items()
            if path in files
        }
        wanted: dict[str, Any] = {}
        for path, feature in _leaves(builder.info):
            if path in self._paths.values():
                *above, last = path
                inside = wanted
                for key in above:
                    inside = inside.setdefault(key, {})
                inside[last] = tfds.features.Text() if path in files else feature
        # tfds's own PartialDecoding asks for the TensorFlow types of scalars.
        self._features = tfds.features.FeaturesDict(wanted)
        self._source = builder.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )

    def __len__(self) -> int:
        return len(self._source)

    def __getitems__(self, index: Sequence[int]) -> list[dict[str, Any]]:
        try:
            found = self._source.__getitems__([*index])
        except RuntimeError as error:  # of array_record, for whatever it can't read
            raise UserError(
                f"{self._path}: cannot read the split {self._split!r}, "
                f"{_in_a_line(error)}: prepare the set anew"
            ) from error
        return [self._decoded(raw) for raw in found]

    def _decoded(self, raw: bytes) -> dict[str, Any]:
        nested: Any = self._features.deserialize_example_np(raw)
        flat = {name: _at(nested, path) for name, path in self._paths.items()}
        for name, channels in self._channels.items():
            flat[name] = decoded(flat[name], channels)
        return flat


def is_photograph(feature: Any) -> bool:
    """Whether a feature is an image of bytes: depths in 16 bits or floats are not.

    Args:
      feature: of a set.
    """
    import tensorflow_datasets as tfds

    return isinstance(feature, tfds.features.Image) and feature.np_dtype == np.uint8


def _leaves(info: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and feature of all but dicts of features; what a sequence has is one."""
    import tensorflow_datasets as tfds

    def inside(
        feature: Any, path: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, ...], Any]]:
        if isinstance(feature, tfds.features.FeaturesDict):
            for key, each in feature.items():
                yield from inside(each, (*path, key))
        else:
            yield path, feature

    return inside(info.features, ())


def _at(nested: Mapping[str, Any], path: Sequence[str]) -> Any:
    for key in path:
        nested = nested[key]
    return nested


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _build(name: str, folder: pathlib.Path | None) -> str:
    place = "" if folder is None else f" --data_dir={folder}"
    return f"tfds build {name} --file_format={FORMAT}{place}"


def _not_prepared(name: str, folder: pathlib.Path | None) -> str:
    """What to say of a set that is not there."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.utils import file_utils

    own, *_ = name.replace(":", "/").split("/")
    dirs = file_utils.list_data_dirs(
        given_data_dir=None if folder is None else str(folder)
    )
    roots = [pathlib.Path(each).expanduser() for each in dirs]
    where = " or ".join(map(str, roots))
    versions = [
        str(path.parent.relative_to(root))
        for root in roots
        for path in sorted((root / own).glob("**/features.json"))
    ]
    if versions:
        return (
            f"no {name} in {where}, and {', '.join(versions)} is there: expected one "
            f"of them, or `{_build(name, folder)}` to prepare it, which needs "
            "TensorFlow, here or on another machine"
        )
    known = sorted({*tfds.list_builders(with_community_datasets=False)})
    if own not in known:
        close = nearest(own, known) if _close(own, known) else ""
        return (
            f"no {name} in {where}, and tfds knows no set of that name: expected one "
            f"that is prepared there{'; ' * bool(close)}{close}"
        )
    return (
        f"no {name} in {where}: expected it to be prepared, which "
        f"`{_build(name, folder)}` does; it needs TensorFlow, here or on another "
        "machine"
    )


def _close(name: str, known: Sequence[str]) -> bool:
    import difflib

    return bool(difflib.get_close_matches(name, known, n=1, cutoff=0.7))
