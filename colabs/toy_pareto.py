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
# # Two losses in the plane: where methods end
#
# A problem so small that all of it can be drawn: the parameters are a point of the
# plane, and two losses pull at it. No loss can fall on the *Pareto front* unless the
# other rises. Which of its points a method reaches, from where, and what units have to
# do with it, is what tells methods apart.

# %%
import os

FAST = os.environ.get("MTOPT_FAST", "") not in ("", "0")  # a few steps, for the tests

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import mtopt
from mtopt.data import toy

jax.config.update("jax_enable_x64", True)  # the valley's walls magnify rounding
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
GREY = "#555555"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})


def encode(point, scale, key):
    return jnp.append(point, scale)[None]


def head_loss(head, z, label, mask, key):
    return jnp.stack(toy.losses(z[0, :2], z[0, 2]))[label[0]]


valley = mtopt.Tasks(toy.NAMES, encode, head_loss)


def paths(tasks, aggregator, starts, scale=1.0, steps=50_000, rate=1e-3, kept=500):
    """Points [starts, 1 + kept, 2] on the way of Adam, the starts and ends included."""
    tx = mtopt.chain(aggregator, optax.adam(rate))
    step = mtopt.make_train_step(tasks, tx)
    one = toy.toy_batch()
    batch = mtopt.Batch(jnp.array([scale]), one.y, one.mask)
    every = 1 if FAST else steps // kept

    def several(state, _):
        state = jax.lax.fori_loop(0, every, lambda _, s: step(s, batch)[0], state)
        return state, state.params["shared"]

    def path(start):
        state = mtopt.TrainState.create(toy.toy_params(start), tx, jax.random.key(0))
        points = jax.lax.scan(several, state, length=kept)[1]
        return jnp.concatenate([start[None], points])

    return jax.vmap(path)(jnp.array(starts))


# %% [markdown]
# ## 1. Five starts, six methods
#
# The problem that Nash-MTL, FAMO and others draw: the first loss has a tenth of the
# second's scale, and a narrow valley lies between the starts and the front. Shades are
# the mean of the losses, rings the starts, discs the ends after 50,000 steps of Adam,
# and the thick line is the front.

# %%
METHODS = {
    "equal weighting": mtopt.equal_weighting(2),
    "MGDA": mtopt.mgda(2),
    "PCGrad": mtopt.pcgrad(2),
    "Aligned-MTL": mtopt.aligned_mtl(2),
    "IMTL-G": mtopt.imtl_g(2),
    "Nash-MTL": mtopt.nash_mtl(2),
}
STARTS = toy.STARTS["nash_mtl"]
SCALE = 0.1
front, front_losses = toy.pareto_front(201)


def on_front(points):
    """Which points [N, 2] are nearer to the front than 0.05."""
    distances = np.linalg.norm(points[:, None] - front, axis=-1)
    return distances.min(axis=1) < 0.05


def from_starts(method):
    return np.asarray(jax.jit(lambda: paths(valley, method, STARTS, SCALE))())


found = {name: from_starts(method) for name, method in METHODS.items()}

losses = jax.jit(jax.vmap(toy.losses, in_axes=(0, None)))
ticks = np.linspace(-11, 11, 221)
grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
mean = np.mean(losses(grid, SCALE), axis=0).reshape(221, 221)

figure, panels = plt.subplots(
    2, 3, figsize=(9, 6.3), sharex=True, sharey=True, layout="constrained"
)
for panel, (name, path) in zip(panels.flat, found.items(), strict=True):
    panel.contourf(ticks, ticks, mean, levels=14, cmap="Greys_r", alpha=0.4)
    panel.plot(*front.T, color="black", lw=4, solid_capstyle="round")
    for own, colour in zip(path, COLOURS, strict=True):
        panel.plot(*own.T, color=colour, lw=1.5)
        panel.plot(*own[0], "o", mfc="white", mec=colour, mew=1.5, ms=7)
        panel.plot(*own[-1], "o", color=colour, mec="white", ms=9, zorder=5)
    panel.set_title(f"{name}: {on_front(path[:, -1]).sum()} of 5 on the front")
    panel.set(aspect="equal", xlim=(-11, 11), ylim=(-11, 11))
for panel in panels[-1]:
    panel.set_xlabel("$x_1$")
for panel in panels[:, 0]:
    panel.set_ylabel("$x_2$")
plt.show()

# %% [markdown]
# Equal weighting descends the mean, and the second loss dominates it: four starts end
# at one point, almost the best one for $L_2$, and the fifth stays in the valley,
# between gradients that oppose each other. PCGrad stops there, too, at the border to
# the lower half. The other four reach the front from everywhere. *Where* on it is
# decided by the start and the method: Aligned-MTL ends near equal weighting, IMTL-G and
# Nash-MTL spread out, and MGDA ends at the right from three starts, on the side of the
# loss that is scaled down.
#
# ## 2. The same ends, as losses
#
# What a user has of it is a trade-off. The front again, now in the plane of the two
# losses, both better to the left and below.

# %%
figure, panel = plt.subplots(figsize=(6.5, 4), layout="constrained")
panel.plot(*(front_losses * [SCALE, 1]).T, color="black", lw=2, label="Pareto front")
for name, marker, colour in zip(METHODS, "os^vDP", (GREY, *COLOURS), strict=True):
    ends = np.stack(losses(found[name][:, -1], SCALE))
    panel.plot(*ends, marker, color=colour, mec="white", ms=9, label=name)
panel.set(xlabel="$L_1$, better to the left", ylabel="$L_2$, better below")
panel.set_title("where five starts end")
panel.grid(color="#E6E6E6")
panel.set_axisbelow(True)
figure.legend(loc="outside right upper", frameon=False)
plt.show()

