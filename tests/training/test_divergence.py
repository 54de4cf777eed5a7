"""Models that diverge stop and are named; the others of the stack go on as alone."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import ArraySplit, Dataset
from mtopt.models import MODELS
from mtopt.training.fit import (
    FitOptions,
    fit,
    read_diverged,
    read_result,
    read_validation,
)
from mtopt.training.program import separate_program, shared_program
from mtopt.training.writer import read_records

TASKS = ("a", "b")
OPTIONS = FitOptions(
    steps=24, batch_size=8, eval_every=6, log_every=3, checkpoint_every=12
)


def data(bad=None):
    """Linear tasks; a training label of task b may be infinite."""
    rng = np.random.default_rng(0)

    def split(size):
        x = rng.normal(size=(size, 4)).astype("float32")
        return mtopt.Batch(x, x.T[:2].copy(), np.ones((2, size), bool), TASKS)

    train, valid, test = split(32), split(16), split(16)
    if bad is not None:
        train.y[1, bad] = np.inf
    parts = [ArraySplit(part, None) for part in (train, valid, test)]
    return Dataset("d", TASKS, "regression", 1, None, *parts)


def model(names=TASKS):
    return MODELS["mlp"]((4,), names=names, kind="regression", outputs=1, hidden=(8,))


def program(seeds, on_nonfinite="stop"):
    tx = mtopt.chain(mtopt.mgda(2), optax.adam(1e-2))
    return shared_program(model(), tx, seeds, on_nonfinite=on_nonfinite)


def first_batch_with(row, seeds):
    """The step that sees the row first, of each seed, from 1."""
    numbers = data().train.batches(8, seeds=seeds).parts
    found = {}
    for step, index in enumerate(numbers, 1):
        for seed, own in zip(seeds, index, strict=True):
            if row in own:
                found.setdefault(seed, step)
        if len(found) == len(seeds):
            return found
    return {}


def fitted(folder, seeds, bad=None, made=None, **changes):
    fit(
        made or program(len(seeds)),
        data(bad),
        OPTIONS,
        folder,
        seeds=seeds,
        **changes,
    )
    return read_result(folder)


def test_all_that_diverge_are_named_with_their_first_bad_step(tmp_path):
    found = fitted(tmp_path, (0, 1), bad=5)
    first = first_batch_with(5, (0, 1))
    assert [(one.seed, one.step) for one in read_diverged(tmp_path)] == sorted(
        first.items()
    )
    assert "'b' is not finite at step" in read_diverged(tmp_path)[0].what
    assert np.isnan(found["test"]).all()
    assert np.isnan(found["pooled"]).all()
    # Training ends with the last of them: nothing is trained for nothing.
    steps = [r["step"] for r in read_records(tmp_path / "metrics.jsonl")]
    assert max(s for s in steps if s < 24) <= max(first.values()) + 3


def diverging(doomed):
    """An optimizer whose third update is infinite for the models that are doomed."""

    def update(updates, state, params=None):
        del params
        count, mine = state
        bad = mine & (count == 2)
        updates = jax.tree.map(lambda leaf: jnp.where(bad, jnp.inf, leaf), updates)
        return updates, (count + 1, mine)

    return optax.GradientTransformation(
        lambda params: (jnp.zeros((), int), doomed(params)), update
    )


def doomed(params):
    """By the initial parameters, which are each seed's own."""
    first = jax.tree.leaves(params)[0].ravel()[0]
    return first > 0


def test_the_others_of_a_stack_go_on_as_they_would_alone(tmp_path):
    tx = mtopt.chain(mtopt.mgda(2), optax.adam(1e-2), diverging(doomed))
    seeds = tuple(range(8))

    def made(count):
        return shared_program(model(), tx, count, on_nonfinite="stop")

    found = fitted(tmp_path / "all", seeds, made=made(8))
    gone = {one.seed for one in read_diverged(tmp_path / "all")}
    assert 0 < len(gone) < 8
    assert {one.step for one in read_diverged(tmp_path / "all")} == {3}
    assert {*np.flatnonzero(np.isnan(found["test"][:, 0, 0])).tolist()} == gone
    kept = next(seed for seed in seeds if seed not in gone)
    alone = fitted(tmp_path / "one", (kept,), made=made(1))
    np.testing.assert_allclose(
        found["test"][seeds.index(kept)], alone["test"][0], rtol=1e-5
    )
    assert not read_diverged(tmp_path / "one")


