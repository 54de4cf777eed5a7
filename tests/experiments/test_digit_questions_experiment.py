"""The main job: what is planted in its data is found."""

import dataclasses

import numpy as np
import pytest

from experiments.common import runner
from experiments.common.run_folder import run_folder
from experiments.configurations import digit_questions
from mtopt.data.images.digit_questions import WRONG
from mtopt.training.loop import read_per_task

CONFIG = digit_questions.get_config()


def test_every_family_is_in_the_table():
    compared = " ".join(CONFIG.methods)
    for family in ("mgda", "flat_regions", "rep_mtl", "outlier_weighted"):
        assert family in compared


(OURS,) = (text for text in CONFIG.methods if text.startswith("outlier_weighted"))


@pytest.mark.parametrize(
    "method",
    ["outlier_weighted(equal_weighting)", pytest.param(OURS, marks=pytest.mark.slow)],
)
def test_the_wrong_task_is_let_go_and_no_other(method, tmp_path):
    config = dataclasses.replace(CONFIG, methods=(method,), single_task=False)
    train = runner.prepare_training(config, "digit_questions", None)
    (part,) = train(tmp_path)
    place = run_folder(tmp_path, method, CONFIG.seeds)
    weights = read_per_task(place, "task_weights")["values"]
    assert weights.shape[::2] == (len(CONFIG.seeds), len(part.task_names))
    wrong = np.array([name == WRONG for name in part.task_names])
    assert (weights[:, -1, wrong] < 0.05).all()
    assert (weights[:, -1, ~wrong] > 0.95).all()
    # What is wrong cannot be learned: chance is a tenth.
    accuracy = part.methods[0].metrics[..., 0]
    assert (abs(accuracy[:, wrong] - 0.1) < 0.04).all()
    assert (accuracy[:, ~wrong] > 0.5).all()
