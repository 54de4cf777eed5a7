"""Trained models: tails of spectra, flatness, conflict, and the command."""

import dataclasses
import hashlib
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import flagsaver
from flax import nnx

import mtopt
from experiments import analysis_pictures, analyze, built, runner
from experiments.analysis_pictures import Analysis, Measured
from experiments.config import Config, make_optimizer, to_dict
from mtopt import analysis
from mtopt.errors import UserError
from mtopt.models import functional
from mtopt.models.layers import BatchNorm
from mtopt.training.writer import write_json
from tests.helpers.problems import classification


def pareto(rng, alpha, size, x_min=1.0):
    return x_min * (1 - rng.random(size)) ** (-1 / (alpha - 1))


@pytest.mark.parametrize("alpha", [1.5, 2.0, 2.5, 4.0])
def test_a_planted_exponent_is_found_within_three_standard_errors(alpha):
    rng = np.random.default_rng(int(10 * alpha))
    law = analysis.fit_power_law(pareto(rng, alpha, 1500))
    assert abs(law.alpha - alpha) < 3 * law.standard_error
    assert law.standard_error < 0.3
    assert law.distance < 0.05


def test_estimates_scatter_by_the_standard_error():
    """All values are tail: the likelihood alone, whose deviation is known."""
    rng = np.random.default_rng(0)
    over = np.sort(np.log(pareto(rng, 3.0, (300, 400))), axis=1)
    estimates = [1 + 400 / own.sum() for own in over]
    fits = [analysis.power_law._tail(own, 0)[1] for own in over]
    # The tail starts at its smallest value, not at the true x_min = 1.
    np.testing.assert_allclose(fits, estimates, rtol=0.02)
    assert abs(np.mean(estimates) - 3) < 0.02
    assert abs(np.std(estimates) / (2 / 400**0.5) - 1) < 0.15


def test_the_tail_starts_where_the_power_law_does():
    rng = np.random.default_rng(1)
    body, tail = rng.uniform(0, 5, 1000), pareto(rng, 2.5, 1000, x_min=5.0)
    law = analysis.fit_power_law(np.concatenate([body, tail]))
    assert law.x_min > 4  # how far beyond it starts is left to the noise
    assert abs(law.alpha - 2.5) < 3 * law.standard_error


def test_the_fit_is_the_best_of_all_starts_by_brute_force():
    values = np.random.default_rng(2).lognormal(size=60)

    def distance(x_min):
        tail = np.sort(values[values >= x_min])
        alpha = 1 + len(tail) / np.log(tail / x_min).sum()
        # Just left and right of every jump of the empirical distribution.
        around = np.concatenate([tail * (1 - 1e-12), tail * (1 + 1e-12)])
        empirical = np.searchsorted(tail, around, side="right") / len(tail)
        fitted = 1 - np.maximum(around / x_min, 1) ** (1 - alpha)
        return np.abs(empirical - fitted).max(), alpha

    law = analysis.fit_power_law(values)
    every = [distance(x) for x in np.sort(values)[:-1]]
    np.testing.assert_allclose((law.distance, law.alpha), min(every), rtol=1e-9)
    assert law.tail == (values >= law.x_min).sum()


def test_more_samples_of_a_power_law_come_nearer_to_it():
    rng = np.random.default_rng(3)
    distances = [
        np.mean(
            [analysis.fit_power_law(pareto(rng, 2.5, n)).distance for _ in range(8)]
        )
        for n in (20, 100, 500)
    ]
    assert distances[0] > distances[1] > distances[2]


def test_repeated_values_belong_to_the_tail_together():
    law = analysis.fit_power_law(np.array([1.0, 1.0, 1.0, 2.0, 4.0]))
    if law.x_min == 1.0:
        assert law.tail == 5
    alone = analysis.fit_power_law(np.full(7, 3.0))
    assert (alone.alpha, alone.tail) == (np.inf, 7)


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [-1.0], [np.nan], [np.inf, 1.0]])
def test_values_that_have_no_power_law_are_an_error(values):
    with pytest.raises(UserError, match="values, not all finite and above 0"):
        analysis.fit_power_law(np.array(values))


