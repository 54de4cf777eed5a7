"""Augmented data sets: what a step sees, whatever the samples come from."""

import dataclasses
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.building import load_dataset
from mtopt import Batch
from mtopt.data import (
    ArraySplit,
    Dataset,
    StreamSplit,
    augmented,
    describe,
    fingerprint,
    join,
    multi_digits,
    summary,
)
from mtopt.data.augment.sample import Sample
from mtopt.data.batches import Batches
from mtopt.data.encodings import encoding_from_json, encoding_of, encoding_to_json
from mtopt.data.random_access import BatchSource
from mtopt.errors import UserError

BY = "scale_crop(scales=(1.0, 2.0)) + flip"
SIZE, N = (6, 8), 9
KINDS = {"depth": 1, "regression": 1, "segmentation": 64}


def pixels(first=0):
    """Images whose first channel is their number, the second the pixel's."""
    image = np.zeros((N, *SIZE, 3), np.uint8)
    image[..., 0] = (first + np.arange(N))[:, None, None]
    image[..., 1] = np.arange(48).reshape(SIZE)
    return image


def labels(kind, first=0):
    """``[N, ...]``: every label of a pixel is the pixel's number."""
    if kind == "regression":
        return np.arange(first, first + N).astype(np.float32)
    dtype = np.int32 if kind == "segmentation" else np.float32
    return np.tile(np.arange(48).reshape(SIZE), (N, 1, 1)).astype(dtype)


def of_kind(kind, *, streamed=False, first=0, **options):
    batch = Batch.shared(pixels(first), {kind: labels(kind, first)})
    split = StreamSplit(BatchSource(batch)) if streamed else ArraySplit(batch, None)
    return Dataset(
        f"of {kind}", (kind,), kind, KINDS[kind], None, *[split] * 3, **options
    )


class Scenes:
    """The same as a source of all kinds."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        y = tuple(labels(kind)[i][None] for kind in sorted(KINDS))
        return {"x": pixels()[i], "y": y}


def scenes(streamed):
    if not streamed:
        return join(*map(of_kind, KINDS), shared_inputs=True)
    source = Scenes()
    groups = [
        Dataset(
            f"of {kind}",
            (kind,),
            kind,
            KINDS[kind],
            None,
            *[StreamSplit(source, group=g)] * 3,
        )
        for g, kind in enumerate(sorted(KINDS))
    ]
    return join(*groups, shared_inputs=True)


def disjoint(streamed):
    """Two tasks of pixels, each on images of its own."""
    samples = {
        name: (pixels(first), labels("segmentation"))
        for name, first in (("a", 0), ("b", 100))
    }
    batch = Batch.disjoint(samples)
    split = StreamSplit.of(batch, 0) if streamed else ArraySplit(batch, 0)
    return Dataset("own", ("a", "b"), "segmentation", 64, 0, *[split] * 3)


@dataclasses.dataclass(frozen=True)
class Darker:
    """A transformation of one's own."""

    factor: float = 0.5
    random = True

    def __call__(self, sample, key):
        share = self.factor * jax.random.uniform(key)
        image = sample.image * (1 - share)
        return Sample(image.astype(sample.image.dtype), sample.labels)


def first(split, count, seeds=(0,), start=0, batch_size=4):
    batches = split.batches(batch_size, seeds=seeds, start=start)
    found = itertools.islice(batches, count)
    return [jax.tree.map(np.asarray, batch) for batch in found]


def equal(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(p, q) for p, q in pairs)


FORMS = {
    "one kind": lambda streamed: of_kind("segmentation", streamed=streamed),
    "one input": scenes,
    "own inputs": disjoint,
    "joined": lambda streamed: join(
        of_kind("segmentation", streamed=streamed),
        of_kind("depth", streamed=streamed, first=100),
    ),
}
EVERY = pytest.mark.parametrize("form", FORMS)
BOTH = pytest.mark.parametrize("streamed", [False, True])


@EVERY
@BOTH
def test_a_resumed_run_sees_the_very_same_images(form, streamed):
    data = augmented(FORMS[form](streamed), BY)
    whole = first(data.train, 9, seeds=(0, 5))
    again = augmented(FORMS[form](streamed), BY)
    for start in (1, 4, 7):
        resumed = first(again.train, 9 - start, seeds=(0, 5), start=start)
        assert all(equal(a, b) for a, b in zip(whole[start:], resumed, strict=True))
    # Without a change of what is drawn, or of its labels' types.
    plain = first(FORMS[form](streamed).train, 9, seeds=(0, 5))
    for a, b in zip(whole, plain, strict=True):
        assert equal(a.mask, b.mask)
        for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
        for one, other in zip(jax.tree.leaves(a.x), jax.tree.leaves(b.x), strict=True):
            np.testing.assert_array_equal(one[..., 0, 0, 0], other[..., 0, 0, 0])
            assert not equal(one, other)


