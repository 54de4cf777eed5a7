"""Trained models by the folder of their run; flax is imported when one is asked for."""

import importlib
import pathlib
from typing import Any


def load(
    run: str | pathlib.Path, *, method: str | None = None, seed: int | None = None
) -> Any:
    """Loads a trained model, which takes raw inputs and predicts in units of the data.

    The model is the one that validation chose. What it needs beside its parameters, the
    scaling of the inputs and the names of categories and classes among it, is in the
    folder; the data that it was trained on may be gone.

    Args:
      run: the folder of a finished run that compares methods on a data set, as
        ``mtopt run`` leaves it.
      method: which one, as the run was told it, such as ``"mgda"`` or ``"single-task
        models"``; may be left out where there is one alone.
      seed: which of its models; the first unless given.

    Returns:
      A :class:`mtopt.trained.model.TrainedModel`: ``predict(raw)``,
      ``predict_proba(raw)``, ``params``, ``save(path)``, ``export(path)``.

    Raises:
      UserError: where the folder has no such model.

    Example:
      >>> model = load("runs/cars", method="mgda")  # doctest: +SKIP
      >>> model.predict(new_cars)["mpg"]  # doctest: +SKIP
      array([18.2, 31.5])
    """
    stored = importlib.import_module("mtopt.trained.stored")
    return stored.load_model(pathlib.Path(run).expanduser(), method, seed)
