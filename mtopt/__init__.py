"""Multi-task optimization in JAX: every method is one optax object."""

from mtopt import solvers as solvers
from mtopt.aggregation import on_gramian as on_gramian
from mtopt.aggregation import row_weighting as row_weighting
from mtopt.aggregation import weighting as weighting
from mtopt.batch import Batch as Batch
from mtopt.batch import masked_mean as masked_mean
from mtopt.chain import chain as chain
from mtopt.errors import UserError as UserError
from mtopt.linalg import combine as combine
from mtopt.linalg import gramian as gramian
from mtopt.linear import linear_problem as linear_problem
from mtopt.linear import linear_update as linear_update
from mtopt.methods import METHODS as METHODS
from mtopt.methods.equal_weighting import equal_weighting as equal_weighting
from mtopt.methods.fixed_weighting import fixed_weighting as fixed_weighting
from mtopt.methods.mgda import mgda as mgda
from mtopt.methods.single_task import single_task as single_task
from mtopt.per_task import PerTask as PerTask
from mtopt.problem import Problem as Problem
from mtopt.step import TrainState as TrainState
from mtopt.step import make_train_step as make_train_step
from mtopt.tasks import TaskGroups as TaskGroups
from mtopt.tasks import Tasks as Tasks

__version__ = "0.1.0"
