"""The learner as scikit-learn estimators."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from mtopt.boosting.ensemble import Ensemble, predict, predict_proba
from mtopt.boosting.importances import importances
from mtopt.boosting.inputs import (
    check_weight_of_tasks,
    moments,
    read_classes,
    read_rows,
    read_targets,
    read_weights,
    task_position,
)
from mtopt.boosting.learner import fit
from mtopt.data.division import TRAIN, VALID, divide
from mtopt.data.equal_rows import equal_rows
from mtopt.errors import UserError, expect, expect_one_of

UNSEEN_TASKS = ("shared", "error")


class _MultiTaskBoosting(BaseEstimator):
    """What both estimators share."""

    def __init__(
        self,
        *,
        num_shared: int = 50,
        num_partition: int = 50,
        num_task_specific: int = 20,
        learning_rate: float = 0.1,
        max_depth: int = 1,
        max_bins: int | str | None = None,
        theta_gradient: str = "sum",
        theta_learning_rate: float | None = None,
        standardize: bool = True,
        start: str = "log_odds",
        subsample: float = 1.0,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        task_column: int | str | None = None,
        unseen_task: str = "shared",
        random_state: Any = None,
    ) -> None:
        self.num_shared = num_shared
        self.num_partition = num_partition
        self.num_task_specific = num_task_specific
        self.learning_rate = learning_rate
        self.max_depth = max_depth
        self.max_bins = max_bins
        self.theta_gradient = theta_gradient
        self.theta_learning_rate = theta_learning_rate
        self.standardize = standardize
        self.start = start
        self.subsample = subsample
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.task_column = task_column
        self.unseen_task = unseen_task
        self.random_state = random_state

    def _fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        task: np.ndarray,
        weights: np.ndarray,
        num_classes: int | None,
    ) -> None:
        expect_one_of("unseen_task", self.unseen_task, UNSEEN_TASKS)
        self.tasks_, number = np.unique(task, return_inverse=True)
        check_weight_of_tasks(self.tasks_, number, weights)
        random = check_random_state(self.random_state)
        seed = random.randint(np.iinfo(np.int32).max)
        held_out = None
        if self.patience is not None:
            share = self.validation_fraction
            expect(0 < share < 1, "validation_fraction", share, "a number in (0, 1)")
            parts = np.full(len(X), TRAIN)
            rows = equal_rows(X, number)
            parts = divide(parts, number, {VALID: share}, random, rows)
            held_out = _filled(parts == VALID)
        trained = weights if held_out is None else weights * ~held_out[: len(X)]
        self.target_mean_, self.target_std_ = 0.0, 1.0
        if num_classes is None and self.standardize:
            self.target_mean_, self.target_std_ = moments(y, trained)
            y = (y - self.target_mean_) / self.target_std_
        # Rows of weight 0 fill up: folds of nearly equal size compile once.
        self.ensemble_ = fit(
            _filled(X),
            _filled(y if num_classes else y.astype(np.float32)),
            _filled(number),
            num_tasks=len(self.tasks_),
            num_shared=self.num_shared,
            num_partition=self.num_partition,
            num_task_specific=self.num_task_specific,
            learning_rate=self.learning_rate,
            num_classes=num_classes,
            max_depth=self.max_depth,
            max_bins=self.max_bins,
            theta_gradient=self.theta_gradient,
            theta_learning_rate=self.theta_learning_rate,
            start=self.start,
            weights=_filled(weights),
            subsample=self.subsample,
            validation=held_out,
            patience=self.patience,
            key=jax.random.key(seed),
        )
        gains = importances(self.ensemble_, X, number, trained)
        if self.task_column is not None:
            names = getattr(self, "feature_names_in_", None)
            place = task_position(self.task_column, names, self.n_features_in_)  # pyright: ignore
            gains = np.insert(gains, place, 0)
        self.feature_importances_ = gains

    @property
    def outlierness_(self) -> np.ndarray:
        """Sigma(theta) of every task, in the order of ``tasks_``."""
        check_is_fitted(self)
        return np.asarray(jax.nn.sigmoid(self.ensemble_.theta))

    def _call(self, function: Callable[..., Array], X: Any, task: Any) -> np.ndarray:
        check_is_fitted(self)
        X, task = self._rows(X, task, fitting=False)
        if (task.dtype.kind in "US") != (self.tasks_.dtype.kind in "US"):
            raise UserError(
                f"task is of type {task.dtype}: expected {self.tasks_.dtype}, as fitted"
            )
        number = np.searchsorted(self.tasks_, task)
        number = np.minimum(number, len(self.tasks_) - 1)
        unseen = self.tasks_[number] != task
        if unseen.any():
            self._say_unseen(task[unseen])

        def called(ensemble: Ensemble) -> np.ndarray:
            padded = _filled(X), jnp.asarray(_filled(number))
            return np.asarray(function(ensemble, *padded))[: len(X)]

        known = called(self.ensemble_)
        if not unseen.any():
            return known
        where = unseen.reshape(-1, *(1 for _ in known.shape[1:]))
        return np.where(where, called(_shared_block(self.ensemble_)), known)

    def _say_unseen(self, task: np.ndarray) -> None:
        """Warns of tasks that were not fitted, or refuses them."""
        found = f"task {np.unique(task).tolist()} was not fitted"
        if self.unseen_task == "error":
            raise UserError(
                f"{found}: expected one of the {len(self.tasks_)} in tasks_; "
                "unseen_task='shared' predicts others by the trees of all tasks"
            )
        warnings.warn(
            f"{found}: its {len(task)} rows are predicted by the shared block alone",
            stacklevel=4,
        )

    def _rows(
        self, X: Any, task: Any, *, fitting: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        return read_rows(self, X, task, self.task_column, fitting)


class MultiTaskBoostingRegressor(RegressorMixin, _MultiTaskBoosting):
    """R-MTGB for regression; see :func:`mtopt.boosting.fit`.

    X may be an array or a frame. NaN in X counts as below every number, in training and
    in predictions; in y it is refused, but for rows of weight 0. Categories
    go in as one-hot columns, as in the paper: scikit-learn's ``OneHotEncoder`` before
    the estimator, dense, and the task past it as a parameter of the last step. With
    scikit-learn's metadata routing, ``set_fit_request(task=True)`` and
    ``set_score_request(task=True)`` take the task through a ``GridSearchCV``;
    ``task_column`` does without.

    Args:
      num_shared: iterations of block 1.
      num_partition: iterations of block 2, outlier tasks apart from the rest.
      num_task_specific: iterations of block 3.
      learning_rate: what every tree is multiplied by.
      max_depth: levels of splits, 1 to 6.
      max_bins: the values, or else shares of rows, that a feature is told apart in, 2
        to 255, missing ones besides; ``"exact"`` tries all splits. None is 255, and
        exact for stumps.
      theta_gradient: ``"sum"`` or ``"mean"`` over a task's rows.
      theta_learning_rate: the step of theta; None is ``learning_rate``.
      standardize: of a regressor: whether it learns targets less their mean and over
        their deviation (of all rows that train, each output by itself); predictions are
        in the units of y in either case. Without, as released, the steps of theta grow
        with the square of the unit: on scores from 1 to 70 theta jumps to hundreds in
        one step and stays there.
      start: of a classifier: ``"log_odds"`` of each task, or ``"zero"``, as released.
      subsample: the share of rows in each iteration.
      patience: iterations without a lower validation loss that end a block; None runs
        all.
      validation_fraction: the share of each task's rows that ``patience`` holds out;
        rows of a task with equal features stay together.
      task_column: the column of X with the task, by position, or by name where X is a
        frame, for tools that pass X and y alone; None for the argument ``task`` of
        ``fit``, ``predict`` and ``score``.
      unseen_task: what a task that was not fitted is predicted by, as where a fold of
        a cross-validation lacks a rare one: ``"shared"``: by block 1, the trees of all
        tasks, with a warning that names the task; ``"error"``: it is refused.
      random_state: of theta, subsamples and validation rows: a number or a NumPy
        ``RandomState``; None draws another each time.

    Attributes:
      tasks_: the labels of the tasks, sorted.
      feature_names_in_: the columns of a frame; others later, or in another order, are
        an error.
      feature_importances_: the share of each column of X in what all splits gained, see
        :func:`mtopt.boosting.importances`; 0 for the column of the task.
      outlierness_: sigma(theta) of each.
      target_mean_, target_std_: of the targets, by which a regressor's ``ensemble_``
        learned; 0 and 1 without ``standardize``.
      ensemble_: the :class:`mtopt.boosting.Ensemble`.

    Example:
      >>> X = np.linspace(-1, 1, 40)[:, None]
      >>> task = np.array(["a", "b"] * 20)
      >>> y = np.where(task == "a", 1, -1) * np.sign(X[:, 0])
      >>> model = MultiTaskBoostingRegressor(num_shared=0, learning_rate=1.,
      ...                                    num_task_specific=0, random_state=0)
      >>> print(f"{model.fit(X, y, task=task).score(X, y, task=task):.3f}")
      1.000

      One column of categories, and the task of every row beside it:

      >>> from sklearn.pipeline import make_pipeline
      >>> from sklearn.preprocessing import OneHotEncoder
      >>> colours = np.array([["red"], ["green"], ["blue"]] * 8)
      >>> task = np.arange(24) % 2
      >>> y = np.where(colours[:, 0] == "green", 3., 1.) + task
      >>> encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
      >>> pipe = make_pipeline(encoder, MultiTaskBoostingRegressor(
      ...     num_shared=1, num_partition=0, num_task_specific=1, learning_rate=1.))
      >>> pipe = pipe.fit(colours, y, multitaskboostingregressor__task=task)
      >>> pipe.predict(colours[:3], task=np.array([0, 0, 1])).round(3).tolist()
      [1.0, 3.0, 2.0]

      Several targets of one row, some of them missing, are tasks in long form:

      >>> y = np.stack([X[:, 0], -X[:, 0]], axis=1)
      >>> y[:10, 1] = np.nan
      >>> row, target = np.nonzero(np.isfinite(y))
      >>> model = MultiTaskBoostingRegressor(num_shared=0, num_partition=0)
      >>> len(model.fit(X[row], y[row, target], task=target).predict(X[row], target))
      70
    """

    def fit(
        self, X: Any, y: Any, task: Any = None, sample_weight: Any = None
    ) -> "MultiTaskBoostingRegressor":
        """Fits numbers, or several outputs, and learns the labels of the tasks."""
        X, task = self._rows(X, task, fitting=True)
        weights = read_weights(sample_weight, len(X))
        self._fit(X, read_targets(y, weights), task, weights, None)
        return self

    def predict(self, X: Any, task: Any = None) -> np.ndarray:
        """Predictions; see ``unseen_task`` for a task that was not fitted."""
        return self._call(predict, X, task) * self.target_std_ + self.target_mean_

    def score(
        self, X: Any, y: Any, task: Any = None, sample_weight: Any = None
    ) -> float:
        """The coefficient of determination over all rows."""
        return r2_score(y, self.predict(X, task), sample_weight=sample_weight)


class MultiTaskBoostingClassifier(ClassifierMixin, _MultiTaskBoosting):
    """R-MTGB for two classes or more; see :func:`mtopt.boosting.fit`.

    Args, attributes, NaN and categories are :class:`MultiTaskBoostingRegressor`'s, and
    ``classes_`` the labels of the classes, sorted.

    Example:
      >>> X = np.linspace(-1, 1, 40)[:, None]
      >>> y = np.where(X[:, 0] > 0, "yes", "no")
      >>> model = MultiTaskBoostingClassifier(num_partition=0, num_task_specific=0)
      >>> task = np.arange(40) % 2
      >>> model.fit(X, y, task=task).predict(X[-1:], task=task[-1:]).tolist()
      ['yes']
    """

    def fit(
        self, X: Any, y: Any, task: Any = None, sample_weight: Any = None
    ) -> "MultiTaskBoostingClassifier":
        """Fits classes of any sortable labels, and learns those of the tasks."""
        X, task = self._rows(X, task, fitting=True)
        weights = read_weights(sample_weight, len(X))
        self.classes_, classes = read_classes(y, weights)
        self._fit(X, classes, task, weights, len(self.classes_))
        return self

    def predict(self, X: Any, task: Any = None) -> np.ndarray:
        """The most probable class; see ``unseen_task`` for tasks not fitted."""
        return self.classes_[self._call(predict, X, task)]

    def predict_proba(self, X: Any, task: Any = None) -> Float[np.ndarray, "N K"]:
        """The probability of each of ``classes_``."""
        return self._call(predict_proba, X, task)

    def score(
        self, X: Any, y: Any, task: Any = None, sample_weight: Any = None
    ) -> float:
        """The accuracy over all rows."""
        return accuracy_score(y, self.predict(X, task), sample_weight=sample_weight)


def _shared_block(ensemble: Ensemble) -> Ensemble:
    """What all tasks share: the other blocks say nothing, rows start as one task."""
    blocks = ("outlier", "non_outlier", "task_specific")
    empty = {
        name: jax.tree.map(jnp.zeros_like, getattr(ensemble, name)) for name in blocks
    }
    start = jnp.broadcast_to(ensemble.start[-1], ensemble.start.shape)
    return dataclasses.replace(ensemble, start=start, **empty)


def _filled(array: Any) -> np.ndarray:
    """Rows of zeros up to the next of eight sizes between powers of two."""
    array = np.asarray(array)
    step = 1 << max(0, (len(array) - 1).bit_length() - 4)
    return np.pad(array, [(0, -len(array) % step)] + [(0, 0)] * (array.ndim - 1))
