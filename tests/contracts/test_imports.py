"""Imports of the package point one way."""

from graphlib import CycleError, TopologicalSorter

import pytest

from tests.helpers.imports import MODULES, imported_by

# A room, or a module at the top, imports those before it alone.
ORDER = (
    "options",
    "errors",
    "imported",
    "kind",
    "pixels",
    "cache_folder",
    "arrays",
    "among_tasks",
    "columns",
    "long_products",
    "linalg",
    "simplex",
    "passes",
    "gradients",
    "beside",
    "floats",
    "constants",
    "per_task",
    "batch",
    "sample_axis",
    "deal",
    "heads",
    "nonfinite",
    "own_statistics",
    "points",
    "frozen",
    "evaluation",
    "prepare_evaluation",
    "scale_tasks",
    "rule",
    "made_of",
    "per_head",
    "average_parameters",
    "aggregation",
    "stationary",
    "problem",
    "mapped_problem",
    "scaled_problem",
    "task",
    "task_encoder",
    "stacked_problem",
    "grouped_problem",
    "micro_batches",
    "tasks",
    "linear_problem",
    "member",
    "chain",
    "step",
    "devices",
    "registry",
    "memory",
    "solvers",
    "methods",
    "transforms",
    "wrappers",
    "grammar",
    "loading",
    "__init__",
    "analysis",
    "data",
    "metrics",
    "boosting",
    "models",
    "merging",
    "pretext",
    "training",
    "trained",
)
OWN = [module for module in MODULES if module.startswith("mtopt.")]


def room(module):
    """The room of a module, or its own name where it stands at the top."""
    return module.split(".")[1]


def graph():
    """Every module of the package to those of it that it imports.

    The face of a package imports its modules, which may name their package to import
    one another: that is no circle.
    """
    found = {}
    for module in OWN:
        names = imported_by(module)
        faces = {f"{name}.__init__" for name in names}
        packages = {face for face in faces if module.startswith(face[:-8])}
        found[module] = ((names | faces) & set(OWN)) - packages
    return found


def test_no_module_imports_itself_in_the_end():
    assert len(list(TopologicalSorter(graph()).static_order())) == len(OWN)


def test_a_circle_is_found():
    with pytest.raises(CycleError):
        list(TopologicalSorter({"a": ["b"], "b": ["a"]}).static_order())


def test_rooms_import_the_rooms_before_them():
    assert {room(module) for module in OWN} == set(ORDER)
    place = {name: i for i, name in enumerate(ORDER)}
    backwards = [
        (module, other)
        for module, names in graph().items()
        for other in names
        if place[room(other)] > place[room(module)]
    ]
    assert backwards == []


def test_what_stands_in_a_chain_knows_no_model_and_no_data():
    chained = ("memory", "solvers", "methods", "transforms", "wrappers")
    unknown = ("step", "tasks", "data", "models", "training", "metrics", "pretext")
    found = [
        (module, other)
        for module, names in graph().items()
        for other in names
        if room(module) in chained and room(other) in unknown
    ]
    assert found == []
