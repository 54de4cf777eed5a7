"""The benchmark of the step: equal work on every side, turns, and what is written."""

import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import flagsaver

import mtopt
from experiments.benchmarks import rows
from experiments.benchmarks.step import (
    __main__,
    cells,
    jax_side,
    one_by_one,
    results,
    torch_models,
    torch_side,
    turns,
    worker,
)
from experiments.benchmarks.step.program import Known, Program
from tests.helpers.close import assert_close

TINY = cells.Cell("mlp", 3, 4)


def test_the_plain_step_makes_the_update_of_equal_weighting():
    # Plain SGD, whose update is the gradient; Adam's forgets its size.
    step, state, batch = jax_side.plain(TINY, "", optax.sgd(0.1))
    before = jax.tree.map(np.array, state[0])
    (plain, *_), loss = step(state, batch)
    step, state, batch = jax_side.own(TINY, "equal_weighting", optax.sgd(0.1))
    state, metrics = step(state, batch)
    np.testing.assert_allclose(metrics["losses"].mean(), loss, rtol=1e-5)
    moved = 0.0
    for first, one, other in zip(
        *map(jax.tree.leaves, (before, plain, state.params)), strict=True
    ):
        # Heads take the gradients of their own losses, in place of a K-th of them.
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        moved += float(np.abs(one - first).max())
    assert moved > 1e-3


@pytest.mark.parametrize("text", ["mlp", "mlp:0", "mlp:2:", "vgg:2", "mlp:2:0"])
def test_a_cell_that_cannot_be_read_is_told(text, capsys):
    with flagsaver.flagsaver(cell=[text]), pytest.raises(SystemExit) as stop:
        __main__.main(["step"])
    assert stop.value.code == 2
    assert f"--cell has {text!r}: expected MODEL:K" in capsys.readouterr().err


def test_the_loop_solves_what_mgda_solves():
    rows = np.random.default_rng(0).normal(size=(5, 9)) + 0.4
    gramian = rows @ rows.T
    weights = one_by_one.frank_wolfe(gramian)
    best = np.asarray(mtopt.solvers.min_norm_weights(jnp.asarray(gramian)), float)
    np.testing.assert_allclose(weights.sum(), 1)
    assert weights.min() >= 0
    assert weights @ gramian @ weights <= 1.05 * best @ gramian @ best


def program(log):
    return Program(log.append, Known(1.5, 2e6, 3_000_000), "cpu", lambda: None)


def test_a_worker_answers_for_every_turn(monkeypatch):
    log, answers = [], io.StringIO()
    monkeypatch.setattr(worker, "build", lambda *request: program(log))
    request = {"cell": TINY, "column": "mtopt", "method": "mgda"}
    worker.serve(request, io.StringIO("2\n3\n"), answers)
    built, *found = map(json.loads, answers.getvalue().splitlines())
    assert built["known"] == {"compile": 1.5, "flops": 2e6, "temporary": 3_000_000}
    assert log == [1, 2, 3]
    assert [sorted(each) for each in found] == [["peak", "processor", "wall"]] * 2
    assert all(each["wall"] >= 0 and each["peak"] >= 0 for each in found)


def test_a_worker_that_cannot_build_says_why():
    answers = io.StringIO()
    request = {"cell": TINY, "column": "mtopt", "method": "mgdaa"}
    worker.serve(request, io.StringIO("2\n"), answers)
    (found,) = map(json.loads, answers.getvalue().splitlines())
    assert "mgdaa" in found["error"]


def test_memory_is_that_of_the_steps():
    before = worker.resident_now()
    if before is None:
        pytest.skip("no /proc")
    array = np.ones(2**22)
    del array
    assert worker.most_resident() - before >= 0.9 * 2**25
    assert worker.resident_now() - before <= 0.5 * 2**25


class Fake:
    """A worker whose steps take what its column says, on a processor half of it."""

    COLUMNS = ("plain jax", "plain torch", "mtopt", "autojac", "autogram", "one by one")
    log: list = []  # noqa: RUF012
    most = 99  # calls that the last of them survives

    def __init__(self, cell, column, method, core):
        self.column, self.place = column, 1 + self.COLUMNS.index(column)
        self.built = {"known": Known()._asdict(), "device": "cpu"}
        if column == "autogram":
            self.built = {"error": "ValueError: cannot"}

    def run(self, count):
        self.log.append((self.column, count))
        runs = [name for name, _ in self.log].count("one by one")
        if self.column == "one by one" and runs > self.most:
            return {"error": "its process ended with status -9"}
        wall = 0.1 * self.place
        return {"wall": wall, "processor": wall / 2, "peak": 10**6 * self.place}

    def close(self):
        self.log.append((self.column, None))


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(turns, "Worker", Fake)
    monkeypatch.setattr(Fake, "log", [])
    monkeypatch.setattr(__main__, "installed", lambda: dict.fromkeys(ALL, "1.0"))


ALL = ("jax", "torch", "torchjd")


def test_columns_take_turns_and_the_others_go_on(fake, monkeypatch):
    monkeypatch.setattr(Fake, "most", 2)
    with turns.workers(TINY, Fake.COLUMNS, "mgda", 0) as group:
        costs, errors = turns.take_turns(group, 3, 0.4)
    able = ["plain jax", "plain torch", "mtopt", "autojac"]
    assert list(costs) == able
    assert errors == {
        "autogram": "ValueError: cannot",
        "one by one": "its process ended with status -9",
    }
    assert costs["mtopt"].seconds == pytest.approx([0.15] * 3)
    assert costs["mtopt"].peak == 3 * 10**6
    counts = {"plain jax": 4, "plain torch": 2, "mtopt": 1, "autojac": 1}
    turn = [(name, counts[name]) for name in able]
    warm = [(name, 1) for name in (*able, "one by one")]
    ran = [entry for entry in Fake.log if entry[1] is not None]
    assert ran == [*warm, *turn, ("one by one", 1), *turn, ("one by one", 1), *turn]
    assert [name for name, count in Fake.log if count is None] == list(Fake.COLUMNS)


