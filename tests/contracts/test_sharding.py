"""Methods of every kind on four devices equal themselves on one, in a process apart."""

import os
import subprocess
import sys
import textwrap

import pytest

from tests.helpers.repository import ROOT

SCRIPT = """
    import os
    os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=4"
    import jax, numpy as np, optax
    import mtopt
    from tests.helpers import problems
    from tests.helpers.methods import make

    tasks, params, batch = problems.classification(3, 8, 5, (7,), 4, X_AXIS)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    over = lambda *axes: jax.sharding.NamedSharding(mesh, jax.P(*axes))
    samples = over("data") if X_AXIS is None else over(None, "data")
    sharded = mtopt.Batch(
        jax.device_put(batch.x, samples),
        jax.device_put(batch.y, over(None, "data")),
        jax.device_put(batch.mask, over(None, "data")),
    )
    for name in METHODS:
        tx = mtopt.chain(make(name, 3), optax.sgd(0.1))
        step = mtopt.make_train_step(tasks, tx)
        results = []
        for data in (batch, sharded):
            state = mtopt.TrainState.create(params, tx, jax.random.key(0))
            results.append(step(state, data)[0].params)
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        jax.tree.map(close, *results)
        print("checked", name)
"""
# One for each thing a method may read: weights, rows, both with memory, the problem.
METHODS = ("equal_weighting", "mgda", "db_mtl", "modo")


@pytest.mark.slow  # processes of their own, with several devices; CI runs them
@pytest.mark.parametrize("x_axis", ["None", "0"])
def test_data_parallel_steps_equal_those_of_one_device(x_axis):
    script = textwrap.dedent(SCRIPT).replace("X_AXIS", x_axis)
    script = script.replace("METHODS", repr(METHODS))
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [w for name in METHODS for w in ("checked", name)]
