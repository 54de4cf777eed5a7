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

# %%
# Installs mtopt, unless it is installed, from the checkout that this notebook is in. In
# Colab run "!git clone" and the repository's address first: the folder is found here.
import importlib.metadata
import os
import subprocess
import sys

if not any(importlib.metadata.distributions(name="mtopt")):
    near = ["..", ".", *os.listdir()]
    found = [place for place in near if os.path.exists(f"{place}/mtopt/chain.py")]
    if not found:
        raise FileNotFoundError("no checkout of mtopt around here: clone it first")
    target = f"{os.path.abspath(found[0])}[tables]"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", target], check=True)

# %% [markdown]
# # Tasks that hurt the rest: found, and let go
#
# R-MTGB ([arXiv 2507.11411](https://arxiv.org/abs/2507.11411)) boosts trees for many
# tasks at once and learns, per task, a logit $\theta_k$: how much of an outlier it is.
# For a jitted step on any network `mtopt` has two answers to its question:
#
# - `outlier_weighted(aggregator)` measures what training with the majority explains of
#   a task, and hands on weights; outliers leave the solve;
# - `gated(head)` on `branches(encoder)` is R-MTGB's own form: two networks, and a gate
#   $\sigma(\theta_k)$ of every task between them, all trained by gradient descent.
#
# ## Ten annotators
#
# Ten tasks name handwritten digits with *one* network, each on its own hundred images.
# Some of them do not do as they were told.

# %%
import dataclasses
import os

FAST = os.environ.get("MTOPT_FAST", "") not in ("", "0")  # a few steps, for the tests

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import mtopt
from mtopt.data import ArraySplit, planted_outliers
from mtopt.models.pooled_mlp import pooled_mlp

jax.config.update("jax_disable_most_optimizations", FAST)  # the compiler's
SEEDS = (0, 1, 2)
STEPS, EVERY = (40, 20) if FAST else (1000, 20)
BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
PLANTS = ("adversarial", "noisy", "unrelated")
planted = {plant: planted_outliers(plant=plant) for plant in PLANTS}

figure, panels = plt.subplots(3, 10, figsize=(9, 3.4), layout="constrained")
for line, plant in zip(panels, PLANTS, strict=True):
    samples = planted[plant].train.samples
    for panel, image, answer in zip(line, samples.x[0], samples.y[0], strict=False):
        panel.imshow(image[..., 0], cmap="gray_r")
        panel.set_title(f"“{answer}”", fontsize=10, color=RED)
        panel.set(xticks=[], yticks=[])
    line[0].set_ylabel(plant, fontsize=9)
figure.suptitle("what the planted outliers answer", fontsize=11)
plt.show()


# %%
def train(data, aggregator, gate=False):
    """Accuracies, and weights and logits (or what is explained) over time."""
    model = pooled_mlp(
        (8, 8, 1),
        names=data.tasks,
        kind=data.kind,
        outputs=data.outputs,
        x_axis=0,
        hidden=(64,),
        outlier_gate=gate,
    )
    keys = jax.vmap(jax.random.key)(jnp.array(SEEDS))
    params, _ = jax.jit(jax.vmap(model.init))(keys)
    tx = mtopt.chain(aggregator, optax.adam(1e-3))
    step = jax.jit(jax.vmap(mtopt.make_train_step(model.tasks, tx)))
    state = jax.vmap(lambda p, key: mtopt.TrainState.create(p, tx, key, {}))(
        params, keys
    )
    batches = data.train.batches(32, seeds=SEEDS)
    weights, logits = [], []
    for t in range(1, STEPS + 1):
        state, _ = step(state, next(batches))
        if t % EVERY == 0:
            where = state.params if gate else state.opt_state
            name = "outlier_logit" if gate else "explained"
            logits.append(optax.tree.get(where, name))
            weights.append(optax.tree.get(state.opt_state, "task_weights"))
    samples = data.test.samples
    outputs = jax.vmap(model.predict, in_axes=(0, None, None))(
        state.params, {}, samples.x
    )
    right = 100 * np.asarray((outputs.argmax(-1) == samples.y).mean(axis=-1))
    regular = np.array([name.startswith("regular") for name in data.tasks])
    history = [
        None if path[0] is None else np.stack(path) for path in (weights, logits)
    ]
    return right[:, regular].mean(1), right[:, ~regular], *history


def line(name, own, base=None):
    gain = "" if base is None else f"   {(own - base).mean():+6.2f}"
    print(f"{name:<44} {own.mean():6.2f} ± {own.std(ddof=1):.2f}{gain}")


# %% [markdown]
# ## 1. What they cost, and what finding them gives back
#
# Test accuracy of the *regular* tasks, in per cent, over three seeds. The last column
# is the difference to training without the outliers.

# %%
AGGREGATORS = {
    "equal weighting": mtopt.equal_weighting,
    "MGDA": mtopt.mgda,
    "UPGrad": mtopt.upgrad,
}
if FAST:
    AGGREGATORS, PLANTS = {"MGDA": mtopt.mgda}, PLANTS[:1]

alone = planted_outliers(keep_outliers=False)
found = {}
for name, method in AGGREGATORS.items():
    base = train(alone, method(7))[0]
    line(f"{name}, without outliers", base)
    own = train(alone, mtopt.outlier_weighted(method(7)))
    line("  outlier_weighted, none planted", own[0], base)
    for plant in PLANTS:
        line(f"  with 3 {plant}", train(planted[plant], method(10))[0], base)
        found[name, plant] = train(planted[plant], mtopt.outlier_weighted(method(10)))
        line(f"  with 3 {plant}, outlier_weighted", found[name, plant][0], base)

