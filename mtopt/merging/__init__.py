"""Merging: one model of several that were tuned from one base, without their data.

Every function here is pure, of trees of parameters: a base, and *task vectors*, what
tuning added to it, with leaves ``[n, ...]``. :func:`merged` makes a model of them whose
shared parameters are the coefficients, which any method of the list trains.
"""

from mtopt.merging.arithmetic import average as average
from mtopt.merging.arithmetic import task_arithmetic as task_arithmetic
from mtopt.merging.dare import dare as dare
from mtopt.merging.fisher import fisher as fisher
from mtopt.merging.merged import merged as merged
from mtopt.merging.scaling import Scaling as Scaling
from mtopt.merging.scaling import blockwise as blockwise
from mtopt.merging.scaling import isotropic as isotropic
from mtopt.merging.slerp import slerp as slerp
from mtopt.merging.task_vectors import task_vectors as task_vectors
from mtopt.merging.ties import ties as ties
