"""What users hand over as arrays, and what is refused in one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.arrays import as_numbers
from mtopt.batch import Batch
from mtopt.data import ArraySplit
from mtopt.errors import UserError


class Tensor:
    """As PyTorch's: with a gradient NumPy gets nothing of it."""

    def __init__(self, values, grad=True, device="gpu"):
        self.values, self.grad, self.device = np.asarray(values), grad, device

    def detach(self):
        return Tensor(self.values, False, self.device)

    def cpu(self):
        return Tensor(self.values, self.grad, "cpu")

    def __array__(self, dtype=None, copy=None):
        if self.grad or self.device != "cpu":
            raise TypeError("can't convert a tensor that needs a gradient to numpy")
        return self.values.astype(dtype or self.values.dtype)


def test_tensors_of_other_libraries_are_arrays():
    found = as_numbers("y", Tensor([1.0, np.nan]))
    np.testing.assert_array_equal(found, [1.0, np.nan])
    batch = Batch(Tensor(np.eye(3)), Tensor(np.ones((1, 3))), np.ones((1, 3), bool))
    split = ArraySplit(batch, None)
    taken = next(split.batches(2, seeds=(0,)))
    assert taken.x.shape == (1, 2, 3)
    assert float(taken.y.sum()) == 2


@pytest.mark.parametrize(
    "values",
    [
        np.arange(3, dtype=np.int8),
        np.array([True, False]),
        np.array([1.5, np.inf], np.float16),
        np.ones(2, jnp.bfloat16),
        [[1, 2], [3, 4]],
        2.5,
    ],
)
def test_numbers_of_any_type_stay_as_they_are(values):
    found = as_numbers("y", values)
    assert found.dtype == np.asarray(values).dtype
    np.testing.assert_array_equal(found, values)


def test_arrays_of_jax_are_handed_back_even_traced():
    jax.jit(lambda y: jnp.sum(as_numbers("y", y)))(jnp.ones(3))
    keys = jax.random.key(0)
    assert as_numbers("keys", keys) is keys


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([1.0, None, 0, 2], object), r"y holds Python objects \(NoneType, "),
        (np.array(["yes", "no"]), "y holds strings: expected .*return_inverse"),
        (np.array([b"yes"]), "y holds strings"),
        (np.array(["2020-01-01"], "datetime64[D]"), r"y holds values of type datetime"),
        (np.zeros(2, [("a", int)]), "y holds values of type"),
    ],
)
def test_what_holds_no_numbers_is_one_clear_line(values, message):
    with pytest.raises(UserError, match=message) as error:
        as_numbers("y", values)
    assert "\n" not in str(error.value)
    batch = Batch(np.eye(len(values)), values[None], np.ones((1, len(values)), bool))
    with pytest.raises(UserError, match=message):
        ArraySplit(batch, None)
