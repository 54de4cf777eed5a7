"""The npz format: what is read, and how it is divided and scaled."""

import numpy as np
import pytest

from mtopt.data import StreamSplit, npz
from mtopt.data.tables.npz_encoding import NpzEncoding
from mtopt.data.tables.npz_inputs import read_inputs
from mtopt.errors import UserError
from tests.helpers.npz import PARTS, N, collect, disjoint, save, shared

ROW = np.arange(N)


def test_shared_tasks_are_sorted_and_split(tmp_path):
    arrays = shared(
        y=np.arange(3 * N).reshape(N, 3) % 7, x=np.arange(2.0 * N).reshape(N, 2)
    )
    data = npz(save(tmp_path, **arrays))
    assert data.tasks == ("a", "b", "c")
    assert (data.kind, data.outputs, data.x_axis) == ("classification", 7, None)
    assert [getattr(data, part).size for part in PARTS] == [28, 6, 6]
    labels = np.concatenate([collect(data, part).y for part in PARTS], axis=1)
    expected = arrays["y"][:, [1, 2, 0]]
    assert sorted(map(tuple, labels.T)) == sorted(map(tuple, expected))


def test_inputs_stay_with_their_labels(tmp_path):
    # The label is the row; x is its affine image, which scaling cannot hide.
    row = np.arange(N)
    arrays = {"x": row[:, None] * 2.0 + 1, "y": np.stack([row, row[::-1]], 1) * 1.0}
    data = npz(save(tmp_path, **arrays), kind="regression")
    for part in PARTS:
        batch = collect(data, part)
        first = batch.y[0] * data.target_std[0] + data.target_mean[0]
        second = batch.y[1] * data.target_std[1] + data.target_mean[1]
        np.testing.assert_allclose(first + second, N - 1, atol=1e-4)
        np.testing.assert_allclose(batch.x[:, 0], batch.y[0], atol=1e-5)


def test_statistics_are_those_of_the_training_part(tmp_path):
    arrays = shared(split=np.repeat(PARTS, [30, 5, 5]))
    data = npz(save(tmp_path, **arrays))
    x, y = arrays["x"], arrays["y"][:, [1, 2, 0]]
    np.testing.assert_allclose(data.target_mean, y[:30].mean(0), rtol=1e-5)
    np.testing.assert_allclose(data.target_std, y[:30].std(0), rtol=1e-5)
    expected = (x[30:35] - x[:30].mean(0)) / x[:30].std(0)
    np.testing.assert_allclose(collect(data, "valid").x, expected, rtol=1e-4, atol=1e-5)
    expected = ((y[35:] - y[:30].mean(0)) / y[:30].std(0)).T
    np.testing.assert_allclose(collect(data, "test").y, expected, rtol=1e-4, atol=1e-5)


def test_missing_values_are_masked_and_never_nan(tmp_path):
    arrays = shared()
    arrays["y"][::3, 0] = np.nan
    arrays["x"][5] = np.nan, np.inf
    data = npz(save(tmp_path, **arrays))
    for part in PARTS:
        batch = collect(data, part)
        assert np.isfinite(batch.x).all()
        assert np.isfinite(batch.y).all()
        assert (batch.y[~batch.mask] == 0).all()
    masks = np.concatenate([collect(data, part).mask for part in PARTS], axis=1)
    assert masks.sum(1).tolist() == [N, N, N - 14]


