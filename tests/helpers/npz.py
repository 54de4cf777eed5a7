"""Small npz files of every form."""

import jax
import numpy as np

N = 40


PARTS = ("train", "valid", "test")


def save(tmp_path, **arrays):
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    return path


def shared(**changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.normal(3, 2, (N, 2)),
        "y": rng.normal(size=(N, 3)) * [1, 10, 100] + [0, 5, -50],
        "target_names": np.array(["c", "a", "b"]),
    }
    arrays.update(changes)
    return {key: value for key, value in arrays.items() if value is not None}


def disjoint(sizes=(20, 8, 3), **changes):
    task = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(len(task), 2)), "y": task + rng.random(len(task))}
    arrays.update({"task": task} | changes)
    return arrays


def sparse(table, suffix=""):
    """Compressed sparse rows of a table of counts."""
    rows, words = np.nonzero(table)
    indptr = np.searchsorted(rows, np.arange(len(table) + 1)).astype(np.int32)
    return {
        f"indptr{suffix}": indptr,
        f"indices{suffix}": words.astype(np.uint16),
        f"counts{suffix}": table[rows, words].astype(np.uint8),
    }


def reviews(sizes=(20, 12), **changes):
    """Two tasks with word counts for inputs; no word of every one is in the last."""
    rng = np.random.default_rng(0)
    table = rng.poisson([2.0, 0.1, 0.4, 0.2, 0.0, 1.0], (sum(sizes), 6))
    arrays = disjoint(sizes, x=None, y=np.arange(sum(sizes)) % 2) | sparse(table)
    arrays |= {"vocab": np.array([b"a", b"b", b"c", b"d", b"e", b"f"])} | changes
    return table, {key: value for key, value in arrays.items() if value is not None}


def collect(data, part):
    return jax.tree.map(np.asarray, getattr(data, part).samples)
