"""Any set that tensorflow-datasets has prepared, as :func:`mtopt.data.tfds`.

``python -m experiments.main --experiment=tfds --dataset=shapes3d --tasks='label_*'``.
The set is looked for in ``--data_dir`` where that is set, else where tfds keeps its
own; one that is not prepared ends in a line with the command that does it. ``--tasks``
names features, or patterns of them such as ``attributes/*`` of ``celeb_a``; without it
all classes and truth values are tasks. Several sets are tasks with images of their
own::

  --dataset=domainnet/real,domainnet/sketch
  --config.data="tfds(name='domainnet/real,domainnet/sketch', size=64)"

The network takes images; of other arrays, ``--model='mlp(hidden=(128, 64))'``.
"""

from ..common.config import Config, Optimizer


def get_config() -> Config:
    """A narrow ResNet on images, at a budget of two cores."""
    return Config(
        data="tfds",
        model="resnet18(width=16)",
        methods=("equal_weighting", "mgda"),
        optimizer=Optimizer(learning_rate=1e-3, schedule="cosine_decay"),
        seeds=(0,),
        steps=2000,
        batch_size=128,
        eval_every=200,
        log_every=25,
        checkpoint_every=500,
        stack_seeds=False,
    )
