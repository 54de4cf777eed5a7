"""The task that an encoder works for."""

from typing import Any, NamedTuple


class Task(NamedTuple):
    """The task that ``encode`` works for, where it depends on one.

    The last argument of the ``encode`` of :class:`mtopt.Tasks` with ``per_task=True``.

    Attributes:
      index: its place on axis K among the tasks of its :class:`mtopt.Tasks`, an int32
        that is traced: it picks an entry of a shared array ``[K, ...]``.
      own: its own parameters, its entry of ``params["tasks"]``; what ``head_loss``
        gets as ``head``.

    Example:
      A gate of each task on the columns of a shared input, below the shared layer:

      >>> import jax, jax.numpy as jnp, mtopt
      >>> def encode(shared, x, key, task):
      ...     return jnp.tanh((2 * jax.nn.sigmoid(task.own["gate"])[None] * x) @ shared)
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head["w"] - y) ** 2, mask)
      >>> tasks = mtopt.Tasks(("a", "b"), encode, head_loss, per_task=True)
      >>> heads = {"gate": jnp.zeros((2, 3)), "w": jnp.ones((2, 4))}
      >>> params = {"shared": 0.1 * jnp.ones((3, 4)),
      ...           "tasks": mtopt.PerTask(heads, tasks.names)}
      >>> batch = mtopt.Batch.shared(
      ...     jnp.eye(3), {"a": jnp.ones(3), "b": jnp.array([1., 2., 3.])})
      >>> problem = tasks.problem(batch, jax.random.key(0))
      >>> problem.representation(params).shape
      (2, 3, 4)
      >>> grads = problem.losses_and_grads(params)[1]
      >>> grads["shared"].shape
      (2, 3, 4)
      >>> print(grads["tasks"]["b"]["gate"].round(2))
      [-0.08 -0.21 -0.34]
    """

    index: Any
    own: Any
