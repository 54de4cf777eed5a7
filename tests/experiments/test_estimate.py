"""What a step will take, before it runs: --estimate."""

import dataclasses
import types

import jax
import numpy as np
import optax
import pytest

import mtopt
from experiments.common import estimate as estimates
from experiments.common import experiment as experiments
from experiments.common import runner
from experiments.common.estimate import StepCost, step_cost, text_of
from experiments.outlier_tasks import run as outlier_tasks
from experiments.pareto_gnn import run as pareto_gnn
from mtopt.models import mlp
from mtopt.training.program import separate_program, shared_program
from tests.helpers.commands import SMALL, run_here

NAMES = ("a", "b", "c")
SEEDS, BATCH, INPUTS, HIDDEN, CLASSES = 2, 5, 3, 4, 2


def model_of(names):
    return mlp(
        (INPUTS,), names=names, kind="classification", outputs=CLASSES, hidden=(HIDDEN,)
    )


def test_its_figures_are_those_of_the_compiled_step():
    model = model_of(NAMES)
    tx = mtopt.chain(mtopt.imtl_g(3), optax.sgd(0.1, momentum=0.9))
    train_step = mtopt.make_train_step(model.tasks, tx)

    def step(state, batch):
        state, metrics = train_step(state, batch)
        return state, (metrics["losses"], metrics["present"])

    @jax.jit
    def create(key):
        params, model_state = jax.vmap(model.init)(jax.random.split(key, SEEDS))
        own = jax.random.split(key, SEEDS)
        return jax.vmap(lambda *each: mtopt.TrainState.create(each[0], tx, *each[1:]))(
            params, own, model_state
        )

    state = create(jax.random.key(0))
    labels = np.zeros((SEEDS, 3, BATCH), np.int32)
    x = np.zeros((SEEDS, BATCH, INPUTS), np.float32)
    batch = jax.device_put(mtopt.Batch(x, labels, labels == 0))
    by_hand = jax.jit(jax.vmap(step), donate_argnums=0).lower(state, batch).compile()
    memory = by_hand.memory_analysis()

    found = step_cost(shared_program(model, tx, SEEDS), jax.eval_shape(lambda: batch))
    shared = (INPUTS + 1) * HIDDEN
    assert (found.shared, found.heads) == (shared, 3 * (HIDDEN + 1) * CLASSES)
    assert found.rows == SEEDS * 4 * 3 * shared
    assert found.arguments == memory.argument_size_in_bytes
    own = memory.output_size_in_bytes - memory.alias_size_in_bytes
    assert found.temporary == memory.temp_size_in_bytes + own
    assert found.flops == by_hand.cost_analysis()["flops"]
    held = sum(leaf.nbytes for leaf in jax.tree.leaves((state.params, batch)))
    assert found.memory > held


def test_models_of_one_task_each_are_counted_together():
    compiled = types.SimpleNamespace(
        memory_analysis=lambda: types.SimpleNamespace(
            argument_size_in_bytes=7,
            output_size_in_bytes=5,
            alias_size_in_bytes=3,
            temp_size_in_bytes=11,
        ),
        cost_analysis=lambda: {"flops": 13.0},
    )
    lowered = types.SimpleNamespace(compile=lambda: compiled)
    step = types.SimpleNamespace(lower=lambda state, batch: lowered)
    tx = mtopt.chain(mtopt.equal_weighting(1), optax.sgd(0.1))
    program = separate_program(model_of(("task",)), tx, NAMES, SEEDS)
    found = step_cost(program._replace(step=step), None)
    shared = 3 * (INPUTS + 1) * HIDDEN
    heads = 3 * (HIDDEN + 1) * CLASSES
    assert found == StepCost(shared, heads, SEEDS * 4 * shared, 7, 13, 13.0)


def device(**stats):
    return types.SimpleNamespace(
        device_kind="A small one", platform="gpu", memory_stats=lambda: stats or None
    )


def test_what_does_not_fit_is_a_sentence(monkeypatch):
    data = types.SimpleNamespace(nbytes=30_000_000)
    monkeypatch.setattr(jax, "live_arrays", lambda: [data])
    costs = {
        "small": StepCost(10, 4, 80, 10_000_000, 59_000_000, 1e6),
        "large": StepCost(10, 4, 80, 10_000_000, 61_000_000, 1e6),
    }
    said = text_of("title", costs, device(bytes_limit=100_000_000))
    assert said.splitlines()[0] == "title"
    assert "large does not fit: its step takes 71.0 MB beside 30.0 MB of data, " in said
    assert "A small one has 100.0 MB" in said
    assert "small does not fit" not in said
    said = text_of("title", costs, device(bytes_limit=101_000_000))
    assert "Every step fits: the largest takes 71.0 MB" in said
    assert "does not say how much memory" in text_of("title", costs, device())


def test_a_cpu_has_the_memory_of_the_machine():
    assert estimates.memory_of(jax.devices("cpu")[0]) > 2**28


@pytest.fixture
def asked(monkeypatch):
    """The programs and batches that an estimate is made for, none of them compiled."""
    found = []

    def cost(program, batch):
        found.append((program, batch))
        return StepCost(10, 4, 80, 1_000_000, 2_000_000, 3e6)

    for module in (runner, pareto_gnn):
        monkeypatch.setattr(module, "step_cost", cost)
    return found


def test_the_command_prints_a_line_for_each_method_and_writes_nothing(
    asked, monkeypatch, tmp_path, capsys
):
    methods = ("--method=mgda", "--method=log_losses(cagrad)")
    run_here(tmp_path, monkeypatch, *SMALL, *methods, "--estimate")
    assert not list(tmp_path.iterdir())
    printed = capsys.readouterr().out.splitlines()
    title = printed[0]
    for said in ("mlp(hidden=(16,))", "multi_digits(", "batches of 32", "2 seeds"):
        assert said in title
    lines = [line.split("  ")[0] for line in printed if "10 " in line]
    assert lines == [runner.SINGLE_TASK, "mgda", "log_losses(cagrad)"]
    (separate, batch), (shared, _), _ = asked
    assert (separate.models, shared.models) == ((2, 2), (2,))
    assert batch.x.shape == (2, 32, 10, 10, 1)


def test_experiments_of_other_kinds_have_one_too(asked):
    outliers = experiments.find_experiment("outlier_tasks").get_config()
    small = dataclasses.replace(
        outliers,
        methods=("mgda",),
        plants=outliers.plants[:1],
        seeds=(0,),
        batch_size=8,
    )
    said = outlier_tasks.estimate(small, "outlier_tasks", None)
    assert said.count("outlier_tasks, ") == len(asked) == 5
    graphs = dataclasses.replace(
        experiments.find_experiment("pareto_gnn").get_config(),
        data="stochastic_blocks(nodes=60, classes=2, words=20)",
        methods=("equal_weighting",),
        pretexts=("feature_reconstruction", "node_graph_information"),
        encoder="gcn(hidden=(6,))",
        alone=False,
    )
    said = experiments.estimate(graphs, "pareto_gnn", None)
    assert "2 pretexts, 60 nodes, 1 seed at once" in said
    assert len(jax.tree.leaves(asked[-1][1])) > 0


@pytest.mark.parametrize(
    "name", ["toy", "pareto_front", "robust_boosting_real", "robust_boosting_synthetic"]
)
def test_one_without_says_so(name):
    config = experiments.find_experiment(name).get_config()
    with pytest.raises(mtopt.UserError, match=f"{name} has no estimate: expected"):
        experiments.estimate(config, name, None)
