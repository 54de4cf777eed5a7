"""QM9 as tfds prepares it, of a few molecules: units, scaling, training, scores."""

import functools

import jax
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import qm9
from mtopt.data.prepared.qm9 import FEATURES, MEV
from mtopt.errors import UserError
from mtopt.trained.description import ModelDescription
from mtopt.training.evaluate import evaluate, metric_tasks
from mtopt.training.fit import FitOptions, fit
from mtopt.training.program import shared_program
from tests.helpers.prepared import mocked

COUNTS = {"train": 24, "validation": 6, "test": 6}
MODEL = "message_passing(width=8, layers=1, basis=4)"


def molecule(example, i):
    """Of as many atoms as its number says, in an order that its labels tell."""
    size = 3 + i % 20
    charges = np.zeros(29, np.int64)
    charges[:size] = 1 + np.arange(size) % 9
    places = np.random.default_rng(i).normal(size=(29, 3)) * (charges > 0)[:, None]
    labels = {feature: np.float32(i + 1) for feature, _ in FEATURES.values()}
    atoms = {
        "charges": charges,
        "positions": places.astype(np.float32),
        "num_atoms": size,
    }
    return {**example, **atoms, **labels}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("prepared")
    mocked(place, "qm9/original", molecule, train=24)
    return mocked(place, "qm9/dimenet", molecule, **COUNTS)


def test_eleven_tasks_in_the_units_of_the_lineage(folder):
    data = qm9(folder=folder)
    assert data.tasks == (
        *("alpha", "cv", "g", "h", "homo", "lumo", "mu", "r2", "u", "u0", "zpve"),
    )
    energies = {"homo", "lumo", "zpve", "u0", "u", "h", "g"}
    unit = np.array([27211.386 if task in energies else 1 for task in data.tasks])
    numbers = np.arange(1, 25)
    np.testing.assert_allclose(data.target_mean, unit * numbers.mean(), rtol=1e-6)
    np.testing.assert_allclose(data.target_std, unit * numbers.std(), rtol=1e-6)
    assert (data.kind, data.outputs, data.x_axis) == ("regression", 1, None)
    (batch,) = data.test.in_order(6)
    assert batch.x.shape == (6, 29, 4)
    np.testing.assert_array_equal((batch.x[..., 0] > 0).sum(1), 3 + np.arange(6))
    np.testing.assert_array_equal(batch.x[2, :6, 0], [1, 2, 3, 4, 5, 0])
    places = np.random.default_rng(2).normal(size=(29, 3))
    np.testing.assert_allclose(batch.x[2, :5, 1:], places[:5], rtol=1e-6)


def test_a_variant_without_parts_is_divided(folder):
    data = qm9(variant="original", folder=folder)
    assert [part.size for part in (data.train, data.valid, data.test)] == [20, 2, 2]


def test_some_tasks(folder):
    data = qm9(tasks=("zpve", "mu"), folder=folder)
    assert data.tasks == ("mu", "zpve")
    np.testing.assert_allclose(data.target_mean, [12.5, 12.5 * MEV], rtol=1e-6)


def test_it_trains_and_errors_are_in_its_units(folder, tmp_path):
    data = qm9(folder=folder)
    model = ModelDescription.of(MODEL, data).model()
    tx = mtopt.chain(mtopt.mgda(11), optax.adam(1e-3))
    built = shared_program(model, tx, 1)
    schedule = FitOptions(
        steps=2, batch_size=8, eval_every=2, log_every=2, checkpoint_every=2
    )
    result = fit(built, data, schedule, tmp_path, seeds=(0,))
    assert np.isfinite(result.test.metrics).all()
    state = built.init(jax.vmap(jax.random.key)(np.zeros(1, "uint32")))
    predict = functools.partial(built.predict, state.params, state.model_state)
    found = evaluate(predict, data, data.test).metrics[0]
    (batch,) = data.test.in_order(6)
    outputs = np.asarray(predict(batch.x), np.float64)[0]
    truth = np.arange(1, 7) * np.array([FEATURES[t][1] for t in data.tasks])[:, None]
    wrong = outputs * data.target_std[:, None] + data.target_mean[:, None] - truth
    column = list(metric_tasks(data)).index("mae")
    np.testing.assert_allclose(found[:, column], abs(wrong).mean(1), rtol=1e-4)


def test_what_does_not_fit_is_told_in_a_line(folder):
    with pytest.raises(UserError, match="variant is 'pyg': expected one of"):
        qm9(variant="pyg", folder=folder)
    with pytest.raises(UserError, match="tfds build qm9/cormorant --file_format="):
        qm9(variant="cormorant", folder=folder)
    with pytest.raises(UserError, match="tasks names 'gap'"):
        qm9(tasks=("gap",), folder=folder)
