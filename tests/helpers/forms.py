"""One problem of three tasks in several forms, which must all train alike.

A regression whose parameters, shared and of the tasks, are two real arrays, or one
complex array, or one vector, or stand deep in a tree; on one stack, in groups, with
inputs of their own, padded, under other names, and beside a task without labels.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from mtopt.registry import about
from tests.helpers.methods import make
from tests.helpers.updates import KEY

NAMES = ("a", "b", "c")
K, B, D, C, MORE = 3, 9, 3, 4, 4


def real_part(tree):
    return tree["re"] if isinstance(tree, dict) else tree.real


def imaginary_part(tree):
    return tree["im"] if isinstance(tree, dict) else tree.imag


def from_vector(vector):
    """Of the shared parameters, or of a task's own, which have fewer axes."""
    shape = (2, D, C) if vector.size == 2 * D * C else (2, C)
    re, im = vector.reshape(shape)
    return {"re": re, "im": im}


def in_a_vector(re, im):
    """Of the real and the imaginary part, as one vector."""
    return jnp.concatenate([re.ravel(), im.ravel()])


def from_tree(tree):
    """Of parameters that stand apart, beside places without any."""
    return {"re": tree["deep"]["re"], "im": tree["last"][0]}


def in_a_tree(re, im):
    return {"deep": {"re": re, "none": None, "empty": {}}, "last": (im, [])}


def encode(shared, x, key):
    del key
    return jnp.tanh(x @ real_part(shared) + x**2 @ imaginary_part(shared))


def wide_encode(shared, x, key):
    """With channels that are always zero."""
    return jnp.pad(encode(shared, x, key), ((0, 0), (0, 2)))


def head_loss(head, z, y, mask, key):
    del key
    out = z @ real_part(head) + z**2 @ imaginary_part(head)
    return mtopt.masked_mean(y["times"] * (out - y["value"]) ** 2, mask)


@dataclasses.dataclass(frozen=True)
class Form:
    """A problem, its parameters, and how they are those of the base.

    Attributes:
      names: what the tasks a, b and c are called here.
      read: from a tree of parameters to the real and the imaginary part of the base's.
    """

    problem: mtopt.Problem
    params: dict
    names: tuple = NAMES
    read: Callable = lambda tree: tree

    @property
    def num_tasks(self):
        return len(self.problem.names)

    def apart(self, updates):
        """Updates of the shared parameters and of the heads, as the base has them."""

        def parts(tree):
            tree = self.read(tree)
            both = real_part(tree), imaginary_part(tree)
            return jnp.stack([part[..., :C] for part in both])

        heads = updates["tasks"]
        groups = heads if isinstance(heads, tuple) else (heads,)
        own = {name: group[name] for group in groups for name in group.names}
        return parts(updates["shared"]), jnp.stack([parts(own[n]) for n in self.names])

    def of_the_base(self, weights):
        """Weights of the tasks in the base's order."""
        return weights[jnp.array([self.problem.names.index(n) for n in self.names])]


@functools.cache
def arrays(patchy):
    """Inputs, labels, which are real, and parameters, in float64."""
    rng = np.random.default_rng(0)
    x, value = rng.normal(size=(B, D)), 2 * rng.normal(size=(K, B))
    mask = rng.random((K, B)) < 0.8 if patchy else np.ones((K, B), bool)
    shared = rng.normal(size=(2, D, C))
    return x, value, mask, shared, rng.normal(size=(K, 2, C))


