"""The table has the right numbers in the right cells; the pictures show the methods."""

import dataclasses
import itertools

import numpy as np
import pytest
from matplotlib import image

from experiments.common import drawing, pictures
from experiments.common.results import Comparison, MethodResult
from experiments.common.table import table
from mtopt.errors import UserError

NAN = float("nan")


def result(name, values, steps=12, seeds=2):
    """Metrics [K, M], a little apart over the seeds, and curves that end there."""
    values = np.asarray(values, float)
    offsets = np.linspace(-0.01, 0.01, seeds) if seeds > 1 else np.zeros(1)
    metrics = values + offsets[:, None, None]
    rise = 1 - np.exp(-np.arange(1, steps + 1) / 3)
    curves = {
        "step": 10 * np.arange(1, steps + 1),
        "validation": metrics[:, None, :, 0] * rise[:, None],
    }
    return MethodResult(name, metrics, curves)


def planted(tasks=2):
    """Single task at 0.8; 'up' gains 10 % on every task, 'down' loses 5 %."""
    names = ("left", "right") if tasks == 2 else tuple(f"t{k}" for k in range(tasks))
    single = np.linspace(0.78, 0.82, tasks)[:, None]
    return Comparison(
        "planted",
        names,
        ("accuracy",),
        (True,),
        result("single task", single),
        [result("up", 1.1 * single), result("down", 0.95 * single)],
    )


def cells(text, name):
    """The cells of a method without marks, over all pages, split at two spaces."""
    rows = [line for line in text.splitlines() if line.startswith(name + " ")]
    assert rows, f"no row {name!r} in\n{text}"
    found = [c.strip(" ●○") for row in rows for c in row[len(name) :].split("  ")]
    return [c for c in found if c]


def heads(text):
    """The words of the head lines: those above a rule."""
    lines = text.splitlines()
    return " ".join(a for a, b in itertools.pairwise(lines) if b[:2] == "--")


def test_planted_numbers_stand_in_their_cells():
    text = table(planted())
    assert text.splitlines()[0] == (
        "planted: test accuracy (higher is better), mean ± standard deviation over "
        "2 seeds"
    )
    spread = "0.014"  # of -0.01 and 0.01
    assert cells(text, "single task") == [
        *(f"{m} ± {spread}" for m in ("0.780", "0.820", "0.800")),
        *"––––",
    ]
    assert cells(text, "up") == [
        *(f"{m} ± {spread}" for m in ("0.858", "0.902", "0.880")),
        *("-10.00", "+10.00", "1.00", "+0.0"),
    ]
    assert cells(text, "down")[3:] == ["+5.00", "-5.00", "2.00", "+0.0"]
    squeezed = " ".join(heads(text).split())
    assert squeezed == "left right mean of tasks Δm% ↓ Δp% ↑ rank ↓ last look"


def test_relative_changes_weigh_metrics_or_tasks_and_know_directions():
    # Task a: an error from 10 to 8 (+20 %) and an R2 from 0.5 to 0.6 (+20 %).
    # Task b: the error undefined for the method, R2 from 0.5 to 0.4 (-20 %).
    # Task c: both unchanged. By metrics: (20 + 20 - 20 + 0 + 0) / 5; by tasks 0.
    single = MethodResult("single task", np.array([[[10, 0.5]] * 3]), {})
    ours = np.array([[[8.0, 0.6], [NAN, 0.4], [10.0, 0.5]]])
    comparison = Comparison(
        "regression",
        ("a", "b", "c"),
        ("rmse", "r2"),
        (False, True),
        single,
        [MethodResult("ours", ours, {})],
    )
    text = table(comparison)
    assert "test rmse (lower is better), 1 seed" in text
    found = cells(text, "ours")
    assert found == ["8.000", "–", "10.00", "–", "-4.00†", "+0.00†", "1.00"]
    assert "†: without the metrics that are undefined for this method." in text
    assert "–: undefined; ranks last." in text


