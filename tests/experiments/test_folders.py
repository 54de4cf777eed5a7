"""Benchmarks on folders as they are published: trained, resumed, predicted."""

# Its flags would go with those of the first command that imports it.
import grain  # noqa: F401
import numpy as np
import pytest

import mtopt
from experiments.catalogue import catalogue
from mtopt.training.checkpoint import Checkpoints
from tests.helpers.commands import run_here
from tests.helpers.folders import (
    cityscapes_arrays,
    nyuv2_arrays,
    write_celeb_a,
    write_lists,
    write_pixels,
)

SIZE = (8, 8)
PIXELS = "tests.helpers.pixel_model:one_convolution"
OFFICE_31 = ("amazon", "dslr", "webcam")
OFFICE_HOME = ("Art", "Clipart", "Product", "Real_World")


class Stopped(Exception):
    """In place of a kill, behind a checkpoint."""


def domains(root, names):
    parts = ("train", "val", "test")
    for name in names:
        own = {p: [(f"{name}/{p}{i}.png", 7 * i) for i in range(3)] for p in parts}
        write_lists(root, name, own)


# Experiment to what writes its folder, its options, augmentation, and a model.
BENCHMARKS = {
    "nyuv2": (
        lambda root: write_pixels(root, nyuv2_arrays, size=SIZE),
        "",
        "scale_crop + flip",
        PIXELS,
    ),
    "cityscapes": (
        lambda root: write_pixels(root, cityscapes_arrays, size=SIZE),
        "",
        "scale_crop + flip",
        PIXELS,
    ),
    "office_31": (
        lambda root: domains(root, OFFICE_31),
        "size=8, ",
        "flip + normalise",
        "mlp(hidden=(4,))",
    ),
    "office_home": (
        lambda root: domains(root, OFFICE_HOME),
        "size=8, ",
        "colour + normalise",
        "mlp(hidden=(4,))",
    ),
    "celeb_a": (write_celeb_a, "size=8, ", "flip", "mlp(hidden=(4,))"),
}

ALIKE = ("cityscapes", "office_home")


@pytest.mark.parametrize(
    "name",
    # Those that differ from another one by little are left to long runs.
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ALIKE))
        for name in BENCHMARKS
    ],
)
def test_it_trains_resumes_bit_for_bit_and_predicts(name, tmp_path, monkeypatch):
    write, options, by, model = BENCHMARKS[name]
    data = f"augmented({name}(folder='{name}', {options}on_device_bytes=0), by='{by}')"
    (tmp_path / "data" / name).mkdir(parents=True)
    write(tmp_path / "data" / name)
    flags = [
        f"--experiment={name}",
        f"--data_dir={tmp_path / 'data'}",
        f"--config.data={data}",
        f"--config.model={model}",
        "--method=mgda",
        "--config.single_task=False",
        "--config.seeds=(0,)",
        "--config.steps=2",
        "--config.batch_size=2",
        "--config.eval_every=1",
        "--config.checkpoint_every=1",
    ]
    run_here(tmp_path, monkeypatch, *flags, "--out=whole")
    save, steps = Checkpoints.save, []

    def stop(self, step, tree):
        save(self, step, tree)
        steps.append(step)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", stop)
        with pytest.raises(Stopped):
            run_here(tmp_path, patch, *flags, "--out=cut")
    assert steps == [1]
    run_here(tmp_path, monkeypatch, "--resume=cut", f"--data_dir={tmp_path / 'data'}")
    whole, cut = (tmp_path / folder for folder in ("whole", "cut"))
    for file in ("result.json", "models.safetensors"):
        (one,) = whole.rglob(file)
        (two,) = cut.rglob(file)
        assert one.read_bytes() == two.read_bytes(), file
    trained = mtopt.load(cut)
    images = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)
    found = trained.predict(
        images if trained.shared else dict.fromkeys(trained.tasks, images)
    )
    assert set(found) == set(trained.tasks)
    assert {len(each) for each in found.values()} == {3}


def test_a_misfit_ends_the_command_in_one_line(tmp_path, monkeypatch, capsys):
    root = tmp_path / "data" / "nyuv2"
    write_pixels(root, nyuv2_arrays, size=SIZE)
    np.save(root / "val" / "label" / "2.npy", np.full(SIZE, 13))
    flags = ["--experiment=nyuv2", f"--data_dir={tmp_path / 'data'}"]
    model = f"--config.model={PIXELS}"
    with pytest.raises(SystemExit) as ended:
        run_here(tmp_path, monkeypatch, *flags, model, "--config.steps=1")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    file = root / "val" / "label" / "2.npy"
    assert line.endswith(
        f"{file} has 13: expected classes from 0 to 12, or -1 for none"
    )


def test_the_list_says_that_a_folder_is_needed():
    assert "  nyuv2(folder, valid_fraction=0.1, seed=0, tasks=None" in catalogue()
