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
# # Which method, and is the difference real?
#
# A method that was tuned beats one that was not, for the tuning alone. `mtopt compare`
# gives every method the same number of trials, chooses each one's setting on validation
# data, and reads the test data of the chosen settings once. *Tuned fixed weights* and
# single-task models are always among them: a method that does not beat the former is
# not worth its cost.
#
# ## 1. The sweep
#
# Five questions about scikit-learn's digits, two on each image, and 200 answers to each
# (`mtopt.data.digit_questions` without the task that is planted wrong). Two methods
# compete with the weights: MGDA, and `flat_regions`, which looks at the losses around
# the parameters. A method's first trial is its defaults, at the experiment's learning
# rate; each other one draws a rate, and the options of the method.
#
# In a terminal the command is `mtopt compare --experiments=digit_questions ...`. Twelve
# trials of three seeds each take some minutes on two cores. Stopped at any point, the
# same command goes on.

# %%
import csv
import json
import os
import pathlib
import subprocess
import sys

FAST = os.environ.get("MTOPT_FAST", "") not in ("", "0")  # a few steps, for the tests

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Image, display
from scipy import stats

BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
STEPS, TRIALS = (20, 1) if FAST else (400, 3)

sweep = pathlib.Path("compared")
command = [
    *(sys.executable, "-m", "mtopt_experiments.compare"),
    "--experiments=digit_questions",
    "--config.data=digit_questions(tasks=('digit','even','large','loops','rest of 3'))",
    "--method=mgda",
    "--method=flat_regions(equal_weighting)",
    f"--trials={TRIALS}",
    f"--config.steps={STEPS}",
    f"--config.eval_every={STEPS // 10}",
    f"--out={sweep}",
]
done = subprocess.run(command, capture_output=True, text=True)
if done.returncode:
    raise RuntimeError(done.stderr)
print((sweep / "table.txt").read_text(encoding="utf-8").split("minus", 1)[0].strip())

# %% [markdown]
# ## 2. What tuning is worth
#
# Every trial on validation data, the chosen one filled. How far apart are the trials of
# one method, and how far the best of different methods?

# %%
with (sweep / "trials.csv").open(encoding="utf-8", newline="") as file:
    trials = list(csv.DictReader(file))
names = list(dict.fromkeys(trial["method"] for trial in trials))
COLOURS = dict(zip(names, (GREY, BLUE, RED, GREEN), strict=True))

figure, panel = plt.subplots(figsize=(7.5, 3.4), layout="constrained")
for name, marker in zip(names, "os^D", strict=True):
    own = [trial for trial in trials if trial["method"] == name]
    for chosen, face in (("0", "white"), ("1", COLOURS[name])):
        some = [trial for trial in own if trial["chosen"] == chosen]
        panel.plot(
            [float(trial["learning_rate"]) for trial in some],
            [float(trial["validation"]) for trial in some],
            marker,
            mec=COLOURS[name],
            mfc=face,
            ms=9,
            mew=1.8,
            label=name if chosen == "1" else None,
        )
panel.set(xscale="log", xlabel="learning rate", ylabel="validation accuracy")
panel.set_title("all trials, the chosen ones filled", fontsize=11)
panel.grid(color="#E6E6E6")
panel.set_axisbelow(True)
figure.legend(loc="outside right upper", frameon=False)
plt.show()
for trial in trials:
    star = "*" if trial["chosen"] == "1" else " "
    numbers = f"{float(trial['validation']):.3f}  rate {trial['learning_rate']:<10}"
    print(f"{star} {numbers} {trial['setting']}")

# %% [markdown]
# The learning rate alone moves MGDA by three points, and flat regions with a radius far
# too large, at a rate far too small, are last of all. The chosen settings of all four
# are within eight points. Which method wins at somebody's favourite setting is decided
# by the setting.
#
# ## 3. Seed by seed
#
# The chosen settings on test data. Seeds of all methods start from the same weights and
# see the same batches, so that differences are taken seed by seed: what a lucky start
# gives to all of them cancels. Dots are seeds, bars 95 % intervals of the mean
# difference to tuned fixed weights. (`table.txt` in the folder corrects the p-values
# for the number of methods.)

# %%
(group,) = json.loads((sweep / "results.json").read_text(encoding="utf-8"))["groups"]
rows = [group["baseline"], *group["methods"]]
test = {row["name"]: np.array(row["test"])[..., 0] for row in rows}  # [seeds, K]
base = test["fixed_weighting"].mean(axis=1)

print(f"{'test accuracy':<34}" + "".join(f"{task:>14}" for task in group["tasks"]))
for name, own in test.items():
    print(f"{name:<34}" + "".join(f"{mean:>14.3f}" for mean in own.mean(axis=0)))

figure, panel = plt.subplots(figsize=(7.5, 2.4), layout="constrained")
others = [name for name in names if name != "fixed_weighting"]
for place, name in enumerate(others):
    gain = 100 * (test[name].mean(axis=1) - base)
    reach = stats.sem(gain) * stats.t.ppf(0.975, len(gain) - 1)
    panel.errorbar(
        gain.mean(), place, xerr=reach, fmt="o", ms=8, capsize=4, color=COLOURS[name]
    )
    panel.plot(gain, np.full(len(gain), place + 0.2), "o", ms=4, color=COLOURS[name])
panel.axvline(0, color=GREY, ls="--", lw=1)
panel.set_yticks(range(len(others)), others)
panel.set(ylim=(-0.6, len(others) - 0.3), title="test accuracy, minus fixed_weighting")
panel.set_xlabel("points, mean of five tasks; better to the right")
panel.grid(color="#E6E6E6", axis="x")
panel.set_axisbelow(True)
plt.show()

# %% [markdown]
# Both methods are ahead of tuned weights in every seed, by four and five points, and
# their intervals do not reach 0. Single-task models are behind, in every seed as well;
# with three seeds, that interval just reaches 0.
#
# What it does *not* say: an interval is over seeds, not over draws. Equal weights and
# two draws are few for five weights; a learning rate is easier to hit. The
# honest next step is more trials: `--trials=10` with the same `--out` keeps these three
# and adds seven for everybody. `--method=equal_weighting` adds a method, likewise.
#
# ## 4. Over tasks
#
# A mean of accuracies may be one task's doing. Ranks ask how often a method comes
# first: methods are ranked on each of the five tasks, and a bar joins those whose mean
# ranks Nemenyi's test does not tell apart. The sweep has drawn this picture itself.

# %%
display(Image(sweep / "ranks.png", width=760))

# %% [markdown]
# The order is the same on all five tasks, and still five tasks are too few to tell
# neighbours apart: flat regions differ from fixed weights, and of MGDA between them the
# test says nothing. Seed by seed it was ahead of the weights. There is no
# contradiction: seeds ask whether the difference on *these* tasks is luck, ranks
# whether it would be the same on others.
#
# So a fair sentence is: *on this data, with three trials each, flat regions and MGDA
# beat fixed weights, by four to five points; which of the two is better is not settled,
# nor is anything about other tasks.* `mtopt compare` takes several `--experiments`, and
# `compared/report.html` has all of this on one page.
