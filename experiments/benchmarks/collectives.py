"""What a compiled program sends between devices, read off its text."""

import math
import re
from collections import Counter
from collections.abc import Iterator

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f64": 8, "s64": 8, "u64": 8}
# What a device receives of an array of n bytes from the g devices of a group, when
# each piece is sent on once: the array is what the operation returns.
SHARES = {
    "all-gather": lambda g: (g - 1) / g,
    "all-reduce": lambda g: 2 * (g - 1) / g,
    "all-to-all": lambda g: (g - 1) / g,
    "reduce-scatter": lambda g: g - 1,
    "collective-permute": lambda g: 1,
}
_OPERATION = re.compile(
    rf"= (\([^)]*\)|\S+) ({'|'.join(SHARES)})(?:-start)?\((.*)$", re.MULTILINE
)


def received(program: str, devices: int) -> Counter[str]:
    """Bytes that a device receives in a call, by the kind of the operation.

    Args:
      program: the text of a compiled program of one device, ``compiled.as_text()``.
      devices: how many run it.

    Raises:
      ValueError: for a loop of unknown length that sends something.

    Example:
      >>> text = '''ENTRY main {
      ...   %a = f32[2,8]{1,0} all-gather(%b), replica_groups=[1,4]<=[4]
      ... }'''
      >>> dict(received(text, 4))
      {'all-gather': 48.0}
    """
    computations = dict(_computations(program))
    calls = _calls(computations)
    total: Counter[str] = Counter()
    for name, body in computations.items():
        for shape, kind, rest in _OPERATION.findall(body):
            times = _times(name, calls)
            group = _group(rest, devices)
            total[kind] += times * SHARES[kind](group) * _size(shape)
    return total


def _computations(program: str) -> Iterator[tuple[str, str]]:
    """The functions of the program, name and text."""
    for part in re.split(r"\n(?=(?:ENTRY )?%?[\w.\-]+ .*\{)", "\n" + program):
        head = re.match(r"\s*(ENTRY )?%?([\w.\-]+)", part)
        if head is not None:
            yield "ENTRY" if head[1] else head[2], part


def _calls(computations: dict[str, str]) -> dict[str, tuple[str, float]]:
    """For each function the one that calls it, and how often."""
    found: dict[str, tuple[str, float]] = {}
    for name, body in computations.items():
        for line in body.splitlines():
            length = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            looped = " while(" in line
            times = (float(length[1]) if length else math.nan) if looped else 1.0
            for called in re.findall(
                r"(?:body|condition|to_apply|calls|true_computation|false_computation)"
                r"=%?([\w.\-]+)",
                line,
            ):
                found[called] = (name, times)
            for group in re.findall(r"branch_computations=\{([^}]*)\}", line):
                for called in re.findall(r"%?([\w.\-]+)", group):
                    found[called] = (name, 1.0)
    return found


def _times(name: str, calls: dict[str, tuple[str, float]]) -> float:
    """How often a function runs in a call of the program."""
    times = 1.0
    while name != "ENTRY" and name in calls:
        name, own = calls[name]
        times *= own
    if math.isnan(times):
        raise ValueError("a loop of unknown length sends something")
    return times


def _group(rest: str, devices: int) -> int:
    """The devices that take part together."""
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", rest)
    shaped = re.search(r"replica_groups=\[\d+,(\d+)\]", rest)
    if listed:
        return listed[1].count(",") + 1
    return int(shaped[1]) if shaped else devices


def _size(shape: str) -> int:
    return sum(
        BYTES.get(dtype, 4) * math.prod(int(n) for n in dims.split(",") if n)
        for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", shape)
    )
