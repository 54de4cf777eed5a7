"""Steps in JAX: the gradient of the mean loss without this library, and a method's."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

import mtopt
from mtopt.models import MODELS, Model

from ..clock import seconds
from .cells import Cell, numbers
from .program import Known, Program

PLAIN = "plain"


def build(cell: Cell, method: str, *, remat: bool = False) -> Program:
    """The compiled step of a method, as text, or of :data:`PLAIN`.

    Args:
      cell: on this.
      method: whose step.
      remat: of a method, as of :class:`mtopt.Tasks`.
    """
    if jax.default_backend() != "cpu":
        # As on torch's side: float32 products in float32.
        jax.config.update("jax_default_matmul_precision", "highest")
    make = plain if method == PLAIN else functools.partial(own, remat=remat)
    function, state, batch = make(cell, method)
    device = jax.devices()[0].platform
    begin = seconds()
    compiled = function.lower(state, batch).compile()
    took = seconds() - begin
    memory = compiled.memory_analysis()
    known = Known(took, compiled.cost_analysis()["flops"], memory.temp_size_in_bytes)
    # The step donates its state.
    box = [state]

    def run(count: int) -> None:
        out = None
        for _ in range(count):
            box[0], out = compiled(box[0], batch)
        jax.block_until_ready((box[0], out))

    def peak() -> int | None:
        stats = jax.devices()[0].memory_stats()
        return None if stats is None else stats["peak_bytes_in_use"]

    return Program(run, known, device, peak)


def problem(cell: Cell) -> tuple[Model, Any, Any, mtopt.Batch]:
    """The model, its parameters and state, and the batch of a cell."""
    network = cell.network
    names = tuple(f"task_{k:04d}" for k in range(cell.tasks))
    model = MODELS[cell.model](
        network.shape,
        names=names,
        kind=network.kind,
        outputs=network.classes,
        **network.options,
    )
    params, model_state = jax.jit(model.init)(jax.random.key(0))
    x, y = map(jnp.asarray, numbers(cell))
    mask = jnp.ones(y.shape[:2], bool)
    return model, params, model_state, mtopt.Batch(x, y, mask)


def plain(cell: Cell, _: str, optimizer: Any = None) -> tuple[Any, Any, Any]:
    """The step one writes for the mean of the losses: no per-task anything."""
    model, params, model_state, batch = problem(cell)
    optimizer = optax.adam(1e-3) if optimizer is None else optimizer
    key = jax.random.key(1)

    def step(state: Any, batch: mtopt.Batch) -> tuple[Any, Float[Array, ""]]:
        params, opt_state, model_state = state
        of_batch = model.tasks.problem(batch, key, model_state)

        def mean_loss(params: Any) -> Float[Array, ""]:
            return of_batch.losses(params).mean()

        loss, gradient = jax.value_and_grad(mean_loss)(params)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        moved = of_batch.next_model_state(params)
        return (optax.apply_updates(params, updates), opt_state, moved), loss

    state = (params, optimizer.init(params), model_state)
    return jax.jit(step, donate_argnums=0), jax.tree.map(jnp.copy, state), batch


def own(
    cell: Cell,
    method: str,
    optimizer: Any = None,
    rows: str = "auto",
    *,
    remat: bool = False,
) -> tuple[Any, Any, Any]:
    """This library's step."""
    model, params, model_state, batch = problem(cell)
    optimizer = optax.adam(1e-3) if optimizer is None else optimizer
    tx = mtopt.chain(mtopt.method(method, cell.tasks), optimizer)
    state = mtopt.TrainState.create(params, tx, jax.random.key(1), model_state)
    tasks = dataclasses.replace(model.tasks, rows=rows, remat=remat)
    return mtopt.make_train_step(tasks, tx), state, batch
