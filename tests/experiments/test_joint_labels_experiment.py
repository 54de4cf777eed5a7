"""Joint labels on digits: the run's files, resumption, what the labels are worth."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import joint_labels
from experiments.common import fitted as fitting
from experiments.joint_labels import report
from experiments.joint_labels import run as joint_labels_run
from experiments.joint_labels.config import Config
from mtopt.errors import UserError
from mtopt.metrics import paired_interval

ARMS = ("plain", "two_tasks", "aggregated")


def small(**changes):
    return dataclasses.replace(
        Config(
            methods=ARMS,
            sizes=(40,),
            num_valid=50,
            num_test=100,
            seeds=(0, 1),
            steps=60,
            eval_every=30,
            width=32,
        ),
        **changes,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("joint_labels")
    joint_labels.prepare(small(), "joint_labels", None)(folder)
    return folder


def read(folder):
    return json.loads((folder / "results.json").read_text())["accuracy"]


def test_a_run_ends_with_its_table_and_picture(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "40-images",
        "data.json",
        "joint_labels.png",
        "report.html",
        "results.json",
        "table.txt",
    }
    found = read(finished)["40"]
    assert sorted(found) == sorted(ARMS)
    assert np.mean(found["aggregated"]) > 0.4
    table = (finished / "table.txt").read_text()
    for text in ("40 training images", "minus plain", "minus two_tasks", *ARMS):
        assert text in table


def test_seeds_divide_the_digits_anew_and_sizes_hold_each_other():
    one, more, other = (
        joint_labels_run.digits(size, seed, small())
        for size, seed in ((40, 0), (60, 0), (40, 1))
    )

    def images(data, title):
        return np.asarray(getattr(data, title).samples.x)

    np.testing.assert_array_equal(images(more, "train")[:40], images(one, "train"))
    np.testing.assert_array_equal(images(more, "test"), images(one, "test"))
    assert (images(other, "test") != images(one, "test")).any()
    rows = np.concatenate([images(more, title) for title in ("train", "valid", "test")])
    assert len(np.unique(rows.reshape(210, -1), axis=0)) == 210


def test_finished_seeds_are_read_again_and_the_others_run(finished, monkeypatch):
    fit, ran = fitting.fit, []

    def counted(program, data, options, folder, **others):
        ran.append((folder.parent.name, *others["seeds"]))
        return fit(program, data, options, folder, **others)

    monkeypatch.setattr(fitting, "fit", counted)
    lost = finished / "40-images" / "plain" / "seed-1" / "result.json"
    lost.unlink()
    before = (finished / "table.txt").read_text()
    joint_labels.prepare(small(), "joint_labels", None)(finished)
    assert ran == [("plain", 1)]
    assert (finished / "table.txt").read_text() == before


def test_what_cannot_be_run():
    with pytest.raises(UserError, match="methods is 'joint': known are"):
        joint_labels.prepare(small(methods=("joint",)), "joint_labels", None)
    with pytest.raises(UserError, match=r"1700 \+ 50 \+ 100 digits: expected 1797 at"):
        joint_labels.prepare(small(sizes=(40, 1700)), "joint_labels", None)


@pytest.mark.slow
def test_joint_labels_beat_the_sum_of_two_tasks(tmp_path):
    config = Config(methods=("two_tasks", "single", "aggregated"))
    joint_labels.prepare(config, "joint_labels", None)(tmp_path)
    for size, found in read(tmp_path).items():
        for arm, points in (("single", 2), ("aggregated", 3.5)):
            gain = paired_interval(found[arm], found["two_tasks"])
            assert gain.mean > points / 100, (size, arm)
            assert gain.low > 0, (size, arm)


def test_one_seed_has_no_spread_and_no_interval():
    scores = {(9, "plain"): np.array([0.5]), (9, "single"): np.array([0.75])}
    text = report.table(report.Result("e", (9,), ("plain", "single"), scores))
    assert text.startswith("e: test accuracy in percent, 1 seed\n")
    assert "+25.0\n" in text
    assert "nan" not in text
