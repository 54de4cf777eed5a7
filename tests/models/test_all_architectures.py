"""Whatever tasks share, every method trains it, and programs do not grow with tasks."""

import jax
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS
from tests.helpers.methods import make, over
from tests.helpers.models import TINY, make_batch, tiny

QUICK = {"equal_weighting", "mgda"}
KINDS = {"funnel": ("binary", 1)}
"""Of labels, where a model is not of all."""


def built(name, names):
    kind, outputs = KINDS.get(name, ("classification", 3))
    model = tiny(name, names=names, kind=kind, outputs=outputs)
    shape = TINY[name][0]
    return model, make_batch(shape, kind, outputs, tasks=len(names))


def trained(name, aggregator):
    """Parameters before and after a step."""
    names = ("left", "middle", "right")
    model, batch = built(name, names)
    params, state = model.init(jax.random.key(0))
    tx = mtopt.chain(aggregator, optax.adam(1e-2))
    start = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    end, _ = mtopt.make_train_step(model.tasks, tx, donate=False)(start, batch)
    return params["shared"], end.params["shared"]


def assert_moved(name, aggregator):
    before, after = trained(name, aggregator)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    assert any((one != other).any() for one, other in pairs)


@over(mtopt.METHODS, slow=set(mtopt.METHODS) - QUICK)
@pytest.mark.parametrize("model", ["ple", "cross_stitch"])
def test_every_method_trains_what_depends_on_the_task(model, name):
    assert_moved(model, make(name, 3))


WRAPPED = {
    "rep_mtl": mtopt.rep_mtl(mtopt.equal_weighting(3)),
    "flat_regions": mtopt.flat_regions(mtopt.mgda(3), rho=0.05),
}


@pytest.mark.slow
@over(MODELS)
@pytest.mark.parametrize("wrapper", WRAPPED)
def test_every_model_is_trained_through_wrappers(wrapper, name):
    assert_moved(name, WRAPPED[wrapper])


def lines(name, count):
    """The instructions of a compiled step."""
    names = tuple(f"t{k:02d}" for k in range(count))
    model, batch = built(name, names)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    tx = mtopt.chain(mtopt.mgda(count), optax.sgd(0.1))
    step = mtopt.make_train_step(model.tasks, tx)
    start = jax.eval_shape(
        lambda params, state: mtopt.TrainState.create(
            params, tx, jax.random.key(1), state
        ),
        params,
        state,
    )
    return len(step.lower(start, batch).compile().as_text().splitlines())


@over(MODELS, slow=set(MODELS) - {"ple"})
def test_a_program_of_many_tasks_is_no_longer(name):
    """Seconds of compilation follow the instructions, and are those of the machine."""
    assert lines(name, 32) <= 1.2 * lines(name, 8)
