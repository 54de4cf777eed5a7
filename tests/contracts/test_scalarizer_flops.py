"""A scalarizer costs what the gradient of the mean loss costs: groups, deep heads."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt

KEY = jax.random.key(0)
SAMPLES, WIDTH, HIDDEN = 64, 128, 32


def encode(shared, x, key):
    for weight in shared:
        x = jax.nn.relu(x @ weight)
    return x


def head_loss(head, z, y, mask, key):
    *layers, last = head
    for weight in layers:
        z = jax.nn.relu(z @ weight)
    return mtopt.masked_mean((z @ last - y) ** 2, mask)


def model(num_tasks, groups, layers, x_axis):
    """Tasks in groups of one encoder."""
    rng = np.random.default_rng(0)
    names = [f"task_{k}" for k in range(num_tasks)]
    some = [tuple(names[i::groups]) for i in range(groups)]
    widths = [WIDTH, *(HIDDEN,) * layers]

    def arrays(own):
        shapes = [*itertools.pairwise(widths), (widths[-1],)]
        heads = [rng.normal(size=(len(own), *shape)) / 9 for shape in shapes]
        size = SAMPLES, WIDTH
        size = size if x_axis is None else (len(own), *size)
        x = rng.normal(size=size).astype("float32")
        labels = rng.normal(size=(len(own), SAMPLES)).astype("float32")
        return mtopt.PerTask(heads, own), x, labels, np.ones(labels.shape, bool)

    heads, x, y, mask = zip(*map(arrays, some), strict=True)
    tasks = tuple(mtopt.Tasks(own, encode, head_loss, x_axis) for own in some)
    params = {"shared": list(rng.normal(size=(3, WIDTH, WIDTH)) / 9), "tasks": heads}
    if groups == 1:
        (tasks,), params["tasks"] = tasks, heads[0]
        batch = mtopt.Batch(x[0], y[0], mask[0])
    else:
        common = x_axis is None
        tasks = mtopt.TaskGroups(tasks, shared_inputs=common)
        batch = mtopt.Batch(x[0] if common else x, y, mask)
    return tasks, jax.tree.map(jnp.float32, params), batch


def of_both(num_tasks, groups, layers, x_axis):
    """FLOPs of the step, and of one that is written by hand."""
    tasks, params, batch = model(num_tasks, groups, layers, x_axis)
    tx = mtopt.chain(mtopt.equal_weighting(num_tasks), optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, KEY)
    step = mtopt.make_train_step(tasks, tx).lower(state, batch).compile()

    def by_hand(params, batch):
        def loss(params):
            several = groups > 1
            heads = params["tasks"] if several else (params["tasks"],)
            x = batch.x if several and x_axis == 0 else (batch.x,) * groups
            y, mask = ((own,) if not several else own for own in (batch.y, batch.mask))
            total = 0.0
            z = encode(params["shared"], x[0], KEY) if x_axis is None else None
            for own, inputs, labels, real in zip(heads, x, y, mask, strict=True):
                if x_axis is None:
                    found = jax.vmap(head_loss, (0, None, 0, 0, None))(
                        own.values, z, labels, real, KEY
                    )
                else:
                    found = jax.vmap(
                        lambda head, x, y, m: head_loss(
                            head, encode(params["shared"], x, KEY), y, m, KEY
                        )
                    )(own.values, inputs, labels, real)
                total = total + found.sum()
            return total / num_tasks

        grads = jax.grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)

    plain = jax.jit(by_hand).lower(params, batch).compile()
    return [each.cost_analysis()["flops"] for each in (step, plain)]


CASES = [
    (num_tasks, groups, layers, x_axis)
    for num_tasks in (2, 3, 8)
    for groups in (1, 2, 3)
    for layers in (0, 1, 3)
    for x_axis in (None, 0)
    if groups <= num_tasks
]
FEW = [(3, 1, 3, None), (3, 3, 1, None), (8, 2, 0, None), (2, 2, 1, 0)]


def check(num_tasks, groups, layers, x_axis):
    step, plain = of_both(num_tasks, groups, layers, x_axis)
    assert step <= 1.01 * plain


@pytest.mark.parametrize("case", FEW, ids=str)
def test_some(case):
    check(*case)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case not in FEW], ids=str)
def test_all(case):
    check(*case)
