"""Comparisons with planted numbers, and the folders of runs that end with them."""

import time

import numpy as np

from experiments.common.experiment import find_experiment
from experiments.common.gallery import gallery
from experiments.common.report import write_report
from experiments.common.results import Comparison, MethodResult
from experiments.common.results_file import to_plain
from experiments.common.stored_run import StoredRun, write_run
from experiments.common.table import table
from mtopt.training.writer import write_json

HOSTILE = (
    "<script>alert(1)</script>",
    "\"double\" & 'single' &amp;",
    "</td></table></details><h1>out",
    "\u202eturned\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "long" * 100,
    "{{ 7 * 7 }} {% raw %} $\\frac$ \x07",
)


def planted(
    methods,
    tasks=("left", "right"),
    seeds=3,
    metrics=("accuracy",),
    single=0.7,
    noise=0.01,
    notes=None,
    draw=0,
    **more,
):
    """A comparison in which every method has the score that is asked for.

    Args:
      methods: name to score.
      tasks: names.
      seeds: how many.
      metrics: names, all higher is better.
      single: the score of the single-task models; None without any.
      noise: deviation of a seed.
      notes: name to notes; a method with notes has no numbers.
      draw: another for other noise.
      **more: of the comparison.
    """
    rng = np.random.default_rng(draw)

    def result(name, score):
        values = score + noise * rng.normal(size=(seeds, len(tasks), len(metrics)))
        rise = 1 - np.exp(-np.arange(1, 9) / 2)
        curves = {
            "step": 10 * np.arange(1, 9),
            "validation": values[:, None, :, 0] * rise[:, None],
        }
        told = (notes or {}).get(name, ())
        values = values * np.nan if told else values
        return MethodResult(name, values, curves, told, seconds_per_step=0.01 * score)

    return Comparison(
        "planted",
        tuple(tasks),
        tuple(metrics),
        (True,) * len(metrics),
        None if single is None else result("single-task models", single),
        [result(name, score) for name, score in methods.items()],
        **more,
    )


def ended(folder, *parts, experiment="multi_digits", words="data     planted"):
    """The folder of a run that ended with these comparisons."""
    config = find_experiment(experiment).get_config()
    config.methods = tuple(method.name for method in parts[0].methods)
    write_run(folder, StoredRun(experiment, config, None))
    write_json(folder / "data.json", {"fingerprint": "0" * 16, "words": words})
    write_report(
        folder, table(*parts), to_plain(parts), gallery(folder, parts), time.time()
    )
    return folder
