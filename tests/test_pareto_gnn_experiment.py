"""The experiment pareto_gnn: it runs, resumes, and says what is wrong in one line."""

import dataclasses
import json

import numpy as np
import pytest

import mtopt
from experiments import pareto_gnn
from mtopt.training.writer import read_records


def tiny(**changed):
    config = pareto_gnn.get_config()
    small = {
        "data": "stochastic_blocks(nodes=60, classes=2, words=20)",
        "methods": ("mgda(normalize='l2')",),
        "pretexts": ("feature_reconstruction", "node_graph_information"),
        "alone": False,
        "hidden": (6,),
        "seeds": (0,),
        "steps": 6,
        "log_every": 2,
        "checkpoint_every": 3,
        "splits": 1,
        "exponents": (0,),
        "clusterings": 1,
        "parts": 3,
    }
    return dataclasses.replace(config, **{**small, **changed})


def run(folder, **changed):
    folder.mkdir(exist_ok=True)
    pareto_gnn.prepare(tiny(**changed), "pareto_gnn", None)(folder)
    return json.loads((folder / "results.json").read_text())


def test_it_ends_with_a_table_and_resumes_to_the_same_numbers(tmp_path, capsys):
    results = run(tmp_path / "whole")
    assert list(results["scores"]) == [
        "raw features",
        "untrained encoder",
        "mgda(normalize='l2')",
    ]
    assert np.isfinite(results["scores"]["mgda(normalize='l2')"]).all()
    assert "classification" in capsys.readouterr().out
    assert (tmp_path / "whole" / "pretexts.png").stat().st_size > 10_000
    place = tmp_path / "whole" / "mgda-normalize-l2" / "seed-0" / "whole"
    records = read_records(place / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 3, 5]
    assert all(np.shape(record["cosine"]) == (2, 2) for record in records)
    # Two unit gradients always weigh the same.
    weights = list(records[1]["weights"].values())
    np.testing.assert_allclose(weights, 0.5, atol=1e-4)

    run(tmp_path / "parts", steps=3)
    (tmp_path / "parts" / "scores.npz").unlink()
    resumed = run(tmp_path / "parts")
    assert resumed["scores"] == results["scores"]
    again = (
        place.parent.parent.parent.parent
        / "parts"
        / place.relative_to(tmp_path / "whole")
    )
    assert read_records(again / "metrics.jsonl") == records


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pretexts": ("contrst",)}, "no pretext 'contrst'"),
        ({"methods": ("mgda", "mgda")}, "methods is .* expected no entry twice"),
        ({"methods": ()}, "nothing to train"),
        ({"seeds": (-1,)}, "seeds is"),
        ({"steps": 0}, "steps is 0: expected 1 or more"),
        ({"data": "graph_npz(path='nowhere.npz')"}, "no file nowhere.npz"),
        ({"temperature": 0.0, "pretexts": ("node_subgraph_contrast",)}, "temperature"),
        ({"methods": ("mgda(space='representation')",)}, "cannot train pretext tasks"),
    ],
)
def test_bad_input_is_one_line(changed, message):
    with pytest.raises(mtopt.UserError, match=message) as caught:
        pareto_gnn.prepare(tiny(**changed), "pareto_gnn", None)
    assert "\n" not in str(caught.value)
