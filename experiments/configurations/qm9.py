"""QM9: eleven properties of small molecules, by messages between their atoms.

``python -m experiments.main --experiment=qm9 --data_dir=DIR``, where DIR is a folder in
which tfds has prepared ``qm9/dimenet`` as array_record. The protocol of the lineage
(Nash-MTL, LibMTL) is 300 epochs of batches of 120 with Adam at 1e-3, multiplied by 0.7
where validation stands still; here are 20 epochs and a cosine, for an accelerator or a
long night of two cores::

  --config.steps=275000
"""

from ..common.config import Config, Optimizer


def get_config() -> Config:
    """Continuous filters: equal weighting and MGDA, beside a model per task."""
    return Config(
        data="qm9",
        model="message_passing",
        methods=("equal_weighting", "mgda"),
        optimizer=Optimizer(learning_rate=1e-3, schedule="cosine_decay"),
        seeds=(0,),
        steps=18_000,
        batch_size=120,
        eval_every=900,
        log_every=100,
        checkpoint_every=900,
        choose_by="mae",
        stack_seeds=False,
    )