def test_a_single_task_model_that_diverges_is_that_of_its_task(tmp_path):
    tx = mtopt.chain(mtopt.equal_weighting(1), optax.adam(1e-2))
    made = separate_program(model(("task",)), tx, TASKS, 2, on_nonfinite="stop")
    found = fitted(tmp_path, (0, 1), bad=5, made=made)
    assert np.isfinite(found["test"][:, 0]).all()
    assert np.isnan(found["test"][:, 1]).all()
    assert ["'b'" in one.what for one in read_diverged(tmp_path)] == [True, True]


def test_validation_says_what_models_were_chosen_by(tmp_path):
    """By hand, from the looks: minus the mean error in units of the targets."""
    fitted(tmp_path, (3, 5))
    found = read_validation(tmp_path)
    records = [r for r in read_records(tmp_path / "metrics.jsonl") if "rmse" in r]
    for s, seed in enumerate((3, 5)):
        looks = [r for r in records if r["split"] == "valid" and r["seed"] == seed]
        best = min(looks, key=lambda look: look["rmse"]["a"] + look["rmse"]["b"])
        for task in TASKS:
            assert found.metrics[task]["rmse"][s] == best["rmse"][task]
        mean = np.mean([best["rmse"][task] for task in TASKS])
        np.testing.assert_allclose(found.scores[s], [-mean], rtol=1e-6)


def test_validation_of_single_task_models_is_that_of_each_ones_look(tmp_path):
    tx = mtopt.chain(mtopt.equal_weighting(1), optax.adam(1e-2))
    made = separate_program(model(("task",)), tx, TASKS, 2, on_nonfinite="stop")
    fitted(tmp_path, (0, 1), made=made)
    found = read_validation(tmp_path)
    for k, task in enumerate(TASKS):
        own = found.metrics[task]["rmse"]
        np.testing.assert_allclose(found.scores[:, k], -np.array(own), rtol=1e-6)


def test_validation_of_a_seed_that_diverged_has_no_score(tmp_path):
    """Whatever it had reached before."""
    fitted(tmp_path, (0, 1), bad=5)
    assert np.isnan(read_validation(tmp_path).scores).all()
    tx = mtopt.chain(mtopt.equal_weighting(1), optax.adam(1e-2))
    made = separate_program(model(("task",)), tx, TASKS, 1, on_nonfinite="stop")
    fitted(tmp_path / "single", (0,), bad=5, made=made)
    assert np.isnan(read_validation(tmp_path / "single").scores).all()


def test_a_single_task_model_is_named_where_its_update_alone_is_not_finite(tmp_path):
    everyone = diverging(lambda params: jnp.ones((), bool))
    tx = mtopt.chain(mtopt.equal_weighting(1), optax.sgd(1e-2), everyone)
    made = separate_program(model(("task",)), tx, TASKS, 1, on_nonfinite="stop")
    fitted(tmp_path, (0,), made=made)
    found = [one.what for one in read_diverged(tmp_path)]
    assert [what.split("step ")[1] for what in found] == [
        "3 (the model of 'a')",
        "3 (the model of 'b')",
    ]


def test_checkpoints_stay_finite_and_a_resumed_run_ends_the_same(tmp_path):
    fitted(tmp_path, (0, 1), bad=5)
    before = (tmp_path / "result.json").read_text()
    (tmp_path / "result.json").unlink()
    fitted(tmp_path, (0, 1), bad=5)
    assert (tmp_path / "result.json").read_text() == before
    result = json.loads(before)
    assert len(result["diverged"]) == 2


def test_to_raise_is_what_it_was(tmp_path):
    with pytest.raises(mtopt.UserError, match="'b' is not finite at step"):
        fitted(tmp_path, (0, 1), bad=5, made=program(2, "raise"))


def test_where_all_is_finite_stopping_changes_nothing(tmp_path):
    one = fitted(tmp_path / "stop", (0, 1))
    other = fitted(tmp_path / "raise", (0, 1), made=program(2, "raise"))
    np.testing.assert_array_equal(one["test"], other["test"])
    assert not read_diverged(tmp_path / "stop")
