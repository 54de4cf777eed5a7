"""What produced a run: versions, device, git revision, command."""

import datetime
import importlib.metadata
import pathlib
import platform
import subprocess
import sys
from typing import Any

import jax

PACKAGES = ("mtopt", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def provenance() -> dict[str, Any]:
    """Everything besides the configuration that a result may depend on."""
    device = jax.devices()[0]
    return {
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git": _git_revision(),
        "platform": platform.platform(),
        "devices": [f"{device.platform}: {device.device_kind}", len(jax.devices())],
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """The commit of this checkout, marked where it was changed.

    None outside of git, and where an installation lies in a repository of others.
    """
    here = pathlib.Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        for command in (
            [*git, "ls-files", "--error-unmatch", here.name],
            [*git, "describe", "--always", "--dirty", "--abbrev=40"],
        ):
            run = subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=10
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()
