"""Questions about digits: right answers, who is asked what, a task that is wrong."""

import functools

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from mtopt.data import digit_questions, fingerprint, multi_digits
from mtopt.data.images.digit_questions import ANSWERS, WRONG
from mtopt.errors import UserError

SMALL = {"num_train": 40, "num_valid": 20, "num_test": 30}


@functools.cache
def whole():
    return digit_questions()


def labels(split):
    names = (*ANSWERS, WRONG)
    return dict(zip(names, np.asarray(split.samples.y), strict=True))


def test_the_answers_are_those_of_the_digit():
    for d in range(10):
        found = {question: int(answers[d]) for question, answers in ANSWERS.items()}
        assert found == {
            "digit": d,
            "even": d % 2 == 0,
            "large": d >= 5,
            "loops": {0: 1, 6: 1, 8: 2, 9: 1}.get(d, 0),
            "rest of 3": d % 3,
        }


def test_the_digit_asked_about_stands_top_left():
    images, digits = load_digits(return_X_y=True)
    # The first two rows and columns are never covered by the other digit.
    free = np.zeros((8, 8), bool)
    free[:2], free[:, :2] = True, True
    known = {}
    for image, digit in zip(images.reshape(-1, 8, 8), digits, strict=True):
        seen = (image[free] / 16).astype(np.float32).tobytes()
        known.setdefault(seen, set()).add(int(digit))
    for split in (whole().train, whole().valid, whole().test):
        x, named = np.asarray(split.samples.x), labels(split)["digit"]
        shown = [known[row[:8, :8, 0][free].tobytes()] for row in x]
        assert all(
            digit in several for digit, several in zip(named, shown, strict=True)
        )
        assert np.mean([len(several) == 1 for several in shown]) > 0.9


def test_a_training_image_has_one_right_answer_and_the_wrong_one():
    mask = np.asarray(whole().train.samples.mask)
    assert whole().tasks[-1] == WRONG
    assert (mask[:-1].sum(axis=0) == 1).all()
    assert mask[:-1].sum(axis=1).tolist() == [200] * 5
    assert mask[-1].all()
    assert np.asarray(whole().valid.samples.mask).all()
    assert np.asarray(whole().test.samples.mask).all()


def test_who_is_asked_what_says_nothing_of_the_digit():
    mask, digit = np.asarray(whole().train.samples.mask), labels(whole().train)["digit"]
    for asked in mask[:-1]:
        counts = np.bincount(digit[asked], minlength=10)
        assert counts.min() >= 8  # 20 each by chance
        assert counts.max() <= 35


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_the_wrong_labels_are_those_of_other_images(split):
    found = labels(getattr(whole(), split))
    right, wrong = found["digit"], found[WRONG]
    assert np.bincount(wrong).tolist() == np.bincount(right).tolist()
    joint = np.zeros((10, 10))
    np.add.at(joint, (right, wrong), 1)
    expected = np.outer(joint.sum(1), joint.sum(0)) / len(right)
    chi2 = ((joint - expected) ** 2 / expected).sum()
    assert chi2 < 126.1  # the 99.9 % quantile at 81 degrees of freedom is 126.08


def test_the_images_are_those_of_multi_digits():
    ours, theirs = digit_questions(**SMALL), multi_digits(**SMALL)
    for split in ("train", "valid", "test"):
        one, two = (getattr(data, split).samples for data in (ours, theirs))
        np.testing.assert_array_equal(one.x, two.x)
        np.testing.assert_array_equal(one.y[0], two.y[0])


def test_the_seed_decides():
    a, b, c = (digit_questions(seed=s, **SMALL) for s in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, a.train.samples, b.train.samples)
    assert fingerprint(a) == fingerprint(b) != fingerprint(c)


def test_its_fingerprint_is_that_of_the_measured_runs():
    assert fingerprint(whole()) == "37611f47477825a2"


def test_without_the_wrong_task_the_others_stay_as_they_are():
    kept = digit_questions(tasks=tuple(ANSWERS), **SMALL)
    every = digit_questions(**SMALL)
    assert kept.tasks == tuple(ANSWERS)
    np.testing.assert_array_equal(kept.train.samples.y, every.train.samples.y[:-1])
    np.testing.assert_array_equal(
        kept.train.samples.mask, every.train.samples.mask[:-1]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_train": 4}, "num_train is 4: expected 5 or more"),
        ({"num_valid": 0}, "num_valid is 0"),
        ({"tasks": ("digits",)}, "'digits'"),
    ],
)
def test_misuse_is_one_line(options, message):
    with pytest.raises(UserError, match=message):
        digit_questions(**SMALL | options)
