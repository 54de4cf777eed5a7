"""Programs over seeds: what one seed runs, and how its state is laid out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS
from mtopt.training.program import map_models, separate_program, shared_program

NAMES = ("a", "b")


@functools.cache
def model(names, hidden=(3,)):
    return MODELS["mlp"](
        (4,),
        names=names,
        kind="regression",
        outputs=1,
        x_axis=None,
        dtype=jnp.float32,
        hidden=hidden,
    )


def batch_of(num_seeds):
    x, y = np.ones((num_seeds, 6, 4), "f4"), np.ones((num_seeds, 2, 6), "f4")
    return mtopt.Batch(x, y, np.ones((num_seeds, 2, 6), bool))


def axes_of_products(function, *arguments):
    """How many axes the operands of every product of matrices have."""
    found = []

    def walk(jaxpr):
        for eqn in jaxpr.eqns:
            if eqn.primitive.name == "dot_general":
                found.extend(len(var.aval.shape) for var in eqn.invars)
            for value in jax.tree.leaves(
                list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns")
            ):
                if hasattr(value, "eqns"):
                    walk(value)

    walk(jax.make_jaxpr(function)(*arguments))
    return np.array(found)


@pytest.mark.parametrize("separate", [False, True])
def test_one_seed_runs_the_step_of_one_model_in_the_layout_of_many(separate):
    found, products = {}, {}
    for seeds in (1, 2):
        tx = mtopt.chain(mtopt.equal_weighting(1 if separate else 2), optax.adam(1e-3))
        if separate:
            program = separate_program(model(("task",)), tx, NAMES, seeds)
        else:
            program = shared_program(model(NAMES), tx, seeds)
        keys = jax.ShapeDtypeStruct((seeds,), jax.random.key(0).dtype)
        state = jax.eval_shape(program.init, keys)
        after, losses = jax.eval_shape(program.step, state, batch_of(seeds))
        assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
        assert {leaf.shape[0] for leaf in jax.tree.leaves(after)} == {seeds}
        assert losses.values.shape == losses.present.shape == (seeds, 2)
        asked = state.params, state.model_state, np.ones((5, 4), "f4")
        assert jax.eval_shape(program.predict, *asked).shape[:3] == (seeds, 2, 5)
        found[seeds] = axes_of_products(program.step, state, batch_of(seeds))
        # Of predictions, those of one model as often as there are seeds.
        products[seeds] = axes_of_products(program.predict, *asked)
    alone, both = found[1], found[2]
    assert len(alone) == len(both) > 0
    # Of every product, an operand at least has the axis of seeds, if there is one.
    assert ((both - alone).reshape(-1, 2).max(axis=1) == 1).all()
    assert products[2].tolist() == products[1].tolist() * 2


def test_map_models_is_vmap():
    keys, x = jax.random.split(jax.random.key(0), 3), jnp.arange(2.0)

    def function(tree, x):
        drawn = jax.random.normal(tree["key"], (2,)) + x
        return {"key": tree["key"], "sum": drawn.sum(), "drawn": drawn}

    for s in (1, 3):
        tree = {"key": keys[:s]}
        found = map_models(function, (0, None))(tree, x)
        wanted = jax.vmap(function, (0, None))(tree, x)
        assert jax.tree.structure(found) == jax.tree.structure(wanted)
        assert (found["key"] == wanted["key"]).all()
        for name in ("sum", "drawn"):
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6)
    with pytest.raises(ValueError, match="inconsistent sizes"):
        map_models(lambda a, b: a)(jnp.ones(1), jnp.ones(2))


@pytest.mark.parametrize("on_nonfinite", ["stop", "skip_task"])
def test_a_guarded_program_grows_as_its_arrays_do(on_nonfinite):
    """What joins a check of each array stands once in it, not in the part of each.

    Eight layers more are twice as many lines as four more: three times as many where
    the check of all arrays was put into the part of each, of which SegNet had so many
    that it took minutes to compile.
    """
    four, eight, sixteen = (lines(layers, on_nonfinite) for layers in (4, 8, 16))
    assert sixteen - eight < 2.3 * (eight - four)


def lines(layers, on_nonfinite):
    """Of the compiled step of an MLP of so many layers."""
    tx = mtopt.chain(mtopt.equal_weighting(2), optax.adam(1e-2))
    program = shared_program(
        model(NAMES, (8,) * layers), tx, 1, on_nonfinite=on_nonfinite
    )
    state = program.init(jax.random.split(jax.random.key(0), 1))
    compiled = program.step.lower(state, batch_of(1)).compile()
    return len(compiled.as_text().splitlines())


def test_encoders_of_images_that_are_mapped_train_on_one_device():
    """JAX refuses their per-task gradients where a mesh is set."""

    def convolution(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=layout
        )

    def encode(kernels, x, key):
        one_layer = jax.vmap(convolution, (None, 0), 1)(x, kernels)
        two = jax.vmap(convolution, (1, 0), 1)(one_layer, kernels)
        return two.mean((1, 2, 3))

    def head_loss(head, z, y, mask, key):
        return mtopt.masked_mean((z @ head - y) ** 2, mask)

    tasks = mtopt.Tasks(NAMES, encode, head_loss)
    heads = mtopt.PerTask(jnp.ones((2, 3)), NAMES)
    params = {"shared": jnp.ones((2, 3, 3, 3, 3)), "tasks": heads}
    tx = mtopt.chain(mtopt.mgda(2), optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    batch = mtopt.Batch.shared(jnp.ones((4, 8, 8, 3)), dict.fromkeys("ab", jnp.ones(4)))
    step = mtopt.Devices(tasks).run(mtopt.make_train_step(tasks, tx))
    _, metrics = jax.eval_shape(step, state, batch)
    assert metrics["losses"].shape == (2,)
