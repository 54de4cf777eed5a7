"""What a comparison holds comes back from its file whole, to the last bit."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.common.config import Config, Optimizer
from experiments.common.protocol import protocol
from experiments.common.results import Comparison, MethodResult
from experiments.common.results_file import read_comparisons, to_plain
from mtopt.data import DATASETS
from mtopt.errors import UserError
from mtopt.training.loop import read_seconds_per_step
from mtopt.training.writer import MetricWriter, write_json


def numbers(rng, *shape):
    """Of all sizes, some of them not finite."""
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-300, 300, shape)
    of_each = rng.integers(0, 8, shape)
    for kind, special in enumerate((np.nan, np.inf, -np.inf)):
        values[of_each == kind] = special
    return values


def row(name, rng, tasks, metrics, looks=4):
    curves = {
        "step": 5 * np.arange(1, looks + 1),
        "validation": numbers(rng, 2, looks, tasks),
    }
    return MethodResult(
        name,
        numbers(rng, 2, tasks, metrics),
        curves if looks else {},
        notes=(f"{name}: seed 7 diverged", 'a "quote" & <b>'),
        seeds=(3, 7),
        chosen_steps=rng.integers(0, 9, (2, tasks) if name == "single" else 2),
        seconds_per_step=0.1 / 3,
        step_bytes=12345678.0,
    )


def compared(seed=0):
    rng = np.random.default_rng(seed)
    first = Comparison(
        "it",
        ("left", "rechts\n<é>"),
        ("rmse", "r2"),
        (False, True),
        row("single", rng, 2, 2),
        [row("mgda(normalize='l2')", rng, 2, 2), row("bare", rng, 2, 2, looks=0)],
        units=numbers(rng, 2),
        group="one",
        protocol=("a line", "another"),
    )
    bare = MethodResult("bare", numbers(rng, 1, 1, 1), {})
    second = Comparison("it", ("b",), ("auc",), (True,), None, [bare], group="two")
    return [first, dataclasses.replace(second, protocol=first.protocol)]


def assert_same(found, expected):
    """Equal fields, arrays with equal shapes and bits among them."""
    assert type(found) is type(expected)
    if dataclasses.is_dataclass(found):
        for field in dataclasses.fields(found):
            assert_same(getattr(found, field.name), getattr(expected, field.name))
    elif isinstance(found, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(found, dict):
        assert_same(list(found), list(expected))
        assert_same(list(found.values()), list(expected.values()))
    else:
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("seed", range(5))
def test_what_was_written_is_read_bit_for_bit(tmp_path, seed):
    parts = compared(seed)
    write_json(tmp_path / "results.json", to_plain(parts))
    assert_same(read_comparisons(tmp_path), parts)
    assert_same(read_comparisons(tmp_path / "results.json"), parts)


def test_the_file_is_strict_json(tmp_path):
    write_json(tmp_path / "results.json", to_plain(compared()))

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / "results.json").read_text()
    assert "Infinity" in text
    json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"groups": [{}]}', '{"arms": 1}'])
def test_a_file_of_something_else_is_one_clear_line(tmp_path, text):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match=r"no comparison in .*results.json: \w+; expec"):
        read_comparisons(tmp_path)


def test_seeds_are_as_many_as_the_metrics():
    bare = MethodResult("bare", np.zeros((3, 1, 1)), {})
    assert bare.seeds == (0, 1, 2)
    with pytest.raises(UserError, match="'bare' has 2 seeds and metrics of 3"):
        dataclasses.replace(bare, seeds=(4, 5))


def test_the_protocol_says_what_tables_must_share():
    data = "multi_digits(num_train=8, num_valid=4, num_test=4)"
    adam = Optimizer(schedule="cosine_decay", clip_norm=1.0)
    config = Config(data=data, model="lenet", methods=("mgda",), optimizer=adam)
    dataset = DATASETS["multi_digits"](num_train=8, num_valid=4, num_test=4)
    assert protocol(config, dataset) == (
        f"lenet on {data}; 1000 steps of 256 samples; adam at 0.001, schedule "
        "cosine_decay, clip_norm 1.0; the model of the best look at validation data, "
        "one every 100 steps; test data read once"
    )


def test_seconds_per_step_are_the_median_after_the_first_record(tmp_path):
    with MetricWriter(tmp_path / "metrics.jsonl") as writer:
        for step, rate in enumerate([0.5, 10.0, 1000.0, 20.0]):
            for seed in (0, 1):
                split = {"seed": seed, "split": "train", "steps_per_second": rate}
                writer.write({"step": 5 * step} | split)
            if not step:
                assert np.isnan(read_seconds_per_step(tmp_path))
        writer.write({"step": 15, "split": "valid", "accuracy": {}})
    assert read_seconds_per_step(tmp_path) == 1 / 20


def test_a_file_of_before_memory_was_written_is_read(tmp_path):
    stored = to_plain(compared())
    for group in stored["groups"]:
        for each in (group["baseline"], *group["methods"]):
            if each is not None:
                del each["step_bytes"]
    (tmp_path / "results.json").write_text(json.dumps(stored))
    for part in read_comparisons(tmp_path):
        assert all(np.isnan(result.step_bytes) for result in part.results)
