"""The progress bar of a training run."""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm


class Bar:
    """A progress bar on a terminal; nothing in a log file.

    Args:
      text: what is trained.
      seeds: of the models that train side by side.
      steps: optimizer steps in all.
      tasks: the names of the K tasks.
    """

    def __init__(
        self, text: str, seeds: Sequence[int], steps: int, tasks: Sequence[str]
    ):
        self._tasks = tasks
        label = f"{text} x{len(seeds)}" if len(seeds) > 1 else f"{text} seed {seeds[0]}"
        self._bar = tqdm(
            total=steps, desc=label, unit="step", disable=None, leave=False
        )

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *exception):
        self._bar.close()

    def update(self, step: int, losses: np.ndarray) -> None:
        """Moves to a step, and shows the losses ``[K]``; NaN before the first one."""
        self._bar.update(step - self._bar.n)
        if np.isnan(losses).all():  # nothing has run yet
            self._bar.set_postfix_str("compiling")
        elif len(self._tasks) <= 4:
            shown = zip(self._tasks, losses, strict=True)
            self._bar.set_postfix({task: f"{loss:.3f}" for task, loss in shown})
        else:
            self._bar.set_postfix(mean_loss=f"{losses.mean():.3f}")
