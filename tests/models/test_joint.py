"""Every model for tasks of several kinds: one encoder, a head for each kind."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS, join
from tests.helpers.models import TINY

KINDS = {
    "classification": (("c", "d"), 3),
    "ordinal": (("o",), 4),
    "regression": (("r",), 1),
}


ONE_OUTPUT = {"binary": (("c", "d"), 1), "regression": (("o",), 1)}


QUICK = {"mlp", "mmoe", "pooled_mlp"}
TOLD = {"cross_stitch", "field_gate", "funnel", "home", "mtan", "ple", "skills"}
"""Models whose encoders are told the task."""


def joined(name, shared_inputs, kinds):
    shape, options = TINY[name]
    models = [
        MODELS[name](shape, names=names, kind=kind, outputs=outputs, **options)
        for kind, (names, outputs) in kinds.items()
    ]
    return join(models, shared_inputs=shared_inputs), shape


@pytest.mark.parametrize("shared_inputs", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(MODELS.keys() - TOLD)
    ],
)
def test_every_model_has_heads_for_every_kind(name, shared_inputs):
    # What shares its last layer, too, has as many outputs for every kind.
    kinds = ONE_OUTPUT if name == "pooled_mlp" else KINDS
    model, shape = joined(name, shared_inputs, kinds)
    rng = np.random.default_rng(0)
    inputs = [jnp.asarray(rng.normal(size=(6, *shape)), jnp.float32) for _ in kinds]
    x = inputs[0] if shared_inputs else tuple(inputs)
    y = tuple(
        rng.integers(0, max(outputs, 2), (len(names), 6)).astype(
            "float32" if kind == "regression" else "int32"
        )
        for kind, (names, outputs) in kinds.items()
    )
    mask = tuple(np.ones(each.shape, bool) for each in y)
    params, state = jax.jit(model.init)(jax.random.key(0))
    tx = mtopt.chain(mtopt.mgda(len(model.tasks.names)), optax.sgd(1e-2))
    first = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    step = mtopt.make_train_step(model.tasks, tx, donate=False)
    after, metrics = step(first, mtopt.Batch(x, y, mask))
    assert np.isfinite(metrics["losses"]).all()
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), params["shared"], after.params["shared"]
    )
    assert any(jax.tree.leaves(moved))
    outputs = model.predict(after.params, after.model_state, x)
    assert [len(each) for each in outputs] == [len(own) for own, _ in kinds.values()]


@pytest.mark.parametrize("name", sorted(TOLD - {"funnel"}))
def test_places_of_tasks_are_of_one_kind(name):
    with pytest.raises(mtopt.UserError, match="is told their places"):
        joined(name, True, KINDS)


def test_a_shared_output_is_of_one_size():
    with pytest.raises(mtopt.UserError, match="have other parameters"):
        joined("pooled_mlp", True, KINDS)
