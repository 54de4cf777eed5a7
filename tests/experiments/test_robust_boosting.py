"""R-MTGB as experiments: planted outliers, searches, files, ranks, errors."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from experiments.common.config import from_dict, to_dict
from experiments.robust_boosting import learners, real, report, synthetic
from experiments.robust_boosting.description import describe_rows, summary
from experiments.robust_boosting.real.published import SOURCES
from experiments.robust_boosting.synthetic.run import COUNTS
from mtopt import boosting
from mtopt.data.tables.boosting_scenarios import Rows, scenario
from mtopt.errors import UserError
from mtopt.metrics.ranks import Ranking, critical_difference, ranking

PICTURES = ["ranks.png", "scores.png", "theta.png"]
REPORT = ("report.html", "results.json", "table.txt")
QUICK = ("r_mtgb(num_partition=30)", "pooling(num_shared=5)")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run(module, folder, data_dir=None, **changes):
    config = dataclasses.replace(module.get_config(), **changes)
    folder.mkdir(exist_ok=True)
    module.prepare(config, "it", data_dir)(folder)
    return json.loads((folder / "results.json").read_text())


def refused(module, data_dir=None, **changes):
    """The one line that ``prepare`` refuses a configuration with."""
    config = dataclasses.replace(module.get_config(), **changes)
    with pytest.raises(UserError) as caught:
        module.prepare(config, "it", data_dir)
    message = str(caught.value)
    assert "\n" not in message
    return message


def drawn(num_classes=None, rows=60, num_tasks=3):
    """Rows of three tasks, the last of which is unlike the others."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (rows, 2)).astype(np.float32)
    task = np.arange(rows, dtype=np.int32) % num_tasks
    y = np.where(task == num_tasks - 1, -1, 1) * np.sign(x[:, 0]) + 0.3 * x[:, 1]
    if num_classes is not None:
        y = y > 0
    return Rows(x, y.astype(np.float32 if num_classes is None else np.int32), task)


def write_set(folder, name, rows):
    (folder / name).mkdir(parents=True)
    labels = 10 * rows.task  # any numbers
    path = folder / name / "data.npz"
    np.savez(path, x=rows.features, y=rows.targets, task=labels)


@pytest.fixture(scope="module")
def synthetic_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "run"
    return folder, run(synthetic, folder, methods=QUICK, repeats=2)


@pytest.mark.slow  # CI runs it
def test_planted_outliers_are_found_and_told(synthetic_run):
    folder, results = synthetic_run
    assert names(folder) == sorted(["data.json", *PICTURES, "predictions.npz", *REPORT])
    for name in PICTURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    robust, pooled = (results["learners"][name] for name in QUICK)
    assert results["outliers"] == [8, 9]
    assert robust["outliers_apart"] == [True, True]
    assert robust["iterations"] == [[0, 30, 0]] * 2
    assert "theta" not in pooled
    for part in ("all tasks", "regular tasks", "outliers"):
        assert np.less(robust[part]["RMSE"], pooled[part]["RMSE"]).all()
    text = (folder / "table.txt").read_text()
    assert f"in 2 of 2 repeats {QUICK[0]} gives the planted" in text
    assert "Mean rank over 20 tasks of all repeats" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.slow  # CI runs it
def test_the_scores_are_those_of_the_stored_predictions(synthetic_run):
    folder, results = synthetic_run
    with np.load(folder / "predictions.npz") as stored:
        said = stored[f"{QUICK[1]}/predictions"]
    draws = [scenario(4, seed).test for seed in (0, 1)]
    for repeat, draw in enumerate(draws):
        rows = draw.task >= 8
        apart = said[repeat, rows].astype(float) - draw.targets[rows]
        found = results["learners"][QUICK[1]]["outliers"]
        assert found["RMSE"][repeat] == pytest.approx(np.sqrt(np.mean(apart**2)))
        assert found["MAE"][repeat] == pytest.approx(np.abs(apart).mean())


@pytest.mark.slow  # CI runs it
def test_finished_learners_are_read_again(synthetic_run, monkeypatch):
    folder, before = synthetic_run

    def not_again(name, *rest, **settings):
        raise AssertionError(name)

    monkeypatch.setattr(learners, "_run", not_again)
    assert run(synthetic, folder, methods=QUICK, repeats=2) == before


