"""What a report says beside its table: late falls, and differences seed by seed."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from experiments.common.looks import late_falls, undefined
from experiments.common.paired import paired_sheet
from experiments.common.results import Comparison, MethodResult
from experiments.common.table import to_text
from mtopt.errors import UserError

NAN = float("nan")
NONE = "No method fell more than 5 {} behind an earlier look at validation data."


def method(name, looks, test=None):
    """A method of one task from its looks ``[seeds, T]``; tested at the last."""
    looks = np.asarray(looks, float)[..., None]
    test = looks[:, -1:] if test is None else np.asarray(test, float)[:, None, None]
    curves = {"step": np.arange(looks.shape[1]), "validation": looks}
    return MethodResult(name, test, curves)


def paired_table(comparison, reference):
    return to_text(paired_sheet(comparison, reference))


def compared(*methods, higher=True):
    return Comparison("it", ("task",), ("metric",), (higher,), None, [*methods])


def test_a_method_that_fell_late_has_a_line():
    """Of eight looks three are far below an earlier one, and one seed ends so."""
    fell = method("fell", [[0.5, 0.9, 0.2, 0.899], [0.9, 0.849, 0.87, 0.8]])
    kept = method("kept", [[0.1, 0.5, 0.9, 0.851], [0.1, 0.2, 0.3, 0.9]])
    (line,) = late_falls(compared(kept, fell))
    assert line == (
        "fell: 3 of 8 looks at validation data were more than 5 points behind an "
        "earlier one of their seed, by 70.0 at most; 1 of 2 seeds ended so"
    )


def test_what_is_read_is_the_mean_of_tasks_by_which_models_are_chosen():
    """One task falls by twenty points, and the other rises by as much."""
    looks = np.array([[[0.8, 0.6], [0.6, 0.8]]])
    result = MethodResult(
        "it", looks[:, -1][..., None], {"step": np.arange(2), "validation": looks}
    )
    comparison = Comparison("it", ("a", "b"), ("m",), (True,), None, [result])
    assert late_falls(comparison) == [NONE.format("points")]
    # In unlike units the second counts little.
    of_units = dataclasses.replace(comparison, units=np.array([1.0, 100.0]))
    (line,) = late_falls(of_units)
    assert "1 of 2 looks" in line


def test_an_error_falls_behind_where_it_grows_by_a_share():
    """The same whatever its unit."""
    for unit in (1e-6, 1.0, 1e4):
        looks = unit * np.array([[2.0, 1.0, 1.04, 1.06]])
        (line,) = late_falls(compared(method("it", looks), higher=False))
        assert "1 of 4 looks at validation data were more than 5 % behind" in line
        assert "by 6.0 at most; 1 of 1 seeds ended so" in line


@pytest.mark.parametrize("lost", [NAN, np.inf])
@pytest.mark.parametrize("higher", [True, False])
def test_what_ends_undefined_has_fallen(lost, higher):
    lost = -lost if higher else lost
    (line,) = late_falls(compared(method("it", [[0.9, lost]]), higher=higher))
    assert "their seed, 1 of them without a number; 1 of 1 seeds ended so" in line
    far = 0.1 if higher else 1.8
    fell = method("it", [[0.9, lost], [0.9, far]])
    (line,) = late_falls(compared(fell, higher=higher))
    most = "80.0" if higher else "100.0"
    assert f"by {most} at most, 1 of them without a number; 2 of 2 seeds" in line
    none = [NONE.format("points" if higher else "%")]
    for looks in ([lost, 0.9], [lost, lost]):
        found = late_falls(compared(method("it", [looks]), higher=higher))
        assert found == none


def test_methods_without_looks_have_no_falls():
    assert not late_falls(compared(MethodResult("it", np.ones((1, 1, 1)), {})))


def rows(text):
    return {line.split("  ")[0]: line for line in text.splitlines() if "[" in line}


@pytest.mark.parametrize("higher", [True, False])
def test_later_methods_are_compared_with_an_earlier_one(higher):
    """On validation data at the best look, which is the first; on test data."""
    at = np.array([0.7, 0.8, 0.9])
    worse = -0.5 if higher else 0.5
    looks = np.stack([at, at + worse], axis=1)
    base = method("base", looks, at)
    gain = np.array([0.01, 0.02, 0.03])
    ours = method("ours", looks + 0.125, at + gain)
    same = method("same", looks, at)
    text = paired_table(compared(ours, base, same, higher=higher), "base")
    assert text.startswith(
        "minus base, seed by seed: metric, mean of tasks [95 % interval], better "
        f"{'above' if higher else 'below'} 0\n"
    )
    found = rows(text)
    assert set(found) == {text.splitlines()[0], "ours", "same"}
    half = 4.302653 * 0.01 / np.sqrt(3)  # Student's quantile of two degrees
    assert f"+0.020 [{0.02 - half:+.3f}, {0.02 + half:+.3f}]" in found["ours"]
    assert "+0.125000 [+0.125000, +0.125000]" in found["ours"]
    assert found["same"].count("+0.0000 [+0.0000, +0.0000]") == 2
    # Of two p-values the smaller one counts twice.
    p_value = scipy.stats.ttest_1samp(gain, 0).pvalue
    assert found["ours"].split()[-1] == f"{2 * p_value:.3f}"
    assert found["same"].split()[-1] == "1.000"


def test_long_names_and_missing_looks_fit_the_terminal():
    long = "normalize_rows(by='l2') + log_losses(cagrad(c=0.4), epsilon=1e-6)"
    base, other = method(f"{long[:-6]}1e-5)", [[0.1], [0.2]]), [[0.15], [0.5]]
    bare = MethodResult("bare", np.full((2, 1, 1), 0.5), {})
    text = paired_table(compared(base, method(long, other), bare), base.name)
    assert max(map(len, text.splitlines())) <= 100
    # A page a column, and no page without one.
    assert text.count("\n-") == text.count(f"\n{long}") == text.count("\nbare") == 2
    assert next(line.split()[1] for line in text.splitlines() if "bare" in line) == "–"


def test_tasks_without_a_metric_are_named_once():
    looks = np.array([[[0.8, NAN], [0.9, NAN]]])
    it = MethodResult(
        "it", looks[:, -1][..., None], {"step": np.arange(2), "validation": looks}
    )
    comparison = Comparison("it", ("a", "b"), ("auc",), (True,), None, [it])
    (line,) = undefined(comparison)
    assert line.startswith("auc is undefined on the validation data of b: in its")
    # A method of which one model diverged says nothing of the task.
    other = dataclasses.replace(
        it, curves=it.curves | {"validation": np.ones_like(looks)}
    )
    assert not undefined(dataclasses.replace(comparison, methods=[it, other, other]))
    assert not undefined(compared(MethodResult("it", np.ones((1, 1, 1)), {})))
    # Nor does one that diverged with all seeds before the first look.
    gone = dataclasses.replace(method("gone", [[NAN, NAN]]), notes=("it diverged",))
    assert not undefined(compared(gone))


def test_a_seed_that_diverged_is_left_out_of_both_columns():
    """Its looks were good before it did: they tell nothing of a model that is gone."""
    base = method("base", [[0.5, 0.5]] * 3)
    ours = method("ours", [[0.6, 0.6], [0.6, 0.6], [0.9, NAN]])
    text = paired_table(compared(base, ours), "base")
    interval = "+0.1000 [+0.1000, +0.1000]*"
    assert rows(text)["ours"].split("  ")[-3:] == [interval, interval, "<0.001"]
    assert text.endswith("*: without the seeds that are undefined.")
    same = dataclasses.replace(base, name="same")
    assert "*" not in paired_table(compared(base, same), "base")


def test_only_seeds_that_both_have_are_compared():
    """Whatever their order: seed 1 is 0.5 better, and seed 2 is another model."""
    base = dataclasses.replace(method("base", [[0.1], [0.3], [0.2]]), seeds=(1, 2, 3))
    ours = dataclasses.replace(method("ours", [[0.7], [0.6]]), seeds=(3, 1))
    assert (
        rows(paired_table(compared(base, ours), "base"))["ours"].count("+0.5000") == 6
    )


def test_a_reference_that_was_not_run_is_named():
    base = method("base", [[0.1]])
    with pytest.raises(UserError, match=r"no method 'bass' was compared: .*base"):
        paired_sheet(compared(base, base), "bass")
