"""weights_every: a solve every n steps."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.wrappers import weights_every
from tests.helpers.close import assert_close
from tests.helpers.wrappers import STACKS, averages, model, steps, train


def counting(num_tasks):
    """MGDA that remembers how often it solved."""

    def weigh(memory, gramian, evaluation):
        weights = mtopt.solvers.min_norm_weights(gramian, evaluation.present)
        return weights, {"solves": memory["solves"] + 1}

    def memory(shared):
        del shared
        return {"solves": jnp.zeros((), jnp.int32)}

    return mtopt.on_gramian(num_tasks, weigh, heads="weighted", memory=memory)


def test_weights_are_held_between_the_solves():
    stacks = [*STACKS, *STACKS[:2]]
    solved = [weights for _, weights in steps(mtopt.mgda(3), stacks)]
    held = [solved[0], solved[0], solved[2], solved[2], solved[4]]
    found = steps(weights_every(mtopt.mgda(3), n=2), stacks)
    for rows, expected, (direction, weights) in zip(stacks, held, found, strict=True):
        assert_close(weights, expected, rtol=1e-5)
        np.testing.assert_allclose(direction, expected @ rows, rtol=1e-4, atol=1e-5)


def test_every_step_is_the_method_itself():
    tasks, params, batch = model()
    sgd = optax.sgd(0.1)
    inner = mtopt.mgda(3)
    every = mtopt.chain(weights_every(inner, n=1), sgd)
    found, _ = train(every, [batch] * 3, tasks, params)
    expected, _ = train(mtopt.chain(inner, sgd), [batch] * 3, tasks, params)
    assert_close(found.params, expected.params, rtol=1e-4)


def test_solves_and_their_backward_passes_stand_in_a_branch():
    tasks, params, batch = model()
    tx = mtopt.chain(weights_every(counting(3), n=3), optax.sgd(0.1))
    state, _ = train(tx, [batch] * 7, tasks, params)
    assert optax.tree.get(state.opt_state, "solves") == 3

    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    lowered = mtopt.make_train_step(tasks, tx).lower(state, batch)
    text = lowered.compile().as_text()
    main = text[text.index("\nENTRY") :]
    assert "conditional(" in main
    rows_of_first_layer = re.escape("f32[3,5,7]")  # [K, inputs, hidden]
    assert not re.search(rows_of_first_layer, main)
    assert re.search(rows_of_first_layer, text)


def test_a_method_that_looks_ahead_does_so_with_its_solves_alone():
    """FAMO learns from what a step does: from the first of these, and no other."""
    tasks, params, batch = model()
    after = {}
    for name, tx, count in (
        ("held", weights_every(mtopt.famo(3), n=4), 3),
        ("once", mtopt.famo(3), 1),
    ):
        tx = mtopt.chain(tx, optax.sgd(0.1))
        state, _ = train(tx, [batch] * count, tasks, params)
        memory = optax.tree.get(state.opt_state, "memory")
        after[name] = memory.inner if name == "held" else memory
    assert_close(after["held"], after["once"], rtol=1e-5)


def test_a_task_absent_from_the_solve_keeps_its_weight():
    here = [jnp.ones(3, bool), jnp.array([False, True, True]), jnp.ones(3, bool)]
    tx = weights_every(mtopt.fixed_weighting(3, weights=(1.0, 2.0, 3.0)), n=1)
    found = steps(tx, STACKS, present=here)
    np.testing.assert_allclose(found[1][1], [0, 2, 3])


def test_a_task_that_no_solve_has_seen_is_solved_for_at_once():
    first = jnp.array([False, True, True])
    here = [first, *[jnp.ones(3, bool)] * 3]
    stacks = [*STACKS, STACKS[1]]
    solved = [w for _, w in steps(mtopt.nash_mtl(3), stacks, present=here)]
    tx = weights_every(mtopt.nash_mtl(3), n=3)
    found = [weights for _, weights in steps(tx, stacks, present=here)]
    expected = [solved[0], solved[1], solved[1], solved[3]]
    for own, weights in zip(expected, found, strict=True):
        assert_close(weights, own, rtol=1e-4)


def test_rows_of_its_own_making_cannot_be_held():
    with pytest.raises(mtopt.UserError, match="rows of its own making"):
        weights_every(averages(3), n=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: weights_every(mtopt.mgda(2), n=0), "n is 0"),
    ],
)
def test_options_out_of_range_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
