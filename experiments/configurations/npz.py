"""Your own arrays: any ``.npz`` file in the format of :func:`mtopt.data.npz`.

``python -m experiments.main --experiment=npz
--config.data="npz(path='mine.npz')"``. A relative path is looked up in ``--data_dir``
where that is set. The run prints what it understood the file to be, and keeps it as
``data.json``; where the kind of the labels is not clear it asks for one,
``npz(path='mine.npz', kind='classification')``.

Columns of several kinds, and several files, are trained together, and each kind of
label has its own columns of the table::

  --config.data="npz(path='mine.npz', kind={'stage': 'ordinal'})"
  --config.data="join(npz(path='mine.npz'), npz(path='other.npz'))"

The options of ``join``, such as ``batch_size=(64, 256)`` or ``pool=True``, are those of
:func:`mtopt.data.join`.
"""

from ..common.config import Config, Optimizer


def get_config() -> Config:
    """An MLP on tabular data; the other npz experiments start from it."""
    return Config(
        data="npz",
        model="mlp(hidden=(128, 64))",
        methods=("equal_weighting", "mgda"),
        optimizer=Optimizer("adamw(weight_decay=1e-4)", 1e-3, "cosine_decay"),
        steps=2000,
        batch_size=256,
        eval_every=200,
        log_every=50,
        checkpoint_every=1000,
    )
