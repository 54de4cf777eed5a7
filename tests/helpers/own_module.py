"""What a user may have in a module: a model, a data set, a method, and misfits."""

import contextlib
import importlib
import sys

SOURCE = '''
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import mtopt
from mtopt.data import ArraySplit, Dataset
from mtopt.metrics import Metric
from mtopt.models import functional
from mtopt.models.heads import linear_head


def tiny(input_shape, *, names, kind, outputs, x_axis, dtype, width=8):
    """One layer with tanh."""
    size = int(np.prod(input_shape))

    class Encoder(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(size, width, rngs=rngs)

        def __call__(self, x):
            return jnp.tanh(self.layer(x.reshape(len(x), -1)))

    head = linear_head(width, outputs, kind=kind)
    return functional(
        lambda rngs: Encoder(rngs), head, names, kind=kind, x_axis=x_axis
    )


def waves(samples=60):
    """Two functions of a number."""
    x = np.linspace(0, 6, samples, dtype=np.float32)[:, None]
    labels = {"cosine": np.cos(x[:, 0]), "sine": np.sin(x[:, 0])}
    split = ArraySplit(mtopt.Batch.shared(x, labels), None)
    tasks = "cosine", "sine"
    return Dataset("waves", tasks, "regression", 1, None, split, split, split)


def last(num_tasks):
    """The last task alone."""
    weights = jnp.eye(num_tasks)[-1]
    weigh = lambda memory, evaluation: (weights, memory)
    return mtopt.weighting(num_tasks, weigh, heads="weighted")


def deviance(outputs, targets, mask):
    rate, y = np.exp(outputs[mask]), targets[mask]
    return float(2 * np.mean(y * np.log((y + (y == 0)) / rate) - (y - rate)))


poisson = mtopt.Kind(
    loss=lambda outputs, targets: jnp.exp(outputs) - targets * outputs,
    metrics=(Metric("deviance", False, deviance),),
    label=np.exp,
    columns=1,
)


def right(outputs, targets, mask):
    return float((outputs.argmax(-1) == targets)[mask].mean())


focal = mtopt.Kind(
    loss=lambda outputs, targets: -jnp.take_along_axis(
        (1 - jax.nn.softmax(outputs)) ** 2 * jax.nn.log_softmax(outputs),
        targets[:, None],
        axis=1,
    )[:, 0],
    metrics=(Metric("right", True, right),),
    label=lambda outputs: outputs.argmax(-1),
    probabilities=jax.nn.softmax,
    integers=True,
)

one_loss = mtopt.Kind(
    loss=lambda outputs, targets: jnp.mean((outputs - targets) ** 2),
    metrics=(Metric("deviance", False, deviance),),
    label=np.exp,
    columns=1,
)


def without_names(input_shape, *, kind):
    return None


def nothing(input_shape=None, **rest):
    return None
'''


@contextlib.contextmanager
def own_module(folder, monkeypatch):
    """``mine.py`` in a folder from which Python imports, as long as this lasts."""
    (folder / "mine.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("mine", None)
