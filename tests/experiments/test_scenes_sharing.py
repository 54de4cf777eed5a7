"""Tasks of scenes alone, together, and beside permuted labels."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import experiments.scenes_sharing.run as sharing_run
from experiments import scenes_sharing
from experiments.common.building import make_model
from experiments.common.config import Optimizer
from experiments.scenes_sharing import report
from experiments.scenes_sharing.config import Config
from experiments.scenes_sharing.data import draw
from mtopt.data import scenes
from mtopt.errors import UserError
from mtopt.metrics import metrics_of, paired_interval
from tests.helpers.close import assert_close

SIZES = "num_train=15, num_valid=1, num_test=6, size=16"
DATA = f"scenes({SIZES}, labelled=5)"
MODEL = "tests.helpers.pixel_model:one_convolution"
TASKS = ("depth", "normals", "segmentation")
JOINT = "equal_weighting"
CONTROL = f"{JOINT}{report.PERMUTED}"


def small(**changes):
    config = Config(
        methods=(JOINT,),
        data=DATA,
        model=MODEL,
        seeds=(0, 3),
        steps=4,
        batch_size=2,
        optimizer=Optimizer(learning_rate=1e-2),
        log_every=2,
        checkpoint_every=4,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def drawn():
    return draw(DATA, None, seed=3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharing")
    scenes_sharing.prepare(small(), "scenes_sharing", None)(folder)
    return folder


def test_a_run_leaves_its_table_picture_and_paired_numbers(finished):
    names = {path.name for path in finished.iterdir() if path.is_file()}
    assert names == {
        "data.json",
        "report.html",
        "results.json",
        "sharing.png",
        "table.txt",
    }
    found = json.loads((finished / "results.json").read_text())
    assert list(found) == list(TASKS)
    for task in TASKS:
        metric = metrics_of(task)[0]
        own = found[task]
        assert (own["metric"], own["labelled_images"]) == (metric.name, 5)
        values = {arm: np.array(each["values"]) for arm, each in own["arms"].items()}
        assert list(values) == [report.ALONE, JOINT, CONTROL]
        assert {each.shape for each in values.values()} == {(2,)}
        assert own["arms"][report.ALONE]["against"] == {}
        assert list(own["arms"][CONTROL]["against"]) == [report.ALONE]
        for other, stored in own["arms"][JOINT]["against"].items():
            one, two = values[JOINT], values[other]
            if task == "segmentation":
                wanted = paired_interval(100 * one, 100 * two)[:3]
            else:
                wanted = np.exp(paired_interval(np.log(one / two), np.zeros(2))[:3])
            ends = np.array([stored[name] for name in ("mean", "low", "high")])
            assert_close(ends, np.array(wanted), rtol=1e-9)
        assert (values[JOINT] != values[report.ALONE]).all()
        assert (values[JOINT] != values[CONTROL]).all()
    table = (finished / "table.txt").read_text()
    assert table.count(": 5 labelled images, 2 seeds") == 3
    for name in ("abs_err ↓", "angle_mean ↓", "miou ↑"):
        assert name in table
    assert max(map(len, table.splitlines())) <= 100


def test_what_is_finished_is_read_and_what_is_not_goes_on(finished, monkeypatch):
    table = (finished / "table.txt").read_text()
    trained, train = [], sharing_run.train
    monkeypatch.setattr(
        sharing_run,
        "train",
        lambda *given, **named: trained.append(named) or train(*given, **named),
    )
    (place,) = finished.glob(f"{JOINT}/seed-3")
    before = np.load(place / "scores.npz")["values"]
    (place / "scores.npz").unlink()
    scenes_sharing.prepare(small(), "scenes_sharing", None)(finished)
    assert [named["seeds"] for named in trained] == [(3,)]
    np.testing.assert_array_equal(np.load(place / "scores.npz")["values"], before)
    assert (finished / "table.txt").read_text() == table


def test_a_score_is_that_of_the_task_by_its_own_model(finished, drawn):
    """The control of a task is tested on that task; alone is the task's own arm."""
    found = json.loads((finished / "results.json").read_text())
    for k, task in enumerate(TASKS):
        (alone,) = finished.glob(f"alone-{task}-*/seed-3/scores.npz")
        (joint,) = finished.glob(f"{JOINT}/seed-3/scores.npz")
        (control,) = finished.glob(f"{JOINT}-others-permuted-{task}-*/seed-3/*.npz")
        stored = {
            report.ALONE: np.load(alone)["values"],
            JOINT: np.load(joint)["values"][k : k + 1],
            CONTROL: np.load(control)["values"],
        }
        for arm, values in stored.items():
            assert values == [found[task]["arms"][arm]["values"][1]]


