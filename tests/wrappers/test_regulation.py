"""What TSR pulls towards, and how hard: its bounds, and who owns the places."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.wrappers.saliency import task_saliency_regulation
from tests.helpers.saliency import FORMS, random


@jax.jit
def gradients(saliency):
    """Of all forms, in one program for all places of the same number."""
    return {
        name: jax.grad(functools.partial(task_saliency_regulation, **options))(saliency)
        for name, options in FORMS.items()
    }


def slopes(saliency):
    """How steep each form is at a place, times the number of places ``[N]``."""
    found = gradients(np.float32(saliency))
    count = saliency.shape[1] * saliency.shape[2]
    return {n: np.abs(count * np.asarray(g)).max(axis=(0, 2)) for n, g in found.items()}


def test_a_saliency_that_nearly_cancels_has_a_bounded_gradient():
    """At one place of 256 the channels of both tasks nearly cancel."""
    saliency = random(2, 256, 4)
    saliency[:, 7] -= saliency[:, 7].mean(axis=-1, keepdims=True)
    saliency[:, 7] += [[1e-3], [-2e-4]]
    relative = {name: s[7] / np.median(s) for name, s in slopes(saliency).items()}
    assert relative["literal"] > 300
    assert relative["smoothed"] < 3
    assert relative["balanced"] < 3


@pytest.mark.parametrize("scale", [1.0, 1e-20])
def test_no_place_is_steeper_than_the_smoothing_allows(scale):
    r"""With a >= s r, | log P_k + H | / sum_j a_j is below log(1 / P_min) / (2 s r)."""
    rng = np.random.default_rng(0)
    saliency = rng.normal(size=(2, 256, 4)) * 10.0 ** rng.uniform(-9, 0, (2, 256, 1))
    size = np.abs(saliency.mean(axis=-1))
    floor = 0.03 * np.sqrt((size**2).mean())
    bound = np.log(2 * np.hypot(size.max(), floor) / floor) / (2 * floor)
    found = slopes(scale * saliency)
    assert scale * found["smoothed"].max() < bound
    assert scale * found["literal"].max() > 1e4 * bound


def test_tasks_may_own_places_or_one_may_own_all():
    """The minimum of the entropy starves a task; that of the balanced form does not."""
    all_of_one = np.zeros((3, 6, 2))
    all_of_one[1] = 1
    own = np.repeat(np.eye(3), 2, axis=1)[..., None] * np.ones(2)
    alike = np.ones((3, 6, 2))
    places = np.stack([all_of_one, own, alike])
    with jax.enable_x64(True):
        found = {
            name: jax.jit(
                jax.vmap(functools.partial(task_saliency_regulation, **options))
            )(places)
            for name, options in FORMS.items()
        }
    np.testing.assert_allclose(found["smoothed"], [0, 0, np.log(3)], atol=1e-15)
    np.testing.assert_allclose(found["balanced"], [0, -np.log(3), 0], atol=1e-15)


def test_the_entropy_starves_a_task_and_its_balanced_form_does_not():
    """Descent of the penalty alone, from one task more salient than the other."""
    size = np.random.default_rng(0).uniform(1, 2, size=(2, 32, 1))
    size[0] *= 3

    @jax.jit
    def descend(saliency):
        def step(now, _):
            slope = {
                name: jax.grad(functools.partial(task_saliency_regulation, **options))
                for name, options in FORMS.items()
            }
            return {n: now[n] - 4 * slope[n](now[n]) for n in now}, None

        start = dict.fromkeys(FORMS, saliency)
        return jax.lax.scan(step, start, None, length=1000)[0]

    def share_of_the_other(saliency):
        size = np.abs(np.asarray(saliency)[..., 0])
        return (size[1] / size.sum(axis=0)).mean()

    found = {n: share_of_the_other(s) for n, s in descend(jnp.asarray(size)).items()}
    assert share_of_the_other(size) > 0.2
    assert found["literal"] < 0.02
    assert found["smoothed"] < 0.02
    assert found["balanced"] > 0.3


def test_a_negative_smoothing_is_said():
    with pytest.raises(mtopt.UserError, match=r"smoothing is -0.1: .* at least 0"):
        task_saliency_regulation(jnp.ones((2, 2, 3)), smoothing=-0.1)
