"""Rep-MTL: saliency penalties beside the losses, as one gradient of a total loss."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

import mtopt
from tests.helpers.close import assert_close
from tests.helpers.rep_mtl import (
    base_by_hand,
    difference,
    directions,
    equal,
    one_number,
    penalty_by_hand,
    saliency_penalties,
    setting,
)
from tests.helpers.saliency import in_groups

WRITTEN_OUT = {
    "mean": (saliency_penalties(equal()), {}, {}),
    "sum, alignment alone, mean anchor": (
        saliency_penalties(equal(reduction="sum"), tsr=0, anchor="mean"),
        {"reduction": "sum"},
        {"tsr": 0, "anchor": "mean"},
    ),
    "logs of all": (
        mtopt.log_losses(saliency_penalties(equal())),
        {"logs": True},
        {"logs": True},
    ),
    "logs of the sum alone, literal": (
        saliency_penalties(mtopt.log_losses(equal()), smoothing=0),
        {"logs": True},
        {"form": "literal"},
    ),
    "balanced": (
        saliency_penalties(equal(), balanced=True, smoothing=0.1),
        {},
        {"form": "balanced"},
    ),
    "logs of the saliency alone": (
        saliency_penalties(equal(), saliency="log_losses"),
        {},
        {"logs": True},
    ),
    "logs, and of the saliency": (
        saliency_penalties(mtopt.log_losses(equal()), saliency="log_losses"),
        {"logs": True},
        {"logs": True},
    ),
}


@pytest.mark.parametrize(
    ("kind", "ways"),
    [
        ("spatial", ["sum, alignment alone, mean anchor"]),
        ("absent", ["logs of all", "logs of the sum alone, literal", "balanced"]),
        pytest.param("shared", list(WRITTEN_OUT), marks=pytest.mark.slow),
        pytest.param("disjoint", ["mean", "logs of all"], marks=pytest.mark.slow),
        pytest.param("absent", ["mean"], marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_the_direction_is_the_gradient_of_the_total_loss(kind, ways):
    """Differentiated end to end, for shared parameters and heads."""
    with jax.enable_x64(True):
        tasks, params, batch = setting(kind)
        txs = [WRITTEN_OUT[way][0] for way in ways]
        found = directions(txs, tasks, params, batch)

        @jax.jit
        def gradients(params):
            """Every part of a total once, though some totals share one."""

            @functools.cache
            def gradient(by_hand, **options):
                return jax.grad(lambda own: by_hand(tasks, batch, own, **options))(
                    params
                )

            return [
                jax.tree.map(
                    jnp.add,
                    gradient(base_by_hand, **WRITTEN_OUT[way][1]),
                    gradient(penalty_by_hand, **WRITTEN_OUT[way][2]),
                )
                for way in ways
            ]

        assert_close(found, gradients(params), rtol=1e-8)


@pytest.mark.slow
def test_every_option_has_its_own_term():
    """TSR and CSA alone add up to both."""
    with jax.enable_x64(True):
        tasks, params, batch = setting("shared")
        base, tsr, csa, both = directions(
            [
                equal(),
                mtopt.rep_mtl(equal(), tsr=0.7, csa=0),
                mtopt.rep_mtl(equal(), tsr=0, csa=1.3),
                mtopt.rep_mtl(equal(), tsr=0.7, csa=1.3),
            ],
            tasks,
            params,
            batch,
        )
        alone = jax.tree.map(jnp.add, difference(tsr, base), difference(csa, base))
        assert_close(difference(both, base), alone, rtol=1e-9)
        assert optax.tree.norm(difference(tsr, base)) > 1e-3
        assert optax.tree.norm(difference(csa, base)) > 1e-3


def test_groups_of_tasks_are_penalised_as_one():
    with jax.enable_x64(True):
        tasks, params, batch = setting("spatial")
        groups, own, pieces = in_groups(tasks, params, batch)
        tx = saliency_penalties(equal(), csa=0)
        (whole,) = directions([tx], tasks, params, batch)
        (found,) = directions([tx], groups, own, pieces)
        assert_close(found["shared"], whole["shared"], rtol=1e-9)
        by_name = {k: v for part in found["tasks"] for k, v in part.by_name().items()}
        for name, head in whole["tasks"].by_name().items():
            assert_close(by_name[name], head, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tsr": -1}, "tsr is -1"),
        ({"csa": -0.1}, "csa is -0.1"),
        ({"temperature": 0}, "temperature is 0"),
        ({"smoothing": -0.03}, "smoothing is -0.03"),
        ({"control": "detach"}, "control is 'detach': .*'detached', 'shuffled'"),
        ({"anchor": "sample"}, "anchor is 'sample'"),
        ({"saliency": "logs"}, "saliency is 'logs'"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(mtopt.UserError, match=message):
        mtopt.rep_mtl(equal(), **options)


def test_a_batch_of_one_has_nothing_to_align():
    tasks, params, batch = one_number()
    with pytest.raises(mtopt.UserError, match="a batch of two at least"):
        directions([mtopt.rep_mtl(mtopt.equal_weighting(2))], tasks, params, batch)


def test_groups_without_a_common_representation_are_an_error():
    tasks, params, batch = setting("shared", jnp.float32)
    groups, own, pieces = in_groups(tasks, params, batch)
    apart = mtopt.TaskGroups(groups.groups, shared_inputs=False)
    doubled = mtopt.Batch((pieces.x, pieces.x), pieces.y, pieces.mask)
    with pytest.raises(mtopt.UserError, match="no representation in common"):
        directions([mtopt.rep_mtl(equal())], apart, own, doubled)