@pytest.mark.parametrize("tasks", [2, 12])
def test_errors_in_unlike_units_are_averaged_in_deviations(tasks):
    """One task a thousand times larger: its error is not the mean."""
    units = np.where(np.arange(tasks) == 1, 1000.0, 1.0)
    plain = np.linspace(0.2, 0.8, tasks)
    errors = (plain * units)[:, None]
    comparison = dataclasses.replace(
        planted(tasks),
        metric_names=("rmse",),
        higher_is_better=(False,),
        baseline=None,
        methods=[MethodResult("ours", errors[None], {})],
        units=units,
    )
    text = table(comparison)
    found = cells(text, "ours")
    if tasks == 2:
        assert [float(c) for c in found[:2]] == [0.2, 800]
    else:
        assert [float(c) for c in found[:2]] == [0.2, 0.8]
    assert float(found[2]) == pytest.approx(plain.mean(), abs=1e-3)
    said = " ".join(text.split())
    assert "mean of tasks: rmse in units of the standard deviation of each task" in said
    alike = table(dataclasses.replace(comparison, units=None))
    assert "in units of" not in alike
    assert float(cells(alike, "ours")[2]) > 20


def test_undefined_seeds_methods_and_baselines():
    comparison = planted()
    up, down = comparison.methods
    up.metrics[0] = NAN  # one of two seeds
    down.metrics[:] = NAN
    comparison.baseline.metrics[:, 1] = 0
    text = table(comparison)
    found = cells(text, "up")
    # Against 0.78 alone: the other baseline is 0.
    assert found[:3] == ["0.868 ± 0.000*", "0.912 ± 0.000*", "0.890 ± 0.000*"]
    gain = f"{100 * (1.1 * 0.78 + 0.01) / 0.78 - 100:.2f}"
    assert found[3:] == [f"-{gain}", f"+{gain}", "1.00", "+0.0"]
    assert cells(text, "down") == [*"–––––", "2.00", "+0.0"]
    assert "*: without the seeds that are undefined." in text
    assert "Of these, 1 undefined for single task, 0, or a score of 0.05" in text


def test_a_task_nobody_measured_leaves_the_other_means_alone():
    comparison = planted(tasks=12)
    for row in comparison.results:
        row.metrics[:, 3] = NAN
    text = table(comparison)
    rest = np.delete(np.linspace(0.78, 0.82, 12), 3).mean()
    assert cells(text, "single task")[2] == f"{rest:.3f} ± 0.014"
    comparison.methods[0].metrics[:, 5] = NAN  # only this one has no comparable mean
    text = table(comparison)
    assert cells(text, "up")[:3] == list("–––")
    assert cells(text, "single task")[2] == f"{rest:.3f} ± 0.014"


def test_many_tasks_are_summed_up():
    text = table(planted(tasks=12))
    assert (
        " ".join(heads(text).split())[:38] == "lowest task highest task mean of tasks"
    )
    found = cells(text, "up")
    assert found == [
        "0.858",
        "0.902",
        "0.880 ± 0.014",
        "-10.00",
        "+10.00",
        "1.00",
        "+0.0",
    ]


def test_no_change_is_not_minus_nothing():
    single = planted().baseline
    same = dataclasses.replace(single, name="same")
    text = table(dataclasses.replace(planted(), methods=[same]))
    assert cells(text, "same")[-4:-1] == ["+0.00", "+0.00", "1.00"]


def test_without_single_task_runs_there_is_no_relative_change():
    comparison = dataclasses.replace(planted(), baseline=None)
    text = table(comparison)
    assert "Δ" not in text
    assert "single" not in text
    assert cells(text, "up")[-2] == "1.00"


@pytest.mark.parametrize("tasks", [1, 2, 3, 4, 5, 6, 7, 12])
def test_every_line_fits_the_terminal(tasks):
    comparison = planted(tasks)
    comparison.methods.append(result("uncertainty_weighting", np.full((tasks, 1), 0.5)))
    text = table(comparison)
    assert max(map(len, text.splitlines())) <= 100
    shown = tasks if tasks <= 6 else 2
    assert len(cells(text, "up")) == shown + 5


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.934, "0.934"),
        (0.0125, "0.0125"),
        (10.234, "10.23"),
        (3.14159, "3.142"),
        (123.45, "123.5"),
        (54321.0, "54321"),
        (2.5e7, "2.5e+07"),
    ],
)
def test_numbers_have_sensible_digits(value, shown):
    only = MethodResult("only", np.full((1, 1, 1), value), {})
    comparison = Comparison("x", ("a",), ("m",), (True,), None, [only])
    assert cells(table(comparison), "only")[0] == shown


def colours(path):
    """The colours of a picture, as 0xRRGGBB, after checking that it is one."""
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = (255 * image.imread(path)[..., :3]).round().astype(int)
    assert min(pixels.shape[:2]) > 300
    return np.unique(pixels @ [65536, 256, 1])


def has(found, colour):
    return int(colour[1:], 16) in found


