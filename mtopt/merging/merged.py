"""A model whose shared parameters are the coefficients of task vectors."""

import dataclasses
import functools
from typing import Any

import jax

from mtopt.merging.scaling import Scaling
from mtopt.merging.task_vectors import expect_vectors
from mtopt.tasks import TaskGroups, Tasks


def merged(model: Any, base: Any, vectors: Any, rule: Scaling) -> tuple[Any, Any, Any]:
    r"""A model of merged parameters, of which the coefficients are trained.

    Base and vectors are constants, as of :func:`mtopt.freeze`, which see for what to do
    with what is returned. A step merges once and pulls back once, 4 n D FLOPs for n
    vectors of D entries, and every method aggregates the gradients of the coefficients.

    Args:
      model: a :class:`mtopt.models.Model`, :class:`mtopt.models.JointModel` or
        :class:`mtopt.Tasks`.
      base: its parameters, ``{"shared": tree, "tasks": PerTask}``, that tuning started
        from. Those of the tasks stay what they are: trained, unless something behind
        the aggregator freezes them, such as ``mtopt.scale_tasks(0)``.
      vectors: :func:`mtopt.merging.task_vectors` of the shared ones, ``[n, ...]``.
      rule: :data:`mtopt.merging.isotropic`, :data:`mtopt.merging.blockwise`,
        :data:`mtopt.merging.slerp`, or a :class:`mtopt.merging.Scaling` of one's own.

    Returns:
      The model, its parameters, with ``params["shared"]["coefficients"]``, and the
      constants. ``init`` of the model gives these parameters again.

    Raises:
      UserError: for vectors of another tree than the base.

    Example:
      >>> import jax.numpy as jnp, mtopt, optax
      >>> from mtopt.merging import blockwise, task_vectors
      >>> def encode(shared, x, key):
      ...     return x @ shared["w"]
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head - y) ** 2, mask)
      >>> tasks = mtopt.Tasks(("a", "b"), encode, head_loss)
      >>> base = {"shared": {"w": jnp.zeros((3, 2))},
      ...         "tasks": mtopt.PerTask(jnp.eye(2), tasks.names)}
      >>> tuned = [{"w": jnp.zeros((3, 2)).at[:, k].set(1.0)} for k in range(2)]
      >>> tasks, params, constants = merged(
      ...     tasks, base, task_vectors(base["shared"], tuned), blockwise)
      >>> params["shared"]["coefficients"]["w"].tolist()
      [0.0, 0.0]
      >>> tx = mtopt.chain(mtopt.mgda(2), optax.adam(0.1), mtopt.scale_tasks(0))
      >>> state = mtopt.TrainState.create(
      ...     params, tx, jax.random.key(0), constants=constants)
      >>> step = mtopt.make_train_step(tasks, tx)
      >>> batch = mtopt.Batch.shared(jnp.eye(3), {"a": jnp.ones(3), "b": jnp.ones(3)})
      >>> for _ in range(200):
      ...     state, _ = step(state, batch)
      >>> state.params["shared"]["coefficients"]["w"].round(2).tolist()
      [1.0, 1.0]
    """
    expect_vectors(base["shared"], vectors)
    known = rule.known(base["shared"], vectors)
    constants = {"base": base["shared"], "vectors": vectors, "known": known}
    gaps = jax.tree.map(lambda _: None, constants)
    start = rule.start(base["shared"], vectors)
    shared = {"coefficients": start, **gaps}
    held = {"coefficients": jax.tree.map(lambda _: None, start), **constants}
    params = {**base, "shared": shared}

    def whole(own: Any) -> Any:
        found = own["coefficients"], own["base"], own["vectors"], own["known"]
        return rule.merge(*found)

    @functools.cache  # groups that have an encode in common, have it afterwards
    def encoding(encode: Any) -> Any:
        return lambda shared, *rest: encode(whole(shared), *rest)

    def of(tasks: Tasks) -> Tasks:
        return dataclasses.replace(tasks, encode=encoding(tasks.encode))

    if isinstance(model, Tasks):
        return of(model), params, held
    tasks = model.tasks
    if isinstance(tasks, TaskGroups):
        groups = tuple(of(group) for group in tasks.groups)
        tasks = dataclasses.replace(tasks, groups=groups)
    else:
        tasks = of(tasks)

    def predict(own: Any, model_state: Any, x: Any) -> Any:
        return model.predict({**own, "shared": whole(own["shared"])}, model_state, x)

    changes: dict[str, Any] = {"tasks": tasks, "predict": predict}
    changes |= {"encode_frozen": None, "frozen": ("base", "vectors", "known")}
    changes["init"] = lambda key: (params, model.init(key)[1])
    if getattr(model, "mixtures", None) is not None:

        def mixtures(own: Any, *rest: Any) -> Any:
            return model.mixtures({**own, "shared": whole(own["shared"])}, *rest)

        changes["mixtures"] = mixtures
    return dataclasses.replace(model, **changes), params, held
