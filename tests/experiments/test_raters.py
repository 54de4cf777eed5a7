"""The raters' experiment: its files, what severities are worth, resumption, errors."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import raters
from experiments.common.run_folder import read_arrays
from experiments.raters import run as raters_run
from experiments.raters.config import Config
from mtopt.data import npz
from mtopt.errors import UserError
from tests.helpers.npz import save, shared

HEADS = ("adjacent_severity", "adjacent", "softmax_biases")
SEVERE = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, 0.0])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Six raters of 40 things each, four levels."""
    rng = np.random.default_rng(0)
    rater = np.repeat(np.arange(6), 40)
    x = rng.normal(size=(240, 3))
    z = (x[:, 0] - SEVERE[rater])[:, None] - np.array([-1, 0, 1])
    odds = np.pad(z.cumsum(1), [(0, 0), (1, 0)])
    y = (odds + rng.gumbel(size=odds.shape)).argmax(1)
    return save(tmp_path_factory.mktemp("data"), x=x, y=y, task=rater)


def small(file, **changes):
    config = Config(
        methods=HEADS, path=str(file), steps=80, seeds=(0,), penalties=(0.1, 1e4)
    )
    config.optimizer.learning_rate = 0.1
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def finished(file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("raters")
    raters.prepare(small(file), "raters", None)(folder)
    return folder


def test_severities_pay_where_there_are_any_and_the_run_says_so(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "data.json",
        "raters.npz",
        "raters.png",
        "report.html",
        "results.json",
        "table.txt",
    }
    heads = json.loads((finished / "results.json").read_text())["heads"]
    nll = {name: heads[name]["negative_log_likelihood"][0] for name in HEADS}
    assert nll["adjacent_severity"] < nll["adjacent"] - 0.1
    assert nll["softmax_biases"] < nll["adjacent"] - 0.1
    # A penalty of 1e4 leaves nothing of the raters, and validation sees it.
    assert heads["adjacent_severity"]["penalty"] == [0.1]
    found = np.array(heads["adjacent_severity"]["severities"][0])
    assert np.corrcoef(found, SEVERE)[0, 1] > 0.95
    assert heads["adjacent"]["severities"] is None
    assert (finished / "table.txt").read_text().startswith("raters: ratings that were")


def test_a_rating_keeps_its_rater_and_stands_in_one_split(file):
    data = npz(file, kind="ordinal", test_fraction=0.3)
    parts = [raters_run.ratings(data, title) for title in ("train", "valid", "test")]
    assert sum(part.mask.size for part in parts) == 240
    with np.load(file) as stored:
        for rater in range(6):
            own = [p.y[0][p.x["rater"] == rater] for p in parts]
            expected = np.bincount(stored["y"][stored["task"] == rater], minlength=4)
            assert (np.bincount(np.concatenate(own), minlength=4) == expected).all()


def test_finished_heads_are_read_again_and_the_others_run(file, finished, tmp_path):
    stored = read_arrays(finished / "raters.npz")
    kept = {k: v for k, v in stored.items() if not k.startswith("softmax")}
    np.savez(tmp_path / "raters.npz", **kept)
    ran = []
    with pytest.MonkeyPatch.context() as patch:

        def fit(head, *_):
            ran.append(head.of_raters)
            return {"scores": stored["softmax_biases scores"]}

        patch.setattr(raters_run, "_fit_and_score", fit)
        raters.prepare(small(file), "raters", None)(tmp_path)
    assert ran == ["rater_bias"]
    table = "table.txt"
    assert (tmp_path / table).read_text() == (finished / table).read_text()


def test_data_without_raters(tmp_path):
    y = np.arange(40)[:, None] % 3 * np.ones((1, 3), int)
    path = save(tmp_path, **shared(y=y))
    with pytest.raises(UserError, match="expected a task for every rater"):
        raters.prepare(small(path), "raters", None)
    with pytest.raises(UserError, match="methods"):
        raters.prepare(small(path, methods=("severe",)), "raters", None)
