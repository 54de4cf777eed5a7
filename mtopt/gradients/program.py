"""A function as a flat list of operations: all that leans on the inside of JAX.

``jax.make_jaxpr`` and ``jax.extend.core`` are public; what an equation holds is not
documented. ``tests/gradients/test_program.py`` says which part of it has changed where
another version of JAX breaks this file.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

COMPILED = ("jit", "pjit")  # what a compiled function within another is called
REMATERIALISED = ("checkpoint", "remat", "remat2")  # and one under jax.checkpoint


def primitives(jaxpr: Any) -> set[str]:
    """The names of all primitives of a program, those within its loops among them.

    Args:
      jaxpr: of ``jax.make_jaxpr`` or a trace.

    Example:
      >>> import jax.numpy as jnp
      >>> sorted(primitives(jax.make_jaxpr(jax.jit(jnp.sin))(1.0)))
      ['jit', 'sin']
    """
    own = {equation.primitive.name for equation in jaxpr.eqns}
    return own.union(*map(primitives, core.subjaxprs(jaxpr)))


class Operation(NamedTuple):
    """One primitive.

    Attributes:
      equation: what JAX knows of it.
      jaxpr: that the equation stands in.
      inputs: the places of what it reads.
      outputs: the places of what it makes.
      region: the innermost function under ``jax.checkpoint`` that it stands in, None in
        no such function.
    """

    equation: Any
    jaxpr: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    region: "Region | None"

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


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """One call of a function under ``jax.checkpoint``.

    Attributes:
      options: what ``jax.checkpoint`` was told.
    """

    options: dict[str, Any]

    @classmethod
    def of(cls, equation: Any) -> "Region":
        """The region that an equation opens."""
        return cls({name: equation.params[name] for name in ("policy", "prevent_cse")})


class Program(NamedTuple):
    """What a function does to some arrays, one primitive after another.

    Every array has a place, a number.

    Attributes:
      operations: in order; compiled functions, and those under ``jax.checkpoint``, are
        written out where they are called.
      arguments: the places of the arguments.
      results: the places of the results.
      structure: the tree of the results.
      constants: what stands in some places from the start.
      shapes: of what stands in every other place, with ``shape`` and ``dtype``.
      primitives: the names of all that it uses, those within its loops among them.
    """

    operations: tuple[Operation, ...]
    arguments: tuple[int, ...]
    results: tuple[int, ...]
    structure: Any
    constants: dict[int, Any]
    shapes: dict[int, Any]
    primitives: frozenset[str]

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
            frozenset(primitives(closed.jaxpr)),
        )

    def shape_of(self, place: int) -> Any:
        """The shape and dtype of what stands in a place."""
        if place in self.constants:
            return jax.eval_shape(lambda: self.constants[place])
        return self.shapes[place]

    def run(
        self, arguments: Sequence[Any], added: Mapping[int, Any], wanted: Sequence[int]
    ) -> tuple[Any, list[Any]]:
        """The results, and what else stands in some places.

        Operations that stood under ``jax.checkpoint`` stand under it again: what they
        make is kept for a backward pass where it is wanted or leaves their region.

        Args:
          arguments: their values.
          added: by the index of an operation, what is added to its first output.
          wanted: the places.
        """
        values = self.constants | dict(zip(self.arguments, arguments, strict=True))
        for stretch in self._stretches(wanted):
            run = functools.partial(stretch.run, self.constants)
            if stretch.region is not None:
                run = jax.checkpoint(run, **stretch.region.options)
            entering = {place: values[place] for place in stretch.entering}
            own = {
                index: added[index] for index, _ in stretch.numbered if index in added
            }
            values.update(zip(stretch.leaving, run(entering, own), strict=True))
        results = self.structure.unflatten([values[place] for place in self.results])
        return results, [values[place] for place in wanted]

    def _stretches(self, wanted: Sequence[int]) -> list["_Stretch"]:
        """The operations, cut where a region begins or ends."""
        read_later = {*self.results, *wanted}
        found = []
        numbered = list(enumerate(self.operations))
        cut = itertools.groupby(reversed(numbered), lambda pair: pair[1].region)
        for region, pairs in cut:
            own = list(pairs)[::-1]
            read = {place for _, each in own for place in each.inputs}
            made = [place for _, each in own for place in each.outputs]
            entering = sorted(read - self.constants.keys() - {*made})
            leaving = [place for place in made if place in read_later]
            found.append(_Stretch(region, own, entering, leaving))
            read_later |= read
        return found[::-1]


class _Stretch(NamedTuple):
    """Operations one after another that stand in one region, or in none.

    Attributes:
      region: in this one.
      numbered: the operations, each with its index in the program.
      entering: the places that they read and did not make, without constants.
      leaving: the places that are read after them.
    """

    region: Region | None
    numbered: list[tuple[int, Operation]]
    entering: list[int]
    leaving: list[int]

    def run(
        self,
        constants: Mapping[int, Any],
        entering: Mapping[int, Any],
        added: Mapping[int, Any],
    ) -> list[Any]:
        """What stands in the places that are read later."""
        values = {**constants, **entering}
        for index, operation in self.numbered:
            outputs = operation.run([values[place] for place in operation.inputs])
            if index in added:
                outputs = [outputs[0] + added[index], *outputs[1:]]
            values.update(zip(operation.outputs, outputs, strict=True))
        return [values[place] for place in self.leaving]


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

    def write(
        self, closed: Any, inputs: Sequence[int], region: Region | None = None
    ) -> list[int]:
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
                outputs = self.write(equation.params["jaxpr"], own, region)
            elif equation.primitive.name in REMATERIALISED:
                inner = core.ClosedJaxpr(equation.params["jaxpr"], ())
                outputs = self.write(inner, own, Region.of(equation))
            else:
                outputs = [self.new(variable.aval) for variable in equation.outvars]
                places = tuple(own), tuple(outputs)
                self.operations.append(Operation(equation, jaxpr, *places, region))
            found.update(zip(equation.outvars, outputs, strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _keep(self, value: Any) -> int:
        place = next(self._places)
        self.constants[place] = value
        return place
