"""Mixed runs on whatever a user may bring: it works, or one line says why not."""

import dataclasses
import inspect

import jax
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import ArraySplit, Dataset, join
from mtopt.models import MODELS
from mtopt.models import join as join_models
from mtopt.training.fit import FitOptions, fit
from mtopt.training.program import shared_program

FEATURES, KEY = 6, jax.random.key(0)
SHORT = FitOptions(
    steps=4, batch_size=16, eval_every=2, log_every=2, checkpoint_every=4
)


def source(
    name,
    kind="regression",
    sizes=(24, 12, 12),
    lacks=(),
    features=FEATURES,
    x_axis=None,
):
    """Two tasks; in the parts of ``lacks``, no label."""
    tasks, rng = (f"{name}_0", f"{name}_1"), np.random.default_rng(len(name))

    def split(part, size):
        lead = () if x_axis is None else (2,)
        x = rng.normal(size=(*lead, size, features)).astype("float32")
        y = rng.normal(size=(2, size)).astype("float32")
        if kind != "regression":
            y = (y > 0).astype("int32")
        mask = np.full(y.shape, part not in lacks)
        return ArraySplit(mtopt.Batch(x, y, mask, tasks), x_axis)

    parts = map(split, ("train", "valid", "test"), sizes)
    return Dataset(name, tasks, kind, 1, x_axis, *parts)


def model_of(*groups, **options):
    models = [
        MODELS["mlp"]((FEATURES,), names=tasks, kind=kind, outputs=1, hidden=(4,))
        for tasks, kind in groups
    ]
    return models[0] if len(models) == 1 else join_models(models, **options)


def run(data, model, folder, seeds=(0,), options=SHORT, **more):
    tx = mtopt.chain(mtopt.mgda(len(model.tasks.names)), optax.adam(1e-2))
    program = shared_program(model, tx, len(seeds), **more)
    return fit(program, data, options, folder, seeds=seeds)


def same_kinds(data):
    return [(group.tasks, group.kind) for group in data.groups]


def test_one_sample_and_fewer_than_a_batch_train_and_score(tmp_path):
    """Another source has no label to be validated or tested on."""
    data = join(
        source("one", sizes=(1, 2, 2)),
        source("few", "binary", sizes=(5, 6, 6)),
        source("unseen", lacks=("valid", "test")),
    )
    result = run(data, model_of(*same_kinds(data)), tmp_path)
    scored = np.array([not task.startswith("unseen") for task in data.tasks])
    np.testing.assert_array_equal(np.isfinite(result.test.selection)[0], scored)
    assert result.best.step[0] > 0
    moved = result.state.params["tasks"]
    start = model_of(*same_kinds(data)).init(KEY)[0]["tasks"]
    for own, before in zip(moved, start, strict=True):
        assert (own.values["kernel"][0] != before.values["kernel"]).any()


@pytest.mark.slow
def test_a_seed_of_a_stack_is_that_seed_alone(tmp_path):
    data = join(source("a"), source("bb", "binary"), batch_size=(8, 4))
    model = model_of(*same_kinds(data))
    stack = run(data, model, tmp_path / "stack", seeds=(0, 1, 2), micro_batches=2)
    alone = run(data, model, tmp_path / "alone", seeds=(2,), micro_batches=2)
    last = jax.tree.map(lambda leaf: leaf[2:], stack.state.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        last,
        alone.state.params,
    )


def test_integers_beside_floats_and_forty_tasks_beside_one():
    """Each group is what it is alone, in one step."""
    many = tuple(f"many_{k:02d}" for k in range(40))
    model = model_of((many, "regression"), (("one",), "binary"))
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 9, (8, FEATURES)), rng.normal(size=(4, FEATURES))
    y = rng.normal(size=(40, 8)).astype("float32"), np.ones((1, 4), "int32")
    mask = tuple(np.ones(own.shape, bool) for own in y)
    params, state = jax.jit(model.init)(KEY)
    tx = mtopt.chain(mtopt.mgda(41), optax.adam(1e-2))
    step = mtopt.make_train_step(model.tasks, tx, donate=False)
    start = mtopt.TrainState.create(params, tx, KEY, state)
    found = {}
    for dtype in ("int8", "float32"):
        own = x[0].astype(dtype), x[1].astype("float32")
        after, metrics = step(start, mtopt.Batch(own, y, mask))
        found[dtype] = after.params, metrics["losses"]
    jax.tree.map(np.testing.assert_array_equal, found["int8"], found["float32"])
    losses = found["int8"][1]
    assert losses.shape == (41,)
    assert (losses > 0).all()


