"""R-MTGB on the tables of its paper: school, computer, landmine, abalone, bank, avila.

``python -m experiments.main --experiment=robust_boosting_real --data_dir=DIR``, where
DIR holds ``NAME/data.npz`` with the arrays ``x`` ``[N, D]``, ``y`` ``[N]`` and ``task``
``[N]``: numbers, or classes 0 to C - 1. All sets of the paper that DIR has are run, or
those of ``--config.data="('school', 'bank')"``. The split is the paper's, a random
fifth of the rows for testing; ``--config.seeds`` are those of theta, for the learners
that have one. Options go with the learner, as in
:mod:`experiments.robust_boosting.synthetic`, and ``--config.search`` chooses iterations
by 5-fold cross-validation over the paper's grids.

Without it they are fixed to what that search chose: on school, computer, abalone,
landmine and, but for ``r_mtgb``, bank (6 to 11 minutes a set with three seeds, on two
busy cores). ``r_mtgb`` has the published ones on bank, avila and parkinson, and the
search found them again on school and abalone. Those of the other learners on avila and
parkinson are inferred by analogy with the other sets.

The six sets take 4 minutes on a CPU with two cores, most of it compiling. Test RMSE, or
accuracy from landmine on, published and ours; of ``r_mtgb`` the mean of three seeds:

========  ============= ============= ============= ============= ===============
data      r_mtgb        mtgb          stl           pooling       task_as_feature
========  ============= ============= ============= ============= ===============
school    10.169 10.165 10.193 10.193 10.347 10.345 10.445 10.445 10.429 10.429
computer  2.518 1.949   2.541 1.964   2.798 2.056   2.513 2.513   2.449 2.449
abalone   2.302 2.305   2.323 2.323   2.364 2.364   2.444 2.444   2.420 2.420
landmine  .9443 .9439   .9443 .9440   .9450 .9443   .9376 .9376   .9376 .9376
bank      .8924 .8923   .8912 .8912   .8893 .8893   .8859 .8859   .8859 .8859
avila     .5689 .6049   .5531 .5898   .5722 .6562   .4895 .4990   .4408 .5055
========  ============= ============= ============= ============= ===============

With its published settings ``r_mtgb`` has 2.528 on computer, (50, 30, 0), and .9443 on
landmine, (50, 50, 50); the searched ones give all shown.

Regression learns standardised targets, ``--config.standardize=false`` the raw ones, as
published; errors are in units of the target in either case.

Where ours differ:

- computer: 4 of the 190 tasks have no test row, and the released code then gives the
  rows of other tasks a wrong task's trees. Ours read that way, after 20 iterations of
  ``stl`` on raw targets, have the published 2.798; read rightly 2.172. That may be why
  ``r_mtgb`` and ``mtgb`` were published without block 3; here the search gives both 20
  iterations of it, and a fifth less error.
- landmine: ``stl``, ``mtgb`` and ``r_mtgb`` differ by one or two of 2,964 rows.
- avila was published on another split, on which its order can't be checked.
- Ranks over all 415 tasks, 190 of them computer's: ``r_mtgb`` 2.46, ``mtgb`` 2.64,
  ``stl`` 2.84, ``pooling`` 3.48, ``task_as_feature`` 3.58, critical difference .30:
  ``r_mtgb`` is first, as it was published to be over other tasks, but not
  significantly before ``mtgb``.
"""

from .config import get_config as get_config
from .run import prepare as prepare
