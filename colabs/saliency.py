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
# # Task saliency: what Rep-MTL regularises, and what it changes
#
# The saliency of task k is the gradient of its loss with respect to the representation
# $Z$ that all tasks share, $S_k = \partial L_k / \partial Z$, of shape `[B, H, W, C]`:
# where, in each sample, does the task depend on what the encoder says?
#
# Rep-MTL ([arXiv 2507.21049](https://arxiv.org/abs/2507.21049)) adds two penalties on
# it. **TSR** is the entropy over *tasks* at every place $i$ of every sample,
#
# $$P_{k,i} = \frac{|\hat S_{k,i}|}{\sum_j |\hat S_{j,i}|}, \qquad
#   L_{tsr} = -\frac1N \sum_i \sum_k P_{k,i} \log P_{k,i}, \qquad
#   \hat S = \text{mean of } S \text{ over channels},$$
#
# low where one task has a place to itself, and log K where all depend on it alike.
# **CSA** is a contrastive loss that pulls the saliencies of different tasks on one
# sample together, and those of two samples apart. Both are differentiated through $S$.
#
# All of this notebook is the published form, `smoothing=0`, whose derivative has no
# bound where the channel means of a place nearly vanish. That of the default has one.
#
# ## A model whose representation has places
#
# Two convolutions with a pool between them make a representation of 4 x 4 places and 16
# channels, for a pair of overlapping digits on 10 x 10 pixels. The heads are small
# networks on all of it. Convolutions are written as matrix products on 3 x 3 patches,
# which `vmap` over seeds turns into ordinary batched products.

# %%
import os

FAST = os.environ.get("MTOPT_FAST", "") not in ("", "0")  # a few steps, for the tests

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx

import mtopt
from mtopt.data import multi_digits
from mtopt.models.functional import functional
from mtopt.models.layers import max_pool

jax.config.update("jax_disable_most_optimizations", FAST)  # the compiler's
SEEDS = (0, 1, 2)
STEPS, TIMES = (20, 2) if FAST else (800, 10)
BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
CHANNELS = 16


class Encoder(nnx.Module):
    """Images [B, 10, 10, 1] to a representation [B, 4, 4, 16]."""

    def __init__(self, rngs):
        self.first = nnx.Linear(9, 8, rngs=rngs)
        self.second = nnx.Linear(9 * 8, CHANNELS, rngs=rngs)

    def __call__(self, x):
        x = max_pool(jax.nn.relu(self.first(patches(x))))
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return jax.nn.relu(self.second(patches(x)))


def patches(x):
    """All neighbourhoods of 3 x 3: [B, H - 2, W - 2, 9 C]."""
    height, width = x.shape[1] - 2, x.shape[2] - 2
    shifts = [(i, j) for i in range(3) for j in range(3)]
    return jnp.concatenate(
        [x[:, i : i + height, j : j + width] for i, j in shifts], axis=-1
    )


def head(rngs):
    return nnx.Sequential(
        lambda z: z.reshape(z.shape[0], -1),
        nnx.Linear(16 * CHANNELS, 32, rngs=rngs),
        jax.nn.relu,
        nnx.Linear(32, 10, rngs=rngs),
    )


data = multi_digits(num_train=1_000 if FAST else 12_000)
model = functional(Encoder, head, data.tasks, kind=data.kind)
keys = jax.vmap(jax.random.key)(jnp.array(SEEDS))
start, _ = jax.jit(jax.vmap(model.init))(keys)


