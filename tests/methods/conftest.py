"""What the tests of methods may ask for by name."""

import jax
import pytest


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield
