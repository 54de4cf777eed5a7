"""The two penalties on saliencies, as plain functions."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.wrappers.saliency import (
    cross_task_saliency_alignment,
    task_saliency_regulation,
)
from tests.helpers.close import assert_close
from tests.helpers.saliency import FORMS, alignment, random, regulation

regulations = {
    name: jax.jit(functools.partial(task_saliency_regulation, **options))
    for name, options in FORMS.items()
}
tsr = regulations["literal"]
csa = jax.jit(cross_task_saliency_alignment, static_argnames="anchor")
ANCHORS = pytest.mark.parametrize("anchor", ["tasks", "mean"])
# More channels than places, and fewer; [B, C] and [B, H, W, C].
SHAPES = [(3, 4, 9), (2, 4, 3, 5, 4)]
AS_MANY = (1, 3, 2, 2)
MORE_TASKS = (5, 3, 2, 2)  # than channels
LARGER = [
    pytest.param((2, 4, 2, 3, 8), marks=pytest.mark.slow),
    pytest.param((3, 4, 6, 6), marks=pytest.mark.slow),
]


def everywhere(saliency):
    return np.ones(saliency.shape[:2], bool)


@functools.cache
def compiled(penalty):
    return jax.jit(jax.value_and_grad(penalty))


def value_and_grad(penalty, saliency):
    value, grad = compiled(penalty)(jnp.asarray(saliency))
    return np.asarray(value), np.asarray(grad)


def test_padding_of_samples_places_and_channels_changes_neither():
    """Sequences of 5 tokens in a batch for 9 of 7: zeros, which no task depends on."""
    saliency = random(2, 3, 5, 4)
    padded = np.pad(saliency, ((0, 0), (0, 1), (0, 4), (0, 3)))
    for penalty in (regulations["balanced"], csa):
        value, gradient = value_and_grad(penalty, np.float32(saliency))
        again, padded_gradient = value_and_grad(penalty, np.float32(padded))
        np.testing.assert_allclose(again, value, rtol=1e-5)
        assert_close(padded_gradient[:, :3, :5, :4], gradient, rtol=1e-5)


# --- task_saliency_regulation ---------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((0.75, 0.25), 0.5623351446188083),
        ((-3e4, 1e4), 0.5623351446188083),
        ((2.0, 2.0), np.log(2)),
        ((1.0, 0.0), 0.0),
        ((7.0, -7.0, 7.0), np.log(3)),
        ((5.0,), 0.0),
    ],
)
def test_the_entropy_of_one_place(sizes, expected):
    with jax.enable_x64(True):
        saliency = jnp.array(sizes)[:, None, None]
        found = tsr(saliency)
        np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("shape", [*SHAPES, *LARGER])
def test_regulation_is_the_equation(shape):
    with jax.enable_x64(True):
        saliency = random(*shape)
        seen = everywhere(saliency)

        @jax.jit
        def both(saliency):
            return [
                [jax.value_and_grad(form)(saliency) for form in forms]
                for forms in (
                    regulations.values(),
                    [lambda s, o=o: regulation(s, seen, **o) for o in FORMS.values()],
                )
            ]

        for found, expected in zip(*both(saliency), strict=True):
            np.testing.assert_allclose(found[0], expected[0], rtol=1e-13, atol=1e-15)
            np.testing.assert_allclose(found[1], expected[1], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("num_tasks", [1, pytest.param(2, marks=pytest.mark.slow), 5])
def test_the_entropy_is_between_0_and_log_k(num_tasks):
    many = np.float32(random(20, num_tasks, 3, 2, 4) ** 3)
    many[0] = many[0, :1]
    found = jax.jit(jax.vmap(tsr))(many)
    assert np.all(found >= 0)
    assert np.all(found <= np.log(num_tasks) + 1e-6)
    np.testing.assert_allclose(found[0], np.log(num_tasks), rtol=1e-6)


def test_a_common_scale_changes_nothing_and_that_of_a_task_does():
    with jax.enable_x64(True):
        saliency = random(3, 4, 2, 5)
        value = tsr(saliency)
        for form in regulations.values():
            scales = np.array([1, 1e-9, -7, 1e12])[:, None, None, None, None]
            scaled = jax.jit(jax.vmap(form))(scales * saliency)
            assert_close(scaled, np.repeat(scaled[:1], 4), rtol=1e-12)
        saliency[1] *= 10
        one_larger = tsr(saliency)
        assert abs(one_larger - value) > 1e-2


def test_its_derivative_in_the_size_of_a_task():
    """-(log P_k + H) / A of every place, over the number of places."""
    with jax.enable_x64(True):
        size = np.abs(random(3, 4))
        sign = np.where(random(3, 4, seed=1) > 0, 1, -1)
        _, found = value_and_grad(tsr, (sign * size)[..., None])
        total = size.sum(axis=0)
        share = size / total
        entropy = -(share * np.log(share)).sum(axis=0)
        expected = -(np.log(share) + entropy) / total / 4
        assert_close(found[..., 0], sign * expected, rtol=1e-11)
        _, at_uniform = value_and_grad(tsr, np.full((3, 4, 2), 2.0))
        np.testing.assert_allclose(at_uniform, 0, atol=1e-15)


def test_channels_of_opposite_sign_cancel():
    both = jnp.array([[[1.0, -1.0]], [[0.25, 0.75]]])
    assert tsr(both) == 0  # all of it is the second task's
    cancelled = jnp.array([[[1.0, -1.0], [1.0, 1.0]], [[-2.0, 2.0], [1.0, 1.0]]])
    found = tsr(cancelled)  # its sample is there and counts
    np.testing.assert_allclose(found, np.log(2) / 2, rtol=1e-6)


def test_places_are_those_of_all_samples():
    saliency = random(3, 4, 2, 5, 6).astype("float32")
    values = [
        tsr(jnp.asarray(saliency.reshape(shape)))
        for shape in [(3, 4, 2, 5, 6), (3, 4, 10, 6), (3, 40, 6), (3, 1, 2, 20, 6)]
    ]
    np.testing.assert_allclose(values, values[0], rtol=1e-6)


# --- cross_task_saliency_alignment ----------------------------------------------------


@ANCHORS
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_orthogonal_and_identical_samples(temperature, anchor):
    with jax.enable_x64(True):
        options = {"temperature": temperature, "anchor": anchor}
        orthogonal = jnp.eye(2)[None]
        found = csa(orthogonal, **options)
        np.testing.assert_allclose(found, -1 / temperature, rtol=1e-14)
        for num_tasks, batch in ((1, 2), (3, 4)):
            same = jnp.broadcast_to(jnp.array([3.0, -1.0, 2.0]), (num_tasks, batch, 3))
            found = csa(same, **options)
            np.testing.assert_allclose(found, np.log(batch - 1), atol=1e-13)


@pytest.mark.parametrize(
    ("shape", "anchor"),
    [
        *((shape, "tasks") for shape in [*SHAPES, AS_MANY, MORE_TASKS]),
        (SHAPES[1], "mean"),
        *(
            pytest.param(shape, "mean", marks=pytest.mark.slow)
            for shape in [SHAPES[0], AS_MANY]
        ),
        *(pytest.param(*large.values, "tasks", marks=large.marks) for large in LARGER),
    ],
)
def test_factored_is_explicit(shape, anchor):
    with jax.enable_x64(True):
        saliency = random(*shape)
        seen = everywhere(saliency)

        def factored(s):
            return csa(s, temperature=0.3, anchor=anchor)

        found = value_and_grad(factored, saliency)
        expected = value_and_grad(lambda s: alignment(s, seen, 0.3, anchor), saliency)
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-12)


@ANCHORS
def test_what_alignment_does_not_see(anchor):
    with jax.enable_x64(True):
        saliency = jnp.asarray(random(3, 4, 5, 6))

        def value(s):
            return csa(s, anchor=anchor)

        expected = value(saliency)
        rotation, _ = np.linalg.qr(random(6, 6, seed=1))
        per_sample = jnp.array([1.0, -1e-9, 1e6, 3.0])[None, :, None, None]
        for same in (saliency @ rotation, saliency * per_sample, saliency[:, :, ::-1]):
            assert_close(value(same), expected, rtol=1e-11)
        per_task = jnp.array([1.0, 5.0, 1.0])[:, None, None, None]
        assert abs(value(saliency * per_task) - expected) > 1e-3


def test_similarities_are_between_0_and_1():
    """Negatives of a task in one place, where they are squared cosines; positives."""
    penalty = jax.jit(jax.vmap(csa))
    pairs = np.float32(random(50, 1, 2, 3))
    negative = 1 + 0.5 * np.asarray(penalty(pairs))  # the positive is 1, tau 0.5
    a, b = np.float64(pairs[:, 0, 0]), np.float64(pairs[:, 0, 1])
    expected = (a * b).sum(1) ** 2 / (a * a).sum(1) / (b * b).sum(1)
    np.testing.assert_allclose(negative, expected, atol=1e-6)
    assert np.all(negative <= 1 + 1e-6)

    # Two samples in channels of their own are orthogonal: positives alone are left.
    apart = np.zeros((50, 3, 2, 4, 10), np.float32)
    apart[:, :, 0, :, :5] = random(50, 3, 4, 5, seed=1)
    apart[:, :, 1, :, 5:] = random(50, 3, 4, 5, seed=2)
    positive = -0.5 * np.asarray(penalty(apart))
    assert np.all(positive >= 0)
    assert np.all(positive <= 1)


@pytest.mark.parametrize(
    ("num_tasks", "places", "channels"), [(2, 5, 97), (2, 97, 5), (97, 2, 5)]
)
def test_no_product_of_the_longest_axis_with_itself_is_built(
    num_tasks, places, channels
):
    """Of 97 channels by 97 where places are fewer, nor of places, nor of tasks."""

    def penalty(saliency):
        return csa(saliency)

    saliency = jnp.ones((num_tasks, 3, places, channels))
    function = jax.value_and_grad(penalty)
    program = jax.jit(function).lower(saliency).compile().as_text()
    for text in (program, str(jax.make_jaxpr(function)(saliency))):
        shapes = [found.split(",") for found in re.findall(r"\[([\d,]+)\]", text)]
        assert any(shape.count("97") == 1 for shape in shapes)
        assert not any(shape.count("97") > 1 for shape in shapes)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 1, 3), {}, "a batch of two at least"),
        ((2, 2, 3), {"temperature": 0}, "temperature is 0"),
        ((2, 2, 3), {"anchor": "task"}, "anchor is 'task'"),
    ],
)
def test_what_alignment_cannot_do_is_said(shape, options, message):
    with pytest.raises(mtopt.UserError, match=message):
        cross_task_saliency_alignment(jnp.ones(shape), **options)


# --- both: sizes, zeros ---------------------------------------------------------------

PENALTIES = pytest.mark.parametrize(
    ("penalty", "equation"),
    [
        (tsr, functools.partial(regulation, **FORMS["literal"])),
        pytest.param(regulations["smoothed"], regulation, marks=pytest.mark.slow),
        (regulations["balanced"], functools.partial(regulation, **FORMS["balanced"])),
        (csa, alignment),
        (
            lambda s: csa(s, anchor="mean"),
            lambda s, seen: alignment(s, seen, anchor="mean"),
        ),
    ],
    ids=[*FORMS, "csa tasks", "csa mean"],
)


@PENALTIES
@pytest.mark.parametrize("size", [1e-25, 1e-9, 1e15])
def test_saliencies_of_any_size_count_as_those_of_1(penalty, equation, size):
    """In float32, where 1e-25 and 1e15 have no fourth power."""
    saliency = random(3, 4, 2, 5).astype("float32")
    value, grad = value_and_grad(penalty, saliency)
    found, found_grad = value_and_grad(penalty, np.float32(size) * saliency)
    assert_close(found, value, rtol=1e-5)
    np.testing.assert_allclose(
        found_grad * np.float32(size), grad, rtol=1e-3, atol=1e-6
    )
    with jax.enable_x64(True):
        seen = everywhere(saliency)
        exact = jax.jit(lambda s: equation(s, seen))(np.float64(saliency))
    assert_close(value, exact, rtol=1e-5)


@PENALTIES
@pytest.mark.parametrize(
    "lowest",
    [
        *("a task", "a sample", "some"),
        pytest.param("all but one task", marks=pytest.mark.slow),
    ],
)
def test_zeros_are_as_if_they_were_not_there(penalty, equation, lowest):
    seen = np.ones((3, 4), bool)
    if lowest == "a task":
        seen[1] = False
    elif lowest == "a sample":
        seen[:, 2] = False
    elif lowest == "some":
        seen[[0, 1, 0, 2], [0, 0, 1, 3]] = False
    else:
        seen[1:] = False
    with jax.enable_x64(True):
        saliency = random(3, 4, 2, 5) * seen[:, :, None, None]
        value, grad = value_and_grad(penalty, saliency)
        expected, slopes = value_and_grad(lambda s: equation(s, seen), saliency)
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-13)
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(grad[seen], slopes[seen], rtol=1e-10, atol=1e-13)


@PENALTIES
def test_nothing_seen_is_no_penalty(penalty, equation):
    del equation
    value, grad = value_and_grad(penalty, np.zeros((3, 4, 2, 5), np.float32))
    assert value == 0
    assert np.all(grad == 0)


@ANCHORS
def test_a_single_sample_with_labels_is_aligned_with_nothing(anchor):
    saliency = np.zeros((3, 4, 2, 5), np.float32)
    saliency[:, 1] = random(3, 2, 5)
    value, grad = value_and_grad(lambda s: csa(s, anchor=anchor), saliency)
    assert value == 0
    assert np.all(grad == 0)


@PENALTIES
def test_bfloat16_is_measured_in_float32(penalty, equation):
    del equation
    low = jnp.asarray(random(3, 4, 2, 5), jnp.bfloat16)
    value, grad = value_and_grad(penalty, low)
    assert (value.dtype, grad.dtype) == (np.float32, jnp.bfloat16)
    expected, _ = value_and_grad(penalty, low.astype(jnp.float32))
    assert_close(value, expected, rtol=1e-6)
