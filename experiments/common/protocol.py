"""How the models of a comparison are trained, chosen and tested, in one line."""

from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.training.criterion import criterion

from .building import batch_sizes
from .config import Config, Optimizer


def protocol(
    config: Config, dataset: Dataset | JointDataset, rate: str | None = None
) -> str:
    """What two tables must share to be compared, seeds and methods apart.

    Args:
      config: of the comparison.
      dataset: what it trains on.
      rate: the learning rate in words, where methods have others.
    """
    rate = rate or f"{config.optimizer.learning_rate:g}"
    sizes = dict.fromkeys(batch_sizes(dataset, config.batch_size))
    own_inputs = any(group.x_axis == 0 for group in dataset.groups)
    samples = " and ".join(map(str, sizes)) + " samples"
    samples += " of each task" * own_inputs
    most = "at most " * bool(config.patience)
    return (
        f"{config.model} on {config.data}; {most}{config.steps} steps of {samples}; "
        f"{_optimizer(config.optimizer, rate)}; {_tested(config, dataset)}"
    )


def _tested(config: Config, dataset: Dataset | JointDataset) -> str:
    """Which models the scores are of."""
    every = f"one every {config.eval_every} steps"
    if config.test_looks:
        return (
            f"no model is chosen: means over the last {config.test_looks} looks at "
            f"test data, {every}"
        )
    return (
        f"the model of the best look at validation data, {every}"
        f"{_choice(config, dataset)}; test data read once"
    )


def _choice(config: Config, dataset: Dataset | JointDataset) -> str:
    """What a look is judged by, and when training ends, where they are not as usual."""
    words = ""
    if config.choose_by:
        words += f", by {criterion(config.choose_by, dataset).words}"
    if config.patience:
        words += f"; no more steps after {config.patience} looks without a better one"
    return words


def _optimizer(optimizer: Optimizer, rate: str) -> str:
    """It and what is not as usual about it."""
    usual = Optimizer()
    parts = [f"{optimizer.name} at {rate}"]
    for field in ("schedule", "clip_norm", "head_rate", "average"):
        value = getattr(optimizer, field)
        if value != getattr(usual, field):
            parts.append(f"{field} {value}")
    return ", ".join(parts)
