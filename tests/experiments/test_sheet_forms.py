"""One table in four forms: the same numbers and marks, and names that harm none."""

import csv
import dataclasses
import io
import re

import numpy as np
import pytest

from experiments.common.comparison_sheet import comparison_sheet
from experiments.common.results import Comparison, MethodResult
from experiments.common.sheet import BEST, TIED, Block, Cell, Column, Sheet
from experiments.common.sheet_forms import to_csv, to_latex, to_markdown
from experiments.common.table import to_text

HOSTILE = (
    "a_b%c&d#e$f{g}h~i^j\\k",
    "[x] *y* <script>`z`|w!",
    "-- \"quoted\" 'so' é",
    "two\nlines",
)
SHEET = Sheet(
    [
        Block(
            "title_1",
            HOSTILE[:2],
            [
                [Column("left %", [Cell("-0.9", "0.1", "*", BEST), Cell("–")])],
                [Column("a|b", [Cell("1"), Cell("[-2, 3]", mark=TIED)])],
            ],
        ),
    ],
    ["*: lost.", "Δm%: _change_."],
    {BEST: "best.", TIED: "tied."},
)


def test_in_markdown_every_row_has_its_cells():
    lines = to_markdown(SHEET).splitlines()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line[:1] == "|"]
    assert [len(row) for row in rows] == [3] * 4
    assert rows[1] == ["---", "---:", "---:"]
    assert [cell.strip() for cell in rows[2][1:]] == [r"**-0.9 ± 0.1\***", "1"]
    assert [cell.strip() for cell in rows[3][1:]] == ["–", r"*\[-2, 3\]*"]
    for sign in "*_`<|[":
        assert not re.search(rf"(?<!\\){re.escape(sign)}", rows[3][0])
    assert lines[-4:] == [r"- \*: lost.", r"- Δm%: \_change\_.", *lines[-2:]]
    assert lines[-2:] == ["- Bold: best.", "- Italic: tied."]


def test_in_latex_nothing_is_read_as_a_command():
    text = to_latex(SHEET)
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert all(row.endswith(r" \\") for row in body)
    assert [len(re.findall(r"(?<!\\)&", row)) for row in body] == [2, 2]
    assert [row.split(" & ")[1:] for row in body] == [
        [r"\textbf{$-$0.9 $\pm$ 0.1{*}}", r"1 \\"],
        ["--", r"\underline{[$-$2, 3]} \\"],
    ]
    # Braces in pairs, signs behind a backslash, no option behind a line break.
    braces = re.sub(r"\\[{}]", "", text)
    assert braces.count("{") == braces.count("}")
    for row in body:
        assert not re.search(r"(?<!\\)[%#_]", row)
        assert row.count(r"\\") == 1
        assert row[0] not in "[*"
    assert r"$\Delta$m\%: \_change\_." in text
    assert text.index(r"\bottomrule") < text.index("Bold: best.")
    assert text.isascii()


def test_in_a_terminal_marks_do_not_move_the_numbers():
    text = to_text(SHEET)
    assert "-0.9 ± 0.1* ●" in text
    assert text.endswith("*: lost.\nΔm%: _change_.\n●: best.\n○: tied.")


def hostile():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 3, 2, 2)) * 10.0 ** rng.integers(-9, 9, (2, 3, 2, 2))
    values[0, 0, 0], values[1, 2, 1, 0] = [np.nan, np.inf], -np.inf
    methods = [
        MethodResult(name, own, {}, seeds=(4, 0, 7))
        for name, own in zip(HOSTILE[:2], values, strict=True)
    ]
    return Comparison(
        HOSTILE[0], HOSTILE[2:], ("rmse", "r,2"), (False, True), None, methods
    )


def test_csv_has_every_number_in_full():
    first = hostile()
    second = dataclasses.replace(first, group="other", baseline=first.methods[0])
    head, *rows = csv.reader(io.StringIO(to_csv([first, second])))
    assert ",".join(head) == "experiment,group,method,seed,task,metric,value"
    assert len(rows) == (2 + 3) * 3 * 2 * 2
    found = {tuple(row[1:6]): float(row[6]) for row in rows}
    for part in (first, second):
        for result in part.results:
            for s, seed in enumerate(result.seeds):
                for k, task in enumerate(part.task_names):
                    for m, metric in enumerate(part.metric_names):
                        where = part.group, result.name, str(seed), task, metric
                        np.testing.assert_equal(found[where], result.metrics[s, k, m])
    assert {row[0] for row in rows} == {HOSTILE[0]}


def test_csv_is_read_by_pandas():
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(io.StringIO(to_csv([hostile()])))
    expected = [each.metrics.ravel() for each in hostile().methods]
    np.testing.assert_allclose(frame["value"], np.concatenate(expected), rtol=1e-15)
    assert set(frame["task"]) == set(HOSTILE[2:])


@pytest.mark.parametrize("form", [to_text, to_markdown, to_latex])
def test_names_of_several_lines_stay_on_one(form):
    sheet = comparison_sheet([hostile()])
    assert "two\nlines" not in form(sheet)
    assert "two lines" in form(sheet)
