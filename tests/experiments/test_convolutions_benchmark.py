"""The benchmark of convolutions prints a line for every computation, in both forms."""

import pytest
from absl.testing import flagsaver

from experiments.benchmarks import convolutions


@pytest.mark.slow
def test_convolutions_are_timed_in_both_forms(monkeypatch, capsys):
    monkeypatch.setattr(convolutions, "ROUND_SECONDS", 1e-4)
    few = {"lenet conv2": convolutions.LAYERS["lenet conv2"]}
    monkeypatch.setattr(convolutions, "LAYERS", few)
    with flagsaver.flagsaver(network=["lenet"], rows=[2], images=4, repeats=1):
        convolutions.main(["convolutions"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    timed = [line for line in lines if line and line[0] == "lenet"]
    computations = ["forward", "gradient", "rows"]
    found = [next(w for w in line if w in (*computations, "seeds")) for line in timed]
    assert found == [*computations, "seeds", *computations]
    assert all(float(number) > 0 for line in timed for number in line[-5:-2])
