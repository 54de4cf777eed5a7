"""Trials of a method share a program, and come to what each does by itself."""

import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from experiments.common.runner import Training
from experiments.common.tuned import Numbers, at, tuned
from mtopt.grammar import MethodText
from mtopt.training.program import shared_program
from tests.helpers import problems
from tests.helpers.compilations import compiled_once
from tests.helpers.sweeps import TINY, compared_here

TEXTS = {
    "flat_regions(cagrad)": ({"rho": 0.05}, {"c": 0.3}),
    "rep_mtl(fixed_weighting)": (
        {"tsr": 0.1, "csa": 0.2},
        {"weights": (0.2, 0.3, 0.5)},
    ),
    "gradnorm": ({"alpha": 1.3},),
    "famo": ({"gamma": 2e-3},),
}


class Model(NamedTuple):
    tasks: mtopt.Tasks
    init: object
    predict: object


def of(text, options, rate):
    names = text.replace(")", "").split("(")
    return Numbers(rate, dict(zip(names, options, strict=True)))


def scaled(numbers, factor):
    """Others of the same kind; weights keep their sum."""
    options = {
        name: {
            option: value[::-1] if isinstance(value, tuple) else factor * value
            for option, value in own.items()
        }
        for name, own in numbers.options.items()
    }
    return Numbers(factor * numbers.learning_rate, options)


def trained(program, batch, steps=4):
    state = program.init(jax.vmap(jax.random.key)(jnp.arange(2, dtype=jnp.uint32)))
    for _ in range(steps):
        state, _ = program.step(state, batch)
    return state


def problem():
    params, batch = problems.solved_task()
    stack = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), batch)
    tasks = mtopt.Tasks(problems.names(3), problems.tanh_encode, problems.squared_loss)
    return Model(tasks, lambda key: (params, {}), lambda *_: None), stack


@pytest.mark.parametrize("text", TEXTS)
def test_other_numbers_are_the_same_program_and_do_what_plain_ones_do(text):
    model, batch = problem()
    first = of(text, TEXTS[text], 0.02)
    method = MethodText.parse(text, ("weights",))

    def make(numbers):
        aggregator = method.with_options(numbers.options).build(3)
        return mtopt.chain(aggregator, optax.adam(numbers.learning_rate))

    program = shared_program(model, tuned(make, first), 2)
    program = program._replace(step=compiled_once(program.step))
    for numbers in (first, scaled(first, 0.5)):
        found = trained(at(program, make, numbers), batch)
        plain = trained(shared_program(model, make(numbers), 2), batch)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6),
            found.params,
            plain.params,
        )


FLAGS = [*TINY, "--method=cagrad", "--trials=2", "--out=here"]


@pytest.fixture
def made(monkeypatch):
    """What programs are built for."""
    found, build = [], Training.of

    def of(config, data_dir, numbers=None):
        found.append(numbers)
        return build(config, data_dir, numbers)

    monkeypatch.setattr(Training, "of", of)
    return found


def came_to(place):
    """What a unit has written, but times."""
    found = [
        line
        for name in ("finished.json", "test.json")
        for line in (place / name).read_text(encoding="utf-8").splitlines()
        if "seconds" not in line
    ]
    return "\n".join(found)


def test_a_trial_beside_another_has_the_bits_of_one_alone(tmp_path, monkeypatch, made):
    """Alone as after a kill before it."""
    assert compared_here(tmp_path, monkeypatch, *FLAGS) == 0
    places = sorted((tmp_path / "here" / "units").iterdir())
    numbers = [each for each in made if each is not None]
    assert len(places) == 2 * len(numbers) == 6
    before = [came_to(place) for place in places]
    assert len({*before}) == 6
    for second in places[1::2]:
        shutil.rmtree(second)
    assert compared_here(tmp_path, monkeypatch, "--resume=here") == 0
    assert [came_to(place) for place in places] == before
