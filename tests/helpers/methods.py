"""Every method by its name: what it must be given, and one compiled update of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.registry import about
from tests.helpers.arrays import linear_updates

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


RULES = {name: make(name, K).rule for name in mtopt.METHODS}
# Their formulas take losses to be at least zero, or their own bounds.
FROM_ZERO = {name for name, rule in RULES.items() if rule.least_losses is not None}


def kinds():
    """The first method of each family and way to decide, without and with memory."""
    found = {}
    for name, rule in RULES.items():
        own_rows, tells = rule.gradients is None, rule.after_step is not None
        memory = len(jax.tree.leaves(jax.eval_shape(rule.init, np.zeros(2)))) > 1
        kind = (about(mtopt.METHODS[name]).family, own_rows, tells)
        found.setdefault(kind, {}).setdefault(memory, name)
    return found.values()


OF_EVERY_KIND = {name for pair in kinds() for name in pair.values()}
# Enough for whole training runs: of every such pair, the one with more to go wrong.
FEW = {pair[max(pair)] for pair in kinds()}
# Of every way to decide the last: by rows of its own, by what the step did, by losses
# and inner products. Enough for what goes on around a method, which asks no further.
SOME = set(
    {
        (RULES[name].gradients is None, RULES[name].after_step is not None): name
        for name in sorted(FEW)
    }.values()
)
a_method_of_every_kind = over(mtopt.METHODS, slow=set(mtopt.METHODS) - OF_EVERY_KIND)
some_methods = over(mtopt.METHODS, slow=set(mtopt.METHODS) - SOME)


def update(tx, state, jacobian, losses, present, task_weights):
    return linear_updates(
        tx, state, jacobian, losses, present=present, task_weights=task_weights
    )


class Method:
    """One method on K tasks of D parameters, compiled once: alone, and under vmap."""

    def __init__(self, name, num_tasks=K, dtype="float32", **options):
        self.tx = make(name, num_tasks, **options)
        self.num_tasks = num_tasks
        self.dtype = dtype
        one = functools.partial(update, self.tx)
        self._update = jax.jit(one)
        self._vmapped = jax.jit(jax.vmap(one, (None, 0, None, None, None)))

    def _start(self):
        _, params = mtopt.linear_problem(
            jnp.zeros((self.num_tasks, D), self.dtype), jnp.ones(self.num_tasks)
        )
        return self.tx.init(params)

    @functools.cached_property
    def init(self):
        return self._start()

    def _arguments(self, jacobian, losses=None, present=None, task_weights=None):
        """By NumPy, and put: every array that JAX makes is a program."""
        if losses is None:
            losses = np.arange(1, self.num_tasks + 1).astype(self.dtype)
        ones = np.ones(self.num_tasks, "float32")
        return jax.device_put(
            (
                np.asarray(jacobian).astype(self.dtype),
                losses,
                ones.astype(bool) if present is None else np.asarray(present),
                ones if task_weights is None else np.asarray(task_weights, "float32"),
            )
        )

    def updates(self, jacobian, *known, state=None, **more):
        """Those of the shared parameters and of the heads, and the state after them."""
        state = self.init if state is None else state
        return self._update(state, *self._arguments(jacobian, *known, **more))

    def __call__(self, jacobian, *known, **more):
        """The direction of the shared parameters, and the state after it."""
        updates, state = self.updates(jacobian, *known, **more)
        return np.asarray(updates["shared"]), state

    def first_of_each(self, jacobians):
        """The first direction and state of every Jacobian, in one program."""
        updates, states = self._vmapped(self.init, *self._arguments(jacobians))
        return np.asarray(updates["shared"]), states

    def types(self):
        """What an update returns, as shapes and types: nothing is compiled."""
        arguments = self._arguments(np.zeros((self.num_tasks, D)))
        updates, state = jax.eval_shape(
            self._update, jax.eval_shape(self._start), *arguments
        )
        return updates["shared"], state


@functools.cache
def method(name, num_tasks=K, dtype="float32"):
    return Method(name, num_tasks, dtype)


def rows(num_tasks, size, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(num_tasks, size)) + 0.3, jnp.float32)


def assert_finite(tree):
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            assert np.isfinite(np.asarray(leaf, np.float64)).all()


def weights_of(state):
    return np.asarray(optax.tree.get(state, "weights"))
