"""Checks that need several devices: each is called in a process of its own.

A process has as many devices as it was started with, and the suite's has one.
"""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import optax

import mtopt
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.compilations import compilations
from tests.helpers.methods import make
from tests.helpers.repository import ROOT

K = 4


def call(check, **arguments):
    """Runs a function of this module on eight devices, and passes on how it failed."""
    code = (
        "import json, sys\n"
        "from tests.helpers import on_devices\n"
        f"on_devices.{check.__name__}(**json.loads(sys.argv[1]))\n"
    )
    flags = os.environ.get("XLA_FLAGS", "")
    flags += " --xla_force_host_platform_device_count=8"
    run = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def groups(samples):
    """Two groups on shared inputs, K tasks in all, with one missing label in five."""
    left, params, batch = problems.classification(2, samples, 5, (8,), 3, None, 0.2)
    names = ("y", "z")
    right = mtopt.Tasks(names, problems.encode, problems.regress)
    heads = mtopt.PerTask({"v": params["tasks"].values["w"][..., 0]}, names)
    targets = jnp.linspace(-1, 1, 2 * samples).reshape(2, samples)
    own = mtopt.Batch(
        batch.x, (batch.y, targets), (batch.mask, jnp.ones((2, samples), bool))
    )
    both = {"shared": params["shared"], "tasks": (params["tasks"], heads)}
    return mtopt.TaskGroups((left, right), shared_inputs=True), both, own


def sources(samples):
    """These groups, the second on half as many samples of its own."""
    tasks, params, batch = groups(samples)
    own = dataclasses.replace(
        batch,
        x=(batch.x, -batch.x[::2]),
        y=(batch.y[0], batch.y[1][:, ::2]),
        mask=(batch.mask[0], batch.mask[1][:, ::2]),
    )
    return dataclasses.replace(tasks, shared_inputs=False), params, own


def problem(kind, samples=16):
    """A model, parameters and a batch with missing labels."""
    if kind in ("groups", "sources"):
        return (groups if kind == "groups" else sources)(samples)
    x_axis = None if kind == "shared" else 0
    return problems.classification(K, samples, 5, (8,), 3, x_axis, 0.2)


def two_steps(step, state, batch):
    """Their result; the second compiles nothing."""
    state, _ = step(state, batch)
    with compilations() as names:
        state, metrics = step(state, batch)
        assert not names, f"a second step made {names}"
    return state, metrics


def equal_steps(kind, grids, methods, rows="auto", weighted=False, **options):
    """Two steps on some grids are those of one device, and the state stays in place."""
    tasks, params, batch = problem(kind)
    if weighted:
        weights = jnp.linspace(0.3, 4, batch.mask.size).reshape(batch.mask.shape)
        batch = dataclasses.replace(batch, mask=batch.mask * weights)
    if rows != "auto":
        tasks = dataclasses.replace(tasks, rows=rows)
    for name in methods:
        tx = mtopt.chain(make(name, K), optax.sgd(0.1, momentum=0.9))
        step = mtopt.make_train_step(tasks, tx, **options)

        def fresh(tx=tx):
            return mtopt.TrainState.create(params, tx, jax.random.key(0))

        wanted, expected = two_steps(step, fresh(), batch)
        for data, task, parameters in grids:
            on = mtopt.Devices(tasks, data, task, parameters)
            state = on.place_state(fresh())
            places = jax.tree.map(lambda leaf: leaf.sharding, state)
            run = jax.jit(on.run(step), donate_argnums=0)
            found, metrics = two_steps(run, state, on.place_batch(batch))
            for place, leaf in zip(
                jax.tree.leaves(places), jax.tree.leaves(found), strict=True
            ):
                assert leaf.sharding.is_equivalent_to(place, leaf.ndim)
            assert_close(found.params, wanted.params, rtol=1e-4)
            assert_close(metrics["losses"], expected["losses"], rtol=1e-4)
            print(name, data, task, parameters, flush=True)
