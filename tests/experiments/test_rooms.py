"""The rooms of the experiments: who imports whom, and the way of a value."""

import ast
import dataclasses
import importlib
import json
import re
import sys

import pytest

from experiments.common import runner
from experiments.common.config import Config, Optimizer, from_dict, to_dict
from experiments.common.experiment import (
    CONFIGURATIONS,
    EXPERIMENTS,
    PROJECTS,
    Experiment,
    find_experiment,
)
from experiments.console import PROGRAMS, usage
from tests.helpers.imports import MODULES, imported_by
from tests.helpers.repository import ROOT


def folder_of(module):
    """The folder in experiments that a module stands in; None for another one."""
    parts = module.split(".")
    known = parts[0] == "experiments" and len(parts) > 1
    return parts[1] if known and (ROOT / "experiments" / parts[1]).is_dir() else None


def test_the_imports_of_a_file_are_found():
    found = imported_by("experiments.robust_boosting.real.run")
    assert {"numpy", "mtopt.errors", "experiments.common.report"} <= found
    assert "experiments.robust_boosting.learners" in found
    assert "experiments.robust_boosting.real.report" in found


def test_no_project_imports_another_one():
    """Configurations are no project: their settings may be those of one."""
    crossing = [
        (module, other)
        for module in MODULES
        for other in imported_by(module)
        if folder_of(module) not in (None, "configurations")
        and folder_of(other) not in (None, "common", folder_of(module))
    ]
    assert crossing == []


def test_nothing_in_mtopt_imports_an_experiment():
    found = [
        (module, other)
        for module in MODULES
        if module.startswith("mtopt")
        for other in imported_by(module)
        if other.split(".")[0] in ("experiments", "mtopt_experiments")
    ]
    assert found == []


def test_within_the_package_imports_are_relative():
    """Installed, the package has another name."""
    absolute = [
        module
        for module, path in MODULES.items()
        if re.search(r"^\s*(from|import) experiments", path.read_text(), re.MULTILINE)
    ]
    assert absolute == []


def test_configurations_hold_get_config_alone():
    for name in CONFIGURATIONS:
        module = f"experiments.configurations.{name}"
        tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
        functions = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
        assert functions == ["get_config"], name


def test_projects_have_their_three_files():
    for path in PROJECTS.values():
        folder = ROOT.joinpath("experiments", *path.split("."))
        for name in ("config", "run", "report"):
            assert (folder / f"{name}.py").is_file()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_a_configuration_that_may_run(name):
    found = find_experiment(name)
    assert isinstance(found, Experiment)
    config = found.get_config()
    config.check()
    stored = json.loads(json.dumps(to_dict(config)))
    assert from_dict(found.get_config(), stored) == config


def test_every_program_has_its_module_and_its_line():
    for name, module in PROGRAMS.items():
        assert f"experiments.{module}" in MODULES
        (line,) = (line for line in usage().splitlines() if f"  {name} " in line)
        assert len(line.split(maxsplit=len(name.split()))) > 1


def stops():
    """The modules that the page names, in order."""
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    section = page.split("## The way of one value in five stops")[1]
    return re.findall(r"^\d\. `([\w.]+)`", section, re.MULTILINE)


def test_a_value_has_five_stops_each_imported_by_one_before():
    found = stops()
    assert len(found) == 5
    assert found[0] == "experiments.main"
    for i, stop in enumerate(found[1:], 1):
        assert any(stop in imported_by(before) for before in found[:i]), stop


def test_the_learning_rate_is_read_where_the_page_says():
    readers = set()

    def watched(kind, field):
        def read(self, name):
            if name == field:
                readers.add(sys._getframe(1).f_globals["__name__"])
            return object.__getattribute__(self, name)

        return type(kind.__name__, (kind,), {"__getattribute__": read})

    optimizer = watched(Optimizer, "learning_rate")(learning_rate=0.123)
    config = watched(Config, "optimizer")(
        data="multi_digits(num_train=64, num_valid=16, num_test=16)",
        model="mlp(hidden=(4,))",
        methods=("mgda",),
        optimizer=optimizer,
    )
    runner.prepare(config, "it", None)
    of_all = "experiments.common.fields"  # the check that every field goes through
    used = {"experiments.common.runner", "experiments.common.config"}
    assert readers == {of_all, *used}
    assert used <= set(stops())


def test_a_field_says_which_values_it_may_have():
    found = importlib.import_module("experiments.common.config")

    @dataclasses.dataclass(kw_only=True)
    class Own(found.TrainingConfig):
        rho: float = found.option(0.1, at_least=0, below=1)
        kind: str = found.option("left", one_of=("left", "right"))
        seeds: tuple[int, ...] = found.option((0,), entries=1, at_least=0)

    Own(methods=("mgda",)).check()
    for change, message in (
        ({"rho": 1.0}, "rho is 1.0: expected a number below 1"),
        ({"rho": float("inf")}, "rho is inf: expected a number below 1 and a finite"),
        ({"kind": "lefft"}, "kind is 'lefft': did you mean 'left'?"),
        ({"seeds": ()}, r"seeds is \(\): expected 1 or more entries"),
        ({"seeds": (1, -1)}, "seeds is -1: expected 0 or more"),
        ({"seeds": (1, 1)}, r"seeds is \(1, 1\): expected no entry twice"),
        ({"methods": ()}, r"methods is \(\): expected 1 or more entries"),
        ({"methods": ("mgda", "mgda()")}, "methods is .* expected no entry twice"),
        (
            {"optimizer": Optimizer(head_rate=-1.0)},
            "optimizer.head_rate is -1.0: expected",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            Own(**{"methods": ("mgda",), **change}).check()
