"""The table of all methods: paper, cost of a step, and what was measured to hold.

``mtopt methods-table`` writes ``mtopt/methods/README.md``. Nothing in it
is typed in by hand: papers come from the docstrings, costs from the compiler, and the
properties from K = 4 gradients, drawn at random in families, in float64. The method
first takes two steps on other gradients, so that what it remembers takes part.

* **non-conflicting**: no task has a negative inner product with the direction, on
  gradients of full row rank that conflict.
* **permutation**: permuting the tasks leaves the direction as it is.
* **linear**: scaling the losses by c scales nothing else: the direction is linear in c.
* **stationary**: it does not vanish where some tasks can still descend without hurting
  others (weakly, not strongly, stationary gradients).
* **scale**: scaling the losses, each by its own factor, leaves the direction's line.

A property is said to hold if no sample out of all violates it.
"""

import functools
import inspect
import pathlib
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import mtopt
from mtopt.registry import FAMILIES, about

from ..common.command import command, start

TARGET = pathlib.Path(mtopt.__file__).parent / "methods" / "README.md"
PROPERTIES = ("non-conflicting", "permutation", "linear", "stationary", "scale")
K, D, SAMPLES = 4, 6, 32


@command
def main(argv: list[str]) -> None:
    """Measures every method and writes the table."""
    del argv
    lines = [row(name) for name in tqdm(mtopt.METHODS, disable=None, leave=False)]
    TARGET.write_text(document(lines))
    print(f"{len(lines)} methods: {TARGET}")


def document(lines: list[str]) -> str:
    """The whole page."""
    head = ("method", "paper", "year", "decides by", "cost", "losses", *PROPERTIES)
    return "\n".join(
        (
            "# Methods",
            "",
            "Written by `mtopt methods-table`, which says what the",
            "columns mean and how each cell is measured. *Cost* is the FLOPs of a step",
            "with K = 8 tasks, over those of one forward and one backward pass (the",
            "compiler counts the body of a loop once, such as that of a K x K solve).",
            "*Losses* from 0: the formulas take every loss to be at least zero, or the",
            "lower bounds that an option sets (`min_losses` of `famo`, `ideal` of the",
            "Tchebycheff methods and `pbi`). `offset_losses` around a method sets them",
            "for any other. Options may change it: `loss` of `mgda` and `moml`, and",
            "`libmtl` of `moco`, read losses too.",
            "",
            "| " + " | ".join(head) + " |",
            "|" + "---|" * len(head),
            *lines,
            "",
            "## Numeric options that cannot be traced",
            "",
            "All others may be, and all those of wrappers and transformations:",
            "`optax.inject_hyperparams` and schedules set them.",
            "",
            *(untraced() or ["None."]),
            "",
        )
    )


def untraced() -> list[str]:
    """The numeric options that cannot be traced, each with the reason."""
    return [
        f"- `{name}`, `{option}`: {reason}"
        for name, factory in mtopt.METHODS.items()
        for option, reason in about(factory).fixed.items()
    ]


def row(name: str) -> str:
    """One line of the table."""
    paper, year, number = reference(mtopt.METHODS[name])
    link = f"[{paper}](https://arxiv.org/abs/{number})" if number else paper
    held = measure(name)
    cells = (
        f"[`{name}`]({name}.py)",
        link,
        year,
        FAMILIES[about(mtopt.METHODS[name]).family],
        f"{cost(name):.1f}",
        "any" if make(name, 2).rule.least_losses is None else "from 0",
        *("✓" if held[prop] else "" for prop in PROPERTIES),
    )
    return "| " + " | ".join(cells) + " |"


def reference(factory: Callable[..., Any]) -> tuple[str, str, str]:
    """Authors, year and arXiv number of the first reference in a docstring."""
    doc = inspect.getdoc(factory) or ""
    text = " ".join(doc.split("References:")[1].split("\n\n")[0].split())
    found = re.match(r"(.+?), .*?((?:19|20)\d\d)(?:, arXiv (\d{4}\.\d{4,5}))?", text)
    if found is None:
        raise ValueError(f"{factory.__name__}: no reference in {text!r}")
    return found[1], found[2], found[3] or ""


def make(name: str, num_tasks: int) -> mtopt.Aggregator:
    """A method with its defaults, and the values of its example for what has none."""
    factory = mtopt.METHODS[name]
    return factory(num_tasks, **about(factory).example(num_tasks))


def cost(name: str, num_tasks: int = 8) -> float:
    """FLOPs of a compiled step, over those of the gradient of the mean loss."""
    return _step_flops(name, num_tasks) / _step_flops("equal_weighting", num_tasks)


