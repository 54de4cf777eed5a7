r"""One model for a whole Pareto front, beside a model for each of its points.

``python -m experiments.main --experiment=pareto_front``. Every step draws a preference
p over two tasks from a Dirichlet distribution, gives it to the model, and descends a
scalarisation of the losses with it; afterwards the model is asked for any preference.
Beside it stand models of a single point: fixed weightings, one trained for each of
several preferences, and other methods, all with the same number of steps.

The model is a line through weight space: each task has an encoder of its own, and what
runs is their mean with the preference as weights,

.. math:: \theta(p) = \sum_k p_k \theta_k,

a linear hypernetwork that works for every encoder. The heads are the same everywhere.
COSMOS appends p to the input instead; to the features of a network as small as this
one, p so appended hardly moved the losses, unless the cosine forced it to.

What p means depends on the scalarisation. A weighted sum and the smooth Tchebycheff
function lower the loss of a preferred task; the cosine of COSMOS turns the losses
themselves towards p, so that, where it dominates, the preferred loss is the *larger*
one. The column *order* of the table shows which.

References:
  Ruchte and Grabocka, Scalable Pareto Front Approximation for Deep Multi-Objective
  Learning, 2021, arXiv 2103.13392: the training, Dirichlet(1.2), the reference point
  (2, 2). Dimitriadis et al., Pareto Manifold Learning: Tackling Multiple Tasks via
  Ensembles of Single-Task Models, 2022, arXiv 2210.09759: the line of weights, which
  there includes the heads.
"""

from .config import get_config as get_config
from .run import prepare as prepare
