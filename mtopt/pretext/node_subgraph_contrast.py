"""Node-subgraph contrast: which node of one view is which of the other?"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.data.graphs import Graph, Sampler, whole
from mtopt.errors import expect
from mtopt.models.gcn import Encoder
from mtopt.pretext.pretext import Pretext, apply_linear, init_linear
from mtopt.pretext.two_views import TwoViews


def node_subgraph_contrast(
    encoder: Encoder,
    *,
    sample: Sampler = whole,
    dropped_edges: float | int = 0.3,
    masked_columns: float | int = 0.3,
    temperature: float | int = 0.1,
    hidden: int = 512,
    columns: str = "independent",
) -> Pretext:
    r"""MI-NSG, or GRACE: finds every node of one view among those of both.

    With c the cosines of an MLP's outputs on views 1 and 2, and temperature
    :math:`\tau`,

    .. math::
       \ell_i^{12} = -\log \frac{e^{c^{12}_{ii}/\tau}}
         {\sum_j e^{c^{12}_{ij}/\tau} + \sum_{j \ne i} e^{c^{11}_{ij}/\tau}},
       \qquad L = \frac{1}{2n} \sum_i \left(\ell_i^{12} + \ell_i^{21}\right)

    Args:
      encoder: what is trained.
      sample: the part of the graph that a step sees. Time and memory grow with the
        square of its nodes; the released code's are those of
        :func:`mtopt.data.graphs.ego` with ``form="released"``.
      dropped_edges: the probability of an edge to be left out of a view, in [0, 1).
      masked_columns: of a feature column to be zero in a view, in [0, 1).
      temperature: tau, above 0.
      hidden: the width of the MLP's hidden layer.
      columns: whose columns are masked, ``"independent"`` or ``"union"`` as released;
        see :class:`mtopt.pretext.two_views.TwoViews`.

    Raises:
      UserError: for an option out of range.

    References:
      Ju et al., Multi-task Self-supervised Graph Neural Networks Enable Stronger Task
      Generalization, 2022, arXiv 2210.02016; Zhu et al., Deep Graph Contrastive
      Representation Learning, 2020, arXiv 2006.04131.
    """
    views = TwoViews(sample, dropped_edges, masked_columns, columns)
    expect(temperature > 0, "temperature", temperature, "a number above 0")
    expect(hidden >= 1, "hidden", hidden, "1 or more")

    def init(key: PRNGKeyArray) -> dict[str, Any]:
        first_key, second_key = jax.random.split(key)
        return {
            "first": init_linear(first_key, encoder.width, hidden),
            "second": init_linear(second_key, hidden, encoder.width),
        }

    def encode(shared: Any, graph: Graph, key: PRNGKeyArray) -> dict[str, Any]:
        return views.encode(encoder, shared, graph, key)

    def loss(head: Any, representation: Any, key: PRNGKeyArray) -> Float[Array, ""]:
        del key

        def project(h: Float[Array, "N D"]) -> Float[Array, "N D"]:
            return apply_linear(
                head["second"], jax.nn.relu(apply_linear(head["first"], h))
            )

        first, second = map(
            project, (representation["first"], representation["second"])
        )
        return contrast(first, second, representation["real"], temperature)

    return Pretext(init, encode, loss)


def contrast(
    first: Float[Array, "n D"],
    second: Float[Array, "n D"],
    real: Bool[Array, " n"],
    temperature: float | int,
) -> Float[Array, ""]:
    """The loss of :func:`node_subgraph_contrast`, on the outputs of its MLP.

    Args:
      first: of one view.
      second: of the other.
      real: False for padding, which takes no part.
      temperature: tau.

    Example:
      Two orthogonal nodes, the same in both views: log(1 + 2 exp(-1 / tau)).

      >>> u = jnp.eye(2)
      >>> round(float(contrast(u, u, jnp.ones(2, bool), 1.0)), 4)
      0.5514
    """
    first, second = _unit(first), _unit(second)
    across = first @ second.T / temperature
    loss = _one_way(first, across, real, temperature)
    loss += _one_way(second, across.T, real, temperature)
    total = jnp.where(real, loss, 0).sum()
    return total / (2 * jnp.maximum(real.sum(), 1))


def _one_way(
    own: Float[Array, "N D"],
    across: Float[Array, "N N"],
    real: Bool[Array, " N"],
    temperature: float | int,
) -> Float[Array, " N"]:
    """-log of the share of the same node in the other view, for every node."""
    within = own @ own.T / temperature
    others = real[None] & ~jnp.eye(len(real), dtype=bool)
    within = jnp.where(others, within, -jnp.inf)
    across_real = jnp.where(real[None], across, -jnp.inf)
    # Cosines are at most 1, so that the largest exponent is known.
    top = 1 / temperature
    total = jnp.exp(within - top).sum(axis=1) + jnp.exp(across_real - top).sum(axis=1)
    return top + jnp.log(jnp.where(real, total, 1)) - jnp.diagonal(across)


def _unit(rows: Float[Array, "N D"]) -> Float[Array, "N D"]:
    squares = (rows**2).sum(axis=1, keepdims=True)
    some = squares > 0
    return jnp.where(some, rows * jax.lax.rsqrt(jnp.where(some, squares, 1)), 0)