def train(method):
    """Parameters [seeds, ...] before the first step, and at TIMES moments after."""
    tx = mtopt.chain(method, optax.adam(2e-3))
    step = jax.jit(jax.vmap(mtopt.make_train_step(model.tasks, tx)))
    create = jax.vmap(lambda params, key: mtopt.TrainState.create(params, tx, key, {}))
    state, path = create(start, keys), [start]
    batches = data.train.batches(128, seeds=SEEDS)
    for t in range(1, STEPS + 1):
        state, _ = step(state, next(batches))
        if t % (STEPS // TIMES) == 0:
            path.append(state.params)
    return path


@jax.jit
def shares_right(params, samples):
    outputs = jax.vmap(model.predict, in_axes=(0, None, None))(params, {}, samples.x)
    return (outputs.argmax(-1) == samples.y).mean(axis=(1, 2))


def accuracy(path, split=data.test):
    """Per cent of samples named right after training, mean of both tasks, per seed."""
    return 100 * np.asarray(shares_right(path[-1], split.samples))


# %% [markdown]
# ## 1. The method, its parts, and its controls
#
# The paper descends the sum of the log-losses, and λ times each penalty. Here it is
# their mean, `log_losses(rep_mtl(equal_weighting(2)))`: with two tasks λ weighs twice
# as much, and the paper's 0.9 is 0.45 here. Two controls tell what the penalties do:
# the mean of the log-losses alone, and the saliency *detached*: the same
# penalties, but no gradient through $S$. Nothing else depends on the parameters, so a
# step of detached Rep-MTL must be one of the control, to rounding. Where roundings
# differ whole runs part all the same, as training magnifies them: what lies between
# these two is the noise.
#
# Gains are over the control with the same seed, ± their standard deviation over seeds.

# %%
MEAN = mtopt.equal_weighting(2)
LAMBDAS = (0.9,) if FAST else (0.1, 0.3, 0.9, 1.5)


def rep_mtl(**options):
    return mtopt.log_losses(mtopt.rep_mtl(MEAN, smoothing=0, **options))


runs = {"EW on log-losses": train(mtopt.log_losses(MEAN))}
control = runs["EW on log-losses"]
for value in LAMBDAS:
    runs[f"both, λ = {value}"] = train(rep_mtl(tsr=value, csa=value))
if not FAST:
    runs["TSR alone, λ = 0.9"] = train(rep_mtl(tsr=0.9, csa=0))
    runs["CSA alone, λ = 0.9"] = train(rep_mtl(tsr=0, csa=0.9))
    runs["detached, λ = 0.9"] = train(rep_mtl(tsr=0.9, csa=0.9, control="detached"))
    runs["EW on losses"] = train(MEAN)

scores = {name: accuracy(path) for name, path in runs.items()}
gains = {name: own - scores["EW on log-losses"] for name, own in scores.items()}
print(f"{'':<22} {'test, %':>13}   {'over the control':>16}")
for name, own in scores.items():
    gain = gains[name]
    print(
        f"{name:<22} {own.mean():6.2f} ± {own.std(ddof=1):.2f}"
        f"   {gain.mean():+8.2f} ± {gain.std(ddof=1):.2f}"
    )


@jax.jit
def directions(params, batch):
    """What the control and detached Rep-MTL make of one batch."""
    seen = model.tasks.problem(batch, jax.random.key(0)).evaluate(params)
    methods = (
        mtopt.log_losses(MEAN),
        rep_mtl(tsr=0.9, csa=0.9, control="detached"),
    )
    return [
        method.update(seen.gradients, method.init(params), params, evaluation=seen)[0]
        for method in methods
    ]


first_seed = jax.tree.map(lambda leaf: leaf[0], control[-1])
pair = directions(first_seed, next(data.train.in_order(128)))
apart = jax.tree.leaves(
    jax.tree.map(lambda a, b: abs(a - b).max() / abs(a).max(), *pair)
)
print(f"\none step, detached to control: {max(map(float, apart)):.0e} of the largest")

names = [name for name in runs if name != "EW on log-losses"]
figure, axes = plt.subplots(figsize=(7, 0.4 * len(names) + 1.2), layout="constrained")
axes.axvline(0, color=GREY, lw=1, ls="--")
for place, name in enumerate(names):
    colour = {"TSR": RED, "CSA": GREEN, "both": BLUE}.get(name[:4].strip(), GREY)
    axes.plot(gains[name], 3 * [place], "o", color=colour, ms=5, mew=0, alpha=0.4)
    axes.plot(gains[name].mean(), place, "o", color=colour, ms=9, mec="white")
axes.set_yticks(range(len(names)), names)
axes.invert_yaxis()
axes.set_xlabel(
    "test accuracy over equal weighting on log-losses, points, seed by seed"
)
axes.grid(color="#E6E6E6", axis="x")
axes.set_axisbelow(True)
plt.show()

# %% [markdown]
# On this problem the penalties do not help. CSA at 0.9 (-0.2 ± 0.1) and both at 0.1
# (-0.0 ± 0.6) are next to no effect. Both cost half a point at 0.3, two at 0.9, and
# seven at 1.5. The paper finds gains from 0.7 to 1.5 on its own data sets, 0.35 to 0.75
# in our units: no gain here on either side of that. TSR alone at 0.9 is not stable: it
# cost 1.9 ± 2.1, and 0.5 ± 0.8 and 7.6 ± 6.5 in two other runs of this notebook, which
# rounding sets apart. The detached run has the control's results here; in those it was
# 0.1 points from them, by rounding alone. One small model, three seeds, 800 steps and a
# temperature that the paper does not state do not speak for its benchmarks.
#
# ## 2. Entropy and alignment during training
#
# Both penalties on 512 validation samples, as plain functions of the saliency of the
# log-losses. Do the terms go down because they are penalised, or by themselves?

# %%
probe = next(data.valid.in_order(64 if FAST else 512))


@jax.jit
@jax.vmap
def penalties(params):
    problem = model.tasks.problem(probe, jax.random.key(0))
    # The slope of the logarithm: S of log L is S / L.
    saliency = mtopt.task_saliency(problem, params)
    saliency = saliency / problem.losses(params)[:, None, None, None, None]
    larger = jnp.abs(saliency[0].mean(-1)) > jnp.abs(saliency[1].mean(-1))
    return jnp.stack(
        [
            mtopt.task_saliency_regulation(saliency, smoothing=0),
            mtopt.cross_task_saliency_alignment(saliency, temperature=0.5),
            # Samples in which one and the same task has most of P at every place.
            (larger.all((1, 2)) | (~larger).all((1, 2))).mean(),
        ]
    )


SHOWN = {
    "EW on log-losses": GREY,
    "both, λ = 0.9": BLUE,
    "TSR alone, λ = 0.9": RED,
    "CSA alone, λ = 0.9": GREEN,
}
figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
steps = STEPS // TIMES * np.arange(TIMES + 1)
for name, colour in SHOWN.items():
    if name not in runs:
        continue
    values = np.stack([penalties(params) for params in runs[name]])  # [T, seeds, 3]
    print(f"{name:<20} at the end:", end="")
    for own, what in zip(values[-1].T, ("TSR", "CSA", "single owner"), strict=True):
        print(f"  {what} {own.mean():.2f} ± {own.std(ddof=1):.2f}", end="")
    print()
    for panel, own in zip(panels, np.moveaxis(values, -1, 0), strict=False):
        panel.fill_between(
            steps, own.min(1), own.max(1), color=colour, alpha=0.15, lw=0
        )
        panel.plot(steps, own.mean(1), color=colour, label=name)
panels[0].axhline(np.log(2), color="black", lw=1, ls=":")
panels[0].annotate(
    "log 2: alike", (steps[-1], np.log(2)), ha="right", va="bottom", fontsize=9
)
panels[0].set(title="TSR: entropy over tasks", xlabel="step", ylabel="nats")
panels[0].set_ylim(top=0.75)
panels[1].set(title="CSA: contrastive loss", xlabel="step")
for panel in panels:
    panel.grid(color="#E6E6E6")
figure.legend(
    *panels[0].get_legend_handles_labels(),
    loc="outside lower center",
    ncols=4,
    frameon=False,
)
plt.show()

# %% [markdown]
# The entropy falls by itself. TSR brings it down sooner, and does not end below the
# control (0.22 ± 0.04 and 0.22). CSA falls where it is penalised and nowhere else. With
# both, the entropy ends *above* the control's, and so it does with CSA alone: at equal
# coefficients the second penalty undoes what the first is for.
#
# How it falls by itself is worth a look: in 58 % of the samples the same task has most
# of P at *every* place of the control's model. What sets the two apart is the size of
# their saliencies on the sample, not where they look; with TSR it is little different
# (46 ± 16 %).
#
# ## 3. What saliency maps look like
#
# Where does each task look? The size of the channel mean, $|\hat S_k|$, of one
# validation image a row and seed 0, enlarged to the pixels, every map by its own
# largest value; and P, the share of the left task in it: blue places belong to the left
# digit, red ones to the right digit, white to both. The left digit stands top left, the
# right one two pixels down and to the right, so that most places show both.

# %%
models = {"before training": control[0], "without TSR": control[-1]}
tsr_run = "both, λ = 0.9" if FAST else "TSR alone, λ = 0.9"
models["with TSR"] = runs[tsr_run][-1]

pictures = jax.tree.map(np.asarray, next(data.valid.in_order(3)))


@jax.jit
def maps(params):
    """|channel mean| [K, B, 10, 10], and the share of the first task [B, 4, 4]."""
    problem = model.tasks.problem(pictures, jax.random.key(0))
    saliency = mtopt.task_saliency(problem, params)
    saliency = saliency / problem.losses(params)[:, None, None, None, None]
    size = jnp.abs(saliency.mean(-1))
    enlarged = jax.image.resize(size, (*size.shape[:2], 10, 10), "linear")
    return enlarged, size[0] / size.sum(0)


# A picture, then a gap and three panels for each model.
widths = [1, *3 * (0.15, 1, 1, 1)]
figure, grid = plt.subplots(
    3, len(widths), width_ratios=widths, figsize=(11, 3.9), layout="constrained"
)
for panel in grid.flat:
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
for row in range(3):
    left, right = pictures.y[:, row]
    grid[row, 0].imshow(pictures.x[row, ..., 0], cmap="gray_r")
    grid[row, 0].set_ylabel(f"{left} and {right}")
for column, (name, params) in enumerate(models.items()):
    size, share = maps(jax.tree.map(lambda leaf: leaf[0], params))
    size = np.asarray(size / size.max(axis=(2, 3), keepdims=True))
    for row in range(3):
        _, *panels = grid[row, 1 + 4 * column : 5 + 4 * column]
        for k, colours in enumerate(("Blues", "Reds")):
            panels[k].imshow(0.6 * pictures.x[row, ..., 0], cmap="gray_r", vmax=1)
            ink = np.full((10, 10), 0.75)
            panels[k].imshow(ink, cmap=colours, vmin=0, vmax=1, alpha=size[k, row])
        panels[2].imshow(share[row], cmap="RdBu", vmin=0, vmax=1)
    _, *panels = grid[0, 1 + 4 * column : 5 + 4 * column]
    for panel, title in zip(panels, ("left", f"{name}\nright", "P"), strict=True):
        panel.set_title(title, fontsize=10)
plt.show()

# %% [markdown]
# Before training P is a patchwork. Afterwards most samples have one colour, with TSR
# and without, as counted above: TSR lets a task own samples here rather than regions.
# That may be due to the data, where the digits overlap so much that both tasks need
# nearly all places. Three images of one seed show what a map is, and prove nothing
# about the method.
