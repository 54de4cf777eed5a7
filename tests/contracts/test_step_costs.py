"""What compiled steps of whole models may cost: FLOPs, temporary bytes, compilations.

The cells are those of ``mtopt benchmark step``. The compiler's figures do not depend on
what else a machine does, so that nothing undoes them unseen.
"""

import dataclasses
import functools

import numpy as np
import pytest

from experiments.benchmarks.step import cells, jax_side
from tests.helpers.compilations import compilations

REP_MTL = "log_losses(rep_mtl(equal_weighting(reduction='sum')))"
OUTLIERS = "outlier_weighted(equal_weighting)"
# FLOPs and temporary bytes over those of the plain step, as they are. The compiler
# counts the body of a loop once: LeNet's tasks go back through it one after another.
MEASURED = {
    ("mlp:2", "equal_weighting"): (1.000, 1.00),
    ("mlp:2", "mgda"): (1.320, 1.04),
    ("mlp:2", "flat_regions(mgda)"): (3.591, 5.55),
    ("mlp:2", REP_MTL): (1.225, 1.20),
    ("mlp:2", OUTLIERS): (1.001, 1.00),
    ("mlp:2", "graddrop"): (1.734, 5.85),
    ("mlp:8", "equal_weighting"): (1.000, 1.00),
    ("mlp:8", "mgda"): (2.482, 3.26),
    ("mlp:8", "flat_regions(mgda)"): (13.02, 22.2),
    ("mlp:8", REP_MTL): (4.444, 3.69),
    ("mlp:8", OUTLIERS): (1.002, 1.00),
    ("mlp:8", "graddrop"): (5.281, 11.4),
    ("mlp:8", "trimmed_mean"): (5.465, 6.16),
    ("mlp:40", "equal_weighting"): (1.000, 1.00),
    ("mlp:40", "mgda"): (8.607, 15.6),
    ("mlp:40", OUTLIERS): (1.011, 3.61),
    ("lenet:2", "equal_weighting"): (1.000, 1.00),
    ("lenet:2", "mgda"): (1.000, 1.01),
    ("lenet:2", "flat_regions(mgda)"): (2.995, 1.89),
    ("lenet:2", REP_MTL): (1.042, 1.00),
    ("lenet:2", OUTLIERS): (1.002, 1.00),
    ("lenet:8", "equal_weighting"): (1.000, 1.00),
    ("lenet:8", "mgda"): (1.000, 1.04),
    ("lenet:8", OUTLIERS): (1.009, 1.00),
}
FEW = [("mlp:8", "mgda"), ("mlp:8", "trimmed_mean")]
FORTY_ROWS = 420e6  # temporary bytes of MGDA on rows by one vmapped backward pass


@functools.cache
def cost(cell, method, rows="auto"):
    """FLOPs and temporary bytes of a step."""
    cell = cells.parse(cell)
    if method == jax_side.PLAIN:
        step, *arguments = jax_side.plain(cell, method)
    else:
        step, *arguments = jax_side.own(cell, method, rows=rows)
    compiled = step.lower(*arguments).compile()
    return np.array(
        [
            compiled.cost_analysis()["flops"],
            compiled.memory_analysis().temp_size_in_bytes,
        ]
    )


def check(cell, method):
    flops, temporary = cost(cell, method) / cost(cell, jax_side.PLAIN)
    most_flops, most_temporary = MEASURED[cell, method]
    assert flops <= 1.005 * most_flops
    assert temporary <= 1.02 * most_temporary


@pytest.mark.parametrize("case", FEW, ids=str)
def test_some_steps_cost_no_more_than_they_did(case):
    check(*case)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [case for case in MEASURED if case not in FEW], ids=str
)
def test_all_steps_cost_no_more_than_they_did(case):
    check(*case)


def test_products_of_forty_tasks_take_a_quarter_of_the_memory_of_their_rows():
    """A little more than a quarter: 106 MB; a layer at a time, rows take 294."""
    products, rows = cost("mlp:40", "mgda"), cost("mlp:40", "mgda", "always")
    assert products[1] <= 0.255 * FORTY_ROWS
    assert rows[1] <= 0.71 * FORTY_ROWS
    assert products[0] <= 0.39 * rows[0]


def test_a_second_step_of_the_same_shapes_compiles_nothing():
    step, state, batch = jax_side.own(cells.Cell("mlp", 2, 4), "mgda")
    with compilations() as names:
        state, _ = step(state, batch)
        assert len(names) == 1
        other = dataclasses.replace(batch, x=np.asarray(batch.x) + 1)
        for each in (batch, other):
            state, _ = step(state, each)
        assert len(names) == 1
