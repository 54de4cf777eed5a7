"""Office-31: thirty-one things of an office, photographed in three ways."""

import pathlib
from collections.abc import Sequence

from mtopt.data.dataset import Dataset
from mtopt.data.folders.domains import read_domains
from mtopt.data.stream import ON_DEVICE_BYTES

DOMAINS = {name: (f"{name}/images", name) for name in ("amazon", "dslr", "webcam")}
CLASSES = 31


def office_31(
    folder: str | pathlib.Path,
    *,
    size: int = 224,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
    on_device_bytes: int = ON_DEVICE_BYTES,
) -> Dataset:
    """Office-31: the same 31 classes in pictures of a shop and of two cameras.

    Each domain is a task with images of its own: ``amazon`` (2,817 images), ``dslr``
    (498) and ``webcam`` (795). They are found in one of two ways:

    * by list files: ``DOMAIN_train.txt``, ``DOMAIN_val.txt`` and ``DOMAIN_test.txt`` in
      the folder, each line a path relative to it, a space and a class, 0 to 30:
      ``dslr/images/mug/frame_0005.jpg 22``. The parts are theirs.
    * as published: ``DOMAIN/images/CLASS/`` or ``DOMAIN/CLASS/`` with images. Classes
      are numbered in the order of their names; of each class in a domain a fifth of the
      images is drawn for validation and a fifth for testing, which leaves three fifths.

    Nothing is downloaded. Images are decoded when they are read; one that cannot be
    ends in an error with its name.

    Args:
      folder: of the list files, or of the domains.
      size: height and width, in pixels, that images are resized to (bilinearly, over
        all the pixels that one covers), 1 or more.
      seed: of the division into parts, where no list says which.
      tasks: the domains to keep; None keeps all.
      on_device_bytes: the most that all parts may take on the device; larger sets, such
        as the published one at 224 pixels (0.6 GB, and as much of padding), are read
        from the files as they are needed.

    Returns:
      A task for each domain. ``x`` is uint8 ``[3, n, size, size, 3]``, which models
      divide by 255, ``y`` int32 ``[3, n]``, 0 to 30.

    Raises:
      UserError: for a folder, a list file or an image that is missing, an empty
        folder, a class out of range, other classes than 31, an option out of range, or
        a name that is no domain.

    References:
      Saenko et al., Adapting Visual Category Models to New Domains, ECCV 2010. As tasks
      side by side, with those list files: Lin and Zhang, LibMTL: A Python Library for
      Deep Multi-Task Learning, 2023, arXiv 2203.14338.

    Differences from released code:
      LibMTL shifts and scales images as ImageNet's; that is
      ``augmented(office_31(...), by='normalise')`` here.
    """
    return read_domains(
        folder,
        name="office_31",
        domains=DOMAINS,
        classes=CLASSES,
        size=size,
        seed=seed,
        tasks=tasks,
        on_device_bytes=on_device_bytes,
    )
