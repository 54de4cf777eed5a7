"""What the gates of a model do in a step, for the records of a run."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from mtopt.analysis.gates import gates, silence
from mtopt.batch import Batch, is_real
from mtopt.constants import thaw
from mtopt.devices import Devices
from mtopt.step import TrainState

MASS = "gate_mass"
ENTROPY = "gate_entropy"
AGREEMENT = "gate_agreement"
DEAD_UNITS = "dead_units"
DEAD_EXPERTS = "dead_experts"


def measured_gates(
    model: Any, devices: Devices
) -> Callable[[TrainState, Batch], Mapping[str, Any]]:
    """A function that says what gates make of a batch, for ``Program.measure``.

    A model has gates where it has ``mixtures``, as :class:`mtopt.models.Model`; no
    model is known by its name.

    Args:
      model: what is trained.
      devices: that it runs on.

    Returns:
      ``(state, batch) -> numbers`` in evaluation mode, before the step: of every gate
      ``gate_mass/PLACE [K, E]``, ``gate_entropy/PLACE [K]`` and ``gate_agreement/PLACE
      [K, K]``, see :class:`mtopt.analysis.Gates`; ``dead_units``, a share, and
      ``dead_experts``, truths by the names of experts, of what the encoder hands to
      heads as ``"experts"``. Nothing for a model without gates.
    """
    mixtures = getattr(model, "mixtures", None)
    if mixtures is None:
        return lambda state, batch: {}
    observe = devices.predict(mixtures)
    apart = model.tasks.x_axis is not None

    def numbers(state: TrainState, batch: Batch) -> Mapping[str, Any]:
        params = thaw(state.params, state.constants)
        weights, experts = observe(params, state.model_state, batch.x)
        counted = is_real(batch.mask)
        found: dict[str, Any] = {}
        for place, own in weights.items():
            seen = gates(own, counted, same_samples=not apart)
            found[f"{MASS}/{place}"] = seen.mass
            found[f"{ENTROPY}/{place}"] = seen.entropy
            found[f"{AGREEMENT}/{place}"] = seen.agreement
        if experts is None or experts.ndim < 3 + apart:
            return found
        if apart:
            experts = jnp.reshape(experts, (-1, *experts.shape[2:]))
        labelled = counted.reshape(-1) if apart else counted.any(axis=0)
        silent = silence(experts, labelled)
        found[DEAD_UNITS] = silent.units
        found[DEAD_EXPERTS] = {
            f"expert {e}": dead for e, dead in enumerate(silent.experts)
        }
        return found

    return numbers
