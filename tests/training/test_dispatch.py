"""Many steps in one call: the same steps, stops where they were, and not always."""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import ArraySplit
from mtopt.data.batches import Batches
from mtopt.training import dispatch
from mtopt.training.checkpoint import Checkpoints
from mtopt.training.dispatch import Dispatch, primitives
from mtopt.training.loop import Callback, LoopOptions, train
from mtopt.training.program import shared_program
from mtopt.training.writer import read_records
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.compilations import compilations

NAMES = problems.names(3)
SEEDS = (0, 1)
MOST = 8


class Model(NamedTuple):
    tasks: mtopt.Tasks
    init: object
    predict: object


@functools.cache
def problem():
    params, batch = problems.solved_task(label=1.0)
    tasks = mtopt.Tasks(NAMES, problems.tanh_encode, problems.squared_loss)
    return Model(tasks, lambda key: (params, {}), lambda *_: None), batch


@functools.cache
def program(on_nonfinite=None):
    tx = mtopt.chain(mtopt.mgda(3), optax.adam(0.05))
    return shared_program(problem()[0], tx, len(SEEDS), on_nonfinite=on_nonfinite)


@functools.cache
def split():
    return ArraySplit(problem()[1], None)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A call may take as long as a busy machine makes it take."""
    monkeypatch.setattr(dispatch, "MOST_SECONDS", 600)


def begin():
    return program().init(jax.vmap(jax.random.key)(jnp.arange(2, dtype=jnp.uint32)))


def walk(groups):
    """State and losses after such groups of steps, of which two of one come first."""
    state, coming = begin(), split().batches(3, seeds=SEEDS)
    steps = Dispatch(program().step, coming, MOST)
    for count in groups:
        state, losses, taken = steps.advance(state, count)
        assert taken == count
    return jax.device_get((state.params, state.opt_state, losses))


def one_by_one(count):
    state, coming = begin(), split().batches(3, seeds=SEEDS)
    for batch in itertools.islice(coming, count):
        state, losses = program().step(state, batch)
    return jax.device_get((state.params, state.opt_state, losses))


def test_the_first_twenty_steps_are_those_taken_one_by_one():
    assert_close(walk([1, 1, 8, 8, 2]), one_by_one(20), rtol=1e-5)


def test_which_steps_went_together_leaves_no_trace():
    whole = walk([1, 1, 8, 8, 2])
    for groups in ([1, 1, 2, 7, 8, 1], [1] * 20):
        jax.tree.map(np.testing.assert_array_equal, walk(groups), whole)


def run(folder, every, most=None, stop=None, on_nonfinite=None, data=None, steps=14):
    """The steps at which a record, a call and a checkpoint were due."""
    log_every, call_every, checkpoint_every = every
    seen = {"records": [], "calls": [], "checkpoints": []}

    class Watched(Checkpoints):
        def save(self, step, tree):
            seen["checkpoints"].append(step)
            super().save(step, tree)

    def call(step, state, carry, write):
        assert state.step.tolist() == [step, step]
        seen["calls"].append(step)
        return carry

    def progress(step, losses):
        seen["records"].append(step)
        if step == stop:
            raise KeyboardInterrupt

    data = data or split()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mtopt.training.loop.Checkpoints", Watched)
        state, _ = train(
            program(on_nonfinite),
            lambda start: data.batches(3, seeds=SEEDS, start=start),
            LoopOptions(
                steps=steps,
                log_every=log_every,
                checkpoint_every=checkpoint_every,
                steps_per_call=most,
            ),
            folder,
            tasks=NAMES,
            seeds=SEEDS,
            callback=Callback(call_every, call),
            progress=progress,
        )
    return seen, jax.device_get(state.params)


def test_other_intervals_run_the_same_program():
    """What was compiled for one run, another finds."""
    program.cache_clear()
    with compilations() as first:
        walk([1])
    starts = [begin(), begin()]
    with compilations() as names:
        for most, start in zip((2, 5), starts, strict=True):
            coming = split().batches(3, seeds=SEEDS)
            Dispatch(program().step, coming, most).advance(start, 1)
    assert first
    assert not names


def test_what_is_due_comes_where_it_did(tmp_path):
    together, one = run(tmp_path / "a", (4, 6, 5)), run(tmp_path / "b", (4, 6, 5), 1)
    assert together[0] == one[0]
    assert one[0] == {
        "records": [0, 4, 8, 12, 14],
        "calls": [6, 12, 14],
        "checkpoints": [5, 10, 14],
    }
    assert_close(together[1], one[1], rtol=1e-5)
    records = [read_records(tmp_path / name / "metrics.jsonl") for name in "ab"]
    for found, wanted in zip(*records, strict=True):
        assert found.keys() == wanted.keys()
        assert all(found[key] == wanted[key] for key in ("step", "seed", "split"))
        assert_close([*found["loss"].values()], [*wanted["loss"].values()], rtol=1e-5)


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    whole = run(tmp_path / "whole", (4, 6, 5))[1]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", (4, 6, 5), stop=8)
    seen, resumed = run(tmp_path / "cut", (4, 6, 5))
    assert seen["records"] == [5, 8, 12, 14]
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


def test_a_guarded_run_stops_with_the_step_that_it_was(tmp_path):
    batch = problem()[1]
    y = np.array(batch.y)
    y[2, 5] = np.nan
    data = ArraySplit(dataclasses.replace(batch, y=y), None)
    numbers = split().batches(3, seeds=SEEDS).parts
    first = next(t for t, index in enumerate(numbers) if 5 in index)
    seed = next(s for s in SEEDS if 5 in split_numbers(first)[s])
    assert first > 0
    message = rf"'task_002' is not finite at step {first + 1} \(seed {seed}\)"
    with pytest.raises(mtopt.UserError, match=message):
        run(tmp_path, (4, 14, 14), on_nonfinite="raise", data=data)


def split_numbers(step):
    return next(split().batches(3, seeds=SEEDS, start=step).parts)


def counted(steps, wanted=20):
    """How many steps each of three calls took."""
    state = mtopt.TrainState(jnp.zeros(1), jnp.ones((1, 4, 4, 1)), *[None] * 5)
    taken = []
    for _ in range(3):
        state, _, count = steps.advance(state, wanted)
        taken.append(count)
    return taken


def convolve(state, batch):
    """A step with a convolution, within a branch of a function."""

    @jax.jit
    def inner(w):
        kernel = jnp.ones((2, 2, 1, 1))
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            w, kernel, (1, 1), "SAME", dimension_numbers=layout
        )

    w = jax.lax.cond(batch.mask.all(), inner, lambda w: w, state.params)
    return dataclasses.replace(state, params=w), w.sum()


def double(state, batch):
    w = state.params * batch.x.mean()
    return dataclasses.replace(state, params=w), w.sum()


def repeated():
    batch = mtopt.Batch.shared(np.ones(2), {"a": np.ones(2)})
    return Batches(same, jax.device_put(batch), itertools.repeat(()))


def same(batch, part):
    return batch


def test_steps_go_one_by_one_where_a_loop_would_be_slow(monkeypatch):
    assert counted(Dispatch(double, repeated(), 5))[-1] == 5
    assert counted(Dispatch(convolve, repeated(), 5)) == [1, 1, 1]
    assert counted(Dispatch(convolve, repeated(), 5, in_any_case=True))[-1] == 5
    # Of another platform, or another primitive.
    monkeypatch.setattr(dispatch, "SLOW_IN_LOOPS", {"tpu": {"conv_general_dilated"}})
    assert counted(Dispatch(convolve, repeated(), 5))[-1] == 5
    monkeypatch.setattr(dispatch, "SLOW_IN_LOOPS", {"cpu": {"mul"}})
    assert counted(Dispatch(double, repeated(), 5)) == [1, 1, 1]
    # The batch that was drawn to look at the program is not lost.
    monkeypatch.setattr(dispatch, "SLOW_IN_LOOPS", {"cpu": {"dot_general"}})
    jax.tree.map(np.testing.assert_array_equal, walk([1, 1, 1]), one_by_one(3))


def test_steps_go_one_by_one_where_batches_do():
    batches = (batch for batch in repeated())
    assert counted(Dispatch(double, batches, 5)) == [1, 1, 1]
    assert counted(Dispatch(double, repeated(), 1)) == [1, 1, 1]


def test_a_call_takes_no_longer_than_a_signal_may_wait(monkeypatch):
    assert counted(Dispatch(double, repeated(), 5), wanted=3) == [1, 1, 3]
    monkeypatch.setattr(dispatch, "MOST_SECONDS", 1e-9)
    assert counted(Dispatch(double, repeated(), 5)) == [1, 1, 1]


def test_primitives_are_found_wherever_they_stand():
    def function(x):
        x = jax.lax.scan(lambda c, _: (jnp.cos(c), None), x, length=2)[0]
        x = jax.lax.while_loop(lambda c: c < 0, jnp.tanh, x)
        return jax.checkpoint(jnp.sin)(x)

    found = primitives(jax.make_jaxpr(jax.vmap(jax.jit(function)))(jnp.ones(2)))
    assert {"cos", "tanh", "sin"} <= found
