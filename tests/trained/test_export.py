"""Trained models as files of their own: parameters, and programs without mtopt."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import mtopt
from mtopt.data import Dataset, from_frame, npz
from mtopt.models import MODELS
from mtopt.training.parameters import read_parameters, write_parameters
from tests.helpers.frames import planted
from tests.helpers.methods import over
from tests.helpers.models import OF_KIND
from tests.helpers.npz import disjoint, save
from tests.helpers.trained import trained

WITHOUT = """
import sys
sys.modules["mtopt"] = sys.modules["flax"] = None
import numpy as np, jax
program, inputs, out = sys.argv[1:]
call = jax.export.deserialize(bytearray(open(program, "rb").read())).call
given = dict(np.load(inputs))
np.savez(out, **call(given.pop("x") if "x" in given else given))
"""


def without_mtopt(folder, program, **inputs):
    """What the program gives in a process that has no mtopt."""
    np.savez(folder / "in.npz", **inputs)
    words = [program, folder / "in.npz", folder / "out.npz"]
    command = [sys.executable, "-c", WITHOUT, *map(str, words)]
    subprocess.run(command, check=True, timeout=300)
    return dict(np.load(folder / "out.npz"))


def test_a_program_without_mtopt_predicts_the_same(tmp_path):
    data = from_frame(planted(), ["size", "shape", "lit"], split="part")
    trained(tmp_path, data)
    model = mtopt.load(tmp_path)
    model.export(tmp_path / "model.jaxexport")
    x = model.encoding(planted())
    for rows in (slice(None), slice(3, 4)):
        found = without_mtopt(tmp_path, tmp_path / "model.jaxexport", x=x[rows])
        assert found.keys() == {"size", "shape", "lit"}
        sure = model.predict_proba(planted()[rows])
        for task, values in sure.items():
            np.testing.assert_allclose(found[task], values, rtol=1e-5, atol=1e-6)
        size = model.predict(planted()[rows])["size"]
        np.testing.assert_allclose(found["size"], size, rtol=1e-5)


def test_a_program_of_tasks_with_inputs_of_their_own(tmp_path):
    data = npz(save(tmp_path, **disjoint()))
    trained(tmp_path, data)
    model = mtopt.load(tmp_path)
    model.export(tmp_path / "model.jaxexport")
    raw = {task: np.ones((5, 2)) * k for k, task in enumerate(data.tasks)}
    x = {task: model.encoding(own) for task, own in raw.items()}
    found = without_mtopt(tmp_path, tmp_path / "model.jaxexport", **x)
    for task, values in model.predict(raw).items():
        np.testing.assert_allclose(found[task], values, rtol=1e-5)


QUICK = {"mlp", "lenet", "pooled_mlp", "ple", "transformer"}


@over(MODELS.keys() - OF_KIND.keys(), slow=MODELS.keys() - QUICK)
def test_every_model_exports(tmp_path, name):
    text = {
        "resnet18": "resnet18(width=4)",
        "mlp": "mlp(hidden=(8,))",
        "mtan": "mtan(network='resnet18(width=2)')",
        "transformer": "transformer(width=8, layers=1, pooling='low_rank')",
    }.get(name, name)
    rng = np.random.default_rng(0)
    own = {"pooled_mlp": (20,), "set_attention": (20,)}
    own |= {"message_passing": (5, 4), "transformer": (5, 4)}
    shape = own.get(name, (16, 16, 1))
    x = rng.normal(size=(16, *shape)).astype(np.float32)
    labels = {"a": np.arange(16) % 3, "b": np.arange(16) % 2}
    split = mtopt.data.ArraySplit(mtopt.Batch.shared(x, labels), x_axis=None)
    data = Dataset("own", ("a", "b"), "classification", 3, None, split, split, split)
    trained(tmp_path, data, text=text)
    model = mtopt.load(tmp_path)
    model.export(tmp_path / "model.jaxexport")
    call = jax.export.deserialize(
        bytearray((tmp_path / "model.jaxexport").read_bytes())
    ).call
    for task, values in model.predict_proba(x[:3]).items():
        np.testing.assert_allclose(call(x[:3])[task], values, rtol=1e-4, atol=1e-6)


def test_tokens_are_trained_on_stored_and_exported(tmp_path):
    """Integers as they are; floats are refused, which are no tokens."""
    x = np.random.default_rng(0).integers(0, 5, (16, 6)).astype(np.int32)
    split = mtopt.data.ArraySplit(
        mtopt.Batch.shared(x, {"first": x[:, 0] % 2}), x_axis=None
    )
    data = Dataset("own", ("first",), "binary", 1, None, split, split, split)
    trained(tmp_path, data, text="transformer(vocabulary=5, width=8, layers=1)")
    model = mtopt.load(tmp_path)
    sure = model.predict_proba(x[:3])["first"]
    model.export(tmp_path / "model.jaxexport")
    found = without_mtopt(tmp_path, tmp_path / "model.jaxexport", x=x[:3])["first"]
    np.testing.assert_allclose(found, sure, rtol=1e-4, atol=1e-6)
    with pytest.raises(mtopt.UserError, match=r"float32\[3, 6\]: expected int32"):
        model.predict(x[:3].astype(np.float32))


def test_parameters_stand_under_their_paths(tmp_path):
    data = from_frame(planted(), ["size", "lit"], split="part")
    _, fitted = trained(tmp_path, data, seeds=(0, 1))
    model = mtopt.load(tmp_path, seed=1)
    model.save(tmp_path / "new" / "model.safetensors")
    stored = load_file(tmp_path / "new" / "model.safetensors")
    flat = jax.tree_util.tree_leaves_with_path({"params": fitted.best.params})
    named = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)[1]
        for path, leaf in flat
    }
    assert stored.keys() == named.keys()
    for name, values in named.items():
        np.testing.assert_array_equal(stored[name], values)


def test_arrays_of_any_order_are_written_as_they_are(tmp_path):
    table = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    tree = {"f": np.asfortranarray(table), "t": table.T, "zero": np.float32(3)}
    write_parameters(tmp_path / "tree.safetensors", tree, {"a": "1", "b": "2"})
    found = read_parameters(tmp_path / "tree.safetensors", tree)
    for name, values in tree.items():
        np.testing.assert_array_equal(found[name], values)
    again = tmp_path / "again.safetensors"
    code = (
        "import sys, numpy as np; from pathlib import Path;"
        "from mtopt.training.parameters import write_parameters as write;"
        "t = np.arange(6.0, dtype=np.float32).reshape(2, 3);"
        "write(Path(sys.argv[1]), {'f': t, 't': t.T, 'zero': np.float32(3)},"
        "      {'a': '1', 'b': '2'})"
    )
    subprocess.run([sys.executable, "-c", code, str(again)], check=True, timeout=300)
    assert again.read_bytes() == (tmp_path / "tree.safetensors").read_bytes()
