"""The benchmark of the solvers: every rule weighs, and without TorchJD, too."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import flagsaver

import mtopt
from experiments.benchmarks import solvers


@pytest.mark.slow
def test_solvers_are_timed_without_torchjd(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(solvers, "ROUND_SECONDS", 1e-4)
    few = {name: solvers.METHODS[name] for name in ("mgda", "imtl_g")}
    monkeypatch.setattr(solvers, "METHODS", few)
    with flagsaver.flagsaver(solve_tasks=["2"], solve_rounds=1):
        solvers.main(["solvers"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    timed = [line for line in lines if line and line[0] in few]
    assert [line[:2] for line in timed] == [["mgda", "2"], ["imtl_g", "2"]]
    assert all(line[3:5] == ["-", "-"] for line in timed)
    assert all(float(line[i]) > 0 for line in timed for i in (2, 5, 6, 7))


@pytest.mark.parametrize("name", sorted(solvers.METHODS))
def test_every_rule_weighs(name):
    gramian = jnp.asarray(solvers.problems(3)["random"])
    weights = solvers.looped(solvers.METHODS[name].ours, 2)(gramian)
    assert weights.shape == (3,)
    assert bool(jnp.all(jnp.isfinite(weights)))


@pytest.mark.parametrize(
    ("argv", "tasks", "message"),
    [
        (["solvers", "mgda"], ["2"], "cannot read 'mgda': flags start with --"),
        (["solvers"], ["two"], "--solve_tasks has 'two'"),
    ],
)
def test_what_it_cannot_run_is_told(argv, tasks, message, capsys):
    with flagsaver.flagsaver(solve_tasks=tasks), pytest.raises(SystemExit) as stop:
        solvers.main(argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_excess_is_that_of_the_exact_optimum():
    gramian = solvers.problems(2)["random"]
    assert solvers.excess(gramian, np.array([1.0, 0.0])) > 1e-3
    ours = mtopt.solvers.min_norm_weights(jnp.asarray(gramian))
    assert solvers.excess(gramian, np.asarray(ours)) < 1e-7