@pytest.mark.slow
def test_real_data_in_units_of_the_target_beside_the_published(tmp_path):
    rows = drawn()
    data = tmp_path / "data"
    write_set(data, "school", rows._replace(targets=100 + 10 * rows.targets))
    folder = tmp_path / "run"
    methods = ("r_mtgb(num_shared=0, num_partition=5)", "pooling")
    results = run(real, folder, data, methods=methods, seeds=(0, 1))
    assert names(folder) == sorted(["data.json", *PICTURES, *REPORT, "school.npz"])
    school = results["data"]["school"]
    assert [school[key] for key in ("tasks", "train_rows", "test_rows")] == [3, 48, 12]
    robust, pooled = (school["learners"][name] for name in methods)
    # Ten times a deviation of about 1, about a mean of 100.
    assert 3 < pooled["RMSE"][0] < 15
    assert pooled["published"] == 10.445
    assert len(robust["RMSE"]) == 2
    assert len(pooled["RMSE"]) == 1  # no theta
    assert robust["iterations"] == [[0, 5, 20]] * 2  # block 3 as published
    text = (folder / "table.txt").read_text()
    assert "school: 3 tasks, 48 rows to fit, 12 to test; RMSE (lower is better)" in text
    assert "10.445" in text


PUBLISHED = {
    "school": (50, 50, 20),
    "computer": (50, 30, 0),
    "abalone": (50, 50, 100),
    "landmine": (50, 50, 50),
    "bank": (50, 50, 100),
}


@pytest.mark.slow  # a program to compile for each
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_give_the_published_score(name, data_dir, tmp_path):
    n1, n2, n3 = PUBLISHED[name]
    method = f"r_mtgb(num_shared={n1}, num_partition={n2}, num_task_specific={n3})"
    folder = tmp_path / "run"
    results = run(real, folder, data_dir, data=(name,), methods=(method,), seeds=(0,))
    entry = results["data"][name]["learners"][method]
    measure = report.MEASURES[SOURCES[name].kind].names[0]
    assert entry[measure][0] == pytest.approx(entry["published"], rel=0.02)


@pytest.mark.slow
def test_a_single_learner_of_classes_has_neither_theta_nor_rank(tmp_path):
    write_set(tmp_path / "data", "bank", drawn(num_classes=2))
    folder, methods = tmp_path / "run", ("pooling(num_shared=2)",)
    results = run(real, folder, tmp_path / "data", methods=methods)
    assert names(folder) == [
        "bank.npz",
        "data.json",
        "report.html",
        "results.json",
        "scores.png",
        "table.txt",
    ]
    assert results["ranks"] is None
    entry = results["data"]["bank"]["learners"][methods[0]]
    assert 0.5 < entry["accuracy"][0] <= 1
    assert "0.8859" in (folder / "table.txt").read_text()


@pytest.mark.slow
def test_a_search_takes_the_setting_that_predicts_best_what_is_held_out(tmp_path):
    data = [drawn(rows=60), drawn(rows=60)._replace(targets=drawn(2).targets * 1.0)]
    train = Rows(*(np.stack(leaves) for leaves in zip(*data, strict=True)))
    train = train._replace(targets=train.targets.astype(np.float32))
    fold = np.stack([learners.folds(part, i) for i, part in enumerate(data)])
    tried = (1, 4, 9)
    learner = learners.Learner((0, 0, 1), ((0,), (0,), tried), {})
    settings = {"num_tasks": 3, "learning_rate": 1.0, "num_classes": None}
    found = learners.run_all(
        tmp_path / "f.npz",
        {"it": learner},
        train,
        train,
        fold,
        seeds=(0, 1),
        **settings,
    )["it"]
    for repeat, part in enumerate(data):

        def stages(weights, part=part):
            ensemble = boosting.fit(
                *part,
                **settings,
                num_shared=0,
                num_partition=0,
                num_task_specific=9,
                weights=weights,
            )
            said = boosting.staged_predict(ensemble, part.features, part.task)
            return np.asarray(said)[np.array(tried) - 1]

        cost = np.zeros(3)
        for number in range(learners.FOLDS):
            out = fold[repeat] == number
            apart = stages((~out).astype(np.float32))[:, out] - part.targets[out]
            cost += (apart**2).sum(axis=1)
        best = int(cost.argmin())
        assert found.counts[repeat].tolist() == [0, 0, tried[best]]
        said = stages(np.ones(60, np.float32))[best]
        np.testing.assert_allclose(found.predictions[repeat], said, atol=1e-5)
    assert len({*found.counts[:, 2]}) == 2  # or the test would show nothing