@pytest.mark.parametrize("scale", [1e-12, 3.0, 1e15])
def test_an_exponent_has_no_scale_and_no_orientation(scale):
    rng = np.random.default_rng(4)
    matrix = pareto(rng, 3.0, (60, 40))
    rotation, _ = np.linalg.qr(rng.normal(size=(60, 60)))
    expected = analysis.power_law_alpha(matrix)
    for same in (scale * matrix, matrix.T, rotation @ matrix):
        assert analysis.power_law_alpha(same) == pytest.approx(expected, rel=1e-6)


def test_heavy_tailed_entries_have_a_smaller_exponent_than_gaussian_ones():
    rng = np.random.default_rng(5)
    gaussian = rng.normal(size=(600, 200))
    heavy = rng.choice([-1, 1], (600, 200)) * pareto(rng, 2.5, (600, 200))
    # Entries with P(|w| > x) = x^-1.5 have eigenvalues with exponent 1 + 1.5 / 2.
    assert analysis.power_law_alpha(heavy) == pytest.approx(1.75, abs=0.25)
    assert analysis.power_law_alpha(gaussian) > 4


def test_a_spectrum_planted_in_a_matrix_of_low_rank_is_found():
    rng = np.random.default_rng(6)
    left, _ = np.linalg.qr(rng.normal(size=(900, 700)))
    right, _ = np.linalg.qr(rng.normal(size=(800, 700)))
    matrix = left * np.sqrt(pareto(rng, 2.2, 700)) @ right.T
    alpha = analysis.power_law_alpha(jnp.asarray(matrix, jnp.float32))
    assert alpha == pytest.approx(2.2, abs=3 * 1.2 / 500**0.5)


def test_a_convolution_pools_the_spectra_of_its_offsets():
    kernel = np.random.default_rng(7).normal(size=(3, 3, 8, 16))
    pooled = [np.linalg.eigvalsh(w @ w.T) for w in kernel.reshape(9, 8, 16)]
    expected = analysis.fit_power_law(np.concatenate(pooled)).alpha
    assert analysis.power_law_alpha(kernel) == pytest.approx(expected)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_matrix_without_a_spectrum_is_an_error(bad):
    with pytest.raises(UserError, match="all 0 or not finite"):
        analysis.power_law_alpha(np.full((4, 4), bad))


def test_layers_are_named_by_their_paths():
    keys = jax.random.split(jax.random.key(0), 5)
    one, two = (
        jax.random.normal(keys[0], (2, 12, 16)),
        jax.random.normal(keys[1], (1, 14, 16)),
    )
    params = {
        "shared": {
            "conv": {"kernel": jax.random.normal(keys[2], (3, 3, 4, 8))},
            "few": {"kernel": jax.random.normal(keys[3], (64, 9))},
            "norm": {"scale": jnp.ones(64)},
        },
        "tasks": (
            mtopt.PerTask({"kernel": one}, ("a", "c")),
            mtopt.PerTask({"kernel": two, "bias": jnp.ones((1, 16))}, ("b",)),
        ),
    }
    rows = analysis.layer_alphas(params)
    assert [(row.name, row.eigenvalues) for row in rows] == [
        ("shared/conv/kernel", 36),
        ("tasks/a/kernel", 12),
        ("tasks/b/kernel", 14),
        ("tasks/c/kernel", 12),
    ]
    assert rows[1].alpha == analysis.power_law_alpha(one[0])
    few = analysis.layer_alphas(params, min_eigenvalues=9)
    assert "shared/few/kernel" in [row.name for row in few]
    with pytest.raises(UserError, match="min_eigenvalues is 1"):
        analysis.layer_alphas(params, min_eigenvalues=1)


# Compiled: as it is used, and ten times faster to test.
sharpness = jax.jit(
    analysis.sharpness, static_argnames=("rho", "adaptive", "steps", "passes")
)


def quadratic():
    """The two tasks of a plane of which every sharpness is known."""
    curvature = jnp.array([[3.0, 1.0], [1.0, 2.0]])
    slope = jnp.array([[0.0, 0.0], [-5.0, -5.0]])

    def head_loss(head, theta, y, mask, key):
        return mtopt.masked_mean(
            0.5 * (curvature[y] * theta**2).sum(-1) + (slope[y] * theta).sum(-1), mask
        )

    def encode(shared, x, key):
        return x[:, None] * shared[None]

    tasks = mtopt.Tasks(("a", "b"), encode, head_loss)
    batch = mtopt.Batch.shared(
        jnp.ones(1), {"a": np.zeros(1, int), "b": np.ones(1, int)}
    )
    params = {
        "shared": jnp.array([1.0, 4.0]),
        "tasks": mtopt.PerTask({}, tasks.names),
    }
    return tasks.problem(batch, jax.random.key(0)), params


