"""Checks of options: plain numbers in words, traced ones let through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.errors import (
    UserError,
    expect,
    expect_index,
    expect_number,
    expect_per_task,
    expect_plain,
)
from mtopt.options import as_array, is_traced, is_zero


@pytest.mark.parametrize(
    ("bounds", "good", "bad", "words"),
    [
        ({"above": 0}, (1, 1e-9, np.inf), (0, -1.0, np.nan), "a number above 0"),
        ({"at_least": 0}, (0, 2), (-1e-9,), "a number of at least 0"),
        (
            {"at_least": 0, "below": 1},
            (0, 0.9),
            (-0.1, 1),
            "a number from 0 to below 1",
        ),
        ({"at_least": 0, "at_most": 1}, (0, 1), (-0.1, 1.1), "a number from 0 to 1"),
        ({"above": 0, "at_most": 1}, (1,), (0,), "a number above 0 and at most 1"),
        ({}, (-3, 0.0), (np.inf, np.nan), "a finite number"),
    ],
)
def test_numbers_are_checked_of_every_kind(bounds, good, bad, words):
    kinds = (lambda value: value, np.float32, jnp.float32, np.asarray)
    for kind in kinds:
        for value in good:
            expect_number("option", kind(value), **bounds)
        for value in bad:
            with pytest.raises(UserError, match=f"^option is .*: expected {words}$"):
                expect_number("option", kind(value), **bounds)


@pytest.mark.parametrize("value", ["0.5", None, (0.5,), np.ones(2), jnp.ones(2)])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(UserError, match="expected a number above 0"):
        expect_number("option", value, above=0)


def test_an_array_known_while_a_program_is_traced_is_checked():
    value = jnp.float32(-1.0)
    with pytest.raises(UserError, match=r"expected a number above 0"):
        jax.jit(lambda: expect_number("option", value, above=0))()


def test_traced_numbers_pass():
    @jax.jit
    def program(number, numbers):
        expect(number > 5, "option", number, "a number above 5")
        expect_number("option", number, above=5)
        expect_index("option", number, 0)
        array = expect_per_task("option", (number, 2.0), 2, above=5)
        assert is_traced(array)
        assert not is_zero(number)
        return array + expect_per_task("option", numbers, 2, at_least=9)

    assert program(1.0, jnp.array([1, 2])).tolist() == [2.0, 4.0]


def test_a_traced_option_has_the_right_shape():
    two = jnp.ones(2)
    with pytest.raises(UserError, match="expected a finite number"):
        jax.eval_shape(lambda value: expect_number("option", value), two)
    with pytest.raises(UserError, match="expected 3 finite numbers"):
        jax.eval_shape(lambda value: expect_per_task("option", value, 3), two)


def test_a_traced_number_is_refused_where_a_program_depends_on_it():
    expect_plain("option", 3)
    with pytest.raises(UserError, match=r"^option is traced: .* in static_args"):
        jax.eval_shape(lambda value: expect_plain("option", value), 3)


@pytest.mark.parametrize("value", [-1, 3, 1.5, jnp.int32(3), "0"])
def test_an_index_is_one_of_so_many(value):
    expect_index("option", np.int32(2), 3)
    with pytest.raises(UserError, match="expected an index from 0 to 2"):
        expect_index("option", value, 3)


def test_plain_numbers_keep_their_digits():
    assert as_array((1, 0.1)).tolist() == [1, 0.1]
    assert is_zero(jnp.zeros(2))
    assert not is_zero((0, 1e-30))
