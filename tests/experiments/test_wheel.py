"""What an installation has: the console script, outside of the repository."""

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.helpers.repository import ROOT

BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE")


def run(command, folder, **extra):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | extra
    found = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """What the wheel is built from, where the build may leave its own files."""
    folder = tmp_path_factory.mktemp("checkout")
    for package in ("mtopt", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def installed(checkout, tmp_path_factory):
    """A folder with the wheel alone; what it depends on comes from here."""
    wheels, target = (tmp_path_factory.mktemp(name) for name in ("wheels", "target"))
    pip = [sys.executable, "-m", "pip"]
    alone = ["--no-deps", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", *alone, "--no-build-isolation", "--wheel-dir", str(wheels)]
    run([*pip, *build, str(checkout)], wheels)
    (wheel,) = wheels.glob("mtopt-*.whl")
    run([*pip, "install", *alone, "--target", str(target), str(wheel)], wheels)
    return target


def test_the_wheel_has_every_module_under_two_names(installed, checkout):
    tops = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert tops == {"mtopt", "mtopt_experiments", "bin"}
    for package, name in (("mtopt", "mtopt"), ("experiments", "mtopt_experiments")):
        here, there = (
            {
                path.relative_to(root)
                for kind in ("py", "html", "css", "js")
                for path in root.rglob(f"*.{kind}")
            }
            for root in (checkout / package, installed / name)
        )
        assert here == there
    assert (installed / "mtopt" / "py.typed").exists()


@pytest.mark.slow  # CI runs it
def test_the_console_script_lists_all_that_has_a_name(installed, tmp_path):
    script = [sys.executable, str(installed / "bin" / "mtopt")]
    listed = run([*script, "--list"], tmp_path, PYTHONPATH=str(installed))
    for line in (
        "  digit_questions  The main job",
        "  toy  The toy problem",
        "  mgda(normalize='none', ",
        "  fixed_weighting(weights, ",
        "  normalize_rows(by='l2')",
        "  log_losses(epsilon=1e-08)",
        "  npz(path, kind=None, missing=None, tasks=None, seed=0, ",
        "  join(name=None, batch_size=None, shared_inputs=False, pool=False)",
        "  mlp(hidden=(128, 128), dropout=0.0)",
    ):
        assert line in listed
    again = run([*script, "run", "--list"], tmp_path, PYTHONPATH=str(installed))
    assert again == listed
    usage = run(script, tmp_path, PYTHONPATH=str(installed))
    assert "benchmark step" in usage
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_editable_installation_runs_the_files_of_the_repository(checkout, tmp_path):
    build = "import sys, setuptools.build_meta as b; b.build_editable(sys.argv[1])"
    run([sys.executable, "-c", build, str(tmp_path)], checkout)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    # This environment may have an editable mtopt of its own, which must not answer.
    code = (
        "import site, sys\n"
        "def is_editable(name): return name.startswith('__editable__')\n"
        "for name in filter(is_editable, list(sys.modules)): del sys.modules[name]\n"
        "sys.meta_path[:] = [finder for finder in sys.meta_path\n"
        "    if not is_editable(getattr(finder, '__module__', ''))]\n"
        f"sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        f"site.addsitedir({str(tmp_path / 'site')!r})\n"
        "import mtopt_experiments.console as console\n"
        "print(console.__file__)\n"
        "sys.argv = ['mtopt', 'run', '--list']\n"
        "console.main()\n"
    )
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-c", code]
    printed = run(command, tmp_path / "elsewhere", PYTHONPATH=str(checkout))
    first, *listed = printed.splitlines()
    assert first == str(checkout / "experiments" / "console.py")
    assert "  digit_questions  The main job" in "\n".join(listed)


@pytest.mark.slow
def test_the_main_job_runs_from_the_wheel(installed, tmp_path):
    script = [sys.executable, str(installed / "bin" / "mtopt")]
    printed = run([*script, "run", "--out=here"], tmp_path, PYTHONPATH=str(installed))
    assert printed.rstrip().splitlines()[-1].split() == ["folder", "here"]
    assert (tmp_path / "here" / "test.png").read_bytes().startswith(b"\x89PNG")
    assert "<table" in (tmp_path / "here" / "report.html").read_text(encoding="utf-8")
    measured = run(
        [*script, "analyze", "--run=here", "--points=3", "--samples=64"],
        tmp_path,
        PYTHONPATH=str(installed),
    )
    assert "sharpness" in measured
    # With the pictures that the analysis has added.
    again = run([*script, "report", "--run=here"], tmp_path, PYTHONPATH=str(installed))
    assert again.split() == ["page", str(pathlib.Path("here", "report.html"))]
    page = (tmp_path / "here" / "report.html").read_text(encoding="utf-8")
    assert page.count("<img") == 5
