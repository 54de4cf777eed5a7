"""One set of classes in several domains: each domain a task with images of its own."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.data.division import SPLITS
from mtopt.data.folders.domain_files import found, has_lists, listed
from mtopt.data.folders.files import folder_at
from mtopt.data.folders.images import ImageFiles, check_size
from mtopt.data.placed import placed
from mtopt.data.tasks_kept import kept_names
from mtopt.errors import UserError


def read_domains(
    folder: str | pathlib.Path,
    *,
    name: str,
    domains: Mapping[str, Sequence[str]],
    classes: int,
    size: int,
    seed: int,
    tasks: Sequence[str] | None,
    on_device_bytes: int,
) -> Dataset:
    """What :func:`mtopt.data.office_31` and :func:`mtopt.data.office_home` read.

    Args:
      folder: with list files, or a folder for each domain.
      name: of the data set.
      domains: each with the folders that it may be in.
      classes: how many there are.
      size: height and width of images, in pixels.
      seed: of the division into parts.
      tasks: the domains to keep.
      on_device_bytes: the most that all parts may take on the device.
    """
    check_size(size)
    kept = kept_names(tuple(domains), tasks)
    words = ", ".join(domains)
    root = folder_at(folder, f"{name}, with list files or folders of {words}")
    by_lists = has_lists(root, tuple(domains))
    if by_lists:
        each = {domain: listed(root, domain, classes) for domain in kept}
    else:
        own = {domain: domains[domain] for domain in kept}
        each = found(root, own, classes, seed)
    sources = {}
    for part in SPLITS:
        own = {}
        for domain in kept:
            paths, labels = each[domain].of_part(part)
            if not paths:
                raise UserError(
                    f"{root}: {domain} has no image to {_VERBS[part]}: expected more "
                    "images of a class"
                )
            own[domain] = ImageFiles(paths, labels, size)
        sources[part] = own
    (splits,) = placed(sources, [kept], on_device_bytes)
    rule = "by list files" if by_lists else f"60/20/20 of each class, by seed {seed}"
    reading = {
        "folder": str(root),
        "parts": rule,
        "of labels": {domain: _words(files.classes) for domain, files in each.items()},
    }
    if all(files.names for files in each.values()):
        reading["classes"] = {domain: files.names for domain, files in each.items()}
    return Dataset(
        name=name,
        tasks=kept,
        kind="classification",
        outputs=classes,
        x_axis=0,
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        reading=reading,
    )


_VERBS = {"train": "train on", "valid": "validate on", "test": "test on"}


def _words(classes: np.ndarray) -> str:
    return f", of {len(np.unique(classes))} classes"
