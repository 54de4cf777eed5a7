r"""Rep-MTL on SARCOS: alignment at a coefficient that validation data chose.

``python -m experiments.main --experiment=rep_mtl_sarcos --data_dir=DIR``, where DIR is
as for ``sarcos``. Seeds 0 to 9 test what seeds 10 to 13 have chosen::

  --config.seeds="(10, 11, 12, 13)" --config.paired=1
  --method="log_losses(equal_weighting(reduction='sum'))"
  --method="log_losses(rep_mtl(equal_weighting(reduction='sum'), tsr=0, csa=C))" ...
"""

import dataclasses

from ..common.config import Config
from . import sarcos
from .rep_mtl_multi_mnist import DETACHED, LOGS, SUM

CSA = 3.0


def get_config() -> Config:
    """The MLP of ``sarcos``; alignment beside its two controls, and both penalties."""
    return dataclasses.replace(
        sarcos.get_config(),
        methods=(
            LOGS,
            DETACHED,
            f"log_losses(rep_mtl({SUM}, tsr=0, csa={CSA}, control='shuffled'))",
            f"log_losses(rep_mtl({SUM}, tsr=0, csa={CSA}))",
            f"log_losses(rep_mtl({SUM}, csa=0))",
            f"log_losses(rep_mtl({SUM}))",
        ),
        batch_size=64,
        seeds=tuple(range(10)),
        single_task=False,
        paired=2,
    )
