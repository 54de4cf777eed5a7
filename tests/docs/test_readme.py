"""The README: its numbers are those of the pages, and it is short."""

import re

import mtopt
from tests.helpers.pages import DOCS
from tests.helpers.repository import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_results_are_those_of_the_results_page():
    measured = (DOCS / "results" / "measured" / "digit_questions.txt").read_text(
        "utf-8"
    )
    table = README.partition("## What it measures")[2].partition("##")[0]
    values = re.findall(r"\| (0\.\d+ ± 0\.\d+) \|", table)
    assert len(values) == 8
    means = measured.partition("mean of tasks")[2]
    assert values == re.findall(r"0\.\d+ ± 0\.\d+", means)


def test_it_counts_the_methods():
    assert f"{len(mtopt.METHODS)} methods" in README


def test_every_notebook_is_linked():
    notebooks = [path.name for path in (ROOT / "colabs").glob("*.ipynb")]
    assert notebooks
    assert [name for name in notebooks if f"colabs/{name})" not in README] == []


def test_the_two_commands_are_one_line_each():
    commands = re.findall(r"^python3 -m venv .*$", README, re.MULTILINE)
    assert [command.split()[-1] for command in commands] == ["experiments.main", "2"]


def test_it_can_be_read_in_three_minutes():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert len(prose.split()) < 600
