"""What stands in the columns of a comparison, and in which order its rows are."""

import dataclasses

import numpy as np
import pytest

from experiments.common.comparison_sheet import comparison_sheet
from experiments.common.results import Comparison, MethodResult
from experiments.common.several_runs import put_together
from experiments.common.sheet import BEST, TIED
from experiments.common.standing import ranked
from mtopt.errors import UserError

NAN = float("nan")
STEPS = np.array([10, 20, 30])


def row(name, score, looks=(0.1, 0.2, 0.3), seconds=NAN, **fields):
    """Three seeds of two tasks, a little apart from those of other rows."""
    rng = np.random.default_rng(sum(map(ord, name)))
    metrics = score + 0.001 * rng.normal(size=(3, 2))
    looks = np.broadcast_to(np.array(looks, float), (3, 3))
    curves = {"step": STEPS, "validation": np.stack([looks, looks], axis=-1)}
    chosen = np.array([20, 30, 20])
    given = {"chosen_steps": chosen, "seconds_per_step": seconds, **fields}
    return MethodResult(name, metrics[..., None], curves, **given)


def compared(*methods, single=None, higher=True, **fields):
    return Comparison(
        "it", ("a", "b"), ("accuracy",), (higher,), single, [*methods], **fields
    )


def column(sheet, head, block=0):
    (found,) = (c for c in sheet.blocks[block].columns if c.head == head)
    return found.cells


def test_the_best_stands_first_below_the_single_task_models():
    worst, middle, best = (
        row("worst", 0.5),
        row("in between", 0.6),
        row("the best", 0.7),
    )
    whole = compared(worst, middle, best, single=row("single", 0.9))
    sheet = comparison_sheet([whole])
    assert sheet.blocks[0].rows == ("single", "the best", "in between", "worst")
    ranks = [str(cell) for cell in column(sheet, "rank ↓")]
    assert ranks == ["–", "1.00", "2.00", "3.00"]
    # Where lower is better, the other way round; the comparison is left as it was.
    turned = dataclasses.replace(whole, higher_is_better=(False,))
    assert comparison_sheet([turned]).blocks[0].rows[1:] == (
        "worst",
        "in between",
        "the best",
    )
    assert [m.name for m in whole.methods] == ["worst", "in between", "the best"]


def test_all_groups_have_the_order_of_all_their_metrics():
    one = compared(row("x", 0.5), row("y", 0.6))
    other = compared(row("x", 0.7), row("y", 0.2))
    third = compared(row("x", 0.7), row("y", 0.2))
    parts = [
        dataclasses.replace(part, group=name)
        for name, part in zip("abc", (one, other, third), strict=True)
    ]
    assert [[m.name for m in p.methods] for p in ranked(parts)] == [["x", "y"]] * 3


def test_best_and_tied_are_marked_and_the_single_task_models_are_not():
    near, far = row("nearly", 0.9), row("far away", 0.5)
    near = dataclasses.replace(near, metrics=near.metrics - 0.0005)
    whole = compared(row("best", 0.9), near, far, single=row("single", 0.95))
    sheet = comparison_sheet([whole])
    for head in ("a", "b", "mean of tasks", "Δm% ↓", "Δp% ↑"):
        marks = [cell.mark for cell in column(sheet, head)]
        assert sorted(marks) == ["", "", BEST, TIED], head
        assert marks[0] == marks[-1] == ""
    assert set(sheet.marks) == {BEST, TIED}
    alone = comparison_sheet([compared(row("alone", 0.9))])
    assert alone.marks == {}


def test_with_two_seeds_nothing_is_tied_and_the_legend_says_so():
    def two(each):
        return dataclasses.replace(
            each,
            metrics=each.metrics[:2],
            seeds=(0, 1),
            curves={},
            chosen_steps=None,
        )

    sheet = comparison_sheet([compared(two(row("one", 0.9)), two(row("other", 0.9)))])
    marks = [cell.mark for c in sheet.blocks[0].columns for cell in c.cells]
    assert TIED not in marks
    assert set(sheet.marks) == {BEST}
    assert "with fewer than 3 seeds none can be called tied" in sheet.marks[BEST]
    assert [c.head for c in sheet.blocks[0].columns][-1] == "rank ↓"


