"""The table of methods: every cell of the committed page, measured again."""

import pytest

import mtopt
from experiments.benchmarks import method_table
from tests.helpers.methods import every_method, over

# What papers prove, or others measured (each of these is also tested elsewhere on
# other gradients): a method that lost one would change the page, and fail here.
HOLDS = {
    "aligned_mtl": {"permutation"},
    "conflict_free": {"non-conflicting", "permutation", "linear", "scale"},
    "dualproj": {"non-conflicting", "permutation", "stationary"},
    "equal_weighting": {"permutation", "linear", "stationary"},
    "fairgrad": {"non-conflicting", "permutation"},
    "fixed_weighting": {"linear"},
    "imtl_g": {"non-conflicting", "permutation", "scale"},
    "mgda": {"non-conflicting", "permutation"},
    "nash_mtl": {"non-conflicting", "permutation", "scale"},
    "trimmed_mean": {"permutation"},
    "upgrad": {"non-conflicting", "permutation", "linear", "stationary"},
}


@pytest.mark.slow
@every_method
def test_the_page_says_what_is_measured(name):
    lines = method_table.TARGET.read_text().splitlines()
    assert method_table.row(name) in lines


def test_the_page_has_all_methods_and_no_other():
    lines = method_table.TARGET.read_text().splitlines()
    listed = [line.split("`")[1] for line in lines if line.startswith("| [`")]
    assert listed == list(mtopt.METHODS)


def test_the_rest_of_the_page_is_as_written():
    page = method_table.TARGET.read_text()
    lines = [line for line in page.splitlines() if line.startswith("| [`")]
    assert page == method_table.document(lines)
    assert "- `go4align`, `num_groups`: the length of a loop" in page


@over(HOLDS, slow=set(HOLDS) - {"equal_weighting", "nash_mtl", "upgrad"})
def test_what_the_papers_prove_is_measured_to_hold(name):
    held = method_table.measure(name)
    assert {prop for prop in HOLDS[name] if held[prop]} == HOLDS[name]


# What the same measurements show not to hold: the other cells of those rows.
FAILS = {
    "aligned_mtl": {"non-conflicting", "linear", "scale"},
    "cagrad": {"non-conflicting", "linear", "scale"},
    "db_mtl": {"non-conflicting"},
    "dualproj": {"linear", "scale"},
    "equal_weighting": {"non-conflicting", "scale"},
    "imtl_g": {"linear"},
    "mgda": {"linear", "stationary", "scale"},
    "nash_mtl": {"linear"},
    "pcgrad": {"non-conflicting", "scale"},
    "upgrad": {"scale"},
}


@over(FAILS, slow=set(FAILS) - {"aligned_mtl", "equal_weighting", "upgrad"})
def test_what_others_measured_to_fail_fails(name):
    held = method_table.measure(name)
    assert not {prop for prop in FAILS[name] if held[prop]}


def test_the_page_names_the_options_that_cannot_be_traced():
    page = method_table.TARGET.read_text()
    section = page.split("cannot be traced\n")[1]
    listed = [line for line in section.splitlines() if line.startswith("- ")]
    assert listed == method_table.untraced()
