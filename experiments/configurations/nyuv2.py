"""NYUv2: classes, depth and normals of the pixels of rooms, from the files of MTAN.

``python -m experiments.main --experiment=nyuv2 --data_dir=DIR``, where DIR holds
``nyuv2/train`` and ``nyuv2/val`` as :func:`mtopt.data.nyuv2` reads them. It takes a
GPU: ``--estimate`` says how long.

The protocol is that of Navon et al. (Multi-Task Learning as a Bargaining Game, 2022,
arXiv 2202.01017), after Liu, Johns and Davison (End-to-End Multi-Task Learning with
Attention, 2019, arXiv 1803.10704): MTAN on SegNet, batches of 2, Adam at 1e-4 and half
of it after 100 of 200 epochs, random scale, crop and flip, three seeds. Two things
differ. A tenth of the training images is left to validation, which chooses the model;
theirs are all trained on, and scores are means of the last ten epochs on the test part.
And a score is over all pixels of the part, theirs of depth and normals are means over
batches; see :mod:`mtopt.metrics.pixels`. Trained on all images, and tested as theirs
are::

  --config.data="augmented(nyuv2(folder='nyuv2', valid_fraction=0),
  by='scale_crop + flip')" --config.steps=79600 --config.eval_every=398
  --config.test_looks=10
  --config.optimizer.schedule="piecewise_constant(boundaries_and_scales={39800: 0.5})"
"""

from ..common.config import Config, Optimizer


def get_config() -> Config:
    """MTAN on SegNet, by the methods of the published table."""
    epoch = 358  # of 715 images
    halved = f"piecewise_constant(boundaries_and_scales={{{100 * epoch}: 0.5}})"
    return Config(
        data="augmented(nyuv2(folder='nyuv2'), by='scale_crop + flip')",
        model="mtan(network='segnet')",
        methods=(
            "equal_weighting",
            "uncertainty_weighting",
            "dynamic_weight_average",
            "mgda",
            "pcgrad",
            "cagrad",
            "imtl_g",
            "nash_mtl",
            "famo",
        ),
        optimizer=Optimizer(learning_rate=1e-4, schedule=halved),
        steps=200 * epoch,
        batch_size=2,
        eval_every=epoch,
        log_every=50,
        checkpoint_every=10 * epoch,
        stack_seeds=False,
    )
