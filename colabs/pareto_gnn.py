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
# # Five tasks without labels, one graph encoder
#
# ParetoGNN ([arXiv 2210.02016](https://arxiv.org/abs/2210.02016)) trains an encoder of
# graphs on five pretext tasks at once, and lets MGDA weigh them. In `mtopt` they are
# ordinary tasks of the one training step: each makes its own view of the graph *inside*
# it, from a key of its own, with shapes that never change.
#
# ## A graph with planted classes
#
# Four classes; nodes of a class are joined ten times as often as others, and prefer
# words of their own. No method below sees a class before the evaluation.

# %%
import os

FAST = os.environ.get("MTOPT_FAST", "") not in ("", "0")  # a few steps, for the tests

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.manifold import TSNE

import mtopt
from mtopt.data.graphs.nodes import stochastic_blocks
from mtopt.data.graphs.partition import partition
from mtopt.metrics.probes import clustering_nmi, probe_accuracy
from mtopt.models.gcn import gcn
from mtopt.pretext import PRETEXTS, pretext_model
from mtopt.training.conflicts import gradient_conflicts

jax.config.update("jax_disable_most_optimizations", FAST)  # the compiler's
SEEDS = (0,) if FAST else (0, 1, 2)
STEPS, EVERY = (4, 2) if FAST else (100, 5)
SIZE = {"nodes": 100, "within": 0.2} if FAST else {}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})

data = stochastic_blocks(**SIZE)
graph = data.graph
order = np.argsort(data.labels, kind="stable")
place = np.argsort(order)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
ends = place[np.concatenate([data.edges, data.edges[:, ::-1]])]
left.plot(*ends.T, ",", color=COLOURS[0])
left.set(title=f"{len(data.edges)} edges, nodes by class", xticks=[], yticks=[])
left.set_aspect("equal")
words = np.asarray(data.raw.project(jnp.eye(data.raw.shape[1])))
topics = np.argsort(np.arange(words.shape[1]) % data.classes, kind="stable")
right.imshow(words[order][:, topics], cmap="Blues", aspect="auto")
right.set(title="words, by whose they are", xticks=[], yticks=[])
right.set_ylabel("nodes by class")
plt.show()

# %% [markdown]
# ## The tasks
#
# | pretext | what it asks of the encoder |
# |---|---|
# | `feature_reconstruction` | the words of nodes whose words are hidden |
# | `topology_reconstruction` | which pairs of nodes are joined |
# | `node_graph_information` | whether a node is of this graph or a shuffled one |
# | `node_subgraph_contrast` | which node of one random view is which of another |
# | `decorrelation` | the same in two views, with columns that say different things |
#
# Seeds train side by side: `vmap` over the step. Before every few steps
# `gradient_conflicts` looks at the gradients that the step is about to take.

# %%
encoder = gcn(data.features.shape[1], hidden=(128, 64))
options = {
    "node_subgraph_contrast": {"hidden": 256},
    "topology_reconstruction": {"edges": 1024, "hidden": 256},
}
pretexts = {n: make(encoder, **options.get(n, {})) for n, make in PRETEXTS.items()}
names = sorted(pretexts)
together = pretext_model(encoder, pretexts)
keys = jax.vmap(jax.random.key)(jnp.array(SEEDS, jnp.uint32))


def train(model, aggregator):
    """Embeddings ``[S, N, D]``, and what was seen of the tasks over time."""
    tx = mtopt.chain(aggregator, optax.adamw(5e-3, weight_decay=1e-5))

    def start(key):
        params, _ = model.init(key)
        return mtopt.TrainState.create(params, tx, jax.random.fold_in(key, 1))

    state = jax.jit(jax.vmap(start))(keys)
    one = model.batch(graph)
    batch = jax.tree.map(lambda a: jnp.broadcast_to(a, (len(SEEDS), *a.shape)), one)
    step = jax.jit(jax.vmap(mtopt.make_train_step(model.tasks, tx)))
    measure = gradient_conflicts(model.tasks)
    seen = {"norm": [], "cosine": [], "weights": []}
    for t in range(STEPS):
        found = measure(state, batch) if t % EVERY == 0 and model is together else {}
        state, _ = step(state, batch)
        if found:
            found = found | {"weights": optax.tree.get(state.opt_state, "weights")}
        for name, value in found.items():
            seen[name].append(np.asarray(value).mean(axis=0))
    assert step._cache_size() == 1  # every view of every step in one program
    embed = jax.jit(jax.vmap(model.predict, in_axes=(0, None, None)))
    return np.asarray(embed(state.params, None, graph)), {
        name: np.array(values) for name, values in seen.items()
    }


start = jax.vmap(lambda key: encoder.apply(encoder.init(key), graph))
z = {"raw words": words[None], "untrained": np.asarray(jax.jit(start)(keys))}
for name in [] if FAST else names:
    alone = pretext_model(encoder, {name: pretexts[name]})
    z[name], _ = train(alone, mtopt.equal_weighting(1))
