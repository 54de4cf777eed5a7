# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # mtopt in five cells
#
# From data to a multi-task method of your own. If you know the PyTorch libraries: there
# is no trainer to inherit from and no `backward` to call K times. A method is an
# [optax](https://optax.readthedocs.io) transformation that turns *rows*, one gradient
# per task, into one direction. It stands first in an `mtopt.chain`, and one jitted step
# runs them all.
#
# ## 1. Data
#
# Two digits overlap on each canvas. One task is to name the `left` one, the other to
# name the `right` one; both share an encoder, and pull it in different directions. The
# digits come with scikit-learn, so there is nothing to download.
#
# A batch has inputs `x [B, ...]`, and for every task labels `y [K, B]` and a `mask`
# that says which labels are real. The task axis K comes first everywhere, sorted by
# name.

# %%
import os

FAST = os.environ.get("MTOPT_FAST", "") not in ("", "0")  # a few steps, for the tests

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import mtopt
from mtopt.data import multi_digits
from mtopt.models.mlp import mlp

np.set_printoptions(precision=3)
data = multi_digits(num_train=1_000 if FAST else 12_000)
batch = next(data.train.in_order(128))
print(f"tasks {data.tasks}: x {batch.x.shape}, y {batch.y.shape}")

_, panels = plt.subplots(1, 8, figsize=(10, 1.7))
for panel, image, left, right in zip(panels, batch.x, *batch.y, strict=False):
    panel.imshow(image[..., 0], cmap="gray_r")
    panel.set_title(f"{left} and {right}", fontsize=10)
    panel.axis("off")
plt.show()

# %% [markdown]
# ## 2. A model, and the step
#
# `mlp` makes a Flax model and hands it over as pure functions. To bring your own,
# write two of them for *one* task, `encode(shared, x, key)` and
# `head_loss(head, representation, y, mask, key)`, and wrap them in `mtopt.Tasks`.
#
# The chain reads from left to right: MGDA reduces the rows to a common descent
# direction, Adam makes a step of it. What a method remembers is in `state.opt_state`,
# here the weights of its last solve.
#
# `my_step` does the same without our step, for a training loop of your own: ask the
# problem for losses and rows, and hand both to `tx.update`. The rows are yours to look
# at: a negative cosine between two of them is what "conflicting gradients" means.

# %%
model = mlp(
    batch.x.shape[1:],
    names=data.tasks,
    kind=data.kind,
    outputs=data.outputs,
    hidden=(64, 64),
)
key = jax.random.key(0)
params, model_state = model.init(key)

tx = mtopt.chain(mtopt.mgda(2), optax.adam(2e-3))
state = mtopt.TrainState.create(params, tx, key, model_state)
step = mtopt.make_train_step(model.tasks, tx)
for _ in range(3):
    state, metrics = step(state, batch)
    weights = optax.tree.get(state.opt_state, "weights")
    print(f"losses {metrics['losses']}, MGDA's weights {weights}")


@jax.jit
def my_step(params, opt_state, batch, key):
    evaluation = model.tasks.problem(batch, key).evaluate(params)
    updates, opt_state = tx.update(
        evaluation.gradients, opt_state, params, evaluation=evaluation
    )
    products = evaluation.gramian()
    cosine = products[0, 1] / jnp.sqrt(products[0, 0] * products[1, 1])
    return optax.apply_updates(params, updates), opt_state, cosine


mine = (params, tx.init(params))
for t in range(3):
    *mine, cosine = my_step(*mine, batch, jax.random.fold_in(key, t))
    print(f"by hand: the cosine of the two gradients is {cosine:.3f}")

# %% [markdown]
# ## 3. Training
#
# Three seeds train at once: `batches` stacks one stream of samples per seed on a
# leading axis, and `vmap` turns the step of one model into that of three. Swapping the
# method is swapping one object.

# %%
SEEDS = (0, 1, 2)
STEPS, EVERY = (20, 10) if FAST else (600, 30)
COLOURS = ("#0072B2", "#D55E00", "#009E73")

predict = jax.jit(jax.vmap(model.predict, in_axes=(0, 0, None)))


def accuracy(state, split):
    """Share of samples named right, for every seed and task."""
    outputs = predict(state.params, state.model_state, split.samples.x)
    return np.asarray((outputs.argmax(-1) == split.samples.y[None]).mean(-1))


