"""Rules on the Gramian, against loops over the gradients themselves in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.aligned_mtl import aligned_mtl
from mtopt.methods.conflict_free import conflict_free
from mtopt.methods.gradcraft import gradcraft
from mtopt.methods.gradvac import gradvac
from mtopt.methods.imtl_g import imtl_g
from mtopt.methods.krum import krum
from mtopt.methods.pcgrad import pcgrad, visiting_orders

GOLDEN = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
# No two of these gradients conflict, yet weights of equal projections and sum 1 ascend.
ASCENDING = jnp.array([[0.1, 0.1, 0.02], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
ADVERSARIAL = jnp.array(
    [[1.0, 1, 1], [1.0, 0, 1], [75.0, -666, 23], [1.0, 2, 3], [2.0, 0, 1]]
)
METHODS = {
    "pcgrad": pcgrad,
    "gradvac": gradvac,
    "imtl_g": imtl_g,
    "aligned_mtl": aligned_mtl,
    "conflict_free": conflict_free,
    "gradcraft": gradcraft,
    "krum": krum,
}
every_method = pytest.mark.parametrize("name", sorted(METHODS))


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def solve(tx, jacobian, **extra):
    params = jnp.zeros(jacobian.shape[1:], jacobian.dtype)
    direction, state = tx.update(jacobian, tx.init(params), params, **extra)
    return np.asarray(direction), state


def rows(num_tasks, size, seed=0, mean=0.0):
    """Plain numpy, float64, of lengths that differ by tasks."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.normal(size=(num_tasks, 1)))
    return lengths * (rng.normal(size=(num_tasks, size)) + mean)


def cosines(jacobian, direction):
    jacobian = np.asarray(jacobian)
    norms = np.linalg.norm(jacobian, axis=1) * np.linalg.norm(direction)
    return jacobian @ direction / norms


@pytest.mark.parametrize(
    ("tx", "jacobian", "weights", "direction"),
    [
        (pcgrad(2), GOLDEN, [2.2222, 1.5789], [0.5848, 3.8012, 3.8012]),
        (gradvac(2), GOLDEN, [2.2222, 1.5789], [0.5848, 3.8012, 3.8012]),
        (imtl_g(2), GOLDEN, [0.5923, 0.4077], [0.0767, 1, 1]),
        (
            aligned_mtl(2, preference=(0.5, 0.5)),
            GOLDEN,
            [0.5591, 0.4083],
            [0.2133, 0.9673, 0.9673],
        ),
        (conflict_free(2), GOLDEN, None, [0.1588, 2.0706, 2.0706]),
        (
            krum(5, num_byzantine=1, num_selected=4),
            ADVERSARIAL,
            [0.25, 0.25, 0, 0.25, 0.25],
            [1.25, 0.75, 1.5],
        ),
    ],
    ids=["pcgrad", "gradvac", "imtl_g", "aligned_mtl", "conflict_free", "krum"],
)
def test_golden_values(tx, jacobian, weights, direction):
    found, state = solve(tx, jacobian)
    np.testing.assert_allclose(found, direction, atol=1e-4)
    if weights is not None:
        np.testing.assert_allclose(state.weights, weights, atol=1e-4)


def projected(jacobian, orders):
    """PCGrad on the vectors themselves."""
    result = jacobian.copy()
    for i, order in enumerate(orders):
        for j in order:
            inner = result[i] @ jacobian[j]
            if j != i and inner < 0:
                result[i] -= inner / (jacobian[j] @ jacobian[j]) * jacobian[j]
    return result


