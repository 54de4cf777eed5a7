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
# # Your own table, your own model
#
# From a data frame with holes to predictions in its units, with a model of yours: one
# of Flax NNX, then the same in plain JAX; in a loop of yours, then in the runner.
#
# ## 1. A frame with missing labels
#
# Cell nuclei of 569 tumours, from scikit-learn. The inputs are the mean size and shape
# of a tumour's nuclei; the tasks are three properties of its *worst* nuclei. To have
# something missing, half of the labels are taken away at random, column by column.
# `from_frame` takes empty cells of a task for missing labels, scales numbers by the
# training part (text, categories and dates it would encode), and says what it read.

# %%
import inspect
import os
import pathlib
import subprocess
import sys

FAST = os.environ.get("MTOPT_FAST", "") not in ("", "0")  # a few steps, for the tests

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_breast_cancer

import mtopt
from mtopt.data import describe, from_frame
from mtopt.models import functional
from mtopt.models.heads import linear_head

COLOURS = ("#0072B2", "#D55E00", "#009E73")
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
TASKS = ["worst concavity", "worst smoothness", "worst texture"]  # sorted

tumours = load_breast_cancer(as_frame=True).data
inputs = [name for name in tumours if name.startswith("mean")]
frame = tumours[inputs + TASKS].copy()
away = np.random.default_rng(0).random((len(frame), len(TASKS))) < 1 / 2
frame[TASKS] = frame[TASKS].mask(away)
frame[["mean radius", *TASKS]].head(6)

# %%
data = from_frame(frame, tasks=TASKS)
print("inputs:", ", ".join(data.reading["inputs"]))
for task, found in describe(data)["tasks"].items():
    print(f"{task:<17}", found["labels"], f"mean {found['mean']:.3g}")

# %% [markdown]
# ## 2. A model of Flax NNX
#
# Two ordinary modules: an encoder that all tasks share, and the head of one task.
# `functional` makes the functions of them that a step needs. The arguments of
# `residual` are those by which the runner will call it in section 5.


# %%
def residual(input_shape, *, names, kind, outputs, x_axis, dtype, width=16):
    class Encoder(nnx.Module):
        """Blocks that each add a little to what they are given."""

        def __init__(self, rngs):
            self.first = nnx.Linear(input_shape[0], width, rngs=rngs)
            blocks = (nnx.Linear(width, width, rngs=rngs) for _ in range(2))
            self.blocks = nnx.List(blocks)
            self.norm = nnx.LayerNorm(width, rngs=rngs)

        def __call__(self, x):
            z = self.first(x)
            for block in self.blocks:
                z = z + jax.nn.gelu(block(self.norm(z)))
            return z

    head = linear_head(width, outputs, kind=kind)
    return functional(Encoder, head, names, kind=kind, x_axis=x_axis)


model = residual(
    data.train.samples.x.shape[1:],
    names=data.tasks,
    kind=data.kind,
    outputs=data.outputs,
    x_axis=data.x_axis,
    dtype=jnp.float32,
)
params, model_state = model.init(jax.random.key(0))
print("shared:", jax.tree.map(jnp.shape, params["shared"]))
print("heads: ", jax.tree.map(jnp.shape, params["tasks"].values))

# %% [markdown]
# ## 3. A loop of your own
#
# The loop knows neither the model nor the method. A sample without a label for a task
# has no part in that task's loss, and a task without labels in a batch none in the
# step.

# %%
STEPS, EVERY = (20, 10) if FAST else (300, 10)
METHOD = mtopt.chain(mtopt.upgrad(3), optax.adamw(2e-3, weight_decay=1e-2))


def r2(predicted, split):
    """Coefficient of determination of each task, on the labels that there are."""
    y, real = np.asarray(split.samples.y), np.asarray(split.samples.mask)
    errors = ((predicted - y) ** 2).sum(axis=1, where=real)
    mean = y.mean(axis=1, where=real, keepdims=True)
    return 1 - errors / ((y - mean) ** 2).sum(axis=1, where=real)


def train(tasks, params, predict):
    """The trained parameters, and R² on validation data over time [T, K]."""
    step = jax.jit(mtopt.make_train_step(tasks, METHOD))
    state = mtopt.TrainState.create(params, METHOD, jax.random.key(1))
    batches, curve, predict = data.train.batches(64, seeds=(0,)), [], jax.jit(predict)
    for t in range(1, STEPS + 1):
        batch = jax.tree.map(lambda leaf: leaf[0], next(batches))  # one seed
        state, _ = step(state, batch)
        if t % EVERY == 0:
            curve.append(r2(predict(state.params, data.valid.samples.x), data.valid))
    return state.params, np.array(curve)


def of_nnx(params, x):
    return model.predict(params, model_state, x)


trained = {"Flax NNX": (of_nnx, *train(model.tasks, params, of_nnx))}

# %% [markdown]
# ## 4. The same loop, a model of plain JAX
#
# Without a library of layers a model is two functions of one task and a tree of
# parameters: `encode` for what is shared, `head_loss` for what is not. mtopt maps them
# over the tasks, whose heads are stacked. Equinox and others fit the same way: the
# arrays of a module are the tree.


