"""Robust multi-task gradient boosting (R-MTGB) as a learner for tabular tasks."""

from mtopt.boosting.ensemble import Ensemble as Ensemble
from mtopt.boosting.ensemble import decision_function as decision_function
from mtopt.boosting.ensemble import predict as predict
from mtopt.boosting.ensemble import predict_proba as predict_proba
from mtopt.boosting.ensemble import staged_predict as staged_predict
from mtopt.boosting.estimator import (
    MultiTaskBoostingClassifier as MultiTaskBoostingClassifier,
)
from mtopt.boosting.estimator import (
    MultiTaskBoostingRegressor as MultiTaskBoostingRegressor,
)
from mtopt.boosting.importances import importances as importances
from mtopt.boosting.learner import append_task as append_task
from mtopt.boosting.learner import fit as fit
from mtopt.boosting.trees import Trees as Trees
