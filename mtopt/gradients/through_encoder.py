"""The gradients of tasks that act on one representation, without most of their rows."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mtopt.columns import along
from mtopt.gradients.outer_products import OuterProducts
from mtopt.gradients.program import Program
from mtopt.gradients.sites import Site, find_sites
from mtopt.gradients.task_gradients import TaskGradients
from mtopt.linalg import steepest

ROWS = ("auto", "always", "never")


def through_encoder(problem: Any, part: Any, params: Any) -> TaskGradients | None:
    r"""Takes the representation gradients of all tasks back through the encoder.

    Behind every matrix product with a parameter stands a zero that is added. One
    ``vmap`` of the backward pass gives the gradients with respect to these zeros, which
    with what the product read are all of the parameter's. Other parameters get their
    rows.

    Args:
      problem: a :class:`mtopt.Problem` whose tasks act on one representation.
      part: the :class:`mtopt.stacked_problem.StackedProblem` that has their encoder; it
        may be the problem.
      params: where to evaluate.

    Returns:
      The gradients; None where every parameter has its rows, as those of tasks with
      inputs of their own.
    """
    if part.tasks.x_axis is not None or part.tasks.rows == "always":
        return None
    num_tasks = len(problem.names)
    leaves, tree = jax.tree.flatten(params["shared"])
    steps = Program.of(lambda *leaves: part.features(tree.unflatten(leaves)), leaves)
    of_leaf = {
        leaf: sites
        for leaf, sites in find_sites(steps).items()
        if part.tasks.rows == "never" or cheaper(num_tasks, sites)
    }
    if not of_leaf:
        return None
    sites = {site.index: site for found in of_leaf.values() for site in found}

    places = {
        index: steps.operations[index].inputs[1 - site.operand]
        for index, site in sites.items()
    }

    def run(zeros: dict[int, Array], others: dict[int, Array]) -> tuple[Any, Any]:
        given = [others.get(index, leaf) for index, leaf in enumerate(leaves)]
        representation, found = steps.run(given, zeros, list(places.values()))
        return representation, dict(zip(places, map(jnp.asarray, found), strict=True))

    zeros = {
        index: jnp.zeros(site.output.shape, site.output.dtype)
        for index, site in sites.items()
    }
    others = {i: leaf for i, leaf in enumerate(leaves) if i not in of_leaf}
    representation, pull, read = jax.vjp(run, zeros, others, has_aux=True)
    gradients = problem.representation_gradients(params, representation)
    # What JAX pulls back is conjugate, on both sides.
    deltas, rows = steepest(jax.vmap(pull)(steepest(gradients)))

    def answer(index: int, leaf: Array) -> Any:
        if index not in of_leaf:
            return rows[index]
        found = of_leaf[index]
        activations = [along(0, site.as_matrix(read[site.index])) for site in found]
        own = [along(1, site.as_deltas(deltas[site.index])) for site in found]
        return OuterProducts(
            jnp.concatenate(activations),
            jnp.concatenate(own, axis=1),
            lambda matrix: found[0].to_parameter(matrix, leaf),
        )

    answers = [answer(index, leaf) for index, leaf in enumerate(leaves)]
    return TaskGradients(num_tasks, tree.unflatten(answers))


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
