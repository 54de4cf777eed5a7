"""Two spellings of one problem give one result, under every method and wrapper."""

import functools
import inspect

import jax
import numpy as np
import pytest

import mtopt
from mtopt.registry import about
from tests.helpers.close import assert_close
from tests.helpers.forms import forms, in_a_step, method_in, splits_batches, update
from tests.helpers.methods import make

SPACED = {
    name
    for name, f in mtopt.METHODS.items()
    if "space" in inspect.signature(f).parameters
}


def rep_mtl(inner):
    return mtopt.rep_mtl(inner, tsr=0.7, csa=0.9)


AROUND = {
    "rep_mtl(imtl_g)": lambda k: rep_mtl(make("imtl_g", k)),
    "log_losses(rep_mtl(equal_weighting))": lambda k: mtopt.log_losses(
        rep_mtl(make("equal_weighting", k, reduction="sum"))
    ),
    "flat_regions(mgda)": lambda k: mtopt.flat_regions(make("mgda", k), rho=0.3),
    "flat_regions(imtl_g) in the representation": lambda k: mtopt.flat_regions(
        method_in("imtl_g", "representation", k), rho=0.3
    ),
    "flat_regions(upgrad), adaptive": lambda k: mtopt.flat_regions(
        make("upgrad", k), variant="direct", adaptive=True, rho=0.3, heads="aggregator"
    ),
    "flat_regions(mgda), each": lambda k: mtopt.flat_regions(
        make("mgda", k), variant="each_aggregate"
    ),
    "outlier_weighted(nash_mtl)": lambda k: mtopt.outlier_weighted(
        make("nash_mtl", k), num_shared=1
    ),
    "weights_every(log_losses(nash_mtl))": lambda k: mtopt.weights_every(
        mtopt.log_losses(make("nash_mtl", k)), n=2
    ),
    "smoothed_weights(gradnorm)": lambda k: mtopt.smoothed_weights(make("gradnorm", k)),
    "without_stationary(mgda)": lambda k: mtopt.without_stationary(make("mgda", k)),
    "per_task_sam, mgda": lambda k: mtopt.chain(
        mtopt.per_task_sam(k, rho=0.1, beta=0.5, adaptive=True), make("mgda", k)
    ),
    "per_task_sam, mgda in the representation": lambda k: mtopt.chain(
        mtopt.per_task_sam(k, rho=0.5), method_in("mgda", "representation", k)
    ),
    "sam, equal_weighting": lambda k: mtopt.chain(
        mtopt.sam(k), make("equal_weighting", k)
    ),
    "normalize_rows, cagrad": lambda k: mtopt.chain(
        mtopt.normalize_rows(k, by="loss+"), make("cagrad", k)
    ),
    "normalize_rows, nash_mtl in the representation": lambda k: mtopt.chain(
        mtopt.normalize_rows(k), method_in("nash_mtl", "representation", k)
    ),
    "task_momentum, trimmed_mean": lambda k: mtopt.chain(
        mtopt.task_momentum(k, beta2=0.9), make("trimmed_mean", k)
    ),
    "task_momentum, conflict_free": lambda k: mtopt.chain(
        mtopt.task_momentum(k, beta2=0.99),
        make("conflict_free", k),
        mtopt.undo_momentum(),
    ),
}
OF_METHODS = {name: functools.partial(method_in, name, None) for name in mtopt.METHODS}
IN_REPRESENTATION = {
    f"{name} in the representation": functools.partial(
        method_in, name, "representation"
    )
    for name in sorted(SPACED)
}
EVERY = OF_METHODS | IN_REPRESENTATION | AROUND
# One program for what the default suite has of them.
DEFAULT = {
    "modo": ("groups", "samples"),
    "flat_regions(imtl_g) in the representation": ("groups", "complex", "renamed"),
    "task_momentum, trimmed_mean": ("disjoint", "samples", "channels", "complex"),
    "weights_every(log_losses(nash_mtl))": ("tree", "absent"),
}
FORMS = (
    *("groups", "disjoint", "samples", "channels", "complex"),
    *("vector", "tree", "renamed", "absent"),
)


def has(name, trait):
    """Whether it is a method with a trait, or of a family."""
    method = name.split(" ")[0]
    if method not in mtopt.METHODS:
        return False
    known = about(mtopt.METHODS[method])
    return trait in known.traits or trait == known.family


@functools.cache
def updates(*wanted):
    """The first updates of some, each on some forms, in one program."""
    with jax.enable_x64(True):

        @jax.jit
        def answers():
            patchy, full = forms(True), forms(False)
            found = {}
            for name, labels in wanted:
                # Parts of a batch are dealt by the labels of one task, or of all.
                dealt = name in mtopt.METHODS and splits_batches(name)
                kinds = full if dealt else patchy
                found[name] = {
                    label: update(
                        in_a_step(EVERY[name](kinds[label].num_tasks)), kinds[label]
                    )
                    for label in labels
                }
            return found

        return jax.tree.map(np.asarray, answers())


def applies(name, form):
    """Whether the form is the same problem to it."""
    in_representation = name.endswith("in the representation")
    random = has(name, "random")  # for tasks, leaves, entries and channels
    if form == "disjoint":  # whose representations are the tasks' own
        return not in_representation
    if form == "channels":
        return not (in_representation and random)
    if form in ("vector", "tree"):
        return not name.startswith("graddrop")
    if form == "renamed":  # options are of the tasks in their order
        return not (random or has(name, "task-bound"))
    if form == "absent":
        return not has(name, "task-bound")
    return form != "complex" or not name.startswith("graddrop")


def cases():
    together = [(name, ("stack", *own)) for name, own in DEFAULT.items()]
    found = []
    for name in EVERY:
        all_forms = tuple(filter(functools.partial(applies, name), FORMS))
        for form in all_forms:
            default = form in DEFAULT.get(name, ())
            program = together if default else [(name, ("stack", *all_forms))]
            marks = () if default else pytest.mark.slow
            label = f"{name}-{form}"
            found.append(pytest.param(name, program, form, id=label, marks=marks))
    return found


@pytest.mark.parametrize(("name", "program", "form"), cases())
def test_every_form_of_a_problem_trains_alike(name, program, form):
    found = updates(*program)[name]
    assert_close(found[form], found["stack"], rtol=1e-8)
