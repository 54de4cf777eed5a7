"""What mtopt.gradients.program leans on of the inside of JAX, piece by piece."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from mtopt.gradients.program import COMPILED, REMATERIALISED, Program
from tests.helpers.close import assert_close

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
    found = jax.jit(lambda *own: steps.run(own, {}, ())[0])
    jax.tree.map(np.testing.assert_array_equal, found(W, X), function(W, X))


def test_what_an_operation_made_can_be_added_to_and_read():
    steps = Program.of(lambda w, x: jnp.tanh(x @ w), [W, X])
    names = [each.name for each in steps.operations]
    product = names.index("dot_general")
    place = steps.operations[product].outputs[0]
    found, (seen,) = steps.run([W, X], {product: 0.5}, [place])
    np.testing.assert_allclose(found, np.tanh(X @ W + 0.5), 1e-6)
    np.testing.assert_allclose(seen, X @ W + 0.5, 1e-6)


def under_checkpoint(w, x):
    """A function under checkpoint called twice, and another one within a third."""
    first = jax.checkpoint(lambda w, x: jnp.sin(jnp.sin(x @ w)), policy=POLICY)
    inner = jax.checkpoint(lambda x: jnp.exp(jnp.cos(x)), prevent_cse=False)
    outer = jax.checkpoint(lambda w, x: inner(jnp.cos(x @ w)))
    return jnp.tanh(outer(w, first(w, first(w, x))))


POLICY = jax.checkpoint_policies.dots_saveable


def test_a_function_under_checkpoint_is_known_by_name_and_says_how():
    def function(w, x):
        return jax.checkpoint(jnp.matmul, prevent_cse=False, policy=POLICY)(x, w)

    (equation,) = jax.make_jaxpr(function)(W, X).eqns
    assert equation.primitive.name in REMATERIALISED
    assert [each.primitive.name for each in equation.params["jaxpr"].eqns]
    assert equation.params["prevent_cse"] is False
    assert equation.params["policy"] is POLICY


def test_operations_under_checkpoint_stand_under_it_again():
    steps = Program.of(under_checkpoint, [W, X])
    assert all(each.name not in REMATERIALISED for each in steps.operations)
    assert len({each.region for each in steps.operations} - {None}) == 4

    def again(w, x):
        return steps.run([w, x], {}, ())[0]

    equations = jax.make_jaxpr(again)(W, X).eqns
    found = [e.params for e in equations if e.primitive.name in REMATERIALISED]
    told = [(own["policy"], own["prevent_cse"]) for own in found]
    assert told == [(POLICY, True)] * 2 + [(None, True), (None, False)]
    gradients = [
        jax.jit(jax.grad(lambda w, f=f: f(w, X).sum()))(W)
        for f in (under_checkpoint, again)
    ]
    assert_close(*gradients, rtol=1e-6)


def test_no_more_is_kept_for_a_backward_pass_than_under_checkpoint_itself():
    def function(w, x):
        block = jax.checkpoint(lambda w, x: jnp.exp(jnp.sin(jnp.cos(x @ w))))
        return block(w, block(w, x))

    steps = Program.of(function, [W, X])

    def kept(function):
        _, pull = jax.vjp(function, W, X)
        return sorted(leaf.shape for leaf in jax.tree.leaves(pull))

    assert kept(lambda w, x: steps.run([w, x], {}, ())[0]) == kept(function)
