"""Registration of methods: a decorator, and the metadata that it stores.

A method is its file and one import line in ``mtopt/methods/__init__.py``. The registry,
the face of the package, the command line, the invariants, the table and the pages read
from these two.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mtopt.aggregation import Aggregator
from mtopt.errors import expect, expect_one_of

Method = Callable[..., Aggregator]

# What a method decides by, in the order of tables.
FAMILIES = {
    "baseline": "nothing",
    "losses": "losses",
    "gramian": "the Gramian",
    "gradients": "the gradients",
    "batches": "parts of the batch",
    "preference": "a preference",
}
TRAITS = ("mean-like", "non-conflicting", "random", "task-bound")


@dataclasses.dataclass(frozen=True)
class About:
    """The metadata of a method, for tables and tests.

    Attributes:
      family: what it decides by, a key of ``FAMILIES``.
      example: the number of tasks to a value for every option that has no default.
      traits: some of

        * ``"mean-like"``: identical tasks give their gradient, and K = 1 the plain one;
        * ``"non-conflicting"``: no task has a negative product with the direction;
        * ``"random"``: it draws random numbers for the tasks;
        * ``"task-bound"``: an option belongs to one task, so that order matters.
      fixed: its numeric options that cannot be traced, each with the reason.
    """

    family: str
    example: Callable[[int], Mapping[str, Any]]
    traits: frozenset[str]
    fixed: Mapping[str, str]


def method(
    *,
    family: str,
    example: Callable[[int], Mapping[str, Any]] = lambda num_tasks: {},
    traits: tuple[str, ...] = (),
    fixed: Mapping[str, str] | None = None,
) -> Callable[[Method], Method]:
    """Registers the factory of a method, ``(num_tasks, **options) -> Aggregator``.

    Args:
      family: see :class:`About`.
      example: see :class:`About`.
      traits: see :class:`About`.
      fixed: see :class:`About`.

    Raises:
      UserError: for an unknown family or trait.
    """
    expect_one_of("family", family, tuple(FAMILIES))
    for trait in traits:
        expect_one_of("trait", trait, TRAITS)
    own = About(family, example, frozenset(traits), dict(fixed or {}))

    def mark(factory: Method) -> Method:
        vars(factory)["about"] = own
        return factory

    return mark


def about(factory: Method) -> About:
    """The metadata of a method.

    Args:
      factory: a value of :data:`mtopt.METHODS`.

    Raises:
      UserError: for a function that :func:`method` does not mark.
    """
    expect("about" in vars(factory), "the method", factory, "one marked by @method")
    return vars(factory)["about"]


def registry(namespace: Mapping[str, Any]) -> dict[str, Method]:
    """The methods of a module by name, family by family.

    Args:
      namespace: what the module has imported.
    """
    found: dict[str, Any] = {
        name: value
        for name, value in namespace.items()
        if "about" in getattr(value, "__dict__", {})
    }
    families = list(FAMILIES)

    def place(name: str) -> tuple[int, str]:
        return families.index(about(found[name]).family), name

    return {name: found[name] for name in sorted(found, key=place)}
