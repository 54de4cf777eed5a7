"""Prepared sets by the command: short flags, several kinds, several sets."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.helpers.commands import run_here
from tests.helpers.prepared import write

FLAGS = [
    "--experiment=tfds",
    "--method=equal_weighting",
    "--model=mlp(hidden=(8,))",
    "--config.steps=2",
    "--config.batch_size=8",
    "--config.eval_every=2",
    "--config.log_every=2",
    "--config.checkpoint_every=2",
    "--config.single_task=false",
]
FEATURES = {
    "image": tfds.features.Image(shape=(4, 4, 1)),
    "shape": tfds.features.ClassLabel(names=("ball", "cube")),
    "pose": {"angle": np.float32, "lit": np.bool_},
}


@pytest.fixture
def folder(tmp_path):
    """Images whose brightness is what all labels follow."""
    bright = np.random.default_rng(0).integers(256, size=40)
    examples = [
        {
            "image": np.full((4, 4, 1), b, np.uint8),
            "shape": int(b > 128),
            "pose": {"angle": b / 7, "lit": b > 60},
        }
        for b in bright
    ]
    for name in ("things", "toys"):
        write(tmp_path / "sets", name, FEATURES, {"train": examples})
    return tmp_path


def test_kinds_of_a_set_end_in_a_table(folder, monkeypatch, capfd):
    flags = [*FLAGS, "--dataset=things", "--tasks=shape,pose/*", "--data_dir=sets"]
    run_here(folder, monkeypatch, *flags, "--out=run")
    printed = capfd.readouterr().out
    for words in (
        "things: 3 groups of tasks, each on the same inputs",
        "Image (4, 4, 1), as it is stored",
        "rows       32 train, 4 valid, 4 test",
        "shape    40 labels, 0 missing, of 2 classes (0: ball, 1: cube)",
    ):
        assert words in printed
    stored = json.loads((folder / "run" / "data.json").read_text())
    kinds = {name: g["kind"] for g in stored["groups"] for name in g["tasks"]}
    assert kinds == {
        "pose/angle": "regression",
        "pose/lit": "binary",
        "shape": "classification",
    }
    config = json.loads((folder / "run" / "config.json").read_text())
    assert "tfds(name='things', tasks=('shape', 'pose/*'))" in json.dumps(config)


def test_two_sets_are_disjoint_tasks_of_a_run(folder, monkeypatch, capfd):
    flags = [*FLAGS, "--dataset=things,toys", "--tasks=shape", "--data_dir=sets"]
    run_here(folder, monkeypatch, *flags, "--out=run")
    printed = capfd.readouterr().out
    assert "things + toys: 2 tasks of kind classification" in printed
    assert "inputs   each task its own, uint8 (4, 4, 1)" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset=thing"], "tfds knows no set of that name"),
        (["--dataset=shapes3d"], "`tfds build shapes3d --file_format=array_record"),
        (["--dataset=things", "--tasks=shade"], "did you mean 'shape'"),
        (["--tasks=shape"], "--tasks names features of a set: expected --dataset=NAME"),
        ([], "name is None: expected a set of tfds"),
        (
            ["--dataset=tfds(name='things')", "--tasks=shape"],
            "--tasks names features of a set",
        ),
    ],
)
def test_what_is_not_there_ends_in_one_line(folder, monkeypatch, capfd, flags, message):
    with pytest.raises(SystemExit):
        run_here(folder, monkeypatch, *FLAGS, *flags, "--data_dir=sets")
    (said,) = capfd.readouterr().err.strip().splitlines()
    assert message in said