def forms(patchy, times=(1.0, 1.0, 1.0)):
    """Every form by its name; losses are multiplied by ``times``."""
    x, value, mask, shared, heads = (jnp.asarray(a) for a in arrays(patchy))
    y = {"value": value, "times": jnp.asarray(times)[:, None] * jnp.ones((K, B))}

    def stack(own):
        values = {"re": own[:, 0], "im": own[:, 1]}
        return mtopt.PerTask(values, NAMES)

    def form(x=x, y=y, mask=mask, encoder=encode, x_axis=None, own=heads):
        tasks = mtopt.Tasks(NAMES, encoder, head_loss, x_axis)
        both = {"re": shared[0], "im": shared[1]}
        params = {"shared": both, "tasks": stack(own)}
        return Form(tasks.problem(mtopt.Batch(x, y, mask), KEY), params)

    def padded(leaf, axis):
        widths = [(0, MORE if i == axis else 0) for i in range(leaf.ndim)]
        return jnp.pad(leaf, widths)

    base = form()
    order = (1, 0, 2)
    groups = mtopt.TaskGroups(
        tuple(mtopt.Tasks((NAMES[k],), encode, head_loss) for k in order),
        shared_inputs=True,
    )
    pieces = [
        tuple(jax.tree.map(lambda leaf, k=k: leaf[k : k + 1], tree) for k in order)
        for tree in (y, mask, base.params["tasks"].values)
    ]
    own = zip(pieces[2], order, strict=True)
    in_groups = {
        "shared": base.params["shared"],
        "tasks": tuple(mtopt.PerTask(piece, (NAMES[k],)) for piece, k in own),
    }
    whole = {
        "shared": jax.lax.complex(shared[0], shared[1]),
        "tasks": mtopt.PerTask(jax.lax.complex(heads[:, 0], heads[:, 1]), NAMES),
    }

    def written(write, read):
        """The base with parameters in another tree."""
        tasks = mtopt.Tasks(
            NAMES,
            lambda shared, *known: encode(read(shared), *known),
            lambda head, *known: head_loss(read(head), *known),
        )
        own = jax.vmap(write)(heads[:, 0], heads[:, 1])
        params = {"shared": write(*shared), "tasks": mtopt.PerTask(own, NAMES)}
        return Form(tasks.problem(mtopt.Batch(x, y, mask), KEY), params, NAMES, read)

    def named(names, places, mask):
        """Stacks of the tasks at these places, under other names."""
        tasks = mtopt.Tasks(names, encode, head_loss)
        labels, own = jax.tree.map(lambda leaf: leaf[places], (y, heads))
        own = mtopt.PerTask({"re": own[:, 0], "im": own[:, 1]}, names)
        params = {"shared": base.params["shared"], "tasks": own}
        problem = tasks.problem(mtopt.Batch(x, labels, mask), KEY)
        return Form(problem, params)

    order = jnp.array([2, 0, 1])
    renamed = named(("p", "q", "r"), order, mask[order])
    renamed = dataclasses.replace(renamed, names=("q", "r", "p"))
    nobody = jnp.concatenate([mask, jnp.zeros((1, B), bool)])
    absent = named((*NAMES, "d"), jnp.array([0, 1, 2, 0]), nobody)
    long = jax.tree.map(lambda leaf: padded(leaf, 1), (y, mask))
    wide = jnp.pad(heads, ((0, 0), (0, 0), (0, 2)))
    return {
        "stack": base,
        "groups": Form(groups.problem(mtopt.Batch(x, *pieces[:2]), KEY), in_groups),
        "disjoint": form(x=jnp.stack([x] * K), x_axis=0),
        "samples": form(padded(x, 0), *long),
        "channels": form(encoder=wide_encode, own=wide),
        "complex": Form(base.problem, whole),
        "vector": written(in_a_vector, from_vector),
        "tree": written(in_a_tree, from_tree),
        "renamed": renamed,
        "absent": absent,
    }


def update(tx, form):
    """The first update on a form, as the base form has it, and the weights.

    Args:
      tx: a transformation.
      form: of :func:`forms`.
    """
    seen = form.problem.evaluate(form.params)
    state = tx.init(form.params)
    updates, state = tx.update(seen.gradients, state, form.params, evaluation=seen)
    weights = optax.tree.get(state, "weights")
    return *form.apart(updates), form.of_the_base(weights)


def splits_batches(name):
    """Whether a method learns from parts of the batch."""
    return about(mtopt.METHODS[name]).family == "batches"


def in_a_step(transformation):
    """A chain that makes updates, for methods that ask for what it makes."""
    return mtopt.chain(transformation, optax.sgd(0.1))


def method_in(name, space, num_tasks=K):
    """A method on the three tasks, in a space if it has the choice."""
    return make(name, num_tasks, **({} if space is None else {"space": space}))
