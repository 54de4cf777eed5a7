"""Methods that work on the rows themselves: masks, averages, projections of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.errors import UserError
from mtopt.linalg import project_simplex, row_norms, share_of
from mtopt.linear_problem import linear_problem
from mtopt.methods.bloop import bloop
from mtopt.methods.db_mtl import db_mtl
from mtopt.methods.excess_mtl import excess_mtl
from mtopt.methods.graddrop import graddrop
from mtopt.methods.gradnorm import gradnorm
from mtopt.methods.moco import moco
from mtopt.methods.trimmed_mean import trimmed_mean

K, D, STEPS = 3, 4, 5
GOLDEN = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])


def batches(seed=0):
    """Rows, losses and who is present over a few steps; task 1 leaves and returns."""
    rng = np.random.default_rng(seed)
    present = np.ones((STEPS, K), bool)
    present[1:3, 1] = False
    rows = rng.normal(size=(STEPS, K, D)) + 0.4
    return rows * present[..., None], rng.uniform(0.5, 3, size=(STEPS, K)), present


def run(tx, steps=None):
    """Directions and weights over the steps, in float64."""
    with jax.enable_x64(True):
        state = tx.init(jnp.zeros(D))
        update = jax.jit(tx.update)
        out = []
        for rows, losses, present in zip(*(steps or batches()), strict=True):
            direction, state = update(
                jnp.asarray(rows),
                state,
                losses=jnp.asarray(losses),
                present=jnp.asarray(present),
            )
            out.append((np.asarray(direction), np.asarray(state.weights)))
        return out


def assert_follows(tx, reference, steps=None):
    """The method's directions are those of the algorithm, step by step."""
    for (direction, _), expected in zip(run(tx, steps), reference, strict=True):
        np.testing.assert_allclose(direction, expected, rtol=1e-6, atol=1e-9)


def nearest_on_simplex(values):
    """The projection by trying every support: slow, and obviously right."""
    best = None
    for bits in range(1, 2 ** len(values)):
        chosen = np.array([bits >> k & 1 for k in range(len(values))], bool)
        shifted = values + (1 - values[chosen].sum()) / chosen.sum()
        point = np.where(chosen, shifted, 0)
        distance = np.sum((point - values) ** 2)
        if point.min() >= 0 and (best is None or distance < best[0]):
            best = distance, point
    return best[1]


def test_projection_on_the_simplex():
    rng = np.random.default_rng(0)
    project = jax.jit(project_simplex)
    for scale in (0.1, 1.0, 10.0):
        for _ in range(5):
            values = scale * rng.normal(size=4)
            present = rng.uniform(size=4) < 0.7
            present[0] = True
            expected = np.zeros(4)
            expected[present] = nearest_on_simplex(values[present])
            found = project(jnp.asarray(values, jnp.float32), jnp.asarray(present))
            np.testing.assert_allclose(found, expected, atol=1e-5)
    nobody = project(jnp.ones(4), jnp.zeros(4, bool))
    assert not np.asarray(nobody).any()
    huge = jnp.array([1e30, 1e30, -1e30, 0.0])
    np.testing.assert_array_equal(project(huge, jnp.ones(4, bool)), [0.5, 0.5, 0, 0])


