"""Small models on a data set, trained as the runner trains, and where they are."""

import optax

import mtopt
from mtopt.trained.description import ModelDescription
from mtopt.trained.stored import StoredModels, write_models
from mtopt.training.fit import FitOptions, fit
from mtopt.training.program import separate_program, shared_program

OPTIONS = FitOptions(
    steps=4, log_every=4, checkpoint_every=4, batch_size=8, eval_every=2
)
TINY = "mlp(hidden=(6,))"


def trained(folder, dataset, *, text=TINY, seeds=(0,)):
    """A run of one method on ``dataset``: its program, and what training returned."""
    described = ModelDescription.of(text, dataset)
    tx = mtopt.chain(mtopt.equal_weighting(len(dataset.tasks)), optax.adam(0.05))
    program = shared_program(described.model(), tx, len(seeds))
    write_models(folder, described, [StoredModels("ours", "ours", seeds)])
    return program, fit(program, dataset, OPTIONS, folder / "ours", seeds=seeds)


def trained_apart(folder, dataset, *, text=TINY, seeds=(0,)):
    """As :func:`trained`, with a model for every task."""
    described = ModelDescription.of(text, dataset)
    (group,) = described.groups
    model = group.model(text, "float32", names=("task",))
    tx = mtopt.chain(mtopt.equal_weighting(1), optax.adam(0.05))
    program = separate_program(model, tx, dataset.tasks, len(seeds))
    write_models(folder, described, [StoredModels("apart", "apart", seeds, 0)])
    return program, fit(program, dataset, OPTIONS, folder / "apart", seeds=seeds)
