"""Architectures of as many parameters on census income, the set of MMoE's paper.

``python -m experiments.main --experiment=architectures_census --data_dir=DIR``, where
DIR holds ``census_income_kdd/data.npz``. On all training samples:
``--config.rows=0 --config.steps=2700``, as many passes over them.
"""

from ..architectures.config import Config
from ..common.config import Optimizer


def get_config() -> Config:
    """Twelve architectures, three methods, 20,000 training samples, three seeds."""
    return Config(
        data=("npz(path='census_income_kdd/data.npz')",),
        models=(
            "mlp(hidden=(75, 32))",
            "one_gate(experts=4, hidden=(18, 32))",
            "mmoe(experts=4, hidden=(16, 32))",
            "cgc(experts=2, own_experts=1, hidden=(13, 32))",
            "dselect_k(experts=4, selectors=2, hidden=(19, 32))",
            "ple(experts=1, own_experts=1, hidden=(14, 36))",
            "cross_stitch(encoder='mlp(hidden=(25, 32))')",
            "home(hidden=(23, 32), rank=0)",
            "task_expert(hidden=(64, 32), experts=2, width=16)",
            "skills(width=64, hidden=13, layers=1)",
            "field_gate(hidden=(62, 32), reduction=240.0)",
            "set_attention(width=8, gate=29)",
        ),
        redrawn=False,
        rows=20_000,
        seeds=(0, 1, 2),
        optimizer=Optimizer("adam", 2e-3, "cosine_decay"),
        steps=800,
        batch_size=256,
        log_every=400,
        checkpoint_every=800,
    )
