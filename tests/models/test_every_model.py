"""What holds of every entry of MODELS: steps are finite, programs do not grow."""

import jax
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS
from tests.helpers.methods import make, over
from tests.helpers.models import OF_KIND, TINY, make_batch, tiny
from tests.helpers.program_size import operations

QUICK = {"mlp", "mmoe", "ple"}
"""Those of which the suite takes a step; the others are of the same kinds."""
BOTH = mtopt.rep_mtl(mtopt.flat_regions(mtopt.mgda(3), rho=0.05))


def seen(name, tasks=3):
    kind, outputs = OF_KIND.get(name, ("classification", 3))
    return make_batch(TINY[name][0], kind, outputs, tasks=tasks)


def assert_finite_step(name, aggregator):
    """All numbers after a step are finite, and some parameters of each part moved."""
    model = tiny(name)
    params, state = jax.jit(model.init)(jax.random.key(0))
    tx = mtopt.chain(aggregator, optax.sgd(0.1))
    start = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    step = mtopt.make_train_step(model.tasks, tx, donate=False)
    after, metrics = step(start, seen(name))
    assert np.isfinite(metrics["losses"]).all()
    for part in ("shared", "tasks"):
        before, now = jax.tree.leaves(params[part]), jax.tree.leaves(after.params[part])
        assert all(np.isfinite(leaf).all() for leaf in now)
        moved = [(new != old).any() for new, old in zip(now, before, strict=True)]
        assert any(moved) or not moved


@over(MODELS, slow=set(MODELS) - QUICK)
def test_a_step_of_all_mechanisms_is_finite(name):
    """Flat and clean parts of each task's gradient, reconciled, and a saliency."""
    assert_finite_step(name, BOTH)


@over(mtopt.METHODS, slow=set(mtopt.METHODS) - {"mgda"})
@pytest.mark.parametrize("model", ["cross_stitch", "ple"])
def test_every_method_trains_what_depends_on_the_task(model, name):
    assert_finite_step(model, make(name, 3))


DEEP = {"deeplab", "home", "mtan", "resnet18", "segnet", "set_attention", "transformer"}


@over(MODELS, slow=DEEP)
def test_a_program_does_not_grow_with_the_number_of_tasks(name):
    def size(tasks):
        names = tuple(f"t{k:02d}" for k in range(tasks))
        model = tiny(name, names=names)
        return operations(model, seen(name, tasks), mtopt.equal_weighting(tasks))

    assert size(32) <= 1.2 * size(8)
