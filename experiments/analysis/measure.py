"""Measures trained models: loss, sharpness, conflicts, planes and spectra."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import mtopt
from mtopt import analysis
from mtopt.data.dataset import Dataset
from mtopt.models import Model
from mtopt.models.heads import label_losses, label_mask
from mtopt.own_statistics import in_evaluation

from .config import AnalysisConfig
from .report import CONFLICT_BATCHES, Measured


def evaluation_tasks(model: Model, kind: str) -> mtopt.Tasks:
    """The tasks of a model in evaluation form: running statistics, no dropout.

    Args:
      model: the model.
      kind: of its labels, an entry of :data:`mtopt.models.heads.LOSSES`.
    """
    x_axis, per_task = model.tasks.x_axis, model.tasks.per_task
    names = model.tasks.names if per_task else ("task",)

    def encode(
        shared: Any,
        x: Any,
        key: jax.Array,
        model_state: Any,
        labelled: jax.Array,
        *told: mtopt.Task,
    ) -> tuple[Any, Any]:
        del key, labelled
        place = [task.index for task in told]
        return (shared, x, model_state, place), model_state

    def stacked(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(names)), tree)

    def head_loss(
        head: Any,
        inputs: tuple[Any, Any, Any, Any],
        targets: Any,
        mask: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        del key
        shared, x, model_state, place = inputs
        # An encoder that is told the task has all places, and this one is picked.
        params = {"shared": shared, "tasks": mtopt.PerTask(stacked(head), names)}
        state = model_state if model.tasks.z_axis is None else stacked(model_state)
        x = x if x_axis is None else stacked(x)
        outputs = model.predict(params, state, x)[place[0] if place else 0]
        losses = label_losses(outputs, targets, kind)
        return mtopt.masked_mean(losses, label_mask(targets, mask, kind))

    return mtopt.Tasks(
        model.tasks.names,
        encode,
        head_loss,
        x_axis=x_axis,
        stateful=True,
        per_task=per_task,
    )


def evaluation_problem(
    tasks: mtopt.Tasks, batch: mtopt.Batch, model_state: Any
) -> mtopt.Problem:
    """The tasks of :func:`evaluation_tasks` on a batch.

    Args:
      tasks: in evaluation form.
      batch: what they are evaluated on.
      model_state: of the trained model.
    """
    if tasks.z_axis is not None:  # of every task what normalises it
        model_state = in_evaluation(model_state, len(tasks.names))
    return tasks.problem(batch, jax.random.key(0), model_state)


def make_measure(
    config: AnalysisConfig,
    batch_size: int,
    dataset: Dataset,
    model: Model,
    sample: mtopt.Batch,
    offsets: jax.Array,
) -> Callable[[str, list[tuple[Any, Any]]], Measured]:
    """The function that measures a method from its models, parameters and states.

    Args:
      config: how.
      batch_size: of the batches in which gradients conflict.
      dataset: on which test data.
      model: what was trained.
      sample: for sharpness and landscape.
      offsets: along the axes of the plane.
    """
    tasks = evaluation_tasks(model, dataset.kind)
    first_key, second_key, _ = jax.random.split(jax.random.key(config.seed), 3)

    problem = functools.partial(evaluation_problem, tasks)

    @jax.jit
    def losses(params: Any, model_state: Any, batch: mtopt.Batch) -> jax.Array:
        return problem(batch, model_state).losses(params)

    @jax.jit
    def cosines(params: Any, model_state: Any, batch: mtopt.Batch) -> jax.Array:
        _, grads = problem(batch, model_state).losses_and_grads(params)
        return analysis.cosines(grads["shared"])

    @jax.jit
    def rise(params: Any, model_state: Any) -> jax.Array:
        return analysis.sharpness(
            problem(sample, model_state),
            params,
            rho=config.rho,
            adaptive=config.adaptive,
            passes="map",
        )

    @jax.jit
    def surface(params: Any, model_state: Any, betas: jax.Array) -> jax.Array:
        directions = (
            analysis.filter_normalized_direction(first_key, params),
            analysis.filter_normalized_direction(second_key, params),
        )
        own = problem(sample, model_state)
        return analysis.plane(own.losses, params, directions, offsets, betas)

    def test_loss(pair: tuple[Any, Any]) -> np.ndarray:
        total = count = np.zeros(len(dataset.tasks))
        for batch in dataset.test.in_order(1024):
            labels = np.asarray(batch.mask).sum(axis=1)
            total = total + np.asarray(losses(*pair, batch), float) * labels
            count = count + labels
        return total / np.where(count, count, np.nan)

    def conflict(pair: tuple[Any, Any]) -> float:
        drawn = dataset.test.batches(batch_size, seeds=(config.seed,))
        batches = [
            jax.tree.map(lambda leaf: leaf[0], batch)
            for batch in itertools.islice(drawn, CONFLICT_BATCHES)
        ]
        every = jnp.stack([cosines(*pair, batch) for batch in batches])
        return float(analysis.conflict_share(every))

    def measure(text: str, pairs: list[tuple[Any, Any]]) -> Measured:
        layers = [analysis.layer_alphas(params) for params, _ in pairs]
        line = functools.partial(surface, betas=jnp.zeros(1))
        return Measured(
            name=text,
            loss=np.stack([test_loss(pair) for pair in pairs]),
            sharpness=np.stack([np.asarray(rise(*pair)) for pair in pairs]),
            conflict=np.array([conflict(pair) for pair in pairs]),
            layers=tuple(row.name for row in layers[0]),
            alphas=np.array([[row.alpha for row in rows] for rows in layers]),
            lines=np.stack([np.asarray(line(*pair))[:, 0] for pair in pairs]),
            surface=np.asarray(surface(*pairs[0], betas=offsets)),
        )

    return measure
