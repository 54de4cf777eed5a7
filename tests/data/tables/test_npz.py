"""The npz format: what is read, how it is divided and scaled, and what is refused."""

import jax
import numpy as np
import pytest

from mtopt.data import StreamSplit, npz
from mtopt.data.division import TEST, TRAIN, VALID, divide
from mtopt.data.tables.npz_inputs import read_inputs
from mtopt.data.tables.scaling import CLIP, moments, standardise
from mtopt.errors import UserError

N = 40
PARTS = ("train", "valid", "test")


def save(tmp_path, **arrays):
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    return path


def shared(**changes):
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.normal(3, 2, (N, 2)),
        "y": rng.normal(size=(N, 3)) * [1, 10, 100] + [0, 5, -50],
        "target_names": np.array(["c", "a", "b"]),
    }
    arrays.update(changes)
    return {key: value for key, value in arrays.items() if value is not None}


def disjoint(sizes=(20, 8, 3), **changes):
    task = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(size=(len(task), 2)), "y": task + rng.random(len(task))}
    arrays.update({"task": task} | changes)
    return arrays


def sparse(table, suffix=""):
    """Compressed sparse rows of a table of counts."""
    rows, words = np.nonzero(table)
    indptr = np.searchsorted(rows, np.arange(len(table) + 1)).astype(np.int32)
    return {
        f"indptr{suffix}": indptr,
        f"indices{suffix}": words.astype(np.uint16),
        f"counts{suffix}": table[rows, words].astype(np.uint8),
    }


def reviews(sizes=(20, 12), **changes):
    """Two tasks with word counts for inputs; no word of every one is in the last."""
    rng = np.random.default_rng(0)
    table = rng.poisson([2.0, 0.1, 0.4, 0.2, 0.0, 1.0], (sum(sizes), 6))
    arrays = disjoint(sizes, x=None, y=np.arange(sum(sizes)) % 2) | sparse(table)
    arrays |= {"vocab": np.array([b"a", b"b", b"c", b"d", b"e", b"f"])} | changes
    return table, {key: value for key, value in arrays.items() if value is not None}


def collect(data, part):
    return jax.tree.map(np.asarray, getattr(data, part).samples)


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
    data = npz(save(tmp_path, **arrays))
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
        (np.tile([[0.0, 4.0]], (N, 1)), None, "regression", 1),
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


def test_disjoint_targets_have_one_scale(tmp_path):
    data = npz(save(tmp_path, **disjoint()))
    assert (
        len(set(data.target_mean.tolist())) == len(set(data.target_std.tolist())) == 1
    )
    batch = collect(data, "train")
    np.testing.assert_allclose(batch.y[batch.mask].mean(), 0, atol=1e-5)
    np.testing.assert_allclose(batch.y[batch.mask].std(), 1, atol=1e-5)


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
    x = read_inputs(arrays, tmp_path).scaled(np.array([True, True, False]))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[:, :2], [[-1, 0], [1, 0], [3, 0]])
    np.testing.assert_array_equal(
        x[:, 2:8], [[1, 0, 0, 0, 0, 1], [0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0]]
    )
    assert x[:, 8:].tolist() == [[0] * 7 + [1], [1] + [0] * 7, [0] * 8]


def test_word_counts_become_logarithms_of_the_commonest_words(tmp_path):
    split = np.tile(np.repeat(PARTS, [2, 1, 1]), 8)
    table, arrays = reviews(split=split)
    # A word of the other parts alone is not a common one.
    table[:, 4] = np.where(split == "train", 0, 9)
    arrays |= sparse(table)
    commonest = np.argsort(-(table[split == "train"] > 0).sum(0), kind="stable")[:3]
    data = npz(save(tmp_path, **arrays), max_features=3)
    assert (data.kind, data.x_axis) == ("binary", 0)
    for part in PARTS:
        batch = collect(data, part)
        assert batch.x.dtype == np.float16
        for k in range(2):
            expected = np.log1p(table[(split == part) & (arrays["task"] == k)])
            expected = expected[:, np.sort(commonest)]
            np.testing.assert_allclose(batch.x[k][batch.mask[k]], expected, rtol=5e-4)


