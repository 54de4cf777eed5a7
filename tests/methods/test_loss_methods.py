"""Methods on losses: each against its paper, in float64 numpy loops."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.cosmos_scalarization import cosmos_loss, cosmos_scalarization
from mtopt.methods.dynamic_weight_average import dynamic_weight_average
from mtopt.methods.geometric_loss import geometric_loss
from mtopt.methods.go4align import go4align, group_means
from mtopt.methods.improvable_gap_balancing import improvable_gap_balancing
from mtopt.methods.imtl_l import imtl_l
from mtopt.methods.ldc import ldc
from mtopt.methods.pbi import pbi, pbi_loss
from mtopt.methods.random_loss_weighting import (
    DISTRIBUTIONS,
    draw,
    random_loss_weighting,
)
from mtopt.methods.scale_invariant import scale_invariant
from mtopt.methods.smooth_tchebycheff import (
    smooth_tchebycheff,
    smooth_tchebycheff_loss,
)
from mtopt.methods.smooth_tchebycheff_warmup import smooth_tchebycheff_warmup
from mtopt.methods.tchebycheff import tchebycheff, tchebycheff_loss
from mtopt.methods.uncertainty_weighting import uncertainty_weighting

MAKE = {
    "scale_invariant": scale_invariant,
    "geometric_loss": geometric_loss,
    "uncertainty_weighting": uncertainty_weighting,
    "dwa_epoch": functools.partial(dynamic_weight_average, steps_per_epoch=1),
    "dwa_window": functools.partial(dynamic_weight_average, window=1),
    "random_loss_weighting": random_loss_weighting,
    "imtl_l": imtl_l,
    "smooth_tchebycheff": smooth_tchebycheff,
    "smooth_tchebycheff_warmup": functools.partial(
        smooth_tchebycheff_warmup, steps_per_epoch=1, warmup_epochs=0
    ),
    "tchebycheff": tchebycheff,
    "pbi": pbi,
    "cosmos_scalarization": cosmos_scalarization,
    "improvable_gap_balancing": functools.partial(
        improvable_gap_balancing, steps_per_epoch=1, base_epoch=0
    ),
    "go4align": go4align,
    "ldc": ldc,
    "ldc_log": functools.partial(ldc, normalization="log"),
}
every_method = pytest.mark.parametrize("name", sorted(MAKE))


def compiled(tx):
    """Many steps of a method in one program: losses and presence, ``[T, K]``."""

    def run(losses, present):
        params = jnp.zeros(losses.shape[1], losses.dtype)
        rows = jnp.eye(losses.shape[1], dtype=losses.dtype)

        def step(state, inputs):
            losses, present = inputs
            direction, state = tx.update(
                rows, state, params, losses=losses, present=present
            )
            return state, (state.weights, direction)

        return jax.lax.scan(step, tx.init(params), (losses, present))

    return jax.jit(run)


@functools.cache
def compiled_by_name(name):
    return compiled(MAKE[name](3))


def follow(method, losses, present=None):
    """The weights of every step on these losses ``[T, K]``, and the last state."""
    run = compiled_by_name(method) if isinstance(method, str) else compiled(method)
    losses = jnp.asarray(losses, float)
    present = np.ones(losses.shape, bool) if present is None else present
    state, (weights, directions) = run(losses, jnp.asarray(present))
    np.testing.assert_allclose(directions, weights, rtol=1e-6)
    return np.asarray(weights), state


def slope(function, at, size=1e-6):
    """Central differences of a function of a few numbers."""
    eye = np.eye(len(at))
    return np.array(
        [
            (function(at + size * a * e) - function(at - size * a * e)) / (2 * size * a)
            for a, e in zip(np.abs(at), eye, strict=True)
        ]
    )


def softmax(values):
    parts = np.exp(np.asarray(values) - np.max(values))
    return parts / parts.sum()


def adam(slopes, learning_rate=0.025):
    """The steps of Adam for one number, along given slopes."""
    mean = square = 0.0
    for t, g in enumerate(slopes, start=1):
        mean = 0.9 * mean + 0.1 * g
        square = 0.999 * square + 0.001 * g**2
        yield (
            -learning_rate
            * (mean / (1 - 0.9**t))
            / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        )


# --- methods without memory: the weights are the gradient of their scalar loss


PREFERENCE = np.array([1.0, 2.0, 5.0])


def geometric(losses, index):
    return np.prod(losses) ** (1 / len(losses))


def soft_max(losses, index):
    share = PREFERENCE[index] / PREFERENCE.sum()
    return 0.3 * np.log(np.sum(np.exp(share * (losses - 0.1) / 0.3)))


def boundary(losses, index):
    ray = PREFERENCE[index] / np.linalg.norm(PREFERENCE[index])
    along = (losses - 0.1) @ ray
    return along + 2 * np.linalg.norm(losses - 0.1 - along * ray)


def cosine(losses, index):
    share = PREFERENCE[index] / PREFERENCE.sum()
    norms = np.linalg.norm(share) * np.linalg.norm(losses)
    return share @ losses - 2 * (share @ losses) / norms


IDEAL = (0.1, 0.1, 0.1)
SCALARISED = {
    "scale_invariant": (
        lambda: scale_invariant(3),
        lambda losses, index: np.log(losses + 1e-8).sum(),
    ),
    "log1p": (
        lambda: scale_invariant(3, epsilon=1),
        lambda losses, index: np.log1p(losses).sum(),
    ),
    "geometric_loss": (lambda: geometric_loss(3), geometric),
    "tchebycheff": (
        lambda: tchebycheff(3, preference=(1, 2, 5), ideal=IDEAL),
        lambda losses, index: np.max(PREFERENCE[index] / 8 * (losses - 0.1)),
    ),
    "modified_tchebycheff": (
        lambda: tchebycheff(3, preference=(1, 2, 5), ideal=IDEAL, form="quotient"),
        lambda losses, index: np.max((losses - 0.1) * 8 / PREFERENCE[index]),
    ),
    "smooth_tchebycheff": (
        lambda: smooth_tchebycheff(3, mu=0.3, preference=(1, 2, 5), ideal=IDEAL),
        soft_max,
    ),
    "pbi": (lambda: pbi(3, theta=2, preference=(1, 2, 5), ideal=IDEAL), boundary),
    "cosmos": (lambda: cosmos_scalarization(3, preference=(1, 2, 5)), cosine),
}


@pytest.mark.parametrize("name", sorted(SCALARISED))
def test_weights_are_the_gradient_of_the_scalarised_loss(name):
    make, reference = SCALARISED[name]
    losses = np.array([[0.7, 2.3, 0.4], [0.7, 2.3, 0.4], [3.1, 0.0, 0.6]])
    present = np.array([[1, 1, 1], [1, 0, 1], [1, 0, 1]], bool)
    with jax.enable_x64(True):
        weights, _ = follow(make(), losses, present)
    for w, here, loss in zip(weights, present, losses, strict=True):
        index = np.flatnonzero(here)
        expected = slope(lambda part, i=index: reference(part, i), loss[here])
        # Central differences in float64 are good to about 1e-9.
        np.testing.assert_allclose(w[here], expected, rtol=1e-6, atol=1e-8)
        assert (w[~here] == 0).all()


def test_ties_share_the_worst_loss():
    weights, _ = follow(tchebycheff(3), [[2.0, 2.0, 1.0]])
    np.testing.assert_allclose(weights[0], [1 / 6, 1 / 6, 0], rtol=1e-6)


def test_on_its_ray_pbi_descends_the_ray_alone():
    weights, _ = follow(pbi(3, preference=(3, 4, 12)), [[3e-5, 4e-5, 12e-5]])
    np.testing.assert_allclose(weights[0], np.array([3, 4, 12]) / 13, atol=2e-1)


def test_the_smooth_maximum_bounds_the_maximum():
    losses, even = jnp.array([0.3, 2.0, 1.0]), jnp.ones(3)
    soft = jax.jit(
        lambda mu: smooth_tchebycheff_loss(losses, even, 0 * even, mu), static_argnums=0
    )
    for mu in (1e-3, 0.1, 10.0):
        assert 2 <= soft(mu) <= 2 + mu * np.log(3) + 1e-5


def test_the_scalar_losses_take_a_traced_preference():
    losses = jnp.array([0.3, 2.0, 1.0])
    rays = jnp.array([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]) / 3

    def values(ray):
        return jnp.stack(
            [
                tchebycheff_loss(losses, ray, jnp.zeros(3)),
                smooth_tchebycheff_loss(losses, ray, jnp.zeros(3), 0.1),
                pbi_loss(losses, ray, jnp.zeros(3), 5.0),
                cosmos_loss(losses, ray, 2.0),
            ]
        )

    found = np.asarray(jax.jit(jax.vmap(values))(rays), np.float64)
    ray = np.array([1.0, 2.0, 3.0]) / 6 * 2
    scaled = ray * losses
    along = losses @ ray / np.linalg.norm(ray)
    across = np.linalg.norm(losses - along * ray / np.linalg.norm(ray))
    cosine = along / np.linalg.norm(losses)
    expected = [
        scaled.max(),
        0.1 * np.log(np.exp(scaled / 0.1).sum()),
        along + 5 * across,
        scaled.sum() - 2 * cosine,
    ]
    np.testing.assert_allclose(found[1], expected, rtol=1e-5)


# --- learned numbers


KINDS = ("regression", "classification", "regression")


@pytest.mark.parametrize(
    ("make", "start", "weight", "descent"),
    [
        (
            lambda: uncertainty_weighting(3, kinds=KINDS, init=-0.5),
            -0.5,
            lambda k, s: [0.5, 1, 0.5][k] * np.exp(-s),
            lambda k, s, loss: 0.5 - [0.5, 1, 0.5][k] * np.exp(-s) * loss,
        ),
        (
            lambda: imtl_l(3),
            0.0,
            lambda k, s: np.exp(s),
            lambda k, s, loss: np.exp(s) * loss - 1,
        ),
    ],
    ids=["uncertainty_weighting", "imtl_l"],
)
def test_learned_numbers_follow_adam_and_wait_for_absent_tasks(
    make, start, weight, descent
):
    rng = np.random.default_rng(0)
    losses = rng.uniform(0.2, 4, (12, 3))
    present = rng.uniform(size=(12, 3)) < 0.7
    with jax.enable_x64(True):
        weights, state = follow(make(), losses, present)
    for k in range(3):
        s = start
        slopes = []
        for t in range(12):
            if not present[t, k]:
                assert weights[t, k] == 0
                continue
            np.testing.assert_allclose(weights[t, k], weight(k, s), rtol=1e-6)
            slopes.append(descent(k, s, losses[t, k]))
            s += list(adam(slopes))[-1]
        np.testing.assert_allclose(state.memory.values[k], s, rtol=1e-6, atol=1e-7)


def test_learned_weights_end_at_the_inverse_losses():
    losses = np.tile([0.5, 1.0, 2.0], (800, 1))
    for tx, ends in (
        (uncertainty_weighting(3), 0.5 / losses[0]),
        (uncertainty_weighting(3, kinds="classification"), 0.5 / losses[0]),
        (imtl_l(3), 1 / losses[0]),
    ):
        weights, _ = follow(tx, losses)
        np.testing.assert_allclose(weights[-1], ends, rtol=1e-2)


# --- averages over epochs and windows


def test_dynamic_weight_average_over_epochs():
    rng = np.random.default_rng(1)
    losses = rng.uniform(0.5, 2, (20, 3))
    present = rng.uniform(size=(20, 3)) < 0.8
    present[4:8, 2] = False
    with jax.enable_x64(True):
        tx = dynamic_weight_average(3, steps_per_epoch=4, temperature=1.5)
        weights, _ = follow(tx, losses, present)
    for t in range(20):
        ratios = []
        for k in np.flatnonzero(present[t]):
            means = [
                losses[e : e + 4, k][present[e : e + 4, k]].mean()
                for e in range(0, t // 4 * 4, 4)
                if present[e : e + 4, k].any()
            ]
            ratios.append(means[-1] / means[-2] if len(means) > 1 else 1.0)
        expected = len(ratios) * softmax(np.array(ratios) / 1.5) if ratios else []
        np.testing.assert_allclose(weights[t][present[t]], expected, rtol=1e-6)


def test_dynamic_weight_average_over_a_window():
    rng = np.random.default_rng(2)
    losses = rng.uniform(0.5, 2, (16, 3))
    present = rng.uniform(size=(16, 3)) < 0.8
    with jax.enable_x64(True):
        tx = dynamic_weight_average(3, window=3)
        weights, _ = follow(tx, losses, present)
    for t in range(16):
        ratios = []
        for k in np.flatnonzero(present[t]):
            seen = losses[: t + 1, k][present[: t + 1, k]]
            ready = len(seen) >= 6
            ratios.append(seen[-3:].mean() / seen[-6:-3].mean() if ready else 1.0)
        expected = len(ratios) * softmax(np.array(ratios) / 2) if ratios else []
        np.testing.assert_allclose(weights[t][present[t]], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["improvable_gap_balancing", "stch_warmup"])
def test_methods_with_an_epoch_as_yardstick(name):
    rng = np.random.default_rng(3)
    losses = rng.uniform(0.5, 2, (10, 3))
    present = np.ones((10, 3), bool)
    present[4, 0] = False
    present[3:7, 2] = False  # absent from the whole of epoch 1, and from step 6
    tx = (
        improvable_gap_balancing(3, steps_per_epoch=3)
        if name == "improvable_gap_balancing"
        else smooth_tchebycheff_warmup(3, steps_per_epoch=3, warmup_epochs=1, mu=0.7)
    )
    with jax.enable_x64(True):
        weights, _ = follow(tx, losses, present)
    base = np.array([losses[[3, 5], 0].mean(), losses[3:6, 1].mean(), losses[7, 2]])
    for t in range(10):
        here = present[t]
        loss, count = losses[t, here], here.sum()
        if t < 6:
            expected = 1 / loss
        elif name == "improvable_gap_balancing":
            expected = count * softmax(loss / base[here]) / loss
        else:
            expected = count * softmax(np.log(loss / base[here]) / 0.7) / loss
        np.testing.assert_allclose(weights[t, here], expected, rtol=1e-6)
        assert (weights[t, ~here] == 0).all()


# --- random weights


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_random_weights(distribution):
    present = jnp.array([True, True, False, True])
    keys = jax.random.split(jax.random.key(0), 4000)
    draws = jax.jit(jax.vmap(lambda key: draw(key, present, distribution)))(keys)
    draws = np.asarray(draws, np.float64)[:, [0, 1, 3]]
    np.testing.assert_allclose(draws.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(draws.mean(0), 1 / 3, atol=0.02)
    spread = draws.var(axis=0).mean()
    if distribution == "dirichlet":
        np.testing.assert_allclose(spread, 2 / (9 * 4), rtol=0.1)
    elif distribution == "constrained_bernoulli":
        assert set(np.unique(draws)) == {0.0, 1.0}
    elif distribution == "bernoulli":
        subsets, counts = np.unique(draws > 0, axis=0, return_counts=True)
        assert len(subsets) == 7
        np.testing.assert_allclose(counts / 4000, 1 / 7, atol=0.03)
    else:
        normal = np.random.default_rng(0).normal(size=(100_000, 3))
        uniform = np.random.default_rng(0).uniform(size=(100_000, 3))
        logits = normal if distribution == "normal" else uniform
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(spread, shares.var(0).mean(), rtol=0.1)


def test_random_weights_are_new_in_every_step_and_follow_the_key():
    weights, _ = follow(random_loss_weighting(3), np.ones((3, 3)))
    assert len(np.unique(weights[:, 0])) == 3
    tx = random_loss_weighting(3)
    state = tx.init(jnp.zeros(3))
    drawn = [
        tx.update(jnp.eye(3), state, key=jax.random.key(seed))[1].weights
        for seed in (5, 5, 6)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).all()


# --- groups


def best_means(values, num_groups):
    """The means of the best of all assignments to groups, by trying every one."""
    best = None
    for labels in itertools.product(range(num_groups), repeat=len(values)):
        labels = np.array(labels)
        means = np.array([values[labels == label].mean() for label in labels])
        cost = ((values - means) ** 2).sum()
        if best is None or cost < best[0]:
            best = cost, means
    return best[1]


@pytest.mark.parametrize("num_groups", [1, 2, 3])
def test_groups_are_the_best_of_all(num_groups):
    rng = np.random.default_rng(4)
    batch = rng.lognormal(sigma=1.5, size=(8, 6))
    present = np.ones((8, 6), bool)
    present[4:, 1] = False
    with jax.enable_x64(True):
        found = jax.jit(jax.vmap(lambda v, p: group_means(v, p, num_groups)))(
            jnp.asarray(batch), jnp.asarray(present)
        )
    for values, here, means in zip(batch, present, np.asarray(found), strict=True):
        expected = best_means(values[here], num_groups)
        np.testing.assert_allclose(means[here], expected, rtol=1e-9)


def test_go4align_updates_its_risks_and_absent_tasks_keep_theirs():
    rng = np.random.default_rng(5)
    losses = rng.uniform(0.5, 3, (6, 3))
    present = np.ones((6, 3), bool)
    present[2:5, 1] = False
    with jax.enable_x64(True):
        weights, state = follow(go4align(3, step_size=0.1), losses, present)
        ungrouped, _ = follow(go4align(3, step_size=0.1, num_groups=7), losses, present)
    p = np.full(3, 1 / 3)
    for t in range(6):
        here = present[t]
        moved = p[here] * np.exp(-0.1 * losses[t, here])
        within = moved / moved.sum()
        p[here] = within * p[here].sum()
        risks = losses[t, here].sum() / losses[t, here] * within
        np.testing.assert_allclose(weights[t, here], best_means(risks, 2), rtol=1e-6)
        np.testing.assert_allclose(ungrouped[t, here], risks, rtol=1e-6)
    np.testing.assert_allclose(np.exp(state.memory), p, rtol=1e-6)


# --- LDC


@pytest.mark.parametrize("tau", ["weights", "ones"])
@pytest.mark.parametrize("normalization", ["identity", "rescaled", "log"])
def test_ldc_is_the_gradient_of_its_objective(tau, normalization):
    losses = np.array([[2.0, 0.5, 1.3], [1.7, 0.6, 0.9], [1.1, 0.4, 0.7]])
    present = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    first = losses[0]

    def objective(part, logits, here):
        v = softmax(logits)
        if normalization == "rescaled":
            part = part / (first / first.min())[here]
        elif normalization == "log":
            part = np.log(part / first[here])
        compared = v * part if tau == "weights" else part
        return v @ part + 0.2 * np.abs(np.diff(compared)).sum()

    tx = ldc(3, penalty=0.2, tau=tau, normalization=normalization)
    with jax.enable_x64(True):
        weights, state = follow(tx, losses, present)
    logits = np.full(3, 0.0)
    slopes = [[], [], []]
    # The subgradient of |0| is 0: at the first step all rescaled losses are equal.
    ties = normalization != "identity"
    for t in range(3):
        here = present[t]
        x = logits[here]
        if not (ties and t == 0):
            expected = slope(
                lambda part, x=x, here=here: objective(part, x, here), losses[t, here]
            )
            np.testing.assert_allclose(weights[t, here], expected, rtol=1e-6, atol=1e-8)
        shifted = slope(
            lambda y, x=x, t=t, here=here: objective(losses[t, here], x + y - 1, here),
            np.ones(len(x)),
        )
        if ties and t == 0:
            return
        for k, g in zip(np.flatnonzero(here), shifted, strict=True):
            slopes[k].append(g)
            logits[k] += list(adam(slopes[k]))[-1]
    np.testing.assert_allclose(state.memory.logits.values, logits, rtol=1e-4, atol=1e-7)


# --- what holds for all of them


@every_method
def test_one_task_descends_its_own_gradient(name):
    weights, _ = follow(MAKE[name](1), np.full((3, 1), 2.0))
    assert (weights > 0).all()


@every_method
def test_losses_of_any_size_keep_it_finite(name):
    losses = [
        [1.0, 2.0, 3.0],
        [0.0, 1.0, 1e15],
        [0.0, 0.0, 0.0],
        [1e-10, 2e-10, 1e-20],
        [1e15, 2e15, 1e15],
        [1.0, 2.0, 3.0],
    ]
    weights, state = follow(name, losses)
    assert np.isfinite(weights).all()
    assert (weights != 0).any(axis=1).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@every_method
def test_an_absent_task_and_an_empty_batch_leave_no_trace(name):
    """Whatever an absent task's loss reads, the others go on as without it."""
    losses = np.array([[1.0, 2.0, 3.0]] * 2 + [[1.0, 0.0, 2.0]] * 3 + [[1.0, 1.0, 1.0]])
    present = np.ones((6, 3), bool)
    present[2:5, 1] = False
    present[3] = False
    weights, state = follow(name, losses, present)
    junk = np.where(present, losses, 77.0)
    again, other = follow(name, junk, present)
    np.testing.assert_array_equal(weights, again)
    jax.tree.map(np.testing.assert_array_equal, state, other)
    assert (weights[~present] == 0).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: scale_invariant(2, epsilon=0), "epsilon is 0: expected a number abo"),
        (lambda: geometric_loss(2, heads="none"), "heads is 'none'"),
        (lambda: uncertainty_weighting(2, kinds="count"), "kinds is 'count'"),
        (lambda: uncertainty_weighting(2, kinds=KINDS), "kinds has 3 entries"),
        (lambda: uncertainty_weighting(2, learning_rate=0), "learning_rate is 0"),
        (lambda: uncertainty_weighting(2, init=float("nan")), "init is nan"),
        (lambda: imtl_l(2, learning_rate=-1), "learning_rate is -1"),
        (lambda: dynamic_weight_average(2, steps_per_epoch=0), "steps_per_epoch is 0"),
        (lambda: dynamic_weight_average(2, window=0), "window is 0"),
        (lambda: dynamic_weight_average(2, window=5, temperature=0), "temperature is"),
        (lambda: random_loss_weighting(2, distribution="x"), "distribution is 'x'"),
        (lambda: smooth_tchebycheff(2, mu=0), "mu is 0"),
        (lambda: smooth_tchebycheff_warmup(2, steps_per_epoch=0), "steps_per_epoch is"),
        (lambda: tchebycheff(2, preference=(1, 0)), r"preference is \(1, 0\)"),
        (lambda: tchebycheff(2, preference=(1, 1, 1)), "expected 2 finite numbers"),
        (lambda: tchebycheff(2, ideal=(1,)), r"ideal is \(1,\)"),
        (lambda: tchebycheff(2, form="sum"), "form is 'sum'"),
        (lambda: pbi(2, theta=-1), "theta is -1"),
        (lambda: cosmos_scalarization(2, penalty=-1), "penalty is -1"),
        (
            lambda: improvable_gap_balancing(2, steps_per_epoch=1, base_epoch=-1),
            "base_epoch is -1",
        ),
        (lambda: go4align(2, num_groups=0), "num_groups is 0"),
        (lambda: go4align(2, step_size=-1), "step_size is -1"),
        (lambda: ldc(2, tau="w"), "tau is 'w'"),
        (lambda: ldc(2, normalization="none"), "normalization is 'none'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()


def test_a_missing_loss_is_named():
    tx = scale_invariant(2)
    with pytest.raises(TypeError, match="'losses'"):
        tx.update(jnp.eye(2), tx.init(jnp.zeros(2)))
