"""The gradients of tasks that act on one representation, by one pass through it."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtopt.columns import along, by_columns
from mtopt.gradients.outer_products import OuterProducts
from mtopt.gradients.program import Program
from mtopt.gradients.sites import Site, find_sites
from mtopt.gradients.task_gradients import TaskGradients
from mtopt.linalg import steepest
from mtopt.passes import WRITTEN_OUT, over_tasks, platform

ROWS = ("auto", "always", "never")
HEAVY = 2**24
"""Bytes that the operations of a forward pass make, in all."""


def through_encoder(problem: Any, part: Any, params: Any) -> TaskGradients | None:
    """The gradients of all tasks, without most of their rows.

    Args:
      problem: a :class:`mtopt.Problem` whose tasks act on one representation.
      part: the :class:`mtopt.stacked_problem.StackedProblem` that has their encoder; it
        may be the problem.
      params: where to evaluate.

    Returns:
      The gradients; None where a vmapped backward pass is all that is to be done, as
      for tasks with representations of their own.
    """
    if part.tasks.z_axis is not None or part.tasks.rows == "always":
        return None
    num_tasks = len(problem.names)
    encoder = Encoder.of(part, params).only(
        lambda sites: part.tasks.rows == "never" or cheaper(num_tasks, sites)
    )
    if encoder.is_vmapped(num_tasks):
        return None
    representation, pull = encoder.forward()
    return pull(problem.representation_gradients(params, representation))


def rows_through_encoder(
    problem: Any, part: Any, params: Any
) -> tuple[Float[Array, " K"], dict[str, Any]] | None:
    """Losses and gradients of all tasks, as ``losses_and_grads`` returns them.

    A layer's rows are written as one product, :meth:`OuterProducts.rows`. From a
    vmapped backward pass XLA gets them with the task axis in the middle, and whatever
    reads them task by task strides through the memory.

    Args:
      problem: as for :func:`through_encoder`.
      part: likewise.
      params: where to evaluate.

    Returns:
      None where a vmapped backward pass is all that is to be done.
    """
    if part.tasks.z_axis is not None:
        return None
    encoder = Encoder.of(part, params)
    if encoder.is_vmapped(len(problem.names)):
        return None
    representation, pull = encoder.forward()
    losses, heads, gradients = problem.losses_and_head_grads(params, representation)
    rows = by_columns(pull(gradients).rows())
    return losses, {"shared": rows, "tasks": heads}


class Encoder(NamedTuple):
    r"""An encoder with a zero behind every matrix product with a parameter.

    One ``vmap`` of the backward pass gives the gradients with respect to these zeros,
    which with what the product read are all of the parameter's. Other parameters get
    their rows.

    Attributes:
      program: what it does.
      leaves: the shared parameters.
      structure: their tree.
      sites: where some of them are multiplied, by their index.
    """

    program: Program
    leaves: list[Array]
    structure: Any
    sites: dict[int, list[Site]]

    @classmethod
    def of(cls, part: Any, params: Any) -> "Encoder":
        """The encoder of a problem.

        Args:
          part: a :class:`mtopt.stacked_problem.StackedProblem`.
          params: where to evaluate.
        """
        leaves, tree = jax.tree.flatten(params["shared"])

        def features(*own: Array) -> Any:
            return part.features({**params, "shared": tree.unflatten(own)})

        program = Program.of(features, leaves)
        return cls(program, leaves, tree, find_sites(program))

    def only(self, chosen: Callable[[Sequence[Site]], bool]) -> "Encoder":
        """The same, with rows for the parameters that are not chosen."""
        sites = {leaf: own for leaf, own in self.sites.items() if chosen(own)}
        return self._replace(sites=sites)

    def is_vmapped(self, num_tasks: int) -> bool:
        """Whether what it does is one vmapped backward pass for all rows."""
        return not self.sites and passes_of(self.program, num_tasks) == "vmap"

    def forward(self) -> tuple[Any, Callable[[Any], TaskGradients]]:
        """The representation, and from its gradients, of all tasks, to those of all."""
        of_index = {site.index: site for own in self.sites.values() for site in own}

        places = {
            index: self.program.operations[index].inputs[1 - site.operand]
            for index, site in of_index.items()
        }

        def run(zeros: dict[int, Array], others: dict[int, Array]) -> tuple[Any, Any]:
            given = [others.get(index, leaf) for index, leaf in enumerate(self.leaves)]
            z, found = self.program.run(given, zeros, list(places.values()))
            return z, dict(zip(places, map(jnp.asarray, found), strict=True))

        zeros = {
            index: jnp.zeros(site.output.shape, site.output.dtype)
            for index, site in of_index.items()
        }
        others = {i: p for i, p in enumerate(self.leaves) if i not in self.sites}
        representation, pull, read = jax.vjp(run, zeros, others, has_aux=True)

        def gradients(of_tasks: Any) -> TaskGradients:
            # What JAX pulls back is conjugate, on both sides.
            num_tasks = len(jax.tree.leaves(of_tasks)[0])
            each = over_tasks(pull, (0,), passes_of(self.program, num_tasks))
            deltas, rows = steepest(each(steepest(of_tasks)))
            answers = [
                self._products(i, read, deltas) if i in self.sites else rows[i]
                for i in range(len(self.leaves))
            ]
            return TaskGradients(num_tasks, self.structure.unflatten(answers))

        return representation, gradients

    def _products(
        self, leaf: int, read: dict[int, Array], deltas: dict[int, Array]
    ) -> OuterProducts:
        """The gradients of one parameter, of all its products together."""
        own, parameter = self.sites[leaf], self.leaves[leaf]
        return OuterProducts(
            jnp.concatenate(
                [along(0, site.as_matrix(read[site.index])) for site in own]
            ),
            jnp.concatenate(
                [along(1, site.as_deltas(deltas[site.index])) for site in own], axis=1
            ),
            lambda matrix: own[0].to_parameter(matrix, parameter),
            self.program.operations[own[0].index].params["precision"],
        )


def passes_of(program: Program, num_tasks: int) -> str:
    """How the tasks go back through an encoder; see :func:`mtopt.passes.over_tasks`.

    All at once, unless on a CPU a pass is :data:`HEAVY`: one after another then, so
    that memory holds what one of them makes. XLA:CPU's own convolutions are up to eight
    times slower in loops; those of at most :data:`mtopt.passes.WRITTEN_OUT` tasks are
    written out, in two thirds to three quarters of the time of all at once.

    Args:
      program: the encoder.
      num_tasks: K.
    """
    shapes = [shape for step in program.operations for shape in step.shapes]
    size = sum(math.prod(shape.shape) * shape.dtype.itemsize for shape in shapes)
    if platform() != "cpu" or size < HEAVY:
        return "vmap"
    if "conv_general_dilated" not in program.primitives:
        return "map"
    return "unroll" if num_tasks <= WRITTEN_OUT else "vmap"


def cheaper(num_tasks: int, sites: Sequence[Site]) -> bool:
    r"""Whether outer products of a parameter take fewer multiplications than its rows.

    With b samples, i inputs and o outputs of the parameter, outer products take
    :math:`b^2 i + K b^2 o + K^2 b o` for the Gramian and :math:`b i o` for a weighted
    sum; rows :math:`K b i o` to make them, and :math:`K^2 i o + K i o`.

    Args:
      num_tasks: K.
      sites: of the parameter.
    """
    _, i, o = sites[0].sizes
    b = sum(site.sizes[0] for site in sites)
    k = num_tasks
    products = b * b * i + k * b * b * o + k * k * b * o + b * i * o
    return products < k * b * i * o + k * k * i * o + k * i * o