def run(folder, methods):
    with flagsaver.flagsaver(
        cell=["mlp:2"], step_method=methods, step_out=str(folder), step_rounds=2
    ):
        __main__.main(["step"])


def test_ratios_come_first_and_all_is_written(fake, tmp_path, capsys):
    run(tmp_path, ["mgda", "outlier_weighted(mgda)"])
    lines = capsys.readouterr().out.splitlines()
    (mgda,) = (line.split() for line in lines if line.startswith("mgda "))
    assert mgda == ["mgda", "1.33", "-", "2.00", "3.00", "2.00"]
    (own,) = (line.split() for line in lines if line.startswith("outlier"))
    assert own[1:] == ["-", "-", "-", "3.00", "2.00"]
    assert "  autogram: ValueError: cannot" in lines
    costs = [line.split() for line in lines if line.startswith("mlp K=2 B=128  mgda")]
    peaks = {" ".join(line[4:-5]): line[-1] for line in costs}
    assert peaks == {
        "plain jax": "-",
        "plain torch": "-",
        "mtopt": "2.00",
        "autojac": "2.00",
        "one by one": "4.00",
    }
    page = (tmp_path / "step.md").read_text(encoding="utf-8")
    assert "| mlp K=2 B=128 | `mgda` | 1.33 | - | 2.00 | 3.00 | 2.00 |" in page
    assert "- mlp K=2 B=128, `mgda`, autogram: ValueError: cannot" in page
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")


def test_another_run_adds_to_the_folder(fake, tmp_path):
    run(tmp_path, ["mgda", "graddrop"])
    first = results.load(tmp_path / "step.json")
    run(tmp_path, ["mgda", "equal_weighting"])
    found = results.load(tmp_path / "step.json")
    methods = ["mgda", "graddrop", "equal_weighting"]
    assert [group.method for group in found] == methods
    assert found[1] == first[1]


def test_cells_stay_together(fake):
    def group(tasks, method):
        return results.Group(cells.Cell("mlp", tasks, 4), method, {}, {}, {}, "cpu")

    before = [group(2, "mgda"), group(8, "mgda")]
    found = results.merged(before, [group(2, "graddrop")])
    names = [(each.cell.tasks, each.method) for each in found]
    assert names == [(2, "mgda"), (2, "graddrop"), (8, "mgda")]


@pytest.mark.slow
def test_the_command_measures_in_processes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(__main__, "installed", lambda: {"jax": jax.__version__})
    with flagsaver.flagsaver(
        cell=["mlp:2:4"],
        step_method=["mgda"],
        step_out=str(tmp_path),
        step_rounds=2,
        turn_seconds=0.01,
    ):
        __main__.main(["step"])
    assert "pip install 'mtopt[bench]'" in capsys.readouterr().out
    (mgda,) = results.load(tmp_path / "step.json")
    assert list(mgda.costs) == ["plain jax", "mtopt"]
    cost = mgda.costs["mtopt"]
    assert len(cost.seconds) == 2
    assert min(*cost.seconds, cost.compile, cost.flops, cost.temporary) > 0


@pytest.mark.parametrize("model", cells.NETWORKS)
def test_models_of_both_sides_have_as_many_parameters(model):
    pytest.importorskip("torch")
    cell = cells.Cell(model, 2, 4)
    theirs = [torch_models.trunk(cell), torch_models.head(cell)]
    counts = [sum(p.numel() for p in part.parameters()) for part in theirs]
    params = jax_side.problem(cell)[1]
    ours = [params["shared"], params["tasks"].values]
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(part)) for part in ours]
    assert counts == [sizes[0], sizes[1] / 2]


@pytest.mark.parametrize("column", ["autojac", "autogram", "one by one"])
def test_steps_of_torch_make_one_update(column, monkeypatch):
    """On one task more than the two where every rule of MGDA is exact, nearly."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchjd")
    made = []
    build = torch_side._model

    def kept(*arguments):
        made.append(build(*arguments))
        parameters = made[-1].trunk.parameters()
        optimizer = torch.optim.SGD(parameters, 0.1)
        made[-1] = made[-1]._replace(optimizer=optimizer)
        return made[-1]

    monkeypatch.setattr(torch_side, "_model", kept)
    cell = cells.Cell("mlp", 2, 8)
    for each in ("autojac", column):
        torch_side.build(cell, each, "mgda").run(1)
    for one, other in zip(*(m.trunk.parameters() for m in made), strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_parts_of_the_gradients_agree_and_are_measured():
    parts = rows.parts("mlp:2:4")
    at_once, looped, written, *gramians = (
        jax.jit(function)(*arguments)
        for function, arguments in map(parts.get, list(parts)[1:])
    )
    for other in (looped, written):
        assert_close(other, at_once, rtol=1e-5)
    for found in gramians:
        np.testing.assert_allclose(found, gramians[0], rtol=1e-4, atol=1e-5)
    measured = rows.measure(parts, 1)
    assert list(measured) == list(parts)
    assert all(part.milliseconds > 0 and part.mflop > 0 for part in measured.values())
    assert measured["in chunks"].mflop == measured["product"].mflop
