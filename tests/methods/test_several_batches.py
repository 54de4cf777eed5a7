"""Methods that split the batch: independent parts, or training and validation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.errors import UserError
from mtopt.methods.auto_lambda import auto_lambda
from mtopt.methods.modo import modo
from mtopt.methods.moml import moml
from mtopt.methods.sdmgrad import sdmgrad, sdmgrad_weights

METHODS = [modo, sdmgrad, auto_lambda, moml]
K, D, BATCH = 3, 4, 6


def encode(shared, x, key):
    del key
    return x * shared[None]


def head_loss(head, z, y, mask, key):
    """Quadratic, so that a step changes gradients; the head's own part is not nil."""
    del key
    errors = (z @ y["direction"][0] + jnp.sum(head) - y["target"]) ** 2
    return mtopt.masked_mean(errors, mask)


TASKS = mtopt.Tasks(("a", "b", "c"), encode, head_loss)


def data(seed=0):
    """One batch as plain float64 arrays, and the parameters."""
    rng = np.random.default_rng(seed)
    x, direction = rng.normal(size=(BATCH, D)), rng.normal(size=(K, D))
    target, mask = rng.normal(size=(K, BATCH)), np.ones((K, BATCH), bool)
    return x, direction, target, mask, rng.normal(size=D), rng.normal(size=(K, 1))


def step(tx, state, x, direction, target, mask, shared, heads):
    """One update of the method on this batch."""
    batch = mtopt.Batch(
        x,
        {
            "direction": jnp.broadcast_to(direction[:, None], (K, BATCH, D)),
            "target": target,
        },
        mask,
    )
    params = {"shared": shared, "tasks": mtopt.PerTask(heads, TASKS.names)}
    problem = TASKS.problem(batch, jax.random.key(0))
    losses, grads = problem.losses_and_grads(params)
    updates, state = tx.update(
        grads,
        state,
        params,
        rows=grads["shared"],
        losses=losses,
        present=problem.present,
        pullback=functools.partial(problem.pullback, params),
        problem=problem,
    )
    return updates, state, grads


def run(tx, batches):
    """Directions and weights on these batches, in float64, and the last gradients."""
    with jax.enable_x64(True):
        shared, heads = (jnp.asarray(array) for array in batches[0][4:])
        state = tx.init({"shared": shared, "tasks": mtopt.PerTask(heads, TASKS.names)})
        compiled = jax.jit(functools.partial(step, tx))
        out = []
        for batch in batches:
            updates, state, grads = compiled(state, *map(jnp.asarray, batch))
            out.append((updates, np.asarray(state.weights), grads))
        return out


def loss_and_grads(part, theta, heads, k):
    """One task by hand: its loss and its gradients, shared and own."""
    x, direction, target, mask = part
    real = mask[k]
    if not real.any():
        return 0.0, np.zeros(D), np.zeros(1)
    error = (x * theta) @ direction[k] + heads[k].sum() - target[k]
    error, inputs = error[real], x[real]
    shared = 2 * np.mean(error[:, None] * inputs * direction[k], axis=0)
    return np.mean(error**2), shared, np.array([2 * np.mean(error)])


def parts_of(batch, number):
    """Samples take turns."""
    x, direction, target, mask, *_ = batch
    return [
        (x[i::number], direction, target[:, i::number], mask[:, i::number])
        for i in range(number)
    ]


def jacobian(part, theta, heads):
    return np.stack([loss_and_grads(part, theta, heads, k)[1] for k in range(K)])


def nearest_on_simplex(values):
    """The projection, its threshold found by bisection."""
    low, high = values.min() - 1, values.max()
    for _ in range(100):
        middle = (low + high) / 2
        if np.maximum(values - middle, 0).sum() > 1:
            low = middle
        else:
            high = middle
    return np.maximum(values - low, 0)