def test_time_is_in_steps_of_equal_weighting():
    plain = row("equal_weighting", 0.8, seconds=0.002)
    slow, unknown = row("slow", 0.7, seconds=0.005), row("unknown", 0.6)
    single = row("single", 0.9, seconds=0.001)
    sheet = comparison_sheet([compared(slow, plain, unknown, single=single)])
    assert [str(c) for c in column(sheet, "time")] == ["0.50", "1.00", "2.50", "–"]
    assert any("equal_weighting (2 ms)" in entry for entry in sheet.legend)
    without = comparison_sheet([compared(slow, unknown)])
    assert "time" not in [c.head for c in without.blocks[0].columns]


def test_single_task_models_of_all_groups_take_their_times_together():
    parts = [
        compared(
            row("equal_weighting", 0.8, seconds=0.002),
            single=row("single", 0.9, seconds=time, chosen_steps=np.full((3, 2), step)),
            group=group,
        )
        for group, time, step in (("g", 0.001, 10), ("h", 0.004, 30))
    ]
    sheet = comparison_sheet(parts)
    assert [str(c) for c in column(sheet, "time", block=2)] == ["2.50", "1.00"]
    chosen = [str(c) for c in column(sheet, "chosen step", block=2)]
    assert chosen == ["10–30", "20–30"]


def test_the_memory_of_a_step_is_that_of_the_largest_of_single_task_models():
    parts = [
        compared(
            row("mine", 0.8, step_bytes=3.21e6),
            row("lean", 0.7),
            single=row("single", 0.9, step_bytes=size),
            group=group,
        )
        for group, size in (("g", 1e6), ("h", 2e6))
    ]
    sheet = comparison_sheet(parts)
    assert [str(c) for c in column(sheet, "MB", block=2)] == ["2.0", "3.2", "–"]
    assert any("memory of the compiled step" in entry for entry in sheet.legend)
    bare = comparison_sheet([compared(row("mine", 0.8))])
    assert "MB" not in [c.head for c in bare.blocks[0].columns]


def test_memory_of_several_runs_is_told_where_they_train_as_many_seeds_at_once():
    def sizes(*rows):
        (whole,) = put_together([[compared(each)] for each in rows])
        return [method.step_bytes for method in whole.methods]

    one = row("one", 0.8, step_bytes=2e6)
    other = row("other", 0.8, step_bytes=1e6)
    assert sizes(one, other) == [2e6, 1e6]
    short = dataclasses.replace(
        MethodResult("other", np.ones((1, 2, 1)), {}), step_bytes=1e6
    )
    np.testing.assert_array_equal(sizes(one, short), [2e6, NAN])


def test_seeds_that_ended_early_are_put_together_with_those_that_did_not():
    long = row("mine", 0.7, seeds=(0, 1, 2))
    early = row("mine", 0.6, seeds=(3, 4, 5))
    early.curves["step"] = STEPS[:2]
    early.curves["validation"] = early.curves["validation"][:, :2]
    early.metrics[2] = NAN
    (whole,) = put_together([[compared(early)], [compared(long)]])
    (mine,) = whole.methods
    np.testing.assert_array_equal(mine.curves["step"], STEPS)
    np.testing.assert_allclose(
        mine.curves["validation"][:3, :, 0], [[0.1, 0.2, 0.2]] * 2 + [[0.1, 0.2, NAN]]
    )


def test_the_chosen_steps_are_those_of_seeds_that_finished():
    lost = row("lost", 0.5)
    lost.metrics[1] = NAN
    gone = row("gone", 0.5)
    gone.metrics[:] = NAN
    sheet = comparison_sheet([compared(row("whole", 0.6), lost, gone)])
    assert [str(c) for c in column(sheet, "chosen step")] == ["20–30", "20", "–"]