@EVERY
@BOTH
def test_labels_of_pixels_are_those_of_the_pixels_that_an_image_shows(form, streamed):
    """Drawn alike for all groups: the classes are the numbers of the pixels."""
    data = augmented(FORMS[form](streamed), BY)
    for batch in first(data.train, 4, seeds=(0, 1)):
        x = batch.x if isinstance(batch.x, tuple) else (batch.x,)
        y = batch.y if isinstance(batch.y, tuple) else (batch.y,)
        kinds = [group.kind for group in data.groups]
        numbers = None
        for g, (kind, own) in enumerate(zip(kinds, y, strict=True)):
            image = x[g] if len(x) > 1 else x[0]
            seen = image[..., 1].astype(float)
            if form != "own inputs":
                seen = seen[:, None]
            if kind == "segmentation":
                # Between pixels: a quarter of a row (of 8) and of a column apart.
                assert (abs(seen - own) <= 2).all()
                numbers = own
            if kind == "regression":
                np.testing.assert_array_equal(own[:, 0], image[..., 0, 0, 0])
        if form == "one input":
            depth = y[kinds.index("depth")]
            enlarged = depth.max(axis=(-1, -2)) < 24
            factor = np.where(enlarged, 2, 1)[..., None, None]
            np.testing.assert_array_equal(depth * factor, numbers)
            assert enlarged.any()
            assert not enlarged.all()


def test_inverse_depths_are_told_by_the_data_set():
    near, far = (
        augmented(of_kind("depth", inverse_depth=inverse), "scale_crop(scales=(2.0,))")
        for inverse in (True, False)
    )
    for a, b in zip(first(near.train, 3), first(far.train, 3), strict=True):
        np.testing.assert_array_equal(a.y, 4 * b.y)
    assert fingerprint(near) != fingerprint(far)


def test_seeds_steps_and_places_draw_their_own():
    data = augmented(of_kind("segmentation"), BY)
    both, alone = first(data.train, 6, seeds=(3, 8)), first(data.train, 6, seeds=(8,))
    for a, b in zip(both, alone, strict=True):
        assert equal(a.x[1:], b.x)
    # All samples are one picture but for their number: what differs was drawn.
    shown = np.concatenate([b.x[..., 1].reshape(-1, 48) for b in both])
    assert len(np.unique(shown, axis=0)) > 20


@EVERY
def test_batches_in_memory_are_made_inside_of_a_compiled_program(form):
    data = augmented(FORMS[form](False), BY)
    batches = data.train.batches(4, seeds=(0, 1))
    assert isinstance(batches, Batches)
    part = next(batches.parts)
    inside = jax.jit(batches.make)(batches.common, part)
    assert equal(inside, first(data.train, 1, seeds=(0, 1))[0])
    other = data.train.batches(4, seeds=(0, 1))
    assert isinstance(other, Batches)
    assert other.make == batches.make
    assert hash(other.make) == hash(batches.make)


@BOTH
def test_each_group_alone_sees_the_images_of_all(streamed):
    data = augmented(scenes(streamed), BY)
    together = first(data.train, 4, seeds=(0, 1))
    for g, group in enumerate(data.groups):
        alone = first(group.train, 4, seeds=(0, 1))
        for a, b in zip(alone, together, strict=True):
            assert equal((a.x, a.y), (b.x, b.y[g]))


@EVERY
@BOTH
def test_nothing_is_random_in_evaluation(form, streamed):
    plain = FORMS[form](streamed)
    data = augmented(plain, BY)
    assert data.valid is plain.valid
    assert data.test is plain.test
    for a, b in zip(data.train.in_order(4), plain.train.in_order(4), strict=True):
        assert equal(a, b)


@BOTH
def test_what_reads_no_key_is_done_to_every_part(streamed):
    plain = scenes(streamed)
    half = "(0.5, 0.5, 0.5)"
    data = augmented(plain, f"flip + normalise(mean={half}, std={half})")
    for part in ("train", "valid", "test"):
        parts = (getattr(each, part).in_order(4) for each in (data, plain))
        for a, b in zip(*parts, strict=True):
            assert a.x.dtype == jnp.float32
            np.testing.assert_allclose(a.x, np.asarray(b.x) / 127.5 - 1, atol=1e-6)
            assert equal((a.y, a.mask), (b.y, b.mask))
    (batch,) = first(data.train, 1)
    number = np.round((batch.x[0, :, 0, 0, 0] + 1) * 127.5)
    np.testing.assert_array_equal(number, batch.y[1][0, 0])


