"""Multi-task optimization in JAX: every method is one optax object."""

from mtopt import solvers as solvers
from mtopt.aggregation import Aggregator as Aggregator
from mtopt.aggregation import on_gramian as on_gramian
from mtopt.aggregation import row_weighting as row_weighting
from mtopt.aggregation import weighting as weighting
from mtopt.average_parameters import average_parameters as average_parameters
from mtopt.batch import Batch as Batch
from mtopt.batch import masked_mean as masked_mean
from mtopt.beside import Beside as Beside
from mtopt.chain import chain as chain
from mtopt.constants import freeze as freeze
from mtopt.constants import thaw as thaw
from mtopt.devices import Devices as Devices
from mtopt.errors import UserError as UserError
from mtopt.evaluation import Evaluation as Evaluation
from mtopt.grammar import method as method
from mtopt.kind import Kind as Kind
from mtopt.linalg import combine as combine
from mtopt.linalg import gramian as gramian
from mtopt.linear_problem import linear_problem as linear_problem
from mtopt.loading import load as load
from mtopt.methods import *  # noqa: F403
from mtopt.nonfinite import NonFinite as NonFinite
from mtopt.nonfinite import check_finite as check_finite
from mtopt.own_statistics import OwnStatistics as OwnStatistics
from mtopt.per_task import PerTask as PerTask
from mtopt.problem import Problem as Problem
from mtopt.rule import Rule as Rule
from mtopt.rule import Solution as Solution
from mtopt.scale_tasks import scale_tasks as scale_tasks
from mtopt.stationary import Stationary as Stationary
from mtopt.step import TrainState as TrainState
from mtopt.step import make_train_step as make_train_step
from mtopt.task import Task as Task
from mtopt.tasks import TaskGroups as TaskGroups
from mtopt.tasks import Tasks as Tasks
from mtopt.transforms import TRANSFORMS as TRANSFORMS
from mtopt.transforms import normalize_rows as normalize_rows
from mtopt.transforms import per_task_sam as per_task_sam
from mtopt.transforms import sam as sam
from mtopt.transforms import task_momentum as task_momentum
from mtopt.transforms.task_momentum import undo_momentum as undo_momentum
from mtopt.wrappers import WRAPPERS as WRAPPERS
from mtopt.wrappers import flat_regions as flat_regions
from mtopt.wrappers import log_losses as log_losses
from mtopt.wrappers import offset_losses as offset_losses
from mtopt.wrappers import outlier_weighted as outlier_weighted
from mtopt.wrappers import rep_mtl as rep_mtl
from mtopt.wrappers import smoothed_weights as smoothed_weights
from mtopt.wrappers import weights_every as weights_every
from mtopt.wrappers import without_stationary as without_stationary
from mtopt.wrappers.add_penalty import add_penalty as add_penalty
from mtopt.wrappers.saliency import (
    cross_task_saliency_alignment as cross_task_saliency_alignment,
)
from mtopt.wrappers.saliency import task_saliency as task_saliency
from mtopt.wrappers.saliency import task_saliency_regulation as task_saliency_regulation

__version__ = "0.1.0"
