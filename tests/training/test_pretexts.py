"""Runs with pretext tasks: records, scores, the chosen model, going on."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import ArraySplit, Dataset, join, unlabelled
from mtopt.models import MODELS, Model
from mtopt.pretext import encoder_of, masked_reconstruction, masked_views, with_pretexts
from mtopt.pretext.group import pretext_group, pretext_head
from mtopt.training.evaluate import metric_tasks, primary_metrics
from mtopt.training.fit import FitOptions, fit, read_result
from mtopt.training.loop import read_per_task
from mtopt.training.program import shared_program
from mtopt.training.writer import read_records

SHAPE = (6,)
SCHEDULE = FitOptions(
    steps=60, batch_size=16, eval_every=20, log_every=20, checkpoint_every=20
)


@functools.cache
def labelled():
    """A number and a class of inputs that repeat themselves; few are labelled."""

    def split(size, seed):
        rng = np.random.default_rng(seed)
        half = rng.normal(size=(size, 3)).astype("float32")
        x = np.concatenate([half, half], axis=1)
        mask = (rng.random(size) < 0.5)[None]
        return x, half, mask

    def of(kind):
        parts = []
        for i, size in enumerate((64, 24, 24)):
            x, half, mask = split(size, i)
            y = half[None, :, 0] + half[None, :, 1]
            y = y if kind == "regression" else (y > 0).astype("int32")
            parts.append(ArraySplit(mtopt.Batch(x, y, mask, (kind[:3],)), None))
        return Dataset(kind, (kind[:3],), kind, 1, None, *parts)

    return of("regression"), of("binary")


@functools.cache
def data():
    """A number, a class and two pretexts, all on the same inputs."""
    number, two = labelled()
    pretexts = [unlabelled(number, (name,)) for name in ("masked", "views")]
    return join(number, two, *pretexts, shared_inputs=True)


@functools.cache
def program(num_seeds=2):
    models = [
        MODELS["mlp"](
            SHAPE, names=g.tasks, kind=g.kind, outputs=1, hidden=(16,), dropout=0.1
        )
        for g in data().groups
        if g.kind != "pretext"
    ]
    model = mtopt.models.join(models, shared_inputs=True)
    encoder = encoder_of(model, SHAPE)
    pretexts = {
        "masked": masked_reconstruction(encoder),
        "views": masked_views(encoder, pick="complement"),
    }
    tx = mtopt.chain(mtopt.mgda(4), optax.adam(1e-2))
    return shared_program(with_pretexts(model, pretexts), tx, num_seeds)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return fit(program(), data(), SCHEDULE, folder, seeds=(0, 1)), folder


def test_losses_are_recorded_and_fall_and_labels_alone_are_scored(whole):
    result, folder = whole
    assert data().tasks == ("bin", "masked", "reg", "views")
    losses = read_per_task(folder, "loss")["values"]
    assert losses.shape == (2, 3, 4)
    assert (losses[:, -1, :3] < losses[:, 0, :3]).all()
    assert np.isfinite(losses).all()
    assert list(metric_tasks(data())) == ["auc", "accuracy", "rmse", "mae", "r2"]
    assert list(primary_metrics(data())) == ["bin", "reg"]
    scored = np.isfinite(result.test.metrics).any(axis=2)
    np.testing.assert_array_equal(scored, [[True, False, True, False]] * 2)
    assert np.isfinite(result.test.pooled[:, [0, 2, 3, 4]]).all()
    curves = read_result(folder)["validation"]
    assert curves.shape == (2, 3, 4)
    assert np.isnan(curves[..., 1::2]).all()
    assert np.isfinite(curves[..., ::2]).all()
    last = read_records(folder / "metrics.jsonl")[-1]
    assert (sorted(last["auc"]), sorted(last["rmse"])) == (["bin"], ["reg"])


def test_models_are_chosen_on_the_labels(whole):
    result, folder = whole
    looks = [r for r in read_records(folder / "metrics.jsonl") if r["split"] == "valid"]
    for s, seed in enumerate((0, 1)):
        own = [r for r in looks if r["seed"] == seed]
        score = [(r["auc"]["bin"] - r["rmse"]["reg"]) / 2 for r in own]
        np.testing.assert_allclose(result.best.score[s], max(score), rtol=1e-5)
        assert result.best.step[s] == own[int(np.argmax(score))]["step"]


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path, whole):
    def interrupt(step, losses):
        if step >= 40:
            raise KeyboardInterrupt

    run = functools.partial(fit, program(), data(), SCHEDULE, tmp_path, seeds=(0, 1))
    with pytest.raises(KeyboardInterrupt):
        run(progress=interrupt)
    resumed = run()
    jax.tree.map(np.testing.assert_array_equal, resumed.best, whole[0].best)
    state = whole[0].state.params
    jax.tree.map(np.testing.assert_array_equal, resumed.state.params, state)


def test_a_pretext_alone_is_trained_without_a_score(tmp_path):
    """Without a label one model is as good as any other."""
    number, _ = labelled()
    model = MODELS["mlp"](SHAPE, names=("a",), kind="binary", outputs=1, hidden=(16,))
    task = masked_reconstruction(encoder_of(model, SHAPE))

    def init(key):
        shared = model.init(key)[0]["shared"]
        return {"shared": shared, "tasks": pretext_head(key, "masked", task)}, {}

    def predict(params, state, x):
        return jnp.zeros((1, len(x), 0))

    alone = Model(pretext_group("masked", task), init, predict)
    tx = mtopt.chain(mtopt.equal_weighting(1), optax.adam(2e-2))
    inputs = unlabelled(number, ("masked",))
    often = dataclasses.replace(SCHEDULE, log_every=1)
    result = fit(shared_program(alone, tx, 1), inputs, often, tmp_path, seeds=(0,))
    assert result.test.metrics.shape == (1, 1, 0)
    assert result.best.score.tolist() == [0]
    losses = read_per_task(tmp_path, "loss")["values"][0, :, 0]
    assert losses[-10:].mean() < 0.9 * losses[:10].mean()
    np.testing.assert_array_equal(
        read_result(tmp_path)["validation"], np.full((1, 3, 1), np.nan)
    )
