"""Methods as a command line names them: texts, a family, or all of them."""

from collections.abc import Sequence

from mtopt.grammar import every_method
from mtopt.methods import METHODS
from mtopt.registry import FAMILIES, about

ALL = "all"
KNOWN = ("steps_per_epoch",)
"""The options without a default that a run knows."""


def named_methods(texts: Sequence[str]) -> tuple[str, ...]:
    """The methods asked for, each once: those of groups first, spelled out.

    Args:
      texts: methods; ``all``, or a family of :data:`mtopt.registry.FAMILIES`, stands
        for its methods that need no options.

    Example:
      >>> named_methods(["cagrad(c=0.2)", "preference", "mgda"])
      ('epo', 'cagrad(c=0.2)', 'mgda')
    """
    groups = {*texts} & {ALL, *FAMILIES}
    grouped = [
        name
        for name in every_method(*KNOWN)
        if groups & {ALL, about(METHODS[name]).family}
    ]
    own = [text for text in texts if text not in groups]
    return tuple(dict.fromkeys([*grouped, *own]))