def test_shares_of_the_present_tasks():
    weights = jnp.array([0.2, 0.3, 0.5, 0.0])
    shares, total = share_of(weights, jnp.array([True, True, False, False]))
    np.testing.assert_allclose(shares, [0.4, 0.6, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(total, 0.5, rtol=1e-6)
    shares, total = share_of(weights, jnp.array([False, False, False, True]))
    np.testing.assert_array_equal(shares, [0, 0, 0, 1])
    assert total == 0


def test_norms_at_any_scale():
    rows = {"a": jnp.array([[3.0, 0], [0, 0]]), "b": jnp.array([4.0, 0])}
    norms = jax.jit(lambda s: row_norms(jax.tree.map(lambda leaf: leaf * s, rows)))
    for scale in (1e-37, 1.0, 1e37):
        np.testing.assert_allclose(norms(scale), [5 * scale, 0], rtol=1e-5)


# --- trimmed mean ---


def test_trimmed_mean_is_the_mean_of_the_middle():
    rows, losses, present = batches()

    def reference():
        for row, here in zip(rows, present, strict=True):
            ordered = np.sort(row[here], axis=0)
            yield ordered[1:-1].mean(axis=0) if len(ordered) > 2 else ordered.mean(0)

    assert_follows(trimmed_mean(K), reference(), (rows, losses, present))


def test_trimmed_mean_of_many_and_of_ties():
    rng = np.random.default_rng(1)
    rows = jnp.asarray(rng.integers(-2, 3, size=(9, 50)), jnp.float32)
    tx = trimmed_mean(9, num_trimmed=3)
    direction, _ = jax.jit(tx.update)(rows, tx.init(jnp.zeros(50)))
    expected = np.sort(np.asarray(rows), axis=0)[3:6].mean(axis=0)
    np.testing.assert_allclose(direction, expected, atol=1e-6)


# --- GradDrop ---


def purity(rows):
    total = np.abs(rows).sum(0)
    return 0.5 * (1 + rows.sum(0) / np.where(total > 0, total, 1))


def test_graddrop_keeps_one_sign_as_often_as_it_is_pure():
    tx = graddrop(3)
    rows = jnp.array([[1.0, -2.0, 1.0, 0.0], [3.0, -1.0, -1.0, 0.0], [-1, -1, 0, 0]])
    state = tx.init(jnp.zeros(4))
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = jax.jit(jax.vmap(lambda key: tx.update(rows, state, key=key)[0]))(keys)
    np.testing.assert_array_equal(np.unique(drawn[:, 0]), [-1, 4])
    np.testing.assert_array_equal(np.unique(drawn[:, 1]), [-4])
    np.testing.assert_array_equal(np.unique(drawn[:, 2]), [-1, 1])
    assert not np.asarray(drawn[:, 3]).any()
    often = (np.asarray(drawn) > 0).mean(axis=0)
    # 2000 draws: three standard deviations are 0.034.
    np.testing.assert_allclose(
        often[[0, 2]], purity(np.asarray(rows))[[0, 2]], atol=0.04
    )


def test_graddrop_leaks():
    key = jax.random.key(3)
    rows = jnp.array([[1.0, 5.0], [-2.0, 1.0]])
    state = graddrop(2).init(jnp.zeros(2))
    kept, _ = graddrop(2).update(rows, state, key=key)
    everything, _ = graddrop(2, leak=1.0).update(rows, state, key=key)
    np.testing.assert_array_equal(everything, rows.sum(0))
    leaked, _ = graddrop(2, leak=(0.0, 0.25)).update(rows, state, key=key)
    winner_is_first = bool(kept[0] > 0)
    np.testing.assert_allclose(leaked[0], 1 - 0.5 if winner_is_first else -2)
    assert leaked[1] == 6


def test_graddrop_draws_anew_in_every_step():
    tx = graddrop(2)
    rows = jnp.stack([jnp.ones(64), -jnp.ones(64)])
    state = tx.init(jnp.zeros(64))
    first, state = tx.update(rows, state)
    second, _ = tx.update(rows, state)
    assert not np.array_equal(first, second)


def encode(shared, x, key):
    del key
    return jnp.tanh(x @ shared)


def head_loss(head, z, y, mask, key):
    del key
    return mtopt.masked_mean((z @ head - y) ** 2, mask)


def small_problem(x_axis):
    keys = jax.random.split(jax.random.key(5), 4)
    tasks = mtopt.Tasks(("a", "b"), encode, head_loss, x_axis)
    lead = () if x_axis is None else (2,)
    batch = mtopt.Batch(
        jax.random.normal(keys[0], (*lead, 6, 3)),
        jax.random.normal(keys[1], (2, 6)),
        jnp.ones((2, 6), bool),
    )
    params = {
        "shared": jax.random.normal(keys[2], (3, 4)),
        "tasks": mtopt.PerTask(jax.random.normal(keys[3], (2, 4)), tasks.names),
    }
    return tasks.problem(batch, jax.random.key(0)), params, batch


@pytest.mark.parametrize("x_axis", [None, 0])
def test_graddrop_on_the_representation(x_axis):
    """One sign for each feature, the draw weighed by the feature's own sign."""
    problem, params, batch = small_problem(x_axis)
    _, grads = jax.jit(problem.losses_and_grads)(params)
    w, heads = np.asarray(params["shared"]), np.asarray(params["tasks"].values)
    xs = [np.asarray(batch.x if x_axis is None else batch.x[k]) for k in range(2)]
    zs = [np.tanh(x @ w) for x in xs]
    ys = np.asarray(batch.y)
    gradients = [
        2 / 6 * (zs[k] @ heads[k] - ys[k])[:, None] * heads[k][None] for k in range(2)
    ]
    signed = np.stack([(gradients[k] * np.sign(zs[k])).sum(0) for k in range(2)])

    def direction(positive_wins):
        kept = np.where(positive_wins, signed > 0, signed < 0)
        return sum(
            xs[k].T @ (gradients[k] * kept[k] * (1 - zs[k] ** 2)) for k in range(2)
        )

    def compiled(**options):
        tx = graddrop(2, space="representation", **options)

        @jax.jit
        def update(key):
            state = tx.init(params)
            return tx.update(grads, state, params, problem=problem, key=key)[0]

        return update

    possible = [
        direction(np.array([bits >> j & 1 for j in range(4)], bool))
        for bits in range(16)
    ]
    update = compiled()
    for seed in range(3):
        found = np.asarray(update(jax.random.key(seed))["shared"])
        assert min(np.abs(found - one).max() for one in possible) < 1e-5
    whole = compiled(leak=1.0)(jax.random.key(0))
    np.testing.assert_allclose(whole["shared"], grads["shared"].sum(0), atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, whole["tasks"], grads["tasks"])


def test_graddrop_on_the_representation_of_groups():
    """Two groups of one task each are the two tasks of one group."""
    problem, params, batch = small_problem(None)
    tasks = problem.tasks
    groups = mtopt.TaskGroups(
        tuple(
            mtopt.Tasks((name,), tasks.encode, tasks.head_loss) for name in tasks.names
        ),
        shared_inputs=True,
    )
    halves = [slice(k, k + 1) for k in range(2)]
    y, mask = (tuple(leaf[h] for h in halves) for leaf in (batch.y, batch.mask))
    grouped = groups.problem(mtopt.Batch(batch.x, y, mask), jax.random.key(0))
    heads = tuple(
        mtopt.PerTask(params["tasks"].values[h], (name,))
        for h, name in zip(halves, tasks.names, strict=True)
    )
    tx = graddrop(2, space="representation")

    def direction(problem, params):
        _, grads = problem.losses_and_grads(params)
        own = {"problem": problem, "key": jax.random.key(3)}
        return tx.update(grads, tx.init(params), params, **own)[0]["shared"]

    np.testing.assert_allclose(
        jax.jit(direction)(grouped, {"shared": params["shared"], "tasks": heads}),
        jax.jit(direction)(problem, params),
        rtol=1e-5,
    )


def test_graddrop_names_what_it_cannot_do():
    problem, params, batch = small_problem(None)
    groups = mtopt.TaskGroups((problem.tasks,), shared_inputs=False)
    grouped = groups.problem(
        mtopt.Batch((batch.x,), (batch.y,), (batch.mask,)), jax.random.key(0)
    )
    params = {"shared": params["shared"], "tasks": (params["tasks"],)}
    grads = {"shared": jnp.ones((2, 3, 4)), "tasks": params["tasks"]}
    tx = graddrop(2, space="representation")
    with pytest.raises(UserError, match="no representation in common"):
        tx.update(grads, tx.init(params), params, problem=grouped)
    with pytest.raises(TypeError, match="problem"):
        tx.update(grads, tx.init(params), params)


# --- DB-MTL ---


def test_db_mtl_follows_the_algorithm():
    rows, losses, present = batches()

    def reference():
        average, count = np.zeros((K, D)), np.zeros(K)
        for row, loss, here in zip(rows, losses, present, strict=True):
            for k in np.flatnonzero(here):
                count[k] += 1
                beta = 0.9 / count[k] ** 0.5
                log_gradient = row[k] / (loss[k] + 1e-8)
                average[k] = beta * average[k] + (1 - beta) * log_gradient
            norms = np.linalg.norm(average, axis=1)
            longest = norms[here].max()
            yield sum(
                longest / (norms[k] + 1e-8) * average[k] for k in range(K) if here[k]
            )

    assert_follows(db_mtl(K, sigma=0.5), reference(), (rows, losses, present))


def test_db_mtl_is_blind_to_scales_and_shares_a_direction_with_nash():
    rows, losses = GOLDEN, jnp.array([2.0, 5.0])
    tx = db_mtl(2)
    update = jax.jit(
        lambda rows, losses: tx.update(rows, tx.init(rows[0]), losses=losses)
    )
    direction, _ = update(rows, losses)
    unit = rows / jnp.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(
        direction / jnp.linalg.norm(direction),
        unit.sum(0) / jnp.linalg.norm(unit.sum(0)),
        atol=1e-6,
    )
    scale = jnp.array([1e3, 1e-3])
    again, _ = update(rows * scale[:, None], losses * scale)
    np.testing.assert_allclose(again, direction, rtol=1e-4)
    tiny, _ = update(rows * 1e10, jnp.zeros(2))
    assert np.isfinite(np.asarray(tiny)).all()


@pytest.mark.parametrize("heads", ["plain", "weighted"])
def test_db_mtl_heads_descend_the_logarithm(heads):
    own = mtopt.PerTask(jnp.array([[1.0], [1.0]]), ("a", "b"))
    tx = db_mtl(2, heads=heads)
    updates = {"shared": GOLDEN, "tasks": own}
    losses = jnp.array([0.5, 4.0])
    state = tx.init({"shared": jnp.zeros(3), "tasks": own})
    direction, state = jax.jit(tx.update)(updates, state, losses=losses)
    factor = 1 if heads == "plain" else state.weights
    np.testing.assert_allclose(
        direction["tasks"].values[:, 0], factor / losses, rtol=1e-6
    )


# --- MoCo ---


@pytest.mark.parametrize("variant", ["paper", "libmtl"])
def test_moco_follows_the_algorithm(variant):
    rows, losses, present = batches()

    def reference():
        y, weights, count = np.zeros((K, D)), np.full(K, 1 / K), np.zeros(K)
        for t, (row, loss, here) in enumerate(zip(rows, losses, present, strict=True)):
            ids = np.flatnonzero(here)
            for k in ids:
                count[k] += 1
                g = row[k]
                if variant == "libmtl":
                    g = g / (np.linalg.norm(g) + 1e-8) * loss[k]
                y[k] -= 0.5 / count[k] ** 0.5 * (y[k] - g)
            total = weights[ids].sum()
            shares = weights[ids] / total
            slope = (y[ids] @ y[ids].T + 0.2 * np.eye(len(ids))) @ shares
            pace = 0.3 / (t + 1) ** 0.5
            if variant == "libmtl":
                shares = np.exp(shares - pace * slope)
                shares /= shares.sum()
            else:
                shares = nearest_on_simplex(shares - 2 * pace * slope)
            weights[ids] = total * shares
            yield shares @ y[ids]

    tx = moco(K, beta=0.5, gamma=0.3, rho=0.2, variant=variant)
    assert_follows(tx, reference(), (rows, losses, present))


def test_moco_settles_on_the_weights_of_mgda():
    tx = moco(2, beta=1.0, beta_decay=0.0, gamma=0.01, gamma_decay=0.0)
    state = tx.init(jnp.zeros(3))
    update = jax.jit(tx.update)
    for _ in range(60):
        direction, state = update(GOLDEN, state)
    np.testing.assert_allclose(state.weights, [0.6, 0.4], atol=1e-4)
    np.testing.assert_allclose(direction, [0, 1, 1], atol=1e-3)


def test_moco_in_the_form_of_libmtl_needs_losses():
    tx = moco(2, variant="libmtl")
    with pytest.raises(TypeError, match="'losses'"):
        tx.update(GOLDEN, tx.init(jnp.zeros(3)))


# --- ExcessMTL ---


@pytest.mark.parametrize("warmup", [1, 2])
def test_excess_mtl_follows_the_algorithm(warmup):
    rows, losses, present = batches()

    def reference():
        squares, weights = np.zeros((K, D)), np.ones(K)
        first = [[] for _ in range(K)]
        for row, here in zip(rows, present, strict=True):
            held = weights[here].sum()
            for k in np.flatnonzero(here):
                squares[k] += row[k] ** 2
                excess = np.sum(row[k] ** 2 / np.sqrt(squares[k] + 1e-7))
                if len(first[k]) < warmup:
                    first[k].append(excess)
                else:
                    weights[k] *= np.exp(0.5 * excess / np.mean(first[k]))
            weights[here] *= held / weights[here].sum()
            yield weights[here] @ row[here]

    tx = excess_mtl(K, eta=0.5, warmup=warmup)
    assert_follows(tx, reference(), (rows, losses, present))


def test_excess_mtl_does_not_overflow_on_a_steep_rise():
    tx = excess_mtl(2)
    state, update = tx.init(jnp.zeros(2)), jax.jit(tx.update)
    for scale in (1e-3, 1e12, 1.0):
        direction, state = update(jnp.diag(scale * jnp.array([1.0, 1e-3])), state)
        assert np.isfinite(np.asarray(direction)).all()
    np.testing.assert_allclose(state.weights.sum(), 2, rtol=1e-5)


# --- Bloop ---


def bloop_reference(variant, rescale, rows, present):
    average, lam = None, 0.5
    for row, here in zip(rows, present, strict=True):
        main = row[0]
        average = main if average is None else average + 0.1 * (main - average)
        aux = row[1:][here[1:]].mean(axis=0)
        ratio = average @ aux / (average @ average)
        if variant == "dynamic_barrier":
            ratio = min(ratio, 1 / lam)
        along = main if variant == "ratio_only" else average
        yield (main + lam * (aux - ratio * along)) / (1 + lam if rescale else 1)


@pytest.mark.parametrize("variant", ["bloop", "dynamic_barrier", "ratio_only"])
def test_bloop_follows_the_algorithm(variant):
    rows, losses, present = batches()
    rows[:, 2] += 5 * rows[:, 0]  # so that the barrier is met
    rescale = variant == "bloop"
    tx = bloop(K, aux_weight=0.5, variant=variant, rescale=rescale)
    reference = bloop_reference(variant, rescale, rows, present)
    assert_follows(tx, reference, (rows, losses, present))


def test_bloop_leaves_the_main_task_as_if_alone():
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.normal(size=(4, 20)), jnp.float32)
    tx = bloop(4, main=2, aux_weight=3.0)
    direction, _ = jax.jit(tx.update)(rows, tx.init(jnp.zeros(20)))
    np.testing.assert_allclose(rows[2] @ direction, rows[2] @ rows[2], rtol=1e-5)


def test_bloop_remembers_the_main_task_while_it_is_away():
    rows = jnp.array([[1.0, 0.0], [2.0, 3.0]])
    tx = bloop(2, aux_weight=1.0)
    update = jax.jit(tx.update)
    _, state = update(rows, tx.init(jnp.zeros(2)), present=jnp.array([True, True]))
    alone, state = update(rows.at[0].set(0), state, present=jnp.array([False, True]))
    np.testing.assert_allclose(alone, [0, 3], atol=1e-6)
    np.testing.assert_array_equal(state.memory[0], [1, 0])


# --- GradNorm ---


def softmax(values):
    return np.exp(values) / np.exp(values).sum()


def gradnorm_reference(parametrization, initial, warmup, rows, losses, present):
    """Loops over tasks; Adam with its own moments and clock for each."""
    softly = parametrization == "softmax"
    moved, m, v, clock = np.ones(K), np.zeros(K), np.zeros(K), np.zeros(K)
    seen = [[] for _ in range(K)]
    for row, loss, here in zip(rows, losses, present, strict=True):
        weights = K * softmax(moved) if softly else moved.copy()
        yield weights[here] @ row[here]
        for k in np.flatnonzero(here):
            if initial is None and len(seen[k]) < warmup:
                seen[k].append(loss[k])
        ids = [k for k in np.flatnonzero(here) if initial or len(seen[k]) == warmup]
        if not ids:
            continue
        norms = np.linalg.norm(row, axis=1)
        ratio = {
            k: loss[k] / (initial[k] if initial else np.mean(seen[k])) for k in ids
        }
        mean_ratio = np.mean(list(ratio.values()))
        mean_norm = np.mean([weights[k] * norms[k] for k in ids])
        slope = np.zeros(K)
        for k in ids:
            target = mean_norm * (ratio[k] / mean_ratio) ** 1.5
            gap = weights[k] * norms[k] - target
            slope[k] = 0 if abs(gap) < 1e-12 else np.sign(gap) * norms[k]
        if softly:
            slope = weights * (slope - slope @ weights / K)
        for k in ids:
            clock[k] += 1
            m[k] = 0.9 * m[k] + 0.1 * slope[k]
            v[k] = 0.999 * v[k] + 0.001 * slope[k] ** 2
            m_hat, v_hat = m[k] / (1 - 0.9 ** clock[k]), v[k] / (1 - 0.999 ** clock[k])
            moved[k] -= 0.1 * m_hat / (np.sqrt(v_hat) + 1e-8)
        if not softly:
            moved *= K / moved.sum()


@pytest.mark.parametrize(
    ("parametrization", "initial", "warmup"),
    [
        ("weights", None, 1),
        ("weights", None, 2),
        ("softmax", None, 1),
        ("weights", (1.0, 0.5, 2.0), 1),
    ],
)
def test_gradnorm_follows_the_algorithm(parametrization, initial, warmup):
    tx = gradnorm(
        K,
        learning_rate=0.1,
        initial_losses=initial,
        warmup=warmup,
        parametrization=parametrization,
    )
    rows, losses, present = batches()
    reference = gradnorm_reference(
        parametrization, initial, warmup, rows, losses, present
    )
    assert_follows(tx, reference, (rows, losses, present))


@pytest.mark.parametrize("space", ["parameters", "representation"])
def test_gradnorm_equalises_the_norms(space):
    jacobian, losses = jnp.diag(jnp.array([1.0, 4.0, 0.5])), jnp.ones(3)
    problem, params = linear_problem(jacobian, losses)
    tx = gradnorm(3, space=space)
    update = jax.jit(
        lambda state: tx.update(
            {
                "shared": jacobian,
                "tasks": jax.tree.map(jnp.zeros_like, params["tasks"]),
            },
            state,
            params,
            losses=losses,
            problem=problem,
        )
    )
    state = tx.init(params)
    for _ in range(200):
        _, state = update(state)
    scaled = np.asarray(state.weights) * np.diag(jacobian)
    np.testing.assert_allclose(scaled, scaled.mean(), rtol=0.2)
    np.testing.assert_allclose(state.weights.sum(), 3, rtol=1e-5)


def test_gradnorm_of_equal_tasks_stays_put():
    tx = gradnorm(3)
    rows = jnp.tile(jnp.array([[0.1, 0.7, 0.3]]), (3, 1))
    update = jax.jit(functools.partial(tx.update, losses=0.3 * jnp.ones(3)))
    state = tx.init(jnp.zeros(3))
    for _ in range(10):
        _, state = update(rows, state)
    np.testing.assert_allclose(state.weights, 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (trimmed_mean, {"num_trimmed": -1}, "num_trimmed is -1"),
        (graddrop, {"leak": 2.0}, "leak is 2.0"),
        (graddrop, {"leak": (0.1, 0.2)}, "1 or 3 numbers"),
        (graddrop, {"space": "features"}, "space is 'features'"),
        (db_mtl, {"beta": 1.0}, "beta is 1.0"),
        (db_mtl, {"sigma": -1.0}, "sigma is -1.0"),
        (moco, {"beta": 0.0}, "beta is 0.0"),
        (moco, {"rho": -1.0}, "rho is -1.0"),
        (moco, {"variant": "official"}, "variant is 'official'"),
        (excess_mtl, {"eta": 0.0}, "eta is 0.0"),
        (excess_mtl, {"warmup": 0}, "warmup is 0"),
        (bloop, {"main": 3}, "main is 3"),
        (bloop, {"ema": 0.0}, "ema is 0.0"),
        (bloop, {"variant": "barrier"}, "variant is 'barrier'"),
        (gradnorm, {"alpha": -1.0}, "alpha is -1.0"),
        (gradnorm, {"initial_losses": (1.0, 2.0)}, "3 finite numbers above 0"),
        (gradnorm, {"parametrization": "log"}, "parametrization is 'log'"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)


def test_many_tasks_compile_quickly():
    """No loop over tasks is unrolled: the program of 64 is that of 4."""
    for method in (trimmed_mean, graddrop, moco, excess_mtl, gradnorm):
        sizes = []
        for k in (4, 64):
            tx = method(k)
            text = jax.jit(tx.update).lower(
                jnp.zeros((k, 5)), tx.init(jnp.zeros(5)), losses=jnp.ones(k)
            )
            sizes.append(len(text.as_text().splitlines()))
        assert sizes[1] <= sizes[0] + 5, method.__name__


def test_losses_are_asked_for_by_name():
    for method in (db_mtl, gradnorm):
        with pytest.raises(TypeError, match="'losses'"):
            method(2).update(GOLDEN, method(2).init(jnp.zeros(3)))


def test_weights_read_back():
    tx = optax.chain(moco(2), optax.sgd(0.1))
    state = tx.init(jnp.zeros(3))
    assert optax.tree.get(state, "weights").tolist() == [0.5, 0.5]
