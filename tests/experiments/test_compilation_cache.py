"""Programs that a run compiled are there for the next one, in a folder it names."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import flagsaver
from jax.experimental.compilation_cache import compilation_cache as of_jax

import mtopt
from experiments.common import compilation_cache
from experiments.common.compilation_cache import keep_compiled_programs

FOLDER = "jax_compilation_cache_dir"
SETTINGS = (FOLDER, "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(autouse=True)
def undone(monkeypatch, tmp_path):
    """As on a user's machine: nothing set, a cache folder; and JAX as it was after."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update(FOLDER, None)
    monkeypatch.delenv("MTOPT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    of_jax.reset_cache()


def set_up(flag=None):
    with flagsaver.flagsaver(compilation_cache=flag):
        keep_compiled_programs()
    return jax.config.jax_compilation_cache_dir


def test_the_folder_is_that_of_caches_and_is_said_once(tmp_path, monkeypatch, capsys):
    folder = set_up()
    assert folder == str(tmp_path / "cache/mtopt/compiled")
    assert capsys.readouterr().out == f"compiled programs are kept in {folder}\n"
    jax.config.update(FOLDER, None)
    monkeypatch.setenv("MTOPT_CACHE", str(tmp_path / "own"))
    assert set_up() == str(tmp_path / "own/compiled")
    jax.config.update(FOLDER, None)
    monkeypatch.delenv("MTOPT_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert set_up() == str(tmp_path / ".cache/mtopt/compiled")


def test_a_flag_names_another_or_turns_it_off(tmp_path, capsys):
    assert set_up(str(tmp_path / "here")) == str(tmp_path / "here")
    capsys.readouterr()
    assert set_up("off") is None
    assert not capsys.readouterr().out
    assert not (tmp_path / "cache").exists()


def test_what_jax_was_told_stays(tmp_path, capsys):
    jax.config.update(FOLDER, str(tmp_path / "jax"))
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    assert set_up() == str(tmp_path / "jax")
    assert jax.config.jax_persistent_cache_min_compile_time_secs == seconds
    assert not capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_to_write_a_run_says_so_and_goes_on(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "cache").write_text("no folder")
    assert set_up() is None
    said = capsys.readouterr().out
    assert said.startswith("compiled programs are not kept: ")
    assert said.count("\n") == 1
    with pytest.raises(mtopt.UserError, match="or off") as error:
        set_up(str(tmp_path / "cache"))
    assert "\n" not in str(error.value)

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compilation_cache, "cache_folder", no_home)
    assert set_up() is None
    assert "home" in capsys.readouterr().out


def count_hits(action):
    """What the action returns, and how many programs it found in the cache."""
    hits = []

    def listen(event, **_):
        hits.append(event == "/jax/compilation_cache/cache_hits")

    jax.monitoring.register_event_listener(listen)
    try:
        return action(), sum(hits)
    finally:
        jax.monitoring.unregister_event_listener(listen)


def test_a_later_run_finds_the_program_and_one_cut_short_is_compiled_again(tmp_path):
    of_jax.reset_cache()
    folder = tmp_path / "cache/mtopt/compiled"
    set_up()
    x = np.arange(7.0, dtype=np.float32)

    def run():
        # As another process: the same program, of another function.
        return np.asarray(jax.jit(lambda x: jnp.sin(x) * 7)(x))

    first, none = count_hits(run)
    assert none == 0
    (stored,) = folder.glob("jit__lambda*-cache")
    second, found = count_hits(run)
    assert found == 1
    np.testing.assert_array_equal(second, first)
    os.truncate(stored, stored.stat().st_size // 2)
    with pytest.warns(UserWarning, match="reading persistent compilation cache"):
        third, found = count_hits(run)
    assert found == 0
    np.testing.assert_array_equal(third, first)


def test_the_oldest_programs_make_room_and_nothing_else_does(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "MOST_BYTES", 10)
    folder = tmp_path / "cache/mtopt/compiled"
    folder.mkdir(parents=True)
    for age, name in enumerate(("new-cache", "old-cache", "oldest-cache")):
        (folder / name).write_bytes(bytes(4))
        os.utime(folder / name, (1000 - age, 1000 - age))
    (folder / "mine.txt").write_bytes(bytes(100))
    set_up()
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == ["mine.txt", "new-cache", "old-cache"]
    set_up(str(folder))  # the folder that somebody named is theirs
    assert len(list(folder.iterdir())) == 3
