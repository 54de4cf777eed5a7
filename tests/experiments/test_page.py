"""The page of a run as a file: whole, closed to the outside, and true to the folder."""

import base64
import dataclasses
import hashlib
import html.parser
import json
import pathlib
import re
import sys

import numpy as np
import pytest
from absl.testing import flagsaver
from matplotlib.figure import Figure

from experiments import report
from experiments.common import command
from experiments.common.experiment import find_experiment
from experiments.common.page.folder import page_of, write_page
from experiments.common.page.render import render
from experiments.common.pictures import save
from experiments.common.sheet import UNDEFINED
from experiments.toy.run import prepare
from mtopt.errors import UserError
from tests.helpers.comparisons import HOSTILE, ended, planted

VOID = {"meta", "img", "wbr", "br", "link", "input"}
FEW = {"equal_weighting": 0.7, "mgda": 0.75, "nash_mtl": 0.72}


class Read(html.parser.HTMLParser):
    """Every element with its attributes and text, once all tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def of(self, tag):
        return [attributes for each, attributes in self.elements if each == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a run with names that are hostile to a page, and one that diverged."""
    methods = {**FEW, "<i>cagrad</i>": 0.8, "lost": 0.5}
    notes = {"lost": ("lost: seed 0 diverged: <loss> & gradient",)}
    part = planted(methods, HOSTILE, notes=notes)
    return ended(tmp_path_factory.mktemp("run"), part, words="</pre><b>data</b>")


