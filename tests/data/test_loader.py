"""Batches of other libraries' loaders: trained on, resumed, predicted for."""

import dataclasses

import grain
import numpy as np
import pytest

import mtopt
from mtopt.data import ArraySplit, Dataset, LoaderSplit
from mtopt.errors import UserError
from mtopt.training.fit import fit, read_result
from tests.helpers.trained import OPTIONS, trained

N, BATCH = 32, 8
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
LABELS = {"double": 2 * X[:, 0], "sum": X.sum(axis=1)}
SAMPLES = [{"x": x, **{t: y[i] for t, y in LABELS.items()}} for i, x in enumerate(X)]


def of_grain(seed, number):
    """Shuffled batches, as grain makes them."""
    source = grain.MapDataset.source(SAMPLES).shuffle(seed=1000 * seed + number)
    for samples in source.batch(BATCH):
        yield samples["x"], {task: samples[task] for task in LABELS}


def of_torch(seed, number):
    torch = pytest.importorskip("torch", reason="torch is in the extra bench alone")
    generator = torch.Generator().manual_seed(1000 * seed + number)
    loader = torch.utils.data.DataLoader(
        SAMPLES, batch_size=BATCH, shuffle=True, generator=generator
    )
    for samples in loader:
        yield samples["x"], {task: samples[task] for task in LABELS}


def whole(seed, number):
    yield X[:20], {task: y[:20] for task, y in LABELS.items()}
    yield X[20:], {task: y[20:] for task, y in LABELS.items()}


def data(epoch):
    held = LoaderSplit(whole, steps=2, size=N)
    train = LoaderSplit(epoch, steps=N // BATCH, size=N)
    return Dataset("own", tuple(LABELS), "regression", 1, None, train, held, held)


@pytest.mark.parametrize("epoch", [of_grain, of_torch])
def test_every_sample_comes_once_an_epoch_in_the_order_of_the_loader(epoch):
    split = data(epoch).train
    batches = [
        batch
        for batch, _ in zip(split.batches(BATCH, seeds=(0, 3)), range(8), strict=False)
    ]
    for s, seed in enumerate((0, 3)):
        for number in (0, 1):
            own = batches[4 * number : 4 * number + 4]
            expected = [x for x, _ in epoch(seed, number)]
            np.testing.assert_array_equal([b.x[s] for b in own], expected)
            seen = np.concatenate([b.y[s, 1] for b in own])
            np.testing.assert_allclose(np.sort(seen), np.sort(LABELS["sum"]))


@pytest.mark.parametrize("start", [1, 4, 6])
def test_a_run_that_is_resumed_gets_the_batches_that_it_would_have_got(start):
    split = data(of_grain).train
    stream = split.batches(BATCH, seeds=(2,))
    for _ in range(start):
        next(stream)
    later = split.batches(BATCH, seeds=(2,), start=start)
    for _ in range(5):
        np.testing.assert_array_equal(next(stream).x, next(later).x)


def test_a_run_learns_from_a_loader_what_it_learns_from_arrays(tmp_path):
    loader = data(of_grain)
    longer = dataclasses.replace(OPTIONS, steps=200, eval_every=50)
    held = ArraySplit(mtopt.Batch.shared(X, LABELS), None)
    arrays = dataclasses.replace(loader, train=held, valid=held, test=held)
    errors = {}
    for name, dataset in {"loader": loader, "arrays": arrays}.items():
        program, _ = trained(tmp_path / name, dataset)
        fit(program, dataset, longer, tmp_path / f"{name}-long", seeds=(0,))
        errors[name] = read_result(tmp_path / f"{name}-long")["test"][0, :, 0]
    assert (errors["loader"] < 0.25).all()
    assert (errors["arrays"] < 0.25).all()
    model = mtopt.load(tmp_path / "loader")
    assert model.predict(X)["sum"].shape == (N,)


@pytest.mark.parametrize("given", [X[:8], (X[:8],), (X[:8], LABELS["sum"][:8]), "xy"])
def test_what_is_no_batch_is_said(given):
    split = LoaderSplit(lambda seed, number: iter([given]), steps=1, size=8)
    with pytest.raises(UserError, match="expected a Batch, or a pair of inputs and"):
        next(split.in_order(8))


@pytest.mark.parametrize(
    ("options", "asked", "message"),
    [
        ({"steps": 5, "size": N}, BATCH, "had 4 batches: expected steps=5"),
        ({"steps": 4, "size": N}, 6, "gave 8 samples: expected 6"),
        ({"steps": 0, "size": N}, BATCH, "steps is 0"),
    ],
)
def test_what_does_not_fit_is_said(options, asked, message):
    with pytest.raises(UserError, match=message):
        for _ in zip(
            LoaderSplit(of_grain, **options).batches(asked, seeds=(0,)),
            range(6),
            strict=False,
        ):
            pass
