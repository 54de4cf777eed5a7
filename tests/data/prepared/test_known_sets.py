"""Sets that tensorflow-datasets knows, mocked and prepared: they train and score."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tensorflow_datasets

import mtopt
from mtopt.data import tfds
from mtopt.errors import UserError
from mtopt.trained.description import ModelDescription
from mtopt.training.evaluate import evaluate
from mtopt.training.fit import FitOptions, fit
from mtopt.training.program import shared_program
from tests.helpers.prepared import mocked

SCHEDULE = FitOptions(
    steps=2, batch_size=4, eval_every=2, log_every=2, checkpoint_every=2
)
SETS = {
    "shapes3d": ({"train": 20}, {"tasks": "label_*"}),
    "dsprites": ({"train": 20}, {"tasks": ("label_shape", "value_*")}),
    "smallnorb": ({"train": 12, "test": 6}, {"tasks": "label_*"}),
    "celeb_a": (
        {"train": 8, "validation": 4, "test": 4},
        {"tasks": "attributes/*", "size": 16},
    ),
    "domainnet/real": ({"train": 8, "test": 4}, {"size": 16}),
}
TASKS = {"shapes3d": 6, "dsprites": 6, "smallnorb": 4, "celeb_a": 40}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("prepared")
    for name, (counts, _) in SETS.items():
        mocked(place, name, **counts)
    return mocked(place, "domainnet/sketch", train=10, test=5)


def scores(data, folder, model="mlp(hidden=(4,))"):
    """Those on the test part after two steps."""
    built = ModelDescription.of(model, data).model()
    tx = mtopt.chain(mtopt.mgda(len(data.tasks)), optax.adam(1e-3))
    result = fit(shared_program(built, tx, 1), data, SCHEDULE, folder, seeds=(0,))
    return result.test.metrics[0]


@pytest.mark.parametrize("name", SETS)
def test_a_mocked_set_trains_and_is_scored(folder, tmp_path, name):
    data = tfds(name=name, folder=folder, **SETS[name][1])
    assert len(data.tasks) == TASKS.get(name, 1)
    found = scores(data, tmp_path)
    # Of a class alone there is no AUC, which random labels may leave.
    assert np.isfinite(found).any(axis=1).all()


@pytest.mark.parametrize("on_device_bytes", [10**9, 0])
def test_two_domains_train_as_disjoint_tasks(folder, tmp_path, on_device_bytes):
    data = tfds(
        name="domainnet/real,domainnet/sketch",
        size=16,
        folder=folder,
        on_device_bytes=on_device_bytes,
    )
    assert (data.tasks, data.outputs) == (("domainnet/real", "domainnet/sketch"), 345)
    assert np.isfinite(scores(data, tmp_path)).all()


def test_kinds_of_a_stream_train_on_one_input(folder, tmp_path):
    """A model scores on a stream what it scores on the device."""
    options = {"name": "dsprites", "folder": folder, **SETS["dsprites"][1]}
    disk, device = tfds(**options, on_device_bytes=0), tfds(**options)
    assert [group.kind for group in disk.groups] == ["classification", "regression"]
    assert np.isfinite(scores(disk, tmp_path)).any(axis=1).all()
    model = ModelDescription.of("mlp(hidden=(4,))", disk).model()
    params, state = model.init(jax.random.key(0))

    def predict(x):
        outputs = model.predict(params, state, jnp.asarray(x))
        return jax.tree.map(lambda each: each[None], outputs)

    one, other = (evaluate(predict, data, data.test).metrics for data in (disk, device))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_images_of_several_sizes_ask_for_one(folder):
    with pytest.raises(UserError, match=r"several sizes, \(None, None, 3\).*size="):
        tfds(name="domainnet/real", folder=folder)


def test_a_configuration_has_to_be_named(folder):
    with pytest.raises(UserError, match=r"domainnet/real/1\.0\.0.*is there"):
        tfds(name="domainnet/clipart", size=16, folder=folder)


def test_the_default_folder_is_that_of_tfds(folder, monkeypatch):
    known = tensorflow_datasets.core.utils.file_utils
    monkeypatch.setattr(known, "list_data_dirs", lambda **_: [str(folder)])
    assert tfds(name="smallnorb").train.size == 11
