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

K = 3
SPACED = {
    name
    for name, f in mtopt.METHODS.items()
    if "space" in inspect.signature(f).parameters
}


def rep_mtl(inner):
    return mtopt.rep_mtl(inner, tsr=0.7, csa=0.9)


AROUND = {
    "rep_mtl(imtl_g)": lambda: rep_mtl(make("imtl_g", K)),
    "log_losses(rep_mtl(equal_weighting))": lambda: mtopt.log_losses(
        rep_mtl(make("equal_weighting", K, reduction="sum"))
    ),
    "flat_regions(mgda)": lambda: mtopt.flat_regions(make("mgda", K), rho=0.3),
    "flat_regions(imtl_g) in the representation": lambda: mtopt.flat_regions(
        method_in("imtl_g", "representation"), rho=0.3
    ),
    "flat_regions(upgrad), adaptive": lambda: mtopt.flat_regions(
        make("upgrad", K), variant="direct", adaptive=True, rho=0.3, heads="aggregator"
    ),
    "flat_regions(mgda), each": lambda: mtopt.flat_regions(
        make("mgda", K), variant="each_aggregate"
    ),
    "outlier_weighted(nash_mtl)": lambda: mtopt.outlier_weighted(
        make("nash_mtl", K), num_shared=1
    ),
    "weights_every(log_losses(nash_mtl))": lambda: mtopt.weights_every(
        mtopt.log_losses(make("nash_mtl", K)), n=2
    ),
    "smoothed_weights(gradnorm)": lambda: mtopt.smoothed_weights(make("gradnorm", K)),
    "without_stationary(mgda)": lambda: mtopt.without_stationary(make("mgda", K)),
    "per_task_sam, mgda": lambda: mtopt.chain(
        mtopt.per_task_sam(K, rho=0.1, beta=0.5, adaptive=True), make("mgda", K)
    ),
    "per_task_sam, mgda in the representation": lambda: mtopt.chain(
        mtopt.per_task_sam(K, rho=0.5), method_in("mgda", "representation")
    ),
    "sam, equal_weighting": lambda: mtopt.chain(
        mtopt.sam(K), make("equal_weighting", K)
    ),
    "normalize_rows, cagrad": lambda: mtopt.chain(
        mtopt.normalize_rows(K, by="loss+"), make("cagrad", K)
    ),
    "normalize_rows, nash_mtl in the representation": lambda: mtopt.chain(
        mtopt.normalize_rows(K), method_in("nash_mtl", "representation")
    ),
    "task_momentum, trimmed_mean": lambda: mtopt.chain(
        mtopt.task_momentum(K, beta2=0.9), make("trimmed_mean", K)
    ),
    "task_momentum, conflict_free": lambda: mtopt.chain(
        mtopt.task_momentum(K, beta2=0.99),
        make("conflict_free", K),
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
    "flat_regions(imtl_g) in the representation": ("groups", "complex"),
    "task_momentum, trimmed_mean": ("disjoint", "samples", "channels", "complex"),
}
FORMS = ("groups", "disjoint", "samples", "channels", "complex")


def random(name):
    """Whether it draws for entries, which complex leaves and channels have more of."""
    method = name.split(" ")[0]
    return method in mtopt.METHODS and "random" in about(mtopt.METHODS[method]).traits


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
                tx, kinds = in_a_step(EVERY[name]()), full if dealt else patchy
                found[name] = {label: update(tx, kinds[label]) for label in labels}
            return found

        return jax.tree.map(np.asarray, answers())


def applies(name, form):
    """Whether the form is the same problem to it."""
    in_representation = name.endswith("in the representation")
    if form == "disjoint":  # whose representations are the tasks' own
        return not in_representation
    if form == "channels":
        return not (in_representation and random(name))
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
