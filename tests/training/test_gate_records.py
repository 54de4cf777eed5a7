"""What gates do, in the records of a run: every gate, and dead experts by name."""

import dataclasses
import functools

import jax
import numpy as np
import optax

import mtopt
from mtopt.data import related_tasks
from mtopt.models import MODELS, join
from mtopt.training.fit import FitOptions, fit
from mtopt.training.loop import read_per_model, read_per_task
from mtopt.training.program import shared_program
from mtopt.training.writer import read_records
from tests.helpers.close import assert_close

SEEDS = (0, 1)
SCHEDULE = FitOptions(
    steps=6, batch_size=8, eval_every=6, log_every=4, checkpoint_every=6
)


@functools.cache
def dataset():
    return related_tasks(features=4, num_train=32, num_valid=8, num_test=8)


def mmoe(**options):
    names = dataset().tasks
    options = {"experts": 3, "hidden": (5,), **options}
    return MODELS["mmoe"]((4,), names=names, kind="regression", outputs=1, **options)


def planted(dead):
    """A mixture whose expert ``dead`` is 0 for every sample."""
    made = mmoe()

    def init(key):
        params, state = made.init(key)
        layer = params["shared"]["stack"]["layers"][0]
        layer["bias"] = layer["bias"].at[dead].set(-1e3)
        return params, state

    return dataclasses.replace(made, init=init)


def program(model):
    tx = mtopt.chain(mtopt.equal_weighting(4), optax.sgd(1e-3))
    return shared_program(model, tx, len(SEEDS))


def test_records_have_what_gates_do_and_name_dead_experts(tmp_path):
    fit(
        program(planted(1)),
        dataset(),
        SCHEDULE,
        tmp_path,
        seeds=SEEDS,
        diagnose_every=3,
    )
    mass = read_per_task(tmp_path, "gate_mass/head")
    assert mass["step"].tolist() == [3, 6]
    assert mass["tasks"].tolist() == list(dataset().tasks)
    assert mass["values"].shape == (2, 2, 4, 3)
    assert_close(mass["values"].sum(axis=-1), np.ones((2, 2, 4)), rtol=1e-5)
    entropy = read_per_task(tmp_path, "gate_entropy/head")["values"]
    assert (entropy > 0).all()
    assert (entropy < np.log(3) + 1e-6).all()
    agreement = read_per_task(tmp_path, "gate_agreement/head")["values"]
    assert_close(agreement, np.swapaxes(agreement, -1, -2), rtol=1e-6)
    units = read_per_model(tmp_path, "dead_units")["values"]
    assert (units >= 1 / 3 - 1e-6).all()
    measured = [
        record
        for record in read_records(tmp_path / "metrics.jsonl")
        if "dead_experts" in record
    ]
    assert len(measured) == 4
    assert all(record["dead_experts"] == ["expert 1"] for record in measured)


def test_the_numbers_are_those_of_the_state_before_the_step():
    model = mmoe()
    built = program(model)
    state = built.init(jax.vmap(jax.random.key)(np.array(SEEDS, "u4")))
    batch = next(dataset().train.batches(8, seeds=SEEDS))
    found = built.measure(state, batch)
    for s in range(2):
        params = jax.tree.map(lambda leaf, s=s: leaf[s], state.params)
        own = model.mixtures(params, {}, batch.x[s]).weights["head"]
        assert_close(found["gate_mass/head"][s], own.mean(axis=1), rtol=1e-5)


def test_models_without_gates_and_joined_ones_are_measured_as_before():
    mlp = functools.partial(MODELS["mlp"], (4,), kind="binary", outputs=1, hidden=(3,))
    joint = join([mlp(names=("a",)), mlp(names=("b",))], shared_inputs=True)
    for model in (mlp(names=dataset().tasks), joint):
        tasks = model.tasks.names
        tx = mtopt.chain(mtopt.equal_weighting(len(tasks)), optax.sgd(1e-3))
        built = shared_program(model, tx, 1)
        x = np.ones((1, 6, 4), np.float32)
        y = np.zeros((1, len(tasks), 6), np.int32)
        batch = mtopt.Batch(x, y, np.ones(y.shape, bool))
        if model is joint:
            parts = [y[:, :1], y[:, 1:]]
            real = tuple(np.ones(part.shape, bool) for part in parts)
            batch = mtopt.Batch(x, tuple(parts), real)
        state = built.init(jax.vmap(jax.random.key)(np.zeros(1, "u4")))
        found = jax.eval_shape(built.measure, state, batch)
        assert not any("gate" in name for name in found)
