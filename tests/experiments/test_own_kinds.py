"""Kinds of labels of the user's own: planted answers, from the file to a prediction."""

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest

import mtopt
from mtopt.data import from_frame
from tests.helpers.commands import run_here
from tests.helpers.own_module import own_module
from tests.helpers.trained import trained

FLAGS = [
    "--experiment=table",
    "--config.steps=400",
    "--config.batch_size=128",
    "--config.eval_every=100",
    "--config.seeds=(0,)",
    "--config.optimizer.learning_rate=0.02",
    "--model=mlp(hidden=(16,))",
    "--method=equal_weighting",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A table of counts and classes that its inputs decide, and ``mine.py``."""
    rows().to_csv(tmp_path / "rows.csv", index=False)
    with own_module(tmp_path, monkeypatch):
        yield tmp_path


def rows(size=600):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (size, 2))
    rate = np.exp(1 + x[:, 0])
    colour = np.array(["blue", "green", "red"])[1 + (x[:, 1] > 0.3) - (x[:, 1] < -0.3)]
    counts = rng.poisson(rate).astype(float)
    return pd.DataFrame(
        {"a": x[:, 0], "b": x[:, 1], "wait": counts, "colour": colour, "rate": rate}
    )


def test_counts_and_classes_are_learned_and_predicted(folder, monkeypatch, capsys):
    kinds = {"wait": "mine:poisson", "colour": "mine:focal"}
    text = f"table(path='rows.csv', tasks=('wait', 'colour'), kind={kinds}, "
    text += "features=('a', 'b'))"
    run_here(folder, monkeypatch, *FLAGS, f"--config.data={text}", "--out=run")
    out = capsys.readouterr().out
    assert "test deviance (lower is better)" in out
    assert "test right (higher is better)" in out
    model = mtopt.load(folder / "run", method="equal_weighting")
    frame = rows()
    found = model.predict(frame)
    # The rate, not the counts that it makes by chance, which differ by its root.
    error = np.abs(found["wait"] / frame["rate"] - 1)
    assert np.median(error) < 0.15
    assert (found["colour"] == frame["colour"]).mean() > 0.95
    sure = model.predict_proba(frame)
    assert sure.keys() == {"colour"}
    assert model.class_names("colour") == ("blue", "green", "red")
    scores = model.score(frame)
    assert scores["colour"]["right"] > 0.95
    assert scores["wait"]["deviance"] < 1.3  # one is the least, in the mean


def test_a_model_that_was_trained_by_the_right_loss_is_chosen(folder):
    data = from_frame(
        rows(), ["wait"], kind={"wait": "mine:poisson"}, features=["a", "b"]
    )
    assert (data.kind, data.outputs, data.target_std) == ("mine:poisson", 1, None)
    _, fitted = trained(folder, data)
    model = mtopt.load(folder)
    np.testing.assert_allclose(
        fitted.test.metrics[0, 0, 0],
        model.evaluate(data, data.test).metrics[0, 0, 0],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("mine:poison", "has no 'poison': did you mean 'poisson'"),
        ("mine:tiny", "is a function: expected a mtopt.Kind"),
        ("nowhere:poisson", "no module 'nowhere' for the kind of labels"),
        ("poisson", "kind is 'poisson': expected one of"),
    ],
)
def test_what_is_no_kind_is_one_clear_line(folder, kind, message):
    with pytest.raises(mtopt.UserError, match=message):
        from_frame(rows(), ["wait"], kind={"wait": kind}, features=["a", "b"])


def test_names_are_no_numbers_and_a_loss_is_of_each_sample(folder):
    with pytest.raises(mtopt.UserError, match="'blue': mine:poisson takes numbers"):
        from_frame(rows(), ["colour"], kind="mine:poisson", features=["a", "b"])
    data = from_frame(rows(), ["wait"], kind="mine:one_loss", features=["a", "b"])
    with pytest.raises(mtopt.UserError, match=r"loss of mine:one_loss gave \[\]"):
        trained(folder, data)
    with pytest.raises(mtopt.UserError, match="has no metrics"):
        mtopt.Kind(loss=np.subtract, metrics=(), label=np.exp)


def test_a_kind_that_is_reloaded_is_the_new_one(folder):
    data = from_frame(
        rows(60), ["colour"], features=["a", "b"], kind={"colour": "mine:focal"}
    )
    trained(folder / "run", data)
    model = mtopt.load(folder / "run")
    before = model.predict_proba(rows(60))["colour"]
    mine = sys.modules["mine"]

    def halved(outputs):
        return mine.jax.nn.softmax(outputs) / 2

    mine.focal = dataclasses.replace(mine.focal, probabilities=halved)
    np.testing.assert_allclose(model.predict_proba(rows(60))["colour"], before / 2)
