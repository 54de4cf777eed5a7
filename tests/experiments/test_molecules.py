"""The experiment of the molecules: its arms, its controls, its files, going on."""

import json

import numpy as np
import pytest

from experiments import molecules
from experiments.common.building import load_dataset
from experiments.common.config import Optimizer
from experiments.molecules import report
from experiments.molecules.config import Config
from experiments.molecules.data import beside, first_labelled, permuted
from mtopt.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A target of few labels whose direction a source of many has too."""
    where = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(30, 2))
    for name, rows, tasks in (("few", 600, 3), ("many", 3000, 4)):
        x = rng.normal(size=(rows, 30))
        y = np.tanh(x @ hidden) @ rng.normal(size=(2, tasks))
        y = (y > 0) * 1 if name == "few" else y
        names = np.array([f"{name}{k}" for k in range(tasks)])
        np.savez(where / f"{name}.npz", x=x, y=y, target_names=names)
    return where


def small(**changes):
    fields = {
        "target": "npz(path='few.npz')",
        "sources": ("npz(path='many.npz')",),
        "labelled": (40,),
        "model": "mlp(hidden=(16, 16))",
        "batch_size": 32,
        "steps": 300,
        "eval_every": 50,
        "optimizer": Optimizer("adam", 5e-3, "cosine_decay"),
        "seeds": (0, 1),
    }
    return Config(**(fields | changes))


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    where = tmp_path_factory.mktemp("run")
    molecules.prepare(small(), "molecules", folder)(where)
    return where


def test_what_many_labels_of_one_representation_give_is_found(finished):
    scores = json.loads((finished / "results.json").read_text())["40 molecules"]
    assert list(scores) == ["alone", "many", "many, permuted"]
    means = {arm: np.mean(values) for arm, values in scores.items()}
    assert means["many"] > means["alone"] + 0.05
    assert means["many"] > means["many, permuted"] + 0.05


def test_the_report_has_differences_and_their_intervals(finished):
    text = (finished / "table.txt").read_text()
    assert "few, 40 molecules, mean test auc" in text
    (row,) = [line for line in text.splitlines() if line.startswith("many  ")]
    assert row.count("[") == 2
    assert (finished / "molecules.png").read_bytes().startswith(b"\x89PNG")
    stored = json.loads((finished / "data.json").read_text())
    assert [one["name"] for one in stored["sets"]] == ["few", "many"]


def test_a_run_reads_what_is_finished_and_goes_on(folder, finished, capsys):
    place = finished / "40-labelled/alone/seed-1"
    before = (place / "result.json").read_text()
    (place / "result.json").unlink()
    table = (finished / "table.txt").read_text()
    molecules.prepare(small(), "molecules", folder)(finished)
    assert (place / "result.json").read_text() == before
    assert (finished / "table.txt").read_text() == table
    assert "alone" in capsys.readouterr().out


def test_a_source_is_never_scored_nor_has_it_a_part_in_the_choice(folder):
    target, source = (
        load_dataset(f"npz(path='{name}.npz')", folder) for name in ("few", "many")
    )
    both = beside(target, source)
    for part in ("valid", "test"):
        masks = zip(
            *(batch.mask for batch in getattr(both, part).in_order(64)), strict=True
        )
        few, many = (np.concatenate(own, axis=1).sum() for own in masks)
        assert (few, many) == (3 * getattr(target, part).size, 0)
    assert both.groups[1].train is source.train


def test_permuting_moves_whole_rows_of_training_labels_alone(folder):
    source = load_dataset("npz(path='many.npz')", folder)
    mixed = permuted(source, 3)
    one, two = source.train.samples, mixed.train.samples
    np.testing.assert_array_equal(one.x, two.x)
    rows, moved = np.asarray(one.y).T, np.asarray(two.y).T
    assert not (rows == moved).all(axis=1).any()
    np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(moved, axis=0))
    assert mixed.test is source.test
    again = permuted(source, 3).train.samples.y
    np.testing.assert_array_equal(two.y, again)


def test_few_molecules_are_others_for_every_seed(folder):
    target = load_dataset("npz(path='few.npz')", folder)
    one, other = (first_labelled(target, 40, seed) for seed in (0, 1))
    assert one.train.size == other.train.size == 40
    assert not np.array_equal(one.train.samples.x, other.train.samples.x)
    assert first_labelled(target, 0, 0) is target


def test_all_molecules_and_several_methods_without_controls(folder, tmp_path):
    config = small(
        labelled=(0,),
        methods=("equal_weighting", "mgda"),
        permute=False,
        seeds=(0,),
        steps=20,
    )
    molecules.prepare(config, "molecules", folder)(tmp_path)
    scores = json.loads((tmp_path / "results.json").read_text())["all molecules"]
    assert list(scores) == ["alone", "many, equal_weighting", "many, mgda"]
    assert "nan" not in (tmp_path / "table.txt").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labelled": (9999,)}, "labelled asks for 9999 molecules of 'few'"),
        ({"labelled": (-1,)}, "labelled"),
        ({"sources": ("npz(path='no.npz')",)}, "no file"),
        ({"sources": ("npz(path='few.npz')",)}, "task 'few0' stands in"),
        ({"methods": ("mdga",)}, "no method 'mdga'"),
        ({"sources": ("multi_digits",)}, "other parameters"),
        ({"target": "planted_outliers"}, "each task has its own"),
        (
            {
                "sources": (
                    "npz(path='many.npz', tasks='many0')",
                    "npz(path='many.npz', tasks='many1')",
                )
            },
            "called 'many', 'many': expected another name each",
        ),
        (
            {"target": "npz(path='many.npz')", "sources": ("npz(path='few.npz')",)},
            "'many' is of kind regression, whose rmse is in units",
        ),
    ],
)
def test_misuse_is_one_line(folder, changes, message):
    with pytest.raises(UserError, match=message) as error:
        molecules.prepare(small(**changes), "molecules", folder)
    assert "\n" not in str(error.value)


def test_one_seed_has_no_spread_and_no_interval():
    scores = {(9, "alone"): np.array([0.5]), (9, "many"): np.array([0.75])}
    text = report.table(report.Result("e", "few", "auc", (9,), scores))
    assert "1 seed\n" in text
    assert "+25.00  " in text
    assert "nan" not in text


def test_molecules_in_words():
    assert [report.molecules(n) for n in (300, 0)] == ["300 molecules", "all molecules"]
