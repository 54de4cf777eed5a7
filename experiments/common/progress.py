"""The progress bar of a training run."""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm


class ProgressBar:
    """A progress bar on a terminal; nothing in a log file.

    Args:
      label: what is trained; see :func:`seeds_label`.
      steps: optimizer steps in all.
      tasks: the names of the K tasks.
    """

    def __init__(self, label: str, steps: int, tasks: Sequence[str]) -> None:
        self._tasks = tasks
        self._bar = tqdm(
            total=steps, desc=label, unit="step", disable=None, leave=False
        )

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def update(self, step: int, losses: np.ndarray) -> None:
        """Moves to a step, and shows the losses ``[K]``, NaN where there is none."""
        self._bar.update(step - self._bar.n)
        if np.isnan(losses).all():  # nothing has run yet
            self._bar.set_postfix_str("compiling")
        elif len(self._tasks) <= 4:
            shown = zip(self._tasks, losses, strict=True)
            self._bar.set_postfix({task: f"{loss:.3f}" for task, loss in shown})
        else:
            self._bar.set_postfix(mean_loss=f"{np.nanmean(losses):.3f}")


def seeds_label(text: str, seeds: Sequence[int]) -> str:
    """A method and the seeds that train side by side.

    Example:
      >>> seeds_label("mgda", (0, 1, 2)), seeds_label("mgda", (4,))
      ('mgda x3', 'mgda seed 4')
    """
    return f"{text} x{len(seeds)}" if len(seeds) > 1 else f"{text} seed {seeds[0]}"
