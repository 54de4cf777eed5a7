"""Every wrapper by its name: ``WRAPPERS[name](aggregator, **options)``."""

from collections.abc import Callable

import optax

from mtopt.wrappers.flat_regions import flat_regions
from mtopt.wrappers.log_losses import log_losses
from mtopt.wrappers.offset_losses import offset_losses
from mtopt.wrappers.outlier_weighted import outlier_weighted
from mtopt.wrappers.rep_mtl import rep_mtl
from mtopt.wrappers.smoothed_weights import smoothed_weights
from mtopt.wrappers.weights_every import weights_every
from mtopt.wrappers.without_stationary import without_stationary

WRAPPERS: dict[str, Callable[..., optax.GradientTransformationExtraArgs]] = {
    wrapper.__name__: wrapper
    for wrapper in (
        flat_regions,
        log_losses,
        offset_losses,
        outlier_weighted,
        rep_mtl,
        smoothed_weights,
        weights_every,
        without_stationary,
    )
}
"""Every wrapper by its name: ``WRAPPERS[name](aggregator, **options)``."""
