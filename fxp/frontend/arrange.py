"""Nodes for a view: an image or a vector whose entries lie as the axes of the view say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fxp.frontend.builder import Term
from fxp.frontend.views import Atom, Axes, Axis, count, merged, of_source, renumbered
from fxp.graph.extents import shape_text
from fxp.graph.ops import (
    Concat,
    Flatten,
    GatherChannels,
    Nearest,
    Op,
    Part,
    PixelShuffle,
    PixelUnshuffle,
    Slice,
    SpatialConcat,
    Transpose,
    Unflatten,
)
from fxp.graph.ops.arrangement import IMAGE_AXES, MAX_GATHERED, ImageAxis

Emit = Callable[..., Term]
"""``emit(op, *terms)`` appends a node and returns its value."""
MAX_FACTOR = 64
"""Largest factor of a pixel shuffle."""
MAX_PARTS = 1024
"""Most operands of a concatenation."""


class ArrangementError(Exception):
    """No nodes give the view; the message says why.

    Attributes
    ----------
    size_dependent
        Whether fixed image sizes might help.
    """

    def __init__(self, message: str, *, size_dependent: bool = False) -> None:
        super().__init__(message)
        self.size_dependent = size_dependent


def arranged(emit: Emit, base: Term, axes: Axes) -> Term:
    """Return a value that is an image or a vector with the entries of a view.

    Parameters
    ----------
    emit
        Appends nodes.
    base
        The value that is viewed.
    axes
        Axes of the view: the batch, and one for each axis of the result.

    Raises
    ------
    ArrangementError
        If no ops of the graph move the values so.
    """
    axes = tuple(map(merged, axes))
    if axes[0]:
        raise ArrangementError("it moves channels, rows or columns to the batch axis")
    if len(axes) == 2:
        return _gathered(emit, base, axes[1])
    if len(axes) != 4:
        raise ArrangementError(f"it has {len(axes)} axes, where an image or a vector is needed")
    if len(base.shape) == 3:
        found = _Arrangement(emit, base, axes[1:]).run()
        if found is not None:
            return found
    features = _gathered(emit, base, tuple(atom for axis in axes for atom in axis))
    return emit(Unflatten(count(axes[2]), count(axes[3])), features)


def _indices(order: Sequence[Atom], strides: Sequence[int]) -> NDArray[np.int64]:
    """Places that atoms in an order run over, from the distance of each atom's steps."""
    places = np.zeros(1, dtype=np.int64)
    for atom, stride in zip(order, strides, strict=True):
        places = (places[:, None] + stride * np.arange(atom.size)).ravel()
    return places


def gathered(emit: Emit, value: Term, channels: NDArray[np.int64]) -> Term:
    """Return the value with these channels, by a slice where they are evenly spaced.

    Parameters
    ----------
    emit
        Appends nodes.
    value
        An image or a vector.
    channels
        Numbers of channels, or -1 for zeros.

    Raises
    ------
    ArrangementError
        If they are too many for a list.
    """
    size, first = int(value.shape[0]), int(channels[0])  # type: ignore[arg-type]
    if np.array_equal(channels, np.arange(size)):
        return value
    step = int(channels[1]) - first if len(channels) > 1 else 1
    if first >= 0 and step > 0 and np.all(np.diff(channels) == step):
        stop = int(channels[-1]) + 1
        return emit(Slice("channel", first, None if stop == size else stop, step), value)
    if len(channels) > MAX_GATHERED:
        raise ArrangementError(f"it puts more than {MAX_GATHERED} values in an order of their own")
    return emit(GatherChannels(tuple(channels.tolist())), value)


def _gathered(emit: Emit, base: Term, order: Axis) -> Term:
    """Vector of all entries in an order."""
    sizes = base.shape
    if any(not isinstance(size, int) for size in sizes):
        raise ArrangementError(
            f"it makes one axis of the image {shape_text(sizes)}, whose size is free, or orders "
            "its rows and columns anew",
            size_dependent=True,
        )
    pixels = [math.prod(map(int, sizes[source + 1 :])) for source in range(len(sizes))]  # type: ignore[arg-type]
    total = math.prod(atom.size for atom in order)
    strides = [0 if a.source is None else a.stride * pixels[a.source] for a in order]
    flat = tuple(merged(Atom(0, a.size, s) for a, s in zip(order, strides, strict=True)))
    features = base if len(sizes) == 1 else emit(Flatten(), base)
    if total <= 1 or flat == (Atom(0, int(features.shape[0]), 1),):  # type: ignore[arg-type]
        return features
    if total > MAX_GATHERED:
        raise ArrangementError(f"it puts more than {MAX_GATHERED} values in an order of their own")
    return gathered(emit, features, _indices(order, strides))