def test_the_byte_255_is_a_missing_label(tmp_path):
    y = np.tile(np.array([[0, 1], [1, 255]], np.uint8), (N // 2, 1))
    data = npz(save(tmp_path, **shared(y=y, target_names=None)))
    assert (data.kind, data.outputs) == ("binary", 1)
    assert data.tasks == ("task_0", "task_1")
    batch = collect(data, "train")
    assert batch.mask[0].all()
    np.testing.assert_array_equal(batch.mask[1], batch.y[0] == 0)
    assert batch.y.max() == 1


@pytest.mark.parametrize(
    ("y", "kind", "inferred", "outputs"),
    [
        (np.tile([[0.0, 1.0]], (N, 1)), None, "binary", 1),
        (np.tile([[True, False]], (N, 1)), None, "binary", 1),
        (np.tile([[0, 4]], (N, 1)), None, "classification", 5),
        (np.stack([ROW % 2, ROW % 5], 1), None, "classification", 5),
        (np.stack([ROW / 2, ROW * 0.0], 1), None, "regression", 1),
        (np.stack([ROW * 500.0, ROW * 900.0], 1), None, "regression", 1),
        (np.tile([[0.0, 4.0]], (N, 1)), "classification", "classification", 5),
        (np.tile([[0, 1]], (N, 1)), "classification", "classification", 2),
        (np.tile([[0, 1]], (N, 1)), "regression", "regression", 1),
    ],
)
def test_the_kind_is_inferred_or_given(tmp_path, y, kind, inferred, outputs):
    data = npz(save(tmp_path, x=np.eye(N), y=y), kind=kind)
    assert (data.kind, data.outputs) == (inferred, outputs)
    dtype = np.float32 if inferred == "regression" else np.int32
    assert collect(data, "train").y.dtype == dtype
    assert (data.target_mean is None) == (inferred != "regression")


def test_disjoint_tasks_are_divided_one_by_one(tmp_path):
    data = npz(save(tmp_path, **disjoint()))
    assert data.tasks == ("task_0", "task_1", "task_2")
    assert data.x_axis == 0
    sizes = [collect(data, part).mask.sum(1).tolist() for part in PARTS]
    assert sizes == [[14, 6, 1], [3, 1, 1], [3, 1, 1]]
    for part in PARTS:
        batch = collect(data, part)
        y = batch.y * data.target_std[:, None] + data.target_mean[:, None]
        task = np.arange(3)[:, None]
        assert (np.floor(y + 1e-5) == task)[batch.mask].all()
        assert (batch.x[~batch.mask] == 0).all()


def labels_of(data, part):
    """The targets of every task as the model sees them."""
    batch = collect(data, part)
    return [y[m] for y, m in zip(batch.y, batch.mask, strict=True)]


def test_disjoint_targets_are_scaled_task_by_task(tmp_path):
    data = npz(save(tmp_path, **disjoint((200, 80, 30))))
    for y in labels_of(data, "train"):
        np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-5)


@pytest.mark.parametrize("plain", [disjoint((20, 15, 9)), shared()])
def test_units_of_targets_change_nothing_that_is_learned(tmp_path, plain):
    """Metres beside millimetres, and zeros elsewhere."""
    task = plain.get("task", slice(None))
    scale, shift = np.array([1.0, 1000.0, 1e-3])[task], np.array([0, 1e4, -7.0])[task]
    exact = npz(save(tmp_path, **plain))
    found = npz(save(tmp_path, **plain | {"y": plain["y"] * scale + shift}))
    for part in PARTS:
        for a, b in zip(labels_of(found, part), labels_of(exact, part), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", [disjoint, shared])
def test_targets_in_common_units_have_one_scale(tmp_path, form):
    data = npz(save(tmp_path, **form()), common_units=True)
    assert len({*data.target_mean.tolist()}) == len({*data.target_std.tolist()}) == 1
    y = np.concatenate(labels_of(data, "train"))
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-5)
    assert data.common_units
    np.testing.assert_array_equal(data.units, np.ones(3))


def test_classes_have_no_common_units(tmp_path):
    path = save(tmp_path, **shared(y=np.eye(N)[:, :3]))
    with pytest.raises(UserError, match="common_units is of regressions"):
        npz(path, common_units=True)


def test_a_task_of_equal_labels_takes_the_median_deviation(tmp_path):
    arrays = disjoint((20, 20, 20, 20))
    arrays["y"] = np.tile(np.linspace(-1, 1, 20), 4) * np.repeat([1, 10, 0, 100], 20)
    data = npz(save(tmp_path, **arrays), kind="regression")
    assert data.target_std[2] == np.median(data.target_std[[0, 1, 3]])
    assert not labels_of(data, "train")[2].any()


def test_a_tiny_task_trains_on_what_it_has(tmp_path):
    data = npz(save(tmp_path, **disjoint((20, 1, 2))))
    assert collect(data, "train").mask.sum(1).tolist() == [14, 1, 2]
    assert collect(data, "test").mask.sum(1).tolist() == [3, 0, 0]


def test_disjoint_samples_without_a_label_are_left_out(tmp_path):
    arrays = disjoint((20, 10))
    arrays["y"][20:25] = np.nan
    data = npz(save(tmp_path, **arrays))
    assert sum(getattr(data, part).size for part in PARTS) == 25
    assert sum(collect(data, part).mask[1].sum() for part in PARTS) == 5


def test_names_keep_the_order_of_the_numbers(tmp_path):
    names = {"task_ids": np.array([100, 9, 25]), "target_names": np.array(["score"])}
    data = npz(save(tmp_path, **disjoint(**names)))
    assert data.tasks == ("task_009", "task_025", "task_100")
    sizes = sum(collect(data, part).mask.sum(1) for part in PARTS)
    assert sizes.tolist() == [8, 3, 20]


def test_rare_tasks_are_dropped_or_refused(tmp_path, caplog):
    arrays = shared()
    arrays["y"][2:, 1] = np.nan
    path = save(tmp_path, **arrays)
    assert npz(path, min_labels=5).tasks == ("b", "c")
    assert "a (" in caplog.text
    arrays["y"][:, 1] = np.nan
    assert npz(save(tmp_path, **arrays)).tasks == ("b", "c")
    with pytest.raises(UserError, match=r"fewer than 1 training labels: a \(0\)"):
        npz(path, min_labels=0)


def test_dropping_disjoint_tasks_keeps_the_others(tmp_path):
    data = npz(save(tmp_path, **disjoint((3, 20, 10))), min_labels=3)
    assert data.tasks == ("task_1", "task_2")
    for part in PARTS:
        batch = collect(data, part)
        y = batch.y * data.target_std[:, None] + data.target_mean[:, None]
        assert (np.floor(y + 1e-5) == [[1], [2]])[batch.mask].all()
    assert sum(getattr(data, part).size for part in PARTS) == 30


def test_inputs_stand_side_by_side(tmp_path):
    arrays = {
        "y": np.zeros((3, 1)),
        "x_num": np.array([[0.0], [2.0], [4.0]]),
        "desc": np.array([[1.0], [1.0], [1.0]]),
        "x_cat": np.array([[0, 2], [1, 0], [0, 1]], np.uint8),
        "cat_cardinality": np.array([3, 3]),
        "fp": np.array([[1], [128], [0]], np.uint8),
    }
    inputs = read_inputs(arrays, tmp_path, 3)
    x = NpzEncoding.of(inputs, np.array([True, True, False])).encoded(inputs)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[:, :2], [[-1, 0], [1, 0], [3, 0]])
    np.testing.assert_array_equal(
        x[:, 2:8], [[1, 0, 0, 0, 0, 1], [0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0]]
    )
    assert x[:, 8:].tolist() == [[0] * 7 + [1], [1] + [0] * 7, [0] * 8]


