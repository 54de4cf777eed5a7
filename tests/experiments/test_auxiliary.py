"""The auxiliary task: its data, its files, going on, errors."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import auxiliary
from experiments.auxiliary import report
from experiments.auxiliary import run as auxiliary_run
from experiments.auxiliary.config import ALONE, Config
from experiments.common import fitted as fitting
from experiments.common.config import Optimizer
from mtopt.errors import UserError
from mtopt.training.loop import read_per_task

METHODS = (ALONE, "bloop(aux_weight=1.0)")


def small(**changes):
    config = Config(
        methods=METHODS,
        labels=(40,),
        hidden=(16,),
        optimizer=Optimizer("adam", 1e-2),
        seeds=(0, 3),
        steps=40,
        checkpoint_every=40,
        eval_every=20,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("auxiliary")
    auxiliary.prepare(small(), "auxiliary", None)(folder)
    return folder


def test_a_run_leaves_its_table_picture_and_numbers(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "40-labels",
        "auxiliary.png",
        "data.json",
        "results.json",
        "table.txt",
    }
    scores = json.loads((finished / "results.json").read_text())["40"]
    assert list(scores) == list(METHODS)
    alone, bloop = (scores[text] for text in METHODS)
    assert min(alone["accuracy"]) > 0.5  # of ten classes
    assert alone["points"] == [0, 0]
    found = 100 * np.subtract(bloop["accuracy"], alone["accuracy"])
    np.testing.assert_allclose(bloop["points"], found)
    # Alone the head of the reconstruction never moves.
    assert max(bloop["reconstruction"]) < min(alone["reconstruction"])
    table = (finished / "table.txt").read_text()
    assert table.startswith(
        "auxiliary: test accuracy, mean ± standard deviation over 2"
    )
    assert max(map(len, table.splitlines())) <= 100


def test_the_labels_alone_are_trained_as_if_there_were_no_pretext(finished):
    losses = read_per_task(
        next((finished / "40-labels").glob("single*/seed-0")), "loss"
    )
    digit, masked = np.moveaxis(losses["values"][0], 1, 0)
    assert digit[-1] < 0.5 * digit[0]
    assert masked[-1] > 0.9 * masked[0]


def test_fewer_labels_are_part_of_more_and_all_images_have_the_pretext():
    few, more = (auxiliary_run.few_labels(count, 1) for count in (20, 50))
    own = [data.groups[0].train.samples for data in (few, more)]
    np.testing.assert_array_equal(own[0].x, own[1].x[:20])
    np.testing.assert_array_equal(own[0].y, own[1].y[:, :20])
    every = few.groups[1].train
    assert every.size == 1078
    images = {row.tobytes() for row in np.asarray(every.samples.x)}
    assert {row.tobytes() for row in np.asarray(own[1].x)} <= images
    held_out = np.asarray(few.groups[0].test.samples.x)
    assert not images & {row.tobytes() for row in held_out}
    other = auxiliary_run.few_labels(20, 2).groups[0].train.samples
    assert not np.array_equal(other.x, own[0].x)


def test_a_run_goes_on_with_what_is_not_finished(finished, tmp_path):
    table = (finished / "table.txt").read_text()
    last = next((finished / "40-labels").glob("bloop*/seed-3"))
    last.rename(tmp_path / "moved")
    ran = []
    with pytest.MonkeyPatch.context() as patch:

        def fit(*arguments, **options):
            ran.append(options["seeds"])
            return original(*arguments, **options)

        original = fitting.fit
        patch.setattr(fitting, "fit", fit)
        auxiliary.prepare(small(), "auxiliary", None)(finished)
    assert ran == [(3,)]
    assert (finished / "table.txt").read_text() == table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": (2000,)}, "labels is 2000: expected 1078 training images or fewer"),
        ({"labels": ()}, "labels is (): expected 1 or more entries"),
        ({"masked": 1.0}, "masked is 1.0: expected a number below 1"),
        ({"methods": ("mgda",)}, "methods is ('mgda',): expected 2 or more entries"),
        ({"methods": ("mgda", "blop")}, "no method 'blop'"),
        ({"hidden": ()}, "hidden is ()"),
        (
            {"methods": ("mgda", "rep_mtl(equal_weighting)")},
            "rep_mtl(equal_weighting) cannot train a pretext task",
        ),
    ],
)
def test_misuse_is_one_line(changes, message):
    with pytest.raises(UserError) as error:
        auxiliary.prepare(small(**changes), "auxiliary", None)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def result(labels, seeds):
    accuracies = {"alone": np.full(seeds, 0.5), "beside": np.linspace(0.7, 0.8, seeds)}
    scores = {
        (count, text): report.Scores(values, np.ones(seeds))
        for count in labels
        for text, values in accuracies.items()
    }
    return report.Result("e", scores)


def test_one_seed_has_no_spread_and_no_interval():
    text = report.table(result((9,), 1))
    assert text.startswith("e: test accuracy, 1 seed\n")
    assert "+20.0  " in text
    assert "nan" not in text


def test_any_number_of_labels_has_its_panel(tmp_path, monkeypatch):
    """As many as there are, and more than there are colours."""
    drawn = []
    monkeypatch.setattr(report, "save", lambda figure, *_: drawn.extend(figure.axes))
    report.picture(result(range(2, 10), 3), tmp_path / "it.png")
    assert len(drawn) == 8
    assert [axes.get_title(loc="left") for axes in drawn][-1] == "9 labels"
