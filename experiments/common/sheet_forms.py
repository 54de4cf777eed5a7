"""Sheets as Markdown and LaTeX, and what is behind them as CSV, number by number."""

import csv
import io
import re
from collections.abc import Sequence

from .results import Comparison
from .sheet import BEST, TIED, Cell, Sheet

MARKDOWN = {"": "{}", BEST: "**{}**", TIED: "*{}*"}
MARKDOWN_NAMES = {BEST: "Bold", TIED: "Italic"}
LATEX = {"": "{}", BEST: r"\textbf{{{}}}", TIED: r"\underline{{{}}}"}
LATEX_NAMES = {BEST: "Bold", TIED: "Underlined"}
SYMBOLS = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "'": r"\textquotesingle{}",
        "-": "{-}",  # no ligature: -- is a dash
        "*": "{*}",  # nor an option of the line break before it
        "[": "{[}",
        "–": "--",
        "±": r"$\pm$",
        "Δ": r"$\Delta$",
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        "†": r"$\dagger$",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)
"""What LaTeX would read as something else, or has another name for."""


def to_markdown(sheet: Sheet) -> str:
    r"""A sheet as pipe tables, the best in bold and what is tied with it in italics.

    Example:
      >>> from .sheet import Block, Column
      >>> cells = [Cell("0.9", "0.1", mark=BEST), Cell("0.8", "0.1", "*")]
      >>> block = Block("demo", ("a_b", "c|d"), [[Column("left", cells)]])
      >>> print(to_markdown(Sheet([block], ["*: lost."], {})))
      demo
      <BLANKLINE>
      |  | left |
      |---|---:|
      | a\_b | **0.9 ± 0.1** |
      | c\|d | 0.8 ± 0.1\* |
      <BLANKLINE>
      - \*: lost.
    """
    lines = []
    for block in sheet.blocks:
        heads = [_markdown(column.head) for column in block.columns]
        lines += [_markdown(block.title), "", _pipes(["", *heads])]
        lines.append("|---|" + "---:|" * len(heads))
        rows = zip(*(column.cells for column in block.columns), strict=True)
        for name, cells in zip(block.rows, rows, strict=True):
            lines.append(_pipes([_markdown(name), *map(_markdown_cell, cells)]))
        lines.append("")
    marks = [f"{MARKDOWN_NAMES[m]}: {meaning}" for m, meaning in sheet.marks.items()]
    lines += [f"- {_markdown(entry)}" for entry in [*sheet.legend, *marks]]
    return "\n".join(lines).rstrip()


def to_latex(sheet: Sheet) -> str:
    r"""A sheet as tables for the package booktabs, best in bold, tied underlined.

    Example:
      >>> from .sheet import Block, Column
      >>> cells = [Cell("0.9", "0.1", mark=BEST), Cell("0.8", "0.1")]
      >>> block = Block("demo", ("a_b", "50%"), [[Column("left", cells)]])
      >>> print(to_latex(Sheet([block], ["rank: mean."], {})))
      % \usepackage{booktabs,textcomp}
      \begin{table}
      \centering
      \caption{demo}
      \begin{tabular}{lr}
      \toprule
       & left \\
      \midrule
      a\_b & \textbf{0.9 $\pm$ 0.1} \\
      50\% & 0.8 $\pm$ 0.1 \\
      \bottomrule
      \end{tabular}
      \par\smallskip\raggedright\footnotesize
      rank: mean.
      \end{table}
    """
    marks = [f"{LATEX_NAMES[m]}: {meaning}" for m, meaning in sheet.marks.items()]
    legend = [_latex(entry) for entry in [*sheet.legend, *marks]]
    lines = [r"% \usepackage{booktabs,textcomp}"]
    for block in sheet.blocks:
        heads = [_latex(column.head) for column in block.columns]
        lines += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(block.title)}}}",
        ]
        lines += [rf"\begin{{tabular}}{{l{'r' * len(heads)}}}", r"\toprule"]
        lines += [_ampersands(["", *heads]), r"\midrule"]
        rows = zip(*(column.cells for column in block.columns), strict=True)
        for name, cells in zip(block.rows, rows, strict=True):
            lines.append(_ampersands([_latex(name), *map(_latex_cell, cells)]))
        lines += [r"\bottomrule", r"\end{tabular}"]
        if block is sheet.blocks[-1] and legend:
            lines.append(r"\par\smallskip\raggedright\footnotesize")
            lines.append(" \\par\n".join(legend))
        lines.append(r"\end{table}")
    return "\n".join(lines)


def to_csv(parts: Sequence[Comparison]) -> str:
    """All test metrics in full, one number a line, for other programs.

    Columns: experiment, group, method, seed, task, metric, value. A value that is not
    finite is ``nan``, ``inf`` or ``-inf``.

    Args:
      parts: the results, on each group of tasks.
    """
    file = io.StringIO()
    write = csv.writer(file, lineterminator="\n").writerow
    write(("experiment", "group", "method", "seed", "task", "metric", "value"))
    for part in parts:
        for result in part.results:
            for seed, of_seed in zip(result.seeds, result.metrics, strict=True):
                for task, of_task in zip(part.task_names, of_seed, strict=True):
                    for metric, value in zip(part.metric_names, of_task, strict=True):
                        where = part.experiment, part.group, result.name
                        write((*where, seed, task, metric, repr(float(value))))
    return file.getvalue().rstrip("\n")


def _markdown(text: str) -> str:
    """Text in which Markdown reads nothing."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&$!])", r"\\\1", text)


def _markdown_cell(cell: Cell) -> str:
    return MARKDOWN[cell.mark].format(_markdown(str(cell)))


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex(text: str) -> str:
    """Text in which LaTeX reads nothing, of letters that it has."""
    return text.translate(SYMBOLS)


def _latex_cell(cell: Cell) -> str:
    number = _latex(str(cell)).replace("{-}", "$-$").replace("{[}", "[")
    return LATEX[cell.mark].format(number)


def _ampersands(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
