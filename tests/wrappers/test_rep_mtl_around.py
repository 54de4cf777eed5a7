"""Rep-MTL around every kind of aggregator, and inside flat regions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import mtopt
from tests.helpers.close import assert_close
from tests.helpers.methods import make, over
from tests.helpers.rep_mtl import (
    _directions,
    difference,
    directions,
    equal,
    saliency_penalties,
    setting,
)

# By default one for each thing that an aggregator may do with gradients.
DEFAULT = {
    "rows": mtopt.imtl_g(3),
    "representation": mtopt.imtl_g(3, space="representation"),
    "flat": mtopt.flat_regions(mtopt.imtl_g(3), rho=0.3),
}
OTHERS = {
    "part of the batch": mtopt.modo(3),
    "averaged rows": make("db_mtl", 3),
    "looks ahead": mtopt.famo(3),
    "held": mtopt.weights_every(mtopt.imtl_g(3), n=2),
    "masked representation": mtopt.graddrop(3, space="representation"),
    "smoothed": mtopt.smoothed_weights(mtopt.imtl_g(3)),
    "logs": mtopt.log_losses(mtopt.imtl_g(3)),
    "flat at once": mtopt.flat_regions(mtopt.imtl_g(3), rho=0.3, variant="direct"),
    "flat of both": mtopt.flat_regions(
        mtopt.imtl_g(3), rho=0.3, variant="second_aggregate"
    ),
    "flat of each": mtopt.flat_regions(
        mtopt.imtl_g(3), rho=0.3, variant="each_aggregate"
    ),
}
FLAT = {
    "flat": "split",
    "flat at once": "direct",
    "flat of both": "second_aggregate",
    "flat of each": "each_aggregate",
}
AGGREGATORS = over([*DEFAULT, *OTHERS], slow=OTHERS)


@functools.cache
def first_updates(few):
    """Of every aggregator three: alone, with the penalties, and detached.

    And what flat_regions around them does. It is one program, in which XLA compiles
    what all have in common once.
    """
    aggregators = {"mean": equal(), **(DEFAULT if few else OTHERS)}
    flat = [name for name in FLAT if name in aggregators]
    txs = [
        tx
        for aggregator in aggregators.values()
        for tx in (
            aggregator,
            saliency_penalties(aggregator),
            saliency_penalties(aggregator, control="detached"),
        )
    ]
    for name in flat:
        inner, variant = saliency_penalties(mtopt.imtl_g(3)), FLAT[name]
        txs.append(mtopt.flat_regions(inner, rho=0.3, variant=variant))
    with jax.enable_x64(True):
        tasks, params, batch = setting("shared")
        found = _directions(tuple(txs), tasks, params, batch, None)
    triples = [found[i : i + 3] for i in range(0, 3 * len(aggregators), 3)]
    return (
        dict(zip(aggregators, triples, strict=True)),
        dict(zip(flat, found[3 * len(aggregators) :], strict=True)),
    )


@AGGREGATORS
def test_any_aggregator_gets_the_same_gradient_of_the_penalty(name):
    """That of the mean, beside its own direction and weights; detached it has none."""
    triples, _ = first_updates(name in DEFAULT)
    (base, weights), (found, same), (detached, _) = triples[name]
    (mean, _), (penalised, _), _ = triples["mean"]
    with jax.enable_x64(True):
        expected = difference(penalised, mean)
        assert_close(difference(found, base), expected, rtol=1e-8)
    assert_close(detached, base, rtol=1e-11)
    np.testing.assert_array_equal(weights, same)


@over(FLAT, slow=OTHERS)
def test_flat_regions_and_penalties_commute(name):
    """The flat part of the direction takes no penalty, and the loss part takes one."""
    triples, inside = first_updates(name in DEFAULT)
    assert_close(inside[name][0], triples[name][1][0], rtol=1e-12)


def test_without_coefficients_it_is_the_aggregator():
    aggregator = mtopt.mgda(3)
    assert mtopt.rep_mtl(aggregator, tsr=0, csa=0).rule is aggregator.rule
    unpenalised = mtopt.add_penalty(aggregator, lambda *_: jnp.ones(()), 0)
    assert unpenalised.rule is aggregator.rule


def test_task_weights_are_for_losses_alone():
    triples, _ = first_updates(True)
    (mean, _), (penalised, _), _ = triples["mean"]
    with jax.enable_x64(True):
        tasks, params, batch = setting("shared")
        inner = (equal(), mtopt.imtl_g(3))
        txs = [*inner, *(saliency_penalties(aggregator) for aggregator in inner)]
        found = directions(txs, tasks, params, batch, jnp.array([1.0, 5.0, 0.0]))
        expected = difference(penalised, mean)
        for base, own in zip(found[:2], found[2:], strict=True):
            assert_close(difference(own, base), expected, rtol=1e-8)
        unweighted = triples["rows"][0][0]["shared"]
        assert not np.allclose(found[1]["shared"]["first"], unweighted["first"])
