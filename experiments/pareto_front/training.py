"""Trains the models of a front side by side, and measures what they reach."""

import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from mtopt.batch import is_real
from mtopt.data.dataset import Dataset
from mtopt.metrics import Metric, metrics_of
from mtopt.models import Model
from mtopt.models.heads import label_losses
from mtopt.training.loop import train
from mtopt.training.program import Program, StepLosses, map_models

from ..common.progress import ProgressBar
from ..common.run_folder import run_folder
from .config import Config
from .models import beside_preference, with_preference

PREFERENCES = 1 << 20  # the stream of preferences: a step's own streams start at 0
TEST_BATCH = 512


class ModelGroup(NamedTuple):
    """Models that are trained together.

    Attributes:
      model: of inputs ``{"inputs": x, "preference": [B, K]}``.
      method: the aggregator.
      preferences: ``[R, P, K]``: R models, each tested at P preferences. With P = 1 a
        model is trained at that one, otherwise at a new one in every step.
    """

    model: Model
    method: optax.GradientTransformationExtraArgs
    preferences: np.ndarray

    @property
    def num_parameters(self) -> int:
        """The number of parameters of all models of one seed."""
        params, _ = jax.eval_shape(self.model.init, jax.random.key(0))
        own = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
        return own * len(self.preferences)


def train_and_test(
    text: str,
    group: ModelGroup,
    optimizer: optax.GradientTransformation,
    config: Config,
    dataset: Dataset,
    folder: pathlib.Path,
) -> np.ndarray:
    """Test loss and primary metric ``[S, R P, K, 2]`` after training.

    What a run that was stopped left in the folder is taken up.
    """
    tx = mtopt.chain(group.method, optimizer)
    program = make_program(group, tx, config.alpha, len(config.seeds))
    with ProgressBar(text, config.steps, dataset.tasks) as bar:
        state, _ = train(
            program,
            lambda start: dataset.train.batches(
                config.batch_size, seeds=config.seeds, start=start
            ),
            config.loop_options,
            run_folder(folder, text, config.seeds),
            tasks=dataset.tasks,
            seeds=config.seeds,
            names=[f"{text}, seed {seed}" for seed in config.seeds],
            progress=bar.update,
        )
    return _test(program, state, dataset)


def make_program(
    group: ModelGroup,
    tx: optax.GradientTransformationExtraArgs,
    alpha: float,
    num_seeds: int,
) -> Program:
    """A group as a program over S seeds and R models.

    Its losses are means over the R models; it predicts ``[S, R, P, K, B, ...]``.

    Args:
      group: the models.
      tx: what trains them.
      alpha: of the Dirichlet distribution of preferences.
      num_seeds: S.
    """
    num_models, num_preferences, _ = group.preferences.shape
    train_step = mtopt.make_train_step(group.model.tasks, tx)

    def start(key: jax.Array) -> mtopt.TrainState:
        init_key, run_key = jax.random.split(key)
        params, model_state = group.model.init(init_key)
        return mtopt.TrainState.create(params, tx, run_key, model_state)

    def init(keys: jax.Array) -> mtopt.TrainState:
        # The models of a seed start as equals.
        repeated = jnp.stack([keys] * num_models, axis=1)
        return jax.jit(jax.vmap(jax.vmap(start)))(repeated)

    def one(
        state: mtopt.TrainState, batch: mtopt.Batch, preference: jax.Array
    ) -> tuple[mtopt.TrainState, StepLosses]:
        if num_preferences > 1:
            key = jax.random.fold_in(state.key, state.step)
            key = jax.random.fold_in(key, PREFERENCES)
            preference = jax.random.dirichlet(key, jnp.full_like(preference, alpha))
        state, metrics = train_step(state, with_preference(batch, preference))
        return state, StepLosses.of(metrics)

    models = map_models(one, (0, None, 0))
    seeds = map_models(models, (0, 0, None))

    @functools.partial(jax.jit, donate_argnums=0)
    def advance(
        state: mtopt.TrainState, batch: mtopt.Batch, preferences: jax.Array
    ) -> tuple[mtopt.TrainState, StepLosses]:
        state, (losses, present) = seeds(state, batch, preferences)
        return state, StepLosses(losses.mean(axis=1), present[:, 0])

    own = jnp.asarray(group.preferences[:, 0])
    return Program(
        init,
        lambda state, batch: advance(state, batch, own),
        _predict(group),
        (num_seeds, num_models),
    )


def _predict(group: ModelGroup) -> Callable[[Any, Any, Any], jax.Array]:
    """``(params, model_state, x) -> outputs``, at all preferences of a group."""
    preferences = jnp.asarray(group.preferences)

    def predict(params: Any, model_state: Any, x: Any, own: jax.Array) -> jax.Array:
        def at(preference: jax.Array) -> jax.Array:
            inputs = beside_preference(x, preference, len(jax.tree.leaves(x)[0]))
            return group.model.predict(params, model_state, inputs)

        return jax.lax.map(at, own)

    models = map_models(predict, (0, 0, None, 0))
    seeds = jax.jit(map_models(models, (0, 0, None, None)))
    return lambda params, model_state, x: seeds(params, model_state, x, preferences)


def _test(program: Program, state: mtopt.TrainState, dataset: Dataset) -> np.ndarray:
    """The test loss and primary metric ``[S, R P, K, 2]``."""
    batches = list(dataset.test.in_order(TEST_BATCH))
    outputs = np.concatenate(
        [
            np.asarray(
                program.predict(state.evaluated_params, state.model_state, batch.x)
            )
            for batch in batches
        ],
        axis=4,
    )
    targets = np.concatenate([np.asarray(batch.y) for batch in batches], axis=1)
    mask = is_real(np.concatenate([np.asarray(b.mask) for b in batches], axis=1))
    metrics = (_mean_loss(dataset.kind), metrics_of(dataset.kind)[0])

    def scores(out: np.ndarray) -> list[list[float]]:
        return [
            [metric.value(*task) for metric in metrics]
            for task in zip(out, targets, mask, strict=True)
        ]

    num_seeds, num_models, num_preferences = outputs.shape[:3]
    points = num_models * num_preferences
    flat = outputs.reshape(num_seeds, points, *outputs.shape[3:])
    return np.array([[scores(out) for out in seed] for seed in flat])


def _mean_loss(kind: str) -> Metric:
    """The loss that was trained on, as a metric of outputs and labels."""

    def function(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
        losses = label_losses(
            jnp.asarray(output[mask]), jnp.asarray(target[mask]), kind
        )
        return float(losses.mean())

    return Metric("loss", False, function)
