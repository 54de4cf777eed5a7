"""NNX modules as pure functions: the one place that calls split and merge."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.errors import UserError
from mtopt.floats import has_gaps
from mtopt.models.layers import BatchNorm, average_over
from mtopt.models.noted import is_gate, noted

Factory = Callable[[nnx.Rngs], nnx.Module]


@dataclasses.dataclass(frozen=True)
class Pure:
    """One NNX module as pure functions of two plain dicts, parameters and statistics.

    ``training`` and ``evaluation`` are the module's structure in either mode;
    ``randomness`` holds shapes alone, since every call in training sets its own keys.
    ``gated`` says whether some module of it is a gate.
    """

    make: Factory
    training: nnx.GraphDef
    evaluation: nnx.GraphDef
    randomness: dict[str, Any]
    stateful: bool
    gated: bool

    @classmethod
    def of(cls, make: Factory, frozen: Sequence[str] = ()) -> "Pure":
        """The functions of the module that ``make`` makes.

        Args:
          make: makes it.
          frozen: paths of parameters. A module within it that has no others is in
            evaluation mode at any time.

        Raises:
          UserError: for arrays that are neither parameters, statistics nor
            randomness.
        """
        structure: Any = None

        def build() -> tuple[dict[str, Any], ...]:
            nonlocal structure
            module = make(nnx.Rngs(0))
            module.eval()
            evaluation = nnx.graphdef(module)
            module.train()
            for node in _all_at(module, frozen):
                node.eval()
            training, _, *kinds = nnx.split(
                module, nnx.Param, nnx.BatchStat, nnx.RngState, ...
            )
            own = type(module).__name__, _bare_arrays(module), _has_gate(module)
            structure = *own, training, evaluation
            return tuple(nnx.to_pure_dict(kind) for kind in kinds)

        statistics, randomness, rest = jax.eval_shape(build)
        name, bare, gated, training, evaluation = structure
        paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(rest)]
        others = {jax.tree_util.keystr(p, simple=True, separator=".") for p in paths}
        if others | bare:
            raise UserError(
                f"{name} keeps the arrays {sorted(others | bare)} beside nnx.Param, "
                "nnx.BatchStat and the state of rngs: expected nnx.BatchStat for one "
                "that the forward pass reads or moves and no gradient does, or a "
                "constant outside of the module"
            )
        stateful = bool(jax.tree.leaves(statistics))
        return cls(make, training, evaluation, randomness, stateful, gated)

    def expect_own_batch_norm(self) -> None:
        """Raises where statistics are kept by other layers than mtopt's BatchNorm."""
        module = nnx.eval_shape(lambda: self.make(nnx.Rngs(0)))
        count = len(jax.tree.leaves(nnx.state(module, nnx.BatchStat)))
        own = [nnx.state(norm, nnx.BatchStat) for norm in batch_norms(module)]
        if len(jax.tree.leaves(own)) != count:
            raise UserError(
                "pooled statistics of a layer that is not mtopt's: expected "
                "mtopt.models.layers.BatchNorm, which leaves out padding"
            )

    def init(self, key: PRNGKeyArray) -> tuple[dict[str, Any], ...]:
        """New parameters and statistics."""
        parts = nnx.state(self.make(nnx.Rngs(key)), nnx.Param, nnx.BatchStat)
        return tuple(nnx.to_pure_dict(part) for part in parts)

    def train(
        self,
        parameters: Any,
        statistics: Any,
        x: Any,
        key: PRNGKeyArray,
        labelled: Bool[Array, " b"] | None = None,
        *told: Any,
    ) -> tuple[Any, dict[str, Any]]:
        """Outputs in training mode, and the new statistics, over labelled samples."""
        module = self.in_training(parameters, statistics, key, labelled)
        outputs = module(x, *told)
        return outputs, statistics_of(module)

    def in_training(
        self,
        parameters: Any,
        statistics: Any,
        key: PRNGKeyArray,
        labelled: Bool[Array, " b"] | None = None,
    ) -> Any:
        """The module in training mode, whose statistics are over labelled samples."""
        _expect_whole(parameters)
        streams, structure = jax.tree.flatten(self.randomness)
        # Every layer draws from a stream of its own, made anew: streams are counters
        # that a call advances, and equal keys would drop the same units twice.
        fresh = [
            _keys(jax.random.fold_in(key, i), stream.shape)
            if jnp.issubdtype(stream.dtype, jax.dtypes.prng_key)
            else jnp.zeros(stream.shape, stream.dtype)
            for i, stream in enumerate(streams)
        ]
        randomness = jax.tree.unflatten(structure, fresh)
        module = nnx.merge(self.training, parameters, statistics, randomness)
        if labelled is not None:
            for norm in batch_norms(module):
                norm.average = average_over(labelled)
        return module

    def evaluate(self, parameters: Any, statistics: Any, x: Any, *told: Any) -> Any:
        """Outputs in evaluation mode."""
        return self.in_evaluation(parameters, statistics)(x, *told)

    def in_evaluation(self, parameters: Any, statistics: Any) -> Any:
        """The module in evaluation mode."""
        _expect_whole(parameters)
        return nnx.merge(self.evaluation, parameters, statistics, self.randomness)

    def observe(
        self, parameters: Any, statistics: Any, x: Any
    ) -> tuple[Any, dict[str, Float[Array, "b E"]]]:
        """Outputs in evaluation mode, and what its gates return, by their places.

        Of gates that are called several times, the last call; of those without a row a
        sample, as in a stack of modules, nothing.
        """
        return observed(self.in_evaluation(parameters, statistics), x)


