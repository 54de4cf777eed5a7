"""Test scores that are means over the last looks, with no model chosen."""

import dataclasses
import functools
import json

import numpy as np
import pytest

import mtopt
from mtopt.training.fit import FitOptions, fit, read_result
from mtopt.training.program import separate_program, shared_program
from mtopt.training.writer import read_records
from tests.helpers.planted_looks import EVERY, LOOKS, TASKS, counting, data, planted

SEEDS = (0, 3)
OPTIONS = FitOptions(
    steps=EVERY * LOOKS - 1,  # the last look is of another distance
    batch_size=4,
    eval_every=EVERY,
    log_every=3,
    checkpoint_every=6,
    test_looks=3,
)


@functools.cache
def program(separate=False, doom=None):
    tx = mtopt.chain(mtopt.equal_weighting(1 if separate else 2), counting(doom))
    if separate:
        return separate_program(planted(("task",)), tx, TASKS, len(SEEDS))
    return shared_program(planted(TASKS), tx, len(SEEDS), on_nonfinite="stop")


def run(folder, separate=False, doom=None, progress=lambda *_: None, **changes):
    options = dataclasses.replace(OPTIONS, **changes)
    made = program(separate, doom)
    return fit(made, data(), options, folder, seeds=SEEDS, progress=progress)


def looked_at(folder):
    records = read_records(folder / "metrics.jsonl")
    return sorted({r["step"] for r in records if r["split"] == "test_look"})


@pytest.mark.parametrize("separate", [False, True])
def test_scores_are_means_of_the_last_looks(tmp_path, separate):
    found = run(tmp_path, separate)
    errors = np.asarray(found.state.params["shared"]["errors"])
    errors = errors[:, :, 0] if separate else errors
    # A step before the next error is due, the last look still sees that of step 36.
    expected = errors[:, :, [LOOKS - 2, LOOKS - 1, LOOKS - 1]].mean(axis=2)
    assert looked_at(tmp_path) == [32, 36, 39]
    stored = read_result(tmp_path)
    np.testing.assert_allclose(stored["test"][:, :, 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(stored["test"], found.test.metrics)
    # Models are chosen as ever, for whoever wants them.
    chosen = run(tmp_path / "chosen", separate, test_looks=None)
    np.testing.assert_array_equal(found.best.step, chosen.best.step)
    assert (found.test.metrics != chosen.test.metrics).any()
    assert looked_at(tmp_path / "chosen") == []


@pytest.mark.parametrize("after", [7, 33, 37])
def test_a_run_that_was_killed_has_the_same_scores(tmp_path, after):
    run(tmp_path / "whole")

    def killed(step, losses):
        if step > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "two", progress=killed)
    run(tmp_path / "two")
    one, two = (
        json.loads((tmp_path / name / "result.json").read_text())
        for name in ("whole", "two")
    )
    assert one == two
    assert looked_at(tmp_path / "two") == looked_at(tmp_path / "whole")


def test_a_run_that_goes_on_is_tested_by_its_own_last_looks(tmp_path):
    run(tmp_path / "one", steps=EVERY * 6)
    more = run(tmp_path / "one", steps=EVERY * 8)
    once = run(tmp_path / "two", steps=EVERY * 8)
    np.testing.assert_array_equal(more.test.metrics, once.test.metrics)


def test_models_that_diverged_have_no_scores(tmp_path):
    found = run(tmp_path, doom=20)
    assert np.isnan(found.test.metrics).all()
    assert np.isnan(found.test.pooled).all()


def test_what_cannot_be_is_one_line():
    with pytest.raises(mtopt.UserError, match=r"39 steps have 10 looks.*most 10"):
        dataclasses.replace(OPTIONS, test_looks=11)
    with pytest.raises(mtopt.UserError, match="test_looks is 3 and patience 2"):
        dataclasses.replace(OPTIONS, patience=2)
    with pytest.raises(mtopt.UserError, match="test_looks is 0: expected at least 1"):
        dataclasses.replace(OPTIONS, test_looks=0)
