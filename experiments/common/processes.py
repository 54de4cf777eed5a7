"""A run in several processes, each with devices of its own, as on several machines.

All of them do the same, and every step runs on the devices of all. The first one alone
writes and prints; a checkpoint is written by all. They see one file system.
"""

import contextlib
import os
from collections.abc import Iterator

import jax
from absl import flags

from mtopt.errors import UserError
from mtopt.training.processes import is_first

flags.DEFINE_string(
    "coordinator",
    None,
    "For a run in several processes: HOST:PORT of the first one, the same for all, or "
    "auto, where JAX finds it (Slurm, TPU pods).",
)
flags.DEFINE_integer("num_processes", None, "How many there are.", lower_bound=1)
flags.DEFINE_integer("process_id", None, "Which of them this one is.", lower_bound=0)


@contextlib.contextmanager
def joined_processes() -> Iterator[None]:
    """Joins the other processes, where the flags name some; only the first one prints.

    Raises:
      UserError: where the flags don't belong together.
    """
    values = flags.FLAGS
    numbers = values.num_processes, values.process_id
    if values.coordinator is None:
        if numbers != (None, None):
            raise UserError("--num_processes and --process_id need --coordinator")
        yield
        return
    if values.coordinator == "auto":
        jax.distributed.initialize()
    elif None in numbers:
        raise UserError("--coordinator needs --num_processes and --process_id")
    elif values.process_id >= values.num_processes:
        raise UserError(
            f"--process_id is {values.process_id}: expected less than "
            f"--num_processes={values.num_processes}"
        )
    else:
        jax.distributed.initialize(values.coordinator, *numbers)
    with contextlib.ExitStack() as stack:
        if not is_first():
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield
