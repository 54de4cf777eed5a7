"""What a short run is judged to say, on problems where the answer was planted."""

import dataclasses
import functools
import itertools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import flagsaver

import mtopt
from experiments.common.config import Config
from experiments.common.results import Comparison, MethodResult
from experiments.common.run_folder import run_folder
from experiments.diagnose import __main__ as diagnose
from experiments.diagnose import verdict as verdicts
from experiments.diagnose.findings import Findings, against_others, read_findings
from experiments.diagnose.report import to_plain, to_text
from experiments.diagnose.run import short
from experiments.diagnose.verdict import judge
from mtopt.models import Model
from mtopt.training.loop import LoopOptions, Measurement, read_per_task, train
from mtopt.training.program import separate_program, shared_program

NAMES, SAMPLES, BLOCK = ("a", "b", "c"), 16, 4
EQUAL, ALONE = "equal_weighting", "single-task models"


def model_of(names):
    """One vector that all tasks share; a task has no parameter of its own."""

    def init(key):
        shared = jnp.zeros(BLOCK * len(NAMES))
        return {"shared": shared, "tasks": mtopt.PerTask({}, names)}, {}

    tasks = mtopt.Tasks(names, encode, scaled_loss, 0)
    return Model(tasks, init, lambda *_: None)


def encode(shared, x, key):
    return x @ shared


def scaled_loss(head, z, y, mask, key):
    return mtopt.masked_mean(y[:, 1] * (z - y[:, 0]) ** 2, mask)


@functools.cache
def programs():
    adam = optax.adam(0.05)
    shared = mtopt.chain(mtopt.equal_weighting(3), adam)
    alone = mtopt.chain(mtopt.equal_weighting(1), adam)
    return (
        shared_program(model_of(NAMES), shared, 1),
        separate_program(model_of(("task",)), alone, NAMES, 1),
    )


def planted(signs=(1, 1, 1), scales=(1, 1, 1), apart=False):
    """A batch: one regression for all, turned around, scaled, or on inputs apart."""
    rng = np.random.default_rng(0)
    x = np.zeros((3, SAMPLES, 3 * BLOCK), "f4")
    own = rng.normal(size=(SAMPLES, BLOCK))
    for k in range(3):
        start = BLOCK * k * apart
        x[k, :, start : start + BLOCK] = own
    target = np.array(signs)[:, None] * own.sum(axis=1)
    scale = np.broadcast_to(np.array(scales)[:, None], target.shape)
    y = np.stack([target, scale], axis=-1).astype("f4")
    return mtopt.Batch(x[None], y[None], np.ones((1, 3, SAMPLES), bool))


def measured(folder, *batches, cost=4.0):
    """The findings of 100 steps on some batches in turn."""
    options = LoopOptions(steps=100, log_every=1, checkpoint_every=100)
    for text, program in zip((EQUAL, ALONE), programs(), strict=True):
        diagnosed = text == EQUAL
        train(
            program,
            lambda start: itertools.cycle(batches),
            options,
            run_folder(folder, text, (0,)),
            tasks=NAMES,
            seeds=(0,),
            measure=Measurement(5, program.measure) if diagnosed else None,
        )
    return read_findings(folder, EQUAL, [ALONE], cost=cost)


@pytest.mark.parametrize(
    ("plant", "case", "begins", "held"),
    [
        (
            {},
            "agreement",
            "Balancing is not worth its cost here: the gradients agree",
            (),
        ),
        (
            {"scales": (1, 100, 1)},
            "scales",
            "Balance the losses, not the gradients: the longest gradient is 100 times",
            (),
        ),
        (
            {"signs": (1, -1, 1)},
            "conflict",
            "Balancing is worth a try: the other tasks pull against b, which learns",
            ("b",),
        ),
        (
            {"apart": True},
            "unrelated",
            "Balancing is not worth its cost here: the gradients stand at right angles",
            (),
        ),
    ],
)
def test_what_was_planted_is_said(tmp_path, plant, case, begins, held):
    found = measured(tmp_path, planted(**plant))
    verdict = judge(found)
    assert (verdict.case, verdict.held_back) == (case, held)
    assert verdict.sentences[0].startswith(begins)
    assert "4.0 times the FLOPs" in verdict.sentences[0] or case == "conflict"
    wanted = {"agreement": 1, "scales": 1, "conflict": 1, "unrelated": 3}[case]
    assert found.rank == wanted
    only = any(s.startswith("Only 1 of 3 gradients") for s in verdict.sentences)
    assert only == (wanted == 1)
    assert np.isinf(found.condition) == (wanted == 1)
    text = to_text("planted", found, verdict)
    assert "100 steps and 1 seed" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100
    if case == "conflict":
        np.testing.assert_allclose(found.cosine[1], [-1, 1, -1], atol=1e-5)
        np.testing.assert_allclose(found.against[1], -1, atol=1e-5)
        # Two outvote the third: its loss rises while it moves, and theirs falls.
        assert found.last[1] > found.first[1]
        way = read_per_task(run_folder(tmp_path, EQUAL, (0,)), "descent")["values"]
        assert np.sign(way[0, 0]).tolist() == [1, -1, 1]
        assert verdict.pairs == (("a", "b"), ("b", "c"))
    if case == "unrelated":
        np.testing.assert_allclose(found.cosine, np.eye(3), atol=1e-5)


