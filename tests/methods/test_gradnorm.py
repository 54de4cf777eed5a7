"""GradNorm, against its algorithm in float64; what it equalises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.errors import UserError
from mtopt.linear_problem import linear_problem
from mtopt.methods.gradnorm import gradnorm
from tests.helpers.row_methods import K, assert_follows, batches


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
    jacobian = np.diag([1.0, 4.0, 0.5]).astype("float32")
    tx = gradnorm(3, space=space)

    @jax.jit
    def steps(jacobian):
        problem, params = linear_problem(jacobian, jnp.ones(3))
        seen = problem.evaluate(params)

        def step(state, _):
            return tx.update(seen.gradients, state, params, evaluation=seen)[::-1]

        return jax.lax.scan(step, tx.init(params), None, 200)[0]

    state = steps(jacobian)
    scaled = np.asarray(state.weights) * np.diag(jacobian)
    np.testing.assert_allclose(scaled, scaled.mean(), rtol=0.2)
    np.testing.assert_allclose(state.weights.sum(), 3, rtol=1e-5)


def test_gradnorm_of_equal_tasks_stays_put():
    tx = gradnorm(3)
    rows = jnp.tile(jnp.array([[0.1, 0.7, 0.3]]), (3, 1))
    known = mtopt.Evaluation(losses=0.3 * jnp.ones(3))
    update = jax.jit(functools.partial(tx.update, evaluation=known))
    state = tx.init(jnp.zeros(3))
    for _ in range(10):
        _, state = update(rows, state)
    np.testing.assert_allclose(state.weights, 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (gradnorm, {"alpha": -1.0}, "alpha is -1.0"),
        (gradnorm, {"initial_losses": (1.0, 2.0)}, "3 finite numbers above 0"),
        (gradnorm, {"parametrization": "log"}, "parametrization is 'log'"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)
