"""Shared parameters as constants: what ``encode`` reads, and nothing changes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from mtopt.errors import UserError, close_to
from mtopt.floats import filled, has_gaps

Where = str | Sequence[str] | Callable[[str], bool]


def freeze(model: Any, params: Any, where: Where) -> tuple[Any, Any, Any]:
    r"""Takes parameters that are not to be trained out of those that are.

    With :math:`\theta = (\theta_t, c)`, a step is one of :math:`\theta_t` alone: its
    rows, solve, optimizer state and backward passes are those of a model in which
    :math:`c` is written as numbers. Freezing behind an aggregator, by
    ``optax.freeze``, leaves the rows of :math:`c` in the solve.

    Args:
      model: what encodes with them: a :class:`mtopt.models.Model`, whose frozen modules
        then run as in evaluation, BatchNorm on its running statistics and without
        dropout; or :class:`mtopt.Tasks`, which stay as they are.
      params: ``{"shared": tree, "tasks": PerTask}``.
      where: of the shared parameters: a path such as ``"body"`` or ``"layers.0"``, for
        all below it, or several, or ``path -> bool`` of every array. What has no
        parameters, as dropout, is frozen with the module that holds it.

    Returns:
      The model, the parameters with None in place of what is frozen, and the constants:
      the shared parameters with None in place of all else. They are for
      ``TrainState.create(params, tx, key, model_state, constants)``, or for
      ``tasks.problem(batch, key, model_state, constants)``.

    Raises:
      UserError: for a path that names nothing, or where nothing is frozen; for
        parameters with gaps, which were frozen before; for a model whose frozen modules
        would go on averaging over batches.

    Example:
      >>> import jax.numpy as jnp, mtopt, optax
      >>> def encode(shared, x, key):
      ...     return jnp.tanh(x @ shared["body"]) @ shared["adapter"]
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head - y) ** 2, mask)
      >>> tasks = mtopt.Tasks(("a", "b"), encode, head_loss)
      >>> params = {"shared": {"body": jnp.ones((3, 4)), "adapter": jnp.ones((4, 2))},
      ...           "tasks": mtopt.PerTask(jnp.ones((2, 2)), tasks.names)}
      >>> tasks, params, constants = freeze(tasks, params, "body")
      >>> jax.tree.map(jnp.shape, (params["shared"], constants))
      ({'adapter': (4, 2), 'body': None}, {'adapter': None, 'body': (3, 4)})
      >>> tx = mtopt.chain(mtopt.mgda(2), optax.adam(1e-2))
      >>> state = mtopt.TrainState.create(
      ...     params, tx, jax.random.key(0), constants=constants)
      >>> batch = mtopt.Batch.shared(
      ...     jnp.eye(3), {"a": jnp.ones(3), "b": jnp.array([1., 2., 3.])})
      >>> state, _ = mtopt.make_train_step(tasks, tx)(state, batch)
      >>> whole = thaw(state.params, state.constants)
      >>> bool((whole["shared"]["body"] == 1).all()), whole["shared"]["adapter"].shape
      (True, (4, 2))
    """
    shared = _shared_of(params)
    leaves, tree = jax.tree_util.tree_flatten_with_path(shared)
    paths = [jax.tree_util.keystr(p, simple=True, separator=".") for p, _ in leaves]
    chosen = _chosen(paths, where)
    values = [value for _, value in leaves]
    kept = [None if own else value for own, value in zip(chosen, values, strict=True)]
    held = [value if own else None for own, value in zip(chosen, values, strict=True)]
    frozen_at = getattr(model, "frozen_at", None)
    if frozen_at is not None:
        model = frozen_at(
            [path for own, path in zip(chosen, paths, strict=True) if own]
        )
    return model, {**params, "shared": tree.unflatten(kept)}, tree.unflatten(held)


def thaw(params: Any, constants: Any) -> Any:
    """Puts constants back among the parameters, as :func:`freeze` found them.

    Args:
      params: with None in place of what is frozen.
      constants: that, with None in place of all else; None for none.

    Example:
      >>> thaw({"shared": {"a": 1.0, "b": None}}, {"a": None, "b": 2.0})
      {'shared': {'a': 1.0, 'b': 2.0}}
    """
    if constants is None:
        return params
    return {**params, "shared": whole(params["shared"], constants)}


def whole(shared: Any, constants: Any) -> Any:
    """The shared parameters with constants where these have gaps.

    Args:
      shared: with None in place of what is frozen.
      constants: that, with None in place of all else; None for none.

    Raises:
      UserError: as :func:`check_constants`.
    """
    if constants is not None:
        check_constants(shared, constants)
    return filled(shared, constants)


def check_constants(shared: Any, constants: Any) -> None:
    """Raises unless constants stand where parameters have gaps, and nowhere else.

    Args:
      shared: with None in place of what is frozen.
      constants: that, with None in place of all else.

    Raises:
      UserError: naming a path that both have, or saying that the trees are others.
    """
    trees = [_places(tree) for tree in (shared, constants)]
    if trees[0].keys() != trees[1].keys():
        path = sorted(trees[0].keys() ^ trees[1].keys())[0]
        raise UserError(
            f"constants are of another tree than params['shared'], of which one alone "
            f"has {path!r}: expected both as mtopt.freeze returned them"
        )
    both = [p for p, own in trees[0].items() if not (own or trees[1][p])]
    if both:
        raise UserError(
            f"{both[0]!r} stands in params['shared'] and in the constants: expected "
            "the parameters that mtopt.freeze returned, with a gap there"
        )


def _places(tree: Any) -> dict[str, bool]:
    """Every path, and whether there is a gap."""
    found = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda node: node is None)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf is None
        for path, leaf in found
    }


def _shared_of(params: Any) -> Any:
    """The whole shared parameters."""
    if not isinstance(params, dict) or "shared" not in params:
        found = sorted(params) if isinstance(params, dict) else type(params).__name__
        raise UserError(
            f"params are {found}: expected "
            '{"shared": ..., "tasks": mtopt.PerTask(...)}'
        )
    if has_gaps(params["shared"]):
        raise UserError(
            "params['shared'] has gaps, where something is frozen already: expected "
            "whole parameters, as mtopt.thaw makes them, and all that is to be frozen "
            "at once"
        )
    return params["shared"]


def _chosen(paths: Sequence[str], where: Where) -> list[bool]:
    """Of every path, whether it is to be frozen."""
    if callable(where):
        chosen = [bool(where(path)) for path in paths]
    else:
        several = isinstance(where, Sequence) and all(isinstance(p, str) for p in where)
        if not several:
            raise UserError(
                f"where is {where!r}: expected a path, several of them, or a function "
                "path -> bool"
            )
        places = (where,) if isinstance(where, str) else tuple(where)
        for place in places:
            _expect_place(place, paths)
        chosen = [any(_below(path, place) for place in places) for path in paths]
    if not any(chosen):
        raise UserError(
            f"where freezes nothing of params['shared'], whose arrays are "
            f"{', '.join(paths)}: expected paths among them, or parts of these"
        )
    return chosen


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(place + ".")


def _expect_place(place: str, paths: Sequence[str]) -> None:
    if any(_below(path, place) for path in paths):
        return
    parts = [path.split(".") for path in paths]
    known = {".".join(own[:n]) for own in parts for n in range(1, len(own) + 1)}
    first = ", ".join(dict.fromkeys(own[0] for own in parts))
    hint = f"expected a path below {first}" if first else "it is one array"
    hint = close_to(place, sorted(known)) or hint
    raise UserError(f"params['shared'] has nothing at {place!r}: {hint}")
