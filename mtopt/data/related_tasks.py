"""Planted relatedness: tasks in groups whose functions are as alike as told."""

from collections.abc import Sequence

import numpy as np

from mtopt.batch import Batch
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.data.tasks_kept import keep_tasks
from mtopt.errors import UserError, expect, expect_number

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LOST = 1e-9
"""An eigenvalue of the correlations above minus this is rounding, and taken as 0."""


def related_tasks(
    *,
    groups: int = 2,
    tasks_per_group: int = 2,
    within: float = 0.95,
    across: float = 0.0,
    features: int = 32,
    waves: int = 5,
    noise: float = 0.1,
    num_train: int = 4000,
    num_valid: int = 1000,
    num_test: int = 4000,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
) -> Dataset:
    r"""Regressions on one input, in groups of tasks that are related as told.

    Every task looks at one direction of the input, a unit vector, through a function
    that is the same for all tasks:

    .. math::
       y_k = u_k + \sum_j \sin(\alpha_j u_k + \beta_j), \qquad u_k = w_k^\top x,
       \qquad w_k^\top w_l = C_{kl}

    with x of independent standard normals, alpha uniform from 0.5 to 3 and beta
    standard normal. C is 1 on its diagonal, ``within`` between two tasks of a group and
    ``across`` between two of different groups. What two tasks have in common is what C
    says, and nothing else: at 1 they are the same function, at 0 they read independent
    numbers. Labels have mean 0 and standard deviation 1 over the training samples.

    Args:
      groups: 1 to 26.
      tasks_per_group: 1 to 9.
      within: the correlation of two tasks of a group, -1 to 1.
      across: that of two tasks of different groups, -1 to 1.
      features: of an input, at least as many as tasks.
      waves: how many sines there are, 0 or more; without any, tasks are linear.
      noise: the standard deviation of normal noise on the labels of training and
        validation, 0 or more; those of the test have none, so that its error is that
        of the function.
      num_train: training samples, 2 or more.
      num_valid: validation samples, 1 or more.
      num_test: test samples, 1 or more.
      seed: of directions, function, samples and noise.
      tasks: the names of those to keep; None keeps all.

    Returns:
      Tasks ``a1``, ``a2``, ``b1`` and so on, a letter a group, on shared inputs: ``x``
      is float32 ``[n, features]``, ``y`` float32 ``[K, n]``.

    Raises:
      UserError: for an option out of range, correlations that no vectors have, more
        tasks than features, or a name that is no task.

    Example:
      >>> data = related_tasks(within=1.0, num_train=6, num_valid=2, num_test=2)
      >>> data.tasks
      ('a1', 'a2', 'b1', 'b2')
      >>> y = data.test.samples.y
      >>> bool(abs(y[0] - y[1]).max() < 1e-5), bool(abs(y[0] - y[2]).max() < 1e-5)
      (True, False)

    References:
      Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate
      Mixture-of-Experts, KDD 2018, section 3.2.

    Differences from the paper:
      Two tasks of one correlation there, groups of them here. The sines of the paper
      have fixed frequencies and phases; here they are drawn, and directions have length
      1.
    """
    _check(locals())
    rng = np.random.default_rng(seed)
    group = np.arange(groups * tasks_per_group) // tasks_per_group
    directions = _directions(group, within, across, features, rng)
    frequencies = rng.uniform(0.5, 3.0, waves)
    phases = rng.normal(size=waves)

    def labels(x: np.ndarray) -> np.ndarray:
        seen = directions @ x.T
        angles = frequencies * seen[..., None] + phases
        return seen + np.sin(angles).sum(axis=-1)

    inputs = {
        title: rng.normal(size=(count, features))
        for title, count in (
            ("train", num_train),
            ("valid", num_valid),
            ("test", num_test),
        )
    }
    clean = {title: labels(x) for title, x in inputs.items()}
    mean = clean["train"].mean(axis=1, keepdims=True)
    deviation = clean["train"].std(axis=1, keepdims=True)
    splits = {}
    for title, x in inputs.items():
        y = (clean[title] - mean) / deviation
        if title != "test":
            y += noise * rng.normal(size=y.shape)
        batch = Batch(
            x.astype(np.float32), y.astype(np.float32), np.ones(y.shape, bool)
        )
        splits[title] = ArraySplit(batch, x_axis=None)
    names = [
        f"{LETTERS[g]}{i + 1}" for g in range(groups) for i in range(tasks_per_group)
    ]
    dataset = Dataset(
        name="related_tasks",
        tasks=tuple(names),
        kind="regression",
        outputs=1,
        x_axis=None,
        **splits,
    )
    return keep_tasks(dataset, tasks)


def _directions(
    group: np.ndarray,
    within: float,
    across: float,
    features: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Unit vectors ``[K, D]`` whose inner products are the correlations."""
    same = group[:, None] == group[None, :]
    wanted = np.where(same, within, across)
    np.fill_diagonal(wanted, 1.0)
    values, vectors = np.linalg.eigh(wanted)
    if values[0] < -LOST:
        raise UserError(
            f"within is {within} and across is {across}: expected correlations that "
            f"{len(group)} vectors can have; the smallest eigenvalue of their matrix "
            f"is {values[0]:.3g}, below 0"
        )
    root = vectors * np.sqrt(np.clip(values, 0, None))
    basis, _ = np.linalg.qr(rng.normal(size=(features, len(group))))
    return root @ basis.T


def _check(options: dict) -> None:
    """Raises for an option out of range."""
    ranges = {
        "groups": (1, len(LETTERS)),
        "tasks_per_group": (1, 9),
        "features": (1, None),
        "waves": (0, None),
        "num_train": (2, None),
        "num_valid": (1, None),
        "num_test": (1, None),
    }
    for name, (least, most) in ranges.items():
        value = options[name]
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        good = whole and value >= least and (most is None or value <= most)
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        expect(good, name, value, f"a whole number, {bounds}")
    for name in ("within", "across"):
        expect_number(name, options[name], at_least=-1, at_most=1)
    expect_number("noise", options["noise"], at_least=0, below=float("inf"))
    count = options["groups"] * options["tasks_per_group"]
    expect(
        options["features"] >= count,
        "features",
        options["features"],
        f"{count} or more, one for each task",
    )