def test_first_order_sharpness_of_a_quadratic_is_as_by_hand():
    with jax.enable_x64(True):
        problem, params = quadratic()
        # Gradients (3, 4) and (-4, 3): rise rho |g| + rho^2 g'Ag / (2 |g|^2).
        rise = sharpness(problem, params, rho=0.5)
        np.testing.assert_allclose(rise, [2.715, 2.67], rtol=1e-12)
        np.testing.assert_array_equal(sharpness(problem, params, rho=0.0, steps=3), 0)
        own = sharpness(problem, params, rho=(0.5, 0.0))
        np.testing.assert_allclose(own, [2.715, 0], atol=1e-12)


@pytest.mark.parametrize("adaptive", [False, True])
def test_more_steps_climb_to_the_maximum_in_the_ball(adaptive):
    with jax.enable_x64(True):
        problem, params = quadratic()
        rho = 2.0
        angle = jnp.linspace(0, 2 * np.pi, 100001)
        circle = rho * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
        if adaptive:
            circle = circle * jnp.abs(params["shared"])[None]
        on_circle = jax.vmap(
            lambda e: problem.losses({**params, "shared": params["shared"] + e})
        )(circle)
        exact = on_circle.max(axis=0) - problem.losses(params)
        rises = [
            np.asarray(
                sharpness(problem, params, rho=rho, adaptive=adaptive, steps=steps)
            )
            for steps in (1, 3, 40)
        ]
        assert (np.diff(rises, axis=0) >= -1e-12).all()
        assert (rises[-1] <= exact + 1e-6).all()
        np.testing.assert_allclose(rises[-1], exact, rtol=1e-4)


@pytest.mark.parametrize("x_axis", [None, 0])
def test_sharpness_is_the_same_however_the_passes_run(x_axis):
    tasks, params, batch = classification(3, 8, 5, (6,), 4, x_axis)
    problem = tasks.problem(batch, jax.random.key(0))
    expected = sharpness(problem, params, rho=0.3, steps=3)
    for passes in ("unroll", "map"):
        found = sharpness(problem, params, rho=0.3, steps=3, passes=passes)
        np.testing.assert_allclose(found, expected, rtol=2e-5, err_msg=passes)
    assert (expected > 0).all()


def test_adaptive_sharpness_does_not_see_a_rescaled_layer():
    """Twice a relu layer, half the next one: the same function."""
    tasks, params, batch = classification(2, 8, 5, (6,), 4, None)
    problem = tasks.problem(batch, jax.random.key(0))
    params["shared"][0]["b"] = jnp.full(6, 0.1)
    first = jax.tree.map(lambda leaf: 2 * leaf, params["shared"])
    heads = params["tasks"].values
    heads = {"w": heads["w"] / 2, "b": heads["b"]}
    rescaled = {"shared": first, "tasks": mtopt.PerTask(heads, tasks.names)}

    def rises(adaptive):
        return [
            sharpness(problem, p, rho=0.1, adaptive=adaptive, steps=2)
            for p in (params, rescaled)
        ]

    np.testing.assert_allclose(*rises(True), rtol=1e-5)
    plain = rises(False)
    assert not np.allclose(plain[0], plain[1], rtol=0.05)


@pytest.mark.parametrize("option", [{"rho": -1.0}, {"steps": 0}, {"rho": (1, 2, 3)}])
def test_sharpness_options_are_checked(option):
    problem, params = quadratic()
    with pytest.raises(UserError, match="expected"):
        sharpness(problem, params, **option)


