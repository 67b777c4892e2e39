"""A tensor in the order of another one, so that an op can work on the values that both view."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from fxp.frontend.builder import KnownTensor, Term
from fxp.frontend.views import Atom, Axes, Axis, count, merged, of_source, split_to


class PullBackError(Exception):
    """Two tensors split their axes in ways that do not go together."""


def matched(frame: Axes, axes: Axes) -> dict[Atom, Axis]:
    """Return, for every atom of a frame, the atoms of another tensor at the same place.

    Parameters
    ----------
    frame
        Axes of the one tensor.
    axes
        Axes of the other, as many; those of size 1 are repeated, and give no atoms.

    Raises
    ------
    PullBackError
        If the sizes do not go together.
    """
    found: dict[Atom, Axis] = {}
    for own, other in zip(frame, axes, strict=True):
        parts: Axes | None = ((),) * len(own)
        if other:
            parts = split_to(other, [atom.size for atom in own])
        if parts is None:
            raise PullBackError
        found.update(zip(own, parts, strict=True))
    return found


def in_frame(frame: Term, term: Term) -> Term:
    """Return a tensor as a view in the order of the value that `frame` is a view of.

    Parameters
    ----------
    frame
        The tensor whose value is worked on.
    term
        A tensor that can be broadcast to its shape.

    Raises
    ------
    PullBackError
        If the two split their axes in ways that do not go together.
    """
    axes = ((),) * (len(frame.axes) - len(term.axes)) + term.axes
    atoms = matched(frame.axes, axes)
    base = frame.base
    placed: list[Axis] = [()]
    sizes = list(base.torch_shape[:1])
    for source in range(len(base.torch_shape) - 1):
        own = of_source(frame.axes, source)
        if any(atoms[atom] for atom in own):
            axis = [item for atom in own for item in atoms[atom] or (Atom(None, atom.size, 0),)]
            placed.append(merged(axis))
            sizes.append(base.torch_shape[source + 1])
        else:
            placed.append(())
            sizes.append(1)
    return term.viewed(tuple(placed), sizes)


def constant_in_frame(frame: Term, known: KnownTensor) -> KnownTensor:
    """Return a constant tensor in the order of the value that `frame` is a view of.

    Parameters
    ----------
    frame
        The tensor whose value is worked on.
    known
        A constant that can be broadcast to its shape.
    """
    shape = tuple(known.tensor.shape)
    if math.prod(shape) == 1:
        return known.derived(torch.reshape, ())
    shape = (1,) * (len(frame.axes) - len(shape)) + shape
    # Axes split as those of the frame; an axis of size 1 has parts of size 1.
    split: list[int] = [shape[0]]
    order: dict[Atom, int] = {}
    for axis, size in zip(frame.axes[1:], shape[1:], strict=True):
        for atom in axis:
            order[atom] = len(split)
            split.append(atom.size if size > 1 else 1)
        if size > 1 and count(axis) != size:
            raise PullBackError
    result = known.derived(torch.reshape, tuple(split))
    base = frame.base
    places, merged_sizes, expanded = [0], [shape[0]], [shape[0]]
    for source in range(len(base.torch_shape) - 1):
        own = of_source(frame.axes, source)
        places += [order[atom] for atom in own]
        partly = [split[order[atom]] for atom in own]
        needed = [atom.size for atom in own] if max(partly, default=1) > 1 else partly
        expanded += needed
        merged_sizes.append(math.prod(needed))
    result = result.derived(torch.permute, tuple(places))
    result = result.derived(torch.Tensor.expand, tuple(expanded))
    return result.derived(torch.reshape, tuple(merged_sizes))


def collapsed(term: Term, others: Mapping[int, int]) -> Term:
    """Return the tensor without axes that only repeat it, where another operand has them.

    Parameters
    ----------
    term
        A tensor.
    others
        By axis from the end, the size that another operand has there.
    """
    axes, sizes, changed = list(term.axes), list(term.torch_shape), False
    for place, axis in enumerate(term.axes):
        repeats = axis and all(atom.source is None for atom in axis)
        if repeats and others.get(place - len(axes)) == count(axis):
            axes[place], sizes[place], changed = (), 1, True
    return term.viewed(tuple(axes), sizes) if changed else term
