"""What sweeps draw: by names alone, from spaces of options that methods have."""

import hashlib
import inspect

import numpy as np
import pytest

import mtopt
from experiments.common.method_names import KNOWN, named_methods
from experiments.compare import space
from experiments.compare.texts import set_options, with_options
from mtopt.grammar import MethodText, every_method
from mtopt.methods import METHODS
from mtopt.transforms import TRANSFORMS
from mtopt.wrappers import WRAPPERS

EVERYTHING = {**METHODS, **WRAPPERS, **TRANSFORMS}


def drawn(text, trials=5, method=None, tasks=3, rate=1e-3):
    return space.draws(
        "it",
        method or text,
        text,
        learning_rate=rate,
        num_tasks=tasks,
        trials=trials,
    )


def test_draws_are_those_of_the_names():
    """A sweep that goes on must find the units that it has."""
    digest = hashlib.sha256(b"it\ncagrad").hexdigest()
    rng = np.random.RandomState(int(digest[:8], 16))
    expected = [("cagrad(c=0.5)", (1e-3, {"cagrad": {"c": 0.5}}))]
    for rate in (0.002196, 0.0002196):
        share = float(f"{rng.uniform():.4g}")
        expected.append((f"cagrad(c={share})", (rate, {"cagrad": {"c": share}})))
    assert drawn("cagrad", 3) == expected


def test_more_trials_keep_the_first_ones():
    assert drawn("rep_mtl(mgda)", 3) == drawn("rep_mtl(mgda)", 8)[:3]
    assert len({draw.text for draw in drawn("rep_mtl(mgda)", 8)}) == 8


def test_the_first_trial_is_what_there_is_without_tuning():
    for text, tuned in {
        "mgda": {},
        "flat_regions(cagrad)": {"flat_regions": {"rho": 0.05}, "cagrad": {"c": 0.5}},
        "cagrad(c=0.25)": {},
        "fixed_weighting": {"fixed_weighting": {"weights": (0.3333,) * 3}},
    }.items():
        first, *_ = drawn(text, rate=0.02)
        assert first.numbers == (0.02, tuned)
        assert first.text == with_options(text, tuned)
        assert drawn(text, 1, rate=0.02) == [first]


def test_all_methods_are_tried_at_the_same_rates():
    """Or the luckier draws win: a method would be told from itself."""
    rates = [
        [draw.numbers.learning_rate for draw in drawn(text)]
        for text in ("mgda", "cagrad", "flat_regions(mgda)", "fixed_weighting")
    ]
    assert rates == [rates[0]] * 4
    assert len({*rates[0]}) == 5


def test_few_rates_are_spread_over_the_range():
    for experiment in ("cars", "sarcos", "school"):
        places = [
            np.log10(draw.numbers.learning_rate)
            for draw in space.draws(
                experiment, "mgda", "mgda", learning_rate=1.0, num_tasks=2, trials=5
            )[1:]
        ]
        # One in each quarter of two decades.
        assert sorted(np.floor(2 * np.array(places))) == [-2, -1, 0, 1]


def test_methods_with_other_names_have_other_options():
    drawn_options = [
        drawn("cagrad", method=name)[1].numbers.options for name in ("this", "that")
    ]
    assert drawn_options[0] != drawn_options[1]


def test_the_rate_is_within_a_decade_of_that_of_the_experiment():
    rates = np.array(
        [draw.numbers.learning_rate for draw in drawn("mgda", 400, rate=0.05)]
    )
    assert rates.min() >= 0.005
    assert rates.max() <= 0.5
    # As many below as above, on a logarithmic scale.
    assert abs(np.log10(rates / 0.05).mean()) < 0.1


def test_weights_are_drawn_on_the_simplex():
    weights = np.array(
        [
            MethodText.parse(draw.text).stages[0].options["weights"]
            for draw in drawn("fixed_weighting", 400, tasks=4)
        ]
    )
    assert weights.shape == (400, 4)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-3)
    np.testing.assert_allclose(weights.mean(0), 0.25, atol=0.05)


def test_what_the_user_sets_stays():
    (draw,) = drawn("log_losses(rep_mtl(cagrad(c=0.25), tsr=0.5)) @ 40", 1)
    assert draw.text.endswith(" @ 40")
    found = set_options(draw.text)
    assert found == {"log_losses": set(), "rep_mtl": {"tsr", "csa"}, "cagrad": {"c"}}
    assert "cagrad(c=0.25)" in draw.text
    assert "tsr=0.5," in draw.text


def test_a_method_without_an_entry_has_its_rate_alone():
    assert {draw.text for draw in drawn("mgda")} == {"mgda"}
    assert len({draw.numbers.learning_rate for draw in drawn("mgda")}) == 5


def test_every_space_is_of_options_that_there_are():
    for name, options in space.options(3).items():
        assert options.keys() <= inspect.signature(EVERYTHING[name]).parameters.keys()


@pytest.mark.parametrize(
    "text",
    [
        *every_method(*KNOWN),
        "fixed_weighting",
        "flat_regions(mgda)",
        "log_losses(rep_mtl(equal_weighting))",
        "sam + mgda",
        "per_task_sam + mgda",
        "flat_regions(mgda, rho_shared=0.1, rho_task=0.2)",
    ],
)
def test_every_draw_builds(text):
    for draw in drawn(text, 20):
        MethodText.parse(draw.text, KNOWN).build(3, steps_per_epoch=10)


def test_options_are_put_in_where_their_name_stands():
    text = with_options("sam + log_losses(cagrad)", {"cagrad": {"c": 0.5}})
    assert text == "sam + log_losses(cagrad(c=0.5))"
    with pytest.raises(mtopt.UserError, match=r"cannot read the method 'mgda\('"):
        with_options("mgda(", {})


def test_families_and_all_are_names_of_methods():
    everything = named_methods(["all"])
    assert {"equal_weighting", "mgda", "famo"} <= {*everything}
    gramian = named_methods(["gramian"])
    assert {"mgda", "cagrad"} <= {*gramian} < {*everything}
    assert "famo" not in gramian
    assert named_methods(["mgda", "gramian"]) == gramian
    assert named_methods(["sam + mgda", "mgda"]) == ("sam + mgda", "mgda")
    families = [named_methods([family]) for family in mtopt.registry.FAMILIES]
    assert sorted(name for own in families for name in own) == sorted(everything)
