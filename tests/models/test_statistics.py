"""BatchNorm statistics of tasks with inputs of their own: of each task, and pooled."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtopt
from experiments.analysis.measure import evaluation_problem, evaluation_tasks
from mtopt.models import functional
from mtopt.own_statistics import OwnStatistics
from tests.helpers.close import assert_close
from tests.helpers.models import NAMES, make_batch, normed

LABELS = np.array([8, 3, 5])


@functools.cache
def batch():
    """Three domains of unlike brightness and contrast, some samples not labelled."""
    plain = make_batch((3,), "classification", 3, x_axis=0)
    scale = np.float32([1, 3, 0.2])[:, None, None]
    mask = np.arange(8)[None] < LABELS[:, None]
    return dataclasses.replace(plain, x=plain.x * scale + 2 * scale - 1, mask=mask)


@functools.cache
def pooled():
    model = normed(x_axis=0, statistics="pooled")
    return model, *jax.jit(model.init)(jax.random.key(0))


def problem_of(model, seen, state):
    return model.tasks.problem(seen, jax.random.key(1), state)


def hidden(params):
    """What enters BatchNorm, ``[K, b, 4]``, in float64."""
    layer = jax.tree.map(np.float64, params["shared"]["linear"])
    return np.float64(batch().x) @ layer["kernel"] + layer["bias"]


def mixture(mean, var, counts):
    """The moments of a mixture, by the law of total variance."""
    shares = (counts / counts.sum())[:, None]
    centre = (shares * mean).sum(0)
    return centre, (shares * (var + (mean - centre) ** 2)).sum(0)


def moments_of_tasks(params):
    own = [h[:count] for h, count in zip(hidden(params), LABELS, strict=True)]
    return np.stack([h.mean(0) for h in own]), np.stack([h.var(0) for h in own])


def test_pooled_statistics_are_the_moments_of_the_mixture_in_training():
    model, params, state = pooled()
    mean, var = mixture(*moments_of_tasks(params), LABELS)
    problem = problem_of(model, batch(), state)
    z, moved = jax.jit(
        lambda params: (
            problem.representation(params),
            problem.next_model_state(params),
        )
    )(params)
    expected = np.maximum((hidden(params) - mean) / np.sqrt(var + 1e-5), 0)
    labelled = batch().mask
    np.testing.assert_allclose(z[labelled], expected[labelled], rtol=1e-4, atol=1e-5)
    assert_close(
        moved, {"norm": {"mean": 0.1 * mean, "var": 0.9 + 0.1 * var}}, rtol=1e-5
    )


def losses_written_out(params):
    """Of every task, on what the labelled samples of all tasks normalise."""
    shared, heads = params["shared"], params["tasks"].values
    x, mask = batch().x, batch().mask
    h = x @ shared["linear"]["kernel"] + shared["linear"]["bias"][None, None]
    real = h[np.nonzero(mask)]
    centred = h - real.mean(0)[None, None]
    h = centred / jnp.sqrt(real.var(0) + 1e-5)[None, None]
    h = h * shared["norm"]["scale"][None, None] + shared["norm"]["bias"][None, None]
    logits = jnp.einsum("kbi,kic->kbc", jax.nn.relu(h), heads["kernel"])
    logs = jax.nn.log_softmax(logits + heads["bias"][:, None])
    chosen = jnp.take_along_axis(logs, batch().y[..., None], 2)[..., 0]
    return -(chosen * mask).sum(1) / LABELS


def test_a_row_is_the_gradient_of_its_loss_through_the_inputs_of_all():
    model, params, state = pooled()
    problem = problem_of(model, batch(), state)
    weights = np.float32([0.2, 0.5, 0.3])

    @jax.jit
    def found(params):
        losses, grads = problem.losses_and_grads(params)
        pulled = problem.pullback(params, jnp.asarray(weights))
        expected = jax.jacrev(losses_written_out)(params)["shared"]
        return (losses, losses_written_out(params)), grads["shared"], pulled, expected

    losses, rows, pulled, expected = found(params)
    largest = expected["linear"]["kernel"]  # a bias before BatchNorm has none
    assert_close(*losses, rtol=1e-5)
    assert_close(rows, expected, rtol=1e-5, of=largest)
    summed = jax.tree.map(lambda leaf: np.tensordot(weights, leaf, 1), rows)
    assert_close(pulled, summed, rtol=1e-5, of=largest)


def test_without_any_label_pooled_statistics_stay():
    model, params, state = pooled()
    nobody = dataclasses.replace(batch(), mask=np.zeros((3, 8), bool))
    moved = jax.jit(problem_of(model, nobody, state).next_model_state)(params)
    jax.tree.map(np.testing.assert_array_equal, moved, state)


def own_statistics(labels):
    mean = np.float32([[0] * 4, [4] * 4, [9] * 4])
    var = np.float32([[1] * 4, [2] * 4, [7] * 4])
    norm = {"mean": jnp.asarray(mean), "var": jnp.asarray(var)}
    return OwnStatistics({"norm": norm}, jnp.asarray(labels))


def test_a_task_that_training_did_not_have_is_normalised_by_the_mixture():
    model = normed(x_axis=0)
    params, start = jax.jit(model.init)(jax.random.key(0))
    predict = jax.jit(model.predict)
    state = own_statistics([30.0, 10.0, 0.0])
    found = predict(params, state, batch().x)
    norm = jax.tree.map(np.array, state.values["norm"])
    mean, var = mixture(norm["mean"][:2], norm["var"][:2], np.array([3, 1]))
    norm["mean"][2], norm["var"][2] = mean, var
    known = OwnStatistics({"norm": norm}, jnp.ones(3))
    assert_close(found, predict(params, known, batch().x), rtol=1e-5)
    # The labels of training are what tells: none of task 1, here.
    seen = dataclasses.replace(
        batch(), mask=batch().mask & (np.arange(3) != 1)[:, None]
    )
    moved = jax.jit(problem_of(model, seen, start).next_model_state)(params)
    assert moved.labels.tolist() == [8, 0, 5]


@pytest.mark.parametrize("statistics", ["own", "pooled"])
def test_a_trained_model_is_measured_as_it_predicts(statistics):
    model = normed(x_axis=0, statistics=statistics)
    params, _ = jax.jit(model.init)(jax.random.key(0))
    own = own_statistics([30.0, 10.0, 0.0])
    state = {"norm": {"mean": jnp.ones(4), "var": jnp.full(4, 3.0)}}
    state = own if statistics == "own" else state
    tasks = evaluation_tasks(model, "classification")

    @jax.jit
    def both(params):
        losses = evaluation_problem(tasks, batch(), state).losses(params)
        return losses, model.predict(params, state, batch().x)

    losses, logits = map(np.asarray, both(params))
    labels = np.asarray(batch().y)[..., None]
    nats = (
        np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, labels, 2)[..., 0]
    )
    expected = (nats * batch().mask).sum(1) / LABELS
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_pooled_statistics_of_another_layer_are_refused():
    with pytest.raises(mtopt.UserError, match=r"mtopt\.models\.layers\.BatchNorm"):
        functional(
            lambda rngs: nnx.BatchNorm(3, rngs=rngs),
            lambda rngs: nnx.Linear(3, 2, rngs=rngs),
            NAMES,
            kind="classification",
            x_axis=0,
            statistics="pooled",
        )


def test_coupled_tasks_have_a_state_and_inputs_of_their_own():
    tasks = pooled()[0].tasks
    with pytest.raises(mtopt.UserError, match="expected stateful=True and x_axis=0"):
        dataclasses.replace(tasks, x_axis=None)
