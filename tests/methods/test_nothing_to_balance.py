"""One task, equal losses, zero gradients: each docstring says what then happens."""

import inspect

import mtopt
from tests.helpers.idle import in_words
from tests.helpers.methods import OF_EVERY_KIND, over

ALL = set(mtopt.METHODS)
SOLVED = {"mgda", "ldc", "famo", "moco", "modo", "sdmgrad", "krum", "imgrad"}


def section(name):
    doc = inspect.getdoc(mtopt.METHODS[name])
    text = doc.split("Nothing to balance:\n")[1].split("\n\n")[0]
    return " ".join(text.split())


@over(ALL, slow=ALL - OF_EVERY_KIND - {"mgda"})
def test_the_docstring_says_what_is_measured(name):
    assert section(name).startswith(in_words(name) + ".")


def test_methods_that_a_solved_task_stops_say_so():
    assert {n for n in ALL if "without_stationary" in section(n)} == SOLVED
