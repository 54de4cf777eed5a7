"""The memory of the compiled step comes with its compilation, and without the data."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

import mtopt
from mtopt.data import ArraySplit
from mtopt.models import Model
from mtopt.training.dispatch import Dispatch
from mtopt.training.loop import LoopOptions, train
from mtopt.training.program import shared_program
from mtopt.training.program_memory import ProgramMemory, read_step_bytes
from tests.helpers import problems
from tests.helpers.compilations import compilations

SEEDS = (0, 1)
SCHEDULE = LoopOptions(steps=4, log_every=2, checkpoint_every=2)


@functools.cache
def program(width):
    def init(key):
        del key
        return problems.mlp_params(problems.names(3), 5, (width,), 2), {}

    tasks = mtopt.Tasks(problems.names(3), problems.encode, problems.classify)
    tx = mtopt.chain(mtopt.mgda(3), optax.sgd(0.1))
    return shared_program(Model(tasks, init, lambda *_: None), tx, len(SEEDS))


def coming(rows, inside=True):
    _, _, batch = problems.classification(3, rows, 5, (4,), 2, None)
    stream = ArraySplit(batch, None).batches(8, seeds=SEEDS)
    return stream if inside else iter(list_of(stream, 6))


def list_of(stream, count):
    return [next(stream) for _ in range(count)]


def begin(width):
    keys = jax.vmap(jax.random.key)(jnp.arange(2, dtype=jnp.uint32))
    return program(width).init(keys)


@pytest.mark.parametrize("inside", [True, False])
def test_it_is_that_of_the_program_which_is_compiled_once(inside):
    width = 7 + inside  # a program that nothing has compiled before
    state, stream = begin(width), coming(64, inside)
    batch = next(coming(64))
    jax.block_until_ready((state, batch))
    steps = Dispatch(program(width).step, stream, 8)
    assert steps.step_bytes is None
    with compilations() as names:
        state, _, _ = steps.advance(state, 1)
        assert len(names) == 1
        state, _, _ = steps.advance(state, 1)
        assert len(names) == 1
    step = program(width).step.lower(state, batch).compile()
    alone = ProgramMemory.of(step)
    if inside:
        # Of a loop, with room for the numbers of the samples of a hundred steps.
        assert steps.step_bytes > alone.peak - sum(
            leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(batch)
        )
        assert steps.step_bytes < 3 * alone.peak
    else:
        assert steps.step_bytes == alone.peak


def test_larger_models_take_more_and_larger_data_do_not():
    def measured(width, rows):
        steps = Dispatch(program(width).step, coming(rows), 8)
        steps.advance(begin(width), 1)
        return steps.step_bytes

    small = measured(8, 64)
    assert measured(8, 6400) == pytest.approx(small, rel=0.01)
    parameters = 2 * 4 * 100 * (5 + 1 + 3 * 2)  # of a hundred units more, both seeds
    assert measured(108, 64) > small + parameters


def test_a_run_writes_it_down_and_one_that_goes_on_too(tmp_path):
    def stream(start):
        del start
        return coming(64)

    names = problems.names(3)
    train(program(8), stream, SCHEDULE, tmp_path, tasks=names, seeds=SEEDS)
    found = read_step_bytes(tmp_path)
    assert found > 0
    longer = LoopOptions(steps=8, log_every=2, checkpoint_every=2)
    train(program(8), stream, longer, tmp_path, tasks=names, seeds=SEEDS)
    assert read_step_bytes(tmp_path) == found
