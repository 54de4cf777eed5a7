"""Models stop when they have no better look for a while, each by itself."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

import mtopt
from mtopt.training.fit import FitOptions, fit, read_diverged, read_result
from mtopt.training.loop import read_per_task
from mtopt.training.program import separate_program, shared_program
from mtopt.training.writer import read_records
from tests.helpers.planted_looks import EVERY, LOOKS, TASKS, counting, data, planted

PATIENCE = 2
OPTIONS = FitOptions(
    steps=EVERY * LOOKS,
    batch_size=4,
    eval_every=EVERY,
    log_every=3,
    checkpoint_every=6,
    patience=PATIENCE,
)


@functools.cache
def program(seeds, separate=False, doom=None):
    tx = mtopt.chain(mtopt.equal_weighting(1 if separate else 2), counting(doom))
    if separate:
        return separate_program(planted(("task",)), tx, TASKS, seeds)
    return shared_program(planted(TASKS), tx, seeds, on_nonfinite="stop")


def run(folder, seeds, separate=False, doom=None, **changes):
    options = dataclasses.replace(OPTIONS, **changes)
    made = program(len(seeds), separate, doom)
    return fit(made, data(), options, folder, seeds=seeds)


def expected(errors, patience=PATIENCE):
    """The chosen and the last look of a model with these errors at all looks."""
    best, last = 0, LOOKS
    for look in range(1, LOOKS + 1):
        if best == 0 or errors[look] < errors[best]:
            best = look
        elif look - best >= patience:
            last = look
            break
    return best, last


def test_a_model_stops_where_its_curve_says(tmp_path):
    seeds = (0, 1, 2, 4)
    found = run(tmp_path, seeds)
    errors = np.asarray(found.state.params["shared"]["errors"]).mean(axis=1)
    looks = np.array([expected(own) for own in errors])
    assert len({*looks[:, 1].tolist()}) > 1  # they stop at looks of their own
    np.testing.assert_array_equal(found.best.step, EVERY * looks[:, 0])
    np.testing.assert_array_equal(found.state.step, EVERY * looks[:, 1])
    stored = read_result(tmp_path)
    np.testing.assert_array_equal(stored["chosen_step"], EVERY * looks[:, 0])
    assert stored["step"].max() == EVERY * looks[:, 1].max()
    for own, (_, last), curve in zip(
        found.state.params["shared"]["errors"], looks, stored["validation"], strict=True
    ):
        # A model that has stopped looks as it did then.
        held = np.minimum(np.arange(1, len(curve) + 1), last)
        np.testing.assert_allclose(curve, np.asarray(own)[:, held].T, rtol=1e-6)
    losses = read_per_task(tmp_path, "loss")
    assert losses["step"][-1] == EVERY * looks[:, 1].max()  # whatever log_every is
    after = losses["step"][None] > EVERY * looks[:, 1:]
    np.testing.assert_array_equal(np.isnan(losses["values"]).all(axis=2), after)


@pytest.mark.parametrize("separate", [False, True])
def test_a_seed_ends_as_it_does_alone(tmp_path, separate):
    together = run(tmp_path / "all", (0, 1, 2), separate)
    for s in range(3):
        alone = run(tmp_path / str(s), (s,), separate)
        for one, other in ((together.state, alone.state), (together.best, alone.best)):
            own = jax.tree.map(lambda leaf, s=s: leaf[s], one)
            jax.tree.map(
                np.testing.assert_array_equal,
                without_keys(own),
                without_keys(jax.tree.map(lambda leaf: leaf[0], other)),
            )
        np.testing.assert_array_equal(together.test.metrics[s], alone.test.metrics[0])


def without_keys(tree):
    def data_of(leaf):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    return jax.tree.map(data_of, tree)


def test_single_task_models_stop_each_by_itself(tmp_path):
    found = run(tmp_path, (0, 1), separate=True)
    errors = np.asarray(found.state.params["shared"]["errors"])[:, :, 0]
    looks = np.array([[expected(task) for task in seed] for seed in errors])
    np.testing.assert_array_equal(found.best.step, EVERY * looks[..., 0])
    np.testing.assert_array_equal(found.state.step, EVERY * looks[..., 1])


@pytest.mark.parametrize("after", [7, 19])
def test_a_run_that_was_killed_goes_on_bit_for_bit(tmp_path, after):
    seeds = (0, 1, 2, 4)
    whole = run(tmp_path / "whole", seeds)

    def killed(step, losses):
        if step > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(program(4), data(), OPTIONS, tmp_path / "two", seeds=seeds, progress=killed)
    again = run(tmp_path / "two", seeds)
    jax.tree.map(
        np.testing.assert_array_equal,
        without_keys((again.state, again.best)),
        without_keys((whole.state, whole.best)),
    )
    one, two = (
        json.loads((tmp_path / name / "result.json").read_text())
        for name in ("whole", "two")
    )
    assert one == two
    records = [
        [
            {key: value for key, value in record.items() if key != "steps_per_second"}
            for record in read_records(tmp_path / name / "metrics.jsonl")
        ]
        for name in ("whole", "two")
    ]
    assert records[0] == records[1]


def test_without_patience_all_train_to_the_end_and_more_steps_leave_it_ended(tmp_path):
    found = run(tmp_path / "all", (0, 1), patience=None)
    assert found.state.step.tolist() == [EVERY * LOOKS] * 2
    first = run(tmp_path / "two", (0, 1))
    more = run(tmp_path / "two", (0, 1), steps=2 * EVERY * LOOKS)
    np.testing.assert_array_equal(more.state.step, first.state.step)
    np.testing.assert_array_equal(more.test.metrics, first.test.metrics)


def test_what_a_model_would_do_later_is_not_seen(tmp_path):
    """Of seeds that run side by side, those that stop before it do not diverge."""
    seeds = (0, 1, 2, 4)
    errors = np.asarray(run(tmp_path / "good", seeds).state.params["shared"]["errors"])
    last = [expected(own)[1] for own in errors.mean(axis=1)]
    doom = EVERY * min(last) + 1
    run(tmp_path / "bad", seeds, doom=doom)
    lost = {one.seed for one in read_diverged(tmp_path / "bad")}
    assert lost == {s for s, look in zip(seeds, last, strict=True) if look > min(last)}
    assert lost
    assert len(lost) < 4


@pytest.mark.parametrize("by", ["a", "b", "mae"])
def test_models_are_chosen_by_what_is_named(tmp_path, by):
    found = run(tmp_path, (0, 1, 2), patience=None, choose_by=by)
    errors = np.asarray(found.state.params["shared"]["errors"])
    judged = errors.mean(axis=1) if by == "mae" else errors[:, TASKS.index(by)]
    expected_steps = EVERY * (1 + judged[:, 1:].argmin(axis=1))
    np.testing.assert_array_equal(found.best.step, expected_steps)
    stored = json.loads((tmp_path / "result.json").read_text())
    np.testing.assert_allclose(stored["validation_score"], -judged[:, 1:].min(axis=1))


def test_another_name_is_one_clear_line(tmp_path):
    with pytest.raises(mtopt.UserError, match="choose_by=maee: did you mean 'mae'"):
        run(tmp_path, (0,), choose_by="maee")
    with pytest.raises(mtopt.UserError, match="patience is 0: expected at least 1"):
        run(tmp_path, (0,), patience=0)
