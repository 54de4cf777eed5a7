"""The tests, in rooms like the package's; what several of them need is in helpers."""

import pytest

pytest.register_assert_rewrite("tests.helpers")