@pytest.mark.parametrize(
    ("higher", "looks", "shown"),
    [
        (True, [0.1, 0.9, 0.88], "-2.0"),
        (True, [0.1, 0.9, 0.8], "-10.0!"),
        (True, [0.1, 0.8, 0.9], "+0.0"),
        (False, [4.0, 2.0, 2.05], "+2.5"),
        (False, [4.0, 2.0, 3.0], "+50.0!"),
        (False, [4.0, 0.0, 0.0], "+0.0"),
        (True, [0.1, 0.9, NAN], "–"),
    ],
)
def test_the_last_look_is_told_by_what_it_lost_on_the_best(higher, looks, shown):
    sheet = comparison_sheet([compared(row("it", 0.5, looks), higher=higher)])
    if shown == "–":
        assert "last look" not in [c.head for c in sheet.blocks[0].columns]
        return
    assert [str(c) for c in column(sheet, "last look")] == [shown]
    (entry,) = (e for e in sheet.legend if e.startswith("last look"))
    assert (", in points" if higher else ", in %") in entry
    assert ("!: more than 5" in entry) == shown.endswith("!")


def test_one_seed_that_fell_far_is_marked_whatever_the_mean():
    looks = [[0.1, 0.9, 0.9], [0.1, 0.9, 0.9], [0.1, 0.9, 0.8]]
    sheet = comparison_sheet([compared(row("it", 0.5, looks))])
    assert [str(c) for c in column(sheet, "last look")] == ["-3.3!"]


def test_the_protocol_stands_in_the_legend_with_the_seeds():
    whole = compared(row("it", 0.5, seeds=(4, 5, 9)), protocol=("so and so",))
    assert comparison_sheet([whole]).legend[-1] == (
        "Protocol: so and so; seeds 4, 5, 9."
    )


@pytest.mark.parametrize(
    ("seeds", "named"), [((4,), "seed 4"), (tuple(range(9)), "9 seeds")]
)
def test_one_seed_and_many_are_named_shortly(seeds, named):
    one = MethodResult("it", np.ones((len(seeds), 2, 1)), {}, seeds=seeds)
    sheet = comparison_sheet([compared(one, protocol=("so",))])
    assert sheet.legend[-1] == f"Protocol: so; {named}."


def test_runs_are_put_together_by_method_and_by_seed():
    first = compared(row("equal_weighting", 0.8, seconds=1.0), row("mine", 0.7))
    first = dataclasses.replace(first, protocol=("p",))
    again = row("mine", 0.6, seeds=(3, 4, 5), seconds=9.0, notes=("a note",))
    other = compared(again, row("other", 0.9, seconds=9.0), protocol=("p", "q"))
    (whole,) = put_together([[other], [first]])
    assert [m.name for m in whole.methods] == ["mine", "other", "equal_weighting"]
    mine, new, plain = whole.methods
    assert mine.seeds == (3, 4, 5, 0, 1, 2)
    assert mine.metrics.shape == (6, 2, 1)
    np.testing.assert_array_equal(mine.metrics[:3], again.metrics)
    assert mine.curves["validation"].shape == (6, 3, 2)
    assert mine.chosen_steps.tolist() == [20, 30, 20] * 2
    assert mine.notes == ("a note",)
    # Seconds of another run cannot be compared.
    assert (plain.seconds_per_step, np.isnan(new.seconds_per_step)) == (1.0, True)
    assert whole.protocol == ("p", "q")
    assert put_together([[first]])[0].methods == first.methods


OTHER = {
    "experiment": "that",
    "task_names": ("a", "c"),
    "metric_names": ("auc",),
    "higher_is_better": (False,),
    "units": np.ones(2),
}


@pytest.mark.parametrize("field", OTHER)
def test_runs_of_other_problems_are_one_clear_line(field):
    first = compared(row("one", 0.8))
    other = dataclasses.replace(compared(row("other", 0.8)), **{field: OTHER[field]})
    with pytest.raises(UserError, match="the runs differ in"):
        put_together([[first], [other]])


def test_runs_that_do_not_add_up_are_one_clear_line():
    one = compared(row("one", 0.8))
    with pytest.raises(UserError, match="'one' was run with seed 0 in two of the runs"):
        put_together([[one], [one]])
    with pytest.raises(UserError, match=r"the runs have \[1, 2\] groups of tasks"):
        put_together([[one], [one, one]])
    longer = row("one", 0.8, seeds=(3, 4, 5))
    longer.curves["step"] = 2 * STEPS
    with pytest.raises(UserError, match="'one' have looks at other steps"):
        put_together([[one], [compared(longer)]])
