"""A method that trains for steps of its own: ``METHOD @ STEPS``."""

import dataclasses

import numpy as np
import optax
import pytest

import mtopt
from experiments.common import config as configurations
from experiments.common import runner
from experiments.common.results import MethodResult
from experiments.configurations import multi_digits


def small(*methods):
    data = "multi_digits(num_train=8, num_valid=4, num_test=4)"
    return dataclasses.replace(
        multi_digits.get_config(), data=data, methods=methods, steps=3, single_task=True
    )


def test_it_trains_so_many_steps_with_a_schedule_that_lasts_as_long(
    monkeypatch, tmp_path
):
    built, trained = {}, {}

    def build(self, steps, rate=None):
        return built.setdefault(steps, optax.sgd(steps))

    def train(run, *_):
        run.program(1)
        trained[run.text] = run.steps
        return MethodResult(run.name, np.zeros((1, 2, 1)), {})

    monkeypatch.setattr(configurations.Optimizer, "build", build)
    monkeypatch.setattr(runner, "_train", train)
    config = small("mgda", "mgda @ 7", "normalize_rows + mgda @ 3")
    runner.prepare_training(config, "small", None)(tmp_path)
    assert trained == {
        runner.SINGLE_TASK: 3,
        "mgda": 3,
        "mgda @ 7": 7,
        "normalize_rows + mgda @ 3": 3,
    }
    assert sorted(built) == [3, 7]


@pytest.mark.parametrize("text", ["mgda @ many", "mgda @ 0", "mgda @", "mgda @ -1"])
def test_steps_that_are_no_number_are_one_clear_line(text):
    with pytest.raises(mtopt.UserError, match="expected METHOD @ STEPS"):
        runner.prepare_training(small(text), "small", None)
