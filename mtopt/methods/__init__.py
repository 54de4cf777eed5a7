"""Every method by its name: ``METHODS[name](num_tasks, **options)``."""

from collections.abc import Callable

import optax

from mtopt.methods.equal_weighting import equal_weighting
from mtopt.methods.fixed_weighting import fixed_weighting
from mtopt.methods.mgda import mgda
from mtopt.methods.single_task import single_task

METHODS: dict[str, Callable[..., optax.GradientTransformationExtraArgs]] = {
    method.__name__: method
    for method in (equal_weighting, fixed_weighting, mgda, single_task)
}
