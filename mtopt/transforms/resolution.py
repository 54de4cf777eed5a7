"""Whether a model's precision resolves the step of sharpness-aware minimisation."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from mtopt.errors import UserError
from mtopt.options import is_traced
from mtopt.per_task import stacks
from mtopt.problem import Params, Problem


def expect_resolved(
    problem: Problem,
    params: Params,
    radii: dict[str, Any],
    *,
    adaptive: bool,
) -> None:
    r"""Raises where a model in half precision would not notice the perturbation.

    A weight of size s in bfloat16 is known to about s / 128, and a shorter step is lost
    in the rounding: what is left of the difference of two gradients is noise. Steps of
    length rho are resolved from

    .. math:: \rho \ge \varepsilon \|\theta\|

    on, with :math:`\varepsilon` of the coarsest type that the losses are computed in.
    While a program is traced nobody knows the parameters; the length that counts is
    that of matrices as they are usually initialised, with columns of length 1. In
    adaptive mode, where every parameter moves in units of its size, it is the root of
    their number.

    Args:
      problem: whose losses are computed.
      params: where.
      radii: the radius by the name of its option: ``"rho"`` for all parameters,
        ``"rho_shared"`` and ``"rho_task"`` for these. One that is traced is not looked
        at, nor is 0.
      adaptive: whether parameters move in units of their size.

    Raises:
      UserError: with the smallest radius that is resolved.
    """
    closed = jax.make_jaxpr(problem.losses)(params)
    types = {*_floats(closed.jaxpr), *_of_floats(closed.jaxpr.invars)}
    coarsest = max(types, key=lambda dtype: float(jnp.finfo(dtype).eps))
    if jnp.finfo(coarsest).bits > 16:
        return
    shared = [leaf.shape for leaf in jax.tree.leaves(params["shared"])]
    stack = stacks(params["tasks"])[:1]  # of several groups, one is enough to tell
    own = [leaf.shape[1:] for leaf in jax.tree.leaves(stack)]
    of = {"rho": shared + own, "rho_shared": shared, "rho_task": own}
    for name, radius in radii.items():
        if is_traced(radius):
            continue
        steps = np.ravel(radius)[np.ravel(radius) > 0]
        least = float(jnp.finfo(coarsest).eps) * _length(of[name], adaptive)
        if (steps < least).any():
            raise UserError(
                f"{name} is {steps.min():g}, and the model computes in "
                f"{coarsest.name}, where so short a step is lost in the rounding: "
                f"expected at least {least:.2g}, or parameters and a model in float32"
            )


def _length(shapes: list[tuple[int, ...]], adaptive: bool) -> float:
    if adaptive:
        return float(np.sqrt(sum(np.prod(shape) for shape in shapes)))
    return float(np.sqrt(sum(shape[-1] for shape in shapes if len(shape) > 1)))


def _floats(jaxpr: core.Jaxpr) -> Iterator[np.dtype]:
    """The types of all floating numbers that a program computes."""
    for equation in jaxpr.eqns:
        yield from _of_floats(equation.outvars)
        for inner in jax.tree.leaves(tuple(equation.params.values())):
            if isinstance(inner, core.ClosedJaxpr):
                inner = inner.jaxpr
            if isinstance(inner, core.Jaxpr):
                yield from _floats(inner)


def _of_floats(variables: Sequence[Any]) -> Iterator[np.dtype]:
    for variable in variables:
        dtype = getattr(variable.aval, "dtype", None)
        if dtype is not None and jnp.issubdtype(dtype, jnp.floating):
            yield dtype
