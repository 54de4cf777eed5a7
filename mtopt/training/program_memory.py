"""The memory of a compiled program, as its compiler knows it."""

import pathlib
from typing import Any, NamedTuple

from mtopt.training.writer import read_records

BYTES = "step_bytes"
"""The entry of training records that has it."""


class ProgramMemory(NamedTuple):
    """What XLA's memory analysis says of a program, in bytes of one device.

    Attributes:
      arguments: of all arrays that it is given.
      temporary: of all that it makes and drops again, and of those results that take
        the place of no argument.
    """

    arguments: int
    temporary: int

    @classmethod
    def of(cls, compiled: Any) -> "ProgramMemory | None":
        """That of a program; None where its compiler does not say.

        Args:
          compiled: of ``jax.jit(...).lower(...).compile()``.

        Example:
          >>> import jax, jax.numpy as jnp
          >>> program = jax.jit(jnp.sin).lower(jnp.ones(100)).compile()
          >>> ProgramMemory.of(program)
          ProgramMemory(arguments=400, temporary=400)
        """
        found = compiled.memory_analysis()
        if found is None:
            return None
        own = found.output_size_in_bytes - found.alias_size_in_bytes
        return cls(found.argument_size_in_bytes, found.temp_size_in_bytes + own)

    @property
    def peak(self) -> int:
        """All bytes that it needs at once, at most."""
        return self.arguments + self.temporary


def read_step_bytes(folder: pathlib.Path) -> float:
    """What the step of a run took at its peak, beside the data set, in bytes.

    Args:
      folder: of the run.

    Returns:
      Bytes, for all models that are trained at once, on one device; nan where the
      records do not say.
    """
    found = [
        record[BYTES]
        for record in read_records(folder / "metrics.jsonl")
        if record.get(BYTES)
    ]
    return float(found[-1]) if found else float("nan")
