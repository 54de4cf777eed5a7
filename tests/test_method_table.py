"""The table of methods: every cell of the committed page, measured again."""

import pytest

import mtopt
from experiments import method_table

# What papers prove, or others measured (each of these is also tested elsewhere on
# other gradients): a method that lost one would change the page, and fail here.
HOLDS = {
    "equal_weighting": {"permutation", "linear"},
    "fixed_weighting": {"linear"},
    "mgda": {"non-conflicting", "permutation"},
}


@pytest.mark.parametrize("name", sorted(mtopt.METHODS))
def test_the_page_says_what_is_measured(name):
    lines = method_table.TARGET.read_text().splitlines()
    assert method_table.row(name) in lines


def test_the_page_has_all_methods_and_no_other():
    lines = method_table.TARGET.read_text().splitlines()
    listed = [line.split("`")[1] for line in lines if line.startswith("| [`")]
    assert listed == list(mtopt.METHODS)


@pytest.mark.parametrize("name", sorted(HOLDS))
def test_what_the_papers_prove_is_measured_to_hold(name):
    held = method_table.measure(name)
    assert {prop for prop in HOLDS[name] if held[prop]} == HOLDS[name]