def test_all_arms_read_the_same_images_in_the_same_order(drawn):
    joint = drawn.joint.train.batches(2, seeds=(3,))
    controls = {
        task: data.train.batches(2, seeds=(3,)) for task, data in drawn.beside.items()
    }
    alone = {
        task: data.train.batches(2, seeds=(3,)) for task, data in drawn.alone.items()
    }
    moved = dict.fromkeys(TASKS, 0)
    for _ in range(3):
        together = next(joint)
        beside = {task: next(stream) for task, stream in controls.items()}
        for k, task in enumerate(TASKS):
            one = next(alone[task])
            assert one.mask.all()
            np.testing.assert_array_equal(together.x[k], one.x)
            np.testing.assert_array_equal(together.y[k], one.y)
            for other, batch in beside.items():
                np.testing.assert_array_equal(batch.x[k], one.x)
                same = np.array_equal(batch.y[k], one.y)
                assert same or other != task
                moved[task] += not same
    assert moved == dict.fromkeys(TASKS, 3 * 2)  # in every batch of both other tasks


def test_each_task_has_its_own_images_and_controls_the_same_labels_on_others(drawn):
    whole = scenes(num_train=15, num_valid=1, num_test=6, size=16, labelled=5, seed=3)
    images = {}
    for group in whole.groups:
        (task,) = group.tasks
        rows = np.flatnonzero(np.asarray(group.train.samples.mask)[0])
        own = drawn.alone[task].train.samples
        np.testing.assert_array_equal(own.x, np.asarray(group.train.samples.x)[rows])
        np.testing.assert_array_equal(own.y, group.train.samples.y[:, rows])
        images[task] = {image.tobytes() for image in np.asarray(own.x)}
        for other, data in drawn.beside.items():
            (control,) = (each for each in data.groups if each.tasks == (task,))
            assert control.test is drawn.alone[task].test
            labels = np.asarray(control.train.samples.y)[0]
            real = np.asarray(own.y)[0]
            kept = sorted(label.tobytes() for label in labels)
            assert kept == sorted(label.tobytes() for label in real)
            still = [np.array_equal(*pair) for pair in zip(labels, real, strict=True)]
            assert all(still) if other == task else not any(still)
    assert len(set.union(*images.values())) == 15


def test_arms_of_a_seed_start_from_one_encoder_and_the_same_heads(drawn):
    key = jax.random.key(3)
    joint, _ = make_model(MODEL, drawn.joint).init(key)
    for k, data in enumerate(drawn.alone.values()):
        alone, _ = make_model(MODEL, data).init(key)
        jax.tree.map(np.testing.assert_array_equal, alone["shared"], joint["shared"])
        jax.tree.map(np.testing.assert_array_equal, alone["tasks"], joint["tasks"][k])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("methods", ("mgdda",), "no method 'mgdda': did you mean 'mgda'?"),
        ("seeds", (1, 1), "seeds is (1, 1): expected no entry twice"),
        (
            "model",
            "segnet(width=8)",
            "segnet expects (height, width, channels) of at least",
        ),
        ("data", f"scenes({SIZES}, seed=1)", "has seed: expected it without, it is"),
        (
            "data",
            f"scenes({SIZES}, permuted=True)",
            "has permuted: expected it without",
        ),
        ("data", f"scenes({SIZES}, labelled=1)", "expected 2 or more to permute"),
        (
            "data",
            f"scenes({SIZES}, tasks='depth')",
            "has 1 group of tasks, of 1: expected two groups or more, each of one task",
        ),
        ("data", "related_tasks", "'related_tasks' has no option 'permuted', which is"),
        (
            "data",
            f"augmented(scenes({SIZES}), by='flip')",
            "or each task has its own: expected arrays in memory",
        ),
    ],
)
def test_misuse_is_one_line(field, value, message):
    with pytest.raises(UserError) as error:
        scenes_sharing.prepare(small(**{field: value}), "scenes_sharing", None)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
