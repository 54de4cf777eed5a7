"""The page of a run as a browser shows it: whole, quiet, narrow, dark, in order."""

import dataclasses
import functools
import re

import numpy as np
import pytest

from tests.helpers.browser import DARK, find_browser
from tests.helpers.comparisons import HOSTILE, ended, planted

PHONE, DESKTOP = 360, 1100
SLOW = pytest.mark.slow  # CI runs it
KINDS = (
    *("groups", "many", "hostile"),
    *(pytest.param(kind, marks=SLOW) for kind in ("one", "diverged")),
)


def parts_of(kind):
    few = {"equal_weighting": 0.7, "mgda": 0.75, "nash_mtl": 0.72}
    if kind == "groups":
        first = planted(few, group="one binary")
        second = planted(
            few, ("size",), metrics=("rmse", "mae"), group="one regression"
        )
        return first, dataclasses.replace(second, higher_is_better=(False, False))
    if kind == "many":
        many = {f"method_{i}(c={i / 100})": 0.6 + i / 100 for i in range(30)}
        return (planted(many, [f"task {k}" for k in range(12)]),)
    if kind == "one":
        return (planted({"mgda": 0.8}, seeds=1, single=None),)
    if kind == "diverged":
        return (planted(few, notes={"mgda": ("mgda: seed 0 diverged",)}),)
    return (planted({"<b>mgda</b>": 0.7, "cagrad": 0.8}, HOSTILE),)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    return find_browser(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def pages(browser, tmp_path_factory):
    """Kind to the file, which is written when it is asked for first."""
    folder = tmp_path_factory.mktemp("pages")
    words = "</pre><script>alert(2)</script>"

    @functools.cache
    def page(kind):
        return ended(folder / kind, *parts_of(kind), words=words) / "report.html"

    return page


@pytest.mark.parametrize("kind", KINDS)
def test_it_opens_without_a_word_on_the_console(browser, pages, kind):
    elements, console = browser.opened(pages(kind))
    assert console == []
    # The script has run: heads of columns are buttons now.
    assert re.search(r"<th scope=\"col\"><button type=\"button\">", elements)


def test_a_console_that_complains_would_be_heard(browser, tmp_path):
    """Else no page could fail the test above."""
    page = tmp_path / "loud.html"
    page.write_text("<!DOCTYPE html><title>x</title><script>boo()</script>")
    _, console = browser.opened(page)
    assert len(console) == 1
    assert "boo is not defined" in console[0]


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_phone_only_boxes_scroll_sideways(browser, pages, kind):
    found = browser.measured(pages(kind), PHONE)
    assert found["width"] == PHONE
    assert found["scrolls"] == PHONE
    assert found["outside"] == []
    assert found["boxes"]
    assert max(found["boxes"]) <= PHONE


def test_it_is_seen_without_scripts_light_and_dark(browser, pages):
    for width in (PHONE, DESKTOP):
        light, dark = (browser.seen(pages("groups"), width, *f) for f in ((), (DARK,)))
        # The margin, for pictures are light on either.
        assert np.median(light[:, 2:12]) > 0.95
        assert np.median(dark[:, 2:12]) < 0.2
        # Letters and tables leave marks from top to bottom.
        for shown in (light, dark):
            bands = np.array_split(shown[:, 20:-20], 5)
            assert all(band.std() > 0.01 for band in bands)


def test_a_click_on_a_head_sorts_the_methods(browser, pages):
    """By number, and back; the single-task models stay above."""
    (part,) = parts_of("many")
    scores = {m.name: m.metrics[..., 0].mean() for m in part.methods}
    rising = sorted(scores, key=scores.__getitem__)
    for clicks, expected in ((1, rising), (2, rising[::-1])):
        names = browser.sorted_by(pages("many"), "mean of tasks", clicks)
        assert names == ["single-task models", *expected]


def test_hostile_names_are_letters(browser, pages):
    elements, _ = browser.opened(pages("hostile"))
    assert "alert(" in elements
    assert len(re.findall(r"<script", elements)) == 1
    assert len(re.findall(r"<h1", elements)) == 1
    assert "<b>" not in elements