# %% [markdown]
# Methods that are all on the front are not equal, and nothing here says which trade-off
# is the better one: that is for the user. The two points away from it, above right, are
# worse for *both* losses than much of the front.
#
# ## 3. What the unit of a loss changes
#
# Nobody chose that $L_1$ is a tenth of $L_2$: it is what happens if one loss is in
# metres and another in decimetres. The front, as points, does not depend on it. Do the
# ends? Below, one start and nine scales; `normalize_rows` in front of an aggregator
# brings all gradients to unit length.

# %%
SCALES = np.geomspace(0.01, 100, 9)
UNITS = {
    "equal weighting": mtopt.equal_weighting(2),
    "MGDA": mtopt.mgda(2),
    "normalize_rows, then equal weighting": mtopt.chain(
        mtopt.normalize_rows(2), mtopt.equal_weighting(2)
    ),
    "Nash-MTL": mtopt.nash_mtl(2),
}


def ends_at_scales(method):
    """Where the start (0, 0) ends, the first coordinate at every scale."""

    def end(scale):
        return paths(valley, method, STARTS[1:2], scale)[0, -1, 0]

    return jax.jit(jax.vmap(end))(SCALES)


figure, panel = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
for (name, method), marker, colour in zip(
    UNITS.items(), "os^D", (GREY, *COLOURS), strict=False
):
    place = ends_at_scales(method)
    size = 10 if "rows" in name else 6  # it lies below that of Nash-MTL
    panel.plot(SCALES, place, marker + "-", ms=size, color=colour, label=name)
panel.set(xscale="log", xlabel="scale of $L_1$", ylabel="$x_1$ at the end")
panel.set_title("from (0, 0): 7 is best for $L_1$, -7 for $L_2$")
panel.grid(color="#E6E6E6")
figure.legend(loc="outside right upper", frameon=False)
plt.show()

# %% [markdown]
# Equal weighting follows the larger loss, MGDA the smaller one: the shortest vector of
# the hull of two gradients is nearly the shorter gradient. With gradients of unit
# length the scale is gone, as it is with Nash-MTL, whose line lies on the other: both
# end in the middle, whatever the unit. If the unit *means* something, that is a loss;
# if it does not, equal weighting and MGDA answer a question that nobody asked.
#
# ## 4. Preferences, and a front that is not convex
#
# A front can be walked by asking for its points one by one. Weights of a sum are the
# obvious way to ask, but no weighted sum has its minimum where the front is bent
# inwards. This problem, drawn by Pareto MTL and EPO, is nothing else:
#
# $$L_1 = 1 - e^{-\lVert x - a \rVert^2}, \qquad L_2 = 1 - e^{-\lVert x + a \rVert^2},
#   \qquad a = (1, 1) / \sqrt 2.$$
#
# Another problem is another `head_loss`.

# %%
CENTRES = jnp.array([[1.0, 1.0], [-1.0, -1.0]]) / np.sqrt(2)


def bent_loss(head, z, label, mask, key):
    return 1 - jnp.exp(-((z[0, :2] - CENTRES[label[0]]) ** 2).sum())


bent = mtopt.Tasks(toy.NAMES, encode, bent_loss)


def both_losses(points):
    squares = ((np.asarray(points)[..., None, :] - CENTRES) ** 2).sum(-1)
    return 1 - np.exp(-squares)


ANGLES = np.linspace(0, np.pi / 2, 11)[1:-1]
RAYS = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)  # L_2 / L_1 as wanted
ASKED = {
    "weighted sum": lambda ray, k: mtopt.fixed_weighting(2, weights=1 / ray),
    "smooth Tchebycheff": lambda ray, k: mtopt.smooth_tchebycheff(
        2, mu=0.02, preference=1 / ray
    ),
    "Pareto MTL": lambda ray, k: mtopt.pareto_mtl(
        2, preferences=RAYS, index=k, search_steps=500
    ),
    "EPO": lambda ray, k: mtopt.epo(2, preference=1 / ray),
}


def ends_of(method):
    """Where every preference ends that starts at one point: [rays, 2]."""

    def end(ray, k):
        start = [(0.3, -0.2)]
        return paths(bent, method(ray, k), start, steps=3000, rate=3e-3, kept=1)[0, -1]

    return jax.jit(jax.vmap(end))(RAYS, jnp.arange(len(RAYS)))


line = both_losses(np.linspace(*CENTRES, 201))
figure, panels = plt.subplots(
    1, 4, figsize=(11, 3.2), sharex=True, sharey=True, layout="constrained"
)
colours = plt.colormaps["viridis"](np.linspace(0, 0.9, len(RAYS)))
for panel, (name, method) in zip(panels, ASKED.items(), strict=True):
    ends = both_losses(ends_of(method))
    panel.plot(*line.T, color="black", lw=2)
    for ray, end, colour in zip(RAYS, ends, colours, strict=True):
        panel.plot(*np.stack([0 * ray, 1.5 * ray]).T, color=colour, lw=0.7)
        panel.plot(*end, "o", color=colour, mec="white", ms=8, clip_on=False, zorder=3)
    panel.set(title=name, xlabel="$L_1$", aspect="equal")
    panel.set(xlim=(0, 1.05), ylim=(0, 1.05))
panels[0].set_ylabel("$L_2$")
plt.show()

# %% [markdown]
# The weighted sums end at one end of the front or the other, whatever the weights:
# minima of one loss alone. Smooth Tchebycheff, which follows the worst weighted loss,
# and EPO end near the rays or on them, so that preferences trace the front. Pareto MTL
# promises less, a point in the *region* around each ray, and keeps it. All of it is one
# program for each method: the preference is a number that may be traced, and `vmap`
# runs all nine side by side.
