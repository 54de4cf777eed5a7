"""Configurations: typed fields with their defaults and what values they may have.

Every experiment's configuration is a subclass of :class:`BaseConfig`, whose
:meth:`~BaseConfig.check` goes through all fields, nested ones too.
"""

import dataclasses
import math
from typing import Any

import optax

from mtopt.errors import UserError, nearest
from mtopt.nonfinite import ON_NONFINITE
from mtopt.training.loop import LoopOptions

from .run_folder import folder_name

_RULES = "rules"


@dataclasses.dataclass(frozen=True)
class _Rules:
    """What :func:`option` was told."""

    at_least: float | None
    above: float | None
    below: float | None
    one_of: tuple[str, ...] | None
    entries: int


def option(
    default: Any = dataclasses.MISSING,
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    one_of: tuple[str, ...] | None = None,
    entries: int = 0,
) -> Any:
    """A field of a configuration with the values that it may have.

    Numbers must be finite. In a tuple the rules hold for every entry, and no entry may
    stand twice.

    Args:
      default: its value unless it is set; none for a field that must be set.
      at_least: the least number.
      above: what a number must exceed.
      below: what it must be less than.
      one_of: all names that there are.
      entries: how many a tuple has at least.

    Example:
      >>> @dataclasses.dataclass(kw_only=True)
      ... class Config(BaseConfig):
      ...     rho: float = option(0.05, above=0)
      >>> Config(methods=("mgda",), rho=0.0).check()
      Traceback (most recent call last):
      mtopt.errors.UserError: rho is 0.0: expected a number above 0
    """
    rules = _Rules(at_least, above, below, one_of, entries)
    return dataclasses.field(default=default, metadata={_RULES: rules})


def seeds_option() -> Any:
    """The field of the seeds: three unless set, each a model of its own.

    It is the same wherever a configuration has seeds: one at least, none below 0.
    """
    return option((0, 1, 2), entries=1, at_least=0)


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

    name: str = option("adam", one_of=("adam", "sgd"))
    learning_rate: float = option(1e-3, above=0)
    weight_decay: float = option(0.0, at_least=0)
    momentum: float = option(0.9, at_least=0, below=1)
    schedule: str = option("constant", one_of=("constant", "cosine"))
    clip_norm: float = option(0.0, at_least=0)

    def build(self, steps: int) -> optax.GradientTransformation:
        """What follows the aggregator in the chain, for a run of so many steps."""
        rate = {
            "constant": lambda: optax.constant_schedule(self.learning_rate),
            "cosine": lambda: optax.cosine_decay_schedule(self.learning_rate, steps),
        }[self.schedule]()
        optimizer = {
            "adam": lambda: optax.adamw(rate, weight_decay=self.weight_decay),
            "sgd": lambda: optax.chain(
                optax.add_decayed_weights(self.weight_decay),
                optax.sgd(rate, momentum=self.momentum or None),
            ),
        }[self.name]()
        if not self.clip_norm:
            return optimizer
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), optimizer)


@dataclasses.dataclass(kw_only=True)
class BaseConfig:
    """What every experiment compares.

    Attributes:
      methods: what is compared, each as ``name(option=value)``.
    """

    methods: tuple[str, ...] = option(entries=1)

    def check(self) -> None:
        """Raises for a field whose value it may not have.

        Raises:
          UserError: naming the field, its value and what it may be.
        """
        check_fields(self)
        folders = [folder_name(text) for text in self.methods]
        if len(set(folders)) < len(folders):
            raise UserError(f"methods is {self.methods}: expected no entry twice")


@dataclasses.dataclass(kw_only=True)
class TrainingConfig(BaseConfig):
    """What every experiment that takes optimizer steps is told.

    Attributes:
      methods: the methods, each as ``name(option=value)`` of :data:`mtopt.METHODS`.
      optimizer: what follows the method in the chain.
      steps: optimizer steps.
      log_every: steps between training records.
      checkpoint_every: steps between checkpoints.
    """

    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    steps: int = option(1000, at_least=1)
    log_every: int = option(20, at_least=1)
    checkpoint_every: int = option(500, at_least=1)

    @property
    def loop_options(self) -> LoopOptions:
        """How long to train, and how often to write."""
        return LoopOptions(self.steps, self.log_every, self.checkpoint_every)


@dataclasses.dataclass(kw_only=True)
class Config(TrainingConfig):
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
      micro_batches: parts in which a batch is evaluated, so that it needs the memory of
        one of them; the step is that of the whole batch.
      on_nonfinite: what happens on a batch with NaN or infinite losses, gradients or
        updates: ``raise`` stops at the next record, with the task and the step;
        ``skip_task`` and ``skip_step`` go on without.
    """

    data: str
    model: str
    seeds: tuple[int, ...] = seeds_option()
    batch_size: int = option(256, at_least=1)
    eval_every: int = option(100, at_least=1)
    single_task: bool = True
    stack_seeds: bool = True
    tensorboard: bool = False
    dtype: str = option("float32", one_of=("float32", "bfloat16"))
    micro_batches: int = option(1, at_least=1)
    on_nonfinite: str = option("raise", one_of=ON_NONFINITE)


def check_fields(config: Any, prefix: str = "") -> None:
    """Raises for the first field whose value its :func:`option` does not allow.

    Args:
      config: a dataclass, whose fields may be dataclasses.
      prefix: before the names of the fields: ``"optimizer."``.
    """
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            check_fields(value, f"{name}.")
        elif (rules := field.metadata.get(_RULES)) is None:
            continue
        elif isinstance(value, tuple):
            _check_entries(name, value, rules.entries)
            for entry in value:
                _check_value(name, entry, rules)
        else:
            _check_value(name, value, rules)


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

    def restore(old: Any, new: Any) -> Any:
        if dataclasses.is_dataclass(old):
            return from_dict(old, new)
        return tuple(new) if isinstance(old, tuple) else new

    return type(template)(
        **{name: restore(fields[name], values[name]) for name in fields}
    )


def _check_entries(name: str, values: tuple[Any, ...], entries: int) -> None:
    if len(values) < entries:
        raise UserError(f"{name} is {values}: expected {entries} or more entries")
    if len(set(values)) < len(values):
        raise UserError(f"{name} is {values}: expected no entry twice")


def _check_value(name: str, value: Any, rules: _Rules) -> None:
    if rules.one_of is not None and value not in rules.one_of:
        raise UserError(f"{name} is {value!r}: {nearest(str(value), rules.one_of)}")
    expected = []
    if rules.at_least is not None and not value >= rules.at_least:
        expected.append(f"{rules.at_least} or more")
    if rules.above is not None and not value > rules.above:
        expected.append(f"a number above {rules.above}")
    if rules.below is not None and not value < rules.below:
        expected.append(f"a number below {rules.below}")
    if isinstance(value, float) and not math.isfinite(value):
        expected.append("a finite number")
    if expected:
        raise UserError(f"{name} is {value!r}: expected {' and '.join(expected)}")
