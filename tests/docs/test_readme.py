"""The README: its code runs, its links lead somewhere, its tables are complete."""

import re

import jax
import numpy as np

import mtopt
from experiments import EXPERIMENTS
from tests.helpers.repository import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_code_runs_from_top_to_bottom(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 5
    scope = {}
    # Users write bias additions and the like with broadcasting; only our own code is
    # held to equal ranks.
    with jax.numpy_rank_promotion("allow"):
        for block in blocks:
            exec(block, scope)
    assert "(8,)" in capsys.readouterr().out
    np.testing.assert_allclose(scope["direction"], [0, 1, 1], atol=1e-5)


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    local = [link for link in links if not link.startswith("http")]
    assert len(local) >= 8
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_all_that_has_a_name_is_named():
    known = (*mtopt.METHODS, *mtopt.WRAPPERS, *mtopt.TRANSFORMS, *EXPERIMENTS)
    assert [name for name in known if f"`{name}" not in README] == []
    colabs = [path.name for path in (ROOT / "colabs").glob("*.ipynb")]
    assert [name for name in colabs if f"colabs/{name}" not in README] == []


def test_it_can_be_read_in_three_minutes():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert len(prose.split()) < 700
