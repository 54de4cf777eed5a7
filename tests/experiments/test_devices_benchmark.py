"""What steps cost each of several devices, against the page on scaling."""

import json
import subprocess
import sys

import numpy as np
import pytest

from experiments.benchmarks.collectives import received
from tests.helpers.repository import ROOT

K, B = 16, 128
LAYERS = [(1024, 1024), (1024, 512)]
D = sum(i * o for i, o in LAYERS)


def test_bytes_are_counted_by_kind_group_and_turns_of_a_loop():
    program = """HloModule m

%body.1 (p: (s32[])) -> (s32[]) {
  %a = f32[8,4]{1,0} all-to-all(%x), replica_groups={{0,1},{2,3}}
}

%cond.1 (p: (s32[])) -> pred[] {
  %c = pred[] compare(%x, %y)
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %r = (f32[16]{0}, bf16[2]{0}) all-reduce(%x, %y), replica_groups=[1,4]<=[4]
  %w = (s32[]) while(%t), condition=%cond.1, body=%body.1, KNOWN
}
"""
    known = 'backend_config={"known_trip_count":{"n":"3"}}'
    assert received(program.replace("KNOWN", known), 4) == {
        "all-reduce": 2 * 3 / 4 * (64 + 4),
        "all-to-all": 3 * 1 / 2 * 128,
    }
    with pytest.raises(ValueError, match="unknown length"):
        received(program.replace("KNOWN", ""), 4)


def predicted(inputs, method, data, task, parameters):
    """Bytes that a device receives, as the page on scaling has them."""
    n = data * task
    if method == "equal_weighting":
        words = (3 if parameters == "sharded" else 2) * D
    elif inputs == "disjoint":
        words = D + (K * D / n if data == 1 else 2 * K * D)
    else:
        words = D + sum((B * i + K * B * o) / n + 2 * B * B + B * o for i, o in LAYERS)
    if inputs == "disjoint" and data > 1:
        words += K * B * LAYERS[0][0]
    return 4 * words * (n - 1) / n


@pytest.fixture(scope="module")
def costs():
    run = subprocess.run(
        [sys.executable, "-m", "experiments.benchmarks.devices", "--devices_json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(found) == 22
    return found


def one(costs, **wanted):
    """The only case of these values."""
    (found,) = [c for c in costs if all(c[k] == v for k, v in wanted.items())]
    return found


@pytest.mark.slow  # compiles for eight devices
def test_bytes_are_those_of_the_page_on_scaling(costs):
    for case in costs:
        keys = ("inputs", "method", "data", "task", "parameters")
        told = predicted(*(case[key] for key in keys))
        np.testing.assert_allclose(1e6 * case["received_mb"], told, rtol=0.05)


@pytest.mark.slow
def test_products_take_no_more_than_the_cheaper_way_beside_the_plain_step(costs):
    for case in costs:
        by_samples = case["inputs"] == "disjoint" and case["data"] > 1
        if case["method"] != "mgda" or by_samples or case["rows_mb"] == 0:
            continue
        alike = {k: case[k] for k in ("inputs", "data", "task", "parameters")}
        plain = one(costs, method="equal_weighting", **alike)
        most = min(case["rows_mb"], case["factors_mb"]) + 4e-6 * K * K
        assert case["received_mb"] - plain["received_mb"] <= most
        # With shared inputs, whatever the plain step takes.
        if case["inputs"] == "shared":
            assert case["received_mb"] <= most


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "least"), [(4, 3.6), (8, 6.5)])
def test_flops_of_a_device_fall(costs, devices, least):
    for case in costs:
        if case["data"] * case["task"] == devices:
            of = {key: case[key] for key in ("inputs", "method")}
            alone = one(costs, data=1, task=1, **of)
            assert alone["mflop"] / case["mflop"] >= least