def agreeing(**changes):
    """Findings of three tasks without a complaint, with some changed."""
    ones = np.ones(3)
    calm = Findings(
        tasks=NAMES,
        steps=200,
        seeds=2,
        cosine=np.full((3, 3), 0.5) + 0.5 * np.eye(3),
        against=0.5 * ones,
        norm=ones,
        conflict_share=0.1,
        condition=3.0,
        rank=3,
        raised=0 * ones,
        first=ones,
        last=0.1 * ones,
        alone_first=ones,
        alone_last=0.1 * ones,
        score=0.8 * ones,
        alone_score=0.7 * ones,
        higher=ones > 0,
        cost=3.0,
    )
    return dataclasses.replace(calm, **changes)


def with_cosine(value):
    cosine = np.eye(3)
    cosine[0, 1] = cosine[1, 0] = value
    return cosine


def test_each_threshold_is_where_it_is_said_to_be():
    for value, case in ((-0.09, "unrelated"), (-0.11, "harmless conflict")):
        assert judge(agreeing(cosine=with_cosine(value))).case == case
    for length, case in ((9.9, "agreement"), (10.1, "scales")):
        norm = np.array([1, length, 1])
        assert judge(agreeing(norm=norm)).case == case
    # Of what b falls alone, 0.49 and 0.51.
    no_better = {"score": np.full(3, 0.7)}
    for last, case in ((0.559, "held back"), (0.541, "agreement")):
        behind = agreeing(last=np.array([0.1, last, 0.1]), **no_better)
        assert judge(behind).case == case
    behind = agreeing(last=np.array([0.1, 0.559, 0.1]), **no_better)
    for value, case in ((-0.09, "held back"), (-0.11, "conflict")):
        against = np.array([-1, value, 0.5])
        verdict = judge(dataclasses.replace(behind, against=against))
        assert (verdict.case, verdict.held_back) == (case, ("b",))
    # What is better shared is not held back, nor what cannot be learned alone.
    shared = dataclasses.replace(behind, score=np.array([0.7, 0.71, 0.7]))
    hopeless = dataclasses.replace(behind, alone_last=np.array([0.1, 0.96, 0.1]))
    assert judge(shared).held_back == judge(hopeless).held_back == ()


def test_a_pair_of_many_tasks_is_no_conflict_of_all():
    tasks = tuple("abcdefghij")
    wide = {
        field.name: np.resize(value, 10)
        for field in dataclasses.fields(Findings)
        if np.ndim(value := getattr(agreeing(), field.name)) == 1
    }
    cosine = np.eye(10)
    cosine[:2, :2] = with_cosine(-0.5)[:2, :2]
    found = agreeing(**wide | {"tasks": tasks, "cosine": cosine, "rank": 10})
    assert judge(found).case == "agreement"
    cosine[:4, :4] = -0.2
    assert judge(found).case == "harmless conflict"


def test_without_models_of_each_task_a_task_that_stalls_is_held_back():
    nothing = np.full(3, np.nan)
    unknown = {"alone_first": nothing, "alone_last": nothing, "alone_score": nothing}
    last = np.array([0.1, 0.97, 0.1])
    against = np.array([0.5, -0.5, 0.5])
    verdict = judge(agreeing(**unknown, last=last, against=against))
    assert (verdict.case, verdict.held_back) == ("conflict", ("b",))
    assert "less beside the rest than the others do" in verdict.sentences[0]
    assert any("no model was trained alone" in s for s in verdict.sentences)


def test_a_task_without_a_gradient_has_no_scale():
    verdict = judge(agreeing(norm=np.array([1.0, 0.0, 2.0]), rank=2))
    assert verdict.case == "agreement"
    assert not any("independent" in sentence for sentence in verdict.sentences)


def test_a_task_is_judged_where_it_has_labels(tmp_path):
    """One that is absent from every other batch is as opposed as where it is there."""
    batch = planted(signs=(1, -1, 1))
    mask = np.array(batch.mask)
    mask[0, 1] = False
    absent = dataclasses.replace(batch, mask=mask)
    found = measured(tmp_path, batch, absent)
    np.testing.assert_allclose(found.cosine[0, 1], -1, atol=1e-5)
    np.testing.assert_allclose(found.against[1], -1, atol=1e-5)
    assert found.norm[1] > 0