def test_word_counts_of_ready_made_splits_are_joined(tmp_path):
    table, whole = reviews()
    arrays = {"vocab": whole["vocab"]}
    for part, rows in (("train", slice(0, 25)), ("test", slice(25, 32))):
        arrays |= sparse(table[rows], f"_{part}")
        arrays |= {f"{key}_{part}": whole[key][rows] for key in ("y", "task")}
    batch = collect(npz(save(tmp_path, **arrays)), "test")
    np.testing.assert_allclose(batch.x[1], np.log1p(table[25:]), rtol=5e-4)


def test_word_counts_stand_beside_other_inputs(tmp_path):
    row = np.arange(float(N))
    table = np.zeros((N, 3), int)
    table[:, 0], table[::2, 2] = 255, np.arange(N // 2)
    arrays = shared(x=row[:, None], **sparse(table))
    data = npz(save(tmp_path, **arrays))
    batch = collect(data, "train")
    assert batch.x.dtype == np.float32
    assert batch.x.shape[1] == 4
    np.testing.assert_allclose(batch.x[:, 1], np.log(256), rtol=5e-4)
    assert (batch.x[:, 2] == 0).all()


def test_a_word_that_stands_twice_in_a_row_is_added_up(tmp_path):
    arrays = {
        "y": np.zeros((2, 1)),
        "num_entries": np.array([3, 1]),
        "indices": np.array([1, 1, 0], np.uint16).repeat([1, 1, 2]),
        "counts": np.array([200, 100, 0, 7], np.uint8),
    }
    counts = read_inputs(arrays, tmp_path).counts
    assert counts.shape == (2, 2)
    triples = zip(counts.samples, counts.words, counts.counts, strict=True)
    assert [tuple(map(int, triple)) for triple in triples] == [(0, 1, 300), (1, 0, 7)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": None}, "has no counts: word counts are the three"),
        ({"indptr": None, "counts": None}, "has no indptr and no counts"),
        ({"indptr": np.zeros(33)}, r"indptr is float64 \(33,\)"),
        ({"indices": np.zeros((2, 2), int)}, r"indices int64 \(2, 2\)"),
        ({"indptr": np.arange(33)}, "indptr does not fit indices"),
        ({"indptr": np.zeros(0, int)}, "indptr does not fit indices"),
        (
            {"vocab": np.array(["a", "b"])},
            "indices go from 0 to 5: expected .* below 2",
        ),
        ({"max_features": 0}, "max_features is 0: expected 1 or more"),
    ],
)
def test_word_counts_that_do_not_fit_are_one_clear_line(tmp_path, changes, message):
    options = {k: changes.pop(k) for k in ("max_features",) if k in changes}
    path = save(tmp_path, **reviews(**changes)[1])
    with pytest.raises(UserError, match=message) as error:
        npz(path, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"y": a["y"][:9], "task": a["task"][:9]}, "expected 10, one more"),
        (lambda a: {"counts": a["counts"] * -1.0}, "counts go from .* at least 0"),
        (lambda a: {"counts": a["counts"] * np.nan}, "counts go from nan"),
        (lambda a: {"counts": a["counts"].astype(str)}, "counts is of type <U"),
        (lambda a: {"indices": a["indices"] * -1.0}, "indices float64"),
        (lambda a: {"indices": -a["indices"].astype(int)}, "indices go from -5"),
    ],
)
def test_word_counts_of_unfit_values_are_one_clear_line(tmp_path, change, message):
    arrays = reviews()[1]
    with pytest.raises(UserError, match=message) as error:
        npz(save(tmp_path, **(arrays | change(arrays))))
    assert "\n" not in str(error.value)


def test_scaling_clips_and_ignores_constant_columns():
    x = np.ones((100, 2), np.float32) * np.float32(0.1)
    x[:50, 0] = 0.2
    x[99, 0] = 1e6
    scaled = standardise(x, np.arange(100) < 99)
    assert scaled[99, 0] == CLIP
    assert (scaled[:, 1] == 0).all()
    mean, std = moments(np.array([[np.nan, 1.0], [np.nan, 3.0]]))
    assert (mean.tolist(), std.tolist()) == ([0, 2], [0, 1])


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
    with pytest.raises(UserError, match="on_device_bytes"):
        npz(save(tmp_path, **disjoint()), on_device_bytes=100)