@pytest.mark.parametrize("tasks", [2, 12])
@pytest.mark.parametrize("draw", [pictures.scatter, pictures.curves])
def test_pictures_show_every_method_in_its_colour(tmp_path, draw, tasks):
    path = tmp_path / "picture.png"
    draw([planted(tasks)], path)
    found = colours(path)
    assert has(found, drawing.SINGLE_TASK)
    assert has(found, drawing.COLOURS[0])
    assert has(found, drawing.COLOURS[1])
    assert not has(found, drawing.COLOURS[2])


@pytest.mark.parametrize("tasks", [2, 12])
@pytest.mark.parametrize("draw", [pictures.scatter, pictures.curves])
def test_pictures_survive_what_is_undefined(tmp_path, draw, tasks):
    comparison = planted(tasks)
    up, down = comparison.methods
    up.metrics[0], down.metrics[:] = NAN, -np.inf
    up.curves["validation"][:, 6:], down.curves["validation"][:] = NAN, np.inf
    comparison.methods.append(MethodResult("no steps", up.metrics - 0.01, {}))
    draw([comparison], tmp_path / "some.png")
    assert has(colours(tmp_path / "some.png"), drawing.COLOURS[0])
    for row in comparison.results:
        row.metrics[:] = NAN
        row.curves.clear()
    draw([comparison], tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 1000


@pytest.mark.parametrize("higher", [True, False])
def test_of_many_methods_the_best_have_colours_and_the_others_are_grey(higher):
    values = [np.full((1, 3), float(score)) for score in range(20)]
    values[3][:] = NAN
    # Places in another unit, where lower is better, say the same.
    other = [-1e6 * value for value in values]

    def panels(count):
        steps = [np.arange(3)] * count
        return [
            pictures._Panel("a", "accuracy", higher, steps, values[:count], []),
            pictures._Panel("b", "mae", not higher, steps, other[:count], []),
        ]

    drawn = [(result(str(i), np.ones((2, 1))), drawing.style_of(i)) for i in range(20)]
    styled = pictures._foremost(drawn, panels(20))
    coloured = [r.name for r, style in styled if style["color"] != drawing.OTHERS]
    best = range(8, 20) if higher else [i for i in range(13) if i != 3]
    assert coloured == [str(i) for i in best]
    assert pictures._foremost(drawn[:12], panels(12)) == drawn[:12]


def test_learning_curves_keep_their_ends_in_view():
    rise = 0.9 - 0.8 * np.exp(-np.arange(50) / 4)
    low, high = pictures._limits([rise[None], 0.98 * rise[None], np.full((1, 50), 0.3)])
    assert low < 0.3  # a method that ends far below the others is shown
    assert high > rise[-1]
    low, _ = pictures._limits([rise[None], 0.98 * rise[None]])
    assert rise[0] < low < 0.85  # the first steps are not


def test_wrong_shapes_are_user_errors():
    good = planted()
    with pytest.raises(UserError, match=r"'bad' have shape \(2, 3, 1\); expected"):
        dataclasses.replace(good, methods=[result("bad", np.ones((3, 1)))])
    with pytest.raises(UserError, match="higher_is_better has 2 entries"):
        dataclasses.replace(good, higher_is_better=(True, False))
    good.baseline.curves["validation"] = np.zeros((2, 12, 3))
    with pytest.raises(UserError, match=r"curves of 'single task' have shape"):
        dataclasses.replace(good)


def two_groups():
    """'up' gains 10 % on two accuracies, and loses 20 % on three errors."""
    single = np.array([[2.0], [30.0], [400.0]])
    errors = Comparison(
        "planted",
        ("x", "y", "z"),
        ("rmse",),
        (False,),
        result("single task", single),
        [result("up", 1.2 * single), result("down", 0.9 * single)],
        np.array([1.0, 10.0, 100.0]),
        group="lengths",
    )
    return dataclasses.replace(planted(), group="sides"), errors


def test_groups_of_tasks_have_their_own_columns_and_one_summary():
    text = table(*two_groups())
    assert "planted, sides: test accuracy (higher is better)" in text
    sides, rest = text.split("planted, lengths: test rmse (lower is better)")
    lengths, every = rest.split("all groups")

    def means(part):
        return [cell.split(" ")[0] for cell in cells(part, "up")]

    assert means(sides) == ["0.858", "0.902", "0.880", "+0.0"]
    # Errors in their own units; their mean in those of the deviations.
    assert means(lengths) == ["2.400", "36.00", "480.0", "3.600", "+246.3!"]
    # (-10 * 2 + 20 * 3) / 5 over all tasks, and first in two of five.
    assert cells(every, "up") == ["+8.00", "-8.00", "1.60"]
    assert "over 5 metrics (accuracy / rmse of each task)" in " ".join(text.split())


@pytest.mark.parametrize("draw", [pictures.scatter, pictures.curves])
def test_pictures_show_groups_side_by_side(tmp_path, draw):
    draw(two_groups(), tmp_path / "both.png")
    draw([dataclasses.replace(planted(), methods=[])], tmp_path / "none.png")
    both, none = (colours(tmp_path / f"{name}.png") for name in ("both", "none"))
    assert has(both, drawing.COLOURS[0])
    assert has(both, drawing.COLOURS[1])
    assert not has(none, drawing.COLOURS[0])


def test_a_score_near_nothing_has_no_relative_change():
    """R2 from .01 to .6 is no gain of 5900 %; rmse beside it counts."""
    names = ("rmse", "r2")
    single = result("single", np.array([[0.02, 0.01], [2.0, 0.5]]), seeds=1)
    ours = result("ours", np.array([[0.01, 0.6], [2.0, 0.75]]), seeds=1)
    both = Comparison("it", ("a", "b"), names, (False, True), single, [ours])
    text = table(both)
    # (-50 + 0 - 50) / 3 over the three that are left, and (50 + 25) / 2 over tasks.
    assert cells(text, "ours")[-4:-2] == ["-33.33", "+37.50"]
    assert "Of these, 1 undefined for single task, 0, or a score of 0.05" in text


def test_curves_are_those_of_each_group(tmp_path):
    """Single-task models of one group had no look, of another fewer than methods."""
    whole = planted(3)
    short, none = (
        dataclasses.replace(
            whole,
            group=name,
            baseline=dataclasses.replace(whole.baseline, curves=curves),
        )
        for name, curves in (
            ("short", result("single task", np.full((3, 1), 0.8), steps=2).curves),
            ("none", {}),
        )
    )
    for number, parts in enumerate([(none, short), (short, none, whole), (none, none)]):
        pictures.curves(parts, tmp_path / f"{number}.png")
        assert image.imread(tmp_path / f"{number}.png").std() > 0


@pytest.mark.parametrize("tasks", [2, 12])
def test_what_diverged_does_not_hide_the_others(tasks):
    """Its last look, of errors as of a model about to be lost, is far from all."""
    whole = planted(tasks)
    gone = result("gone", np.full((tasks, 1), 1e20), steps=6)
    gone = dataclasses.replace(gone, metrics=gone.metrics * NAN, notes=("it diverged",))
    some = result("some", np.full((tasks, 1), 0.8))
    some.curves["validation"][0, 3:] = NAN
    some.curves["validation"][0, :3] = 1e20
    some.metrics[0] = NAN
    some = dataclasses.replace(some, notes=("seed 0 diverged",))
    comparison = dataclasses.replace(whole, methods=[*whole.methods, gone, some])
    panel = pictures._panel_of_mean(comparison)
    for each in (panel, *pictures._panels_of_tasks(comparison)):
        low, high = pictures._limits(each.framed)
        assert -1 < low < high < 2
    alone = dataclasses.replace(whole, baseline=None, methods=[gone])
    assert pictures._limits(pictures._panel_of_mean(alone).framed)[1] > 1e19


@pytest.mark.parametrize(
    ("undefined", "title"), [(0, "mean of 3 tasks"), (1, "mean of 2 tasks"), (2, "t0")]
)
def test_a_mean_says_over_how_many_tasks_it_is(undefined, title):
    whole = planted(3)
    for row in whole.results:
        row.curves["validation"][..., 3 - undefined :] = NAN
    assert pictures._panel_of_mean(whole).title == title


def test_a_score_below_nothing_has_no_relative_change_either():
    """From an R2 of -0.5 to one of 0 is no gain of 100 %."""
    single = MethodResult("single task", np.array([[[2.0, -0.5]]]), {})
    ours = MethodResult("ours", np.array([[[1.8, 0.0]]]), {})
    text = table(Comparison("e", ("a",), ("rmse", "r2"), (False, True), single, [ours]))
    assert cells(text, "ours")[-3:-1] == ["-10.00", "+10.00"]
    assert (
        "Of these, 1 undefined for single task, 0, or a score of 0.05 or less" in text
    )
