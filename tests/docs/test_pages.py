"""The pages: their code runs, their commands exist, their links lead somewhere."""

import importlib
import importlib.util
import re
import shlex

import pytest
from absl import flags

import mtopt
from experiments.common.experiment import EXPERIMENTS, find_experiment
from experiments.console import PROGRAMS
from tests.helpers.pages import DOCS, PAGES, RECORDS, blocks, run
from tests.helpers.repository import ROOT

COMMAND = re.compile(r"`((?:\S+=\S+ )?(?:\S*/)?python3? -m [^`]+)`")


def every(pages):
    return pytest.mark.parametrize(
        "page", pages, ids=lambda path: str(path.relative_to(ROOT))
    )


# So many optimizers around so many chains are as many programs; CI runs them.
LONG = {DOCS / "optax.md"}
with_code = pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow if page in LONG else ())
        for page in PAGES
        if blocks(page, "python")
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
everywhere = every((*PAGES, *RECORDS))
decisions = every([page for page in RECORDS if page.parent.name == "decisions"])


@with_code
def test_the_code_runs_from_top_to_bottom(page):
    run(page)


def commands(page):
    """The Python programs that a page tells to run, each split into words."""
    lines = [
        line
        for block in blocks(page, "bash")
        for line in re.split(r"\n|&&", block.replace("\\\n", " "))
    ]
    lines += COMMAND.findall(" ".join(page.read_text(encoding="utf-8").split()))
    for line in lines:
        found = re.search(r"python3? -m (.*)", line)
        if found:
            yield shlex.split(found[1].replace("...", ""))


@everywhere
def test_commands_exist(page):
    for module, *words in commands(page):
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        if not module.startswith("experiments."):
            continue
        is_package = spec.submodule_search_locations is not None
        importlib.import_module(f"{module}.__main__" if is_package else module)
        options = (word[2:].partition("=") for word in words if word.startswith("--"))
        given = {flag: value for flag, _, value in options}
        name = given.get("experiment", "digit_questions")
        assert name in EXPERIMENTS
        for flag in given:
            if flag.startswith("config."):
                config = find_experiment(name).get_config()
                for field in flag.split(".")[1:]:
                    config = getattr(config, field)
            else:
                assert flag in flags.FLAGS, f"{module} has no flag --{flag}"


@everywhere
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        built = link.endswith("methods.md") or "api/" in link  # written for the site
        if not link.startswith("http") and not built:
            assert (page.parent / link).exists(), link


@everywhere
def test_a_cell_of_a_table_is_no_essay(page):
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            for cell in line.split("|"):
                assert len(cell.split()) <= 25, cell


@decisions
def test_a_decision_has_its_parts(page):
    text = page.read_text(encoding="utf-8")
    assert re.search(r"^# .+\n\n\*\d{4}-\d{2}-\d{2}\*", text)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert "Decision" in headings
    assert set(headings) <= {"Context", "Decision", "Evidence", "Rejected"}
    assert len(text.split()) < 350


def test_every_decision_and_result_is_in_the_index():
    index = (ROOT / "BUILD_NOTES.md").read_text(encoding="utf-8")
    pages = [page for page in RECORDS if page.parent != ROOT]
    assert len(pages) > 60
    assert [page for page in pages if f"]({page.relative_to(ROOT)})" not in index] == []
    assert len(index.split()) < 10 * len(pages)  # titles, and no essays


def test_programs_exist():
    page = (DOCS / "experiments.md").read_text(encoding="utf-8")
    found = re.findall(r"`mtopt ([a-z][a-z-]*(?: [a-z]+)?)", page)
    assert set(found) == set(PROGRAMS)


def test_every_experiment_is_named():
    page = (DOCS / "experiments.md").read_text(encoding="utf-8")
    assert [name for name in EXPERIMENTS if f"`{name}`" not in page] == []


def test_costs_in_the_guide_are_those_of_the_measured_table():
    pattern = r"^\| \[?`(\w+)`(?:\]\([^)]*\))? \|(?:(?:[^|]*\|){3})? ([\d.]+) \|"

    def costs(page):
        found = re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE)
        return {name: float(cost) for name, cost in found}

    measured = costs(ROOT / "mtopt" / "methods" / "README.md")
    guide = costs(DOCS / "choose.md")
    assert set(measured) == set(mtopt.METHODS)
    assert len(guide) > 25
    # Another compiler, or another way to write a method, moves the last digit.
    assert guide == pytest.approx({name: measured[name] for name in guide}, abs=0.2)


def test_the_guide_names_all_that_composes():
    guide = (DOCS / "choose.md").read_text(encoding="utf-8")
    composing = (*mtopt.WRAPPERS, *mtopt.TRANSFORMS)
    assert [name for name in composing if f"`{name}`" not in guide] == []
    known = {*composing, *mtopt.METHODS, *EXPERIMENTS}
    named = set(re.findall(r"`([a-z_0-9]+)`", guide))
    assert named - known == set()
