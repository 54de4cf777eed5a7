"""Methods over data sets: planted gains are found, no more, and in their directions."""

import csv
import io

import numpy as np
import pytest

from experiments.common.gains_picture import gains
from experiments.common.over_sets import LOST, WON, over_sets, to_csv
from experiments.common.over_sets_sheet import SetResult, over_sets_sheet
from experiments.common.results import Comparison, MethodResult
from experiments.common.table import to_text
from mtopt.errors import UserError

REFERENCE = "fixed_weighting"
SEEDS = 8


def comparison(rng, higher, factors, tasks=3, group=""):
    """Methods whose metrics are those of the reference times a factor, and noise."""
    base = rng.uniform(0.5, 0.9, (SEEDS, tasks, 1))
    rows = {
        name: MethodResult(
            name, base * factor * (1 + 0.002 * rng.standard_normal(base.shape)), {}
        )
        for name, factor in factors.items()
    }
    rows[REFERENCE] = MethodResult(REFERENCE, base, {})
    single = rows.pop("single")
    return Comparison(
        "it",
        tuple(f"{group}{k}" for k in range(tasks)),
        ("accuracy" if higher else "rmse",),
        (higher,),
        single,
        list(rows.values()),
        group=group,
    )


@pytest.fixture
def sets():
    """Better is 1 % up where higher is better, and 1 % down where lower is."""
    rng = np.random.default_rng(0)
    up = {"single": 0.95, "better": 1.01, "worse": 0.98, "same": 1.0}
    down = {"single": 1.05, "better": 0.99, "worse": 1.02, "same": 1.0}
    return {
        "images": [comparison(rng, True, up)],
        "mixed": [
            comparison(rng, True, up, group="a"),
            comparison(rng, False, down, tasks=1, group="b"),
        ],
    }


def test_gains_are_relative_and_above_zero_where_better(sets):
    found = over_sets(sets, REFERENCE)
    assert found.methods == ("single", "better", "worse", "same")
    for name in sets:
        for method, gain in (("single", -5), ("better", 1), ("worse", -2), ("same", 0)):
            each = found.found[method, name]
            assert each.mean == pytest.approx(gain, abs=0.2)
            assert each.pairs == SEEDS
        assert found.sign("single", name) == found.sign("worse", name) == LOST
        assert found.sign("better", name) == WON
        assert found.sign("same", name) == ""


def test_tasks_of_all_groups_count_alike():
    """One task of four gains 4 %: by hand, the mean is 1 %."""
    ones = np.ones((2, 3, 1))

    def part(group, tasks, factor, higher):
        rows = [
            MethodResult("ours", factor * ones[:, :tasks], {}),
            MethodResult(REFERENCE, ones[:, :tasks], {}),
        ]
        names = tuple(f"{group}{k}" for k in range(tasks))
        return Comparison("it", names, ("m",), (higher,), None, rows, group=group)

    parts = [part("a", 3, 1.0, True), part("b", 1, 0.96, False)]
    found = over_sets({"it": parts}, REFERENCE)
    assert found.found["ours", "it"].mean == pytest.approx(1.0)


def test_undefined_tasks_have_no_part_and_lost_seeds_are_said(sets):
    (part,) = sets["images"]
    for row in part.results:
        row.metrics[0, 1] = np.nan  # a class is missing there, whatever the method
    (better,) = (row for row in part.methods if row.name == "better")
    better.metrics[3] = np.nan  # it diverged
    found = over_sets(sets, REFERENCE)
    assert found.found["same", "images"].pairs == SEEDS
    assert found.found["better", "images"].pairs == SEEDS - 1
    text = to_text(over_sets_sheet(found, results(sets)))
    assert "*: without the seeds that are undefined." in text


def test_equal_methods_are_told_apart_at_the_stated_rate():
    """Holm's correction: of 200 sets of equal methods, one in twenty has a mark."""
    rng = np.random.default_rng(1)
    equal = dict.fromkeys(("single", "b", "c", "d"), 1.0)
    sets = {f"{i}": [comparison(rng, True, equal)] for i in range(200)}
    found = over_sets(sets, REFERENCE)
    marked = sum(any(found.sign(m, name) for m in found.methods) for name in sets)
    assert marked <= 20  # of 200 at 5 %: more has a probability of 0.1 %


def test_sets_of_other_methods_are_refused(sets):
    sets["mixed"] = [
        Comparison(
            part.experiment,
            part.task_names,
            part.metric_names,
            part.higher_is_better,
            None,
            part.methods,
        )
        for part in sets["mixed"]
    ]
    with pytest.raises(UserError, match="mixed has other methods or seeds than images"):
        over_sets(sets, REFERENCE)
    with pytest.raises(UserError, match="no method 'absent'"):
        over_sets(sets, "absent")


def results(sets):
    return {name: SetResult(parts, 90.0, 20, 1) for name, parts in sets.items()}


def test_the_sheet_says_what_was_found(sets):
    found = over_sets(sets, REFERENCE)
    text = to_text(
        over_sets_sheet(
            found,
            results(sets),
            beside=over_sets(sets, "same"),
            lines=["Left out, more: no file."],
        )
    )
    first, over, beside, about = (text.split("\n\n")[i] for i in (1, 3, 5, 7))
    lines = {line.split("  ")[0]: line for line in first.splitlines()[2:]}
    assert [*lines] == ["better", REFERENCE, "same", "worse", "single"] or [*lines] == [
        "better",
        "same",
        REFERENCE,
        "worse",
        "single",
    ]
    assert lines["better"].count(WON) == 2
    assert lines["worse"].count(LOST) == 2
    assert WON not in lines["same"] + lines[REFERENCE]
    for block in (over, beside):
        (line,) = (line for line in block.splitlines() if line.startswith("better"))
        assert line.endswith("2 (2)  0 (0)")
    assert "rank" in over
    assert "rank" not in beside
    assert "gain over same, %, over 2 sets" in text
    assert "accuracy, rmse" in about
    assert "1 of 20" in about
    assert "1.5" in about
    assert "Left out, more: no file." in text


def test_its_numbers_in_full(sets):
    found = over_sets(sets, REFERENCE)
    lines = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(lines) == 2 * 4
    for line in lines:
        each = found.found[line["method"], line["set"]]
        assert float(line["gain_percent"]) == each.mean
        assert float(line["p_value"]) == each.p_value


def test_its_picture_is_drawn(sets, tmp_path):
    gains(over_sets(sets, REFERENCE), tmp_path / "gains.png")
    assert (tmp_path / "gains.png").read_bytes().startswith(b"\x89PNG")
