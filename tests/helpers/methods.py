"""Every method by its name: what it must be given, and one compiled update of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt

# name in METHODS -> the options of the methods that have no default for one.
OPTIONS = {
    "fixed_weighting": lambda k: {"weights": tuple(np.full(k, 1 / k))},
    "improvable_gap_balancing": lambda k: {"steps_per_epoch": 1},
    "pareto_mtl": lambda k: {
        "preferences": tuple(map(tuple, np.eye(k))),
        "index": 0,
        "search_steps": 0,
    },
    "single_task": lambda k: {"task": 0},
    "smooth_tchebycheff_warmup": lambda k: {"steps_per_epoch": 1, "warmup_epochs": 1},
}
# The order of the tasks is an option of these, ...
TASK_BOUND = {"bloop", "ldc", "pareto_mtl", "single_task"}
# ... and these draw random numbers for each.
RANDOM = {"graddrop", "gradvac", "pcgrad", "random_loss_weighting"}
# <g_k, d> >= 0 for every task.
NON_CONFLICTING = {
    *("conflict_free", "dualproj", "fairgrad", "imtl_g", "mgda", "nash_mtl", "upgrad")
}
# Identical tasks give that gradient, and K = 1 the plain one; the others rescale it.
MEAN_LIKE = {
    *("equal_weighting", "fixed_weighting", "single_task"),
    *("cosmos_scalarization", "famo", "geometric_loss", "ldc", "random_loss_weighting"),
    *("dualproj", "gradcraft", "imtl_g", "krum", "mgda", "upgrad"),
    *("bloop", "modo", "moml", "sdmgrad", "trimmed_mean"),
}
# Their direction is a sum of other rows than the weighted gradients.
OWN_ROWS = {
    *("bloop", "db_mtl", "graddrop", "moco", "trimmed_mean"),  # made of the gradients
    *("modo", "sdmgrad"),  # taken from a part of the batch
}


def over(names, slow=()):
    """One test a name."""
    params = [
        pytest.param(name, marks=[pytest.mark.slow] if name in slow else [])
        for name in sorted(names)
    ]
    return pytest.mark.parametrize("name", params)


every_method = over(mtopt.METHODS)
# Whole training runs, of which a method of every kind is enough by default.
OF_EVERY_KIND = {
    *("equal_weighting", "uncertainty_weighting", "famo", "mgda", "nash_mtl", "pcgrad"),
    *("gradnorm", "db_mtl", "modo", "auto_lambda", "epo"),
}
K, D = 4, 6


def make(name, num_tasks, **options):
    required = OPTIONS.get(name, lambda k: {})(num_tasks)
    return mtopt.METHODS[name](num_tasks, **{**required, **options})


def update(tx, state, jacobian, losses, present, task_weights):
    return mtopt.linear_update(
        tx, state, jacobian, losses, present=present, task_weights=task_weights
    )


class Method:
    """One method on K tasks of D parameters, compiled once."""

    def __init__(self, name, num_tasks=K, dtype="float32"):
        self.tx = make(name, num_tasks)
        self.num_tasks = num_tasks
        self.dtype = dtype
        _, params = mtopt.linear_problem(
            jnp.zeros((num_tasks, D), dtype), jnp.ones(num_tasks)
        )
        self.init = self.tx.init(params)
        self._update = jax.jit(functools.partial(update, self.tx))

    def __call__(
        self, jacobian, losses=None, present=None, task_weights=None, state=None
    ):
        """The direction of the shared parameters, and the state after it."""
        if losses is None:
            losses = jnp.arange(1, self.num_tasks + 1, dtype=self.dtype)
        ones = jnp.ones(self.num_tasks)
        direction, state = self._update(
            self.init if state is None else state,
            jnp.asarray(jacobian, self.dtype),
            losses,
            ones.astype(bool) if present is None else jnp.asarray(present),
            ones if task_weights is None else jnp.asarray(task_weights, jnp.float32),
        )
        return np.asarray(direction), state


@functools.cache
def method(name, num_tasks=K):
    return Method(name, num_tasks)


def rows(num_tasks, size, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(num_tasks, size)) + 0.3, jnp.float32)


def assert_finite(tree):
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert np.isfinite(np.asarray(leaf, np.float64)).all()


def assert_close(a, b, rtol=1e-4, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), a, b)


def weights_of(state):
    return np.asarray(optax.tree.get(state, "weights"))
