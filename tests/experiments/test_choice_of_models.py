"""What models are chosen by, and when they stop: in a run and in its report."""

import dataclasses

import numpy as np
import pytest

from experiments.common.config import Config
from experiments.common.looks import extended
from experiments.common.protocol import protocol
from experiments.common.run_folder import run_folder
from experiments.common.runner import Training, prepare
from experiments.common.stored_run import StoredRun
from experiments.common.stored_sweep import StoredSweep
from experiments.compare.plan import plan
from mtopt.errors import UserError
from mtopt.training.fit import read_validation
from mtopt.training.writer import read_records
from tests.helpers.npz import save

CONFIG = Config(
    data="npz(path='set.npz', kind='each')",
    model="mlp(hidden=(8,))",
    methods=("equal_weighting",),
    steps=60,
    batch_size=8,
    eval_every=3,
    log_every=30,
    checkpoint_every=30,
    seeds=(0, 1),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A number and a class that nothing can learn."""
    rng = np.random.default_rng(0)
    found = tmp_path_factory.mktemp("files")
    y = np.stack([rng.normal(size=60), rng.integers(0, 2, 60)], 1)
    names = np.array(["size", "sick"])
    save(found, x=rng.normal(size=(60, 3)), y=y, target_names=names)
    return found


def config(**changes):
    return dataclasses.replace(CONFIG, **changes)


def test_groups_without_a_part_in_it_are_chosen_as_ever(folder):
    for by, expected in (
        ("sick", ["sick", ""]),
        ("rmse", ["", "rmse"]),
        ("", [""] * 2),
    ):
        training = Training.of(config(choose_by=by), folder)
        assert [run.choose_by for run in training.baselines] == expected
        assert [run.choose_by for run in training.methods] == [by]


def test_a_run_says_how_it_was_chosen_and_stops(folder, tmp_path):
    own = config(choose_by="sick", patience=2, stack_seeds=False)
    prepare(own, "npz", folder)(tmp_path / "run")
    said = " ".join((tmp_path / "run" / "table.txt").read_text().split())
    assert "at most 60 steps of 8 samples" in said
    assert (
        "one every 3 steps, by auc of sick; no more steps after 2 looks without a "
        "better one;" in said
    )
    assert "without a number" not in said  # a model that has stopped fell nowhere
    found = read_validation(run_folder(tmp_path / "run", "equal_weighting", (0,)))
    np.testing.assert_allclose(found.scores[:, 0], found.metrics["sick"]["auc"])


def test_means_of_the_last_looks_are_said_to_be_that(folder, tmp_path):
    prepare(config(test_looks=2, eval_every=25), "npz", folder)(tmp_path / "run")
    said = " ".join((tmp_path / "run" / "table.txt").read_text().split())
    expected = "no model is chosen: means over the last 2 looks at test data, one every"
    assert f"{expected} 25 steps" in said
    assert "chosen step" not in said
    assert "read once" not in said
    files = [*(tmp_path / "run").rglob("metrics.jsonl")]
    assert len(files) == 3  # of the method, and of each task's own models
    for records in map(read_records, files):
        assert {r["step"] for r in records if r["split"] == "test_look"} == {50, 60}
    with pytest.raises(UserError, match="60 steps have 3 looks, one every 25"):
        prepare(config(test_looks=4, eval_every=25), "npz", folder)


def test_protocols_of_usual_runs_say_neither(folder):
    dataset = Training.of(CONFIG, folder).dataset
    assert "data, one every 3 steps; test data read once" in protocol(CONFIG, dataset)


def test_trials_are_chosen_by_what_models_are_chosen_by(folder):
    def words(by, **changes):
        run = StoredRun("npz", config(**changes), folder)
        return plan(StoredSweep(run, 1, by)).criterion.words

    assert words("", choose_by="sick") == "auc of sick"
    assert words("rmse", choose_by="sick") == "the mean rmse of tasks"
    assert words("") == "the mean of each task's first metric"


def test_an_unknown_name_is_one_line_before_anything_runs(folder):
    with pytest.raises(UserError, match="choose_by=sic: did you mean 'sick'") as error:
        prepare(config(choose_by="sic"), "npz", folder)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="patience is -1: expected"):
        prepare(config(patience=-1), "npz", folder)


def test_looks_that_were_not_taken_are_the_last_ones_unless_a_seed_is_lost():
    looks = np.arange(4.0).reshape(2, 2, 1)
    found = extended(looks, 4, np.array([False, True]))
    np.testing.assert_array_equal(found[..., 0], [[0, 1, 1, 1], [2, 3, np.nan, np.nan]])
    nothing = extended(np.zeros((2, 0, 1)), 2, np.array([True, True]))
    assert np.isnan(nothing).all()
