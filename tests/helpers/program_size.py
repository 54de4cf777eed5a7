"""How long a compiled step is, in operations: what compile time grows with."""

import jax
import optax

import mtopt


def operations(model, batch, aggregator):
    """The lines of the program of one step, before XLA sees it; exact.

    Args:
      model: of :func:`mtopt.models.functional`.
      batch: of its tasks.
      aggregator: of as many.
    """
    tx = mtopt.chain(aggregator, optax.sgd(0.1))

    def start(key):
        params, model_state = model.init(key)
        return mtopt.TrainState.create(params, tx, key, model_state)

    state = jax.eval_shape(start, jax.random.key(0))
    return (
        mtopt.make_train_step(model.tasks, tx).lower(state, batch).as_text().count("\n")
    )
