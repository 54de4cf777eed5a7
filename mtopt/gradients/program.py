"""A function as a flat list of operations: all that leans on the inside of JAX.

``jax.make_jaxpr`` and ``jax.extend.core`` are public; what an equation holds is not
documented. ``tests/gradients/test_program.py`` says which part of it has changed where
another version of JAX breaks this file.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

COMPILED = ("jit", "pjit")  # what a compiled function within another is called


class Operation(NamedTuple):
    """One primitive.

    Attributes:
      equation: what JAX knows of it.
      jaxpr: that the equation stands in.
      inputs: the places of what it reads.
      outputs: the places of what it makes.
    """

    equation: Any
    jaxpr: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of the primitive."""
        return self.equation.primitive.name

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the primitive."""
        return self.equation.params

    @property
    def shapes(self) -> list[Any]:
        """What stands in the outputs, with ``shape`` and ``dtype``."""
        return [variable.aval for variable in self.equation.outvars]

    def run(self, values: Sequence[Any]) -> Sequence[Any]:
        """The values of the outputs.

        Args:
          values: of the inputs.
        """
        pairs = zip(self.equation.invars, values, strict=True)
        free = [pair for pair in pairs if not isinstance(pair[0], core.Literal)]
        alone = self.jaxpr.replace(
            constvars=(),
            invars=[variable for variable, _ in free],
            outvars=self.equation.outvars,
            eqns=[self.equation],
            effects=self.equation.effects,
            debug_info=self.jaxpr.debug_info.with_unknown_names(),
        )
        function = core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))
        return function(*(value for _, value in free))


class Program(NamedTuple):
    """What a function does to some arrays, one primitive after another.

    Every array has a place, a number.

    Attributes:
      operations: in order; compiled functions are written out where they are called.
      arguments: the places of the arguments.
      results: the places of the results.
      structure: the tree of the results.
      constants: what stands in some places from the start.
      shapes: of what stands in every other place, with ``shape`` and ``dtype``.
    """

    operations: tuple[Operation, ...]
    arguments: tuple[int, ...]
    results: tuple[int, ...]
    structure: Any
    constants: dict[int, Any]
    shapes: dict[int, Any]

    @classmethod
    def of(cls, function: Callable[..., Any], arguments: Sequence[Any]) -> "Program":
        """The operations of a function.

        Args:
          function: of some arrays, to a tree of arrays.
          arguments: the arrays.
        """
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
        writer = _Writer()
        first = [writer.new(aval) for aval in closed.in_avals]
        results = writer.write(closed, first)
        return cls(
            tuple(writer.operations),
            tuple(first),
            tuple(results),
            jax.tree.structure(shape),
            writer.constants,
            writer.shapes,
        )

    def shape_of(self, place: int) -> Any:
        """The shape and dtype of what stands in a place."""
        if place in self.constants:
            return jax.eval_shape(lambda: self.constants[place])
        return self.shapes[place]

    def mentions(self, name: str) -> bool:
        """Whether a primitive is among the operations, or in one of them.

        Args:
          name: of the primitive.
        """
        return any(f" {name}[" in f" {step.equation}" for step in self.operations)

    def run(
        self,
        arguments: Sequence[Any],
        after: Callable[[int, list[Any], Sequence[Any]], Sequence[Any]],
    ) -> Any:
        """The results, with a hand on every operation.

        Args:
          arguments: their values.
          after: ``(index of the operation, its inputs, its outputs) -> outputs``.
        """
        values = self.constants | dict(zip(self.arguments, arguments, strict=True))
        for index, operation in enumerate(self.operations):
            inputs = [values[place] for place in operation.inputs]
            outputs = after(index, inputs, operation.run(inputs))
            values.update(zip(operation.outputs, outputs, strict=True))
        return self.structure.unflatten([values[place] for place in self.results])


class _Writer:
    """Writes the operations of a jaxpr, and of those that it calls, into one list."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.constants: dict[int, Any] = {}
        self.shapes: dict[int, Any] = {}
        self._places = itertools.count()

    def new(self, shape: Any) -> int:
        """A place for what an operation makes."""
        place = next(self._places)
        self.shapes[place] = shape
        return place

    def write(self, closed: Any, inputs: Sequence[int]) -> list[int]:
        """Appends a jaxpr's operations on some places; returns where its results are.

        One jaxpr may be called several times, each time on other places.
        """
        jaxpr = closed.jaxpr
        found = dict(zip(jaxpr.constvars, map(self._keep, closed.consts), strict=True))
        found |= dict(zip(jaxpr.invars, inputs, strict=True))

        def read(variable: Any) -> int:
            if isinstance(variable, core.Literal):
                return self._keep(variable.val)
            return found[variable]

        for equation in jaxpr.eqns:
            own = [read(variable) for variable in equation.invars]
            if equation.primitive.name in COMPILED:
                outputs = self.write(equation.params["jaxpr"], own)
            else:
                outputs = [self.new(variable.aval) for variable in equation.outvars]
                places = tuple(own), tuple(outputs)
                self.operations.append(Operation(equation, jaxpr, *places))
            found.update(zip(equation.outvars, outputs, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _keep(self, value: Any) -> int:
        place = next(self._places)
        self.constants[place] = value
        return place
