"""The suite checks types in every function that is made, not in the first alone."""

import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, TypeCheckError, jaxtyped

from tests.helpers.typecheck import checked


def make(kind, shift):
    @jaxtyped(typechecker=checked)
    def shifted(x: Float[Array, " K"], by: kind = 0) -> Float[Array, " K"]:
        return x + by if shift is None else shift

    return shifted


def test_functions_of_one_definition_are_all_checked_by_their_own_types():
    one, whole = np.ones(3, "float32"), jnp.ones(3)
    for _ in range(2):
        shifted = make(int, None)
        assert shifted(whole, 1).tolist() == [2, 2, 2]
        for wrong in ((one,), (whole[None],), (whole, 1.5)):
            with pytest.raises(TypeCheckError, match="parameter"):
                shifted(*wrong)
        with pytest.raises(TypeCheckError, match="return value"):
            make(int, jnp.ones(2))(whole)
        # Other types in the same place are another check.
        assert make(float, None)(whole, 1.5).tolist() == [2.5, 2.5, 2.5]


def test_the_package_is_instrumented():
    from mtopt.linalg import gramian

    with pytest.raises(TypeCheckError):
        gramian("rows")
