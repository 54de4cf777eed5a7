"""Every transformation of rows by its name: ``TRANSFORMS[name](num_tasks, **options)``.

They stand before the aggregator, in ``mtopt.chain`` or ``optax.chain``: rows in, rows
out. The gradients of the tasks' own parameters pass through them too.
"""

from collections.abc import Callable

import optax

from mtopt.transforms.normalize_rows import normalize_rows
from mtopt.transforms.per_task_sam import per_task_sam
from mtopt.transforms.sam import sam
from mtopt.transforms.task_momentum import task_momentum

TRANSFORMS: dict[str, Callable[..., optax.GradientTransformationExtraArgs]] = {
    transform.__name__: transform
    for transform in (normalize_rows, per_task_sam, sam, task_momentum)
}
"""Every transformation of rows by its name: ``TRANSFORMS[name](num_tasks, ...)``."""
