"""Names as a picture shows them: letter by letter."""

import dataclasses

from .results import Comparison, MethodResult


def literal(comparison: Comparison) -> Comparison:
    r"""The same comparison, with names in which no dollar begins a formula.

    Matplotlib reads what stands between two dollars as mathematics, and raises where it
    is none.

    Example:
      >>> import numpy as np
      >>> ours = MethodResult("ours", np.zeros((1, 1, 1)), {})
      >>> prices = Comparison("it", ("$ to $",), ("rmse",), (False,), None, [ours])
      >>> literal(prices).task_names
      ('\\$ to \\$',)
    """

    def plain(name: str) -> str:
        return name.replace("$", r"\$")

    def of(result: MethodResult) -> MethodResult:
        return dataclasses.replace(result, name=plain(result.name))

    return dataclasses.replace(
        comparison,
        experiment=plain(comparison.experiment),
        group=plain(comparison.group),
        task_names=tuple(map(plain, comparison.task_names)),
        baseline=of(comparison.baseline) if comparison.baseline else None,
        methods=list(map(of, comparison.methods)),
    )
