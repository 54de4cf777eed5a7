"""Office-Home: sixty-five things of an office and a home, in four styles."""

import pathlib
from collections.abc import Sequence

from mtopt.data.dataset import Dataset
from mtopt.data.folders.domains import read_domains
from mtopt.data.stream import ON_DEVICE_BYTES

DOMAINS = {
    "Art": ("Art",),
    "Clipart": ("Clipart",),
    "Product": ("Product",),
    "Real_World": ("Real_World", "Real World"),
}
CLASSES = 65


def office_home(
    folder: str | pathlib.Path,
    *,
    size: int = 224,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
    on_device_bytes: int = ON_DEVICE_BYTES,
) -> Dataset:
    """Office-Home: the same 65 classes in art, clip art, product pictures, photographs.

    Each domain is a task with images of its own: ``Art`` (2,427 images), ``Clipart``
    (4,365), ``Product`` (4,439) and ``Real_World`` (4,357), whose folder may be called
    ``Real World``. They are found in the two ways of :func:`mtopt.data.office_31`: by
    list files ``DOMAIN_train.txt``, ``DOMAIN_val.txt`` and ``DOMAIN_test.txt`` with
    lines as ``Art/Mug/00005.jpg 27``, or in folders ``DOMAIN/CLASS/``, of which 60, 20
    and 20 per cent of each class are drawn. What is said of misfits there holds here.

    Args:
      folder: of the list files, or of the domains.
      size: height and width, in pixels, that images are resized to, 1 or more.
      seed: of the division into parts, where no list says which.
      tasks: the domains to keep; None keeps all.
      on_device_bytes: the most that all parts may take on the device; larger sets, such
        as the published one at 224 pixels (2.3 GB), are read from the files as they
        are needed.

    Returns:
      A task for each domain. ``x`` is uint8 ``[4, n, size, size, 3]``, which models
      divide by 255, ``y`` int32 ``[4, n]``, 0 to 64.

    Raises:
      UserError: as :func:`mtopt.data.office_31`, of 65 classes.

    References:
      Venkateswara et al., Deep Hashing Network for Unsupervised Domain Adaptation, CVPR
      2017, arXiv 1706.07522. As tasks side by side, with those list files: Lin and
      Zhang, LibMTL: A Python Library for Deep Multi-Task Learning, 2023, arXiv
      2203.14338.

    Differences from released code:
      As of :func:`mtopt.data.office_31`.
    """
    return read_domains(
        folder,
        name="office_home",
        domains=DOMAINS,
        classes=CLASSES,
        size=size,
        seed=seed,
        tasks=tasks,
        on_device_bytes=on_device_bytes,
    )
