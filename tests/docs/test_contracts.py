"""``docs/contracts.md``: what it says of an evaluation's fields and of their cost."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import pytest

import mtopt
from tests.helpers.pages import DOCS

PAGE = (DOCS / "contracts.md").read_text(encoding="utf-8")
NAMES = tuple("abcdefgh")
READS = {
    "nothing": lambda evaluation: (),
    "`losses`": lambda evaluation: evaluation.losses,
    "`weighted_heads`": lambda evaluation: evaluation.weighted_heads(jnp.ones(8) / 8),
    "`representation`": lambda evaluation: evaluation.problem.representation(
        evaluation.params
    ),
    "`representation_gramian`": lambda evaluation: evaluation.representation_gramian(),
    "`losses` at other parameters": lambda evaluation: evaluation.problem.losses(
        jax.tree.map(lambda leaf: 1.01 * leaf, evaluation.params)
    ),
    "`rows`": lambda evaluation: evaluation.rows,
    "`gramian`": lambda evaluation: evaluation.gramian(),
}


def test_the_page_lists_every_field_of_an_evaluation():
    fields = {field.name for field in dataclasses.fields(mtopt.Evaluation)}
    table = PAGE.partition("## All that a method gets")[2].partition("Two functions")[0]
    assert set(re.findall(r"^\| `(\w+)` +\|", table, re.MULTILINE)) == fields


def encode(shared, x, key):
    return jnp.tanh(jnp.tanh(x @ shared["first"]) @ shared["second"])


def head_loss(head, z, y, mask, key):
    return mtopt.masked_mean((z @ head - y) ** 2, mask)


@pytest.fixture(scope="module")
def flops():
    """FLOPs of a function of an evaluation, over those of the mean loss's gradient."""
    tasks = mtopt.Tasks(NAMES, encode, head_loss)
    x = jax.random.normal(jax.random.key(0), (64, 128))
    batch = mtopt.Batch.shared(x, {name: x[:, k] for k, name in enumerate(NAMES)})
    layer = 0.01 * jnp.ones((128, 128))
    params = {
        "shared": {"first": layer, "second": layer},
        "tasks": mtopt.PerTask(jnp.ones((8, 128)), NAMES),
    }

    def count(function):
        compiled = jax.jit(function).lower(params, batch, jax.random.key(1)).compile()
        return compiled.cost_analysis()["flops"]

    plain = count(
        jax.grad(
            lambda params, batch, key: tasks.problem(batch, key).losses(params).mean()
        )
    )

    def ratio(read):
        def both(params, batch, key):
            evaluation = tasks.problem(batch, key).evaluate(params)
            return evaluation.weighted_gradient(jnp.ones(8) / 8), read(evaluation)

        return count(both) / plain

    return ratio


@pytest.mark.parametrize("what", READS)
def test_reading_costs_what_the_page_says(what, flops):
    said = re.search(rf"^\| {re.escape(what)} +\| ([\d.]+) +\|$", PAGE, re.MULTILINE)
    assert flops(READS[what]) == pytest.approx(float(said[1]), abs=0.07)
