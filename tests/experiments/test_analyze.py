"""The command that measures trained models."""

import contextlib
import dataclasses
import hashlib
import io
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import flagsaver
from flax import nnx

import mtopt
from experiments import toy
from experiments.analysis import __main__ as program
from experiments.analysis import pictures, run
from experiments.analysis.config import AnalysisConfig
from experiments.analysis.measure import evaluation_tasks
from experiments.analysis.report import Analysis, Measured, table
from experiments.common import building, runner
from experiments.common.config import Config
from experiments.common.stored_run import StoredRun, write_run
from mtopt import analysis
from mtopt.errors import UserError
from mtopt.models import functional
from mtopt.models.layers import BatchNorm

# Compiled: as it is used, and ten times faster to test.
sharpness = jax.jit(
    analysis.sharpness, static_argnames=("rho", "adaptive", "steps", "passes")
)


@pytest.mark.parametrize("x_axis", [None, 0])
def test_evaluation_has_the_losses_of_predictions(x_axis):
    """BatchNorm and dropout: running statistics, every unit, any key."""
    model = functional(
        lambda rngs: nnx.Sequential(BatchNorm(5), nnx.Dropout(0.5, rngs=rngs)),
        lambda rngs: nnx.Linear(5, 3, rngs=rngs),
        ("a", "b"),
        kind="classification",
        x_axis=x_axis,
    )
    params, state = jax.jit(model.init)(jax.random.key(0))
    state = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf) + 0.3), state)
    rng = np.random.default_rng(0)
    lead = (6,) if x_axis is None else (2, 6)
    batch = mtopt.Batch(
        jnp.asarray(rng.normal(size=(*lead, 5)), jnp.float32),
        jnp.asarray(rng.integers(0, 3, (2, 6))),
        jnp.asarray(rng.random((2, 6)) < 0.7),
    )
    tasks = evaluation_tasks(model, "classification")
    problem = tasks.problem(batch, jax.random.key(1), state)

    @jax.jit
    def seen(params):
        logits = jax.nn.log_softmax(model.predict(params, state, batch.x))
        return logits, problem.losses(params), problem.next_model_state(params)

    logits, losses, after = seen(params)
    own = -np.take_along_axis(logits, np.asarray(batch.y)[..., None], 2)[..., 0]
    mask = np.asarray(batch.mask)
    expected = [loss[m].mean() for loss, m in zip(own, mask, strict=True)]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    np.testing.assert_array_equal(jax.tree.leaves(after)[0], jax.tree.leaves(state)[0])
    assert (sharpness(problem, params, rho=0.01, passes="map") > 0).all()