class _Arrangement:
    """An image from an image, whatever its size, by ops that know rows and columns.

    Of the atoms of the rows, one stays on rows or columns: the free or largest one. What is slower
    or faster than it goes to the channels first, channels are put in order, and what is slower or
    faster in the result comes back from there.
    """

    def __init__(self, emit: Emit, base: Term, target: Axes) -> None:
        self._emit = emit
        self._value = base
        self._target = target
        self._channels = of_source(target, 0)
        """Atoms that the channels of the value consist of by now, the slowest first."""
        self._carriers: dict[int, Atom] = {}

    def run(self) -> Term | None:
        """Return the image; None if it takes other means."""
        if not self._find_carriers():
            return None
        places = {
            source: next(place for place in (1, 2) if self._carriers[source] in self._target[place])
            for source in self._carriers
        }
        if len(set(places.values())) != len(places):
            return None
        outer: dict[int, Axis] = {1: (), 2: ()}
        inner: dict[int, Axis] = {1: (), 2: ()}
        for place in (1, 2):
            axis = self._target[place]
            carriers = [atom for source, atom in self._carriers.items() if places[source] == place]
            if not carriers and axis and not self._is_free:
                return None  # every value has its place, which a list tells
            index = axis.index(carriers[0]) if carriers else -1
            outer[place], inner[place] = axis[: max(index, 0)], axis[index + 1 :]
        factors = {place: count(axis) for place, axis in inner.items()}
        if max(factors.values()) > MAX_FACTOR or max(map(count, outer.values())) > MAX_PARTS:
            return None
        if not self._take_apart():
            return None
        if any(place != source for source, place in places.items()):
            self._value = self._emit(Transpose(), self._value)
        self._put_together(outer, inner)
        return self._value

    @property
    def _is_free(self) -> bool:
        return any(not isinstance(size, int) for size in self._value.shape)

    def _find_carriers(self) -> bool:
        """Choose the atom of rows and of columns that stays; tells whether there is a choice."""
        on_image = {*self._target[1], *self._target[2]}
        for source in (1, 2):
            atoms = of_source(self._target, source)
            if not atoms:
                continue
            kept = [atom for atom in atoms if atom in on_image]
            if not isinstance(self._value.shape[source], int):
                kept = [atom for atom in kept if atom.size == max(a.size for a in atoms)]
            if not kept:
                return False
            self._carriers[source] = max(kept, key=lambda atom: atom.size)
        return True

    def _take_apart(self) -> bool:
        """Move all atoms of rows and columns but the carriers to the channels."""
        faster: dict[int, list[Atom]] = {1: [], 2: []}
        for source, carrier in self._carriers.items():
            atoms = of_source(self._target, source)
            place = atoms.index(carrier)
            slower, faster[source] = atoms[:place], atoms[place + 1 :]
            parts = math.prod(atom.size for atom in slower)
            if parts > MAX_PARTS:
                return False
            axis = IMAGE_AXES[source - 1]
            self._spread([Part(axis, i, i + 1, parts) for i in range(parts)], slower)
        rows, columns = (math.prod(atom.size for atom in faster[source]) for source in (1, 2))
        if rows == columns and 1 < rows <= MAX_FACTOR:
            self._value = self._emit(PixelUnshuffle(rows), self._value)
            self._channels += [*faster[1], *faster[2]]
            return True
        for source, factor in ((1, rows), (2, columns)):
            if factor > MAX_PARTS:
                return False
            axis = IMAGE_AXES[source - 1]
            ops = [Slice(axis, first, None, factor) for first in range(factor)]
            self._spread(ops, faster[source])
        return True

    def _spread(self, ops: Sequence[Op], atoms: Sequence[Atom]) -> None:
        """Put parts of the image one after the other on the channels."""
        if len(ops) > 1:
            parts = [self._emit(op, self._value) for op in ops]
            self._value = self._emit(Concat(), *parts)
            self._channels = [*atoms, *self._channels]

    def _put_together(self, outer: dict[int, Axis], inner: dict[int, Axis]) -> None:
        """Order the channels, and move those from there that belong to rows and columns."""
        rows, columns = (count(inner[place]) for place in (1, 2))
        repeated = all(atom.source is None for atom in (*inner[1], *inner[2]))
        order = [*outer[2], *outer[1], *self._target[0]]
        if rows == columns:
            order += [] if repeated else [*inner[1], *inner[2]]
            self._order(order)
            if rows > 1:
                self._value = self._emit(Nearest(rows) if repeated else PixelShuffle(rows),
                                         self._value)  # fmt: skip
        else:
            # A shuffle makes blocks as high as wide; of what repeats, only one line stays.
            if columns > 1:
                self._order([*order, *inner[1], Atom(None, columns, 0), *inner[2]])
                self._shuffle_line(columns, "row")
                self._channels = [*order, *inner[1]]
            if rows > 1:
                self._order([*order, *inner[1], Atom(None, rows, 0)])
                self._shuffle_line(rows, "column")
                self._channels = order
            if columns == 1 == rows:
                self._order(order)
        for place in (2, 1):
            groups = count(outer[place])
            if groups > 1:
                self._join(groups, SpatialConcat(IMAGE_AXES[place - 1]))

    def _order(self, order: Sequence[Atom]) -> None:
        own = renumbered(self._channels, 0)
        strides = [0 if atom.source is None else own[atom].stride for atom in order]
        self._value = gathered(self._emit, self._value, _indices(order, strides))
        self._channels = list(order)

    def _shuffle_line(self, factor: int, axis: ImageAxis) -> None:
        shuffled = self._emit(PixelShuffle(factor), self._value)
        self._value = self._emit(Slice(axis, 0, None, factor), shuffled)

    def _join(self, groups: int, op: SpatialConcat) -> None:
        """Place groups of channels side by side."""
        channels = int(self._value.shape[0])  # type: ignore[arg-type]
        bounds = [channels // groups * group for group in range(groups + 1)]
        parts = [
            self._emit(Slice("channel", first, None if last == channels else last), self._value)
            for first, last in pairwise(bounds)
        ]
        self._value = self._emit(op, *parts)
