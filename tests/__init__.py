"""The tests; ``checked`` is found here by what instruments the package."""

from tests.helpers.typecheck import checked as checked