def three_batches(absent=None):
    batches = []
    for seed in range(3):
        *batch, shared, heads = data(seed)
        if absent is not None and seed == 1:
            batch[3][absent, ::3] = False  # it misses from the first part alone
        _, _, _, _, shared, heads = data(0)
        batches.append((*batch, shared, heads))
    return batches


@pytest.mark.parametrize("absent", [None, 1])
def test_modo_follows_the_algorithm(absent):
    batches, weights = three_batches(absent), np.full(K, 1 / K)
    found = run(modo(K, gamma=0.05, rho=0.2), batches)
    for i, (batch, (updates, applied, grads)) in enumerate(
        zip(batches, found, strict=True)
    ):
        first, second, third = (
            jacobian(part, batch[4], batch[5]) for part in parts_of(batch, 3)
        )
        here = np.arange(K) != (absent if i == 1 else None)
        shares = weights[here] / weights[here].sum()
        slope = first[here] @ (second[here].T @ shares) + 0.2 * shares
        shares = nearest_on_simplex(shares - 0.05 * slope)
        weights[here] = weights[here].sum() * shares
        np.testing.assert_allclose(applied[here], shares, rtol=1e-6)
        assert applied[~here].sum() == 0
        np.testing.assert_allclose(updates["shared"], shares @ third[here], rtol=1e-6)
        jax.tree.map(np.testing.assert_array_equal, updates["tasks"], grads["tasks"])


def test_sdmgrad_inner_loop_of_the_golden_recurrence():
    options = {"lam": 0.3, "learning_rate": 10.0, "momentum": 0.5}
    everyone, first = jnp.ones(3, bool), jnp.diag(jnp.array([1.0, 0.25, 0.0]))

    @functools.partial(jax.jit, static_argnums=3)
    def rule(weights, cross, preferred, steps):
        new = sdmgrad_weights(
            weights,
            cross,
            everyone,
            preferred=preferred,
            num_iterations=steps,
            **options,
        )
        return new, (new + 0.3 * preferred) / 1.3

    uniform = jnp.full(3, 1 / 3, jnp.float32)
    weights, combined = rule(uniform, first, uniform, 1)
    np.testing.assert_allclose(combined, np.array([1, 1, 11]) / 13, rtol=1e-6)
    _, combined = rule(weights, jnp.eye(3), uniform, 1)
    np.testing.assert_allclose(combined, np.array([6, 6, 1]) / 13, rtol=1e-6)
    third = jnp.array([0.0, 0.0, 1.0])
    weights, _ = rule(uniform, first, third, 1)
    np.testing.assert_allclose(weights, np.array([0, 1, 11]) / 12, rtol=1e-5)
    _, combined = rule(uniform, first, third, 20)
    np.testing.assert_allclose(combined, third, atol=1e-6)


