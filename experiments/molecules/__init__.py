"""Molecules of several assays: what a source gives one of few labels, and its control.

``python -m experiments.main --experiment=molecules --data_dir=DIR``, where DIR holds
``tox21/data.npz``, ``qm8/data.npz`` and ``chembl_5thresh/data.npz``. The twelve assays
of tox21 are trained alone and beside another source on one encoder, on 300 molecules
and on all. Each source stands there a second time with its labels permuted among its
molecules: what it still gives then is not in its labels.
"""

from .config import get_config as get_config
from .run import prepare as prepare
