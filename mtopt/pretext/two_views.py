"""Two random views of one graph, for the tasks that compare them."""

import dataclasses
from typing import Any

import jax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.data.graphs import Graph, Sampler, drop_edges, mask_columns
from mtopt.errors import expect, expect_one_of
from mtopt.models.gcn import Encoder

COLUMNS = ("independent", "union")


@dataclasses.dataclass(frozen=True)
class TwoViews:
    """How to sample a part of a graph, and make two views of it.

    Args:
      sample: the part.
      dropped_edges: the probability of an edge to be left out of a view, in [0, 1).
      masked_columns: the probability of a feature column to be zero in one, in [0, 1).
      columns: ``"independent"``: each view masks its own. ``"union"``: both lack what
        either masks, as in the released code of ParetoGNN, where the masks of both are
        written into one array.

    Raises:
      UserError: for a share out of range.
    """

    sample: Sampler
    dropped_edges: float | int
    masked_columns: float | int
    columns: str

    def __post_init__(self) -> None:
        expect_one_of("columns", self.columns, COLUMNS)
        for field in ("dropped_edges", "masked_columns"):
            value = getattr(self, field)
            expect(0 <= value < 1, field, value, "a share in [0, 1)")

    def encode(
        self, encoder: Encoder, shared: Any, graph: Graph, key: PRNGKeyArray
    ) -> dict[str, Any]:
        """Representations ``first`` and ``second`` of the ``real`` nodes of a part."""
        sample_key, *column_keys, first_key, second_key = jax.random.split(key, 5)
        part = self.sample(sample_key, graph)
        count = encoder.features
        masks = [mask_columns(k, count, self.masked_columns) for k in column_keys]
        if self.columns == "union":
            masks = [masks[0] & masks[1]] * 2

        def view(
            keep: Bool[Array, " F"], edge_key: PRNGKeyArray
        ) -> Float[Array, "N width"]:
            features = part.features.keep_columns(keep)
            seen = dataclasses.replace(part, features=features)
            seen = drop_edges(edge_key, seen, self.dropped_edges)
            return encoder.apply(shared["encoder"], seen)

        first, second = view(masks[0], first_key), view(masks[1], second_key)
        return {"first": first, "second": second, "real": part.node_mask}
