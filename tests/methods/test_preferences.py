"""A preference is over the tasks that are there: one for an absent task is nothing."""

import functools
import inspect

import jax
import numpy as np

import mtopt
from tests.helpers.close import assert_close
from tests.helpers.forms import K, forms, in_a_step, splits_batches, update
from tests.helpers.methods import make, over

PREFERENCE = (1.0, 2.0, 5.0)
PREFERRING = {
    name
    for name, f in mtopt.METHODS.items()
    if "preference" in inspect.signature(f).parameters
}
# Pareto MTL in its region and out of it, looking for it, and with a region of the
# absent task alone.
RAYS = ((2.0, 1.0, 1.0), PREFERENCE, (1.0, 1.0, 3.0))
REGIONS = {f"pareto_mtl to {index}": index for index in range(3)}


def method(name, form):
    """With a preference for its tasks, a large one for the absent."""
    more = (9.0,) if form == "absent" else ()
    if name not in REGIONS:
        return make(name, K + len(more), preference=PREFERENCE + more)
    rays = tuple(ray + more for ray in RAYS) + ((0.0, 0.0, 0.0, 1.0),) * len(more)
    index = REGIONS[name]
    return mtopt.METHODS["pareto_mtl"](
        K + len(more), preferences=rays, index=index, search_steps=index % 2
    )


@functools.cache
def updates(*names):
    """The first of each, of three tasks and beside an absent one, in one program."""
    with jax.enable_x64(True):

        @jax.jit
        def answers():
            patchy, full = forms(True), forms(False)
            found = {}
            for name in names:
                dealt = name in PREFERRING and splits_batches(name)
                kinds = full if dealt else patchy
                found[name] = {
                    form: update(in_a_step(method(name, form)), kinds[form])
                    for form in ("stack", "absent")
                }
            return found

        return jax.tree.map(np.asarray, answers())


FEW = ("tchebycheff", *REGIONS)


@over(PREFERRING | REGIONS.keys(), slow=PREFERRING - set(FEW))
def test_a_preference_is_over_the_tasks_that_are_there(name):
    found = updates(*(FEW if name in FEW else (name,)))[name]
    assert_close(found["absent"], found["stack"], rtol=1e-8)
