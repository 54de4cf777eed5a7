"""Each transformation by hand, to the pixel, and its labels with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.data.augment.sample import Labels, Sample
from mtopt.data.augment.transformations import (
    LUMA,
    Colour,
    Flip,
    Normalise,
    ScaleCrop,
    transformations,
)
from mtopt.errors import UserError

SIZE = (6, 8)


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def over_keys(transformation, sample, count=64):
    """What many keys make of one sample, as NumPy arrays."""
    found = jax.vmap(lambda key: transformation(sample, key))(keys(count))
    return jax.tree.map(np.asarray, found)


def hand_made():
    """A sample of all kinds with holes, every pixel another value."""
    rng = np.random.default_rng(0)
    number = np.arange(48).reshape(SIZE)
    classes = np.where(number % 7 == 3, -1, number).astype(np.int8)[None]
    depth = np.where(number % 5 == 2, 0, number + 1.0).astype(np.float16)[None]
    normals = rng.normal(size=(1, *SIZE, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[:, number % 6 == 1] = 0
    labels = (
        Labels(jnp.asarray(classes), "segmentation"),
        Labels(jnp.asarray(depth), "depth"),
        Labels(jnp.asarray(depth), "depth", inverse=True),
        Labels(jnp.asarray(normals), "normals"),
        Labels(jnp.array([3, 5]), "classification"),
    )
    image = jnp.asarray(rng.integers(0, 256, (*SIZE, 3)), jnp.uint8)
    return Sample(image, labels)


def test_a_flip_mirrors_every_array_and_the_first_component_of_normals():
    sample = hand_made()
    found = jax.tree.map(np.asarray, Flip(1.0)(sample, jax.random.key(0)))
    np.testing.assert_array_equal(found.image, np.asarray(sample.image)[:, ::-1])
    for own, before in zip(found.labels[:3], sample.labels, strict=False):
        np.testing.assert_array_equal(own.values, np.asarray(before.values)[:, :, ::-1])
    normals = np.asarray(sample.labels[3].values)[:, :, ::-1]
    expected = normals * np.array([-1, 1, 1], np.float32)
    np.testing.assert_array_equal(found.labels[3].values, expected)
    none = ~normals.any(axis=-1)
    assert none.any()
    assert not np.signbit(found.labels[3].values[none]).any()
    assert found.labels[4].values.tolist() == [3, 5]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_images_is_flipped_all_labels_together(share):
    sample = hand_made()
    found = over_keys(Flip(share), sample, 400)
    turned = (found.image != np.asarray(sample.image)).any(axis=(1, 2, 3))
    for labels, before in zip(found.labels[:4], sample.labels, strict=False):
        others = labels.values != np.asarray(before.values)[None]
        assert (others.reshape(400, -1).any(axis=1) == turned).all()
    assert abs(turned.mean() - share) < 0.07


def test_a_flip_commutes_with_taking_the_normals_of_a_surface():
    """Of heights z(x, y), seen from above: normals are (-dz/dx, -dz/dy, 1)."""

    def normals(z):
        rows, columns = np.gradient(z)
        n = np.stack([-columns, -rows, np.ones_like(z)], axis=-1)
        return n / np.linalg.norm(n, axis=-1, keepdims=True)

    y, x = np.mgrid[:6, :8]
    z = 5 + 0.3 * x - 0.2 * y + 0.05 * x * y
    labels = (
        Labels(jnp.asarray(z[None], jnp.float32), "depth"),
        Labels(jnp.asarray(normals(z)[None], jnp.float32), "normals"),
    )
    image = jnp.zeros((6, 8, 1))
    depth, found = Flip(1.0)(Sample(image, labels), jax.random.key(0)).labels
    expected = normals(np.asarray(depth.values[0], np.float64))
    np.testing.assert_allclose(found.values[0], expected, atol=2e-6)


def test_a_window_of_half_the_size_by_hand():
    """Every pixel of the window stands four times, from each of all places."""
    ramp = np.arange(48.0).reshape(SIZE)
    sample = Sample(
        jnp.zeros((*SIZE, 1)),
        (
            Labels(jnp.asarray(ramp[None]), "segmentation"),
            Labels(jnp.asarray(ramp[None]), "depth"),
            Labels(jnp.asarray(ramp[None]), "depth", inverse=True),
        ),
    )
    found = over_keys(ScaleCrop((2.0,)), sample, 200)
    classes = found.labels[0].values[:, 0]
    corners = {divmod(int(corner), 8) for corner in classes[:, 0, 0]}
    assert corners == {(i, j) for i in range(4) for j in range(5)}
    for own in classes:
        i, j = divmod(int(own[0, 0]), 8)
        window = ramp[i : i + 3, j : j + 4]
        np.testing.assert_array_equal(own, window.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(found.labels[1].values[:, 0], classes / 2)
    np.testing.assert_array_equal(found.labels[2].values[:, 0], classes * 2)


@pytest.mark.parametrize("scale", [1.2, 1.5, 2.0, 3.0])
def test_images_and_labels_are_sampled_at_the_same_places(scale):
    """Of an image that is its own column, a pixel shows where it was sampled."""
    column = np.tile(np.arange(30.0), (24, 1)).astype(np.float32)
    row = np.tile(np.arange(24.0)[:, None], (1, 30)).astype(np.float32)
    labels = Labels(jnp.asarray(np.stack([row, column])), "segmentation")
    image = jnp.asarray(np.stack([row, column], axis=-1))
    found = over_keys(ScaleCrop((scale,)), Sample(image, (labels,)), 20)
    for seen, near in zip(found.image, found.labels[0].values, strict=True):
        for axis, length in ((0, 24), (1, 30)):
            at = np.moveaxis(seen[..., axis], axis, 0)[:, 0]
            pixel = np.moveaxis(near[axis], axis, 0)[:, 0]
            assert (abs(at - pixel) <= 0.5 + 1e-4).all()
            inner = at[1:-1]
            np.testing.assert_allclose(np.diff(inner), 1 / scale, atol=1e-4)
            # The centres of a window that begins on a whole pixel.
            start = inner[0] + 0.5 - 1.5 / scale
            assert abs(start - round(start)) < 1e-4
            assert 0 <= round(start) <= length - length / scale + 1e-6


def test_depths_of_a_plane_are_those_of_one_as_much_nearer():
    """A pinhole sees a plane before it at 1 / depth linear in the pixels."""
    y, x = np.mgrid[:24, :30]
    depth = 1 / (0.2 + 0.004 * x - 0.003 * y)
    sample = Sample(
        jnp.zeros((24, 30, 1)),
        (
            Labels(jnp.asarray(depth[None], jnp.float32), "depth"),
            Labels(jnp.asarray(1 / depth[None], jnp.float32), "depth", inverse=True),
        ),
    )
    found = over_keys(ScaleCrop((1.0, 1.5, 2.5)), sample, 30)
    near, inverse = (labels.values[:, 0] for labels in found.labels)
    np.testing.assert_allclose(near * inverse, 1, rtol=1e-5)
    scales = set()
    for one in inverse:
        # Enlarged by s, the same slope covers s pixels, and all is s times as much.
        slope = np.polyfit(np.arange(30), one[0].astype(float), 1)[0] / 0.004
        rise = np.polyfit(np.arange(24), one[:, 0].astype(float), 1)[0] / -0.003
        assert abs(slope - 1) < 0.15
        assert abs(rise - 1) < 0.15
        scales.add(round(float(one.mean() / 0.2), 0))
    assert len(scales) == 3


def test_nothing_is_mixed_with_a_hole_and_no_hole_is_filled():
    sample = hand_made()
    found = over_keys(ScaleCrop((0.75, 1.0, 1.5)), sample)
    classes, depth, _, normals, others = (labels.values for labels in found.labels)
    assert set(np.unique(classes)) <= {-1, *np.unique(sample.labels[0].values)}
    before = np.asarray(sample.labels[1].values, np.float32)
    known = {0.0}
    for scale in (0.75, 1.0, 1.5):
        known |= set(np.float16(before / np.float32(scale)).ravel().tolist())
    assert set(np.unique(depth).tolist()) <= known
    lengths = np.linalg.norm(normals, axis=-1)
    assert ((lengths == 0) | (abs(lengths - 1) < 1e-6)).all()
    # Holes are where they are in the classes that were beside them.
    number = np.arange(48).reshape(SIZE)
    seen = classes >= 0
    np.testing.assert_array_equal(depth[seen] == 0, classes[seen] % 5 == 2)
    np.testing.assert_array_equal(lengths[seen] == 0, classes[seen] % 6 == 1)
    assert number.max() == 47
    assert (others == np.array([3, 5])).all()


def test_outside_of_the_image_there_is_nothing():
    ones = jnp.ones((1, *SIZE))
    sample = Sample(
        jnp.full((*SIZE, 3), 200, jnp.uint8),
        (
            Labels(ones.astype(jnp.int32), "segmentation"),
            Labels(ones, "depth"),
            Labels(jnp.stack([ones] * 3, axis=-1), "normals"),
        ),
    )
    found = over_keys(ScaleCrop((0.5,)), sample)
    places = set()
    for i in range(len(found.image)):
        inside = found.image[i, ..., 0] == 200
        rows, columns = inside.any(axis=1), inside.any(axis=0)
        assert (inside == np.outer(rows, columns)).all()
        assert (rows.sum(), columns.sum()) == (3, 4)
        places.add((rows.argmax(), columns.argmax()))
        assert (found.image[i][~inside] == 0).all()
        classes, depth, normals = (labels.values[i, 0] for labels in found.labels)
        assert ((classes == 1) == inside).all()
        assert (classes[~inside] == -1).all()
        assert (depth == np.where(inside, 2, 0)).all()
        assert (normals == inside[..., None]).all()
    assert len(places) > 8


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float16, jnp.bfloat16, jnp.float32])
def test_a_scale_of_one_changes_no_bit(dtype):
    sample = hand_made()
    image = (sample.image / 255).astype(dtype)
    if dtype == jnp.uint8:
        image = sample.image
    sample = Sample(image, sample.labels)
    found = ScaleCrop((1.0,))(sample, jax.random.key(0))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(sample), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_every_scale_is_drawn_as_often():
    sample = Sample(jnp.zeros((*SIZE, 1)), (Labels(jnp.ones((1, *SIZE)), "depth"),))
    found = over_keys(ScaleCrop((1.0, 2.0, 4.0)), sample, 600)
    drawn = 1 / found.labels[0].values[:, 0, 0, 0]
    assert {s: abs((drawn == s).mean() - 1 / 3) < 0.07 for s in (1, 2, 4)} == {
        1: True,
        2: True,
        4: True,
    }


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colours_are_those_of_three_steps_one_after_another(channels):
    x = np.random.default_rng(1).uniform(0.3, 0.6, (*SIZE, channels))
    weights = np.array(LUMA if channels == 3 else [1 / channels] * channels)

    def by_hand(b, c, s):
        y = b * x
        mean = (y @ weights).mean()
        y = mean + c * (y - mean)
        grey = (y @ weights)[..., None]
        return grey + s * (y - grey)

    changed = Colour(0.3, 0.4, 0.5)
    for key in keys(10):
        drawn = np.asarray(jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0))
        expected = by_hand(*(1 + np.array([0.3, 0.4, 0.5]) * drawn))
        found = changed(Sample(jnp.asarray(x, jnp.float32), ()), key).image
        np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-6)
        pixels = jnp.asarray(np.round(x * 255), jnp.uint8)
        whole = changed(Sample(pixels, ()), key).image
        assert whole.dtype == jnp.uint8
        assert abs(np.asarray(whole) / 255 - np.clip(expected, 0, 1)).max() < 0.008
    assert np.ptp([float(over.mean()) for over in found]) > 0


def test_colours_stay_in_range_and_labels_as_they_are():
    sample = hand_made()
    found = over_keys(Colour(1.0, 1.0, 1.0), sample)
    assert len(np.unique(found.image[:, 0, 0, 0])) > 20
    for own, before in zip(found.labels, sample.labels, strict=True):
        assert (own.values == np.asarray(before.values)[None]).all()
    floats = Sample(sample.image / 255, ())
    image = over_keys(Colour(1.0, 1.0, 1.0), floats).image
    assert (image.min(), image.max()) == (0, 1)


def test_channels_are_normalised_by_their_moments():
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    found = Normalise()(Sample(jnp.asarray(image), ()), jax.random.key(0)).image
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(found, (image / 255 - mean) / std, rtol=1e-5, atol=1e-6)
    assert found.dtype == jnp.float32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crop", "no augmentation 'crop': "),
        ("flip +", "cannot read the augmentation"),
        ("flip(scale_crop)", "cannot read the augmentation"),
        ("flip(half=0.5)", "has no option 'half'"),
        ("flip(share=1.5)", "share is 1.5"),
        ("scale_crop(scales=())", "expected one number or more"),
        ("scale_crop(scales=(0,))", "scales is 0"),
        ("colour(contrast=-1.0)", "contrast is -1.0"),
        ("normalise(mean=(0.5,))", "expected as many numbers in each"),
        ("normalise(mean=(0.5,), std=(0,))", "std is 0"),
        ("normalise + flip", "'normalise' stands before 'flip'"),
        ("math:sqrt", "math:sqrt"),
    ],
)
def test_a_text_that_cannot_be_one_is_one_line(text, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")) as error:
        transformations(text)
    assert "\n" not in str(error.value)
