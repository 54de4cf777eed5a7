"""Names with options, as the flags spell them."""

import pytest

import mtopt
from experiments import calls


def test_a_name_and_a_call_build_the_same():
    for text in ("mgda", "mgda()", " mgda(normalize='none') "):
        assert callable(calls.build("method", text, mtopt.METHODS, 2).update)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mdga", "no method 'mdga': did you mean 'mgda'?"),
        ("mgda(normalise='l2')", "no option 'normalise': did you mean 'normalize'?"),
        ("mgda(normalize='l3')", "normalize is 'l3': expected one of"),
        ("mgda('l2')", "cannot read the method"),
        ("mgda(normalize=l2)", "cannot read the method"),
        ("mgda(", "cannot read the method"),
        ("mgda(**{})", "cannot read the method"),
        ("__import__('os')", "cannot read the method"),
        (
            "fixed_weighting",
            r'needs weights: write "fixed_weighting\(weights=\.\.\.\)"',
        ),
        ("fixed_weighting(weights=(1, 2, 3))", "expected 2 numbers"),
        ("fixed_weighting(weights=(1, -2))", "none negative"),
        ("single_task(task=2)", "expected an index from 0 to 1"),
    ],
)
def test_what_cannot_be_built_is_named(text, message):
    with pytest.raises(mtopt.UserError, match=message):
        calls.build("method", text, mtopt.METHODS, 2)
