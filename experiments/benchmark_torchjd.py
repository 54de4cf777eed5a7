"""MGDA side by side with TorchJD: how exact the weights are, and how long they take.

``python -m experiments.benchmark_torchjd`` needs the extra ``bench`` (torch, torchjd).
Both libraries get the same float32 Gramians. Excess is how far the squared norm of the
direction lies above the optimum, in units of the mean squared row norm, judged in
float64. Times are the minimum of several calls, taken in turns.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import app

import mtopt
from experiments.cli import command
from mtopt.errors import UserError

TASKS = (2, 8, 40)
ROUNDS = 30


def problems(num_tasks: int) -> dict[str, np.ndarray]:
    """Gramians of random, conflicting, dependent and badly scaled rows."""
    rng = np.random.default_rng(num_tasks)
    rows = rng.normal(size=(num_tasks, 4 * num_tasks))
    common = rng.normal(size=4 * num_tasks)
    sign = np.where(np.arange(num_tasks) % 2, -1, 1)[:, None]
    families = {
        "random": rows,
        "conflict": sign * common[None] + 0.1 * rows,
        "dependent": rng.normal(size=(num_tasks, 2)) @ rng.normal(size=(2, 9)) + 1,
        "4 decades": rows * np.logspace(-2, 2, num_tasks)[:, None],
    }
    return {name: (g @ g.T).astype(np.float32) for name, g in families.items()}


def torchjd_mgda() -> Callable[[np.ndarray], np.ndarray]:
    """TorchJD's weighting on a Gramian, with its own defaults.

    Raises:
      UserError: where the extra is not installed.
    """
    try:
        import torch  # pyright: ignore[reportMissingImports]
        from torchjd.aggregation import (  # pyright: ignore[reportMissingImports]
            MGDAWeighting,
        )
    except ImportError as error:
        raise UserError(
            f'this benchmark needs torch and torchjd ({error}): pip install ".[bench]"'
        ) from error
    weighting = MGDAWeighting()
    return lambda gramian: weighting(torch.from_numpy(gramian)).numpy()


def excess(gramian: np.ndarray, weights: np.ndarray) -> float:
    """Squared norm above the optimum, over the mean squared row norm."""
    exact = gramian.astype(np.float64)
    with jax.enable_x64(True):
        best = np.asarray(mtopt.solvers.min_norm_weights(jnp.asarray(exact)))

    def squared(w):
        w = np.asarray(w, np.float64) / np.sum(w, dtype=np.float64)
        return w @ exact @ w

    return max(squared(weights) - squared(best), 0) / np.diagonal(exact).mean()


def seconds(functions: list[Callable[[], object]]) -> list[float]:
    """The fastest of several calls of each function, called in turns."""
    best = [float("inf")] * len(functions)
    for _ in range(ROUNDS):
        for i, function in enumerate(functions):
            begin = time.perf_counter()
            function()
            best[i] = min(best[i], time.perf_counter() - begin)
    return best


@command
def main(argv: list[str]) -> None:
    """Prints one line per family and number of tasks."""
    del argv
    theirs = torchjd_mgda()
    ours = jax.jit(mtopt.solvers.min_norm_weights)
    print("min-norm weights      excess              microseconds")
    print("K  family           mtopt   TorchJD     mtopt   TorchJD     ratio")
    for num_tasks in TASKS:
        for family, gramian in problems(num_tasks).items():
            on_device = jnp.asarray(gramian)
            calls = [
                lambda g=on_device: ours(g).block_until_ready(),
                lambda g=gramian: theirs(g),
            ]
            errors = [excess(gramian, np.asarray(call())) for call in calls]
            mine, other = (1e6 * s for s in seconds(calls))
            print(
                f"{num_tasks:<3}{family:<12} {errors[0]:9.1e} {errors[1]:9.1e} "
                f"{mine:9.0f} {other:9.0f} {other / mine:9.1f}"
            )


if __name__ == "__main__":
    app.run(main)