@pytest.mark.parametrize("order", ["per_task", "shared", "fixed"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_pcgrad_projects_vectors(x64, order, reduction):
    jacobian, key = rows(5, 7), jax.random.key(3)
    orders = np.asarray(visiting_orders(order, 5, key))
    expected = getattr(projected(jacobian, orders), reduction)(axis=0)
    tx = pcgrad(5, order=order, reduction=reduction)
    direction, _ = solve(tx, jnp.asarray(jacobian), key=key)
    np.testing.assert_allclose(direction, expected, rtol=1e-12)


def test_orders_are_permutations_of_three_kinds():
    def draw(order, seed):
        return np.asarray(visiting_orders(order, 5, jax.random.key(seed)))

    for order in ("per_task", "shared", "fixed"):
        for row in draw(order, 0):
            np.testing.assert_array_equal(np.sort(row), np.arange(5))
    assert len(np.unique(draw("per_task", 0), axis=0)) > 1
    assert len(np.unique(draw("shared", 0), axis=0)) == 1
    for order in ("per_task", "shared"):
        assert (draw(order, 0) != draw(order, 1)).any()
    np.testing.assert_array_equal(draw("fixed", 0), np.tile(np.arange(5), (5, 1)))


def test_orders_do_not_depend_on_the_precision():
    orders = []
    for x64 in (False, True):
        with jax.enable_x64(x64):
            orders.append(np.asarray(visiting_orders("per_task", 5, jax.random.key(0))))
    np.testing.assert_array_equal(*orders)


def test_a_visitor_comes_anywhere_in_the_order_equally_often():
    keys = jax.random.split(jax.random.key(0), 400)
    draws = jax.vmap(lambda key: visiting_orders("per_task", 5, key))(keys)
    shares = np.mean(np.asarray(draws)[..., None] == np.arange(5), axis=0)
    np.testing.assert_allclose(shares, 0.2, atol=0.1)


def test_orders_change_from_step_to_step_without_a_key():
    jacobian = jnp.asarray(rows(5, 7), jnp.float32)
    tx = pcgrad(5)
    state = tx.init(jnp.zeros(7))
    weights = []
    for _ in range(3):
        _, state = tx.update(jacobian, state)
        weights.append(np.asarray(state.weights))
    assert (weights[0] != weights[1]).any()
    assert (weights[1] != weights[2]).any()
    assert state.memory == 3


def test_pcgrad_of_two_tasks_conflicts_with_neither():
    for seed in range(5):
        jacobian = jnp.asarray(rows(2, 3, seed), jnp.float32)
        assert cosines(jacobian, solve(pcgrad(2), jacobian)[0]).min() > -1e-6


def turned(jacobian, target, orders):
    """GradVac on the vectors themselves, and the cosines that it met."""
    result, met = jacobian.copy(), np.zeros_like(target)
    for i, order in enumerate(orders):
        for j in order:
            if j == i:
                continue
            g, h, goal = result[i], jacobian[j], target[i, j]
            phi = g @ h / np.linalg.norm(g) / np.linalg.norm(h)
            met[i, j] = phi
            if phi < goal:
                sines = goal * np.sqrt(1 - phi**2) - phi * np.sqrt(1 - goal**2)
                size = np.linalg.norm(g) / np.linalg.norm(h)
                result[i] = g + size * sines / np.sqrt(1 - goal**2) * h
    return result.sum(axis=0), met


@pytest.mark.parametrize("targets", ["all", "turned"])
def test_gradvac_over_steps_with_an_absent_task(x64, targets):
    tx = gradvac(5, beta=0.5, targets=targets)
    state, target = tx.init(jnp.zeros(7)), np.zeros((5, 5))
    for step in range(4):
        # Gradients that agree at first, so that the targets rise above 0.
        jacobian = rows(5, 7, step, mean=1.5 - step)
        present = np.array([True, True, step != 1, True, True])
        here, key = np.flatnonzero(present), jax.random.key(step)
        orders = np.asarray(visiting_orders("per_task", 5, key))
        orders = [[np.searchsorted(here, j) for j in o if j in here] for o in orders]
        orders = [orders[i] for i in here]
        among = np.ix_(here, here)
        expected, met = turned(jacobian[here], target[among], orders)
        follows = ~np.eye(len(here), dtype=bool)
        if targets == "turned":
            follows &= met < target[among]
        target[among] = np.where(
            follows, 0.5 * target[among] + 0.5 * met, target[among]
        )
        direction, state = tx.update(
            jnp.asarray(jacobian), state, key=key, present=jnp.asarray(present)
        )
        np.testing.assert_allclose(direction, expected, rtol=1e-10)
        np.testing.assert_allclose(state.memory[0], target, atol=1e-12)
    assert (target.max() > 0.1) == (targets == "all")


def test_gradvac_reaches_the_target_and_is_pcgrad_at_zero(x64):
    jacobian, key = jnp.asarray(rows(5, 7)), jax.random.key(0)
    tx = gradvac(5)
    _, state = solve(tx, jacobian, key=key)
    direction, _ = solve(pcgrad(5), jacobian, key=key)
    np.testing.assert_allclose(state.weights @ jacobian, direction, rtol=1e-12)
    goal = jnp.array([[0.0, 0.7], [-1.0, 0.0]])  # the first turns, the second does not
    pair = GOLDEN.astype(float)
    state = gradvac(2).init(jnp.zeros(3))
    state = state._replace(memory=(goal, state.memory[1]))
    _, state = gradvac(2).update(pair, state)
    first = pair[0] + (state.weights[1] - 1) * pair[1]
    np.testing.assert_allclose(cosines(pair[1:], np.asarray(first)), 0.7, rtol=1e-12)


def test_gradvac_leaves_gradients_that_always_agree_alone():
    tx = gradvac(5, beta=1.0)
    lengths = np.array([[1.0], [3.0], [0.1], [7e4], [1e-6]])
    jacobian = jnp.asarray(rows(1, 7) * lengths, jnp.float32)
    state = tx.init(jnp.zeros(7))
    for _ in range(3):
        _, state = tx.update(jacobian, state)
        np.testing.assert_array_equal(state.weights, 1)
    assert state.memory[0][0, 1] > 0.9999


def test_imtl_g_is_the_published_closed_form(x64):
    checked = 0
    for seed in range(8):
        jacobian = rows(5, 7, seed, mean=0.3)
        units = jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)
        apart, angles = jacobian[:1] - jacobian[1:], units[:1] - units[1:]
        others = jacobian[0] @ angles.T @ np.linalg.inv(apart @ angles.T)
        weights = np.concatenate([[1 - others.sum()], others])
        _, state = solve(imtl_g(5), jnp.asarray(jacobian))
        if (
            2 * weights.sum() >= np.abs(weights).sum()
            and units[0] @ (weights @ jacobian) > 0
        ):
            np.testing.assert_allclose(state.weights, weights, rtol=1e-9)
            checked += 1
    assert checked > 4


def test_imtl_g_never_ascends():
    direction, state = solve(imtl_g(3), ASCENDING)
    units = ASCENDING / jnp.linalg.norm(ASCENDING, axis=1, keepdims=True)
    projections = np.asarray(units) @ direction
    assert projections.min() > 0.01
    np.testing.assert_allclose(projections, projections[0], rtol=1e-4)
    np.testing.assert_allclose(jnp.abs(state.weights).sum(), 2, rtol=1e-5)


def test_imtl_g_is_bounded_and_continuous_where_the_published_form_flips(x64):
    """From one side of a sum of weights of zero to the other."""
    stack = np.array(ASCENDING, float)[None] * np.ones((400, 1, 1))
    stack[:, 0] *= np.geomspace(1, 30, 400)[:, None]  # the short gradient grows
    tx = imtl_g(3)

    def update(jacobian):
        direction, state = tx.update(jacobian, tx.init(jnp.zeros(3)))
        return direction, state.weights

    directions, weights = jax.jit(jax.vmap(update))(jnp.asarray(stack))
    sums = np.asarray(weights).sum(axis=1)
    assert sums[0] < 0
    np.testing.assert_allclose(sums[-1], 1)
    lengths = np.linalg.norm(directions, axis=1)
    assert (lengths <= 2 * np.linalg.norm(stack, axis=2).max(axis=1)).all()
    assert np.abs(np.diff(directions, axis=0)).max() < 0.05
    assert (np.einsum("tkd,td->tk", stack, directions) > 0).all()


def test_config_follows_its_formula_and_preference(x64):
    jacobian, preference = rows(5, 7), np.array([1.0, 2.0, 0.5, 3.0, 1.0])
    units = jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)
    best = np.linalg.pinv(units) @ preference
    best /= np.linalg.norm(best)
    expected = sum(g @ best for g in jacobian) * best
    tx = conflict_free(5, preference=tuple(preference))
    direction, _ = solve(tx, jnp.asarray(jacobian))
    np.testing.assert_allclose(direction, expected, rtol=1e-9)
    ratios = cosines(jacobian, direction) / preference
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)


