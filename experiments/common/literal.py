"""Names as a picture shows them: letter by letter."""

import dataclasses

from .results import Comparison, MethodResult


def literal_name(name: str) -> str:
    r"""A name in which no dollar begins a formula.

    Matplotlib reads what stands between two dollars as mathematics, and raises where it
    is none.

    Example:
      >>> print(literal_name("from $ to $"))
      from \$ to \$
    """
    return name.replace("$", r"\$")


def literal(comparison: Comparison) -> Comparison:
    r"""The same comparison, with all names as of :func:`literal_name`.

    Example:
      >>> import numpy as np
      >>> ours = MethodResult("ours", np.zeros((1, 1, 1)), {})
      >>> prices = Comparison("it", ("$ to $",), ("rmse",), (False,), None, [ours])
      >>> literal(prices).task_names
      ('\\$ to \\$',)
    """

    def of(result: MethodResult) -> MethodResult:
        return dataclasses.replace(result, name=literal_name(result.name))

    return dataclasses.replace(
        comparison,
        experiment=literal_name(comparison.experiment),
        group=literal_name(comparison.group),
        task_names=tuple(map(literal_name, comparison.task_names)),
        baseline=of(comparison.baseline) if comparison.baseline else None,
        methods=list(map(of, comparison.methods)),
    )
