"""A small set, written and read without TensorFlow: its features become tasks."""

import itertools
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from mtopt.data import ArraySplit, StreamSplit, describe, fingerprint, summary
from mtopt.data import tfds as load
from mtopt.errors import UserError
from tests.helpers.prepared import write

F = tfds.features
FEATURES = {
    "image": F.Image(shape=(8, 6, 3)),
    "other": F.Image(shape=(8, 6, 1)),
    "place": F.ClassLabel(names=("bus", "home", "work")),
    "attributes": {
        "age": np.float32,
        "count": np.int64,
        "smiling": np.bool_,
        "score": np.float64,
    },
    "vector": F.Tensor(shape=(4,), dtype=np.float64),
    "boxes": F.Sequence(F.Tensor(shape=(2,), dtype=np.float32)),
    "name": F.Text(),
}
COUNTS = {"train": 20, "validation": 6, "test": 8}
FIRST = {"train": 0, "validation": 20, "test": 26}
PARTS = {"train": "train", "valid": "validation", "test": "test"}


def example(i):
    return {
        "image": np.full((8, 6, 3), i, np.uint8),
        "other": np.full((8, 6, 1), 100 + i, np.uint8),
        "place": -1 if i % 5 == 4 else i % 3,
        "attributes": {
            "age": np.nan if i % 4 == 3 else 10.0 * i,
            "count": i % 7,
            "smiling": i % 2 == 0,
            "score": -1e3 * i,
        },
        "vector": np.full(4, float(i)),
        "boxes": [[1.0, 2.0]] * (i % 3),
        "name": str(i),
    }


