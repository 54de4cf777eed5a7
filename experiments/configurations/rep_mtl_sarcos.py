r"""Rep-MTL on SARCOS: alignment at a coefficient that validation data chose.

``python -m experiments.main --experiment=rep_mtl_sarcos --data_dir=DIR``, where DIR is
as for ``sarcos``. Seeds 10 to 13 have chosen the coefficient of CSA on validation data,
1 of 0.3, 1, 3, 10 and 30, and seeds 0 to 9 test it::

  --config.seeds="(10, 11, 12, 13)" --config.paired=1
  --method="log_losses(equal_weighting(reduction='sum'))"
  --method="log_losses(rep_mtl(equal_weighting(reduction='sum'), tsr=0, csa=C))" ...

A set that had no part in the choice::

  --config.data="npz(path='mulan_mtr/enb.npz', kind='regression')"

Batches have 64 samples: CSA compares every sample of a batch with every other.
"""

import dataclasses

from ..common.config import Config
from . import sarcos
from .rep_mtl_multi_mnist import DETACHED, LOGS, SUM

CSA = 1.0


def get_config() -> Config:
    """The MLP of ``sarcos``; alignment beside its controls, and TSR."""
    return dataclasses.replace(
        sarcos.get_config(),
        methods=(
            LOGS,
            DETACHED,
            f"log_losses(rep_mtl({SUM}, tsr=0, csa={CSA}, control='shuffled'))",
            f"log_losses(rep_mtl({SUM}, tsr=0, csa={CSA}))",
            f"log_losses(rep_mtl({SUM}, csa=0))",
        ),
        batch_size=64,
        seeds=tuple(range(10)),
        single_task=False,
        paired=3,
    )