methods = {
    "equal weighting": mtopt.equal_weighting(5),
    "MGDA, unit rows": mtopt.chain(mtopt.normalize_rows(5), mtopt.mgda(5)),
    "MGDA": mtopt.mgda(5, normalize="l2"),
}
course = {}
for text, method in list(methods.items())[-1 if FAST else 0 :]:
    z[text], course[text] = train(together, method)

# %% [markdown]
# ## Before and after

# %%
shown = ("raw words", "untrained", "MGDA")
figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for panel, name in zip(panels, shown, strict=True):
    unit = z[name][0] / np.maximum(np.linalg.norm(z[name][0], axis=1), 1e-9)[:, None]
    flat = TSNE(init="pca", random_state=0).fit_transform(unit)
    for k in range(data.classes):
        panel.plot(*flat[data.labels == k].T, "o", ms=3, color=COLOURS[k])
    panel.set(title=name, xticks=[], yticks=[])
figure.suptitle("nodes by t-SNE, coloured by class", fontsize=11)
plt.show()

# %% [markdown]
# ## What the embeddings are good for
#
# Frozen, they serve three tasks here: logistic regression for the classes and for a
# partition of the graph into ten parts, and k-means. (Link prediction needs an encoder
# that has not seen the edges: `experiments/pareto_gnn` trains a second one.)

# %%
parts = partition(data.edges, len(data.labels))
few = {"splits": 2 if FAST else 5, "exponents": (-2, 2, 6), "folds": 2}
tasks = {
    "classes": lambda own: probe_accuracy(own, data.labels, **few),
    "partition": lambda own: probe_accuracy(own, parts, **few),
    "k-means (NMI)": lambda own: clustering_nmi(own, data.labels, repeats=1),
}
scores = {
    name: np.array([[judge(own) for judge in tasks.values()] for own in seeds])
    for name, seeds in z.items()
}
print(f"{'':26}" + "".join(f"{name:>16}" for name in tasks))
for name, found in scores.items():
    cells = zip(found.mean(axis=0), found.std(axis=0), strict=True)
    print(f"{name:26}" + "".join(f"{mean:>9.3f} ± {sd:.3f}" for mean, sd in cells))

# %% [markdown]
# ## What each task weighs, and what it moves
#
# MGDA's weights come from *unit* gradients, but the step multiplies them with the
# gradients as they are: that is the paper's code, and `mgda(normalize="l2")`. Lengths
# differ by orders of magnitude, so that weights say little of who moves the encoder.
# `normalize_rows` before `mgda` also takes the step with unit gradients: then the step
# is the one that the weights were chosen for, of equal gain for every task.

# %%
count = len(course)
size = {"figsize": (1 + 3 * count, 5), "layout": "constrained"}
figure, panels = plt.subplots(
    2, count, sharex=True, sharey="row", squeeze=False, **size
)
for (above, below), (text, seen) in zip(panels.T, course.items(), strict=True):
    steps = EVERY * np.arange(len(seen["weights"]))
    lengths = 1 if "unit" in text else seen["norm"]
    for k in range(len(names)):
        above.plot(steps, seen["weights"][:, k], color=COLOURS[k])
        below.plot(steps, (seen["weights"] * lengths)[:, k], color=COLOURS[k])
    above.set_title(text)
    below.set(xlabel="step", yscale="log")
panels[0, 0].set_ylim(bottom=0)  # of the whole row, when all is drawn
panels[0, 0].set_ylabel("weight")
panels[1, 0].set_ylabel("length in the step")
handles = panels[0, 0].get_lines()
figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False)
plt.show()

# %% [markdown]
# ## Do they conflict?
#
# Cosines of the tasks' gradients of the encoder, means over training.

# %%
size = {"figsize": (1 + 3 * count, 3.6), "layout": "constrained"}
figure, panels = plt.subplots(1, count, squeeze=False, **size)
labels = [name.replace("_", "\n") for name in names]
for panel, (text, seen) in zip(panels[0], course.items(), strict=True):
    cosines = seen["cosine"].mean(axis=0)
    image = panel.imshow(cosines, vmin=-1, vmax=1, cmap="RdBu")
    for i, j in np.ndindex(*cosines.shape):
        colour = "white" if abs(cosines[i, j]) > 0.6 else "black"
        text_of = f"{cosines[i, j]:+.2f}"
        panel.text(j, i, text_of, ha="center", va="center", fontsize=7, color=colour)
    panel.set_xticks(range(5), labels, fontsize=6)
    panel.set_yticks(
        range(5), labels if panel is panels[0, 0] else [""] * 5, fontsize=6
    )
    panel.set_title(text, fontsize=10)
figure.colorbar(image, ax=panels, shrink=0.7, label="cosine")
plt.show()