@functools.cache
def _step_flops(name: str, num_tasks: int) -> float:
    names = tuple(f"task_{k}" for k in range(num_tasks))
    inputs, hidden, samples = 64, 256, 48

    def encode(shared: dict[str, jax.Array], x: jax.Array, key: jax.Array) -> jax.Array:
        del key
        return jax.nn.relu(jax.nn.relu(x @ shared["in"]) @ shared["out"])

    def head_loss(
        head: jax.Array, z: jax.Array, y: jax.Array, mask: jax.Array, key: jax.Array
    ) -> jax.Array:
        del key
        return mtopt.masked_mean((z @ head - y) ** 2, mask)

    tasks = mtopt.Tasks(names, encode, head_loss)
    shared = {"in": jnp.ones((inputs, hidden)), "out": jnp.ones((hidden, hidden))}
    params = {
        "shared": shared,
        "tasks": mtopt.PerTask(jnp.ones((num_tasks, hidden)), names),
    }
    batch = mtopt.Batch(
        jnp.ones((samples, inputs)),
        jnp.ones((num_tasks, samples)),
        jnp.ones((num_tasks, samples), bool),
    )
    tx = mtopt.chain(make(name, num_tasks), optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = mtopt.make_train_step(tasks, tx)
    return step.lower(state, batch).compile().cost_analysis()["flops"]


def measure(name: str) -> dict[str, bool]:
    """Which of the properties hold on every sample, by name."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        first = rng.normal(size=(2, SAMPLES, K, D))
        losses = np.exp(rng.normal(size=(3, SAMPLES, K)))
        last = conflicting(rng)
        order = np.array([2, 0, 3, 1])
        scales = np.exp(rng.uniform(-2, 2, size=(2, SAMPLES, K)))
        weak = weakly_stationary(rng)

        def with_last(
            rows: np.ndarray, task_scale: np.ndarray | None = None
        ) -> tuple[np.ndarray, np.ndarray]:
            jacobian = np.concatenate([first, rows[None]])
            if task_scale is None:
                return jacobian, losses
            return jacobian * task_scale[..., None], losses * task_scale

        run = _sequence(name)
        plain = run(*with_last(last))
        permuted = run(*(part[:, :, order] for part in with_last(last)))
        one, two = (run(*with_last(last, scale)) for scale in scales)
        both = run(*with_last(last, scales[0] + 2 * scales[1]))
        stopped = run(*with_last(weak))

    inner = np.einsum("nkd,nd->nk", _unit(last), _unit(plain))
    gap = np.linalg.norm(_unit(plain) - _unit(one), axis=-1)
    return {
        "non-conflicting": bool(inner.min() > -1e-4),
        "permutation": _close(permuted, plain),
        "linear": _close(one + 2 * two, both),
        "stationary": bool(np.linalg.norm(stopped, axis=-1).min() > 5e-3),
        "scale": bool(gap.max() < 1e-3),
    }


def conflicting(rng: np.random.Generator) -> np.ndarray:
    """Gradients ``[n, K, D]`` of full row rank, at least one pair in conflict."""
    rows = rng.normal(size=(20 * SAMPLES, K, D)) * np.exp(
        rng.normal(size=(20 * SAMPLES, K, 1))
    )
    products = np.einsum("nkd,njd->nkj", _unit(rows), _unit(rows))
    independent = np.linalg.eigvalsh(products)[:, 0] > 0.05
    return rows[independent & (products.min((1, 2)) < -0.2)][:SAMPLES]


def weakly_stationary(rng: np.random.Generator) -> np.ndarray:
    """Gradients ``[n, K, D]`` of which two cancel and the others are orthogonal."""
    rows = np.zeros((SAMPLES, K, D))
    basis = np.linalg.qr(rng.normal(size=(SAMPLES, D, D)))[0]
    rows[:, 0] = basis[:, 0]
    rows[:, 1] = -basis[:, 0] * np.exp(rng.normal(size=(SAMPLES, 1)))
    rows[:, 2] = basis[:, 1]
    rows[:, 3] = basis[:, 1] + basis[:, 2]
    return rows


@functools.cache
def _sequence(name: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The last direction of three updates, for a stack of ``[3, n, K, D]`` rows."""
    tx = make(name, K)
    params = mtopt.linear_problem(jnp.zeros((K, D)), jnp.ones(K))[1]

    @jax.jit
    @jax.vmap
    def update(
        state: optax.OptState, jacobian: jax.Array, losses: jax.Array
    ) -> tuple[Any, optax.OptState]:
        problem, params = mtopt.linear_problem(jacobian, losses)
        # Methods that look at the losses after the step are told one of length 0.01.
        seen = problem.evaluate(params).replace(
            after=lambda updates: jax.tree.map(lambda leaf: -0.01 * leaf, updates)
        )
        updates: Any
        updates, state = tx.update(seen.gradients, state, params, evaluation=seen)
        direction: Any = updates
        return direction["shared"], state

    def run(jacobians: np.ndarray, losses: np.ndarray) -> np.ndarray:
        state = jax.tree.map(lambda leaf: jnp.stack([leaf] * SAMPLES), tx.init(params))
        for rows, own_losses in zip(jacobians, losses, strict=True):
            direction, state = update(state, jnp.asarray(rows), jnp.asarray(own_losses))
        return np.asarray(direction)

    return run


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    """True if every sample agrees to a thousandth of its norm."""
    gap = np.linalg.norm(a - b, axis=-1)
    return bool((gap <= 1e-3 * np.linalg.norm(b, axis=-1) + 1e-12).all())


if __name__ == "__main__":
    start(main)
