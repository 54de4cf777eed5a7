"""The Pareto front of one model: what it trains, its files, its order, its errors."""

import dataclasses
import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from experiments import pareto_front
from experiments.common.config import Optimizer, from_dict, to_dict
from experiments.common.run_folder import folder_name
from experiments.pareto_front import models, scalarizations, training
from experiments.pareto_front import run as front_run
from experiments.pareto_front.report import order
from experiments.pareto_front.run import FIXED
from mtopt.data.dataset import ArraySplit
from mtopt.errors import UserError
from mtopt.metrics import hypervolume
from mtopt.models import MODELS

FILES = [
    "data.json",
    "front.png",
    "fronts.npz",
    "report.html",
    "results.json",
    "table.txt",
]
FOLDERS = ["cosmos", "equal_weighting", folder_name(FIXED)]
TINY = "multi_digits(num_train=512, num_valid=16, num_test=256)"


def small(**changes):
    config = dataclasses.replace(
        pareto_front.get_config(),
        data=TINY,
        model="mlp(hidden=(8,))",
        scalarizations=("cosmos",),
        methods=("equal_weighting",),
        seeds=(0, 1),
        steps=300,
        checkpoint_every=150,
        batch_size=64,
        preferences=5,
        fixed_every=2,
        optimizer=Optimizer(learning_rate=1e-2),
    )
    return dataclasses.replace(config, **changes)


def run(config, folder):
    pareto_front.prepare(config, "pareto_front", None)(folder)
    with np.load(folder / "fronts.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("front")
    return folder, run(small(), folder)


def model(names=("left", "right")):
    return MODELS["mlp"]((3,), names=names, kind="regression", outputs=1, hidden=(4,))


def batch(seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(2, 6))
    return mtopt.Batch(
        jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32), np.ones((2, 6), bool)
    )


@pytest.mark.slow  # CI runs it
def test_a_run_leaves_fronts_results_a_table_and_a_picture(finished):
    folder, measured = finished
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES + FOLDERS)
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    points = {name: scores.shape for name, scores in measured.items()}
    assert points == {
        "cosmos": (2, 5, 2, 2),
        FIXED: (2, 3, 2, 2),
        "equal_weighting": (2, 1, 2, 2),
    }
    families = json.loads((folder / "results.json").read_text())["families"]
    for name, family in families.items():
        losses, accuracy = measured[name][..., 0], measured[name][..., 1]
        np.testing.assert_array_equal(family["loss"], losses)
        np.testing.assert_array_equal(family["accuracy"], accuracy)
        limit, lower = [2.0, 2.0], [False, False]
        expected = [hypervolume(seed, limit, lower) for seed in losses]
        assert family["hypervolume"] == expected
    # Single points have no order; K encoders and one set of heads make a front.
    assert families["equal_weighting"]["order"] == [None, None]
    own, heads = 100 * 8 + 8, 2 * (8 * 10 + 10)
    assert families["cosmos"]["parameters"] == 2 * own + heads
    assert families[FIXED]["parameters"] == 3 * (own + heads)
    rows = (folder / "table.txt").read_text().splitlines()
    named = [row[2:].split("  ")[0] for row in rows if row.startswith("  ")]
    assert [name for name in named if name.strip()] == [*points]
    assert max(map(len, rows)) <= 100


def orders(measured, name):
    front = models.preferences_inside(5)
    return [order(front, losses) for losses in measured[name][..., 0]]


@pytest.mark.slow  # CI runs it
def test_the_losses_follow_the_preference(finished):
    _, measured = finished
    # Losses along the preference: more is more.
    assert min(orders(measured, "cosmos")) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear", "smooth_tchebycheff"])
def test_the_losses_of_a_weighted_task_are_low(name, tmp_path):
    measured = run(small(scalarizations=(name,)), tmp_path)
    assert max(orders(measured, name)) < -0.8


@pytest.mark.slow  # CI runs it
def test_an_equal_fixed_weighting_is_equal_weighting(finished):
    _, measured = finished
    middle, equal = measured[FIXED][:, 1], measured["equal_weighting"][:, 0]
    # The same start, batches and weights; vmap over three models rounds otherwise.
    np.testing.assert_allclose(middle[..., 0], equal[..., 0], rtol=1e-3)


