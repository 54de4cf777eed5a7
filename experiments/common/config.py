"""The configuration of an experiment: every default is in its file, typed here."""

import dataclasses
from typing import Any

import optax

from mtopt.errors import UserError, nearest


@dataclasses.dataclass
class Optimizer:
    """The optimizer that follows the aggregator in the chain.

    Attributes:
      name: ``adam`` (decoupled weight decay, AdamW, where that is set) or ``sgd``.
      learning_rate: at the start, above 0.
      weight_decay: 0 or more.
      momentum: of ``sgd``, in [0, 1).
      schedule: of the learning rate: ``constant``, or ``cosine`` to 0 at the last step.
      clip_norm: the largest norm of the direction (shared and heads together); 0
        leaves it alone.
    """

    name: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: str = "constant"
    clip_norm: float = 0.0


@dataclasses.dataclass
class Config:
    """A comparison of methods on one data set.

    Attributes:
      data: the data set, as ``name(option=value)`` of :data:`mtopt.data.DATASETS`.
      model: the model, likewise of :data:`mtopt.models.MODELS`.
      methods: the methods, likewise of :data:`mtopt.METHODS`.
      optimizer: what follows the method in the chain.
      seeds: one model each.
      steps: optimizer steps.
      batch_size: samples per step (per task and step, if inputs are disjoint).
      eval_every: steps between validations.
      log_every: steps between training records.
      checkpoint_every: steps between checkpoints.
      single_task: train a model per task alone, as the baseline of delta-m.
      stack_seeds: run the seeds of a method as one vmapped program: faster for small
        dense models, slower for convolutions on a CPU.
      tensorboard: also write TensorBoard events (needs the extra ``tensorboard``).
      dtype: of the model's arithmetic, ``float32`` or ``bfloat16``; parameters,
        losses and Gramians are float32 in either case.
    """

    data: str
    model: str
    methods: tuple[str, ...]
    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = 1000
    batch_size: int = 256
    eval_every: int = 100
    log_every: int = 20
    checkpoint_every: int = 500
    single_task: bool = True
    stack_seeds: bool = True
    tensorboard: bool = False
    dtype: str = "float32"


def make_optimizer(config: Optimizer, steps: int) -> optax.GradientTransformation:
    """The optax chain after the aggregator.

    Raises:
      UserError: for an unknown name, or a number out of range.
    """
    for field, allowed in (
        ("learning_rate", config.learning_rate > 0),
        ("weight_decay", config.weight_decay >= 0),
        ("momentum", 0 <= config.momentum < 1),
        ("clip_norm", config.clip_norm >= 0),
    ):
        if not allowed:
            raise UserError(
                f"optimizer.{field} is {getattr(config, field)}: out of range"
            )
    schedules = {
        "constant": lambda: optax.constant_schedule(config.learning_rate),
        "cosine": lambda: optax.cosine_decay_schedule(config.learning_rate, steps),
    }
    rate = _choose("schedule", config.schedule, schedules)()
    optimizers = {
        "adam": lambda: optax.adamw(rate, weight_decay=config.weight_decay),
        "sgd": lambda: optax.chain(
            optax.add_decayed_weights(config.weight_decay),
            optax.sgd(rate, momentum=config.momentum or None),
        ),
    }
    optimizer = _choose("name", config.name, optimizers)()
    if not config.clip_norm:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)


def to_dict(config: Any) -> dict[str, Any]:
    """The resolved configuration as plain JSON values."""
    return dataclasses.asdict(config)


def from_dict(template: Any, values: dict[str, Any]) -> Any:
    """A configuration like ``template``, with the values of a stored one.

    Raises:
      UserError: where the stored one has other fields.
    """
    fields = {
        field.name: getattr(template, field.name)
        for field in dataclasses.fields(template)
    }
    if fields.keys() != values.keys():
        raise UserError(
            f"the stored configuration has fields {sorted(values)}: expected "
            f"{sorted(fields)}; it was written by another version"
        )

    def restore(old, new):
        if dataclasses.is_dataclass(old):
            return from_dict(old, new)
        return tuple(new) if isinstance(old, tuple) else new

    return type(template)(
        **{name: restore(fields[name], values[name]) for name in fields}
    )


def _choose(field: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise UserError(f"no optimizer.{field} {name!r}: {nearest(name, list(known))}")
    return known[name]