A, B = source("a"), source("bb", "binary")
NUMBERS, LABELS = (A.tasks, "regression"), (B.tasks, "binary")
FITS = {
    "models in another order": (
        lambda: (join(A, B), model_of(LABELS, NUMBERS)),
        "the model is of the tasks ('bb_0', 'bb_1') and ('a_0', 'a_1'), 'a + bb' of",
    ),
    "a plain model": (
        lambda: (join(A, B), model_of((join(A, B).tasks, "regression"))),
        "the model is of the tasks ('a_0', 'a_1', 'bb_0', 'bb_1'), 'a + bb' of",
    ),
    "plain data": (
        lambda: (A, model_of(NUMBERS, LABELS)),
        "'a' of ('a_0', 'a_1'): expected the same",
    ),
    "a group too many": (
        lambda: (join(A, B, source("ccc")), model_of(NUMBERS, LABELS)),
        "'a + bb + ccc' of ('a_0', 'a_1') and ('bb_0', 'bb_1') and ('ccc_0', 'ccc_1')",
    ),
    "one input expected": (
        lambda: (join(A, B), model_of(NUMBERS, LABELS, shared_inputs=True)),
        "the model has shared_inputs=True, 'a + bb' has shared_inputs=False",
    ),
    "inputs of their own expected": (
        lambda: (
            join(
                A, dataclasses.replace(A, name="d", tasks=B.tasks), shared_inputs=True
            ),
            model_of(NUMBERS, (B.tasks, "regression")),
        ),
        "the model has shared_inputs=False, 'a + d' has shared_inputs=True",
    ),
    "labels of another kind": (
        lambda: (join(A, B), model_of(NUMBERS, (B.tasks, "regression"))),
        "the model has kind='regression', 'bb' has kind='binary'",
    ),
    "inputs for each task": (
        lambda: (join(source("a", x_axis=0), B), model_of(NUMBERS, LABELS)),
        "the model has x_axis=None, 'a' has x_axis=0",
    ),
    "a batch that no part divides": (
        lambda: (join(A, B, batch_size=(4, 5)), model_of(NUMBERS, LABELS)),
        "a batch of 5 samples in 2 micro-batches",
    ),
    "more inputs than the model takes": (
        lambda: (
            join(A, source("bb", "binary", features=7)),
            model_of(NUMBERS, LABELS),
        ),
        "inputs of 7 numbers: expected 6",
    ),
}


def assert_one_line(call, message):
    with pytest.raises(mtopt.UserError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("case", FITS)
def test_a_model_that_does_not_fit_the_data_is_refused(case, tmp_path):
    make, message = FITS[case]
    assert_one_line(lambda: run(*make(), tmp_path, micro_batches=2), message)


# As users call it, whose types nobody checks.
unchecked_join = inspect.unwrap(join)
JOINS = {
    "no data set": (lambda: unchecked_join(A, "bb"), "a str among the sources to join"),
    "a list": (lambda: unchecked_join([A, B]), "a list among the sources to join"),
    "a word for yes": (
        lambda: unchecked_join(A, B, pool="no"),
        "pool is 'no': expected True or False",
    ),
    "one size": (
        lambda: unchecked_join(A, B, batch_size=4),
        "batch_size is 4: expected",
    ),
    "sizes by name": (
        lambda: unchecked_join(A, B, batch_size={"a": 4, "bb": 8}),
        "batch_size is {'a': 4, 'bb': 8}: expected a number of samples for each",
    ),
    "a size that is none": (
        lambda: unchecked_join(A, B, batch_size=(4, True)),
        "batch_size is (4, True): expected whole numbers",
    ),
    "half a sample": (
        lambda: unchecked_join(A, B, batch_size=(4, 2.5)),
        "batch_size is (4, 2.5): expected whole numbers",
    ),
    "nothing to learn from": (
        lambda: join(A, source("bb", lacks=("train",))),
        "'bb' has no label among its training samples",
    ),
}


@pytest.mark.parametrize("case", JOINS)
def test_sources_that_cannot_be_joined_are_refused(case):
    assert_one_line(*JOINS[case])


def test_a_batch_of_other_groups_is_refused():
    tasks = model_of(NUMBERS, LABELS).tasks
    x, y = np.ones((4, FEATURES), "float32"), np.ones((2, 4), "float32")
    mask = np.ones((2, 4), bool)
    for batch, message in [
        (mtopt.Batch((x,) * 3, (y,) * 3, (mask,) * 3), "a tuple of 2 entries.*: got 3"),
        (mtopt.Batch(x, (y,) * 2, (mask,) * 2), "batch.x of task groups must be a"),
        (mtopt.Batch((x, x), y, (mask,) * 2), "batch.y of task groups must be a"),
    ]:
        with pytest.raises(mtopt.UserError, match=message):
            tasks.problem(batch, KEY)
    with pytest.raises(mtopt.UserError, match="mask is a tuple of 2 groups"):
        tasks.groups[0].problem(mtopt.Batch((x, x), (y, y), (mask, mask)), KEY)


def test_joined_sources_keep_their_sizes_in_another_join():
    inner = join(A, B, batch_size=(4, 8))
    batch = next(join(inner, source("ccc")).train.batches(16, seeds=(0,)))
    assert [mask.shape[2] for mask in batch.mask] == [4, 8, 16]
