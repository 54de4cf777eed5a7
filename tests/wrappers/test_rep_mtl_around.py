"""Rep-MTL around every kind of aggregator, and inside flat regions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from tests.helpers.close import assert_close
from tests.helpers.methods import make
from tests.helpers.rep_mtl import (
    _directions,
    difference,
    directions,
    equal,
    penalty_by_hand,
    saliency_penalties,
    setting,
)

AGGREGATORS = {
    "rows": mtopt.mgda(3),
    "representation": mtopt.mgda(3, space="representation", heads="plain"),
    "part of the batch": mtopt.modo(3),
    "masked representation": mtopt.graddrop(3, space="representation"),
    "looks ahead": mtopt.famo(3),
    "averaged rows": make("db_mtl", 3),
    "held": mtopt.weights_every(mtopt.mgda(3), n=2),
    "smoothed": mtopt.smoothed_weights(mtopt.mgda(3)),
    "logs": mtopt.log_losses(mtopt.mgda(3)),
    "flat": mtopt.flat_regions(mtopt.mgda(3), rho=0.3),
    "flat at once": mtopt.flat_regions(mtopt.mgda(3), rho=0.3, variant="direct"),
    "flat of both": mtopt.flat_regions(
        mtopt.mgda(3), rho=0.3, variant="second_aggregate"
    ),
    "flat of each": mtopt.flat_regions(
        mtopt.mgda(3), rho=0.3, variant="each_aggregate"
    ),
}


FLAT = {
    "flat": "split",
    "flat at once": "direct",
    "flat of both": "second_aggregate",
    "flat of each": "each_aggregate",
}


@pytest.fixture(scope="module")
def penalised():
    """Of every aggregator three updates: alone, with the penalties, and detached.

    With the gradient of the penalties, and what flat_regions around them does. It is
    one program, in which XLA compiles what all have in common once.
    """
    with jax.enable_x64(True):
        tasks, params, batch = setting("shared")
        txs = [
            tx
            for aggregator in AGGREGATORS.values()
            for tx in (
                aggregator,
                saliency_penalties(aggregator),
                saliency_penalties(aggregator, detach=True),
            )
        ]
        txs += [
            mtopt.flat_regions(saliency_penalties(mtopt.mgda(3)), rho=0.3, variant=name)
            for name in FLAT.values()
        ]
        found = _directions(tuple(txs), tasks, params, batch, None)
        found, inside = found[: -len(FLAT)], found[-len(FLAT) :]
        expected = jax.jit(
            jax.grad(lambda params: penalty_by_hand(tasks, batch, params))
        )(params)
    triples = [found[i : i + 3] for i in range(0, len(found), 3)]
    triples = dict(zip(AGGREGATORS, triples, strict=True))
    return expected, triples, dict(zip(FLAT, inside, strict=True))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_any_aggregator_gets_the_same_gradient_of_the_penalty(name, penalised):
    """Beside its own direction and weights; nothing where there is none."""
    expected, triples, _ = penalised
    (base, weights), (found, same), (detached, _) = triples[name]
    with jax.enable_x64(True):
        assert_close(difference(found, base), expected, rtol=1e-8)
    assert_close(detached, base, rtol=1e-11)
    np.testing.assert_array_equal(weights, same)


@pytest.mark.parametrize("name", FLAT)
def test_flat_regions_and_penalties_commute(name, penalised):
    """The flat part of the direction takes no penalty, and the loss part takes one."""
    _, triples, inside = penalised
    assert_close(inside[name][0], triples[name][1][0], rtol=1e-12)


def test_without_coefficients_it_is_the_aggregator():
    aggregator = mtopt.mgda(3)
    assert mtopt.rep_mtl(aggregator, tsr=0, csa=0).rule is aggregator.rule
    unpenalised = mtopt.add_penalty(aggregator, lambda *_: jnp.ones(()), 0)
    assert unpenalised.rule is aggregator.rule


def test_task_weights_are_for_losses_alone(penalised):
    expected, triples, _ = penalised
    with jax.enable_x64(True):
        tasks, params, batch = setting("shared")
        inner = (equal(), mtopt.mgda(3))
        txs = [*inner, *(saliency_penalties(aggregator) for aggregator in inner)]
        found = directions(txs, tasks, params, batch, jnp.array([1.0, 5.0, 0.0]))
        for base, own in zip(found[:2], found[2:], strict=True):
            assert_close(difference(own, base), expected, rtol=1e-8)
        unweighted = triples["rows"][0][0]["shared"]
        assert not np.allclose(found[1]["shared"]["first"], unweighted["first"])