def test_directions_have_the_length_of_every_filter():
    _, params, _ = classification(3, 8, 5, (6,), 4, None)
    kernel = jax.random.normal(jax.random.key(3), (3, 3, 2, 7)).at[..., 2].set(0)
    params["shared"].append({"w": kernel, "b": jnp.ones(7)})
    direction = analysis.filter_normalized_direction(jax.random.key(1), params)
    assert jax.tree.structure(direction) == jax.tree.structure(params)

    def lengths(tree, axis):
        return jax.tree.map(lambda leaf: jnp.sqrt((leaf**2).sum(axis)), tree)

    moved, there = direction["shared"][-1]["w"], kernel
    np.testing.assert_allclose(
        lengths(moved, (0, 1, 2)), lengths(there, (0, 1, 2)), rtol=1e-5
    )
    heads = direction["tasks"].values
    np.testing.assert_allclose(
        lengths(heads["w"], 1), lengths(params["tasks"].values["w"], 1), rtol=1e-5
    )
    assert not heads["b"].any()
    assert not direction["shared"][-1]["b"].any()
    assert float(jnp.abs(heads["w"][0] - heads["w"][1]).max()) > 0.01
    other = analysis.filter_normalized_direction(jax.random.key(2), params)
    assert float(jnp.abs(other["shared"][0]["w"] - direction["shared"][0]["w"]).max())


def test_a_plane_has_the_losses_at_its_points():
    tasks, params, batch = classification(3, 8, 5, (6,), 4, 0)
    problem = tasks.problem(batch, jax.random.key(0))
    directions = tuple(
        analysis.filter_normalized_direction(key, params)
        for key in jax.random.split(jax.random.key(1))
    )
    alphas, betas = jnp.array([-1.0, 0.0, 0.5]), jnp.array([0.0, 2.0])
    values = jax.jit(
        lambda p: analysis.plane(problem.losses, p, directions, alphas, betas)
    )(params)
    assert values.shape == (3, 2, 3)
    np.testing.assert_allclose(values[1, 0], problem.losses(params), rtol=1e-6)
    far = jax.tree.map(lambda p, a, b: p + 0.5 * a + 2 * b, params, *directions)
    np.testing.assert_allclose(values[2, 1], problem.losses(far), rtol=1e-5)


def test_conflicts_are_counted_over_pairs_and_batches():
    with jax.enable_x64(True):
        rows = {
            "w": jnp.array([[1e-30, 0], [-1e30, 1e30], [0, 2.0]]),
            "b": jnp.zeros(3),
        }
        cosines = analysis.cosines(rows)
        expected = [[1, -(0.5**0.5), 0], [-(0.5**0.5), 1, 0.5**0.5], [0, 0.5**0.5, 1]]
        np.testing.assert_allclose(cosines, expected, atol=1e-12)
        assert float(analysis.conflict_share(cosines)) == pytest.approx(1 / 3)
        absent = analysis.cosines(jnp.array([[1.0, 0], [-1.0, 0], [0, 0]]))
        assert float(analysis.conflict_share(absent)) == 1
        both = jnp.stack([cosines, absent])
        assert float(analysis.conflict_share(both)) == pytest.approx(2 / 4)
        assert np.isnan(analysis.conflict_share(jnp.ones((5, 1, 1))))


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
    params, state = model.init(jax.random.key(0))
    state = jax.tree.map(lambda leaf: leaf + 0.3, state)
    rng = np.random.default_rng(0)
    lead = (6,) if x_axis is None else (2, 6)
    batch = mtopt.Batch(
        jnp.asarray(rng.normal(size=(*lead, 5)), jnp.float32),
        jnp.asarray(rng.integers(0, 3, (2, 6))),
        jnp.asarray(rng.random((2, 6)) < 0.7),
    )
    tasks = analyze.evaluation(model, "classification")
    problem = tasks.problem(batch, jax.random.key(1), state)
    logits = jax.nn.log_softmax(model.predict(params, state, batch.x))
    own = -np.take_along_axis(logits, np.asarray(batch.y)[..., None], 2)[..., 0]
    expected = [loss[m].mean() for loss, m in zip(own, batch.mask, strict=True)]
    np.testing.assert_allclose(problem.losses(params), expected, rtol=1e-5)
    np.testing.assert_array_equal(
        jax.tree.leaves(problem.next_model_state(params))[0], jax.tree.leaves(state)[0]
    )
    assert (sharpness(problem, params, rho=0.01, passes="map") > 0).all()


METHODS = ("equal_weighting", "flat_regions(mgda, rho=0.1)")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
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
    stored = {
        "experiment": "multi_digits",
        "data_dir": None,
        "config": to_dict(config),
    }
    write_json(folder / "config.json", stored)
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
        analyze.main(["analyze"])