def test_ready_made_splits_are_kept(tmp_path):
    whole = shared()
    cuts = {"train": slice(0, 30), "test": slice(30, 40)}
    arrays = {"target_names": whole["target_names"]}
    for part, rows in cuts.items():
        arrays |= {f"{key}_{part}": whole[key][rows] for key in ("x", "y")}
    data = npz(save(tmp_path, **arrays), valid_fraction=0.1)
    assert [getattr(data, part).size for part in PARTS] == [27, 3, 10]
    y = collect(data, "test").y * data.target_std[:, None] + data.target_mean[:, None]
    np.testing.assert_allclose(y.T, whole["y"][30:][:, [1, 2, 0]], rtol=1e-4, atol=1e-4)


def test_the_seed_decides(tmp_path):
    path = save(tmp_path, **shared())
    a, b, c = (collect(npz(path, seed=seed), "test").x for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_large_set_is_streamed(tmp_path):
    data = npz(save(tmp_path, **shared()), on_device_bytes=100)
    assert isinstance(data.train, StreamSplit)
    batch = next(data.train.batches(4, seeds=(0,)))
    assert batch.y.shape == (1, 3, 4)
    data = npz(save(tmp_path, **disjoint()), on_device_bytes=100)
    assert isinstance(data.train, StreamSplit)
    assert next(data.train.batches(4, seeds=(0,))).y.shape == (1, 3, 4)


def test_the_name_is_that_of_the_file_or_its_folder(tmp_path):
    path = save(tmp_path, **shared())
    assert npz(path).name == "set"
    assert npz(path, name="mine").name == "mine"
    path.rename(tmp_path / "data.npz")
    assert npz(tmp_path / "data.npz").name == tmp_path.name
