"""Pooling that keeps where the maxima were, and unpooling at those places."""

import jax
import jax.numpy as jnp
import numpy as np

from mtopt.models.unpooling import max_pool_with_places, unpool
from tests.helpers.networks import joined_windows, pooled, split_windows

MAPS = [
    [1.0, 2.0, 7.0, 0.0],
    [3.0, 0.0, 6.0, 5.0],
    [4.0, 4.0, -3.0, -2.0],
    [4.0, 1.0, -1.0, -4.0],
]
"""Maxima in the lower left, upper left, upper left of three equal, lower left."""


def test_a_map_of_four_by_four_pixels():
    maxima, places = max_pool_with_places(jnp.array(MAPS).reshape(1, 4, 4, 1))
    assert maxima[0, :, :, 0].tolist() == [[3, 7], [4, -1]]
    assert places[0, :, :, 0].tolist() == [[2, 0], [0, 2]]
    assert places.dtype == np.uint8
    back = unpool(jnp.array([[10.0, 20.0], [30.0, 40.0]]).reshape(1, 2, 2, 1), places)
    assert back[0, :, :, 0].tolist() == [
        [0, 0, 20, 0],
        [10, 0, 0, 0],
        [30, 0, 0, 0],
        [0, 0, 40, 0],
    ]


def test_the_gradient_of_a_maximum_goes_to_one_pixel_the_first_of_equal_ones():
    x = jnp.array(MAPS).reshape(1, 4, 4, 1)
    slopes = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    (found,) = jax.vjp(lambda x: max_pool_with_places(x)[0], x)[1](slopes)
    assert found[0, :, :, 0].tolist() == [
        [0, 0, 2, 0],
        [1, 0, 0, 0],
        [3, 0, 0, 0],
        [0, 0, 4, 0],
    ]


def test_many_maps_at_once_mapped_and_compiled():
    x = jax.random.normal(jax.random.key(0), (3, 2, 6, 4, 5))
    v = jax.random.normal(jax.random.key(1), (3, 2, 3, 2, 5))

    def there_and_back(x, v):
        maxima, places = max_pool_with_places(x)
        return maxima, places, unpool(v, places)

    maxima, places, back = jax.jit(jax.vmap(there_and_back))(x, v)
    for k in range(3):
        windows = split_windows(x[k])
        np.testing.assert_array_equal(maxima[k], pooled(x[k]))
        np.testing.assert_array_equal(places[k], windows.argmax(axis=3))
        alone = windows == windows.max(axis=3, keepdims=True)
        expected = joined_windows(np.where(alone, np.asarray(v[k])[:, :, :, None], 0))
        np.testing.assert_array_equal(back[k], expected)
