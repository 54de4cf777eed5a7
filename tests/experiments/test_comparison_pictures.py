"""What pictures of a comparison show, and of which comparisons there are any."""

import dataclasses
import itertools

import numpy as np
import pytest
import scikit_posthocs
from matplotlib import image

from experiments.common.critical_differences import (
    cases,
    critical_differences,
    enough,
    not_apart,
)
from experiments.common.gallery import gallery
from experiments.common.over_time import histories, over_time
from experiments.common.plane import plane, reference
from experiments.common.results import Comparison, MethodResult
from experiments.common.run_folder import folder_name
from experiments.common.time_picture import time_against_quality, timed
from mtopt.metrics import ranking
from mtopt.training.writer import MetricWriter

NAN = float("nan")


def compared(methods=3, tasks=6, seeds=2, seconds=NAN, name="m{}", **fields):
    rng = np.random.default_rng(methods + tasks)
    results = [
        MethodResult(
            name.format(i),
            rng.uniform(0.5, 0.9, (seeds, tasks, 1)) + 0.01 * i,
            {},
            seconds_per_step=seconds * (1 + i),
        )
        for i in range(methods)
    ]
    names = tuple(f"t{k}" for k in range(tasks))
    given = {"baseline": None, "methods": results, **fields}
    return Comparison("it", names, ("accuracy",), (True,), **given)


@pytest.mark.parametrize(("methods", "tasks"), [(3, 5), (6, 8), (12, 20)])
def test_bars_join_what_nemenyis_test_does_not_tell_apart(methods, tasks):
    """Two methods are under one bar where the p-value of another package says so."""
    rng = np.random.default_rng(methods)
    scores = rng.integers(0, 9, (methods, tasks)) + 0.6 * np.arange(methods)[:, None]
    found = ranking(scores, [True] * tasks)
    order = np.argsort(found.mean, kind="stable")
    runs = not_apart(found.mean[order], found.critical_difference)
    p_values = scikit_posthocs.posthoc_nemenyi_friedman(scores[order].T).to_numpy()
    for i, j in itertools.combinations(range(methods), 2):
        joined = any(start <= i and j <= stop for start, stop in runs)
        assert joined == (p_values[i, j] > 0.05)
    assert all(a < c and b < d for (a, b), (c, d) in itertools.pairwise(runs))


def test_tasks_of_several_comparisons_are_cases():
    one, other = compared(4, 3), compared(3, 2)
    other = dataclasses.replace(other, higher_is_better=(False,))
    one.methods[0].metrics[:, 1] = NAN  # one method's failure is a case
    for method in one.methods:
        method.metrics[:, 2] = NAN  # a task without a number is none
    methods, scores, higher = cases([one, other])
    assert methods == ("m0", "m1", "m2")
    assert scores.shape == (3, 4)
    assert higher.tolist() == [True, True, False, False]
    np.testing.assert_allclose(scores[2, 2], other.methods[2].metrics[:, 0, 0].mean())


def test_few_tasks_or_methods_have_no_ranks_to_test():
    assert enough([compared(3, 5)])
    assert not enough([compared(2, 5)])
    assert not enough([compared(3, 4)])
    assert enough([compared(3, 4), compared(3, 4)])


LONG = "log_losses(rep_mtl(equal_weighting(reduction='sum')), epsilon=1e-{})"


@pytest.mark.parametrize("methods", [3, 30])
@pytest.mark.parametrize("name", ["m{}", LONG, "$x_{}$ & $"])
def test_they_are_drawn_of_few_and_many_methods_and_any_name(tmp_path, methods, name):
    few = compared(methods, 5, seeds=1, seconds=0.002, name=name)
    few.methods[0].metrics[:] = NAN
    for draw in (critical_differences, time_against_quality):
        draw([few], tmp_path / "it.png")
        assert image.imread(tmp_path / "it.png")[..., :3].std() > 0.05


