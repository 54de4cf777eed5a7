"""Where a function multiplies its parameters with activations, and with nothing else.

There a task's gradient is a sum of outer products over the samples, which need not be
written out to be multiplied with another's.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mtopt.gradients.program import Operation, Program

# What moves the entries of an array about, or rounds them, and does no more.
MOVES = (
    "broadcast_in_dim",
    "convert_element_type",
    "expand_dims",
    "reshape",
    "squeeze",
    "transpose",
)


class Site(NamedTuple):
    r"""A matrix product of a parameter, :math:`Y = A W` in the end.

    Attributes:
      index: of the operation in the program.
      moves: what was made of the parameter before, from the first operation to the
        last.
      operand: which of the two factors the parameter is.
      contracted: the axes of the activation that are summed over.
      own_contracted: those of the moved parameter.
      own_shape: of the moved parameter.
      activation: the shape of the activation.
      output: what the product is, with ``shape`` and ``dtype``.
    """

    index: int
    moves: tuple[Operation, ...]
    operand: int
    contracted: tuple[int, ...]
    own_contracted: tuple[int, ...]
    own_shape: tuple[int, ...]
    activation: tuple[int, ...]
    output: Any

    @property
    def form(self) -> Any:
        """Equal where the outer products of two sites may be added up."""
        moves = repr([(move.name, move.params) for move in self.moves])
        return moves, self.own_contracted, self.own_shape

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The numbers b, i and o of the product ``[b, i] [i, o]``."""
        inputs = math.prod(self.own_shape[axis] for axis in self.own_contracted)
        outputs = math.prod(self.own_shape) // max(inputs, 1)
        return math.prod(self.activation) // max(inputs, 1), inputs, outputs

    def as_matrix(self, activation: Array) -> Float[Array, "b i"]:
        """The activation as A."""
        free = [a for a in range(activation.ndim) if a not in self.contracted]
        moved = activation.transpose((*free, *self.contracted))
        return moved.reshape(self.sizes[:2])

    def as_deltas(self, gradients: Array) -> Float[Array, "K b o"]:
        """The gradients of the tasks with respect to the product, as those by Y."""
        rows, _, outputs = self.sizes
        if self.operand == 1:
            return gradients.reshape(-1, rows, outputs)
        return gradients.reshape(-1, outputs, rows).swapaxes(1, 2)

    def to_parameter(self, matrix: Float[Array, "i o"], parameter: Any) -> Array:
        """The gradient by the parameter, from the one by W."""
        free = [a for a in range(len(self.own_shape)) if a not in self.own_contracted]
        order = [*self.own_contracted, *free]
        moved = matrix.reshape([self.own_shape[axis] for axis in order])
        moved = moved.transpose(np.argsort(order))

        def move(value: Array) -> Array:
            for step in self.moves:
                (value,) = step.run([value])
            return value

        shape = jax.eval_shape(move, parameter)
        (back,) = jax.linear_transpose(move, parameter)(moved.astype(shape.dtype))
        return back


def find_sites(program: Program) -> dict[int, list[Site]]:
    """The sites of every argument that is used in such products alone.

    Args:
      program: whose arguments are the parameters.

    Returns:
      For the index of an argument, all sites where it is used; of equal form.
    """
    of_place: dict[int, tuple[int, tuple[Operation, ...]]] = {
        place: (index, ()) for index, place in enumerate(program.arguments)
    }
    found: dict[int, list[Site]] = {}
    otherwise = {of_place[p][0] for p in program.results if p in of_place}
    for index, operation in enumerate(program.operations):
        own = [place in of_place for place in operation.inputs]
        if not any(own):
            continue
        users = {of_place[p][0] for p in operation.inputs if p in of_place}
        operand = own.index(True)
        leaf, moves = of_place[operation.inputs[operand]]
        if len(own) == 1 and _only_moves(program, operation):
            of_place[operation.outputs[0]] = (leaf, (*moves, operation))
            continue
        site = _site(program, index, operand, moves) if sum(own) == 1 else None
        if site is None:
            otherwise |= users
        else:
            found.setdefault(leaf, []).append(site)
    return {
        leaf: sites
        for leaf, sites in found.items()
        if leaf not in otherwise and len({site.form for site in sites}) == 1
    }


def _only_moves(program: Program, operation: Operation) -> bool:
    """Whether an operation of one input keeps its entries, each in one place."""
    if operation.name not in MOVES:
        return False
    before = program.shape_of(operation.inputs[0])
    after = operation.shapes[0]
    kept = math.prod(before.shape) == math.prod(after.shape)
    return kept and jnp.issubdtype(after.dtype, jnp.floating)


def _site(
    program: Program, index: int, operand: int, moves: Sequence[Operation]
) -> Site | None:
    """The product that an operation is, if it is one."""
    operation = program.operations[index]
    if operation.name != "dot_general" or len(operation.inputs) != 2:
        return None
    contracted, batched = operation.params["dimension_numbers"]
    shapes = [program.shape_of(place) for place in operation.inputs]
    if any(batched) or not all(jnp.issubdtype(s.dtype, jnp.floating) for s in shapes):
        return None
    # Axes in the order in which they are summed over, which both factors have alike.
    return Site(
        index,
        tuple(moves),
        operand,
        tuple(contracted[1 - operand]),
        tuple(contracted[operand]),
        tuple(shapes[operand].shape),
        tuple(shapes[1 - operand].shape),
        operation.shapes[0],
    )