def examples(split):
    return [example(FIRST[split] + i) for i in range(COUNTS[split])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("prepared")
    write(place, "faces", FEATURES, {split: examples(split) for split in COUNTS})
    return write(place, "unsplit", FEATURES, {"train": list(map(example, range(40)))})


def samples(split):
    (batch,) = split.in_order(split.size)
    return jax.tree.map(np.asarray, batch)


@pytest.mark.parametrize("on_device_bytes", [10**9, 0])
def test_every_feature_becomes_a_task_of_its_kind(folder, on_device_bytes):
    data = load(name="faces", tasks="*", folder=folder, on_device_bytes=on_device_bytes)
    assert [(group.tasks, group.kind, group.outputs) for group in data.groups] == [
        (("attributes/age", "attributes/count", "attributes/score"), "regression", 1),
        (("attributes/smiling",), "binary", 1),
        (("place",), "classification", 3),
    ]
    numbers, _, classes = data.groups
    assert classes.reading["classes"] == {"place": ("bus", "home", "work")}
    kind = ArraySplit if on_device_bytes else StreamSplit
    assert isinstance(numbers.train, kind)
    age = [10.0 * i for i in range(20) if i % 4 != 3]
    count = [i % 7 for i in range(20)]
    np.testing.assert_allclose(
        numbers.target_mean, [np.mean(age), np.mean(count), -9500.0]
    )
    np.testing.assert_allclose(
        numbers.target_std, [np.std(age), np.std(count), 1e3 * np.std(range(20))]
    )
    for part, split in PARTS.items():
        of = np.arange(COUNTS[split]) + FIRST[split]
        batch = samples(getattr(data, part))
        assert batch.x.dtype == np.uint8
        np.testing.assert_array_equal(
            batch.x, np.full((8, 6, 3), 1) * of[:, None, None, None]
        )
        (age, count, score), (smiling,), (place,) = batch.y
        (has_age, *others), (known,), (has_place,) = batch.mask
        np.testing.assert_array_equal(has_age, of % 4 != 3)
        np.testing.assert_array_equal(has_place, of % 5 != 4)
        assert known.all()
        assert all(own.all() for own in others)
        mean, std = numbers.target_mean, numbers.target_std
        wanted = np.where(has_age, (10.0 * of - mean[0]) / std[0], 0)
        np.testing.assert_allclose(age, wanted, rtol=1e-6)
        np.testing.assert_allclose(count, (of % 7 - mean[1]) / std[1], rtol=1e-6)
        np.testing.assert_allclose(score, (-1e3 * of - mean[2]) / std[2], rtol=1e-6)
        np.testing.assert_array_equal(smiling, of % 2 == 0)
        np.testing.assert_array_equal(place, np.where(has_place, of % 3, 0))


def test_classes_and_truth_values_are_tasks_unless_told(folder):
    data = load(name="faces", folder=folder)
    assert data.tasks == ("attributes/smiling", "place")
    words = summary(describe(data))
    assert "place    28 labels, 6 missing, of 3 classes (0: bus, 1: home, 2: work)" in (
        words
    )
    assert "not read           attributes/age, attributes/count" in words


def test_patterns_and_kinds_that_are_given(folder):
    data = load(
        name="faces",
        tasks=("attributes/[cs]*", "place"),
        kind={"*/count": "classification", "place": "ordinal"},
        folder=folder,
    )
    kinds = {group.kind: (group.tasks, group.outputs) for group in data.groups}
    assert kinds == {
        "classification": (("attributes/count",), 7),
        "regression": (("attributes/score",), 1),
        "binary": (("attributes/smiling",), 1),
        "ordinal": (("place",), 3),
    }
    (count,) = data.groups[0].test.samples.y
    np.testing.assert_array_equal(count, np.arange(26, 34) % 7)


def test_other_inputs(folder):
    (one,) = load(name="faces", tasks="place", inputs="vector", folder=folder).groups
    batch = samples(one.valid)
    np.testing.assert_array_equal(batch.x, np.arange(20.0, 26)[:, None].repeat(4, 1))
    assert batch.x.dtype == np.float32
    several = load(
        name="faces", tasks="place", inputs=("other", "attributes/count"), folder=folder
    )
    x = samples(several.valid).x
    assert {name: (leaf.dtype, leaf.shape) for name, leaf in x.items()} == {
        "other": (np.uint8, (6, 8, 6, 1)),
        "attributes/count": (np.int32, (6,)),
    }
    np.testing.assert_array_equal(x["other"][:, 0, 0, 0], np.arange(120, 126))


def test_images_are_brought_to_a_size(folder):
    data = load(name="faces", tasks="place", size=(4, 4), folder=folder)
    x = samples(data.valid).x
    assert x.shape == (6, 4, 4, 3)
    np.testing.assert_array_equal(x[:, 0, 0, 0], np.arange(20, 26))


@pytest.mark.parametrize("on_device_bytes", [10**9, 0])
def test_parts_that_a_set_lacks_are_drawn_by_the_seed(folder, on_device_bytes):
    def parts(seed):
        data = load(
            name="unsplit",
            tasks="place",
            seed=seed,
            valid_fraction=0.2,
            test_fraction=0.1,
            folder=folder,
            on_device_bytes=on_device_bytes,
        )
        return [samples(getattr(data, part)).x[:, 0, 0, 0].tolist() for part in PARTS]

    first, again, other = parts(0), parts(0), parts(1)
    assert [len(part) for part in first] == [28, 8, 4]
    assert sorted(itertools.chain(*first)) == list(range(40))
    assert first == again
    assert first != other


def test_a_stream_has_the_samples_that_the_device_has(folder):
    options = {"name": "faces", "tasks": "place", "folder": folder}
    memory, disk = load(**options), load(**options, on_device_bytes=0)
    for part in PARTS:
        a, b = samples(getattr(memory, part)), samples(getattr(disk, part))
        for field in ("x", "y", "mask"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
            assert getattr(a, field).dtype == getattr(b, field).dtype
    assert fingerprint(disk) == fingerprint(load(**options, on_device_bytes=0))
    batches = disk.train.batches(8, seeds=(0, 1))
    five = [next(batches) for _ in range(5)]
    later = next(disk.train.batches(8, seeds=(0, 1), start=4))
    np.testing.assert_array_equal(later.x, five[4].x)
    np.testing.assert_array_equal(later.y, five[4].y)


@pytest.mark.parametrize("on_device_bytes", [10**9, 0])
def test_several_sets_are_disjoint_tasks(folder, on_device_bytes):
    data = load(
        name="unsplit, faces",
        tasks="place",
        folder=folder,
        on_device_bytes=on_device_bytes,
    )
    assert (data.name, data.tasks, data.x_axis) == (
        "unsplit + faces",
        ("faces", "unsplit"),
        0,
    )
    assert data.reading["classes"]["unsplit"] == ("bus", "home", "work")
    batch = samples(data.test)
    # The larger test part has 8 samples, the smaller one, drawn, 4.
    assert batch.x.shape == (2, 8, 8, 6, 3)
    np.testing.assert_array_equal(batch.x[0, :, 0, 0, 0], np.arange(26, 34))
    place = batch.x[..., 0, 0, 0]
    np.testing.assert_array_equal(
        batch.mask, (place % 5 != 4) & [[True] * 8, [True] * 4 + [False] * 4]
    )
    assert (batch.y == place % 3)[batch.mask].all()


def test_sets_with_several_tasks_are_groups_of_their_own_inputs(folder):
    data = load(name=("faces", "unsplit"), tasks=("place", "*/age"), folder=folder)
    assert not data.shared_inputs
    assert data.tasks == (
        "faces/attributes/age",
        "faces/place",
        "unsplit/attributes/age",
        "unsplit/place",
    )
    batch = next(data.train.batches(4, seeds=(0,)))
    assert [x.shape for x in batch.x] == [(1, 4, 8, 6, 3)] * 4


def test_tensorflow_is_never_imported(folder):
    """As a program of its own: other tests must not have imported it."""
    program = (
        "import sys; from mtopt.data import tfds; "
        f"data = tfds(name='faces', tasks='*', folder={str(folder)!r}); "
        "next(data.train.batches(4, seeds=(0,))); print('tensorflow' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == ["False"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": None}, "name is None: expected a set of tfds"),
        ({"name": "faces,faces"}, "expected no set twice"),
        ({"name": "face"}, "no face in .*: expected one that is prepared there"),
        ({"name": "celeba"}, "did you mean 'celeb_a'"),
        (
            {"name": "shapes3d"},
            "no shapes3d in .*`tfds build shapes3d --file_format=array_record "
            "--data_dir=.*prepared.*` does",
        ),
        ({"name": "faces/big"}, "faces/1.0.0 is there: .*tfds build faces/big"),
        ({"tasks": "plac"}, "tasks names 'plac', .* did you mean 'place'"),
        ({"tasks": ()}, "tasks names no feature of faces"),
        ({"tasks": "image"}, "image of faces is an input"),
        ({"tasks": "other"}, r"other of faces is Image \(8, 6, 1\)"),
        ({"tasks": "boxes"}, "boxes of faces is Sequence"),
        ({"tasks": "name"}, "name of faces is Text"),
        ({"kind": {"*/age": "regression"}}, "kind names '.*/age', which is no task"),
        ({"kind": {"place": "classes"}}, "kind of place is 'classes': expected one of"),
        (
            {"tasks": "*/age", "kind": {"*": "binary"}},
            "kind of attributes/age is 'binary', and faces has Tensor",
        ),
        (
            {"tasks": "*/count", "kind": {"*": "binary"}},
            "y has the value 2.*: binary takes 0 or 1",
        ),
        ({"inputs": "imag"}, "inputs names 'imag'.* did you mean 'image'"),
        ({"inputs": "name"}, "inputs names 'name', which is Text"),
        ({"inputs": "attributes/age"}, "expected an array of numbers"),
        ({"size": 0}, "size is 0: expected a number of pixels"),
        ({"valid_fraction": 0.6, "test_fraction": 0.5}, "expected less than 1"),
    ],
)
def test_what_does_not_fit_ends_in_a_line(folder, options, message):
    with pytest.raises(UserError, match=message) as error:
        load(**{"name": "faces", "folder": folder, **options})
    assert "\n" not in str(error.value)


