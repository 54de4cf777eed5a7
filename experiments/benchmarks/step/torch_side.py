"""Steps in PyTorch: the plain one, TorchJD's two engines, and a loop over tasks.

PyTorch and TorchJD come with the extra ``bench``, and are imported where they are used.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from . import torch_models
from .cells import Cell, numbers
from .one_by_one import RULES
from .program import Known, Program


class Theirs(NamedTuple):
    """TorchJD's names of a method, and its options.

    Attributes:
      aggregator: of a Jacobian.
      weighting: of a Gramian; None where a method reads the rows.
      options: those of both.
    """

    aggregator: str
    weighting: str | None = None
    options: tuple[tuple[str, Any], ...] = ()


THEIRS = {
    "equal_weighting": Theirs("Mean", "MeanWeighting"),
    "mgda": Theirs("MGDA", "MGDAWeighting"),
    "upgrad": Theirs("UPGrad", "UPGradWeighting"),
    "dualproj": Theirs("DualProj", "DualProjWeighting"),
    "cagrad(c=0.5)": Theirs("CAGrad", "CAGradWeighting", (("c", 0.5),)),
    "pcgrad": Theirs("PCGrad", "PCGradWeighting"),
    "imtl_g": Theirs("IMTLG", "IMTLGWeighting"),
    "aligned_mtl": Theirs("AlignedMTL", "AlignedMTLWeighting"),
    "fairgrad": Theirs("FairGrad", "FairGradWeighting", (("alpha", 2.0),)),
    "nash_mtl": Theirs("NashMTL"),
    "conflict_free": Theirs("ConFIG"),
    "graddrop": Theirs("GradDrop"),
    "trimmed_mean": Theirs("TrimmedMean", None, (("trim_number", 1),)),
}
"""Method of ours, as text, to TorchJD's of the same options."""


class Model(NamedTuple):
    """What all steps share: parts, optimizer, batch."""

    trunk: Any
    heads: Any
    optimizer: Any
    x: Any
    labels: list[Any]
    losses: Callable[[Any], list[Any]]


def columns(method: str) -> tuple[str, ...]:
    """The programs that a method has on this side."""
    theirs = THEIRS.get(method)
    found = [] if theirs is None else ["autojac"]
    found += ["autogram"] if theirs is not None and theirs.weighting else []
    return (*found, *(["one by one"] if method in RULES else []))


def build(cell: Cell, column: str, method: str) -> Program:
    """The step of a column: ``plain``, ``autojac``, ``autogram`` or ``one by one``."""
    import torch  # pyright: ignore[reportMissingImports]

    accelerated = torch.cuda.is_available()
    device = "cuda" if accelerated else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(1)
    torch.manual_seed(0)
    once = STEPS[column](_model(cell, device), method)

    def run(count: int) -> None:
        for _ in range(count):
            once()
        if accelerated:
            torch.cuda.synchronize()

    def peak() -> int | None:
        return torch.cuda.max_memory_allocated() if accelerated else None

    return Program(run, Known(), device, peak)


def plain(model: Model, _: str) -> Callable[[], None]:
    """The mean loss, taken back once."""
    import torch  # pyright: ignore[reportMissingImports]

    def once() -> None:
        loss = torch.stack(model.losses(model.trunk(model.x))).mean()
        model.optimizer.zero_grad()
        loss.backward()
        model.optimizer.step()

    return once


def autojac(model: Model, method: str) -> Callable[[], None]:
    """TorchJD's Jacobian of the shared parameters, and its aggregator."""
    from torchjd.autojac import (  # pyright: ignore[reportMissingImports]
        jac_to_grad,
        mtl_backward,
    )

    theirs = THEIRS[method]
    aggregator = _made(theirs.aggregator, theirs, len(model.labels))

    def once() -> None:
        features = model.trunk(model.x)
        losses = model.losses(features)
        model.optimizer.zero_grad()
        mtl_backward(losses, features=features)
        jac_to_grad(model.trunk.parameters(), aggregator)
        model.optimizer.step()

    return once


def autogram(model: Model, method: str) -> Callable[[], None]:
    """TorchJD's Gramian, its weighting, and the weighted loss taken back.

    Heads take the gradients of the weighted loss: one pass serves all parameters.
    """
    import torch  # pyright: ignore[reportMissingImports]
    from torchjd.autogram import Engine  # pyright: ignore[reportMissingImports]

    theirs = THEIRS[method]
    if theirs.weighting is None:
        raise ValueError(f"{method} has no weighting in TorchJD")
    weighting = _made(theirs.weighting, theirs, len(model.labels))
    engine = Engine(model.trunk, batch_dim=None)

    def once() -> None:
        losses = torch.stack(model.losses(model.trunk(model.x)))
        model.optimizer.zero_grad()
        weights = weighting(engine.compute_gramian(losses).detach())
        losses.backward(weights)
        model.optimizer.step()

    return once


def one_by_one(model: Model, method: str) -> Callable[[], None]:
    """A backward pass a task into a flat vector, weights on the CPU, their sum."""
    import torch  # pyright: ignore[reportMissingImports]

    shared, rule = list(model.trunk.parameters()), RULES[method]

    def once() -> None:
        losses = model.losses(model.trunk(model.x))
        model.optimizer.zero_grad()
        rows = []
        for loss in losses:
            for parameter in shared:
                parameter.grad = None
            # What a head gets is from its own loss alone, and stays.
            loss.backward(retain_graph=True)
            rows.append(torch.cat([parameter.grad.flatten() for parameter in shared]))
        matrix = torch.stack(rows)
        gramian = (matrix @ matrix.T).cpu().double().numpy()
        weights = torch.from_numpy(rule(gramian)).to(matrix)
        direction, at = weights @ matrix, 0
        for parameter in shared:
            end = at + parameter.numel()
            parameter.grad = direction[at:end].view_as(parameter)
            at = end
        model.optimizer.step()

    return once


STEPS = {
    "plain": plain,
    "autojac": autojac,
    "autogram": autogram,
    "one by one": one_by_one,
}


def _model(cell: Cell, device: str) -> Model:
    import torch  # pyright: ignore[reportMissingImports]

    x, y = map(torch.from_numpy, numbers(cell))
    if x.ndim == 4:
        x = x.permute(0, 3, 1, 2).contiguous()
    labels = list((y if cell.network.kind == "binary" else y.long()).to(device))
    trunk = torch_models.trunk(cell).to(device)
    parts = [torch_models.head(cell) for _ in range(cell.tasks)]
    heads = torch.nn.ModuleList(parts).to(device)
    optimizer = torch.optim.Adam([*trunk.parameters(), *heads.parameters()], 1e-3)
    loss = functools.partial(torch_models.loss, cell)

    def losses(features: Any) -> list[Any]:
        return [
            loss(head(features), own) for head, own in zip(heads, labels, strict=True)
        ]

    return Model(trunk, heads, optimizer, x.to(device), labels, losses)


def _made(name: str, theirs: Theirs, num_tasks: int) -> Any:
    from torchjd import aggregation  # pyright: ignore[reportMissingImports]

    options = dict(theirs.options)
    if name == "NashMTL":
        options["n_tasks"] = num_tasks
    return getattr(aggregation, name)(**options)
