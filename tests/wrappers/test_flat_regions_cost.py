"""What perturbed passes cost, and how often a step compiles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.compilations import compiled_once
from tests.helpers.updates import KEY

COSTLY = (4, 128, 256, (256,), 10, None)


@functools.cache
def costs():
    """Operations of one task's forward and backward pass, and of a solve."""
    tasks, params, batch = problems.classification(1, *COSTLY[1:])

    def gradient(params):
        return tasks.problem(batch, KEY).losses_and_grads(params)

    forward = problems.flops(lambda p: tasks.problem(batch, KEY).losses(p), params)
    backward = problems.flops(gradient, params) - forward
    size = sum(leaf.size for leaf in jax.tree.leaves(params["shared"]))
    num_tasks = COSTLY[0]
    solve = problems.flops(mtopt.solvers.min_norm_weights, jnp.eye(num_tasks))
    solve += 2 * num_tasks**2 * size + 2 * num_tasks * size  # Gramian, weighted sum
    return forward, backward, solve


def budget(name, tx, *passes, slow=False):
    return pytest.param(tx, *passes, id=name, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize(
    ("tx", "forwards", "backwards", "solves"),
    [
        budget("split", mtopt.flat_regions(mtopt.mgda(4)), 1 + 4, 2 * 4, 2),
        budget(
            *("direct", mtopt.flat_regions(mtopt.mgda(4), variant="direct")),
            *(1 + 4, 2 * 4, 1),
            slow=True,
        ),
        budget(
            *("per_task_sam", mtopt.chain(mtopt.per_task_sam(4), mtopt.mgda(4))),
            *(1 + 4, 2 * 4, 1),
            slow=True,
        ),
        budget("sam", mtopt.chain(mtopt.sam(4), mtopt.mgda(4)), 2, 2 * 4, 1),
        budget(
            *("no radius", mtopt.flat_regions(mtopt.mgda(4), rho=0), 1, 4, 1), slow=True
        ),
    ],
)
def test_a_step_keeps_its_budget(tx, forwards, backwards, solves):
    """(1 + K) forwards, 2K backwards and two solves, and no less than the passes.

    3 % are for what is done once per parameter of a task: the norms, the move, the
    difference of two gradients, and for the heads of all tasks in the clean forward.
    """
    forward, backward, solve = costs()
    tasks, params, batch = problems.classification(*COSTLY)
    state = mtopt.TrainState.create(params, mtopt.chain(tx, optax.sgd(0.1)), KEY)
    step = mtopt.make_train_step(tasks, mtopt.chain(tx, optax.sgd(0.1)))
    found = step.lower(state, batch).compile().cost_analysis()["flops"]
    passes = forwards * forward + backwards * backward
    assert 0.97 * passes <= found <= 1.03 * (passes + solves * solve)


def test_seeds_vmapped_equal_seeds_alone_and_compile_once():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = mtopt.chain(mtopt.flat_regions(mtopt.imtl_g(3), rho=0.3), optax.adam(1e-2))
    jitted = mtopt.make_train_step(tasks, tx)
    step = compiled_once(jitted)

    def start(seed):
        own = jax.tree.map(lambda leaf: leaf * (1 + 0.1 * seed), params)
        return mtopt.TrainState.create(own, tx, jax.random.key(seed))

    alone = [start(0), start(1)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    together = compiled_once(jax.jit(jax.vmap(jitted, in_axes=(0, None))))
    for _ in range(3):
        stacked, _ = together(stacked, batch)
        alone = [step(state, batch)[0] for state in alone]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    assert_close(stacked.params, expected.params, rtol=1e-4)
    weights = optax.tree.get(stacked.opt_state, "flat_weights")
    np.testing.assert_allclose(weights.sum(axis=1), [1, 1], rtol=1e-5)