def test_the_command_measures_every_method_and_touches_nothing_else(run, capsys):
    before = digests(run)
    command(run=str(run), rho=0.05)
    after = digests(run)
    new = {"analysis.json", "landscape.png", "slice.png", "alphas.png"}
    assert {str(path) for path in after.keys() - before.keys()} == new
    assert {path: after[path] for path in before} == before
    out = capsys.readouterr().out
    assert all(method in out for method in METHODS)
    assert "mean ± standard deviation over 2 seeds" in out
    assert max(map(len, out.split("picture")[0].splitlines())) <= 100
    found = json.loads((run / "analysis.json").read_text())
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


def test_what_is_measured_is_the_model_after_the_last_step(run):
    """Against the evaluation of a model rebuilt by hand."""
    found = analyze.analyze(
        run, rho=0.05, adaptive=True, points=3, samples=10**6, seed=1
    )
    ours = found.methods[0]
    # On all samples the middle of the line and of the plane is the test loss.
    np.testing.assert_allclose(ours.lines[:, 1], ours.loss, rtol=1e-4)
    np.testing.assert_allclose(ours.surface[1, 1], ours.loss[0], rtol=1e-4)
    np.testing.assert_allclose(ours.surface[:, 1], ours.lines[0], rtol=1e-5)
    assert np.abs(ours.loss[0] - ours.loss[1]).max() > 1e-3
    _, config, _ = analyze._stored(run)
    dataset = built.load(config.data, None)
    model = built.make_model(config, dataset, dataset.tasks)
    first = config.methods[0]
    tx = mtopt.chain(
        built.make_aggregators(config, dataset)[first],
        make_optimizer(config.optimizer, config.steps),
    )
    pairs = analyze._restored(model, tx, analyze._places(run, first, config))
    batch = next(dataset.test.in_order(10**6))
    logits = jax.nn.log_softmax(model.predict(*pairs[1], batch.x))
    own = -np.take_along_axis(logits, np.asarray(batch.y)[..., None], 2)[..., 0]
    np.testing.assert_allclose(own.mean(axis=1), ours.loss[1], rtol=1e-5)


def test_a_run_per_seed_has_a_folder_each(run):
    _, config, _ = analyze._stored(run)
    apart = dataclasses.replace(config, stack_seeds=False)
    with pytest.raises(UserError, match="seed-0 has no finished checkpoint"):
        analyze._places(run, METHODS[0], apart)


OPTIONS = {"rho": 0.05, "adaptive": False, "points": 3, "samples": 32, "seed": 0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no --run: expected --run=FOLDER"),
        ({"run": "nowhere"}, "no run in nowhere: FileNotFoundError"),
        ({"run": "nowhere", "rho": -1.0}, "--rho is -1.0: expected"),
        ({"run": "nowhere", "rho": float("nan")}, "--rho is nan: expected"),
        ({"run": "nowhere", "points": 2}, "--points is 2: expected at least 3"),
        ({"run": "nowhere", "samples": 0}, "--samples is 0: expected at least 1"),
        ({"run": "nowhere", "seed": -1}, "--seed is -1: expected at least 0"),
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
            '{"experiment": "toy", "config": {}, "data_dir": null}',
            "is a run of toy: expected one that compares methods",
        ),
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
        analyze.analyze(tmp_path, **OPTIONS)


def test_a_run_that_is_not_finished_is_an_error(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (method,) = (tmp_path / "run").glob("equal_weighting/seed-0-1")
    shutil.rmtree(method / "checkpoints")
    with pytest.raises(UserError, match="--resume="):
        analyze.analyze(tmp_path / "run", **OPTIONS)
    assert not (method / "checkpoints").exists()
    (method / "checkpoints").mkdir()
    with pytest.raises(UserError, match="no checkpoint in"):
        analyze.analyze(tmp_path / "run", **OPTIONS)


@pytest.mark.parametrize(
    ("num_tasks", "layers"),
    [(1, ()), (4, ("shared/kernel", "tasks/a/kernel")), (6, ("shared/kernel",))],
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
        getattr(analysis_pictures, name)(found, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    text = analyze.table(found)
    assert max(map(len, text.splitlines())) <= 100
    assert ("–" in text) == (num_tasks != 4)