@pytest.mark.slow  # two more programs to compile
def test_a_shorter_last_block_is_a_stage_of_a_longer_one():
    rows, key = drawn(), jax.random.key(3)

    def fitted(counts):
        options = zip(
            ("num_shared", "num_partition", "num_task_specific"), counts, strict=True
        )
        return boosting.fit(
            *rows, num_tasks=3, learning_rate=0.5, key=key, **dict(options)
        )

    ((asked, stages),) = learners.fits(((2,), (3,), (0, 2, 4)))
    assert asked == (2, 3, 4)
    staged = boosting.staged_predict(fitted(asked), rows.features, rows.task)
    shorter = boosting.predict(fitted((2, 3, 2)), rows.features, rows.task)
    np.testing.assert_allclose(staged[stages[2, 3, 2]], shorter, atol=1e-6)


def test_grids_are_the_papers():
    built = learners.build(tuple(learners.LEARNERS), COUNTS, 50)
    sizes = {name: len(learners.fits(one.grid)) for name, one in built.items()}
    assert sizes == {
        "r_mtgb": 12,
        "mtgb": 3,
        "stl": 1,
        "pooling": 1,
        "task_as_feature": 1,
    }
    tried = [s for _, stages in learners.fits(built["r_mtgb"].grid) for s in stages]
    assert len({*tried}) == 48
    ((_, pooled),) = learners.fits(built["pooling"].grid)
    assert pooled == {(20, 0, 0): 19, (30, 0, 0): 29, (50, 0, 0): 49}
    (given,) = learners.build(("r_mtgb(num_shared=7)",), COUNTS, 50).values()
    assert given.grid[0] == (7,)
    assert given.counts == (7, 50, 0)


def test_folds_are_fifths_of_every_task():
    task = np.repeat(np.arange(4), (50, 7, 5, 1))
    rows = Rows(np.arange(63.0)[:, None], np.zeros(63), task)
    fold = learners.folds(rows, 0)
    assert np.bincount(fold[:50]).tolist() == [10] * 5
    assert len({*fold[57:62]}) == 5
    assert np.ptp(np.bincount(fold)) <= 1
    assert not np.array_equal(fold, learners.folds(rows, 1))
    # Three rows of one task are equal, as one of another is to them.
    rows.features[[3, 9, 30, 52]] = 7.5
    fold = learners.folds(rows, 0)
    assert len({*fold[[3, 9, 30]]}) == 1
    assert np.bincount(fold[:50]).tolist() != [10] * 5


def test_rows_to_predict_that_are_fitted_are_counted():
    part = drawn(rows=60)
    assert describe_rows("all", "regression", part, part)["equal inputs"]["test"] == 60
    other = part._replace(features=part.features + np.float32(0.5))
    found = describe_rows("none", "regression", part, other)
    assert found["equal inputs"] == {"test": 0}
    assert summary(found).endswith("inputs of 0 of 60 test rows stand in training too")


