"""What holds for several methods that work on the rows themselves."""

import jax
import jax.numpy as jnp
import pytest

import mtopt
from mtopt.errors import UserError
from mtopt.methods.db_mtl import db_mtl
from mtopt.methods.excess_mtl import excess_mtl
from mtopt.methods.graddrop import graddrop
from mtopt.methods.gradnorm import gradnorm
from mtopt.methods.moco import moco
from mtopt.methods.trimmed_mean import trimmed_mean
from tests.helpers.updates import GOLDEN


def test_many_tasks_compile_quickly():
    """No loop over many tasks is unrolled: the program of 64 is that of 16."""
    for method in (trimmed_mean, graddrop, moco, excess_mtl, gradnorm):
        sizes = []
        for k in (16, 64):
            tx = method(k)
            known = mtopt.Evaluation(losses=jnp.ones(k))
            text = jax.jit(tx.update).lower(
                jnp.zeros((k, 5)), tx.init(jnp.zeros(5)), evaluation=known
            )
            sizes.append(len(text.as_text().splitlines()))
        assert sizes[1] <= sizes[0] + 5, method.__name__


def test_losses_are_asked_for_by_name():
    for method in (db_mtl, gradnorm):
        with pytest.raises(UserError, match="reads losses"):
            method(2).update(GOLDEN, method(2).init(jnp.zeros(3)))
