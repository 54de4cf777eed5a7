"""The benchmark of the step: what it compares is the same, and it prints it all."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import flagsaver

import mtopt
from experiments.benchmarks import convolutions, solvers, step

TOY = {
    "inputs": 5,
    "hidden": [7],
    "batch": 6,
    "own_batch": 3,
    "shared": [2],
    "disjoint": [3],
    "many": 4,
    "solve": [2, 3],
    "rounds": 1,
}


@pytest.fixture(autouse=True)
def toy_size(monkeypatch):
    monkeypatch.setattr(step, "ROUND_SECONDS", 1e-4)
    with flagsaver.flagsaver(**TOY):
        yield


@pytest.mark.parametrize("x_axis", [None, 0])
def test_the_plain_step_makes_the_update_of_equal_weighting(x_axis):
    tasks, params, batch = step.make_problem(3, x_axis)
    # Plain SGD, whose update is the gradient; Adam's forgets its size.
    optimizer = optax.sgd(0.1)
    plain = jax.tree.map(np.copy, (params, optimizer.init(params)))
    (plain_params, _), loss = step.plain_step(optimizer, x_axis)(plain, batch)
    tx = mtopt.chain(mtopt.equal_weighting(3), optimizer)
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    state, metrics = mtopt.make_train_step(tasks, tx)(state, batch)
    np.testing.assert_allclose(metrics["losses"].mean(), loss, rtol=1e-5)
    moved = 0.0
    for before, one, other in zip(
        *map(jax.tree.leaves, (params, plain_params, state.params)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
        moved += float(np.abs(one - before).max())
    assert moved > 1e-3


def test_it_prints_a_line_for_every_step_and_solve(capsys):
    step.main(["step"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    steps = [line[:3] for line in lines if line and line[0] in ("shared", "disjoint")]
    assert steps == [
        ["shared", "2", "jax.grad"],
        ["shared", "2", "equal_weighting"],
        ["shared", "2", "mgda"],
        ["shared", "4", "jax.grad"],
        ["shared", "4", "equal_weighting"],
        ["disjoint", "3", "jax.grad"],
        ["disjoint", "3", "equal_weighting"],
        ["disjoint", "3", "mgda"],
    ]
    solves = [line[1] for line in lines if line and line[0] == "min_norm_weights"]
    assert solves == ["2", "3"]


def test_every_cost_is_a_positive_number():
    costs = step.measure_steps(2, None, ("equal_weighting", "mgda"))
    assert list(costs) == ["jax.grad", "equal_weighting", "mgda"]
    assert all(np.isfinite(cost).all() and min(cost) > 0 for cost in costs.values())
    assert costs["mgda"].flops > costs["equal_weighting"].flops


@pytest.mark.slow
def test_convolutions_are_timed_in_both_forms(monkeypatch, capsys):
    monkeypatch.setattr(convolutions, "ROUND_SECONDS", 1e-4)
    few = {"lenet conv2": convolutions.LAYERS["lenet conv2"]}
    monkeypatch.setattr(convolutions, "LAYERS", few)
    with flagsaver.flagsaver(network=["lenet"], rows=[2], images=4, repeats=1):
        convolutions.main(["convolutions"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    timed = [line for line in lines if line and line[0] == "lenet"]
    computations = ["forward", "gradient", "rows"]
    found = [next(w for w in line if w in (*computations, "seeds")) for line in timed]
    assert found == [*computations, "seeds", *computations]
    assert all(float(number) > 0 for line in timed for number in line[-5:-2])


@pytest.mark.slow
def test_solvers_are_timed_without_torchjd(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(solvers, "ROUND_SECONDS", 1e-4)
    few = {name: solvers.METHODS[name] for name in ("mgda", "imtl_g")}
    monkeypatch.setattr(solvers, "METHODS", few)
    with flagsaver.flagsaver(tasks=["2"], solve_rounds=1):
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
        (["solvers"], ["two"], "--tasks has 'two'"),
    ],
)
def test_what_it_cannot_run_is_told(argv, tasks, message, capsys):
    with flagsaver.flagsaver(tasks=tasks), pytest.raises(SystemExit) as stop:
        solvers.main(argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_excess_is_that_of_the_exact_optimum():
    gramian = solvers.problems(2)["random"]
    assert solvers.excess(gramian, np.array([1.0, 0.0])) > 1e-3
    ours = mtopt.solvers.min_norm_weights(jnp.asarray(gramian))
    assert solvers.excess(gramian, np.asarray(ours)) < 1e-7
