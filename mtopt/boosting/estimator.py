"""The learner as scikit-learn estimators."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted

from mtopt.boosting.ensemble import predict, predict_proba
from mtopt.boosting.learner import fit
from mtopt.errors import UserError, expect


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
        theta_gradient: str = "sum",
        theta_learning_rate: float | None = None,
        subsample: float = 1.0,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        task_column: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.num_shared = num_shared
        self.num_partition = num_partition
        self.num_task_specific = num_task_specific
        self.learning_rate = learning_rate
        self.max_depth = max_depth
        self.theta_gradient = theta_gradient
        self.theta_learning_rate = theta_learning_rate
        self.subsample = subsample
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.task_column = task_column
        self.random_state = random_state

    def _fit(
        self,
        X: Any,
        y: np.ndarray,
        task: Any,
        sample_weight: Any,
        num_classes: int | None,
    ) -> None:
        X, task = self._split(X, task)
        expect(len(y) == len(X), "len(y)", len(y), f"{len(X)}, the rows of X")
        self.tasks_, number = np.unique(task, return_inverse=True)
        self.n_features_in_ = X.shape[1] + (self.task_column is not None)
        random = check_random_state(self.random_state)
        seed = random.randint(np.iinfo(np.int32).max)
        held_out = None
        if self.patience is not None:
            share = self.validation_fraction
            expect(0 < share < 1, "validation_fraction", share, "a number in (0, 1)")
            held_out = _filled(_held_out(number, share, random))
        weights = np.ones(len(X)) if sample_weight is None else sample_weight
        # Rows of weight 0 fill up: folds of nearly equal size compile once.
        self.ensemble_ = fit(
            _filled(X),
            _filled(y),
            _filled(number),
            num_tasks=len(self.tasks_),
            num_shared=self.num_shared,
            num_partition=self.num_partition,
            num_task_specific=self.num_task_specific,
            learning_rate=self.learning_rate,
            num_classes=num_classes,
            max_depth=self.max_depth,
            theta_gradient=self.theta_gradient,
            theta_learning_rate=self.theta_learning_rate,
            weights=_filled(weights),
            subsample=self.subsample,
            validation=held_out,
            patience=self.patience,
            key=jax.random.key(seed),
        )

    @property
    def outlierness_(self) -> np.ndarray:
        """Sigma(theta) of every task, in the order of ``tasks_``."""
        check_is_fitted(self)
        return np.asarray(jax.nn.sigmoid(self.ensemble_.theta))

    def _call(self, function: Callable[..., Array], X: Any, task: Any) -> np.ndarray:
        check_is_fitted(self)
        X, task = self._split(X, task)
        number = np.searchsorted(self.tasks_, task)
        number = np.minimum(number, len(self.tasks_) - 1)
        unknown = np.unique(task[self.tasks_[number] != task])
        if len(unknown):
            raise UserError(
                f"task {unknown.tolist()} was not fitted: expected one of the "
                f"{len(self.tasks_)} in tasks_"
            )
        predicted = function(self.ensemble_, _filled(X), jnp.asarray(_filled(number)))
        return np.asarray(predicted)[: len(X)]

    def _split(self, X: Any, task: Any) -> tuple[np.ndarray, np.ndarray]:
        """The numeric features, and the task of every row."""
        if (task is None) == (self.task_column is None):
            raise UserError(
                "the task of every row comes either as task=... or as a column of X "
                "with task_column=...: give one of them"
            )
        if self.task_column is not None:
            X = np.asarray(X)
            inside = X.ndim == 2 and -X.shape[1] <= self.task_column < X.shape[1]
            expect(inside, "task_column", self.task_column, f"a column of X {X.shape}")
            task = X[:, self.task_column]
            X = np.delete(X, self.task_column, axis=1)
        X = check_array(
            X,
            dtype=np.float32,  # pyright: ignore[reportArgumentType]
            ensure_all_finite="allow-nan",  # pyright: ignore[reportArgumentType]
        )
        task = np.asarray(task)
        expect(task.shape == X.shape[:1], "task.shape", task.shape, f"({len(X)},)")
        return X, task


class MultiTaskBoostingRegressor(RegressorMixin, _MultiTaskBoosting):
    """R-MTGB for regression; see :func:`mtopt.boosting.fit`.

    NaN in X counts as below every number, in training and in predictions. Categories
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
      theta_gradient: ``"sum"`` or ``"mean"`` over a task's rows; standardise y for the
        sum.
      theta_learning_rate: the step of theta; None is ``learning_rate``.
      subsample: the share of rows in each iteration.
      patience: iterations without a lower validation loss that end a block; None runs
        all.
      validation_fraction: the share of each task's rows that ``patience`` holds out.
      task_column: the column of X with the task, for tools that pass X and y alone;
        None for the argument ``task`` of ``fit``, ``predict`` and ``score``.
      random_state: of theta, subsamples and validation rows: a number or a NumPy
        ``RandomState``; None draws another each time.

    Attributes:
      tasks_: the labels of the tasks, sorted.
      outlierness_: sigma(theta) of each.
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
    """

    def fit(
        self, X: Any, y: Any, task: Any = None, sample_weight: Any = None
    ) -> "MultiTaskBoostingRegressor":
        """Fits numbers, or several outputs, and learns the labels of the tasks."""
        y = check_array(y, ensure_2d=False, dtype="numeric")
        self._fit(X, y.astype(np.float32), task, sample_weight, None)
        return self

    def predict(self, X: Any, task: Any = None) -> np.ndarray:
        """Predictions; a task that was not fitted is an error."""
        return self._call(predict, X, task)

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
        self.classes_, classes = np.unique(np.asarray(y), return_inverse=True)
        found = self.classes_.tolist()
        expect(len(found) >= 2, "y", found, "two classes at least")
        self._fit(X, classes, task, sample_weight, len(found))
        return self

    def predict(self, X: Any, task: Any = None) -> np.ndarray:
        """The most probable class; a task that was not fitted is an error."""
        return self.classes_[self._call(predict, X, task)]

    def predict_proba(self, X: Any, task: Any = None) -> Float[np.ndarray, "N K"]:
        """The probability of each of ``classes_``."""
        return self._call(predict_proba, X, task)

    def score(
        self, X: Any, y: Any, task: Any = None, sample_weight: Any = None
    ) -> float:
        """The accuracy over all rows."""
        return accuracy_score(y, self.predict(X, task), sample_weight=sample_weight)


def _held_out(
    task: Int[np.ndarray, " N"], share: float, random: np.random.RandomState
) -> Bool[np.ndarray, " N"]:
    """A share of the rows of every task, never all of them."""
    chosen = np.zeros(len(task), bool)
    for number in range(task.max() + 1):
        rows = random.permutation(np.flatnonzero(task == number))
        chosen[rows[: min(len(rows) - 1, round(share * len(rows)))]] = True
    return chosen


def _filled(array: Any) -> np.ndarray:
    """Rows of zeros up to the next of eight sizes between powers of two."""
    array = np.asarray(array)
    step = 1 << max(0, (len(array) - 1).bit_length() - 4)
    return np.pad(array, [(0, -len(array) % step)] + [(0, 0)] * (array.ndim - 1))
