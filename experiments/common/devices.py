"""The devices of a run: how many, in which grid, and what of the run fits them."""

import dataclasses

import jax

import mtopt
from mtopt.devices import PARAMETERS
from mtopt.errors import UserError, expect

from .fields import option


@dataclasses.dataclass
class Grid:
    """The devices that every training step runs on; see :class:`mtopt.Devices`.

    Attributes:
      data: devices along the axis of the samples.
      task: devices along the axis of the tasks, where these have inputs of their own.
      parameters: ``copied`` to every device, or ``sharded``, a share on each.
    """

    data: int = option(1, at_least=1)
    task: int = option(1, at_least=1)
    parameters: str = option("copied", one_of=PARAMETERS)

    def of(self, tasks: mtopt.Tasks) -> mtopt.Devices:
        """The grid for tasks trained together."""
        return mtopt.Devices(tasks, self.data, self.task, self.parameters)

    def of_one(self, tasks: mtopt.Tasks) -> mtopt.Devices:
        """The grid for a task alone: all of it goes by samples."""
        return mtopt.Devices(tasks, self.data * self.task, 1, self.parameters)


def check_devices(devices: mtopt.Devices, batch_size: int) -> None:
    """Raises where the devices of a run have nothing to do, or unequal shares.

    Args:
      devices: of the run.
      batch_size: samples of a batch; of each task, where these have their own.

    Raises:
      UserError: unless all devices of all processes take part, with as many samples
        each.
    """
    if jax.process_count() > 1 and devices.count != jax.device_count():
        raise UserError(
            f"{devices.count} of the {jax.device_count()} devices of "
            f"{jax.process_count()} processes: expected all, as in "
            f"--config.devices.data={jax.device_count()}"
        )
    parts = devices.sample_parts
    equal = f"a multiple of {parts}, the devices that samples are dealt to"
    expect(batch_size % parts == 0, "batch_size", batch_size, equal)
