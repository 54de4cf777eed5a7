"""What mtopt.gradients.program leans on of the inside of JAX, piece by piece."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from mtopt.gradients.program import COMPILED, Program

W, X = np.float32([[1, 2], [3, -4]]), np.float32([[1, 0], [-1, 1], [2, 2]])


@pytest.fixture(scope="module")
def equations():
    def function(w, x):
        return jax.jit(jnp.matmul)(x, w) * 2.0

    return jax.make_jaxpr(function)(W, X).jaxpr.eqns


def test_a_compiled_function_within_another_is_called_by_a_known_name(equations):
    assert equations[0].primitive.name in COMPILED
    inner = equations[0].params["jaxpr"]
    assert isinstance(inner, core.ClosedJaxpr)
    assert [each.primitive.name for each in inner.jaxpr.eqns] == ["dot_general"]


def test_a_number_in_an_equation_is_a_literal(equations):
    left, right = equations[1].invars
    assert not isinstance(left, core.Literal)
    assert isinstance(right, core.Literal)
    assert right.val == 2


def test_a_product_says_which_axes_it_sums_over(equations):
    product = equations[0].params["jaxpr"].jaxpr.eqns[0]
    assert product.params["dimension_numbers"] == (((1,), (0,)), ((), ()))
    assert product.outvars[0].aval.shape == (3, 2)


def test_one_equation_can_be_run_alone(equations):
    jaxpr = jax.make_jaxpr(lambda x: jnp.sin(x) + 1.0)(X).jaxpr
    first, _ = jaxpr.eqns
    alone = jaxpr.replace(
        invars=first.invars,
        outvars=first.outvars,
        eqns=[first],
        effects=first.effects,
        debug_info=jaxpr.debug_info.with_unknown_names(),
    )
    (found,) = core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))(X)
    np.testing.assert_allclose(found, np.sin(X), rtol=1e-6)


def test_a_program_does_what_the_function_does():
    constant = jnp.float32([[0.5, -1.0]])

    @jax.jit
    def layer(w, x):  # one jaxpr, called twice
        return jax.nn.relu(x @ w) + constant

    def function(w, x):
        return {"out": layer(w.T, layer(w, x)), "x": x, "one": 1.0}

    steps = Program.of(function, [W, X])
    assert sum(each.name == "dot_general" for each in steps.operations) == 2
    found = jax.jit(lambda *own: steps.run(own, lambda _, inputs, outputs: outputs))
    jax.tree.map(np.testing.assert_array_equal, found(W, X), function(W, X))


def test_what_an_operation_made_can_be_replaced():
    steps = Program.of(lambda w, x: jnp.tanh(x @ w), [W, X])

    def doubled(index, inputs, outputs):
        name = steps.operations[index].name
        return [2 * outputs[0]] if name == "dot_general" else outputs

    np.testing.assert_allclose(steps.run([W, X], doubled), np.tanh(2 * X @ W), 1e-6)
