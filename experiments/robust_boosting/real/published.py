"""The data sets of the paper: their settings, and the scores it published."""

from collections.abc import Mapping
from typing import NamedTuple

from ..learners import LEARNERS, Counts, name_of


class Source(NamedTuple):
    """A data set of the paper.

    Attributes:
      kind: ``regression`` or ``classification``.
      counts: iterations of the five learners, in the order of ``LEARNERS``; where from
        is told in the package's docstring.
      published: test RMSE or accuracy, likewise.
      second: what was published of MAE or macro recall: learner to score.
    """

    kind: str
    counts: tuple[tuple[int, int, int], ...]
    published: tuple[float, ...]
    second: Mapping[str, float]


def _counts(r_mtgb: Counts, mtgb: Counts, stl: int, others: int) -> tuple[Counts, ...]:
    """Both pooled learners ran equally long."""
    return (r_mtgb, mtgb, (0, 0, stl), (others, 0, 0), (others, 0, 0))


SOURCES = {
    "school": Source(
        "regression",
        _counts((50, 50, 20), (50, 0, 20), 50, 100),
        (10.169, 10.193, 10.347, 10.445, 10.429),
        {"r_mtgb": 8.051, "mtgb": 8.074, "stl": 8.187},
    ),
    "computer": Source(
        "regression",
        _counts((50, 50, 20), (50, 0, 20), 20, 100),
        (2.518, 2.541, 2.798, 2.513, 2.449),
        {"r_mtgb": 2.072, "task_as_feature": 2.046},
    ),
    "parkinson": Source(
        "regression",
        _counts((0, 20, 100), (20, 0, 100), 100, 100),
        (0.259, 0.305, 0.252, 8.726, 6.469),
        {"r_mtgb": 0.110, "stl": 0.096},
    ),
    "abalone": Source(
        "regression",
        _counts((50, 50, 100), (50, 0, 100), 100, 100),
        (2.302, 2.323, 2.364, 2.444, 2.420),
        {"r_mtgb": 1.628},
    ),
    "landmine": Source(
        "classification",
        _counts((50, 50, 30), (30, 0, 30), 50, 20),
        (0.9443, 0.9443, 0.9450, 0.9376, 0.9376),
        {"r_mtgb": 0.562, "stl": 0.567},
    ),
    "bank": Source(
        "classification",
        _counts((50, 50, 100), (50, 0, 100), 100, 100),
        (0.8924, 0.8912, 0.8893, 0.8859, 0.8859),
        {"r_mtgb": 0.589},
    ),
    "avila": Source(
        "classification",
        _counts((50, 50, 20), (50, 0, 20), 100, 100),
        (0.5689, 0.5531, 0.5722, 0.4895, 0.4408),
        {"r_mtgb": 0.327, "stl": 0.418},
    ),
}


def published_score(data: str, learner: str) -> float:
    """The published primary score of a learner, which may have options."""
    scores = dict(zip(LEARNERS, SOURCES[data].published, strict=True))
    return scores[name_of(learner)]
