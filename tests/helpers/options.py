"""The numeric options of methods, wrappers and transformations, each with a value."""

import collections.abc
import dataclasses
import functools
import inspect
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from mtopt.registry import about
from tests.helpers import problems

K = 4
# Where an option is None by default, or has none, a value that takes part.
NUMBER, INTEGER, PER_TASK = 0.05, 2, (1, 2, 1, 3)


def activity(problem, params, representation):
    del problem, params
    return jnp.mean(representation**2)


def transformed(factory):
    return lambda **options: mtopt.chain(factory(K, **options), mtopt.imtl_g(K))


def undone(**options):
    return mtopt.chain(mtopt.imtl_g(K), mtopt.undo_momentum(**options))


def method(name):
    factory = mtopt.METHODS[name]

    def make(**options):
        return factory(K, **{**about(factory).example(K), **options})

    return make


def wrapped(factory, *arguments):
    return lambda **options: factory(mtopt.imtl_g(K), *arguments, **options)


# name -> (the function whose signature has the options, options to an optimizer).
MAKERS = {
    **{name: (factory, method(name)) for name, factory in mtopt.METHODS.items()},
    **{name: (wrap, wrapped(wrap)) for name, wrap in mtopt.WRAPPERS.items()},
    **{name: (own, transformed(own)) for name, own in mtopt.TRANSFORMS.items()},
    "add_penalty": (mtopt.add_penalty, wrapped(mtopt.add_penalty, activity)),
    "undo_momentum": (mtopt.undo_momentum, undone),
}


def parts(annotation):
    """All types that an annotation is made of."""
    if typing.get_origin(annotation) is collections.abc.Callable:
        return {annotation}
    return {annotation}.union(*map(parts, typing.get_args(annotation)))


def numeric(name):
    """The numeric options by name, each with a value."""
    factory, _ = MAKERS[name]
    example = about(factory).example(K) if name in mtopt.METHODS else {}
    found = {}
    for option, parameter in inspect.signature(factory).parameters.items():
        types, default = parts(parameter.annotation), parameter.default
        number = isinstance(default, float | int) and not isinstance(default, bool)
        if option == "num_tasks" or not (number or types & {float, int}):
            continue
        if number or option in example:
            found[option] = example.get(option, default)
        elif np.ndarray in types:
            scale = NUMBER if "rho" in option else 1
            found[option] = tuple(scale * n for n in PER_TASK)
        else:
            found[option] = NUMBER if float in types else INTEGER
    return found


def fixed(name):
    """The options that say that they can't be traced, with the reasons."""
    return about(mtopt.METHODS[name]).fixed if name in mtopt.METHODS else {}


def cases():
    """What can be traced together: a name, and its options with a value for each."""
    for name in MAKERS:
        options = {n: v for n, v in numeric(name).items() if n not in fixed(name)}
        balls = {"rho_shared", "rho_task"} & options.keys()
        if balls:  # one ball or two
            yield name, {n: v for n, v in options.items() if n not in balls}
            del options["rho"]
        if options:
            yield name, options


@functools.cache
def setting():
    with jax.ensure_compile_time_eval():
        tasks, params, batch = problems.classification(K, 6, 3, (4,), 2, None)
        # As a scan takes them: the same samples in two orders.
        return tasks, params, batch, jnp.stack([batch.x, batch.x[::-1]])


def optimizer(tx):
    return mtopt.chain(tx, optax.sgd(0.1))


def start(tx):
    """The parameters and the state of the optimizer before the first step."""
    _, params, _, _ = setting()
    return params, optimizer(tx).init(params)


def step(tx, carry, x):
    """Both after a step on these inputs."""
    tasks, _, batch, _ = setting()
    params, state = carry
    problem = tasks.problem(dataclasses.replace(batch, x=x), jax.random.key(2))
    seen = problem.evaluate(params)
    updates, state = optimizer(tx).update(
        seen.gradients, state, params, evaluation=seen
    )
    return optax.apply_updates(params, updates), state


def one_step(tx):
    """Both after a step on the first batch."""
    return step(tx, start(tx), setting()[-1][0])


def two_steps(tx):
    """Both after two steps on two batches."""

    def body(carry, x):
        return step(tx, carry, x), None

    return jax.lax.scan(body, start(tx), setting()[-1])[0]