@pytest.fixture(scope="module")
def resumed(finished, tmp_path_factory):
    """As if killed late in its first part, with all others finished."""
    folder = tmp_path_factory.mktemp("resumed") / "run"
    shutil.copytree(finished[0], folder)
    others = {name: scores for name, scores in finished[1].items() if name != "cosmos"}
    np.savez(folder / "fronts.npz", **others)
    (last,) = folder.glob("cosmos/*/checkpoints/300")
    shutil.rmtree(last)
    ran, begins = [], []
    train_and_test, batches = training.train_and_test, ArraySplit.batches

    def told(text, *rest):
        ran.append(text)
        return train_and_test(text, *rest)

    def counted(*args, start=0, **options):
        begins.append(start)
        return batches(*args, start=start, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front_run, "train_and_test", told)
        patch.setattr(ArraySplit, "batches", counted)
        return run(small(), folder), ran, begins


@pytest.mark.slow  # CI runs it
def test_finished_parts_are_read_again_and_the_others_run(finished, resumed):
    measured, ran, _ = resumed
    assert ran == ["cosmos"]
    for name in (FIXED, "equal_weighting"):
        np.testing.assert_array_equal(measured[name], finished[1][name])


@pytest.mark.slow  # CI runs it
def test_a_part_stopped_in_the_middle_goes_on_to_the_same_front(finished, resumed):
    """With the same preferences, which every step draws."""
    measured, _, begins = resumed
    assert begins == [150]
    np.testing.assert_array_equal(measured["cosmos"], finished[1]["cosmos"])


@functools.cache
def descent():
    """A start, a step from it, and the same by the gradient of the scalarisation."""
    own = models.conditioned(model())
    params, _ = jax.jit(own.init)(jax.random.key(0))
    tx = mtopt.chain(
        models.by_preference(2, scalarizations.cosmos(penalty=3.0).loss),
        optax.sgd(0.1),
    )

    @jax.jit
    def step(params, preference):
        given = models.with_preference(batch(), preference)
        state = mtopt.TrainState.create(params, tx, jax.random.key(1))
        return mtopt.make_train_step(own.tasks, tx)(state, given)[0].params

    def scalarised(params, preference):
        given = models.with_preference(batch(), preference)
        losses = own.tasks.problem(given, jax.random.key(1)).losses(params)
        cosine = preference @ losses / jnp.linalg.norm(preference)
        return preference @ losses - 3.0 * cosine / jnp.linalg.norm(losses)

    return params, step, jax.jit(jax.grad(scalarised))


@pytest.mark.parametrize("preference", [(0.5, 0.5), (0.9, 0.1)])
def test_a_step_descends_the_scalarisation_at_the_preference(preference):
    params, step, gradient = descent()
    preference = np.array(preference, np.float32)
    after, grads = step(params, preference), gradient(params, preference)
    for new, old, grad in zip(
        *map(jax.tree.leaves, (after, params, grads)), strict=True
    ):
        expected = np.asarray(old) - 0.1 * np.asarray(grad)
        np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-6)


def test_a_preference_for_one_task_is_that_tasks_encoder():
    plain, mixed = model(), models.conditioned(model())
    params, model_state = jax.jit(mixed.init)(jax.random.key(0))

    @jax.jit
    def predicted(params, preference):
        x = models.with_preference(batch(), preference).x
        return mixed.predict(params, model_state, x)

    expected = jax.jit(plain.predict)
    for k, preference in enumerate(np.eye(2, dtype=np.float32)):
        own = jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], params["shared"])
        np.testing.assert_allclose(
            predicted(params, preference),
            expected({**params, "shared": own}, model_state, batch().x),
            rtol=1e-6,
        )
    first, second = np.asarray(jax.tree.leaves(params["shared"])[0])
    assert not np.allclose(first, second)


