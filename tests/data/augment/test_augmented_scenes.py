"""An augmented scene is the rendering of the changed scene, to the pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.data.augment.sample import Labels, Sample
from mtopt.data.augment.transformations import Flip, ScaleCrop
from mtopt.data.images.random_scenes import random_scene
from mtopt.data.images.rendering import Camera, render

CAMERA = Camera(24.0, 11.5, 14.25, 24, 32)


def scenes(count):
    rng = np.random.default_rng(4)
    return [random_scene(rng) for _ in range(count)]


def sample(rendering):
    """All that is known of each pixel, depth with the holes of a sensor."""
    depth = np.where(rendering.holes, 0, rendering.depth)
    number = np.arange(rendering.depth.size).reshape(rendering.depth.shape)
    labels = (
        Labels(jnp.asarray(rendering.classes[None], jnp.int32), "segmentation"),
        Labels(jnp.asarray(depth[None], jnp.float32), "depth"),
        Labels(jnp.asarray(rendering.normals[None], jnp.float32), "normals"),
        Labels(jnp.asarray(number[None], jnp.int32), "segmentation"),
    )
    return Sample(jnp.asarray(rendering.image, jnp.float32), labels)


def assert_equal(found, expected):
    for one, other in zip(found.labels[:3], expected.labels, strict=False):
        np.testing.assert_array_equal(one.values, other.values)


def test_a_flip_is_the_rendering_of_the_mirrored_scene():
    for scene in scenes(8):
        found = Flip(1.0)(sample(render(scene, CAMERA)), jax.random.key(0))
        expected = sample(render(scene.mirrored(), CAMERA.mirrored()))
        np.testing.assert_array_equal(found.image, expected.image)
        assert_equal(found, expected)


@pytest.mark.parametrize("inverse", [False, True])
def test_a_window_is_the_rendering_of_a_part_twice_as_large_and_as_near(inverse):
    places = set()
    for i, scene in enumerate(scenes(8)):
        whole = sample(render(scene, CAMERA))
        if inverse:
            depth = whole.labels[1].values
            shown = jnp.where(depth > 0, 1 / depth, 0)
            whole = Sample(
                whole.image,
                (whole.labels[0], Labels(shown, "depth", inverse), *whole.labels[2:]),
            )
        found = ScaleCrop((2.0,))(whole, jax.random.key(i))
        # The numbers of the pixels tell which window it is.
        top, left = divmod(int(found.labels[3].values[0, 0, 0]), 32)
        places.add((top, left))
        part = sample(render(scene, CAMERA.window(top, left, 12, 16)))
        classes, depth, normals, _ = (
            np.asarray(labels.values).repeat(2, 1).repeat(2, 2)
            for labels in part.labels
        )
        near = depth / 2
        if inverse:
            near = np.where(depth > 0, 2 * (1 / np.where(depth > 0, depth, 1)), 0)
        for labels, own in zip(found.labels, (classes, near, normals), strict=False):
            np.testing.assert_array_equal(labels.values, own.astype(np.float32))
    assert len(places) > 5