def test_scales_are_named_beside_a_conflict():
    found = agreeing(cosine=with_cosine(-0.5), norm=np.array([1.0, 50.0, 1.0]))
    verdict = judge(found)
    assert verdict.case == "harmless conflict"
    assert any("50 times the shortest: bring" in s for s in verdict.sentences)


@pytest.mark.parametrize("higher", [True, False])
def test_sharing_is_told_from_training_alone(tmp_path, higher):
    def looks(*values):
        curve = np.array([[values, np.array(values) - (0.1 if higher else -0.1)]])
        return {"step": np.array([1, 2]), "validation": curve}

    shared = MethodResult(EQUAL, np.zeros((1, 3, 1)), looks(0.5, 0.6, 0.7))
    alone = MethodResult(ALONE, np.zeros((1, 3, 1)), looks(0.4, 0.9, 0.9))
    part = Comparison("it", NAMES, ("score",), (higher,), alone, [shared])
    measured(tmp_path, planted())
    found = read_findings(tmp_path, EQUAL, [ALONE], [part])
    np.testing.assert_allclose(found.score, [0.5, 0.6, 0.7])
    np.testing.assert_allclose(found.alone_score, [0.4, 0.9, 0.9])
    said = " ".join(judge(found).sentences)
    better, worse = (1, 2) if higher else (2, 1)
    assert f"{better} of 3 tasks are better shared" in said
    assert f"and {worse} worse" in said
    assert ("Sharing less" in said) == higher


def test_a_short_run_keeps_what_it_was_told():
    config = Config(data="it", model="mlp", methods=("mgda",), steps=3000, paired=1)
    usual = short(config)
    assert usual.methods == (EQUAL,)
    assert (usual.steps, usual.seeds, usual.diagnose_every) == (200, (0,), 10)
    assert (usual.log_every, usual.checkpoint_every, usual.paired) == (1, 200, 0)
    told = short(dataclasses.replace(config, seeds=(3, 4)), {"steps", "seeds"})
    assert (told.steps, told.seeds, told.diagnose_every) == (3000, (3, 4), 150)


def test_the_rest_is_the_sum_of_all_others():
    rows = np.random.default_rng(0).normal(size=(2, 5, 4, 7))
    norm = np.linalg.norm(rows, axis=-1)
    units = rows / norm[..., None]
    found = against_others(norm, units @ units.swapaxes(-1, -2))
    rest = rows.sum(axis=-2, keepdims=True) - rows
    wanted = (units * rest).sum(axis=-1) / np.linalg.norm(rest, axis=-1)
    np.testing.assert_allclose(found, wanted, atol=1e-10)
    alone = against_others(np.array([1.0, 0.0]), np.diag([1.0, 0.0]))
    assert alone.tolist() == [0, 0]


def run(folder, patch, *flags):
    argv = ["diagnose", *flags]
    patch.chdir(folder)
    patch.setattr(sys, "argv", argv)
    patch.setenv("MTOPT_CACHE", str(folder / "cache"))
    with flagsaver.flagsaver(data_dir=None):
        diagnose.main(diagnose.parse_flags(argv))


def test_the_command_trains_and_says_what_it_found(tmp_path, monkeypatch, capsys):
    flags = (
        "--config.data=multi_digits(num_train=128, num_valid=32, num_test=32)",
        "--model=mlp(hidden=(8,))",
        "--config.steps=10",
        "--config.batch_size=16",
        "--out=kept",
    )
    run(tmp_path, monkeypatch, *flags)
    said = " ".join(capsys.readouterr().out.split())
    assert "Measured with equal weighting, over 10 steps and 1 seed" in said
    assert "left" in said
    assert "FLOPs with all gradients over equal weighting" in said
    stored = json.loads((tmp_path / "kept/diagnosis.json").read_text())
    assert stored["findings"]["tasks"] == ["left", "right"]
    assert stored["findings"]["steps"] == 10
    assert stored["findings"]["cost"] > 1
    assert stored["sentences"][0] in said
    with pytest.raises(SystemExit):
        run(tmp_path, monkeypatch, *flags)
    assert "kept exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--method=mgda",), "drop the methods"),
        (("--config.diagnose_every=0",), "there is no diagnosis"),
        (("--experiment=toy",), "no comparison on one data set"),
        (("--config.data=multi_digits(tasks=('left',))",), "nothing to balance"),
    ],
)
def test_what_cannot_be_diagnosed_is_said_in_one_line(
    tmp_path, monkeypatch, capsys, flags, says
):
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, monkeypatch, *flags)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_everything_is_stored(tmp_path):
    found = agreeing()
    stored = to_plain(found, judge(found))
    assert stored["case"] == "agreement"
    assert stored["thresholds"]["scale"] == verdicts.SCALE
    np.testing.assert_array_equal(stored["findings"]["norm"], found.norm)
    assert jax.tree.leaves(stored)
