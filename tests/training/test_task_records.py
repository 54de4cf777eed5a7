"""What training records say of tasks that are solved, and of those that are absent."""

import dataclasses
import itertools
from typing import NamedTuple

import jax
import numpy as np
import optax
import pytest

import mtopt
from experiments.common.runner import _print_stationary
from mtopt.training.loop import LoopOptions, read_per_task, train
from mtopt.training.program import shared_program
from tests.helpers import problems

NAMES = problems.names(3)


class Model(NamedTuple):
    tasks: mtopt.Tasks
    init: object
    predict: object


def run(aggregator, folder, batches=itertools.repeat, progress=lambda *_: None):
    params, batch = problems.solved_task()
    stack = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), batch)
    tasks = mtopt.Tasks(NAMES, problems.tanh_encode, problems.squared_loss)
    model = Model(tasks, lambda key: (params, {}), lambda *_: None)
    tx = mtopt.chain(aggregator, optax.sgd(0.05))
    train(
        shared_program(model, tx, 2),
        lambda start: batches(stack),
        LoopOptions(steps=6, log_every=2, checkpoint_every=6),
        folder,
        tasks=NAMES,
        seeds=(0, 1),
        progress=progress,
    )
    return folder


@pytest.mark.parametrize("name", ["mgda", "equal_weighting"])
def test_it_stands_in_the_records_and_in_one_line(tmp_path, capsys, name):
    folder = run(mtopt.METHODS[name](3), tmp_path)
    found = read_per_task(folder, "stationary_steps")
    _print_stationary(name, [folder], NAMES)
    said = capsys.readouterr().out
    if name == "mgda":
        assert found["values"].tolist() == 2 * [[[0, n, 0] for n in (2, 4, 6)]]
        assert "mgda: tasks without a gradient had nearly all the weight" in said
        assert said.count("\n") == 1
        assert "task_001 in 6)" in said
        assert "without_stationary" in said
    else:
        assert not found["values"].size
        assert not said


def test_an_injected_option_of_the_same_name_is_no_record(tmp_path):
    """The state has two ``weights`` then: the option, and what it came to."""
    make = optax.inject_hyperparams(mtopt.fixed_weighting, static_args="num_tasks")
    folder = run(make(3, weights=np.array([1.0, 2.0, 1.0], np.float32)), tmp_path)
    found = read_per_task(folder, "weights")["values"]
    assert found[0, -1].tolist() == [1.0, 2.0, 1.0]


def without_the_last(batch):
    """Every other batch has no label of the last task."""
    for step in itertools.count():
        mask = batch.mask.copy()
        mask[:, 2] &= step % 4 == 3
        yield dataclasses.replace(batch, mask=mask)


def test_an_absent_task_has_no_loss_in_the_records(tmp_path):
    """It had 0, as if it were solved."""
    shown = []
    run(
        mtopt.equal_weighting(3),
        tmp_path,
        without_the_last,
        lambda step, losses: shown.append(losses),
    )
    found = read_per_task(tmp_path, "loss")["values"]
    assert np.isnan(found[..., 2]).tolist() == 2 * [[True, False, True]]
    assert np.isfinite(found[..., :2]).all()
    assert (found[:, 1, 2] > 0).all()
    np.testing.assert_allclose(shown[1:], found.mean(axis=0), rtol=1e-6)