@pytest.fixture(scope="module")
def text(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_it_loads_nothing_and_runs_its_own_script_alone(text):
    found = Read(text)
    for tag, attributes in found.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/")
        assert attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
        assert "style" not in attributes
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = (
        each["content"]
        for each in found.of("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    for name, content in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"


def test_every_name_is_text(text):
    found = Read(text)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"i", "b"}
    assert len(found.of("script")) == 1
    assert len(found.of("h1")) == 1
    whole = "".join(found.texts)
    assert "<i>cagrad</i>" in whole
    assert "</pre><b>data</b>" in whole
    assert "<loss> & gradient" in whole
    for name in HOSTILE[:3] + HOSTILE[4:5]:
        assert name in whole
    # What would turn the text around, or is not seen, has a sign in its place.
    assert "\N{REPLACEMENT CHARACTER}turned" in whole
    assert not re.search("[\x00-\x08\u202a-\u202e\u2066-\u2069]", text)
    # A template is no template.
    assert "{{ 7 * 7 }} {% raw %}" in whole


def test_tables_and_pictures_say_what_they_are(folder, text):
    found = Read(text)
    assert len(found.of("table")) == len(found.of("caption"))
    assert all(each["scope"] in ("row", "col") for each in found.of("th"))
    assert len(found.of("img")) == len(list(folder.glob("*.png"))) > 2
    for image in found.of("img"):
        assert len(image["alt"]) > 20
        assert int(image["width"]) > 300
    regions = [each for each in found.of("div") if each.get("class") == "scroll"]
    assert all(each["tabindex"] == "0" and each["aria-label"] for each in regions)
    anchors = {each["id"] for each in found.of("section")}
    assert {each["href"][1:] for each in found.of("a")} == anchors
    assert len(found.of("section")) == len(anchors)


def written(patch, *flags):
    """What the program does that writes a page again."""
    patch.setattr(sys, "argv", ["report", *flags])
    with flagsaver.flagsaver(run=None):  # a flag of other programs, too
        report.main(command.parse_flags(sys.argv))


def test_it_is_written_again_from_the_folder_alone(folder, text, monkeypatch, capsys):
    path = folder / "report.html"
    path.unlink()
    written(monkeypatch, f"--run={folder}")
    assert capsys.readouterr().out == f"page     {path}\n"
    assert path.read_text(encoding="utf-8") == text


def tables(folder):
    """Section and head of a column to row to text."""
    return {
        (section.anchor, head): {
            row.name: row.cells[k] for row in (*table.reference, *table.rows)
        }
        for section in page_of(folder).sections
        for table in section.tables
        for k, head in enumerate(table.heads[1:])
    }


def test_numbers_stand_where_they_belong(tmp_path):
    part = planted(FEW, seeds=4)
    found = tables(ended(tmp_path, part))
    for method in part.methods:
        mean = method.metrics[..., 0].mean(axis=0)
        for k, task in enumerate(part.task_names):
            cell = found["results", task][method.name]
            assert float(cell.text.split(" ± ")[0]) == pytest.approx(mean[k], abs=6e-4)
            for seed in method.seeds:
                own = found["seeds", task][f"{method.name}, seed {seed}"]
                assert own.value == pytest.approx(method.metrics[seed, k, 0], abs=6e-4)
    assert found["results", "mean of tasks"]["mgda"].emphasis == "best"
    assert found["results", "rank ↓"]["single-task models"].text == UNDEFINED
    differences = found["paired", "test"]
    assert set(differences) == {"mgda", "nash_mtl"}
    expected = np.mean(part.methods[1].metrics - part.methods[0].metrics)
    assert differences["mgda"].value == pytest.approx(expected, abs=1e-3)


def test_no_page_holds_more_numbers_than_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.common.page.folder.MOST_NUMBERS", 23)
    page = page_of(ended(tmp_path, planted(FEW, seeds=3)))
    (section,) = (each for each in page.sections if each.anchor == "seeds")
    assert section.tables == ()
    assert section.lines[0].startswith("24 numbers are too many for a page")


def test_what_was_drawn_is_shown_in_order_and_strange_files_are_not(tmp_path):
    folder = ended(tmp_path, planted(FEW))
    save(Figure(), folder / "alphas.png", "Nothing at all.")
    Figure().savefig(folder / "mine.png")
    (folder / "torn.png").write_bytes((folder / "test.png").read_bytes()[:40])
    (folder / "no.png").write_text("<svg onload=alert(1)>")
    (section,) = (s for s in page_of(folder).sections if s.anchor == "pictures")
    names = [picture.name for picture in section.pictures]
    assert names == ["test.png", "curves.png", "alphas.png", "time.png"]
    for picture in section.pictures:
        kind, data = picture.source.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data) == (folder / picture.name).read_bytes()


def test_a_project_shows_its_own_table_and_picture(tmp_path):
    config = find_experiment("toy").get_config()
    config = dataclasses.replace(config, methods=("mgda",), steps=4, log_every=2)
    prepare(config, "toy", None)(tmp_path)
    found = Read((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert (tmp_path / "table.txt").read_text().strip() in "".join(found.texts)
    (image,) = found.of("img")
    assert image["alt"] == "toy: 4 steps from every start, L₁ scaled by 0.1"
    assert "Pareto front" in "".join(found.texts)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("table.txt", None, "no report in .* expected a run that has ended"),
        ("results.json", "{", r"cannot read .*results.json \(JSONDecodeError\)"),
        ("results.json", '{"protocol": 1}', "no comparison in"),
        ("versions.json", "[1]", "cannot read .*versions.json"),
        ("config.json", "{}", "no run in"),
    ],
)
def test_a_folder_that_is_none_is_said_in_a_line(tmp_path, name, content, message):
    folder = ended(tmp_path, planted(FEW))
    path = pathlib.Path(folder / name)
    path.unlink() if content is None else path.write_text(content)
    before = (folder / "report.html").read_bytes()
    with pytest.raises(UserError, match=message) as error:
        write_page(folder)
    assert "\n" not in str(error.value)
    assert (folder / "report.html").read_bytes() == before


def test_the_program_wants_a_run(monkeypatch, capsys, tmp_path):
    for flags, message in (
        ([], "error: no --run"),
        ([f"--run={tmp_path}"], "error: no run in"),
    ):
        with pytest.raises(SystemExit):
            written(monkeypatch, *flags)
        assert capsys.readouterr().err.startswith(message)


def test_data_json_keeps_the_words_that_a_page_shows(folder, text):
    stored = json.loads((folder / "data.json").read_text())
    assert stored["words"] in "".join(Read(text).texts)
    assert render(page_of(folder)) == text
