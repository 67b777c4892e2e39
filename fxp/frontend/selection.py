"""Converters of ops that choose entries along an axis: slices, single entries, parts, lists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.frontend.arrange import ArrangementError, arranged, gathered
from fxp.frontend.builder import KnownTensor, Term
from fxp.frontend.context import Context, Converter, shape_of
from fxp.frontend.reshaping import order_of
from fxp.frontend.trace import Size, difference, example_size
from fxp.frontend.views import (
    Atom,
    count,
    fingerprint,
    is_free,
    merged,
    of_source,
    renumbered,
    replaced,
    whole,
)
from fxp.graph.extents import Extent
from fxp.graph.ops import Flip, Op, Part, Slice
from fxp.graph.ops.arrangement import IMAGE_AXES
from fxp.graph.ops.movement import Axis

AXES: dict[int, Axis] = {1: "channel", 2: "row", 3: "column"}
END = 1 << 62
"""A bound from here on stands for the end of the axis; export writes 2**63 - 1."""
MAX_PARTS = 64
"""Cuts that move with the size lie at multiples of at most this part of it."""


def on_image_axis(term: Term, dim: int) -> int | None:
    """Return the source, 1 or 2, if an axis is the whole of the rows or columns of the value."""
    axis = term.axes[dim]
    if len(axis) == 1 and axis[0].source in (1, 2):
        source = axis[0].source
        if axis == whole(source, math.prod(a.size for a in of_source(term.axes, source))):
            return source
    if term.view is None and len(term.shape) == 3 and dim in (2, 3):
        return dim - 1
    return None


def with_channels(context: Context, term: Term, dim: int) -> Term:
    """Return the same tensor as a view in which an axis consists of channels alone.

    Parameters
    ----------
    context
        The op that needs it.
    term
        The tensor.
    dim
        The axis.
    """
    axis = term.axes[dim]
    if all(atom.source == 0 for atom in axis):
        return term
    base = term.base
    own, moved = of_source(term.axes, 0), [atom for atom in axis if atom.source != 0]
    order, target, sizes = [*own, *moved], [(), (*own, *moved)], list(base.torch_shape)
    renamed = {}
    for source in range(1, len(base.shape)):
        left = [atom for atom in of_source(term.axes, source) if atom not in moved]
        target.append(tuple(left))
        gone = math.prod(atom.size for atom in moved if atom.source == source)
        sizes[source + 1] = sizes[source + 1] // gone if left else 1
        renamed |= renumbered(left, source)
    try:
        made = arranged(context.helper, base, tuple(target))
    except ArrangementError as error:
        context.refuse(
            f"it works on an axis of {shape_of(term)} that mixes rows or columns with others",
            f"keep rows and columns whole ({error})",
            size_dependent=error.size_dependent,
        )
    sizes[1] = int(made.shape[0])  # type: ignore[arg-type]
    channels = renumbered(order, 0)
    axes = list(replaced(term.axes, renamed | {atom: channels[atom] for atom in own}))
    axes[dim] = merged(channels[atom] for atom in axis)
    return Term(made.name, made.shape, tuple(sizes)).viewed(tuple(axes), term.torch_shape)


def chosen(
    context: Context, term: Term, dim: int, entries: NDArray[np.int64], part: str = ""
) -> Term:
    """Return listed entries of an axis.

    Parameters
    ----------
    context
        The op.
    term
        The tensor.
    dim
        The axis; not the batch.
    entries
        Which of its entries, in the order of the result.
    part
        Tells the results of an op with several apart.
    """
    shape = list(term.torch_shape)
    shape[dim] = len(entries)
    if not term.axes[dim]:
        axes = list(term.axes)
        axes[dim] = merged((Atom(None, len(entries), 0),))
        return term.viewed(tuple(axes), shape)
    term = with_channels(context, term, dim)
    base, axis = term.base, term.axes[dim]
    own = of_source(term.axes, 0)
    places = order_of(axis)[entries]
    atom = Atom(0, len(entries), 1)
    order: list[Atom] = []
    strides = np.zeros(1, dtype=np.int64)
    # An axis that is one atom keeps its place among the channels; else it comes first.
    items: list[Atom | None] = [None if item in axis else item for item in own]
    if len(axis) > 1:
        items = [None, *(item for item in own if item not in axis)]
    for item in items:
        step = places if item is None else item.stride * np.arange(item.size)
        strides = (strides[:, None] + step).ravel()
        order.append(atom if item is None else item)

    def emit(op: Op, value: Term) -> Term:
        return context.emit(op, value, part=part, torch_shape=())

    try:
        made = gathered(emit, base, strides)
    except ArrangementError as error:
        # All entries of the image are in the list, where it is along rows or columns.
        context.refuse(
            f"{error}, because it takes entries of {shape_of(term)} by a list",
            "take all, a range, or every n-th of the rows and columns, or smaller images",
        )
    stride, renamed, placed = 1, {}, atom
    for item in reversed(order):
        new = Atom(0, item.size, stride)
        stride *= item.size
        if item is atom:
            placed = new
        else:
            renamed[item] = new
    axes = list(replaced(term.axes, renamed))
    axes[dim] = merged((placed,))
    sizes = list(base.torch_shape)
    sizes[1] = stride
    return Term(made.name, made.shape, tuple(sizes)).viewed(tuple(axes), shape)


def cut(
    context: Context, term: Term, dim: int, start: Any, stop: Any, step: int = 1, part: str = "",
    size: Size | None = None,
) -> Term:  # fmt: skip
    """Return ``start:stop:step`` of one axis, bounds as in Python.

    Parameters
    ----------
    context
        The op.
    term
        The tensor.
    dim
        The axis, counted from either end.
    start, stop, step
        Bounds; None is either end.
    part
        Tells the results of an op with several apart.
    size
        Size of the result along the axis, by default that of the op's.
    """
    dim %= len(term.torch_shape)
    if dim == 0:
        context.refuse("it cuts the batch axis", "the batch axis must stay whole")
    size = context.result_shape[dim] if size is None else size
    source = on_image_axis(term, dim)
    if source is None:
        if is_free(term.torch_shape[dim]):
            context.refuse(
                f"it cuts an axis of {shape_of(term)} whose size is free and that is not the rows "
                "or the columns alone", "cut before the axes are merged", size_dependent=True,
            )  # fmt: skip
        entries = np.arange(count(term.axes[dim]))[_fixed_slice(context, term, dim, start, stop,
                                                                step)]  # fmt: skip
        return chosen(context, term, dim, entries, part)
    base = term.base
    for op in _image_ops(context, term, dim, source, start, stop, step):
        shape = list(base.torch_shape)
        shape[source + 1] = size
        base = context.emit(op, base, part=part, torch_shape=tuple(shape))
    atoms = term.axes[dim]
    shape = list(term.torch_shape)
    shape[dim] = size
    axes = replaced(term.axes, {atom: Atom(source, fingerprint(size), 1) for atom in atoms})
    return base.viewed(axes, shape)


def _fixed_slice(context: Context, term: Term, dim: int, start: Any, stop: Any, step: int) -> slice:
    """Bounds of an axis whose size the graph fixes; they may still be symbols for torch."""
    fixed = [None if bound is None else example_size(bound) for bound in (start, stop)]
    size = example_size(term.torch_shape[dim])
    first, last, _ = slice(*fixed).indices(size)
    if last <= first:
        context.refuse("its result is empty", "cut at least one row, column or channel")
    return slice(first, last, step)


def _image_ops(
    context: Context, term: Term, dim: int, source: int, start: Any, stop: Any, step: int
) -> list[Slice | Part]:
    """Ops that cut rows or columns."""
    size, axis = term.shape[source], IMAGE_AXES[source - 1]
    if not isinstance(size, Extent):
        found = _fixed_slice(context, term, dim, start, stop, step)
        return [Slice(axis, found.start, None if found.stop == size else found.stop, step)]
    part = _part(axis, start, stop, term.torch_shape[dim])
    if part is not None:
        return [part] if step == 1 else [part, Slice(axis, 0, None, step)]
    bounds = [_free_bound(context, term, dim, bound) for bound in (start, stop)]
    return [Slice(axis, bounds[0] or 0, bounds[1], step)]


def _part(axis: str, start: Any, stop: Any, size: Size) -> Part | None:
    """Cut at fractions of the size; None if the bounds are no such, or both ends."""
    if not any(isinstance(bound, torch.SymInt) for bound in (start, stop)):
        return None
    total = fingerprint(size)
    start = 0 if start is None else fingerprint(start)
    stop = total if stop is None or (isinstance(stop, int) and stop >= END) else fingerprint(stop)
    parts = total // math.gcd(total, start, stop)
    if not 0 <= start < stop <= total or not 1 < parts <= MAX_PARTS:
        return None
    return Part(axis, start * parts // total, stop * parts // total, parts)  # type: ignore[arg-type]


def _free_bound(context: Context, term: Term, dim: int, bound: Any) -> int | None:
    """Bound of a free axis: an integer as it is, ``size - k`` as ``-k``, the end as None."""
    if bound is None or (isinstance(bound, int) and bound >= END):
        return None
    if isinstance(bound, int):
        return bound
    behind = difference(bound, term.torch_shape[dim])
    if behind is None or behind > 0:
        context.refuse(
            f"the bound {bound} of an axis of size {term.torch_shape[dim]} moves with the size",
            "cut at a fixed number of rows or columns from either end, or at a half, a quarter or "
            "another part of the size",
            size_dependent=True,
        )
    return behind or None


def slice_(context: Context) -> Term:
    """Slice of one axis."""
    arguments = context.arguments
    return cut(context, context["self"], arguments["dim"], arguments["start"], arguments["end"],
               arguments["step"])  # fmt: skip


def narrow(context: Context) -> Term:
    """``length`` entries of one axis from ``start`` on."""
    start, length = context["start"], context["length"]
    if isinstance(start, int) and start < 0:
        context.refuse(f"it starts at {start}", "start must be a number from 0 on")
    return cut(context, context["self"], context["dim"], start, start + length)


def _without_axis(term: Term, dim: int) -> Term:
    axes, sizes = list(term.axes), list(term.torch_shape)
    del axes[dim], sizes[dim]
    return term.viewed(tuple(axes), sizes)


def _entry(context: Context, term: Term, dim: int, index: Any, part: str = "") -> Term:
    if not isinstance(index, int):
        context.refuse(f"its index {index} depends on the image size", "use a fixed number",
                       size_dependent=True)  # fmt: skip
    stop = index + 1 or None
    return _without_axis(cut(context, term, dim, index, stop, part=part, size=1), dim)


def select(context: Context) -> Term:
    """One entry of an axis."""
    term: Term = context["self"]
    dim = context["dim"] % len(term.torch_shape)
    if dim == 0 and context["index"] in (0, -1):
        context.refuse("it drops the batch axis", "keep it: x[:1] in place of x[0]")
    return _entry(context, term, dim, context["index"])


def unbind(context: Context) -> tuple[Term, ...]:
    """All entries of an axis, one by one."""
    term: Term = context["self"]
    dim = context["dim"] % len(term.torch_shape)
    return tuple(
        _entry(context, term, dim, index, str(index))
        for index in range(len(context.node.meta["val"]))
    )


def split(context: Context) -> tuple[Term, ...]:
    """Consecutive parts of an axis."""
    term: Term = context["self"]
    dim = context["dim"] % len(term.torch_shape)
    parts, first = [], 0
    for index, result in enumerate(context.node.meta["val"]):
        length = result.shape[dim]
        if isinstance(length, int) and length == 0:
            context.refuse("one of its parts is empty", "split into parts of at least one entry")
        last = first + length
        whole_axis = is_free(last) and difference(last, term.torch_shape[dim]) == 0
        stop = None if whole_axis else last
        parts.append(cut(context, term, dim, first, stop, part=str(index), size=length))
        first = last
    return tuple(parts)


def index(context: Context) -> Term:
    """Entries of one axis by a list: ``x[:, [2, 0, 1]]`` and ``index_select``."""
    term: Term = context["self"]
    if "indices" in context.arguments:
        given = list(context["indices"])
        used = [dim for dim, item in enumerate(given) if item is not None]
    else:
        used, given = [context["dim"] % len(term.torch_shape)], {}
        given = {used[0]: context["index"]}
    if len(used) != 1 or not isinstance(given[used[0]], KnownTensor):
        context.refuse(
            "it chooses by more than one list, or by one that the model computes",
            "index one axis with a list of fixed numbers",
        )
    (dim,) = used
    entries = given[dim].tensor
    if dim == 0 or entries.ndim != 1:
        context.refuse("it chooses along the batch axis, or makes new axes",
                       "index the channels, rows or columns with a flat list")  # fmt: skip
    size = term.torch_shape[dim]
    if is_free(size):
        context.refuse("it chooses rows or columns of an image of any size by a list",
                       "cut with fixed bounds", size_dependent=True)  # fmt: skip
    numbers = entries.to(torch.int64)
    if entries.dtype == torch.bool:
        numbers = entries.nonzero().flatten()
    return chosen(context, term, dim, numbers.numpy() % example_size(size))


def flip(context: Context) -> Term:
    """Reverse order of one or more axes."""
    return _flipped(context, context["self"], context["dims"])


def fliplr(context: Context) -> Term:
    """Reverse order of axis 1."""
    return _flipped(context, context["self"], [1])


def flipud(context: Context) -> Term:
    """Reverse order of axis 0, which must not be the batch."""
    return _flipped(context, context["self"], [0])


def _flipped(context: Context, term: Term, dims: Sequence[int]) -> Term:
    for dim in sorted({dim % len(term.torch_shape) for dim in dims}):
        source = on_image_axis(term, dim)
        if dim == 0 and not term.axes[dim]:
            context.refuse("it reverses the batch axis", "reverse rows with flip(2), columns with "
                           "flip(3)")  # fmt: skip
        if not term.axes[dim]:
            continue
        if source is None and is_free(term.torch_shape[dim]):
            context.refuse(
                f"it reverses an axis of {shape_of(term)} that is not the rows or columns alone",
                "flip before the axes are merged", size_dependent=True,
            )  # fmt: skip
        if source is None:
            entries = np.arange(count(term.axes[dim]))[::-1]
            term = chosen(context, term, dim, entries)
        else:
            base = context.emit(Flip(IMAGE_AXES[source - 1]), term.base,
                                torch_shape=term.base.torch_shape)  # fmt: skip
            term = base.viewed(term.axes, term.torch_shape)
    return term


def rot90(context: Context) -> Term:
    """Rotate the image by quarter turns."""
    term: Term = context["self"]
    rank = len(term.torch_shape)
    turns = context["k"] % 4
    first, second = (dim % rank for dim in context["dims"])
    mirrored = {0: (), 1: (second,), 2: (first, second), 3: (first,)}[turns]
    term = _flipped(context, term, mirrored)
    if turns % 2 == 0:
        return term
    order = list(range(rank))
    order[first], order[second] = second, first
    return term.viewed(tuple(term.axes[axis] for axis in order), context.result_shape)


SELECTION: dict[str, Converter] = {
    "aten.slice.Tensor": slice_,
    "aten.narrow.default": narrow,
    "aten.select.int": select,
    "aten.unbind.int": unbind,
    "aten.split.Tensor": split,
    "aten.split_with_sizes.default": split,
    "aten.chunk.default": split,
    "aten.index.Tensor": index,
    "aten.index_select.default": index,
    "aten.flip.default": flip,
    "aten.fliplr.default": fliplr,
    "aten.flipud.default": flipud,
    "aten.rot90.default": rot90,
}
"""Converters by aten op and overload."""
