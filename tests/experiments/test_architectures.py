"""Architectures beside each other: files, sizes, and what gates are worth."""

import dataclasses
import json
import os
import pathlib

import numpy as np
import pytest

import experiments.architectures.run as architectures_run
from experiments import architectures
from experiments.architectures import report
from experiments.architectures.config import MODELS, Config
from experiments.architectures.report import Scores
from experiments.common.experiment import find_experiment
from mtopt.data import related_tasks
from mtopt.errors import UserError
from mtopt.metrics import metrics_of
from tests.helpers.close import assert_close

SIZES = "features=4, num_train=64, num_valid=8, num_test=32"
SETS = tuple(f"related_tasks(across={across}, {SIZES})" for across in (0.0, 0.5))
SMALL = ("mlp(hidden=(12,))", "mmoe(experts=2, hidden=(5,))")


def small(**changes):
    config = Config(
        methods=("equal_weighting",),
        models=SMALL,
        controls=1,
        data=SETS,
        seeds=(0, 3),
        steps=4,
        batch_size=16,
        log_every=2,
        checkpoint_every=4,
        diagnose_every=2,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("architectures")
    architectures.prepare(small(), "architectures", None)(folder)
    return folder


def test_a_run_leaves_its_table_pictures_and_numbers(finished):
    names = {path.name for path in finished.iterdir() if path.is_file()}
    assert names == {
        "architectures.png",
        "data.json",
        "gates-1.png",
        "gates-2.png",
        "report.html",
        "results.json",
        "table.txt",
    }
    found = json.loads((finished / "results.json").read_text())[SETS[0]]
    mlp, mmoe = (found["equal_weighting"][name] for name in SMALL)
    assert abs(mlp["parameters"] - mmoe["parameters"]) <= 0.02 * mlp["parameters"]
    ratios = np.array(mmoe["values"]) / np.array(mlp["values"])
    against = mmoe["against"][SMALL[0]]
    assert_close(against["mean"], np.exp(np.log(ratios).mean()), rtol=1e-9)
    assert against["low"] < against["mean"] < against["high"]
    assert mlp["against"] == {}
    table = (finished / "table.txt").read_text()
    assert " ".join(table.split()).count("equal_weighting: 2 seeds") == 2
    assert max(map(len, table.splitlines())) <= 100


def test_what_is_finished_is_read(finished, monkeypatch):
    table = (finished / "table.txt").read_text()
    monkeypatch.setattr(architectures_run, "train", None)
    architectures.prepare(small(), "architectures", None)(finished)
    assert (finished / "table.txt").read_text() == table


def test_each_seed_has_batches_of_its_own_data():
    sizes = {"features": 4, "num_train": 64, "num_valid": 8, "num_test": 8}
    sets = [related_tasks(seed=seed, **sizes) for seed in (0, 3)]
    stream = architectures_run._batches(sets, small(), start=2)
    own = [
        data.train.batches(16, seeds=(seed,), start=2)
        for data, seed in zip(sets, (0, 3), strict=True)
    ]
    for _ in range(4):
        batch = next(stream)
        assert batch.x.shape == (2, 16, 4)
        for s, each in enumerate(own):
            alone = next(each)
            np.testing.assert_array_equal(batch.x[s], alone.x[0])
            np.testing.assert_array_equal(batch.y[s], alone.y[0])


def test_the_same_data_for_all_seeds_may_be_its_first_rows():
    sets = architectures_run._load(SETS[0], small(redrawn=False, rows=20), None)
    (data,) = sets
    assert data.train.size == 20
    whole = related_tasks(
        across=0.0, features=4, num_train=64, num_valid=8, num_test=32
    )
    np.testing.assert_array_equal(data.train.samples.x, whole.train.samples.x[:20])
    np.testing.assert_array_equal(data.train.samples.y, whole.train.samples.y[:, :20])
    batch = next(architectures_run._batches(sets, small(redrawn=False), start=0))
    assert batch.x.shape == (2, 16, 4)


MISUSE = {
    "controls": (2, "controls is 2 of 2 models: expected fewer"),
    "models": (
        ("mlp(hidden=(12,))", "mmoe(experts=2, hidden=(8,))"),
        "mmoe(experts=2, hidden=(8,)) has 156 parameters and mlp(hidden=(12,)) has "
        "112: expected as many within 2%",
    ),
    "methods": (("mgdda",), "no method 'mgdda': did you mean 'mgda'?"),
    "rows": (65, "rows is 65: expected 64, all of related_tasks, or fewer"),
    "data": (
        ("related_tasks(seed=1)",),
        "'related_tasks(seed=1)' has seed: expected it without, it is given",
    ),
    "seeds": ((1, 1), "seeds is (1, 1): expected no entry twice"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_one_line(name):
    value, message = MISUSE[name]
    with pytest.raises(UserError) as error:
        architectures.prepare(small(**{name: value}), "architectures", None)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_scores_are_compared_by_points_and_errors_by_ratios():
    auc = metrics_of("binary")[0]
    values = {"a": np.array([0.5, 0.6]), "b": np.array([0.52, 0.61])}
    scores = {("d", "m", name): Scores(10, own) for name, own in values.items()}
    found = report.Result("it", {"d": auc}, 1, scores)
    assert_close(found.against("d", "m", "b", "a").mean, 1.5, rtol=1e-9)
    text = report.table(found)
    assert "auc ↑" in text
    assert "+1.50 [" in text


def test_the_default_architectures_have_as_many_parameters():
    config = find_experiment("architectures").get_config()
    assert config.models == MODELS
    # prepare checks them, and builds no program.
    few = dataclasses.replace(config, seeds=(0,), data=config.data[:1])
    architectures.prepare(few, "architectures", None)


ONE, TWO = (
    "related_tasks(within=1.0, across=1.0)",
    "related_tasks(within=0.95, across=0.0)",
)


@pytest.mark.slow
def test_routing_gains_where_groups_have_nothing_in_common(tmp_path):
    """At equal parameters, against one gate for all tasks, seeds paired.

    Measured: 0.71 [0.62, 0.82] on unrelated groups, and 0.88 [0.82, 0.93] where all
    tasks are one function. 0.9 to 1.15 was expected there; four gates on one function
    are a little better than one, so the lower bound is 0.8 here, and the gain has to be
    larger where there is something to route.
    """
    config = dataclasses.replace(
        Config(),
        methods=("equal_weighting",),
        models=MODELS[1:3],
        controls=1,
        data=(ONE, TWO),
    )
    architectures.prepare(config, "architectures", None)(tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    one_gate, mmoe = MODELS[1:3]
    same, apart = (
        found[text]["equal_weighting"][mmoe]["against"][one_gate]["mean"]
        for text in (ONE, TWO)
    )
    assert apart <= 0.85
    assert 0.8 <= same <= 1.15
    assert apart <= 0.9 * same


@pytest.mark.slow
def test_groups_that_are_told_right_gain_over_wrong_ones(tmp_path):
    """Measured: 0.85 [0.72, 1.01] where groups have nothing in common."""
    wrong, right = (text for text in MODELS if text.startswith("home("))
    config = dataclasses.replace(
        Config(),
        methods=("equal_weighting",),
        models=(wrong, right),
        controls=1,
        data=(TWO,),
    )
    architectures.prepare(config, "architectures", None)(tmp_path)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found[TWO]["equal_weighting"][right]["against"][wrong]["mean"] <= 0.97


@pytest.mark.slow
@pytest.mark.skipif(
    "MTOPT_DATA_DIR" not in os.environ, reason="needs MTOPT_DATA_DIR, census income"
)
def test_census_income_is_learned_alike_with_gates_and_without(tmp_path):
    """Within half a point of AUC of each other, and as good as published fits of it.

    The controls and the gated ones, whose layers are an MLP's; of two others the same
    cannot be said: HoME lies half a point below, set attention nearly three.
    """
    config = find_experiment("architectures_census").get_config()
    config = dataclasses.replace(
        config,
        models=config.models[:6],
        methods=("equal_weighting",),
        seeds=(0, 1, 2),
    )
    place = pathlib.Path(os.environ["MTOPT_DATA_DIR"])
    architectures.prepare(config, "architectures_census", place)(tmp_path)
    (found,) = json.loads((tmp_path / "results.json").read_text()).values()
    scores = found["equal_weighting"]
    means = {name: np.mean(own["values"]) for name, own in scores.items()}
    assert min(means.values()) > 0.93
    assert max(means.values()) - min(means.values()) < 0.005