def test_sdmgrad_follows_the_algorithm():
    preference, lam = np.array([0.5, 0.5, 0.0]), 0.6
    batches, weights = three_batches(), np.full(K, 1 / K)
    # Short inner steps: at the published length of 10 they jump between corners, and
    # rounding decides between them.
    tx = sdmgrad(K, lam=lam, preference=(1, 1, 0), learning_rate=0.1, num_iterations=7)
    for batch, (updates, applied, grads) in zip(batches, run(tx, batches), strict=True):
        first, second, third = (
            jacobian(part, batch[4], batch[5]) for part in parts_of(batch, 3)
        )
        cross = first @ second.T
        cross /= np.mean(np.sqrt(np.maximum(np.diag(cross), 0) + 1e-4)) ** 2
        velocity = 0
        for _ in range(7):
            velocity = 0.5 * velocity + cross @ (weights + lam * preference)
            weights = nearest_on_simplex(weights - 0.1 * velocity)
        combined = (weights + lam * preference) / (1 + lam)
        np.testing.assert_allclose(applied, combined, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(updates["shared"], combined @ third, rtol=1e-5)
        jax.tree.map(np.testing.assert_array_equal, updates["tasks"], grads["tasks"])


def look_ahead(batch, weights, eta):
    """Both halves, and the inner products of their gradients: validation by training.

    Heads are part of what moves, and of the products of a task with itself.
    """
    train, validation = parts_of(batch, 2)
    theta, heads = batch[4:]
    here = [loss_and_grads(train, theta, heads, k) for k in range(K)]
    ahead = theta - eta * sum(w * g for w, (_, g, _) in zip(weights, here, strict=True))
    own = np.stack([heads[k] - eta * weights[k] * here[k][2] for k in range(K)])
    there = [loss_and_grads(validation, ahead, own, k) for k in range(K)]
    products = np.array(
        [
            [there[i][1] @ here[k][1] + (i == k) * (there[i][2] @ here[k][2])]
            for i in range(K)
            for k in range(K)
        ]
    ).reshape(K, K)
    return products, np.array([loss for loss, *_ in there])


class Adam:
    """Moments and a clock for every task."""

    def __init__(self, rate):
        self.rate, self.m, self.v, self.t = rate, np.zeros(K), np.zeros(K), 0

    def step(self, slope):
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * slope
        self.v = 0.999 * self.v + 0.001 * slope**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        return -self.rate * m / (np.sqrt(v) + 1e-8)


@pytest.mark.parametrize("primary", [None, (0, 2)])
def test_auto_lambda_follows_the_algorithm(primary):
    batches, weights, adam = three_batches(), np.full(K, 0.1), Adam(0.06)
    tx = auto_lambda(K, primary=primary, lookahead=0.2, learning_rate=0.06)
    judges = range(K) if primary is None else primary
    for batch, (updates, applied, grads) in zip(batches, run(tx, batches), strict=True):
        products, _ = look_ahead(batch, weights, 0.2)
        slope = -0.2 * sum(products[i] for i in judges)
        weights = np.maximum(weights + adam.step(slope), 0)
        np.testing.assert_allclose(applied, weights, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(
            updates["shared"], weights @ np.asarray(grads["shared"]), rtol=1e-6
        )
        np.testing.assert_allclose(
            updates["tasks"].values[:, 0],
            weights * np.asarray(grads["tasks"].values)[:, 0],
            rtol=1e-6,
        )


def test_auto_lambda_is_the_derivative_of_the_validation_loss():
    """Against finite differences of the look-ahead itself, not of its formula."""
    batch, eta = data(3), 0.2
    train, validation = parts_of(batch, 2)
    theta, heads = batch[4:]

    def validation_loss(weights):
        here = [loss_and_grads(train, theta, heads, k) for k in range(K)]
        ahead = theta - eta * sum(weights[k] * here[k][1] for k in range(K))
        own = np.stack([heads[k] - eta * weights[k] * here[k][2] for k in range(K)])
        return sum(loss_and_grads(validation, ahead, own, k)[0] for k in range(K))

    weights, small = np.full(K, 0.1), 1e-6
    numeric = [
        (validation_loss(weights + e) - validation_loss(weights - e)) / (2 * small)
        for e in small * np.eye(K)
    ]
    found = run(auto_lambda(K, lookahead=eta, learning_rate=1e-3), [batch])
    # Adam's first step is the sign of the slope.
    np.testing.assert_allclose(
        found[0][1] - weights, -1e-3 * np.sign(numeric), rtol=1e-4
    )
    products, _ = look_ahead(batch, weights, eta)
    np.testing.assert_allclose(-eta * products.sum(0), numeric, rtol=1e-4)


def softmax(values):
    return np.exp(values) / np.exp(values).sum()


def shortest_weights(rows):
    """MGDA by trying every set of tasks that may have weight."""
    best = np.inf, None
    for bits in range(1, 2**K):
        chosen = np.array([bits >> k & 1 for k in range(K)], bool)
        free = chosen.sum() + 1
        system = np.ones((free, free))
        system[:-1, :-1], system[-1, -1] = rows[chosen] @ rows[chosen].T, 0
        solution = np.linalg.lstsq(system, np.eye(free)[-1], rcond=1e-10)[0][:-1]
        weights = np.zeros(K)
        weights[chosen] = solution
        length = np.linalg.norm(weights @ rows)
        if solution.min() >= 0 and length < best[0] - 1e-12:
            best = length, weights
    return best[1]


@pytest.mark.parametrize("normalize", ["l2", "loss"])
def test_moml_follows_the_algorithm(normalize):
    batches, logits, adam = three_batches(), np.full(K, 1 / K), Adam(0.1)
    tx = moml(K, lookahead=0.2, learning_rate=0.1, normalize=normalize)
    for batch, (updates, applied, grads) in zip(batches, run(tx, batches), strict=True):
        weights = softmax(logits)
        products, losses = look_ahead(batch, weights, 0.2)
        slope = -0.2 * products @ (np.diag(weights) - np.outer(weights, weights))
        scale = np.linalg.norm(slope, axis=1) if normalize == "l2" else losses
        logits = logits + adam.step(shortest_weights(slope / scale[:, None]) @ slope)
        np.testing.assert_allclose(applied, softmax(logits), rtol=1e-4)
        np.testing.assert_allclose(
            updates["shared"], applied @ np.asarray(grads["shared"]), rtol=1e-6
        )


@pytest.mark.parametrize("method", [auto_lambda, moml])
def test_an_absent_task_keeps_its_weight(method):
    *batch, shared, heads = data(0)
    without = np.ones((K, BATCH), bool)
    without[1] = False
    away, back = (
        (*batch[:3], mask, shared, heads)
        for mask in (without, np.ones((K, BATCH), bool))
    )
    (_, first, _), (_, second, _) = run(method(K, learning_rate=0.01), [away, back])
    assert first[1] == 0
    assert (first[[0, 2]] > 0).all()
    start = 0.1 if method is auto_lambda else 1 / K
    np.testing.assert_allclose(second[1], start, atol=0.011)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_too_small_to_split_is_an_error(method):
    tasks = mtopt.Tasks(("a",), encode, head_loss)
    y = {"direction": jnp.ones((1, 1, D)), "target": jnp.ones((1, 1))}
    batch = mtopt.Batch(jnp.ones((1, D)), y, jnp.ones((1, 1), bool))
    params = {"shared": jnp.ones(D), "tasks": mtopt.PerTask(jnp.ones((1, 1)), ("a",))}
    problem = tasks.problem(batch, jax.random.key(0))
    grads = {"shared": jnp.ones((1, D)), "tasks": params["tasks"]}
    with pytest.raises(UserError, match="raise the batch size"):
        method(1).update(grads, method(1).init(params), params, problem=problem)


@pytest.mark.parametrize("method", METHODS)
def test_the_problem_is_asked_for_by_name(method):
    with pytest.raises(TypeError, match="'problem'"):
        method(2).update(jnp.eye(2), method(2).init(jnp.zeros(2)), jnp.zeros(2))


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (modo, {"gamma": -1.0}, "gamma is -1.0"),
        (modo, {"rho": -1.0}, "rho is -1.0"),
        (sdmgrad, {"lam": -1.0}, "lam is -1.0"),
        (sdmgrad, {"momentum": 1.0}, "momentum is 1.0"),
        (sdmgrad, {"preference": (1.0, -1.0, 0.0)}, "3 finite numbers of at least 0"),
        (sdmgrad, {"preference": (0.0, 0.0, 0.0)}, "not all 0"),
        (auto_lambda, {"primary": (3,)}, "index from 0 to 2"),
        (auto_lambda, {"primary": ()}, "at least one index"),
        (auto_lambda, {"lookahead": 0.0}, "lookahead is 0.0"),
        (moml, {"learning_rate": 0.0}, "learning_rate is 0.0"),
        (moml, {"normalize": "none"}, "normalize is 'none'"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)
