"""R-MTGB on its synthetic tasks: outliers are found, and cost the others nothing.

``python -m experiments.main --experiment=robust_boosting_synthetic``. Every repeat
draws the tasks of a scenario anew, see :mod:`mtopt.data.tables.boosting_scenarios`; by
default it is the fourth: eight tasks share a function and two have another.
``--config.scenario=1`` to ``3`` has no outliers, ``--config.kind=classification``
predicts the sign. Options go with the learner: ``--method="r_mtgb(num_partition=30)"
--method="r_mtgb(theta_learning_rate=0)"`` sets another theta that moves beside one that
does not. ``--config.search`` chooses the iterations of every repeat and learner by
5-fold cross-validation over the paper's grids, in which a count that is given stays.

The default takes half a minute on a CPU with two cores, almost all of it compiling, and
the paper's 100 repeats, ``--config.repeats=100``, 70 s. A search compiles 12 programs
for ``r_mtgb``: 2.5 minutes for three repeats of that and ``stl``.

The paper plots its scores. Beside ours are those of a reference with the semantics of
the released code and the same settings, on ten and on twenty other draws: mean test
RMSE of all, regular and outlier tasks.

===============  ============  =================  =================  =================
learner          (n1, n2, n3)  reference, 10      reference, 20      ours, 100
===============  ============  =================  =================  =================
r_mtgb           (0, 50, 0)    .417  .412  .434   .442  .437  .451   .441  .438  .445
mtgb             (30, 0, 20)   .458  .450  .488   .483  .472  .509   .481  .475  .496
stl              (0, 0, 30)    .462  .460  .466   .490  .487  .489   .488  .489  .476
pooling          (50, 0, 0)    .598  .473  .935   .607  .493  .917   .640  .506  1.000
task_as_feature  (50, 0, 0)                                          .552  .473  .783
===============  ============  =================  =================  =================

The deviation between draws is .06 to .07, .14 for ``pooling``. ``r_mtgb`` was best in
all 100, and told the outliers apart in all. In classification it is no better than
``mtgb``: accuracy .821 and .821 over 20 draws, ``stl`` .814; the reference had .818,
.820 and .815 over ten.

Where no outliers are planted, 20 draws each at the same settings, mean test RMSE:

==================================  ======  =====  =====  =======  ===============
scenario                            r_mtgb  mtgb   stl    pooling  task_as_feature
==================================  ======  =====  =====  =======  ===============
1, one function                     .461    .505   .525   .465     .465
2, independent functions            .817    .540   .528   .994     .785
3, a common function, an own tenth  .422    .456   .474   .429     .426
==================================  ======  =====  =====  =======  ===============

In 1 there is nothing to find: the percent by which ``r_mtgb`` beats ``pooling`` is that
of steps of half the size, and ``pooling`` at half the rate is better still
(``tests/boosting``). In 2 two ensembles can't stand for ten functions,
and these settings have no block 3 that could; ``stl`` is best in all draws.

Ranks are of tasks: each task of each repeat is a case. Those of one repeat share
functions, so that they are not as independent as the critical difference takes them to
be.
"""

from .config import get_config as get_config
from .run import prepare as prepare