# %%
def encode(shared, x, key):
    for layer in shared:
        x = jax.nn.gelu(x @ layer["w"] + layer["b"])
    return x


def head_output(head, z):
    return z @ head["w"] + head["b"]


def head_loss(head, z, y, mask, key):
    return mtopt.masked_mean((head_output(head, z) - y) ** 2, mask)


def of_plain(params, x):
    z = encode(params["shared"], x, None)
    return jax.vmap(head_output, in_axes=(0, None))(params["tasks"].values, z)


def layers(key, *widths):
    keys = jax.random.split(key, len(widths) - 1)
    return [
        {"w": jax.random.normal(k, (a, b)) / np.sqrt(a), "b": jnp.zeros(b)}
        for k, a, b in zip(keys, widths, widths[1:], strict=False)
    ]


own = {
    "shared": layers(jax.random.key(0), data.train.samples.x.shape[1], 32, 32),
    "tasks": mtopt.PerTask(
        {"w": jnp.zeros((3, 32)), "b": jnp.zeros(3)}, names=data.tasks
    ),
}
plain = mtopt.Tasks(data.tasks, encode, head_loss, kind=data.kind)
trained["plain JAX"] = (of_plain, *train(plain, own, of_plain))

figure, panels = plt.subplots(1, 3, figsize=(9, 2.9), sharey=True, layout="constrained")
for k, (panel, task) in enumerate(zip(panels, data.tasks, strict=True)):
    for (name, (_, _, curve)), colour in zip(trained.items(), COLOURS, strict=False):
        panel.plot(
            EVERY * np.arange(1, len(curve) + 1), curve[:, k], color=colour, label=name
        )
    panel.axhline(0, color="#555555", ls="--", lw=1)
    panel.set(title=task, xlabel="step", ylim=(-0.5, 1))
    panel.grid(color="#E6E6E6")
panels[0].set_ylabel("validation R²")
panels[-1].legend(frameon=False, loc="lower right")
plt.show()

# %% [markdown]
# About 200 labels of each task are enough for both. The loop keeps the last step,
# though some curves were higher before: which step is best is to be chosen on
# validation data, which the runner does.
#
# ## 5. The runner
#
# A loop of one's own has no checkpoints, tables or pictures; the runner has. It takes
# the frame as a file, and the model as `module:name` from a module in the folder, here
# the text of the function above. In a terminal the command is `mtopt run`, with the
# same flags.

# %%
frame.to_csv("tumours.csv", index=False)
IMPORTS = """import jax
from flax import nnx
from mtopt.models import functional
from mtopt.models.heads import linear_head
"""
pathlib.Path("my_model.py").write_text(IMPORTS + inspect.getsource(residual))
command = [
    *(sys.executable, "-m", "mtopt_experiments.main"),
    *("--data=tumours.csv", f"--tasks={','.join(TASKS)}"),
    "--model=my_model:residual(width=16)",
    *("--method=equal_weighting", "--method=upgrad"),
    f"--config.steps={STEPS}",
    f"--config.eval_every={EVERY}",
    *("--config.batch_size=64", "--out=run"),
]
done = subprocess.run(command, capture_output=True, text=True)
if done.returncode:
    raise RuntimeError(done.stderr)
table = pathlib.Path("run/table.txt").read_text(encoding="utf-8")
print(table.split("\n\nΔm%")[0])  # the rest explains the columns

# %% [markdown]
# Single-task models are ahead on texture here, and level on the other two: three tasks
# that have little to give one another, and a baseline that a loop of one's own rarely
# has.
#
# ## 6. Predictions
#
# `mtopt.load` reads a model of the run, and takes rows as the file has them: their
# scaling and categories are kept with it. Predictions are in the units of the columns.
# The labels that were taken away are a test that no training has seen.

# %%
loaded = mtopt.load("run", method="upgrad", seed=0)
found = loaded.predict(tumours[inputs])
print({task: values[:3].round(2).tolist() for task, values in found.items()})

figure, panels = plt.subplots(1, 3, figsize=(9, 3.1), layout="constrained")
for k, (panel, task) in enumerate(zip(panels, TASKS, strict=True)):
    real, hidden = tumours[task].to_numpy(), away[:, k]
    own = found[task][hidden]
    panel.plot(real[hidden], own, "o", ms=3, color=COLOURS[k], alpha=0.6)
    ends = [real.min(), real.max()]
    panel.plot(ends, ends, color="#555555", ls="--", lw=1)
    likeness = np.corrcoef(real[hidden], own)[0, 1]
    panel.set(title=f"{task}: correlation {likeness:.2f}", xlabel="label, taken away")
    panel.grid(color="#E6E6E6")
panels[0].set_ylabel("prediction")
plt.show()

# %% [markdown]
# Half of the labels were enough to fill in the other half, if not to the last digit.
# The same from a terminal: `mtopt predict --run=run --method=upgrad --data=new.csv
# --out=predictions.csv`.
