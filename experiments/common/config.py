"""Configurations: typed fields with their defaults and what values they may have.

Every experiment's configuration is a subclass of :class:`BaseConfig`, whose
:meth:`~BaseConfig.check` goes through all fields, nested ones too.
"""

import dataclasses
import re
from typing import Any

import optax
from typing_extensions import override

import mtopt
from mtopt.errors import UserError
from mtopt.nonfinite import ON_NONFINITE
from mtopt.training.fit import FitOptions
from mtopt.training.loop import LoopOptions

from .devices import Grid
from .fields import check_fields, option
from .optimizer import make_optimizer, make_schedule


def seeds_option() -> Any:
    """The field of the seeds: three unless set, each a model of its own.

    It is the same wherever a configuration has seeds: one at least, none below 0.
    """
    return option((0, 1, 2), entries=1, at_least=0)


@dataclasses.dataclass
class Optimizer:
    """What follows the aggregator in the chain.

    Attributes:
      name: an optimizer of ``optax`` or ``optax.contrib`` with its options, such as
        ``adam``, ``adamw(weight_decay=1e-2)``, ``sgd(momentum=0.9)``, ``muon``.
      learning_rate: the highest one of the schedule, above 0.
      schedule: of the learning rate, a schedule of optax without ``_schedule`` and with
        its options, such as ``constant``, ``cosine_decay``,
        ``warmup_cosine_decay(warmup_steps=100)``; it lasts as long as the run unless
        told otherwise.
      clip_norm: the largest norm of the direction (shared and heads together); 0
        leaves it alone.
      head_rate: what the updates of all tasks' own parameters are multiplied by, 0 or
        more; 0 freezes them.
      average: the decay, in [0, 1), of an average of the parameters that validation,
        the chosen model and the test use; 0: none, the parameters themselves.
    """

    name: str = "adam"
    learning_rate: float = option(1e-3, above=0)
    schedule: str = "constant"
    clip_norm: float = option(0.0, at_least=0)
    head_rate: float = option(1.0, at_least=0)
    average: float = option(0.0, at_least=0, below=1)

    def build(self, steps: int, rate: Any = None) -> optax.GradientTransformation:
        """What follows the aggregator in the chain, for a run of so many steps.

        Args:
          steps: so many.
          rate: in place of :attr:`learning_rate`, a number that may be traced.

        Raises:
          UserError: for a name or an option that optax does not have.
        """
        highest = self.learning_rate if rate is None else rate
        rate = make_schedule(self.schedule, highest, steps)
        members = [make_optimizer(self.name, rate)]
        if self.clip_norm:
            members.insert(0, optax.clip_by_global_norm(self.clip_norm))
        if self.head_rate != 1:
            members.append(mtopt.scale_tasks(self.head_rate))
        if self.average:
            members.append(mtopt.average_parameters(self.average))
        return mtopt.chain(*members)


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
        alike = {re.sub(r"\s+|\(\)", "", text) for text in self.methods}
        if len(alike) < len(self.methods):
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
      steps_per_call: the most steps that one call of a compiled program takes; 0: as
        many as is fast, one where a CPU would convolve inside of a loop.
    """

    optimizer: Optimizer = dataclasses.field(default_factory=Optimizer)
    steps: int = option(1000, at_least=1)
    log_every: int = option(20, at_least=1)
    checkpoint_every: int = option(500, at_least=1)
    steps_per_call: int = option(0, at_least=0)

    @property
    def loop_options(self) -> LoopOptions:
        """How long to train, and how often to write."""
        return LoopOptions(
            steps=self.steps,
            log_every=self.log_every,
            checkpoint_every=self.checkpoint_every,
            steps_per_call=self.steps_per_call or None,
        )


@dataclasses.dataclass(kw_only=True)
class FittedConfig(TrainingConfig):
    """What every experiment that chooses models on validation data is told.

    Attributes:
      methods: as of :class:`TrainingConfig`.
      batch_size: samples per step (per task and step, if inputs are disjoint).
      eval_every: steps between validations.
      choose_by: what models are chosen by on validation data: a task, by its first
        metric, or a metric, by its mean over the tasks that have it; empty for the mean
        of each task's first metric.
      patience: validations without a better model, in a row, after which a model takes
        no more steps; 0: never.
    """

    batch_size: int = option(256, at_least=1)
    eval_every: int = option(100, at_least=1)
    choose_by: str = ""
    patience: int = option(0, at_least=0)

    @property
    def fit_options(self) -> FitOptions:
        """How long to train, on how much, and how often to look."""
        return FitOptions(
            **vars(self.loop_options),
            batch_size=self.batch_size,
            eval_every=self.eval_every,
            choose_by=self.choose_by,
            patience=self.patience or None,
        )


@dataclasses.dataclass(kw_only=True)
class Config(FittedConfig):
    """A comparison of methods on one data set.

    Attributes:
      data: the data set, as ``name(option=value)`` of :data:`mtopt.data.DATASETS`.
      model: the model, likewise of :data:`mtopt.models.MODELS`.
      methods: the methods, likewise of :data:`mtopt.METHODS`; ``METHOD @ STEPS`` trains
        one for other steps than the rest, as for an equal number of passes.
      optimizer: what follows the method in the chain.
      seeds: one model each.
      steps: optimizer steps.
      batch_size: samples per step (per task and step, if inputs are disjoint).
      eval_every: steps between validations.
      choose_by: what models are chosen by on validation data: a task, or a metric.
      patience: validations without a better model after which a model stops; 0: never.
      test_looks: so many of the last looks are at test data, too, and the table has the
        means of their scores, as tables of NYUv2 and Cityscapes do; 0: the model chosen
        on validation data is tested once.
      log_every: steps between training records.
      checkpoint_every: steps between checkpoints.
      steps_per_call: the most steps that one call of a compiled program takes; 0: as
        many as is fast.
      single_task: train a model per task alone, as the baseline of delta-m.
      paired: the first so many methods, 0 or more, are each what the report compares
        all later ones with, seed by seed.
      stack_seeds: run the seeds of a method as one vmapped program: faster for small
        dense models, slower for convolutions on a CPU.
      diagnose_every: steps between records of how the tasks' gradients stand to one
        another: lengths, cosines, condition and rank, and whose loss the step raises;
        0: none, which costs nothing. One takes a step of a method that uses all
        gradients; it changes no bit of what is trained.
      tensorboard: also write TensorBoard events (needs the extra ``tensorboard``).
      dtype: of the model's arithmetic, ``float32`` or ``bfloat16``; parameters,
        losses and Gramians are float32 in either case.
      remat: compute the encoder's activations again in the backward pass instead of
        keeping them: the same step. On a CPU, ResNet-18 takes a quarter less temporary
        memory and 2.4 to 4.3 times the time; ``mlp`` and ``lenet`` take no less memory.
      micro_batches: parts in which a batch is evaluated, so that it needs the memory of
        one of them; the step is that of the whole batch.
      on_nonfinite: what happens on a batch with NaN or infinite losses, gradients or
        updates: ``stop`` ends the training of the model, which is reported as diverged,
        and the others go on; ``raise`` ends the comparison at the next record, with the
        task and the step; ``skip_task`` and ``skip_step`` go on without.
      devices: that every step runs on.
    """

    data: str
    model: str
    seeds: tuple[int, ...] = seeds_option()
    test_looks: int = option(0, at_least=0)
    single_task: bool = True
    paired: int = option(0, at_least=0)
    stack_seeds: bool = True
    diagnose_every: int = option(0, at_least=0)
    tensorboard: bool = False
    dtype: str = option("float32", one_of=("float32", "bfloat16"))
    remat: bool = False
    micro_batches: int = option(1, at_least=1)
    on_nonfinite: str = option("stop", one_of=ON_NONFINITE)
    devices: Grid = dataclasses.field(default_factory=Grid)

    @property
    @override
    def fit_options(self) -> FitOptions:
        looks = self.test_looks or None
        return dataclasses.replace(super().fit_options, test_looks=looks)

    @override
    def check(self) -> None:
        super().check()
        _ = self.fit_options  # which refuses what does not go together


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