def test_files_that_are_missing_or_in_another_format_are_named(tmp_path):
    write(tmp_path, "faces", FEATURES, {split: examples(split) for split in COUNTS})
    (place,) = tmp_path.glob("faces/*")
    (file,) = place.glob("*test*")
    file.rename(place / "elsewhere")
    with pytest.raises(UserError, match=r"no file .*test.*split 'test'"):
        load(name="faces", folder=tmp_path)
    info = place / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(
        UserError,
        match=r"holds tfrecord files, expected array_record: `tfds convert_format "
        r"--dataset_version_dir=.*faces/1.0.0 --out_file_format=array_record`",
    ) as error:
        load(name="faces", folder=tmp_path)
    assert "\n" not in str(error.value)


def test_a_format_that_was_added_is_read(folder, tmp_path):
    shutil.copytree(folder / "faces", tmp_path / "faces")
    info = tmp_path / "faces" / "1.0.0" / "dataset_info.json"
    stored = json.loads(info.read_text())
    added = {"fileFormat": "tfrecord", "alternativeFileFormats": ["array_record"]}
    info.write_text(json.dumps(stored | added))
    assert load(name="faces", folder=tmp_path).test.size == 8


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("dataset_info.json", "cannot read what was prepared of faces, .*--overwrite`"),
        ("features.json", "cannot read what was prepared of faces"),
        ("*train*", "1.0.0: cannot read the split 'train', .*prepare the set anew"),
    ],
)
def test_files_that_break_off_are_named(folder, tmp_path, pattern, message):
    shutil.copytree(folder / "faces", tmp_path / "faces")
    (file,) = tmp_path.glob(f"faces/1.0.0/{pattern}")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=message) as error:
        load(name="faces", folder=tmp_path)
    assert "\n" not in str(error.value)


def test_sets_that_can_not_be_trained_on_end_in_a_line(tmp_path):
    few = {"x": F.Tensor(shape=(2,), dtype=np.float32), "y": np.float32}
    nothing = [{"x": [0.0, 0.0], "y": np.nan}] * 5
    write(tmp_path, "nothing", few, {"train": nothing})
    write(tmp_path, "tested", few, {"test": nothing})
    write(tmp_path, "two", few, {"train": nothing[:2]})
    for name, message in {
        "nothing": "nothing: no training label of y",
        "tested": "tested has the splits test: expected train among them",
        "two": "two has 2 training records: expected more than 2",
    }.items():
        with pytest.raises(UserError, match=message):
            load(name=name, tasks="y", inputs="x", folder=tmp_path)
    with pytest.raises(UserError, match=r"no classes and no truth values.* y"):
        load(name="nothing", inputs="x", folder=tmp_path)
    with pytest.raises(UserError, match=r"nothing has no image: expected .*of x"):
        load(name="nothing", tasks="y", folder=tmp_path)
