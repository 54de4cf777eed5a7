"""Names with options, and compositions of methods, as the flags spell them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.grammar import CallText, MethodText, every_method
from mtopt.transforms import normalize_rows
from mtopt.wrappers import log_losses, smoothed_weights, weights_every

ROWS = np.array([[1.0, 2.0, 0.0], [-1.0, 0.5, 4.0]], "float32")


def one_update(tx):
    @jax.jit
    def direction(rows, params, losses):
        evaluation = mtopt.Evaluation(losses=losses)
        return tx.update(rows, tx.init(params), params, evaluation=evaluation)[0]

    arrays = ROWS, np.zeros(3, "float32"), np.array([2.0, 0.5], "float32")
    return np.asarray(direction(*arrays))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mgda", lambda: mtopt.mgda(2)),
        (" mgda(normalize='none') ", lambda: mtopt.mgda(2)),
        ("mgda(normalize='l2')", lambda: mtopt.mgda(2, normalize="l2")),
        ("log_losses(mgda)", lambda: log_losses(mtopt.mgda(2))),
        (
            "log_losses(mgda(normalize='l2'), epsilon=0.5)",
            lambda: log_losses(mtopt.mgda(2, normalize="l2"), epsilon=0.5),
        ),
        (
            "log_losses(smoothed_weights(weights_every(mgda, n=3), alpha=0.5))",
            lambda: log_losses(
                smoothed_weights(weights_every(mtopt.mgda(2), n=3), alpha=0.5)
            ),
        ),
        (
            "normalize_rows(by='loss') + mgda",
            lambda: mtopt.chain(normalize_rows(2, by="loss"), mtopt.mgda(2)),
        ),
        (
            "normalize_rows+normalize_rows(by='loss')+ fixed_weighting(weights=(1, 2))",
            lambda: mtopt.chain(
                normalize_rows(2),
                normalize_rows(2, by="loss"),
                mtopt.fixed_weighting(2, weights=(1, 2)),
            ),
        ),
    ],
)
def test_a_text_builds_what_python_builds(text, expected):
    built = one_update(mtopt.method(text, 2))
    np.testing.assert_array_equal(built, one_update(expected()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mdga", "no method 'mdga': did you mean 'mgda'"),
        ("log_loses(mgda)", "no method 'log_loses': did you mean 'log_losses'"),
        ("mgda(normalise='l2')", "no option 'normalise': did you mean 'normalize'?"),
        ("log_losses(mgda(normalise='l2'))", "no option 'normalise'"),
        ("log_losses(mgda, eps=1)", "wrapper 'log_losses' has no option 'eps'"),
        ("mgda('l2')", "cannot read the method"),
        ("mgda(normalize=l2)", "cannot read the method"),
        ("mgda(", "cannot read the method"),
        ("mgda(**{})", "cannot read the method"),
        ("mgda - mgda", "cannot read the method"),
        ("log_losses(mgda, mgda)", "cannot read the method"),
        ("", "cannot read the method"),
        ("__import__('os')", "cannot read the method"),
        ("(lambda: 1)()", "cannot read the method"),
        ("mgda(mgda)", "'mgda' got 'mgda' to wrap: expected options by name"),
        ("log_losses", r"wraps one method alone: write \"log_losses\(mgda\)\""),
        ("log_losses(normalize_rows)", r"write \"normalize_rows \+ log_losses\(mgda\)"),
        (
            "log_losses(normalize_rows + pcgrad)",
            r"write \"normalize_rows \+ log_losses\(pcgrad\)\"",
        ),
        ("log_losses(pcgrad + mgda)", r"alone: write \"log_losses\(pcgrad\)\""),
        ("normalize_rows", r"write \"normalize_rows \+ mgda\""),
        ("mgda + mgda", r"'mgda' stands before a '\+'"),
        ("log_losses(mgda) + mgda", r"'log_losses' stands before a '\+'"),
        ("normalise_rows + mgda", "no transformation 'normalise_rows': did you mean"),
        ("normalize_rows(mgda) + mgda", "'normalize_rows' got 'mgda' to wrap"),
        ("weights_every(mgda)", r'needs n: write "weights_every\(mgda, n=\.\.\.\)"'),
        (
            "fixed_weighting",
            r'needs weights: write "fixed_weighting\(weights=\.\.\.\)"',
        ),
    ],
)
def test_what_cannot_be_a_method_is_named_without_the_number_of_tasks(text, message):
    with pytest.raises(mtopt.UserError, match=message):
        MethodText.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mgda(normalize='l3')", "normalize is 'l3': expected one of"),
        ("log_losses(mgda, epsilon=0)", "epsilon is 0: expected a number above 0"),
        ("normalize_rows(by='l3') + mgda", "by is 'l3': expected one of"),
        ("fixed_weighting(weights=(1, 2, 3))", "expected 2 finite numbers"),
        ("fixed_weighting(weights=(1, -2))", "expected 2 finite numbers"),
        ("single_task(task=2)", "expected an index from 0 to 1"),
    ],
)
def test_a_value_that_an_option_cannot_have_is_named(text, message):
    parsed = MethodText.parse(text)
    with pytest.raises(mtopt.UserError, match=message):
        parsed.build(2)


def test_what_a_run_knows_is_no_option_of_the_text():
    with pytest.raises(mtopt.UserError, match="needs steps_per_epoch"):
        MethodText.parse("improvable_gap_balancing")
    text = MethodText.parse("improvable_gap_balancing", ("steps_per_epoch",))
    assert text.build(2, steps_per_epoch=3).init(jnp.zeros(3)) is not None
    # Those that don't ask for it don't get it; the text's own value comes first.
    assert mtopt.method("mgda", 2, steps_per_epoch=3)
    with pytest.raises(mtopt.UserError, match="steps_per_epoch is 0"):
        mtopt.method(
            "improvable_gap_balancing(steps_per_epoch=0)", 2, steps_per_epoch=3
        )
    assert "improvable_gap_balancing" in every_method("steps_per_epoch")
    assert "improvable_gap_balancing" not in every_method()


def test_a_text_is_read_once_into_a_value():
    text = MethodText.parse("normalize_rows + mgda")
    assert len({text, MethodText.parse("normalize_rows + mgda")}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        text.text = "pcgrad"  # pyright: ignore[reportAttributeAccessIssue]


def test_models_are_calls_that_do_not_compose():
    def sized(shape, *, hidden=(4,)):
        return shape, hidden

    def parse(text):
        return CallText.parse("model", text, {"sized": sized}, arguments=1)

    assert parse("sized(hidden=(8,))").build(3) == (3, (8,))
    assert parse("sized(hidden=(8,))").build(3, hidden=(1,)) == (3, (1,))
    for text in ("sized(sized)", "sized + sized"):
        with pytest.raises(mtopt.UserError, match="cannot read the model"):
            parse(text)
