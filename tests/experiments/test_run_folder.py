"""The files of a run: no two methods share a folder."""

import itertools

from experiments.common.run_folder import folder_name, run_folder

NEAR = (
    "mgda",
    "mgda()",
    "mgda(normalize='l2')",
    "mgda-normalize-l2",
    "mgda(normalize='l-2')",
    "fixed_weighting(weights=(1, 2))",
    "fixed_weighting(weights=(1, -2))",
    "fixed_weighting(weights=(-1, 2))",
    "fixed_weighting(weights=(12,))",
    "normalize_rows + mgda",
    "normalize_rows(mgda)",
    "log_losses(mgda) + sam",
    "log_losses(mgda + sam)",
    "A",
    "a",
    "..",
    ".",
    "x" * 300,
    "x" * 300 + "y",
    folder_name("mgda(normalize='l2')"),
)
"""Texts that differ by a sign, a bracket, a case, or by what stands beyond a limit."""


def test_every_text_has_a_folder_of_its_own(tmp_path):
    names = [folder_name(text) for text in NEAR]
    same = [
        pair
        for pair in itertools.combinations(range(len(NEAR)), 2)
        if names[pair[0]].lower() == names[pair[1]].lower()
    ]
    assert [(NEAR[i], NEAR[j]) for i, j in same] == []
    for name in names:
        (tmp_path / name).mkdir()
        assert (tmp_path / name).parent == tmp_path
    assert folder_name("normalize_rows + mgda").startswith("normalize_rows-mgda-")
    stacks = [(0, 1), (0,), (1,), (0, 1, 2), (12,), (1, 2)]
    assert len({run_folder(tmp_path, "mgda", seeds) for seeds in stacks}) == len(stacks)