def statistics_of(module: Any) -> dict[str, Any]:
    """What its layers know of the batches so far, as a plain dict."""
    return nnx.to_pure_dict(nnx.state(module, nnx.BatchStat))


def observed(module: Any, x: Any, *told: Any) -> tuple[Any, dict[str, Array]]:
    """What a module makes of inputs, and what its gates give for each sample."""
    outputs, found = noted(module, x, *told)
    samples = len(jax.tree.leaves(x)[0])
    return outputs, {
        place: weights
        for place, weights in found.items()
        if weights.ndim == 2 and len(weights) == samples
    }


def _expect_whole(parameters: Any) -> None:
    """Raises for parameters that something frozen has been taken out of."""
    if has_gaps(parameters):
        raise UserError(
            "params['shared'] has gaps, where something is frozen: expected them "
            "filled, by TrainState.create(..., constants=...) in a step, and by "
            "mtopt.thaw or state.evaluated_params in a prediction"
        )


def _all_at(module: nnx.Module, paths: Sequence[str]) -> list[nnx.Module]:
    """The modules, at any depth, whose parameters are all at some paths."""
    known = set(paths)

    def at(place: tuple[Any, ...], node: nnx.Module) -> set[str]:
        own = nnx.to_pure_dict(nnx.state(node, nnx.Param))
        found = (path for path, _ in jax.tree_util.tree_leaves_with_path(own))
        below = (jax.tree_util.keystr(p, simple=True, separator=".") for p in found)
        return {".".join([*map(str, place), path]) for path in below}

    if not known:
        return []
    each = [(node, at(place, node)) for place, node in nnx.iter_modules(module)]
    return [node for node, own in each if own and own <= known]


def _keys(key: PRNGKeyArray, shape: tuple[int, ...]) -> Any:
    """A key, or as many as a stack of modules has of one stream."""
    return jax.random.split(key, shape) if shape else key


def _bare_arrays(module: nnx.Module) -> set[str]:
    """The attributes that are arrays without a variable around them."""
    return {
        ".".join(map(str, (*path, name)))
        for path, node in nnx.iter_modules(module)
        for name, value in vars(node).items()
        if isinstance(value, jax.Array)
    }


def _has_gate(module: nnx.Module) -> bool:
    return any(is_gate(node) for _, node in nnx.iter_modules(module))


def batch_norms(module: nnx.Module) -> list[BatchNorm]:
    """The layers of a module, at any depth, that average over a batch."""
    return [m for _, m in nnx.iter_modules(module) if isinstance(m, BatchNorm)]