def test_time_is_drawn_where_two_methods_have_one():
    part = compared(3, seconds=0.002)
    assert timed([part])
    first = [dataclasses.replace(m, seconds_per_step=NAN) for m in part.methods[:2]]
    part = dataclasses.replace(part, methods=[*first, part.methods[2]])
    assert not timed([part])


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def points(*means, higher=True, **fields):
    methods = [
        MethodResult(f"m{i}", np.array([mean])[..., None], {})
        for i, mean in enumerate(means)
    ]
    return Comparison("it", ("a", "b"), ("score",), (higher,), None, methods, **fields)


def test_the_front_and_its_hypervolume_stand_in_the_legend():
    """.8 x .4 and .2 more of the second, up to .5 of the first."""
    whole = points([0.8, 0.4], [0.5, 0.6], [0.4, 0.3])
    assert legend(plane(whole))[-1] == (
        "front of the means,\nhypervolume 0.42 to (0, 0)"
    )
    # Errors count up to the deviations of the targets; without any there is no area.
    whole = points([1.0, 30.0], [2.0, 10.0], higher=False, units=np.array([4.0, 40.0]))
    assert legend(plane(whole))[-1].endswith("hypervolume 70 to (4, 40)")
    bare = dataclasses.replace(whole, units=None)
    assert reference(bare) is None
    assert legend(plane(bare))[-1] == "front of the means"
    # A method that is best in both is all of the front.
    assert legend(plane(points([0.8, 0.7], [0.5, 0.6]))) == ["m0", "m1"]


def recorded(folder, rows, name="weights"):
    """Training records of ``{seed: [[number of each task] of each step]}``."""
    folder.mkdir(parents=True)
    with MetricWriter(folder / "metrics.jsonl") as writer:
        for seed, steps in rows.items():
            for t, values in enumerate(steps):
                of_tasks = {f"t{k}": value for k, value in enumerate(values)}
                record = {"step": 10 * t, "seed": seed, "split": "train"}
                writer.write(record | {name: of_tasks})


def test_what_changes_in_training_is_read_for_all_seeds(tmp_path):
    recorded(tmp_path / "m0/seed-0", {0: [[0.5, 0.5], [0.6, 0.4], [0.7, 0.3]]})
    recorded(tmp_path / "m0/seed-1", {1: [[0.5, 0.5], [0.2, 0.8]]})  # it stopped
    recorded(tmp_path / "m1/seed-0-1", {0: [[0.5, 0.5]] * 3, 1: [[0.5, 0.5]] * 3})
    parts = [compared(3, 2)]
    (found,) = histories(tmp_path, parts, "weights")
    assert (found.method, found.tasks) == ("m0", ("t0", "t1"))
    assert found.step.tolist() == [0, 10, 20]
    np.testing.assert_array_equal(
        found.values[..., 0], [[0.5, 0.6, 0.7], [0.5, 0.2, NAN]]
    )
    assert not histories(tmp_path, parts, "outlier_logit")
    over_time(tmp_path, parts, "weights", tmp_path / "it.png")
    assert image.imread(tmp_path / "it.png")[..., :3].std() > 0.05


def test_many_tasks_and_methods_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    part = compared(30, 40, name="$m{}$_")
    for method in part.methods:
        folder = tmp_path / folder_name(method.name) / "seed-0"
        recorded(folder, {0: rng.normal(size=(3, 40)).tolist()})
    over_time(tmp_path, [part], "weights", tmp_path / "it.png")
    assert image.imread(tmp_path / "it.png")[..., :3].std() > 0.05


def test_a_gallery_has_what_there_is_to_draw(tmp_path):
    bare = compared(2, 2)
    assert set(gallery(tmp_path, [bare])) == {"test.png", "curves.png"}
    recorded(tmp_path / "m0/seed-0", {0: [[0.0, 0.0], [1.0, 2.0]]}, "outlier_logit")
    rich = compared(3, 6, seconds=0.1)
    drawn = gallery(tmp_path, [rich])
    more = {"time.png", "ranks.png", "outlier_logit.png"}
    assert set(drawn) == {"test.png", "curves.png", *more}
    for name, draw in drawn.items():
        draw(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
