"""F-MTL around any aggregator: golden values, one task, groups, the head rule."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.passes import PASSES
from mtopt.transforms.perturbed import (
    make_ball,
    perturbations,
)
from mtopt.wrappers.flat_regions import VARIANTS
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.methods import make
from tests.helpers.quadratics import (
    B,
    paper_quadratics,
    quadratic,
    random_quadratics,
    repeat,
)
from tests.helpers.single_loss import single_loss_sam
from tests.helpers.updates import KEY, update_on

PAPER = {
    "equal_weighting": {"reduction": "sum"},
    "mgda": {},
    "pcgrad": {},
}


@functools.cache
def on_paper_quadratics():
    """All that the tests read, from one program."""
    with jax.enable_x64(True):
        problem, params = paper_quadratics().problem()

        def answers(params):
            _, grads = problem.losses_and_grads(params)
            adaptive = make_ball(0.5, None, None, True, "vmap")
            found = {
                "grads": grads["shared"],
                "sam": update_on(mtopt.per_task_sam(2, rho=0.5), (), problem, params)[
                    0
                ],
                "adaptive": perturbations(params, grads, adaptive)["shared"],
            }
            for name, options in PAPER.items():
                tx = mtopt.METHODS[name](2, **options)
                for variant in ("loss", "split", "direct"):
                    if variant != "loss":
                        own = mtopt.METHODS[name](2, **options)
                        tx = mtopt.flat_regions(own, rho=0.5, variant=variant)
                    direction, state = update_on(tx, tx.init(params), problem, params)
                    found[f"{name} {variant}"] = direction["shared"], state
            return found

        return jax.tree.map(np.asarray, jax.jit(answers)(params))


@pytest.mark.parametrize(
    ("name", "loss", "flat", "split", "direct"),
    [
        ("equal_weighting", (-1.0, 7.0), (0.5, 1.0), (-0.5, 8.0), (-0.5, 8.0)),
        (
            *("mgda", (-0.5, 3.5), (0.080925, 0.526012)),
            *((-0.419075, 4.026012), (-0.384295, 3.987056)),
        ),
        (
            *("pcgrad", (-1.0, 7.0), (0.519033, 1.187946)),
            *((-0.480967, 8.187946), (-0.530788, 8.315037)),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_golden_directions_of_two_quadratics(name, loss, flat, split, direct):
    found = on_paper_quadratics()
    (clean, _), (whole, _), (of_sam, _) = (
        found[f"{name} {variant}"] for variant in ("loss", "split", "direct")
    )
    np.testing.assert_allclose(clean, loss, atol=1e-6)
    np.testing.assert_allclose(whole - clean, flat, atol=1e-6)
    np.testing.assert_allclose(whole, split, atol=1e-6)
    np.testing.assert_allclose(of_sam, direct, atol=1e-6)


def test_the_golden_rows_and_weights_of_two_quadratics():
    found = on_paper_quadratics()
    np.testing.assert_allclose(found["grads"], [[3, 4], [-4, 3]], atol=1e-12)
    flat = found["sam"]["shared"] - found["grads"]
    np.testing.assert_allclose(flat, [[0.9, 0.4], [-0.4, 0.6]], atol=1e-12)
    np.testing.assert_allclose(found["adaptive"][0], [0.092144, 1.965744], atol=1e-6)
    _, state = found["mgda split"]
    weights = optax.tree.get(state, "weights")
    assert weights.shape == state.memory.flat_weights.shape == (2,)
    np.testing.assert_allclose(weights, [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(
        state.memory.flat_weights, [0.369942, 0.630058], atol=1e-6
    )
    assert optax.tree.get((state, ()), "flat_weights") is state.memory.flat_weights
    _, state = found["mgda direct"]
    for own in (state.memory.flat_weights, optax.tree.get(state, "weights")):
        np.testing.assert_allclose(own, [0.483820, 0.516180], atol=1e-6)


@pytest.mark.parametrize(
    "adaptive", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_one_task_is_sam(adaptive):
    """For aggregators that return the gradient of a single task."""
    tasks, params, batch = problems.classification(1, 6, 5, (7,), 4, None)
    names = ["mgda", "famo"]

    def loss(params):
        z = problems.encode(params["shared"], batch.x, None)
        head = params["tasks"][tasks.names[0]]
        return problems.classify(head, z, batch.y[0], batch.mask[0], None)

    @jax.jit
    def directions(params):
        problem = tasks.problem(batch, KEY)

        def of(tx):
            return update_on(tx, tx.init(params), problem, params)[0]

        txs = {
            f"{name} {variant}": mtopt.flat_regions(
                make(name, 1), rho=0.5, adaptive=adaptive, variant=variant
            )
            for name in names
            for variant in ("split", "direct")
        }
        chain = mtopt.per_task_sam(1, rho=0.5, adaptive=adaptive)
        found = {name: of(tx) for name, tx in txs.items()}
        rows = of(chain)
        shared = jax.tree.map(lambda row: row[0], rows["shared"])
        found["per_task_sam"] = {"shared": shared, "tasks": rows["tasks"]}
        return single_loss_sam(adaptive, 0.5, loss, params), found

    expected, found = directions(params)
    for direction in found.values():
        assert_close(direction, expected, rtol=1e-4)


def test_heads_take_their_own_sam_gradient_or_the_rule_of_the_aggregator():
    tasks = random_quadratics(seed=2)
    with jax.enable_x64(True):
        problem, params = tasks.problem()

        @jax.jit
        def both(params):
            sam = update_on(mtopt.per_task_sam(3, rho=0.3), (), problem, params)[0]
            found = {}
            rules = ("plain", "split"), *(("aggregator", own) for own in VARIANTS)
            for heads, variant in rules:
                tx = mtopt.flat_regions(
                    mtopt.imtl_g(3, heads="weighted"),
                    **{"rho": 0.3, "heads": heads, "variant": variant},
                )
                direction, state = update_on(tx, tx.init(params), problem, params)
                weights = optax.tree.get(state, "weights")
                found[f"{heads} {variant}"] = direction["tasks"].values, weights
            return sam["tasks"].values, found

        sam, found = jax.tree.map(np.asarray, both(params))
    for name, (heads, weights) in found.items():
        factor = weights[:, None] if name.startswith("aggregator") else 1
        assert_close(heads, factor * sam, rtol=1e-10)


def test_groups_of_tasks_are_perturbed_like_one_stack():
    """Tasks a and c in one group, b in the other: rows come in the order of names."""
    tasks = random_quadratics(seed=7)
    groups = mtopt.TaskGroups(
        (
            mtopt.Tasks(("b",), repeat, quadratic),
            mtopt.Tasks(("a", "c"), repeat, quadratic),
        ),
        shared_inputs=True,
    )
    parts = [tasks.only([1]), tasks.only([0, 2])]
    options = {"rho": (0.1, 0.2, 0.3), "adaptive": True}
    with jax.enable_x64(True):
        problem, params = tasks.problem()
        masks = (jnp.ones((1, B), bool), jnp.ones((2, B), bool))
        batch = mtopt.Batch(jnp.zeros(B), tuple(part.labels for part in parts), masks)
        grouped = groups.problem(batch, KEY)
        own = tuple(
            mtopt.PerTask(jnp.asarray(part.own), group.names)
            for part, group in zip(parts, groups.groups, strict=True)
        )

        def rows_and_direction(problem, params):
            sam = mtopt.per_task_sam(3, **options)
            flat = mtopt.flat_regions(mtopt.imtl_g(3), **options)
            return (
                update_on(sam, (), problem, params)[0],
                update_on(flat, flat.init(params), problem, params),
            )

        @jax.jit
        def both(params, own):
            in_groups = {"shared": params["shared"], "tasks": own}
            return (
                rows_and_direction(problem, params),
                rows_and_direction(grouped, in_groups),
            )

        (rows, flat), (grouped_rows, grouped_flat) = both(params, own)
    close = functools.partial(assert_close, rtol=1e-9)
    close(grouped_rows["shared"], rows["shared"])
    close(grouped_flat[0]["shared"], flat[0]["shared"])
    close(grouped_flat[1].memory.flat_weights, flat[1].memory.flat_weights)
    for group in grouped_rows["tasks"]:
        for name in group.names:
            close(group[name], rows["tasks"][name])


def test_one_after_another_is_all_at_once():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, 0, 0.2)
    problem = tasks.problem(batch, KEY)

    @jax.jit
    def directions(params):
        found = []
        for passes in PASSES:
            tx = mtopt.flat_regions(mtopt.imtl_g(3), rho=0.3, passes=passes)
            found.append(update_on(tx, tx.init(params), problem, params))
        return found

    vmapped, unrolled, mapped = directions(params)
    assert_close(unrolled, vmapped, rtol=1e-5)
    assert_close(mapped, vmapped, rtol=1e-5)


@pytest.mark.parametrize(
    "wrapper",
    [
        functools.partial(mtopt.weights_every, n=2),
        functools.partial(mtopt.smoothed_weights, alpha=0.5),
    ],
    ids=["weights_every", "smoothed_weights"],
)
def test_a_wrapper_of_weights_stands_inside(wrapper):
    problem, params = random_quadratics(seed=8).problem()
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    outside = mtopt.flat_regions(mtopt.mgda(3))
    with pytest.raises(mtopt.UserError, match="not the other way round"):
        wrapper(outside)

    inside = mtopt.flat_regions(wrapper(mtopt.imtl_g(3)), rho=0.3)
    plain = mtopt.flat_regions(mtopt.imtl_g(3), rho=0.3)

    @jax.jit
    def two_steps(params):
        """Both from one point, then another: of the second step, all weights."""
        found = []
        for tx in (inside, plain):
            first, state = update_on(tx, tx.init(params), problem, params)
            moved = jax.tree.map(lambda p: p + 0.5, params)
            found.append((first, state, *update_on(tx, state, problem, moved)))
        return found

    (first, begun, _, state), (expected, plain_begun, _, plain_state) = two_steps(
        params
    )
    assert_close(first, expected, rtol=1e-5)

    def both(state):
        return np.stack([optax.tree.get(state, "weights"), state.memory.flat_weights])

    held = both(begun)
    if wrapper.func is mtopt.smoothed_weights:
        held = 0.5 * held + 0.5 * both(plain_state)
    np.testing.assert_allclose(both(state), held, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both(begun), both(plain_begun), rtol=1e-4, atol=1e-5)
    assert np.abs(both(plain_state) - both(plain_begun)).max() > 0.01


def test_a_chain_cannot_be_wrapped():
    chain = mtopt.chain(mtopt.mgda(3), optax.sgd(0.1))
    with pytest.raises(mtopt.UserError, match="expected an aggregator alone"):
        mtopt.flat_regions(chain)
