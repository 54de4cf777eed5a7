"""A run says what data it trains on, keeps it, and does not go on with other data."""

import json
import sys

import numpy as np
import pytest
from absl.testing import flagsaver

from experiments import main, pareto_gnn
from experiments.common.data_record import check_data
from experiments.pareto_gnn.config import Evaluation
from mtopt.data import describe, fingerprint, npz
from mtopt.errors import UserError
from mtopt.training.writer import write_json
from tests.helpers.graphs import save_graph

SMALL = [
    "--experiment=npz",
    "--method=equal_weighting",
    "--config.model=mlp(hidden=(4,))",
    "--config.steps=2",
    "--config.eval_every=2",
    "--config.log_every=2",
    "--config.checkpoint_every=2",
    "--config.batch_size=8",
    "--config.seeds=(0,)",
    "--config.single_task=false",
]


def run(tmp_path, monkeypatch, *flags):
    argv = ["main", *flags]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", argv)
    with flagsaver.flagsaver(data_dir=None):
        main.main(main.parse_flags(argv))


def write(path, seed=0, **changes):
    rng = np.random.default_rng(seed)
    y = (rng.random((60, 2)) < 0.5) * 1.0
    w = rng.random((60, 2)) < 0.7
    np.savez(
        path, x=rng.normal(size=(60, 3)), y=y * w, w=w, ids=np.arange(60), **changes
    )
    return path


def test_a_run_prints_and_keeps_what_it_understood(tmp_path, monkeypatch, capfd):
    path = write(tmp_path / "mine.npz")
    here = "--config.data=npz(path='mine.npz')"
    run(tmp_path, monkeypatch, *SMALL, here, "--out=here")
    printed = capfd.readouterr().out.split("finished in")[0]
    data = npz(path)
    missing = data.reading["missing labels"]["w is 0"]
    for line in (
        "mine: 2 tasks of kind binary, inferred from the values",
        "  x      3 columns, standardised",
        "rows     42 train, 9 valid, 9 test",
        f"missing  labels by reason: w is 0: {missing}",
        "not read ids",
    ):
        assert line in printed
    stored = json.loads((tmp_path / "here" / "data.json").read_text())
    assert stored["fingerprint"] == fingerprint(data)
    expected = json.loads(json.dumps(describe(data), default=np.asarray))
    assert stored["rows"] == expected["rows"]
    assert stored["tasks"] == expected["tasks"]
    assert stored["reading"]["not read"] == ["ids"]
    assert sum(t["missing"] for t in stored["tasks"].values()) == missing

    # Changed data is not trained on under the results of the old.
    write(path, seed=1)
    kept = (tmp_path / "here" / "data.json").read_bytes()
    with pytest.raises(SystemExit):
        run(tmp_path, monkeypatch, "--resume=here")
    said = capfd.readouterr().err
    assert (
        f"data with fingerprint {stored['fingerprint']}, and the data now has" in said
    )
    assert len(said.strip().splitlines()) == 1
    assert (tmp_path / "here" / "data.json").read_bytes() == kept
    write(path)
    run(tmp_path, monkeypatch, "--resume=here")


def test_a_record_that_is_damaged_is_one_line(tmp_path):
    check_data(tmp_path, "a")
    write_json(tmp_path / "data.json", {"fingerprint": "a"})
    check_data(tmp_path, "a")
    for text in ("{", "[]", "{}"):
        (tmp_path / "data.json").write_text(text)
        with pytest.raises(
            UserError, match=r"cannot read .*data.json \(\w+\): expected"
        ):
            check_data(tmp_path, "a")


@pytest.mark.slow
def test_an_encoder_learns_from_a_graph_without_labels(tmp_path, capsys):
    """Dense features, edges in two rows, as the most used library keeps them."""
    rng = np.random.default_rng(0)
    words = (rng.random((30, 8)) < 0.4) * 1.0
    none = dict.fromkeys(("x_indptr", "x_indices", "x_data", "x_shape", "y"))
    edges = rng.integers(0, 30, (2, 50))
    path = save_graph(tmp_path / "mine.npz", edges=edges, x=words, notes=edges, **none)
    config = pareto_gnn.get_config()
    config.data = f"graph_npz(path={str(path)!r})"
    config.methods = ("equal_weighting",)
    config.pretexts = ("feature_reconstruction",)
    config.alone, config.encoder, config.seeds = False, "gcn(hidden=(4,))", (0,)
    config.steps = config.log_every = config.checkpoint_every = 2
    config.evaluation = Evaluation(splits=1, exponents=(0,), parts=2)
    folder = tmp_path / "run"
    pareto_gnn.prepare(config, "pareto_gnn", None)(folder)
    printed = capsys.readouterr().out
    assert "labels   none: pretexts need no classes" in printed
    assert "not read notes" in printed
    results = json.loads((folder / "results.json").read_text())
    classification, partition, nmi, *links = results["scores"]["equal_weighting"][0]
    assert (classification, nmi) == (None, None)
    assert np.isfinite([partition, *links]).all()
    assert results["rank"] == {"equal_weighting": 1.0}
    stored = json.loads((folder / "data.json").read_text())
    assert (stored["nodes"], stored["missing"], stored["classes"]) == (30, 30, {})
    assert stored["reading"]["not read"] == ["notes"]
