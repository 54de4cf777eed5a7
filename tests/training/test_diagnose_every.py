"""Diagnostics beside training: they change no bit of it, and stand in its records."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt import analysis
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.models import MODELS
from mtopt.training.fit import FitOptions, fit
from mtopt.training.loop import read_per_model, read_per_task
from mtopt.training.measured_step import RECORDED
from mtopt.training.program import (
    StepLosses,
    map_models,
    separate_program,
    shared_program,
)
from mtopt.training.writer import read_records
from tests.helpers.models import make_batch, tiny

NAMES, SEEDS = ("a", "b", "c"), (0, 1)
SCHEDULE = FitOptions(
    steps=20, batch_size=8, eval_every=10, log_every=8, checkpoint_every=10
)


@functools.cache
def dataset():
    rng = np.random.default_rng(0)

    def split(size):
        x = rng.normal(size=(size, 6)).astype("float32")
        y = np.stack([x[:, 0], -x[:, 0], x[:, 1]])
        return ArraySplit(mtopt.Batch(x, y, rng.random((3, size)) < 0.9), None)

    splits = (split(32), split(8), split(8))
    scale = {"target_mean": np.zeros(3), "target_std": np.ones(3)}
    return Dataset("planted", NAMES, "regression", 1, None, *splits, **scale)


@functools.cache
def model(names=NAMES):
    return MODELS["mlp"](
        (6,),
        names=names,
        kind="regression",
        outputs=1,
        x_axis=None,
        dtype=jnp.float32,
        hidden=(4,),
        dropout=0.1,
    )


@functools.cache
def chain():
    return mtopt.chain(mtopt.mgda(3), optax.adam(1e-2))


@functools.cache
def program():
    return shared_program(model(), chain(), len(SEEDS))


def state_and_batch(built=None, seeds=SEEDS):
    built = built or program()
    keys = jax.vmap(jax.random.key)(jnp.array(seeds, jnp.uint32))
    batch = next(dataset().train.batches(8, seeds=seeds, start=0))
    return built.init(keys), batch


def test_the_compiled_step_is_the_one_that_there_is_without():
    """Of the same text as that of make_train_step alone, with them and without."""
    devices = mtopt.Devices(model().tasks)
    alone = devices.run(mtopt.make_train_step(model().tasks, chain()))

    def step(state, batch):
        state, metrics = alone(state, batch)
        return state, StepLosses.of(metrics)

    by_hand = jax.jit(map_models(step), donate_argnums=0)
    arguments = state_and_batch()
    text = by_hand.lower(*arguments).as_text()
    assert program().step.lower(*arguments).as_text() == text
    program().measure(*arguments)
    assert program().step.lower(*arguments).as_text() == text


@pytest.mark.parametrize("every", [7, 8])
def test_with_them_every_bit_is_that_of_training_without(tmp_path, every):
    known = {"seeds": SEEDS}
    plain = fit(program(), dataset(), SCHEDULE, tmp_path / "off", **known)
    told = known | {"diagnose_every": every}
    seen = fit(program(), dataset(), SCHEDULE, tmp_path / "on", **told)
    for one, other in zip(
        *(jax.tree.leaves((f.state.params, f.state.opt_state)) for f in (plain, seen)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    assert read_per_task(tmp_path / "off", "cosine")["step"].size == 0
    wanted = [every, 2 * every, 20]
    cosine = read_per_task(tmp_path / "on", "cosine")
    assert cosine["step"].tolist() == wanted
    assert cosine["values"].shape == (2, 3, 3, 3)
    assert read_per_task(tmp_path / "on", "descent")["values"].shape == (2, 3, 3)
    rank = read_per_model(tmp_path / "on", "rank")
    assert rank["step"].tolist() == wanted
    assert rank["values"].shape == (2, 3)
    # Weights and losses stand in every training record, those of diagnostics too.
    logged = sorted({8, 16, 20, *wanted})
    for name in ("loss", "weights"):
        assert read_per_task(tmp_path / "on", name)["step"].tolist() == logged
    # MGDA's weights are those of the very gradients beside them: all directions that
    # weigh are as steep.
    weights = read_per_task(tmp_path / "on", "weights")["values"]
    weights = weights[:, [logged.index(step) for step in wanted]]
    norm = read_per_task(tmp_path / "on", "norm")["values"]
    gramian = norm[..., :, None] * cosine["values"] * norm[..., None, :]
    gains = np.einsum("stij,stj->sti", gramian, weights)
    least = np.einsum("sti,sti->st", gains, weights)[..., None]
    np.testing.assert_allclose(weights * (gains - least), 0, atol=1e-4 * gramian.max())


def test_a_run_that_goes_on_measures_no_step_twice(tmp_path):
    told = {"seeds": SEEDS, "diagnose_every": 5}
    short = dataclasses.replace(SCHEDULE, steps=10)
    fit(program(), dataset(), short, tmp_path / "parts", **told)
    fit(program(), dataset(), SCHEDULE, tmp_path / "parts", **told)
    fit(program(), dataset(), SCHEDULE, tmp_path / "whole", **told)

    def measured(folder):
        records = read_records(tmp_path / folder / "metrics.jsonl")
        return [
            (r["step"], r["seed"], *(r[name] for name in RECORDED))
            for r in records
            if "norm" in r
        ]

    assert measured("parts") == measured("whole")
    assert [step for step, seed, *_ in measured("whole") if seed] == [5, 10, 15, 20]


def test_stacked_seeds_have_what_each_has_alone():
    state, batch = state_and_batch()
    found = program().measure(state, batch)
    assert set(found) == set(RECORDED)
    alone = mtopt.make_train_step(model().tasks, chain(), donate=False)
    for s in range(2):
        own, its = jax.tree.map(lambda leaf, s=s: leaf[s], (state, batch))
        new, _ = alone(own, its)
        key = jax.random.fold_in(own.key, own.step)
        problem = model().tasks.problem(its, key, own.model_state)
        updates = optax.tree.sub(new.params, own.params)
        wanted = analysis.diagnostics(problem.evaluate(own.params), updates)
        for name, values in found.items():
            np.testing.assert_allclose(
                values[s], getattr(wanted, name), rtol=2e-3, atol=1e-5, err_msg=name
            )


def test_parts_of_a_batch_give_the_diagnostics_of_the_whole():
    without_dropout = MODELS["mlp"](
        (6,),
        names=NAMES,
        kind="regression",
        outputs=1,
        x_axis=None,
        dtype=jnp.float32,
        hidden=(4,),
    )
    whole, parts = (
        shared_program(without_dropout, chain(), 1, micro_batches=m) for m in (1, 4)
    )
    arguments = state_and_batch(whole, seeds=(0,))
    one, other = (built.measure(*arguments) for built in (whole, parts))
    for name in RECORDED:
        np.testing.assert_allclose(one[name], other[name], rtol=2e-3, atol=1e-5)


def test_of_a_step_that_a_guard_skips_nothing_goes_anywhere():
    built = shared_program(model(), chain(), 1, on_nonfinite="skip_step")
    state, batch = state_and_batch(built, seeds=(0,))
    y = np.array(batch.y)
    y[0, 1, np.flatnonzero(batch.mask[0, 1])[0]] = np.inf
    found = built.measure(state, dataclasses.replace(batch, y=y))
    assert found["descent"][0, [0, 2]].tolist() == [0, 0]
    assert np.isfinite(found["norm"][0, [0, 2]]).all()


@pytest.mark.slow
def test_models_with_statistics_and_inputs_of_their_own_are_measured():
    resnet = tiny("resnet18", x_axis=0)
    built = shared_program(resnet, chain(), 1)
    batch = make_batch((8, 8, 1), "classification", 3, x_axis=0)
    state = built.init(jax.vmap(jax.random.key)(jnp.zeros(1, jnp.uint32)))
    found = built.measure(state, jax.tree.map(lambda leaf: leaf[None], batch))
    assert found["cosine"].shape == (1, 3, 3)
    assert (found["norm"] > 0).all()


def test_models_of_one_task_each_have_none(tmp_path):
    single = separate_program(
        model(("task",)),
        mtopt.chain(mtopt.equal_weighting(1), optax.sgd(0.1)),
        NAMES,
        1,
    )
    assert single.measure is None
    short = dataclasses.replace(SCHEDULE, steps=2)
    fit(single, dataset(), short, tmp_path, seeds=(0,), diagnose_every=1)
    assert not read_per_task(tmp_path, "norm")["values"].size