def test_raw_images_are_normalised_for_a_trained_model():
    data = augmented(of_kind("depth"), "flip + normalise")
    encoding = encoding_of(data)
    raw = pixels()
    (batch,) = data.test.in_order(N)
    np.testing.assert_allclose(encoding(raw), batch.x, atol=1e-6)
    stored = json.loads(json.dumps(encoding_to_json(encoding)))
    assert encoding_from_json(stored) == encoding
    with pytest.raises(UserError, match="as the model was trained on"):
        encoding(raw[:, :3])
    unchanged = encoding_of(augmented(of_kind("depth"), BY))
    assert unchanged == encoding_of(of_kind("depth"))


def test_it_is_described_and_known_by_what_is_done():
    plain = scenes(False)
    one, other = (augmented(plain, by) for by in ("flip", BY))
    prints = {fingerprint(data) for data in (plain, one, other, augmented(plain, BY))}
    assert len(prints) == 3
    assert f"augment  training images, by {BY}" in summary(describe(other))
    assert "augment" not in summary(describe(plain))
    found = describe(other)["groups"][0]["tasks"]["depth"]
    assert found["labels"] == {"train": N, "valid": N, "test": N}


def test_a_text_says_it_for_any_data_set():
    counts = "multi_digits(num_train=8, num_valid=4, num_test=4)"
    data = load_dataset(f"augmented({counts}, by='colour')", None)
    plain = multi_digits(num_train=8, num_valid=4, num_test=4)
    for a, b in zip(
        first(data.train, 3), first(augmented(plain, "colour").train, 3), strict=True
    ):
        assert equal(a, b)
    other = "related_tasks"
    for text, message in (
        (f"augmented({counts})", "needs by"),
        (f"augmented({counts}, {counts}, by='flip')", "around 2 data sets"),
        (f"augmented({other}, by='flip')", "augmentation takes images"),
    ):
        with pytest.raises(UserError, match=message):
            load_dataset(text, None)


@BOTH
def test_sources_that_are_augmented_each_are_joined(streamed):
    one, two = (
        of_kind(kind, streamed=streamed, first=100 * (kind == "depth"))
        for kind in ("segmentation", "depth")
    )
    changed = augmented(two, "flip(share=1.0)")
    data = join(one, changed, batch_size=(4, 2))
    alone = first(changed.train, 3, batch_size=2)
    plain = first(one.train, 3)
    found = first(data.train, 3)
    assert isinstance(data.train.batches(4, seeds=(0,)), Batches) == (not streamed)
    for both, a, b in zip(found, alone, plain, strict=True):
        assert equal((both.x, both.y), ((a.x, b.x), (a.y, b.y)))


def test_a_transformation_of_ones_own_is_named_by_its_module():
    data = augmented(of_kind("depth"), f"flip + {__name__}:Darker(factor=1.0)")
    seen = np.concatenate([b.x[..., 1].max(axis=(2, 3)) for b in first(data.train, 4)])
    assert len(np.unique(seen)) > 8
    assert seen.max() < 47
    same, other = (
        augmented(of_kind("depth"), f"flip + {__name__}:Darker(factor={f})")
        for f in (1.0, 0.9)
    )
    assert fingerprint(data) == fingerprint(same) != fingerprint(other)


def test_misuse_is_one_line():
    rows = ArraySplit(Batch.shared(np.ones((4, 3)), {"a": np.ones(4)}), None)
    table = Dataset("table", ("a",), "regression", 1, None, *[rows] * 3)
    small = Batch.shared(pixels(), {"depth": labels("depth")[:, 1:]})
    smaller = Dataset(
        "smaller", ("depth",), "depth", 1, None, *[ArraySplit(small, None)] * 3
    )
    tree = ArraySplit(Batch.shared({"i": pixels()}, {"a": np.ones(N)}), None)
    several = dataclasses.replace(table, train=tree)
    for data, message in (
        (table, r"of shape \(3,\): augmentation takes images"),
        (smaller, r"labels of 'smaller' are \(5, 8\) pixels, its images \(6, 8\)"),
        (several, "several arrays: augmentation takes images"),
    ):
        with pytest.raises(UserError, match=message) as error:
            augmented(data, "flip")
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="for images of 3 channels"):
        augmented(of_kind("depth"), "normalise(mean=(0.5,), std=(0.5,))")
