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
# # Architectures: when a gate for each task is worth its parameters
#
# A mixture of experts computes several small networks $f_e$ for all tasks, and a gate
# $w_k$ of each task mixes them: $z_k = \sum_e w_{k,e}(x) f_e(x)$. Its gain over one
# shared network has two sources. *Gating*: a function of the input multiplies what
# experts say, which helps even one task alone. *Routing*: each task takes the experts
# that serve it. To tell them apart, a control has one gate for all tasks.
#
# The tasks here are related as told: two groups of two tasks, each a function of one
# direction of the input. Within a group directions correlate by 0.95; across groups by
# 0, where there is something to route, to 0.95, where there is not.

# %%
import os

FAST = os.environ.get("MTOPT_FAST", "") not in ("", "0")  # a few steps, for the tests

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import mtopt
from mtopt.analysis import gates, silence
from mtopt.data import related_tasks
from mtopt.models import MODELS

jax.config.update("jax_disable_most_optimizations", FAST)  # the compiler's
SEEDS = (0, 1) if FAST else (0, 1, 2, 3, 4)
STEPS = 10 if FAST else 1000
ACROSS = (0.0, 0.95) if FAST else (0.0, 0.5, 0.95)
COLOURS = {"one gate": "#555555", "MMoE": "#0072B2", "CGC": "#D55E00"}
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## As many parameters each
#
# An architecture with more of them would win by that alone. Widths are chosen so that
# all have as many, within 2 %.

# %%
SHAPE, NAMES = (32,), related_tasks(num_train=2).tasks
KNOWN = {"names": NAMES, "kind": "regression", "outputs": 1}
models = {
    "shared bottom": MODELS["mlp"](SHAPE, hidden=(75, 16), **KNOWN),
    "one gate": MODELS["one_gate"](SHAPE, experts=4, hidden=(18, 16), **KNOWN),
    "MMoE": MODELS["mmoe"](SHAPE, experts=4, hidden=(16, 16), **KNOWN),
    "CGC": MODELS["cgc"](SHAPE, experts=2, own_experts=1, hidden=(11, 16), **KNOWN),
}
for name, model in models.items():
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    print(f"{name:<14} {sum(leaf.size for leaf in jax.tree.leaves(params)):,}")


# %% [markdown]
# ## The runs
#
# Each seed draws its own directions, function and samples. All seeds are trained side
# by side: `vmap` over models and data.


# %%
def drawn(across):
    """Training and test samples of every seed, stacked."""
    sets = [related_tasks(across=across, seed=seed) for seed in SEEDS]
    parts = [(data.train.samples, data.test.samples) for data in sets]
    return jax.tree.map(lambda *own: jnp.stack(own), *parts)


def run(model, train, test):
    """Parameters of every seed after training, and their squared test errors."""
    rate = optax.cosine_decay_schedule(3e-3, STEPS)
    tx = mtopt.chain(mtopt.equal_weighting(len(NAMES)), optax.adam(rate))
    step = mtopt.make_train_step(model.tasks, tx)

    def one(key, train, test):
        start, order = jax.random.split(key)
        params, state = model.init(start)
        rows = jax.random.randint(order, (STEPS, 128), 0, train.x.shape[0])

        def body(state, index):
            mask = jnp.ones((len(NAMES), len(index)), bool)
            batch = mtopt.Batch(train.x[index], train.y[:, index], mask)
            return step(state, batch)[0], None

        state = mtopt.TrainState.create(params, tx, key, state)
        state, _ = jax.lax.scan(body, state, rows)
        outputs = model.predict(state.params, {}, test.x)
        return state.params, ((outputs - test.y) ** 2).mean()

    keys = jax.vmap(jax.random.key)(jnp.array(SEEDS, jnp.uint32))
    return jax.jit(jax.vmap(one))(keys, train, test)


errors, trained = {}, {}
for across in ACROSS:
    train, test = drawn(across)
    for name, model in models.items():
        params, found = run(model, train, test)
        errors[across, name], trained[across, name] = np.asarray(found), params
        trained[across, "x"] = test.x

# %% [markdown]
# Ratios of test errors, seed by seed: their geometric mean. Left against the shared
# bottom, right against one gate.

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for panel, control in zip(panels, ("shared bottom", "one gate"), strict=True):
    for name, colour in COLOURS.items():
        if name == control:
            continue
        logs = [np.log(errors[a, name] / errors[a, control]) for a in ACROSS]
        mean = np.exp([own.mean() for own in logs])
        panel.plot(ACROSS, mean, "o-", color=colour, label=name)
        for a, own in zip(ACROSS, logs, strict=True):
            panel.plot([a] * len(own), np.exp(own), ".", color=colour, alpha=0.3)
    panel.axhline(1, color="#555555", lw=1)
    panel.set(xlabel="correlation across groups", title=f"test error / {control}")
panels[0].set_yscale("log")
panels[0].legend(frameon=False)
plt.show()

# %% [markdown]
# ## What the gates do
#
# `model.mixtures` says what each task gives each expert on each sample, and
# `mtopt.analysis.gates` what that comes to. Two tasks *agree* on a sample where the
# same expert weighs most. If gates route, tasks of a group agree more often than tasks
# of two groups.

# %%
for across in ACROSS:
    model = models["MMoE"]
    found = jax.vmap(lambda p, x, m=model: m.mixtures(p, {}, x))(
        trained[across, "MMoE"], trained[across, "x"]
    )
    (weights,) = found.weights.values()
    seen, silent = jax.vmap(gates)(weights), jax.vmap(silence)(found.experts)
    agree = np.asarray(seen.agreement)
    within = (agree[:, 0, 1].mean() + agree[:, 2, 3].mean()) / 2
    between = agree[:, :2, 2:].mean()
    print(
        f"across {across:4}: two tasks of a group agree on {within:.0%} of the samples,"
        f" of two groups on {between:.0%}; entropy {seen.entropy.mean():.2f} of"
        f" {np.log(4):.2f} nats; dead units {silent.units.mean():.0%}"
    )

# %% [markdown]
# ## What this says
#
# - One gate for all tasks is no better than a shared bottom of as many parameters,
#   unless nearly all is one function. Gates of the tasks' own are.
# - The gates route. Where groups have nothing in common, tasks of a group choose the
#   same expert on half of the samples, tasks of two groups on a fifth; where all tasks
#   are nearly one, the two numbers come together.
# - At 0.95 across groups routing still gains: tasks of which each two share 0.95 are
#   not one task. Five seeds are few, and the dots show how far they are apart; eight
#   seeds, other methods and real data are on the page of measured results,
#   `docs/results/architectures.md`.
