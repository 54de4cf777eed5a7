"""What a page says: no more than was planted, and how to run it again."""

import dataclasses
import shlex
import sys

import numpy as np
import pytest
from absl.testing import flagsaver

from experiments import main
from experiments.common.experiment import EXPERIMENTS, find_experiment
from experiments.common.page.settings import command, settings
from experiments.common.page.words import alerts, summary
from experiments.common.results import Comparison, MethodResult
from experiments.common.stored_run import StoredRun
from tests.helpers.comparisons import planted

FEW = {"equal_weighting": 0.7, "mgda": 0.75, "nash_mtl": 0.72}


def said(part, *parts):
    return " ".join(summary((part, *parts)))


def test_a_planted_difference_is_found_and_said_with_its_test():
    text = said(planted(FEW, seeds=5))
    assert "mgda comes first by mean rank 1.00 among 3 methods, over 2 metrics" in text
    assert (
        "better than that of equal_weighting, seed by seed: more than seeds differ by"
        in text
    )
    assert "of 2 methods against it, Holm's correction" in text
    assert "its relative changes are Δm -7." in text
    assert "better by both" in text


def test_in_one_study_in_twenty_a_difference_is_found_where_there_is_none():
    """At most: the first method is the one that chance favours most."""
    methods = dict.fromkeys(("equal_weighting", "a", "b", "c", "d", "e"), 0.7)
    texts = [said(planted(methods, draw=draw)) for draw in range(200)]
    found = [": more than seeds differ by" in text for text in texts]
    denied = [": not more than seeds differ by" in text for text in texts]
    assert sum(found) <= 16  # 10 are expected at most, with a deviation of 3
    assert sum(denied) > 100


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_cannot_say(seeds):
    text = said(planted(FEW, seeds=seeds))
    assert f"{seeds} seed{'s' * (seeds > 1)} cannot say whether that is chance." in text
    assert "more than seeds differ by" not in text


def test_of_lower_is_better_the_sign_is_that_of_the_numbers():
    part = dataclasses.replace(planted(FEW, seeds=5), higher_is_better=(False,))
    text = said(dataclasses.replace(part, methods=part.methods[::-1]))
    assert text.startswith("equal_weighting comes first")
    assert "equal_weighting, seed by seed" not in text
    two = {"equal_weighting": 0.7, "mgda": 0.75}
    gains = planted(two, seeds=5, group="gains")
    losses = planted(two, ("a",), seeds=5, group="losses")
    text = said(gains, dataclasses.replace(losses, higher_is_better=(False,)))
    assert text.startswith("mgda comes first")
    for group, side in (("gains", "better"), ("losses", "worse")):
        (sentence,) = (line for line in text.split(". ") if line.startswith(group))
        assert f"{side} than that of equal_weighting, seed by seed: more" in sentence


def test_where_the_relative_changes_disagree_that_is_said():
    """Two metrics of one task gain 5 % each, the only one of another loses 8 %."""

    def group(*factors):
        single = np.full((1, 1, len(factors)), 0.5)
        return Comparison(
            "it",
            (f"task of {len(factors)}",),
            tuple(f"m{k}" for k in range(len(factors))),
            (True,) * len(factors),
            MethodResult("single-task models", single, {}),
            [MethodResult("mgda", single * np.array(factors), {})],
        )

    text = said(group(1.05, 1.05), group(0.92))
    assert "Δm -0.67 % and Δp -1.50 %: one says better, the other worse." in text


def test_shared_places_single_methods_and_none():
    part = planted(FEW, single=None)
    same = dataclasses.replace(part.methods[1], name="same")
    tied = dataclasses.replace(part, methods=[part.methods[0], part.methods[1], same])
    assert said(tied).startswith("mgda and same share the first place: mean rank 1.50")
    alone = dataclasses.replace(part, methods=part.methods[:1])
    assert "is the only method" in said(alone)
    assert summary(()) == ()
    assert summary((dataclasses.replace(part, methods=[]),)) == ()


def test_groups_are_told_apart():
    groups = [planted(FEW, seeds=4, group=name) for name in ("digits", "sizes")]
    text = said(*groups)
    assert "digits: its accuracy, the mean of tasks, is" in text
    assert "sizes: its accuracy, the mean of tasks, is" in text
    assert "over 4 metrics" in text


def test_what_diverged_or_fell_is_an_alert():
    lost = {"mgda": tuple(f"mgda: seed {seed} diverged" for seed in range(3))}
    part = planted(FEW, notes=lost)
    assert alerts((part, part)) == lost["mgda"]
    text = said(part)
    assert text.startswith("nash_mtl comes first")
    assert "No method fell more than 5 points" in text
    part.methods[2].curves["validation"][:, -1] -= 0.2
    (fell,) = alerts((part,))[3:]
    assert fell.startswith("nash_mtl: 3 of 24 looks at validation data were more than")
    assert "No method fell" not in said(part)


def test_where_all_diverged_nobody_is_first():
    gone = {name: (f"{name}: seed 0 diverged",) for name in FEW}
    assert said(planted(FEW, notes=gone)).startswith("No method has a number")


def other(value):
    """Another value of the same type, where one may be had without looking."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2
    return value


def changed(config):
    """Every field changed that may be, those within others too."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            changed(value)
            continue
        setattr(config, field.name, other(value))
        if isinstance(value, tuple) and all(isinstance(each, int) for each in value):
            setattr(config, field.name, tuple(each + 5 for each in value))
    return config


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_command_starts_the_same_run(name, tmp_path, monkeypatch):
    config = changed(find_experiment(name).get_config())
    config.methods = ("mgda(normalize='l2')", 'log_losses(cagrad) # "$HOME" `x`')
    text = command(StoredRun(name, config, tmp_path))
    program, subcommand, *flags = shlex.split(text.replace("\\\n", ""))
    assert (program, subcommand) == ("mtopt", "run")
    monkeypatch.setattr(sys, "argv", ["main", *flags])
    with flagsaver.flagsaver(data_dir=None):
        main.parse_flags(sys.argv)
        _, run = main._requested()
    assert run == StoredRun(name, config, tmp_path)


def test_settings_say_what_was_changed():
    config = find_experiment("toy").get_config()
    run = StoredRun("toy", config, None)
    assert not any(pair.changed for pair in settings(run))
    assert command(run) == "mtopt run \\\n  --experiment=toy"
    config.optimizer.learning_rate = 0.5
    (pair,) = (pair for pair in settings(run) if pair.changed)
    assert pair[:2] == ("optimizer.learning_rate", "0.5")