def train(method):
    """The states after training, and validation accuracy [T, seeds, K]."""
    tx = mtopt.chain(method, optax.adam(2e-3))
    step = jax.jit(jax.vmap(mtopt.make_train_step(model.tasks, tx)))

    def init(key):
        params, model_state = model.init(key)
        return mtopt.TrainState.create(params, tx, key, model_state)

    state = jax.vmap(init)(jax.vmap(jax.random.key)(jnp.array(SEEDS)))
    batches = data.train.batches(128, seeds=SEEDS)
    curve = []
    for t in range(1, STEPS + 1):
        state, _ = step(state, next(batches))
        if t % EVERY == 0:
            curve.append(accuracy(state, data.valid))
    return state, np.stack(curve)


results = {
    "equal weighting": train(mtopt.equal_weighting(2)),
    "MGDA": train(mtopt.mgda(2)),
}

_, panels = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for k, (panel, task) in enumerate(zip(panels, data.tasks, strict=True)):
    for (name, (_, curve)), colour in zip(results.items(), COLOURS, strict=False):
        steps, own = EVERY * np.arange(1, len(curve) + 1), curve[..., k]
        panel.fill_between(
            steps, own.min(1), own.max(1), color=colour, alpha=0.15, lw=0
        )
        panel.plot(steps, own.mean(1), color=colour, label=name)
    panel.set(title=f"the {task} digit", xlabel="step")
    panel.grid(color="#E6E6E6")
    panel.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("validation accuracy")
panels[1].legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# ## 4. A method of your own
#
# Most methods decide on one weight per task. For those, `mtopt.weighting` does the
# rest: it leaves out tasks that are absent from a batch, combines the gradients (in a
# single backward pass, since `weigh` does not read the rows), and sets the rule for the
# heads.
#
# Here is one that looks hardest at the task with the larger loss. It reads what it
# needs from the evaluation, and passes its memory on, of which it has none. Nothing
# is differentiated through the weights.
#
# An aggregator also takes a plain `[K, D]` array, so that you can check it by hand
# before you train with it.


# %%
def softmax_of_losses(num_tasks, *, temperature):
    """Weighs each task by exp(loss / temperature), normalised to sum 1."""

    def weigh(memory, evaluation):
        scores = evaluation.losses / temperature
        return jax.nn.softmax(scores, where=evaluation.present), memory

    return mtopt.weighting(num_tasks, weigh, heads="weighted")


method = softmax_of_losses(2, temperature=0.2)
jacobian = jnp.array([[1.0, 0.0], [0.0, 1.0]])
known = mtopt.Evaluation(losses=jnp.array([0.2 * np.log(3), 0.0]))
direction, _ = method.update(jacobian, method.init(jnp.zeros(2)), evaluation=known)
print(f"a loss larger by 0.2 log 3 has three times the weight: {direction}")

results["softmax of losses"] = train(method)

# %% [markdown]
# ## 5. The comparison
#
# The left digit against the right one on test images, whose digits no model was trained
# on. Small dots are seeds, large ones their mean; the dashed lines are models that were
# trained on one task alone. Up and to the right is better.
#
# Three seeds and a few hundred steps decide nothing. `python -m experiments.main` runs
# the long version, with single-task baselines, a table and error bars.

# %%
figure, axes = plt.subplots(figsize=(6, 4.2), layout="constrained")
for (name, (state, _)), colour in zip(results.items(), COLOURS, strict=True):
    test = accuracy(state, data.test)
    left, right = test.mean(axis=0)
    print(f"{name:<18} left {left:.3f}  right {right:.3f}  mean {test.mean():.3f}")
    axes.plot(*test.T, "o", color=colour, ms=5, mew=0, alpha=0.45)
    axes.plot(left, right, "o", color=colour, ms=10, mec="white", label=name)

for k, line in enumerate((axes.axvline, axes.axhline)):
    state, _ = train(mtopt.single_task(2, task=k))
    line(accuracy(state, data.test)[:, k].mean(), color="#555555", ls="--", lw=1)

axes.set(xlabel="test accuracy, left digit", ylabel="test accuracy, right digit")
axes.grid(color="#E6E6E6")
axes.set_axisbelow(True)
axes.spines[["top", "right"]].set_visible(False)
figure.legend(loc="outside right upper", frameon=False)
plt.show()
