"""The experiment pareto_gnn: it runs, resumes, and says what is wrong in one line."""

import contextlib
import dataclasses
import io
import json
import pathlib
import shutil

import numpy as np
import pytest

import mtopt
from experiments import pareto_gnn
from experiments.common.experiment import find_experiment
from experiments.common.run_folder import folder_name
from experiments.pareto_gnn.config import Evaluation
from experiments.pareto_gnn.run import _pretext
from mtopt.models.gcn import gcn
from mtopt.pretext import PRETEXTS
from mtopt.training.writer import read_records


def tiny(**changed):
    config = pareto_gnn.get_config()
    small = {
        "data": "stochastic_blocks(nodes=60, classes=2, words=20)",
        "methods": ("mgda(normalize='l2')",),
        "pretexts": ("feature_reconstruction", "node_graph_information"),
        "alone": False,
        "encoder": "gcn(hidden=(6,))",
        "seeds": (0,),
        "steps": 6,
        "log_every": 2,
        "checkpoint_every": 3,
        "evaluation": Evaluation(splits=1, exponents=(0,), parts=3),
    }
    return dataclasses.replace(config, **{**small, **changed})


def told(path):
    """The records of a run, without its speed."""
    records = read_records(path)
    return [{k: v for k, v in r.items() if k != "steps_per_second"} for r in records]


PLACE = pathlib.Path(folder_name("mgda(normalize='l2')"), "seed-0", "whole")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The job, its folder, and what it printed."""
    folder, printed = tmp_path_factory.mktemp("finished"), io.StringIO()
    job = pareto_gnn.prepare(tiny(), "pareto_gnn", None)
    with contextlib.redirect_stdout(printed):
        job(folder)
    return job, folder, printed.getvalue()


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow  # CI runs it
def test_it_ends_with_a_table_results_and_a_picture(finished):
    _, folder, printed = finished
    scores = results_of(folder)["scores"]
    assert list(scores) == ["raw features", "untrained encoder", "mgda(normalize='l2')"]
    assert np.isfinite(scores["mgda(normalize='l2')"]).all()
    assert "classification" in printed
    assert (folder / "pretexts.png").stat().st_size > 10_000
    records = told(folder / PLACE / "metrics.jsonl")
    assert [record["step"] for record in records] == [2, 4, 6]
    for record in records:
        cosines = np.array(list(record["cosine"].values()))
        np.testing.assert_allclose(np.diag(cosines), 1, rtol=1e-5)
        # Two unit gradients always weigh the same.
        weights = list(record["weights"].values())
        np.testing.assert_allclose(weights, 0.5, atol=1e-4)


@pytest.mark.slow  # CI runs it
@pytest.mark.parametrize("trained", [True, False])
def test_it_resumes_to_the_same_numbers(finished, trained, tmp_path):
    """As if killed before the scores, or after the fourth step of six."""
    job, whole, _ = finished
    folder = tmp_path / "cut"
    shutil.copytree(whole, folder)
    if not trained:
        shutil.rmtree(folder / PLACE / "checkpoints" / "6")
    (folder / "scores.npz").unlink()
    job(folder)
    assert results_of(folder) == results_of(whole)
    metrics = PLACE / "metrics.jsonl"
    assert told(folder / metrics) == told(whole / metrics)


def test_the_published_settings_can_be_written_down():
    config = tiny(
        pretexts=(
            "decorrelation(sample='saint(nodes=40)')",
            "node_subgraph_contrast(sample='ego(seeds=8, hops=3, nodes=40, "
            'form="released")\', hidden=4)',
            "topology_reconstruction(form='released', edges=10, hidden=4)",
        )
    )
    pareto_gnn.prepare(config, "pareto_gnn", None)


def test_the_published_budget_is_a_configuration_of_the_project():
    found = find_experiment("pareto_gnn_published")
    published = found.get_config()
    assert published.steps == 10_000
    small = tiny(pretexts=published.pretexts[:1])
    assert (
        found.prepare(small, "small", None).__module__ == pareto_gnn.prepare.__module__
    )
    encoder = gcn(3, hidden=(4,))
    names = {_pretext(text, encoder)[0] for text in published.pretexts}
    assert names == set(PRETEXTS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pretexts": ("contrst",)}, "no pretext 'contrst'"),
        ({"methods": ("mgda", "mgda")}, "methods is .* expected no entry twice"),
        ({"methods": ()}, "nothing to train"),
        ({"pretexts": ()}, "pretexts is .* expected 1 or more entries"),
        ({"pretexts": ("decorrelation", "decorrelation()")}, "none of them twice"),
        ({"pretexts": ("decorrelation(sample='sain(nodes=9)')",)}, "no sampler 'sain'"),
        ({"encoder": "gcn(hidden=())"}, "hidden"),
        ({"seeds": (-1,)}, "seeds is"),
        ({"evaluation": Evaluation(parts=99)}, "parts is 99"),
        ({"evaluation": Evaluation(folds=0)}, "evaluation.folds is 0"),
        ({"steps": 0}, "steps is 0: expected 1 or more"),
        ({"data": "graph_npz(path='nowhere.npz')"}, "no file nowhere.npz"),
        ({"pretexts": ("node_subgraph_contrast(temperature=0)",)}, "temperature"),
        ({"methods": ("rep_mtl(equal_weighting)",)}, "cannot train pretext tasks"),
    ],
)
def test_bad_input_is_one_line(changed, message):
    with pytest.raises(mtopt.UserError, match=message) as caught:
        pareto_gnn.prepare(tiny(**changed), "pareto_gnn", None)
    assert "\n" not in str(caught.value)
