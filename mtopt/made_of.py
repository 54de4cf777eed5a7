"""What a transformation is made of: found in the closures of its functions.

optax keeps transformations as pairs of functions, and a chain as a function of them.
"""

import contextlib
import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

from mtopt.rule import greatest


def parts(transformation: Any) -> set[str]:
    """The names of the outermost functions that made a transformation."""
    return set(map(maker, functions(transformation)))


def modules(transformation: Any) -> set[str]:
    """The modules that a transformation's functions are from."""
    return {f.__module__ or "" for f in functions(transformation)}


def maker(function: types.FunctionType) -> str:
    """The name of the outermost function that made one."""
    return function.__qualname__.split(".")[0]


def least_losses(transformation: Any) -> Any:
    """The lowest losses that everything in a transformation takes.

    Args:
      transformation: a chain, an aggregator, or what optax made of them. Of options
        that ``optax.inject_hyperparams`` sets, the first values count.

    Returns:
      A number, an array ``[K]``, or None where any loss will do; see
      :class:`mtopt.Rule`.

    Example:
      >>> import mtopt, optax
      >>> least_losses(mtopt.chain(mtopt.scale_invariant(2), optax.adam(1e-3)))
      0.0
    """
    found = None
    for node in _nodes(transformation):
        found = greatest(found, getattr(node, "least_losses", None))
        if _is_injected(node):
            found = greatest(found, least_losses(_first_of(node)))
    return found


def learns_in_optax_chain(transformation: Any) -> bool:
    """Whether a rule that learns from the step stands in ``optax.chain``.

    There it is not told what the members behind it make of its update; nor is one of a
    :func:`mtopt.chain` that is a member of it.

    Args:
      transformation: any object.

    Example:
      >>> import mtopt, optax
      >>> famo = mtopt.chain(mtopt.famo(2), optax.clip(1.0))
      >>> learns_in_optax_chain(optax.chain(famo, optax.sgd(0.1)))
      True
      >>> learns_in_optax_chain(mtopt.chain(famo, optax.sgd(0.1)))
      False
    """
    return any(
        (node.__module__ or "").startswith("optax")
        and maker(node) in ("chain", "named_chain")
        and any(map(_learns, _nodes(node)))
        for node in functions(transformation)
    )


def functions(
    transformation: Any, but: str | None = None
) -> Iterator[types.FunctionType]:
    """The functions that a transformation is made of, those in closures included.

    Args:
      transformation: any object.
      but: a module whose functions' closures are left out.
    """
    found = _nodes(transformation, but)
    return (node for node in found if isinstance(node, types.FunctionType))


def _nodes(transformation: Any, but: str | None = None) -> Iterator[Any]:
    """Everything that a transformation holds, what stands in closures included."""
    seen: set[int] = set()
    waiting = [transformation]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, functools.partial):
            waiting += [node.func, *node.args, *node.keywords.values()]
        elif isinstance(node, tuple | list):
            waiting += node
        elif isinstance(node, dict):
            waiting += node.values()
        elif isinstance(node, types.MethodType):
            waiting += [node.__func__, getattr(node.__self__, "__dict__", {})]
        elif isinstance(node, types.FunctionType) and node.__module__ != but:
            for cell in node.__closure__ or ():
                with contextlib.suppress(ValueError):  # of a name not bound yet
                    waiting.append(cell.cell_contents)


def _learns(node: Any) -> bool:
    """Whether it is a rule that does; an aggregator's update has it in its closure."""
    return getattr(node, "after_step", None) is not None


def _is_injected(node: Any) -> bool:
    """Whether a function is the ``init`` of ``optax.inject_hyperparams``."""
    return (
        isinstance(node, types.FunctionType)
        and (node.__module__ or "").startswith("optax")
        and node.__qualname__.startswith("inject_hyperparams.")
        and node.__name__ == "init_fn"
    )


def _first_of(init: types.FunctionType) -> Any:
    """The transformation that injected options make before the first step."""
    own = inspect.getclosurevars(init).nonlocals
    schedules = own["sched_hps"].items()
    first = {name: schedule(schedule.init()) for name, schedule in schedules}
    return own["inner_factory"](**own["other_hps"], **own["numeric_hps"], **first)