METHODS = ("equal_weighting", "mgda(normalize='l2')")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two methods and two seeds."""
    folder = tmp_path_factory.mktemp("run")
    config = Config(
        data="multi_digits",
        model="mlp(hidden=(16,))",
        methods=METHODS,
        seeds=(0, 1),
        steps=6,
        batch_size=32,
        eval_every=6,
        log_every=6,
        checkpoint_every=3,
        single_task=False,
    )
    write_run(folder, StoredRun("multi_digits", config, None))
    runner.prepare(config, "multi_digits", None)(folder)
    return folder


def digests(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def command(**options):
    """Runs the command in this process, with the flags set."""
    with flagsaver.flagsaver(**{"points": 4, "samples": 64, **options}):
        program.main(["analyze"])


@pytest.fixture(scope="module")
def measured(finished):
    """What the folder held before, what the command found, and what it printed."""
    before, found, printed = digests(finished), [], io.StringIO()

    def analyze(*args):
        found.append(run.analyze(*args))
        return found[0]

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(program, "analyze", analyze)
        options = {"adaptive": True, "points": 3, "samples": 10**6, "seed": 1}
        command(run=[str(finished)], rho=0.05, **options)
    return before, found[0], printed.getvalue()


@pytest.mark.slow  # CI runs it
def test_the_command_measures_every_method_and_touches_nothing_else(finished, measured):
    before, _, out = measured
    after = digests(finished)
    new = {"analysis.json", "landscape.png", "slice.png", "alphas.png"}
    assert {str(path) for path in after.keys() - before.keys()} == new
    assert {path: after[path] for path in before} == before
    assert all(method in out for method in METHODS)
    assert "mean ± standard deviation over 2 seeds" in out
    assert max(map(len, out.split("picture")[0].splitlines())) <= 100
    found = json.loads((finished / "analysis.json").read_text())
    assert list(found["methods"]) == list(METHODS)
    for method in found["methods"].values():
        assert np.shape(method["test_loss"]) == np.shape(method["sharpness"]) == (2, 2)
        assert np.shape(method["alpha"]) == (2, len(method["layers"]))
        assert (np.array(method["sharpness"]) > 0).all()
    layers = found["methods"]["equal_weighting"]["layers"]
    assert layers == [
        "shared/layers/0/kernel",
        "tasks/left/kernel",
        "tasks/right/kernel",
    ]


@pytest.mark.slow  # CI runs it
def test_what_is_measured_is_the_model_after_the_last_step(finished, measured):
    """Against the evaluation of a model rebuilt by hand."""
    _, found, _ = measured
    ours = found.methods[0]
    # On all samples the middle of the line and of the plane is the test loss.
    np.testing.assert_allclose(ours.lines[:, 1], ours.loss, rtol=1e-4)
    np.testing.assert_allclose(ours.surface[1, 1], ours.loss[0], rtol=1e-4)
    np.testing.assert_allclose(ours.surface[:, 1], ours.lines[0], rtol=1e-5)
    assert np.abs(ours.loss[0] - ours.loss[1]).max() > 1e-3
    config = run.read_comparison(finished).config
    dataset = building.load_dataset(config.data, None)
    model = building.make_model(config.model, dataset)
    first = config.methods[0]
    methods = building.parse_compared_methods(config)
    tx = mtopt.chain(
        building.make_aggregators(methods, dataset, config.batch_size)[first],
        config.optimizer.build(config.steps),
    )
    places = run.checkpoints_of(finished, first, config)
    pairs = run.restore_models(model, tx, places)
    batch = next(dataset.test.in_order(10**6))
    predict = jax.jit(lambda *args: jax.nn.log_softmax(model.predict(*args)))
    logits = predict(*pairs[1], batch.x)
    own = -np.take_along_axis(logits, np.asarray(batch.y)[..., None], 2)[..., 0]
    np.testing.assert_allclose(own.mean(axis=1), ours.loss[1], rtol=1e-5)


def test_a_run_per_seed_has_a_folder_each(finished):
    config = run.read_comparison(finished).config
    apart = dataclasses.replace(config, stack_seeds=False)
    with pytest.raises(UserError, match="seed-0 has no finished checkpoint"):
        run.checkpoints_of(finished, METHODS[0], apart)


OPTIONS = AnalysisConfig(points=3, samples=32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no --run: expected --run=FOLDER"),
        ({"run": ["nowhere"]}, "no run in nowhere: FileNotFoundError"),
        ({"run": ["nowhere"], "rho": -1.0}, "--rho is -1.0: expected 0 or more"),
        ({"run": ["nowhere"], "rho": float("nan")}, "--rho is nan: expected"),
        ({"run": ["nowhere"], "points": 2}, "--points is 2: expected 3 or more"),
        ({"run": ["nowhere"], "samples": 0}, "--samples is 0: expected 1 or more"),
        ({"run": ["nowhere"], "seed": -1}, "--seed is -1: expected 0 or more"),
    ],
)
def test_flags_are_checked_in_one_line(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command(**options)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no run in .*: JSONDecodeError"),
        ("[]", "no run in .*: TypeError"),
        ('{"experiment": "toy"}', "no run in .*: KeyError"),
        (
            '{"experiment": "toyy", "config": {}, "data_dir": null}',
            "no experiment 'toyy'",
        ),
        (
            '{"experiment": "multi_digits", "config": {}, "data_dir": null}',
            "it was written by another version",
        ),
    ],
)
def test_a_folder_that_is_no_run_is_an_error(tmp_path, content, message):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        run.analyze(tmp_path, OPTIONS)


def test_a_run_of_another_kind_is_an_error(tmp_path):
    write_run(tmp_path, StoredRun("toy", toy.get_config(), None))
    with pytest.raises(UserError, match="is a run of toy: expected one that compares"):
        run.analyze(tmp_path, OPTIONS)


def test_a_run_that_is_not_finished_is_an_error(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (method,) = (tmp_path / "run").glob("equal_weighting/seed-0-1")
    shutil.rmtree(method / "checkpoints")
    with pytest.raises(UserError, match="--resume="):
        run.analyze(tmp_path / "run", OPTIONS)
    assert not (method / "checkpoints").exists()
    (method / "checkpoints").mkdir()
    with pytest.raises(UserError, match="no checkpoint in"):
        run.analyze(tmp_path / "run", OPTIONS)


@pytest.mark.parametrize(
    ("num_tasks", "layers"),
    [
        (1, ()),
        (4, ("shared/kernel", "tasks/a/kernel")),
        pytest.param(6, ("shared/kernel",), marks=pytest.mark.slow),
    ],
)
def test_pictures_and_table_of_any_number_of_tasks_and_layers(
    num_tasks, layers, tmp_path
):
    rng = np.random.default_rng(0)
    names = ["mgda", "rep_mtl(flat_regions(cagrad(c=0.4), rho=2.0, adaptive=True))"] * 2
    methods = [
        Measured(
            name=name,
            loss=rng.random((2, num_tasks)),
            sharpness=rng.random((2, num_tasks)),
            conflict=np.full(2, np.nan if num_tasks == 1 else 0.5),
            layers=layers,
            alphas=rng.uniform(1.5, 9, (2, len(layers))),
            lines=1 + rng.random((2, 5, num_tasks)),
            surface=1 + rng.random((5, 5, num_tasks)),
        )
        for name in names
    ]
    tasks = tuple("abcdef"[:num_tasks])
    offsets = np.linspace(-1, 1, 5)
    found = Analysis("demo", tasks, 9, 0.05, True, 64, offsets, methods)
    for name in ("landscape", "slices", "alphas"):
        getattr(pictures, name)(found, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    text = table(found)
    assert max(map(len, text.splitlines())) <= 100
    assert ("–" in text) == (num_tasks != 4)
