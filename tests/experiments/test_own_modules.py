"""A model, a data set and a method of the user's own, by the module they are in."""

import importlib
import sys

import numpy as np
import pytest

import mtopt
from experiments.common.building import load_dataset
from mtopt.grammar import MethodText, joined_texts
from mtopt.imported import as_python, as_text, imported
from tests.helpers.commands import run_here
from tests.helpers.own_module import own_module

FLAGS = [
    "--experiment=npz",
    "--config.steps=6",
    "--config.eval_every=3",
    "--config.checkpoint_every=3",
    "--config.seeds=(0,)",
    "--config.single_task=false",
    "--dataset=mine:waves(samples=40)",
    "--model=mine:tiny(width=4)",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with ``mine.py``, from which Python imports."""
    with own_module(tmp_path, monkeypatch):
        yield tmp_path


def test_a_run_on_all_three_is_stored_and_found_again(folder, monkeypatch, capsys):
    methods = ["--method=mgda", "--method=normalize_rows + mine:last"]
    run_here(folder, monkeypatch, *FLAGS, *methods, "--out=run")
    assert "mine:tiny(width=4) on mine:waves(samples=40)" in " ".join(
        capsys.readouterr().out.split()
    )
    run_here(folder, monkeypatch, "--resume=run", "--config.steps=9")
    model = mtopt.load(folder / "run", method="normalize_rows + mine:last")
    found = model.predict(np.ones((3, 1), np.float32))
    assert {task: len(values) for task, values in found.items()} == {
        "cosine": 3,
        "sine": 3,
    }
    assert model.params["shared"]["layer"]["kernel"].shape == (1, 4)
    # Elsewhere, where Python does not find the module, it is one clear line.
    monkeypatch.delitem(sys.modules, "mine")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(folder)])
    monkeypatch.chdir(folder.parent)
    importlib.invalidate_caches()
    with pytest.raises(mtopt.UserError, match=r"no module 'mine' .* expected mine\.py"):
        mtopt.load(folder / "run", method="mgda")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("--model=mine:tinny", "has no 'tinny': did you mean 'tiny'?"),
        ("--model=nowhere:tiny", "no module 'nowhere' for the model 'nowhere:tiny'"),
        ("--model=mine:tiny(wide=3)", "has no option 'wide': known are dtype"),
        ("--model=mine:without_names", "unexpected keyword argument 'names'"),
        ("--model=sys:tiny", "sys has no 'tiny'"),
        ("--model=mine:nothing", "made a NoneType: expected a mtopt.models.Model"),
        ("--dataset=mine:nothing", "made a NoneType: expected a mtopt.data.Dataset"),
        ("--method=mine:waves", "made a Dataset: expected what mtopt.weighting"),
        ("--method=mine : last", "cannot read the method"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(
    folder, monkeypatch, capsys, changed, message
):
    name = changed.split("=")[0]
    flags = [flag for flag in FLAGS if not flag.startswith(f"{name}=")]
    if name != "--method":
        flags.append("--method=mgda")
    with pytest.raises(SystemExit) as stop:
        run_here(folder, monkeypatch, *flags, changed, "--out=run")
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "run").exists()


def test_they_stand_where_others_stand(folder):
    text = "join(mine:waves(samples=9), npz(path='a:b.npz'))"
    function = lambda *texts, pool=False: None  # noqa: E731
    assert joined_texts("data set", text, "join", function) == (
        ("mine:waves(samples=9)", "npz(path='a:b.npz')"),
        {},
    )
    assert load_dataset("mine:waves(samples=9)", None).train.size == 9
    method = MethodText.parse("log_losses(mine:last)")
    assert isinstance(method.build(3), mtopt.Aggregator)


@pytest.mark.parametrize(
    "text",
    [
        "a.b_c.d:e(f={'x:y': 1}) + log_losses(g:h)",
        "{1: 2}",
        "name(path='C:x')",
        "'a:b'",
        "a :b",
        "a: b",
        "mgda(normalize='l2')",
    ],
)
def test_names_of_modules_become_names_and_back(text):
    found = as_python(text)
    assert as_text(found) == text
    assert len(found) == len(text)
    changed = [old for old, new in zip(text, found, strict=True) if old != new]
    expected = [".", ".", ":", ":"] if text.startswith("a.b_c") else []
    assert changed == expected


@pytest.mark.parametrize("name", [":mine", "mine:", "..mine:it", "a b:it", "mine:a.b"])
def test_what_is_no_name_in_a_module_is_said(name):
    with pytest.raises(mtopt.UserError, match="expected MODULE:NAME"):
        imported("model", name)