def test_config_takes_least_squares_where_gradients_depend(x64):
    jacobian = rows(5, 7)
    jacobian[3], jacobian[4] = -2 * jacobian[2], jacobian[0] + jacobian[1]
    units = jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)
    best = np.linalg.lstsq(units, np.ones(5), rcond=1e-10)[0]
    best /= np.linalg.norm(best)
    direction, _ = solve(conflict_free(5), jnp.asarray(jacobian))
    np.testing.assert_allclose(
        direction, (jacobian @ best).sum() * best, rtol=1e-6, atol=1e-9
    )


def test_config_and_imtl_g_have_one_direction_whatever_the_scales(x64):
    jacobian = rows(5, 7)
    first, _ = solve(conflict_free(5), jnp.asarray(jacobian))
    second, _ = solve(imtl_g(5), jnp.asarray(jacobian))
    scaled = jacobian * np.array([[1e-4], [1e3], [1.0], [7.0], [1e6]])
    third, _ = solve(conflict_free(5), jnp.asarray(scaled))
    for other in (second, third):
        np.testing.assert_allclose(cosines(first[None], other), 1, rtol=1e-9)


@pytest.mark.parametrize("method", [conflict_free, imtl_g])
def test_two_tasks_halve_the_angle(method):
    jacobian = jnp.asarray(rows(2, 3), jnp.float32)
    direction, _ = solve(method(2), jacobian)
    bisector = np.asarray(jacobian / jnp.linalg.norm(jacobian, axis=1, keepdims=True))
    np.testing.assert_allclose(
        cosines(bisector.sum(axis=0)[None], direction), 1, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("scale", "of"),
    [
        ("min", np.min),
        ("median", lambda s: np.sort(s)[(len(s) - 1) // 2]),
        ("rmse", np.mean),
    ],
)
@pytest.mark.parametrize("depend", [False, True])
def test_aligned_rows_are_the_nearest_orthogonal_ones(x64, scale, of, depend):
    jacobian, preference = rows(5, 7), np.array([1.0, 0.0, 2.0, 0.5, 1.0])
    if depend:
        jacobian[4] = jacobian[0] - jacobian[1]
    left, singular, right = np.linalg.svd(jacobian, full_matrices=False)
    rank = 4 if depend else 5
    aligned = np.sqrt(of(singular[:rank] ** 2)) * left[:, :rank] @ right[:rank]
    tx = aligned_mtl(5, scale=scale, preference=tuple(preference))
    direction, _ = solve(tx, jnp.asarray(jacobian))
    np.testing.assert_allclose(direction, preference @ aligned, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
def test_a_task_that_is_absent_or_at_rest_adds_no_eigenvalue(x64, scale):
    jacobian, present = rows(5, 7), np.array([True, False, True, True, False])
    tx, rest = aligned_mtl(5, scale=scale), jacobian * present[:, None]
    found, state = solve(tx, jnp.asarray(jacobian), present=jnp.asarray(present))
    at_rest, _ = solve(tx, jnp.asarray(rest))
    alone, _ = solve(aligned_mtl(3, scale=scale), jnp.asarray(jacobian[present]))
    np.testing.assert_allclose(found, alone, rtol=1e-9)
    np.testing.assert_allclose(at_rest, alone, rtol=1e-9)
    np.testing.assert_array_equal(state.weights[~present], 0)


def crafted(jacobian, means, tau, epsilon):
    """GradCraft on the vectors themselves."""
    scaled = np.stack(
        [
            tau * max(means) / m * g + (1 - tau) * g
            for g, m in zip(jacobian, means, strict=True)
        ]
    )
    result = scaled.copy()
    for i, own in enumerate(scaled):
        foes = scaled[scaled @ own < 0]
        if len(foes):
            asked = epsilon * np.linalg.norm(own) * np.linalg.norm(foes, axis=1)
            result[i] += foes.T @ np.linalg.solve(foes @ foes.T, asked - foes @ own)
    return scaled, result


def test_gradcraft_over_steps_with_an_absent_task(x64):
    """The means start at 0 as released; the last task comes late."""
    tx = gradcraft(5, tau=0.6, epsilon=0.1, decay=0.7)
    state, sums, steps = tx.init(jnp.zeros(7)), np.zeros(5), np.zeros(5, int)
    for step in range(4):
        jacobian = rows(5, 7, step)
        present = np.array([True, step != 2, True, True, step >= 2])
        norms = np.linalg.norm(jacobian, axis=1)
        sums = np.where(present, 0.7 * sums + 0.3 * norms, sums)
        steps += present
        means = sums[present] / (1 - 0.7 ** steps[present])
        _, expected = crafted(jacobian[present], means, 0.6, 0.1)
        direction, state = tx.update(
            jnp.asarray(jacobian), state, present=jnp.asarray(present)
        )
        np.testing.assert_allclose(direction, expected.mean(axis=0), rtol=1e-9)
        np.testing.assert_allclose(state.memory[0], sums, rtol=1e-12)


def test_gradcraft_turns_every_conflict_into_the_agreement_asked_for():
    """Two rows on one line conflict with the third: a singular system."""
    jacobian = np.array([[1.0, 0.2, 0], [2.0, 0.4, 0], [-1.0, 0.5, 0.3]])
    direction, _ = solve(
        gradcraft(3, tau=0.0, epsilon=0.3), jnp.asarray(jacobian, jnp.float32)
    )
    only = [[0, 2], [1, 2]]
    parts = [crafted(jacobian[i], np.ones(2), 0.0, 0.3)[1][0] for i in only]
    own = crafted(jacobian[[2, 0]], np.ones(2), 0.0, 0.3)[1][0]
    np.testing.assert_allclose(direction, (sum(parts) + own) / 3, rtol=1e-4)


def test_gradcraft_with_tau_one_makes_all_norms_the_largest():
    jacobian = jnp.diag(jnp.array([1.0, 2.0, 4.0]))
    direction, _ = solve(gradcraft(3, tau=1.0), jacobian)
    np.testing.assert_allclose(direction, [4 / 3] * 3, rtol=1e-6)


@pytest.mark.parametrize("distance", ["squared", "euclidean"])
@pytest.mark.parametrize("absent", [None, 2])
def test_krum_scores(x64, distance, absent):
    jacobian = rows(5, 7)
    present = np.arange(5) != absent
    here = jacobian[present]
    apart = np.linalg.norm(here[:, None] - here[None], axis=2)
    apart = apart**2 if distance == "squared" else apart
    nearest = np.sort(apart, axis=1)[:, 1 : len(here) - 1 - 2 + 1]
    best = np.argsort(nearest.sum(axis=1))[:2]
    tx = krum(5, num_byzantine=1, num_selected=2, distance=distance)
    direction, _ = solve(tx, jnp.asarray(jacobian), present=jnp.asarray(present))
    np.testing.assert_allclose(direction, here[best].mean(axis=0), rtol=1e-12)


def test_krum_with_too_few_present_takes_the_closest():
    jacobian = jnp.array([[0.0, 1], [50, 0], [0, 1.5], [9, 9], [-7, 3]])
    present = jnp.array([True, True, True, False, False])
    _, state = solve(krum(5, num_byzantine=2), jacobian, present=present)
    assert state.weights.tolist() == [1, 0, 0, 0, 0]
    _, state = solve(krum(5, num_selected=4), jacobian, present=present)
    np.testing.assert_allclose(state.weights, [1 / 3, 1 / 3, 1 / 3, 0, 0])


@every_method
def test_gradients_that_differ_depend_repeat_or_vanish_stay_finite(name):
    """Float32, norms over 20 decades; the rules see one shape, compiled once."""
    base = rows(5, 6)
    near = base[0] + 1e-7 * base
    awkward = np.stack(
        [
            base * 10.0 ** np.array([[-10], [-3], [0], [5], [10]]),
            np.tile(base[:1], (5, 1)),
            base[:1] * np.array([[1], [1], [-1], [-2], [0]]),
            base * np.array([[1], [0], [0], [1], [1]]),
            np.zeros((5, 6)),
            near,
            near * np.array([[1], [-1], [1], [-1], [1]]),
            1e15 * base,
            1e-10 * base,
        ]
    )
    tx = METHODS[name](5)

    @jax.jit
    def update(jacobian, state, present):
        return tx.update(jacobian, state, present=present)

    state = tx.init(jnp.zeros(6))
    for jacobian in awkward:
        for present in (np.ones(5, bool), np.arange(5) > 1, np.zeros(5, bool)):
            direction, state = update(
                jnp.asarray(jacobian, jnp.float32), state, jnp.asarray(present)
            )
            for leaf in jax.tree.leaves((direction, state)):
                assert np.isfinite(leaf).all()
            assert present.any() or not direction.any()
            # Nothing may be amplified: the step is of the size of the gradients.
            largest = np.linalg.norm(jacobian[present], axis=1).max(initial=0)
            assert np.linalg.norm(direction) <= 25 * largest


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pcgrad(2, order="random"), "order is 'random'"),
        (lambda: pcgrad(2, reduction="max"), "reduction is 'max'"),
        (lambda: gradvac(2, beta=1.5), "beta is 1.5"),
        (lambda: gradvac(2, targets="some"), "targets is 'some'"),
        (lambda: imtl_g(2, space="features"), "space is 'features'"),
        (lambda: imtl_g(2, heads="none"), "heads is 'none'"),
        (lambda: aligned_mtl(2, scale="max"), "scale is 'max'"),
        (lambda: aligned_mtl(2, preference=(1, -1)), "preference is"),
        (lambda: aligned_mtl(2, preference=(0, 0)), "not all 0"),
        (lambda: conflict_free(2, preference=(1, 0)), "2 finite numbers above 0"),
        (lambda: conflict_free(2, preference=(1, 1, 1)), "preference is"),
        (lambda: gradcraft(2, tau=2.0), "tau is 2.0"),
        (lambda: gradcraft(2, epsilon=1.0), "epsilon is 1.0"),
        (lambda: gradcraft(2, decay=1.0), "decay is 1.0"),
        (lambda: krum(4, num_byzantine=2), "num_byzantine is 2"),
        (lambda: krum(4, num_selected=5), "num_selected is 5"),
        (lambda: krum(4, distance="cosine"), "distance is 'cosine'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
