"""Two overlapping digits, both to be named, in a network that has room for one.

``python -m experiments.main --experiment=multi_digits``. The data is scikit-learn's
digits, two on each 10x10 canvas; the tasks are to name the left one and the right one.
It needs no file and no network.
"""

from ..common.config import Config, Optimizer


def get_config() -> Config:
    """Single-task models, two fixed weightings, and the four families.

    F-MTL's radius and Rep-MTL's coefficients are those of the papers' two ablations:
    neither was tuned here. Rep-MTL's smoothing was: without it the runs fall late.
    """
    return Config(
        data="multi_digits",
        model="mlp(hidden=(64, 64))",
        methods=(
            "equal_weighting",
            "fixed_weighting(weights=(0.8, 0.2))",
            "mgda",
            "flat_regions(mgda, rho=1.0, adaptive=True)",
            "log_losses(rep_mtl(equal_weighting(reduction='sum')))",
            "outlier_weighted(equal_weighting)",
        ),
        optimizer=Optimizer(learning_rate=1e-3),
        steps=3000,
        batch_size=128,
        eval_every=150,
        log_every=50,
        checkpoint_every=1500,
    )