def test_the_name_is_that_of_the_file_or_its_folder(tmp_path):
    path = save(tmp_path, **shared())
    assert npz(path).name == "set"
    assert npz(path, name="mine").name == "mine"
    path.rename(tmp_path / "data.npz")
    assert npz(tmp_path / "data.npz").name == tmp_path.name


def test_a_division_follows_the_fractions():
    group = np.repeat([0, 1, 2, 3], [100, 3, 2, 1])
    parts = divide(
        np.full(106, TRAIN), group, {VALID: 0.2, TEST: 0.4}, np.random.default_rng(0)
    )
    counts = [np.bincount(parts[group == g], minlength=3).tolist() for g in range(4)]
    assert counts == [[40, 20, 40], [1, 1, 1], [1, 0, 1], [1, 0, 0]]


def test_an_extreme_division_leaves_one_of_each():
    for fractions in ({VALID: 0.9, TEST: 0.05}, {VALID: 0.05, TEST: 0.9}):
        for n in (3, 4, 5):
            zeros = np.zeros(n, int)
            parts = divide(zeros, zeros, fractions, np.random.default_rng(0))
            assert np.bincount(parts, minlength=3).min() >= 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.eye(4)}, "expected labels y"),
        (shared(x=None), "expected inputs, any of"),
        (shared(x=np.eye(3)), r"x has shape \(3, 3\): expected \(40, columns\)"),
        (shared(x=np.zeros(N)), r"x has shape \(40,\)"),
        (shared(x=np.full((N, 2), "a")), "x is of type <U1: expected numbers"),
        (shared(y=np.zeros(N)), "without a task array"),
        (shared(y=np.full((N, 3), "a")), "y is of type <U1"),
        (shared(y=np.full((N, 3), np.nan)), "every label of y is missing"),
        (shared(target_names=np.array(["a", "b"])), "target_names has shape"),
        (shared(target_names=np.array(["a", "b", "a"])), "has 'a' 2 times"),
        (shared(target_names=np.array(["a", "b", ""])), "has '' 1 times"),
        (shared(task=np.zeros(N, int)), "with a task array"),
        (
            shared(split=np.full(N, "dev")),
            r"split has shape \(40,\) and values \['dev'\]",
        ),
        (shared(split=np.full(3, "train")), r"split has shape \(3,\)"),
        (shared(split=np.full(N, "test")), "no labelled sample left for train"),
        (shared(x=None, fp=np.zeros((N, 2))), "fp is of type float64: expected uint8"),
        (shared(x=None, x_cat=np.zeros((N, 2))), "expected integer codes"),
        (
            shared(x_cat=np.full((N, 1), 2), cat_cardinality=np.array([2])),
            "below cat_cardinality",
        ),
        (shared(x_cat=np.full((N, 1), -1)), "codes from -1"),
        (disjoint(task=np.zeros(5, int)), r"task is int64 \(5,\)"),
        (disjoint(task=np.zeros(31)), "task is float64"),
        (disjoint(task_ids=np.arange(2)), "task goes from 0 to 2: expected 0 to 1"),
        (disjoint((20, 2), task=np.full(22, -1)), "task goes from -1"),
        (shared(y_train=np.zeros((4, 3))), "expected either y, or y_train"),
        ({"x_test": np.eye(4), "y_test": np.eye(4)}, "expected either y, or y_train"),
        (
            {"x_train": np.eye(4), "y_train": np.eye(4), "y_test": np.eye(4)},
            "same splits",
        ),
        (
            {
                k: np.eye(n)
                for n in (3, 4)
                for k in (f"x_{PARTS[n - 3]}", f"y_{PARTS[n - 3]}")
            },
            "samples of equal shape",
        ),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message) as error:
        npz(save(tmp_path, **arrays))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        (np.tile([[0, 2]], (N, 1)), "binary", "value 2: binary takes 0 or 1"),
        (np.tile([[0.5, 2]], (N, 1)), "classification", "value 0.5: classification"),
        (np.tile([[-1, 2]], (N, 1)), "classification", "value -1: classification"),
        (np.eye(N), "multilabel", "kind is 'multilabel'"),
    ],
)
def test_labels_out_of_range_are_named(tmp_path, y, kind, message):
    # Beartype refuses an unknown kind first where hints are checked.
    expected = Exception if kind == "multilabel" else UserError
    with pytest.raises(expected, match=message if kind != "multilabel" else None):
        npz(save(tmp_path, x=np.eye(N), y=y), kind=kind)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid_fraction": 0.0}, "valid_fraction is 0.0"),
        ({"test_fraction": 1.5}, "test_fraction is 1.5"),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, "expected less than 1"),
        ({"min_labels": -1}, "min_labels is -1"),
        ({"min_labels": 1000}, "fewer than 1000 training labels"),
    ],
)
def test_options_out_of_range_are_named(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        npz(save(tmp_path, **shared()), **options)


def test_files_that_are_no_npz_are_named(tmp_path):
    with pytest.raises(UserError, match="no file"):
        npz(tmp_path / "none.npz")
    text, one = tmp_path / "text.npz", tmp_path / "one.npz"
    text.write_text("x,y\n1,2\n")
    np.save(tmp_path / "one.npy", np.eye(3))
    (tmp_path / "one.npy").rename(one)
    whole = save(tmp_path, **shared())
    cut, objects = tmp_path / "cut.npz", tmp_path / "objects.npz"
    cut.write_bytes(whole.read_bytes()[:400])
    np.savez(objects, x=np.eye(2), y=np.array([[None], [1]], object))
    for path in (text, one, cut, objects):
        with pytest.raises(UserError, match=f"cannot read .*{path.name}") as error:
            npz(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "kind", "tasks", "inferred", "outputs", "x_axis", "columns"),
    [
        ("school", None, 139, "regression", 1, 0, 27),
        ("landmine", None, 29, "binary", 1, 0, 9),
        ("computer", None, 190, "regression", 1, 0, 13),
        ("abalone", None, 3, "regression", 1, 0, 7),
        ("bank", None, 12, "binary", 1, 0, 31),
        ("avila", "classification", 48, "classification", 12, 0, 9),
        ("sarcos_test", None, 7, "regression", 1, None, 21),
        ("adult", None, 3, "binary", 1, None, 78),
        ("clintox", None, 2, "binary", 1, None, 1061),
        ("tox21", None, 12, "binary", 1, None, 1061),
        ("toxcast", None, 617, "binary", 1, None, 1061),
        ("qm8", None, 12, "regression", 1, None, 1061),
        ("census_income_kdd", None, 3, "binary", 1, None, 485),
    ],
)
def test_real_sets(data_dir, name, kind, tasks, inferred, outputs, x_axis, columns):
    data = npz(data_dir / name / "data.npz", kind=kind)
    assert (data.name, len(data.tasks)) == (name, tasks)
    assert (data.kind, data.outputs, data.x_axis) == (inferred, outputs, x_axis)
    batch = next(data.train.batches(8, seeds=(0,)))
    lead = (1, 8) if x_axis is None else (1, tasks, 8)
    assert batch.x.shape == (*lead, columns)
    assert np.isfinite(batch.x).all()
    assert np.isfinite(batch.y).all()
    assert collect(data, "train").mask.any(axis=1).all()


def test_real_reviews_fit_on_a_small_machine(data_dir):
    data = npz(data_dir / "fdu_mtl_reviews" / "data.npz")
    assert (len(data.tasks), data.kind, data.outputs) == (16, "binary", 1)
    assert data.test.size == 6400
    splits = [getattr(data, part).samples.x for part in PARTS]
    assert {split.dtype for split in splits} == {np.dtype(np.float16)}
    assert sum(split.nbytes for split in splits) < 150e6
    for split in splits:
        used = np.asarray(split[0])
        assert used.shape[1] == 2000
        assert ((used == 0) | (used > 0.69)).all()
        assert used.max() < 5.6