# %% [markdown]
# Wrong answers cost most where the direction serves, or spares, every task: adversaries
# under equal weighting and UPGrad. MGDA loses little, because its smallest convex
# combination leaves out whoever is far from done. `outlier_weighted` lets the planted
# tasks go as soon as most of the others are explained; where nobody is wrong, every
# task keeps its weight.
#
# ## 2. The weights over time
#
# Every line is a task of a seed. At first nobody is judged: until the tasks have been
# seen for `num_shared` batches, 50, and something is explained of most of them. Till
# then their weights make them count the same, whatever the unit of their losses.

# %%
figure, panels = plt.subplots(
    len(AGGREGATORS),
    len(PLANTS),
    figsize=(1 + 2.8 * len(PLANTS), 1 + 1.7 * len(AGGREGATORS)),
    sharex=True,
    sharey=True,
    squeeze=False,
    layout="constrained",
)
time = EVERY * np.arange(1, STEPS // EVERY + 1)
for row, name in zip(panels, AGGREGATORS, strict=True):
    for panel, plant in zip(row, PLANTS, strict=True):
        weights = found[name, plant][2]
        for tasks, colour in ((slice(3, None), BLUE), (slice(0, 3), RED)):
            lines = weights[..., tasks].reshape(len(time), -1)
            panel.plot(time, lines, color=colour, lw=0.9, alpha=0.6)
        panel.grid(color="#E6E6E6")
        if name == next(iter(AGGREGATORS)):
            panel.set_title(plant, fontsize=11)
    row[0].set_ylabel(name)
panels[0, 0].plot([], [], color=BLUE, label="regular")
panels[0, 0].plot([], [], color=RED, label="planted")
panels[0, 0].legend(frameon=False, fontsize=9, loc="center left")
for panel in panels[-1]:
    panel.set_xlabel("step")
plt.show()

# %% [markdown]
# ## 3. How wrong must a task be?
#
# One task of ten answers nine minus the digit on a share of its images, and is right on
# the others. The tolerance says how far it may fall behind the median task before it
# loses weight: half, by default.


# %%
def partly_wrong(share):
    """The first task wrong on a share of its images, in every split."""
    data = planted_outliers(num_outliers=1)

    def mixed(split):
        samples = split.samples
        wrong = np.random.default_rng(0).random(samples.y.shape[1]) < share
        own = jnp.where(wrong, samples.y[0], 9 - samples.y[0])
        y = samples.y.at[0].set(own)
        return ArraySplit(dataclasses.replace(samples, y=y), x_axis=0)

    splits = {name: mixed(getattr(data, name)) for name in ("train", "valid", "test")}
    return dataclasses.replace(data, **splits)


SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
TOLERANCES = (0.3, 0.5, 0.8)
if FAST:
    SHARES, TOLERANCES = (0.0, 1.0), (0.5,)
partial = {share: partly_wrong(share) for share in SHARES}
figure, panel = plt.subplots(figsize=(5.4, 3.2), layout="constrained")
for tolerance, colour in zip(TOLERANCES, (GREY, BLUE, RED), strict=False):
    last = np.array(
        [
            train(
                partial[share],
                mtopt.outlier_weighted(mtopt.equal_weighting(10), tolerance=tolerance),
            )[2][-1, :, 0]
            for share in SHARES
        ]
    )
    panel.plot(SHARES, last.mean(1), "o-", color=colour, label=f"tolerance {tolerance}")
    panel.fill_between(SHARES, last.min(1), last.max(1), color=colour, alpha=0.15, lw=0)
panel.set(xlabel="share of wrong answers of that task", ylabel="its weight at the end")
panel.grid(color="#E6E6E6")
panel.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# A task that errs on part of its images is explained in part, and keeps its weight
# until it falls behind the others by more than the tolerance: the larger it is, the
# sooner a task is let go. Where tasks are allowed to differ, lower it, and look at what
# is explained of each: `optax.tree.get(opt_state, "explained")`.
#
# ## 4. The gate
#
# Two networks, and no weights: outliers need not be let go, since they have a network
# of their own. That costs twice the parameters, and gives the outliers their answers
# back, too. Which of the two the outliers take is open (swapping the networks and the
# sign of every $\theta$ changes nothing): each seed is turned to have most tasks below.

# %%
figure, panels = plt.subplots(
    1,
    len(PLANTS),
    figsize=(1 + 2.8 * len(PLANTS), 2.6),
    sharey=True,
    squeeze=False,
    layout="constrained",
)
for panel, plant in zip(panels[0], PLANTS, strict=True):
    own, outliers, _, logits = train(
        planted[plant], mtopt.equal_weighting(10), gate=True
    )
    line(f"gate, equal weighting, 3 {plant}", own)
    line("  the outliers' own answers", outliers.mean(1))
    share = 1 / (1 + np.exp(-logits))
    share = np.where(np.median(share[-1], -1)[:, None] > 0.5, 1 - share, share)
    for tasks, colour in ((slice(3, None), BLUE), (slice(0, 3), RED)):
        lines = share[..., tasks].reshape(len(time), -1)
        panel.plot(time, lines, color=colour, lw=0.9, alpha=0.6)
    panel.set_title(plant, fontsize=11)
    panel.set(xlabel="step", ylim=(0, 1))
    panel.grid(color="#E6E6E6")
panels[0, 0].set_ylabel(r"$\sigma(\theta_k)$")
plt.show()

# %% [markdown]
# The adversaries' own answers come back (94 %), and the regular tasks lose a point at
# most against training without them. Noise cannot be learned, and ink needs more than
# a hundred images a task. With MGDA gates move less, and sometimes leave an adversary
# among the others (the experiment `outlier_tasks` has four aggregators): a gate learns
# as slowly as the networks do, while `outlier_weighted` decides within a few hundred
# steps.
