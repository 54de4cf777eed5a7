"""What trials are chosen by, and how they are stored."""

import numpy as np
import pytest

import mtopt.data
from experiments.common.table import to_text
from experiments.common.trials import Trial, chosen_sheet, read_trials, write_trials
from experiments.compare.criterion import best_of, value_of
from experiments.compare.unit import Outcome
from mtopt.errors import UserError
from mtopt.training.criterion import criterion
from tests.helpers import npz


def outcome(scores=(0.0, 0.0), **errors):
    """Of tasks a, b, c, whose errors are 1 unless given."""
    metrics = {
        task: {"rmse": np.array(errors.get(task, [1.0, 1.0])), "r2": np.ones(2)}
        for task in "abc"
    }
    return Outcome(np.array(scores), metrics, ())


LOST = Outcome(np.full(2, np.nan), {}, ("failed",))


@pytest.fixture
def dataset(tmp_path):
    """Three regressions of deviations that are far apart."""
    return mtopt.data.npz(npz.save(tmp_path, **npz.shared()))


def test_unless_told_it_is_the_score_of_the_models(dataset):
    found = criterion("", dataset)
    trials = [outcome((0.5, 0.1)), LOST, outcome((0.4, 0.4)), outcome((9.0, np.nan))]
    assert value_of(found, trials[0]) == pytest.approx(0.3)
    assert best_of(found, trials) == 2
    assert best_of(found, [LOST, LOST]) == 0


def test_a_task_is_judged_by_its_first_metric(dataset):
    found = criterion("a", dataset)
    assert not found.higher_is_better
    assert found.words == "rmse of a"
    trials = [outcome(a=[3.0, 5.0]), LOST, outcome(a=[2.0, 4.0], b=[99.0, 99.0])]
    assert value_of(found, trials[0]) == 4
    assert best_of(found, trials) == 2


def test_an_error_of_all_tasks_is_in_units_of_their_deviations(dataset):
    found = criterion("rmse", dataset)
    units = dict(zip(dataset.tasks, dataset.target_std, strict=True))
    expected = np.mean([1 / units["a"], 2 / units["b"], 1 / units["c"]])
    assert value_of(found, outcome(b=[1.0, 3.0])) == pytest.approx(expected)
    # Half of a large unit is less than one of a small one.
    large, small = sorted(units, key=units.get)[::2][::-1]
    worse = {large: [1 + units[large] / 2] * 2}, {small: [1 + units[small]] * 2}
    assert best_of(found, [outcome(**each) for each in worse]) == 0


def test_a_seed_that_diverged_has_no_metric(dataset):
    found = criterion("rmse", dataset)
    assert np.isnan(value_of(found, outcome((0.0, np.nan))))


def test_another_name_is_refused(dataset):
    with pytest.raises(UserError, match="--by=rmsee: did you mean 'rmse'"):
        criterion("rmsee", dataset, "--by")


def trial(method, number, validation, chosen=False, notes=""):
    setting = f"{method}(c=0.{number})"
    return Trial(method, number, setting, 0.01, validation, chosen, "there", notes)


def test_trials_are_read_as_they_were_written(tmp_path):
    trials = [trial("ours, or not", 1, 0.1 + 0.2, True), trial("b", 2, -1e-9)]
    write_trials(tmp_path, trials)
    assert read_trials(tmp_path) == trials
    write_trials(tmp_path, [trial("b", 1, float("nan"), notes='it "failed", so')])
    (found,) = read_trials(tmp_path)
    assert np.isnan(found.validation)
    assert found.notes == 'it "failed", so'
    (tmp_path / "trials.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="expected what a sweep wrote"):
        read_trials(tmp_path)


def test_the_chosen_settings_are_shown_with_what_they_were_chosen_from():
    trials = [
        trial("ours", 1, 0.5),
        trial("ours", 2, 0.9, chosen=True),
        trial("ours", 3, float("nan"), notes="seed 0 diverged"),
        trial("theirs", 1, float("nan"), chosen=True, notes="failed"),
    ]
    text = to_text(chosen_sheet(trials, "the score"))
    ours, theirs = (line.split() for line in text.splitlines()[4:6])
    assert ours == [
        "ours",
        "2",
        "of",
        "3",
        "0.01",
        "0.900",
        "0.500",
        "to",
        "0.900",
        "1",
    ]
    assert theirs == ["theirs", "1", "of", "1", "0.01", "–", "–", "1"]
    assert "ours: ours(c=0.2)." in text
    assert "validation: the score, the mean over seeds." in text
