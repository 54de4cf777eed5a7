"""Parts of a batch: every task has its share of labels in each."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.deal import deal

B, PARTS = 24, 3
AT = np.arange(B)
FULL = np.ones((3, B), bool)
PATTERNS = {
    "all": FULL,
    "interleaved": np.stack([k == AT % 3 for k in range(3)]),
    "in blocks": np.stack([k == AT // 8 for k in range(3)]),
    "a rare task": np.stack([FULL[0], FULL[0], AT % 8 == 5]),
    "two labels": np.stack([FULL[0], AT % 2 == 0, (AT == 3) | (AT == 20)]),
    "one label, and none": np.stack([FULL[0], AT == 7, AT < 0]),
}


@functools.cache
def dealt():
    """Every pattern under several keys, in one program."""
    masks = jnp.asarray(np.stack(list(PATTERNS.values())))
    keys = jax.random.split(jax.random.key(0), 8)
    each = jax.vmap(jax.vmap(lambda m, k: deal(m, k, PARTS), (None, 0)), (0, None))
    samples, real = jax.tree.map(np.asarray, jax.jit(each)(masks, keys))
    return dict(zip(PATTERNS, zip(samples, real, strict=True), strict=True))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_task_has_its_share_of_labels_in_every_part(pattern):
    labels = PATTERNS[pattern].sum(axis=1)
    for samples, real in zip(*dealt()[pattern], strict=True):
        counts = real.sum(axis=2)
        assert (counts[:, labels > 0] > 0).all()
        assert (counts[:, labels == 0] == 0).all()
        if pattern not in ("two labels", "one label, and none"):
            assert np.ptp(counts, axis=0).max() <= 1
        for k, own in enumerate(PATTERNS[pattern]):
            taken = np.concatenate([samples[i][real[i, k]] for i in range(PARTS)])
            assert set(taken) == set(np.flatnonzero(own))
            # Too few labels: one for each part, some of them twice.
            assert len(taken) == (max(labels[k], PARTS) if labels[k] else 0)


def test_no_sample_is_in_two_parts_but_those_of_a_task_with_too_few():
    for pattern in ("all", "interleaved", "a rare task"):
        for samples, real in zip(*dealt()[pattern], strict=True):
            taken = [s[r.any(axis=0)] for s, r in zip(samples, real, strict=True)]
            taken = np.concatenate(taken)
            assert len(taken) == len(set(taken))


def test_keys_deal_differently():
    samples, _ = dealt()["all"]
    assert len({tuple(np.ravel(one)) for one in samples}) == len(samples)


def test_samples_behind_the_others_without_a_label_change_nothing():
    mask, key = PATTERNS["two labels"], jax.random.key(3)
    compiled = jax.jit(lambda mask: deal(mask, key, PARTS))
    samples, real = compiled(mask)
    padded = compiled(np.pad(mask, ((0, 0), (0, 9))))
    for i in range(PARTS):
        for k in range(3):
            plain = np.asarray(samples[i])[np.asarray(real[i, k])]
            again = np.asarray(padded[0][i])[np.asarray(padded[1][i, k])]
            np.testing.assert_array_equal(plain, again)
