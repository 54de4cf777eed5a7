"""Scenes from the command line: table, pictures of pixels, predictions as arrays."""

import matplotlib.image
import numpy as np
import pytest
from absl.testing import flagsaver

import mtopt
from experiments import evaluate, predict
from experiments.common.pixel_pictures import painter
from mtopt.data import scenes
from tests.helpers.commands import run_here

SIZES = "num_train=24, num_valid=4, num_test=7, size=16"
FLAGS = [
    "--experiment=scenes",
    f"--dataset=scenes({SIZES})",
    "--model=tests.helpers.pixel_model:one_convolution",
    "--method=equal_weighting",
    "--method=mgda",
    "--config.seeds=(0,)",
    "--config.steps=4",
    "--config.eval_every=2",
]
TASKS = ("depth", "normals", "segmentation")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch:
        run_here(folder, patch, *FLAGS, "--out=run")
    return folder


def test_a_run_has_a_block_for_each_kind_and_a_picture_for_each_task(finished):
    run = finished / "run"
    table = (run / "table.txt").read_text()
    for metric in ("abs_err (lower", "angle_mean (lower", "miou (higher"):
        assert metric in table
    for task in TASKS:
        picture = matplotlib.image.imread(run / f"predicted-{task}.png")
        assert picture.std() > 0.05
        assert picture.shape[0] > 500  # the images, the truth, and three rows of models
    page = (run / "report.html").read_text()
    assert all(f"{task} of 6 test images" in page for task in TASKS)


def test_new_images_are_predicted_as_arrays(finished, monkeypatch, capsys):
    images = np.asarray(
        scenes(num_train=1, num_valid=1, num_test=3, size=16)
        .test.in_order(3)
        .__next__()
        .x
    )
    np.save(finished / "new.npy", images)
    monkeypatch.chdir(finished)
    flags = {"run": ["run"], "method": ["mgda"], "data": "new.npy"}
    with flagsaver.flagsaver(**flags):
        predict.main(["predict"])
    assert "3 rows  predictions.npz" in capsys.readouterr().out
    model = mtopt.load(finished / "run", method="mgda")
    with np.load(finished / "predictions.npz") as found:
        assert sorted(found) == sorted(TASKS)
        for task, own in model.predict(images).items():
            np.testing.assert_array_equal(found[task], own)
        assert found["segmentation"].shape == (3, 16, 16)
        lengths = np.linalg.norm(found["normals"], axis=-1)
        np.testing.assert_allclose(lengths, 1, atol=1e-5)
    with flagsaver.flagsaver(**flags, out="p.csv"), pytest.raises(SystemExit):
        predict.main(["predict"])
    assert "labels of pixels are arrays: expected .npz" in capsys.readouterr().err


def test_a_file_of_images_and_labels_is_measured(finished, monkeypatch, capsys):
    batch = next(scenes(num_train=1, num_valid=1, num_test=3, size=16).test.in_order(3))
    labels = {task: np.asarray(y[0]) for task, y in zip(TASKS, batch.y, strict=True)}
    x = np.asarray(batch.x)
    np.savez(finished / "labelled.npz", x=x, **labels)
    np.savez(finished / "inputs.npz", x=x)
    np.savez(finished / "labels.npz", **labels)
    np.save(finished / "x.npy", x)
    monkeypatch.chdir(finished)
    expected = mtopt.load(finished / "run", method="mgda").score(x, labels)
    with flagsaver.flagsaver(run=["run"], data="labelled.npz"):
        evaluate.main(["evaluate"])
    table = capsys.readouterr().out
    assert f"{expected['depth']['abs_err']:.3f}" in table
    misuse = {
        "inputs.npz": "inputs.npz has x: expected x, and labels as arrays depth",
        "labels.npz": "labels.npz has depth, normals, segmentation: expected x",
        "x.npy": "x.npy has no labels: expected x, and labels as arrays depth",
    }
    for file, message in misuse.items():
        with flagsaver.flagsaver(run=["run"], data=file), pytest.raises(SystemExit):
            evaluate.main(["evaluate"])
        assert message in capsys.readouterr().err
    flags = {"run": ["run"], "method": ["mgda"], "data": "inputs.npz"}
    with flagsaver.flagsaver(**flags, out="of_npz.npz"):
        predict.main(["predict"])
    assert (finished / "of_npz.npz").exists()


def test_what_has_no_label_is_black_and_depths_share_a_scale():
    depths = np.array([[[0.0, 1.0, 3.0]]])
    paint = painter("depth", 1, depths)
    (row,) = paint(depths)[0]
    assert not row[0].any()
    assert row[1:].any(axis=1).all()
    np.testing.assert_array_equal(paint(depths + 2)[0, 0, 1], row[2])
    classes = painter("segmentation", 3, np.zeros((1, 1, 1), int))
    ((seen,),) = classes(np.array([[[-1, 0, 2]]]))
    assert not seen[0].any()
    assert (seen[1] != seen[2]).any()
    normals = painter("normals", 3, np.zeros((1, 1, 1, 3)))
    ((one, none),) = normals(np.array([[[[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]]]))[0]
    np.testing.assert_allclose(one, [0.5, 0.5, 0])
    assert not none.any()