@pytest.mark.parametrize(
    ("module", "changes", "message"),
    [
        (synthetic, {"scenario": 5}, "scenario is 5: expected one of 1, 2, 3 and 4"),
        (synthetic, {"kind": "ranking"}, "kind is 'ranking'"),
        (synthetic, {"repeats": 0}, "repeats is 0: expected 1 or more"),
        (synthetic, {"learning_rate": 0.0}, "learning_rate is 0.0"),
        (synthetic, {"methods": ()}, "methods is (): expected 1 or more entries"),
        (synthetic, {"methods": ("stl", "stl")}, "expected no entry twice"),
        (synthetic, {"methods": ("r_mtbg",)}, "did you mean 'r_mtgb'"),
        (synthetic, {"methods": ("stl(num_shared=3)",)}, "no option 'num_shared'"),
        (synthetic, {"methods": ("stl(num_task_specific=0)",)}, "no block has"),
        (synthetic, {"methods": ("stl(num_task_specific=-1)",)}, "is -1: expected"),
        (synthetic, {"methods": ("stl(max_depth=7)",)}, "max_depth is 7"),
        (synthetic, {"methods": ("r_mtgb(theta_gradient='max')",)}, "theta_gradient"),
        (real, {}, "no folder of data sets: name one with --data_dir"),
    ],
)
def test_misuse_is_one_line_before_anything_runs(module, changes, message):
    assert message in refused(module, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "has no NAME/data.npz: expected one of school, computer"),
        ({"data": ("school",)}, "school/data.npz: expected an .npz file"),
        ({"data": ("scool",)}, "data is 'scool': did you mean 'school'?"),
        ({"data": ()}, "data is (): expected 1 or more entries"),
        ({"seeds": ()}, "seeds is (): expected 1 or more entries"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
    ],
)
def test_missing_data_is_one_line(changes, message, tmp_path):
    assert message in refused(real, tmp_path, **changes)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("school", {"task": None}, "and no task: expected x, y and task"),
        ("school", {"y": np.ones(3)}, "expected [N, D], [N] and [N]"),
        ("bank", {"y": np.linspace(0, 1, 60)}, "expected classes from 0 on"),
    ],
)
def test_data_of_another_shape_is_one_line(name, change, message, tmp_path):
    rows = drawn(num_classes=2)
    arrays = {"x": rows.features, "y": rows.targets, "task": rows.task} | change
    (tmp_path / name).mkdir()
    kept = {key: array for key, array in arrays.items() if array is not None}
    np.savez(tmp_path / name / "data.npz", **kept)
    assert message in refused(real, tmp_path)


@pytest.mark.parametrize("module", [synthetic, real])
def test_the_configuration_survives_its_json(module):
    config = module.get_config()
    stored = json.loads(json.dumps(to_dict(config)))
    assert from_dict(module.get_config(), stored) == config


def test_ranks_with_ties_and_the_published_critical_difference():
    assert critical_difference(3, 849) == pytest.approx(0.114, abs=5e-4)
    # Demšar's table of quantiles: 2.343 for three, 2.728 for five.
    for methods, quantile in ((3, 2.343), (5, 2.728)):
        found = critical_difference(methods, 1) / np.sqrt(methods * (methods + 1) / 6)
        assert found == pytest.approx(quantile, abs=1e-3)
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, (3, 40)).astype(float)  # ties in many cases
    values[0] += 1
    found = ranking(values, np.zeros(40, bool))
    statistic, p_value = friedmanchisquare(*values)
    assert found.statistic == pytest.approx(statistic, rel=1e-9)
    assert found.p_value == pytest.approx(p_value, rel=1e-9)
    assert found.mean.sum() == pytest.approx(6)
    upside_down = ranking(-values, np.ones(40, bool))
    np.testing.assert_array_equal(upside_down.mean, found.mean)
    equal = ranking(np.ones((3, 5)), np.zeros(5, bool))
    assert (equal.mean.tolist(), equal.statistic, equal.p_value) == (
        [2.0] * 3,
        0.0,
        1.0,
    )
    with pytest.raises(UserError, match="num_methods is 1"):
        ranking(np.ones((1, 5)), np.zeros(5, bool))


@pytest.mark.parametrize(
    ("mean", "limit", "groups"),
    [
        ([1.0, 1.5, 3.0, 3.2], 0.6, [(0, 1), (2, 3)]),
        ([1.0, 1.5, 2.0, 2.5], 1.0, [(0, 2), (1, 3)]),
        ([1.0, 2.0, 3.0], 0.5, []),
        ([1.5, 1.5], 5.0, [(0, 1)]),
    ],
)
def test_bars_join_the_longest_runs_that_do_not_differ(mean, limit, groups, tmp_path):
    assert report._groups(np.array(mean), limit) == groups
    found = Ranking(np.array(mean), 9, 1.0, 0.5, limit)
    names = [f"learner {i}" for i in range(len(mean))]
    report.ranks_picture(names, found, "tasks", "a title", tmp_path / "ranks.png")
    assert (tmp_path / "ranks.png").stat().st_size > 5_000


def test_the_planted_group_is_the_high_one_whichever_name_it_got():
    theta = np.array([[3.0, 2.0, 4.0, -5.0], [-3.0, -2.0, -4.0, 5.0]])
    found = report.gates(theta)
    np.testing.assert_allclose(found[0], found[1], atol=1e-12)
    assert found[0].argmax() == 3