def test_every_step_and_seed_draws_a_preference_of_its_own():
    front = models.preferences_inside(3)[None]
    weigh = models.by_preference(2, scalarizations.linear().loss)
    group = training.ModelGroup(models.conditioned(model()), weigh, front)
    tx = mtopt.chain(group.method, optax.sgd(0.0))
    program = training.make_program(group, tx, alpha=1.2, num_seeds=2)
    state = program.init(jax.random.split(jax.random.key(0), 2))
    both = jax.tree.map(lambda *leaves: np.stack(leaves), batch(0), batch(1))
    seen = []
    for _ in range(3):
        state, _ = program.step(state, both)
        # The weights of a weighted sum are the preference.
        seen.append(np.asarray(optax.tree.get(state.opt_state, "weights")))
    drawn = np.stack(seen).reshape(6, 2)
    assert len(np.unique(drawn[:, 0])) == 6
    np.testing.assert_allclose(drawn.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scalarizations": ()}, "scalarizations is (): expected 1 or more entries"),
        ({"scalarizations": ("cosmo",)}, "did you mean 'cosmos'?"),
        ({"scalarizations": ("cosmos(penalty=-1)",)}, "penalty is -1"),
        ({"scalarizations": ("smooth_tchebycheff(mu=0)",)}, "mu is 0"),
        ({"scalarizations": ("linear", "linear")}, "expected no entry twice"),
        ({"methods": ("mdga",)}, "did you mean 'mgda'?"),
        ({"methods": ("mgda", "mgda")}, "expected no entry twice"),
        ({"seeds": ()}, "seeds is ()"),
        ({"seeds": (-1,)}, "seeds is -1: expected 0 or more"),
        ({"steps": 0}, "steps is 0: expected 1 or more"),
        ({"preferences": 2}, "preferences is 2: expected 3 or more"),
        ({"fixed_every": 0}, "fixed_every is 0"),
        ({"alpha": 0.0}, "alpha is 0.0: expected a number above 0"),
        ({"reference": float("nan")}, "reference is nan"),
        ({"data": "multi_digit"}, "no data set 'multi_digit': did you mean"),
        ({"model": "mlp(hidden=())"}, "hidden is ()"),
        ({"optimizer": Optimizer(learning_rate=0.0)}, "learning_rate is 0.0"),
    ],
)
def test_misuse_is_one_line_before_anything_runs(change, message):
    with pytest.raises(UserError) as caught:
        pareto_front.prepare(small(**change), "pareto_front", None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"tasks": ("a", "b", "c")}, "3 tasks on shared inputs"),
        ({"x_axis": 0}, "2 tasks on inputs of their own"),
    ],
)
def test_a_front_that_is_no_curve_is_refused(change, found, monkeypatch):
    dataset = dataclasses.replace(front_run.load_dataset(TINY, None), **change)
    monkeypatch.setattr(front_run, "load_dataset", lambda *_: dataset)
    with pytest.raises(UserError, match=f"^multi_digits has {found}: expected two"):
        pareto_front.prepare(small(), "pareto_front", None)


@pytest.mark.slow
def test_losses_that_leave_the_numbers_say_what_to_change(tmp_path):
    hot = Optimizer("sgd(momentum=0.9)", 1e30)
    config = small(optimizer=hot, steps=20, seeds=(0,), scalarizations=("linear",))
    with pytest.raises(
        UserError, match=r"the loss of task 'left' is .*\(linear, seed 0\): lower"
    ):
        run(config, tmp_path)


def test_the_configuration_survives_its_json():
    config = pareto_front.get_config()
    stored = json.loads(json.dumps(to_dict(config)))
    assert from_dict(pareto_front.get_config(), stored) == config


def test_order_is_of_ranks_and_undefined_for_a_point():
    front = models.preferences_inside(9)
    assert order(front, np.exp(-9 * front)) == -1
    assert order(front, front) == 1
    assert np.isnan(order(front[:1], front[:1]))
    assert np.isnan(order(front, np.ones((9, 2))))


def test_preferences_are_inside_and_the_fixed_ones_are_among_them():
    front = models.preferences_inside(19)
    np.testing.assert_allclose(front.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(front[::3, 0], np.arange(0.05, 1, 0.15), rtol=1e-6)
