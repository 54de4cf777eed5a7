"""GradCraft, against loops over the gradients themselves in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.gradcraft import gradcraft
from tests.helpers.close import assert_close
from tests.helpers.gradients import rows
from tests.helpers.updates import solve


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
    update, state = jax.jit(tx.update), tx.init(np.zeros(7))
    sums, steps = np.zeros(5), np.zeros(5, int)
    for step in range(4):
        jacobian = rows(5, 7, step)
        present = np.array([True, step != 2, True, True, step >= 2])
        norms = np.linalg.norm(jacobian, axis=1)
        sums = np.where(present, 0.7 * sums + 0.3 * norms, sums)
        steps += present
        means = sums[present] / (1 - 0.7 ** steps[present])
        _, expected = crafted(jacobian[present], means, 0.6, 0.1)
        direction, state = update(
            jacobian, state, evaluation=mtopt.Evaluation(present=present)
        )
        assert_close(direction, expected.mean(axis=0), rtol=1e-9)
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
    assert_close(direction, (sum(parts) + own) / 3, rtol=1e-4)


def test_gradcraft_with_tau_one_makes_all_norms_the_largest():
    jacobian = jnp.diag(jnp.array([1.0, 2.0, 4.0]))
    direction, _ = solve(gradcraft(3, tau=1.0), jacobian)
    assert_close(direction, [4 / 3] * 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gradcraft(2, tau=2.0), "tau is 2.0"),
        (lambda: gradcraft(2, epsilon=1.0), "epsilon is 1.0"),
        (lambda: gradcraft(2, decay=1.0), "decay is 1.0"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
