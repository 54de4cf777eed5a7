"""Every method by its name: what it must be given, and one compiled update of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.registry import about
from tests.helpers.arrays import linear_update

K, D = 4, 6


def over(names, slow=()):
    """One test a name."""
    params = [
        pytest.param(name, marks=[pytest.mark.slow] if name in slow else [])
        for name in sorted(names)
    ]
    return pytest.mark.parametrize("name", params)


every_method = over(mtopt.METHODS)


def with_trait(trait):
    """The methods that say so of themselves; see mtopt/registry.py."""
    return {name for name, make in mtopt.METHODS.items() if trait in about(make).traits}


def make(name, num_tasks, **options):
    example = about(mtopt.METHODS[name]).example(num_tasks)
    return mtopt.METHODS[name](num_tasks, **{**example, **options})


def of_every_kind():
    """One method for each family and way to decide: enough for whole training runs."""
    kinds = {}
    for name, factory in mtopt.METHODS.items():
        rule = make(name, 2).rule
        own_rows, tells = rule.gradients is None, rule.after_step is not None
        memory = jax.tree.structure(rule.init(jnp.zeros(2))).num_leaves > 1
        kind = (about(factory).family, own_rows, tells, memory)
        kinds.setdefault(kind, name)
    return set(kinds.values())


OF_EVERY_KIND = of_every_kind()


def update(tx, state, jacobian, losses, present, task_weights):
    return linear_update(
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


def weights_of(state):
    return np.asarray(optax.tree.get(state, "weights"))
