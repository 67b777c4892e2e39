"""Concatenations whose parts differ so much in range that one format serves some of them badly."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fxp.formats import Format
from fxp.graph import Graph
from fxp.graph.ops import Concat

PART_BITS: Final = 8
"""A part that keeps fewer bits than this, and had more, is told."""
BIASING_BITS: Final = 4
"""A value that was rounded and then loses up to so many bits more is rounded at once instead.

Otherwise halves, of which the second rounding meets many, would raise values on average: by a
quarter of a step if one bit is lost, by a thirty-second if four are."""

JOINED_BITS: Final = 60
"""Bits from the largest of the values that an op joins to the last bit of the smallest, at most:
a sum of two has a bit more, and accumulators have 63."""


@dataclass(frozen=True)
class NarrowedPart:
    """A part of a concatenation that the common format leaves few bits.

    Attributes
    ----------
    node
        The concatenation.
    part
        What it reads.
    before, after
        Formats of the part and of the concatenation.
    bits
        Bits of the part that are left.
    """

    node: str
    part: str
    before: Format
    after: Format
    bits: int

    def __str__(self) -> str:
        """Say what is lost, and what to do."""
        return (
            f"{self.node!r} concatenates values of very different ranges in one format, "
            f"{self.after}: of the {self.before.width} bits of {self.part!r} "
            f"({self.before}) {self.bits} are left. Return the parts as outputs of their own, "
            "scale them to similar ranges in the network, or give more activation bits"
        )


def only_concatenated(graph: Graph, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the concatenations that read a value, of values that nothing else reads.

    Parameters
    ----------
    graph
        A float graph.
    names
        Values to look at.
    """
    kept = {*graph.outputs, *(state.source for state in graph.states)}
    found = {}
    for name, readers in graph.consumers.items():
        if name in names and name not in kept and all(isinstance(r.op, Concat) for r in readers):
            found[name] = tuple(reader.name for reader in readers)
    return found


def bits_left(part: Format, whole: Format) -> int:
    """Return how many bits a value keeps in another format.

    Parameters
    ----------
    part
        Its own format.
    whole
        The other one.
    """
    return part.width - min(max(part.frac - whole.frac, 0), part.width)


def narrowed_parts(graph: Graph) -> Iterator[NarrowedPart]:
    """Yield the parts of concatenations that keep fewer than `PART_BITS` in an integer graph."""
    for node in graph.nodes:
        if not isinstance(node.op, Concat):
            continue
        whole = graph.operand(node.name).format
        for part in dict.fromkeys(node.inputs):
            form = graph.operand(part).format
            left = bits_left(form, whole)
            if left < min(PART_BITS, form.width):
                yield NarrowedPart(node.name, part, form, whole, left)


def is_uneven(parts: Sequence[Format], whole: Format) -> bool:
    """Return whether a format leaves one of several parts fewer than `PART_BITS` of more bits.

    Parameters
    ----------
    parts
        Formats of the parts.
    whole
        The common format.
    """
    return any(bits_left(part, whole) < min(PART_BITS, part.width) for part in parts)


def joined(form: Format, others: Collection[Format]) -> Format:
    """Return the format in which a value is added to others, or put beside them.

    Bits that lie too far below the largest for one accumulator are left out, as of a value that
    would be zero but for rounding errors.

    Parameters
    ----------
    form
        Format of the value.
    others
        Formats of all values that are joined.
    """
    most = JOINED_BITS - max(other.width - other.frac for other in others)
    less = form.frac - most
    if less <= 0:
        return form
    return Format(max(form.width - less, 1 + form.signed), most, form.signed)
