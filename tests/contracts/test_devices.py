"""Steps on several devices equal those on one, whatever is dealt out."""

import pytest

from tests.helpers import on_devices
from tests.helpers.methods import OF_EVERY_KIND

BOTH = [(2, 2, "copied"), (8, 1, "sharded")]
GRIDS = {
    "shared": BOTH,
    "groups": BOTH,
    "sources": BOTH,
    "disjoint": [*BOTH, (1, 4, "sharded")],
}
# Processes of their own, with eight devices.
slow = pytest.mark.slow


def test_a_step_on_several_devices_is_that_of_one():
    on_devices.call(
        on_devices.equal_steps, kind="shared", grids=BOTH[:1], methods=["mgda"]
    )


@slow
@pytest.mark.parametrize("kind", GRIDS)
def test_steps_of_every_kind_of_method_are_those_of_one_device(kind):
    methods = sorted(OF_EVERY_KIND - {"single_task"})
    on_devices.call(
        on_devices.equal_steps, kind=kind, grids=GRIDS[kind], methods=methods
    )


@slow
@pytest.mark.parametrize(
    "options",
    [
        {"rows": "always"},
        {"rows": "never"},
        {"micro_batches": 2},
        {"on_nonfinite": "skip_task"},
    ],
    ids=str,
)
def test_steps_with_options_are_those_of_one_device(options):
    arguments = {"kind": "shared", "grids": BOTH, "methods": ["mgda"], **options}
    on_devices.call(on_devices.equal_steps, **arguments)
