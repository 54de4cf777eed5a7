"""Compiled programs, kept in a folder for later runs."""

import contextlib
import pathlib
import tempfile

import jax
from absl import flags

from mtopt.cache_folder import cache_folder
from mtopt.errors import UserError

flags.DEFINE_string(
    "compilation_cache",
    None,
    "The folder where compiled programs are kept for later runs, or off. Default: that "
    "of JAX_COMPILATION_CACHE_DIR, else compiled in $MTOPT_CACHE or in ~/.cache/mtopt.",
)
FLAG = "compilation_cache"

MOST_BYTES = 2**30
"""Of the folder that nobody named; the oldest programs make room."""


def keep_compiled_programs(named: str | None = None) -> None:
    """Has JAX keep its programs in the folder of ``--compilation_cache``; says where.

    Where none is named and JAX was told one, that one stays, with its own settings. A
    program is found by its text, the compiler's version and options, and the processor:
    a folder may be of several machines and in use by several runs at once.

    Args:
      named: what the flag is where it is not read, as in a worker.

    Raises:
      UserError: where a folder was named that can't be written to.
    """
    named = flags.FLAGS[FLAG].value if named is None else named
    if named == "off":
        jax.config.update("jax_compilation_cache_dir", None)
        return
    if named is None and jax.config.values["jax_compilation_cache_dir"]:
        return
    try:
        folder = pathlib.Path(named or cache_folder() / "compiled").expanduser()
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:  # the latter where there is no home
        if named is not None:
            raise UserError(
                f"cannot keep compiled programs in {named} ({error}): expected a "
                f"folder that can be written to; name another --{FLAG}, or off"
            ) from error
        print(f"compiled programs are not kept: {error}", flush=True)
        return
    if named is None:
        with contextlib.suppress(OSError):  # another run makes room, too
            _make_room(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # All of them: the smallest takes ten times as long to compile as to read.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    print(f"compiled programs are kept in {folder}", flush=True)


def _make_room(folder: pathlib.Path) -> None:
    """Deletes the oldest programs beyond :data:`MOST_BYTES`; other runs recompile."""
    files = [(path.stat(), path) for path in folder.glob("*-cache")]
    total = sum(stat.st_size for stat, _ in files)
    for stat, path in sorted(files, key=lambda file: file[0].st_mtime):
        if total <= MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size
