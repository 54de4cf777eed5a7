"""The models of the benchmark in PyTorch: the layers and sizes of mtopt's.

PyTorch comes with the extra ``bench``, and is imported where it is used.
"""

import itertools
from typing import Any

from .cells import HIDDEN, WIDTH, Cell

WIDTHS = (64, 64, 64, 128, 128, 256, 256, 512, 512)  # ResNet-18, before and after
LENET_FEATURES = 20 * 6 * 6  # of 36 x 36 pixels
SEGNET = tuple(WIDTH * growth for growth in (1, 2, 4, 8, 8))
SEGNET_DEPTHS = (2, 2, 3, 3, 3)


def trunk(cell: Cell) -> Any:
    """The shared part, from channels first to features."""
    from torch import nn  # pyright: ignore[reportMissingImports]

    if cell.model == "mlp":
        first, second = HIDDEN
        return nn.Sequential(
            nn.Linear(cell.network.shape[0], first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
        )
    if cell.model == "lenet":
        return nn.Sequential(
            nn.Conv2d(1, 10, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(10, 20, 5),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(LENET_FEATURES, 50),
            nn.ReLU(),
        )
    if cell.model == "segnet":
        return segnet()
    stem = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    blocks = [residual_block(*pair) for pair in itertools.pairwise(WIDTHS)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def residual_block(before: int, after: int) -> Any:
    """Two convolutions and a way around them, halving the image where it widens."""
    from torch import nn  # pyright: ignore[reportMissingImports]

    def convolution(channels: int, size: int, stride: int) -> list[Any]:
        layer = nn.Conv2d(channels, after, size, stride, size // 2, bias=False)
        return [layer, nn.BatchNorm2d(after)]

    stride = after // before

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(
                *convolution(before, 3, stride), nn.ReLU(), *convolution(after, 3, 1)
            )
            around = convolution(before, 1, stride) if stride > 1 else []
            self.around = nn.Sequential(*around)

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(self.inner(x) + self.around(x))

    return Block()


def segnet() -> Any:
    """Blocks of convolutions down to a 32nd of the resolution, and back up."""
    from torch import nn  # pyright: ignore[reportMissingImports]

    def block(before: int, after: int, depth: int) -> Any:
        layers: list[Any] = []
        for channels in (before, *[after] * (depth - 1)):
            layers += [
                nn.Conv2d(channels, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        return nn.Sequential(*layers)

    widths = (3, *SEGNET, *reversed(SEGNET[:-1]), SEGNET[0])
    depths = (*SEGNET_DEPTHS, *reversed(SEGNET_DEPTHS))
    sizes = zip(itertools.pairwise(widths), depths, strict=True)

    class SegNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(block(*pair, depth) for pair, depth in sizes)

        def forward(self, x: Any) -> Any:
            places = []
            for down in self.blocks[: len(SEGNET)]:
                pooled = nn.functional.max_pool2d(down(x), 2, return_indices=True)
                x, own = pooled
                places.append(own)
            for up in self.blocks[len(SEGNET) :]:
                x = up(nn.functional.max_unpool2d(x, places.pop(), [2, 2]))
            return x

    return SegNet()


def head(cell: Cell) -> Any:
    """The part of one task."""
    from torch import nn  # pyright: ignore[reportMissingImports]

    if cell.model == "segnet":
        return nn.Sequential(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.Conv2d(WIDTH, cell.network.classes, 1),
        )
    if cell.model == "lenet":
        return nn.Sequential(
            nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, cell.network.classes)
        )
    return nn.Linear(512, cell.network.classes)


def loss(cell: Cell, outputs: Any, labels: Any) -> Any:
    """The mean loss of one task over its samples, or their pixels."""
    from torch.nn import functional  # pyright: ignore[reportMissingImports]

    if cell.network.kind == "binary":
        logits = outputs.squeeze(1)
        return functional.binary_cross_entropy_with_logits(logits, labels)
    return functional.cross_entropy(outputs, labels)
