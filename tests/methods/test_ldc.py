"""LDC: the weights are the gradient of its objective."""

import jax
import numpy as np
import pytest

import mtopt
from mtopt.methods.ldc import ldc
from tests.helpers.loss_methods import adam, follow, slope, softmax


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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ldc(2, tau="w"), "tau is 'w'"),
        (lambda: ldc(2, normalization="none"), "normalization is 'none'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
