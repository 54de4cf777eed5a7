"""Small folders in the layouts that data sets are published in, and what is in them."""

import itertools

import numpy as np
from PIL import Image

SIZE = (32, 64)


def nyuv2_arrays(rng, size=SIZE):
    """What the files of an image hold, by folder; a tenth of each label is missing."""
    known = rng.random((3, *size)) > 0.1
    normal = rng.normal(size=(*size, 3))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return {
        "image": rng.random((*size, 3)).astype(np.float32),
        "label": np.where(known[0], rng.integers(0, 13, size), -1).astype(np.float32),
        "depth": (known[1] * rng.uniform(0.5, 10, size)).astype(np.float32)[..., None],
        "normal": (known[2][..., None] * normal).astype(np.float32),
    }


def cityscapes_arrays(rng, size=SIZE):
    """Likewise."""
    known = rng.random((2, *size)) > 0.1
    near = 1e-6 + 0.4 * rng.random(size) ** 8
    return {
        "image": rng.random((*size, 3)),
        "label_7": np.where(known[0], rng.integers(0, 7, size), -1),
        "label_19": np.where(known[0], rng.integers(0, 19, size), -1),
        "depth": (known[1] * near)[..., None],
    }


def write_pixels(root, make, *, train=6, val=3, size=SIZE):
    """The files of both parts; part and folder to what is in them, in order."""
    rng = np.random.default_rng(0)
    written = {}
    for part, count in (("train", train), ("val", val)):
        for i in range(count):
            for folder, array in make(rng, size).items():
                (root / part / folder).mkdir(parents=True, exist_ok=True)
                np.save(root / part / folder / f"{i}.npy", array)
                written.setdefault((part, folder), []).append(array)
    return {key: np.stack(arrays) for key, arrays in written.items()}


def write_image(path, seed, size=(9, 7), mode="RGB"):
    """A file with random pixels of which no loss of a format changes any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = {"RGB": (3,), "L": ()}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], *bands))
    Image.fromarray(pixels.astype(np.uint8), mode).save(path)
    return pixels


def write_domains(root, domains, classes, counts, *, inside=""):
    """``DOMAIN/CLASS/``, with images of each class: as many as each domain has."""
    seeds = itertools.count()
    for domain, count in zip(domains, counts, strict=True):
        for c, i in itertools.product(range(classes), range(count)):
            path = root / domain / inside / f"thing_{c:02}" / f"frame_{i:04}.png"
            write_image(path, next(seeds))


def write_lists(root, domain, entries):
    """The list files of a domain, of ``{part: [(path, class)]}``, with the images."""
    for part, own in entries.items():
        lines = [f"{path} {number}" for path, number in own]
        (root / f"{domain}_{part}.txt").write_text("\n".join(lines) + "\n")
        for seed, (path, _) in enumerate(own):
            write_image(root / path, seed)


def write_celeb_a(root, count=9, *, published=False):
    """Faces with three attributes, a third of them in each part; labels 0 or 1."""
    of = (lambda name: root / name) if published else (lambda name: root)
    images = of("Img") / "img_align_celeba"
    pixels = [write_image(images / f"{i:06}.png", i) for i in range(count)]
    labels = np.random.default_rng(0).integers(0, 2, (count, 3))
    labels[: count // 3] = np.arange(3 * (count // 3)).reshape(-1, 3) % 2
    names = ["Smiling", "5_o_Clock_Shadow", "Bald"]
    rows = [
        f"{i:06}.png  {'  '.join(f'{2 * cell - 1:2}' for cell in row)}"
        for i, row in enumerate(labels)
    ]
    for name in ("Anno", "Eval"):
        of(name).mkdir(exist_ok=True)
    lines = [str(count), " ".join(names), *rows]
    (of("Anno") / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    parts = [f"{i:06}.png {3 * i // count}" for i in range(count)]
    (of("Eval") / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    return np.stack(pixels), dict(zip(names, labels.T, strict=True))
