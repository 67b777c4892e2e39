"""Views: which entries of a graph's value each axis of a tensor runs over.

`view`, `permute`, `unsqueeze`, `expand` and their like move nothing. They only say in which order
the axes of a value are read, and how these are split and merged. A *view* records this without any
node; nodes are written where an op needs an image or a vector (`fxp.frontend.arrange`).

An axis of a tensor is a sequence of *atoms*, the slowest first. An atom runs over a part of one
axis of the value: ``channels.view(groups, n)`` splits the atom of the channels in two. Sizes that
are free are represented by large numbers (`fingerprint`), so that sizes can be compared and divided
like integers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import sympy
import torch

from fxp.frontend.trace import Size

DIVISIBLE: Final = 20160
"""2**6 * 3**2 * 5 * 7: a free size is taken as a multiple of it."""


@dataclass(frozen=True)
class Atom:
    """Entries ``0, stride, 2 * stride, …`` of one axis of a value.

    Attributes
    ----------
    source
        The axis: 0 for channels or features, 1 for rows, 2 for columns; None repeats every value.
    size
        How many; a fingerprint if the size is free.
    stride
        Distance from one to the next; 0 for a repetition.
    """

    source: int | None
    size: int
    stride: int


Axis = tuple[Atom, ...]
Axes = tuple[Axis, ...]


@cache
def _number(name: str) -> int:
    digits = int("0" + "".join(re.findall(r"\d", name))[:5])
    return DIVISIBLE * int(sympy.prime(100 + digits))  # type: ignore[arg-type]


def fingerprint(size: Size) -> int:
    """Return an integer that stands for a size of the model.

    A symbol of torch is replaced by a multiple of `DIVISIBLE` with a prime factor of its own, so
    that two formulas have one fingerprint only if they are equal for such sizes.
    """
    if isinstance(size, int):
        return size
    expression = size.node.expr
    values = {symbol: sympy.Integer(_number(str(symbol))) for symbol in expression.free_symbols}
    return int(expression.xreplace(values))


def fingerprints(sizes: Iterable[Size]) -> tuple[int, ...]:
    """Return the fingerprint of every size."""
    return tuple(map(fingerprint, sizes))


def is_free(size: Size) -> bool:
    """Whether a size depends on the size of the image."""
    if not isinstance(size, torch.SymInt) or size.node.expr.is_Integer:
        return False
    # Torch writes some numbers as formulas, such as s // (s // 2).
    return fingerprint(size) >= DIVISIBLE


def count(axis: Axis) -> int:
    """Size of an axis."""
    return math.prod(atom.size for atom in axis)


def merged(axis: Iterable[Atom]) -> Axis:
    """Return the atoms with neighbours made one where one runs on from the other."""
    result: list[Atom] = []
    for atom in axis:
        if atom.size == 1:
            continue
        last = result[-1] if result else None
        if (
            last is not None
            and last.source == atom.source
            and last.stride == (atom.size * atom.stride)
        ):
            result[-1] = Atom(atom.source, last.size * atom.size, atom.stride)
        else:
            result.append(atom)
    return tuple(result)


def whole(source: int, size: int) -> Axis:
    """Axis that runs over all of an axis of a value."""
    return merged((Atom(source, size, 1),))


def split_to(atoms: Iterable[Atom], sizes: Sequence[int]) -> Axes | None:
    """Deal atoms out to axes of the given sizes; None if no splitting of atoms gives them."""
    left = [atom for atom in atoms if atom.size != 1][::-1]
    axes: list[Axis] = []
    for size in sizes:
        axis: list[Atom] = []
        while size > 1:
            if not left:
                return None
            atom = left.pop()
            if atom.size > size:
                if atom.size % size:
                    return None
                inner = atom.size // size
                left.append(Atom(atom.source, inner, atom.stride))
                atom = Atom(atom.source, size, atom.stride * inner)
            if size % atom.size:
                return None
            axis.append(atom)
            size //= atom.size
        axes.append(merged(axis))
    return None if left else tuple(axes)


def reshaped(axes: Axes, sizes: Sequence[int]) -> Axes | None:
    """Return the axes of a reshaped tensor; None if its axes are no products of atoms.

    Parameters
    ----------
    axes
        Axes before.
    sizes
        Sizes after, as fingerprints.
    """
    flat = merged(atom for axis in axes for atom in axis)
    return split_to(flat, sizes)


def of_source(axes: Iterable[Axis], source: int | None) -> list[Atom]:
    """Atoms of one axis of the value, the slowest first."""
    found = [atom for axis in axes for atom in axis if atom.source == source]
    return sorted(found, key=lambda atom: -atom.stride)


def renumbered(atoms: Sequence[Atom], source: int) -> dict[Atom, Atom]:
    """Strides that atoms have when they make up an axis in the given order."""
    result, stride = {}, 1
    for atom in reversed(atoms):
        result[atom] = Atom(source, atom.size, stride)
        stride *= atom.size
    return result


def replaced(axes: Axes, atoms: dict[Atom, Atom]) -> Axes:
    """Return the axes with other atoms in place of some."""
    return tuple(merged(atoms.get(atom, atom) for atom in axis) for axis in axes)
