"""Converters of ops that put tensors together: concatenation, stacking, rolling and padding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from fxp.frontend.arrange import ArrangementError, gathered
from fxp.frontend.builder import FilledTensor, KnownTensor, Term
from fxp.frontend.context import Context, Converter, shape_of
from fxp.frontend.pull_back import PullBackError, matched
from fxp.frontend.selection import AXES, chosen, cut, on_image_axis, with_channels
from fxp.frontend.trace import Size, example_size
from fxp.frontend.views import Atom, Axis, count, fingerprint, is_free, merged, of_source, replaced
from fxp.graph.ops import Add, Concat, ConstantPad, Pad, Slice, SpatialConcat
from fxp.graph.ops.arrangement import IMAGE_AXES
from fxp.graph.ops.padding import PaddingMode, Sides

Item = Term | FilledTensor | KnownTensor


def concat(context: Context) -> Term:
    """Concatenation along any axis but the batch; parts may be constants, zeros on any axis."""
    items: list[Item] = context["tensors"]
    return _joined(context, items, context["dim"] % len(context.result_shape))


def stack(context: Context) -> Term:
    """Concatenation along a new axis."""
    dim = context["dim"] % len(context.result_shape)
    items: list[Item] = []
    for item in context["tensors"]:
        if not isinstance(item, Term):
            context.refuse("it stacks a constant", "add the constant's part in the next layer")
        axes, sizes = list(item.axes), list(item.torch_shape)
        axes.insert(dim, ())
        sizes.insert(dim, 1)
        items.append(item.viewed(tuple(axes), sizes))
    return _joined(context, items, dim)


def _is_standard(term: Term) -> bool:
    own = term.own_axes(term.torch_shape)
    return term.view is None or (len(term.axes) == 2 and term.axes == own[:2])


def _joined(context: Context, items: Sequence[Item], dim: int) -> Term:
    if dim == 0:
        context.refuse("it joins along axis 0, the batch", "join channels, rows or columns")
    terms = [item for item in items if isinstance(item, Term)]
    if len(terms) < len(items):
        return _joined_with_zeros(context, items, dim)
    if len(terms) == 1:
        return terms[0]
    frame = next((term for term in terms if _is_standard(term)), terms[0])
    if _is_standard(frame):
        frame = context.standard(frame)
        terms = [context.standard(term) for term in terms]
        if dim == 1:
            return context.emit(Concat(), *terms)
        if len(frame.shape) == 3:
            return context.emit(SpatialConcat(IMAGE_AXES[dim - 2]), *terms)
    try:
        return _joined_views(context, frame, terms, dim)
    except PullBackError:
        context.refuse(
            f"it joins {', '.join(map(shape_of, terms))}, whose axes are split in ways that do "
            "not go together", "join before the axes are merged or ordered anew",
        )  # fmt: skip


def _joined_views(context: Context, frame: Term, terms: Sequence[Term], dim: int) -> Term:
    """Join tensors in the order of the value that one of them is a view of."""
    source = on_image_axis(frame, dim)
    if source is None:
        frame = with_channels(context, frame, dim)
    base = frame.base
    others = [atom for atom in of_source(frame.axes, 0) if atom not in frame.axes[dim]]
    parts = []
    for term in terms:
        places = matched(
            tuple(() if axis == dim else atoms for axis, atoms in enumerate(frame.axes)),
            tuple(() if axis == dim else atoms for axis, atoms in enumerate(term.axes)),
        )
        axes: list[Axis] = [()]
        sizes: list[Size] = list(base.torch_shape)
        first = others if source is not None else [None, *others]
        axes.append(merged(a for item in first for a in
                           (term.axes[dim] if item is None else places[item])))  # fmt: skip
        sizes[1] = count(axes[1])
        for axis in range(1, len(base.torch_shape) - 1):
            if axis == source:
                axes.append(term.axes[dim])
                sizes[axis + 1] = term.torch_shape[dim]
            else:
                own = of_source(frame.axes, axis)
                axes.append(merged(item for atom in own for item in places[atom]))
        parts.append(context.standard(term.viewed(tuple(axes), sizes)))
    op = Concat() if source is None else SpatialConcat(IMAGE_AXES[source - 1])
    total = context.result_shape[dim]
    sizes = list(base.torch_shape)
    sizes[1 if source is None else source + 1] = (
        total * math.prod(atom.size for atom in others) if source is None else total
    )
    made = context.emit(op, *parts, torch_shape=tuple(sizes))
    if source is not None:
        atom = Atom(source, fingerprint(total), 1)
        axes_now = replaced(frame.axes, dict.fromkeys(frame.axes[dim], atom))
        return made.viewed(axes_now, context.result_shape)
    renamed, stride = {}, 1
    for atom in reversed(others):
        renamed[atom] = Atom(0, atom.size, stride)
        stride *= atom.size
    axes_now = list(replaced(frame.axes, renamed))
    axes_now[dim] = merged((Atom(0, example_size(total), stride),))
    return made.viewed(tuple(axes_now), context.result_shape)


def _size_along(context: Context, item: FilledTensor | KnownTensor, dim: int) -> Size:
    """Size of a constant along an axis; refuses one that `_constants_of` cannot add."""
    zero = item.value == 0 if isinstance(item, FilledTensor) else not item.tensor.any()
    if not zero and (dim != 1 or len(context.result_shape) not in (2, 4)):
        context.refuse(
            "it joins a constant that is not zero along another axis than the channels",
            "join it along the channels, or add it afterwards",
        )
    return item.torch_shape[dim] if isinstance(item, FilledTensor) else item.tensor.shape[dim]


def _constants_of(items: Sequence[Item]) -> KnownTensor | None:
    """Return what is added to channels beside which constants are joined as zeros."""
    parts: list[torch.Tensor] = []
    for item in items:
        if isinstance(item, KnownTensor):
            parts.append(item.tensor)
        else:
            value = item.value if isinstance(item, FilledTensor) else 0.0
            sizes = [1, int(item.torch_shape[1]), *[1] * (len(item.torch_shape) - 2)]
            parts.append(torch.full(sizes, value, dtype=torch.float64))
    if not any(part.any() for part in parts):
        return None
    rest = torch.broadcast_shapes(*(part.shape[2:] for part in parts))
    return KnownTensor(torch.cat([part.expand(*part.shape[:2], *rest) for part in parts], 1))


def _joined_with_zeros(context: Context, items: Sequence[Item], dim: int) -> Term:
    """Give the constants to the computed parts beside them, as channels, rows or columns of zeros.

    To the channels, constants that are not zero are added.
    """
    parts: list[tuple[Term, int, int]] = []
    before = 0
    for item in items:
        if isinstance(item, Term):
            term = context.standard(item)
            parts.append((term, before, 0))
            before = 0
            continue
        size = _size_along(context, item, dim)
        if is_free(size):
            context.refuse("it joins zeros whose number depends on the image size",
                           "join a fixed number", size_dependent=True)  # fmt: skip
        if parts:
            term, first, after = parts[-1]
            parts[-1] = term, first, after + example_size(size)
        else:
            before += example_size(size)
    padded = []
    for index, (term, first, after) in enumerate(parts):
        shape = list(term.torch_shape)
        shape[dim] = shape[dim] + first + after
        padded.append(
            with_zeros(context, term, dim, first, after, tuple(shape), part=str(index))
            if first or after
            else term
        )
    if len(padded) == 1:
        made = Term(padded[0].name, padded[0].shape, context.result_shape)
    else:
        made = _joined(context, padded, dim)
    added = _constants_of(items) if dim == 1 else None
    if added is None:
        return made
    name = context.constant(added, added.tensor.shape[1:], "constant")
    return context.emit(Add(), context.standard(made), name, part="with_constant")


def with_zeros(
    context: Context,
    term: Term,
    dim: int,
    before: int,
    after: int,
    torch_shape: Sequence[Size],
    part: str = "",
) -> Term:
    """Return an image or vector with zeros around it along one axis.

    Parameters
    ----------
    context
        The op.
    term
        The image or vector.
    dim
        1 for channels, 2 for rows, 3 for columns.
    before, after
        How many channels, rows or columns of zeros.
    torch_shape
        Shape of the result.
    part
        Tells the results of an op with several apart.
    """
    shape = tuple(torch_shape)
    if dim == 1:
        own = np.arange(int(term.shape[0]))  # type: ignore[arg-type]
        channels = np.concatenate([np.full(before, -1), own, np.full(after, -1)])
        try:
            return gathered(
                lambda op, value: context.emit(op, value, part=part, torch_shape=shape),
                term, channels,
            )  # fmt: skip
        except ArrangementError as error:
            context.refuse(str(error), "pad fewer channels")
    sides = [0, 0, 0, 0]
    sides[2 * dim - 4 : 2 * dim - 2] = before, after
    op = Pad(tuple(sides))  # type: ignore[arg-type]
    return context.emit(op, term, part=part, torch_shape=shape)


def roll(context: Context) -> Term:
    """Entries moved along axes; what leaves at one end comes in at the other."""
    term: Term = context["self"]
    shifts, dims = list(context["shifts"]), list(context["dims"])
    if not dims:
        context.refuse("it rolls the flattened tensor", "name the axes: dims=(2, 3)")
    for position, (shift, dim) in enumerate(zip(shifts, dims, strict=True)):
        dim %= len(term.torch_shape)
        size = term.torch_shape[dim]
        if is_free(size) or not isinstance(shift, int):
            context.refuse(
                "it rolls rows or columns of an image of any size, or by a number that depends on "
                "the size", "roll before the model", size_dependent=True,
            )  # fmt: skip
        shift %= example_size(size)
        if shift == 0:
            continue
        if on_image_axis(term, dim) is None:
            entries = np.roll(np.arange(example_size(size)), shift)
            term = chosen(context, term, dim, entries, str(position))
            continue
        kept = example_size(size) - shift
        last = cut(context, term, dim, kept, None, part=f"{position}.last", size=shift)
        first = cut(context, term, dim, 0, kept, part=f"{position}.first", size=kept)
        term = _joined(context, [last, first], dim)
    return term


_MODES: dict[str, PaddingMode] = {"constant": "zero", "reflect": "reflect",
                                  "replicate": "replicate"}  # fmt: skip
_NAMES = {"reflection": "reflect", "replication": "replicate"}


def pad(context: Context) -> Term:
    """Pad channels with zeros, and rows and columns with any number; a negative amount crops."""
    arguments = context.arguments
    amounts = list(arguments.get("pad", arguments.get("padding")))
    name = context.node.target.__name__  # type: ignore[union-attr]
    named = next((mode for word, mode in _NAMES.items() if word in name), "constant")
    mode = arguments.get("mode", named)
    if mode not in (*_MODES, "circular"):
        context.refuse(
            f"its padding mode is {mode!r}",
            "use zeros, 'reflect', 'replicate' or 'circular' instead",
        )
    value = float(arguments.get("value") or 0) if mode == "constant" else 0.0
    if not math.isfinite(value):
        context.refuse(f"it pads with {value}", "pad with -inf right before a max pooling alone")
    if not all(isinstance(amount, int) for amount in amounts):
        context.refuse(
            "its amounts move with the image size",
            "pad by fixed amounts, or pad the image before the model",
            size_dependent=True,
        )
    term = context.term("self")
    rank = len(term.torch_shape)
    amounts += [0] * (2 * rank - len(amounts))
    around = {rank - 1 - i: (amounts[2 * i], amounts[2 * i + 1]) for i in range(rank)}
    if any(around[0]):
        context.refuse("it pads the batch axis", "pad channels, rows or columns")
    if mode == "circular" and rank > 2:
        return context.reshaped(_cropped(context, _around(context, term, around), around))
    if mode != "constant":
        if rank == 2:
            context.refuse("it mirrors or repeats features of a vector", "pad with zeros")
        return context.reshaped(_cropped(context, _padded(context, term, around, _MODES[mode]),
                                         around))  # fmt: skip
    # Cropping comes first: torch refuses to crop more than there is, whatever is padded.
    term = _cropped(context, term, around)
    before, after = (max(amount, 0) for amount in around[1])
    if value and (rank != 4 or before or after):
        context.refuse(
            f"it pads channels or features with {value}",
            "pad rows and columns alone, or pad with zeros",
        )
    if before or after:
        shape = (1, int(term.shape[0]) + before + after, *term.torch_shape[2:])  # type: ignore[arg-type]
        term = with_zeros(context, term, 1, before, after, shape, part="channels")
    if rank == 4:
        term = _padded(context, term, around, "zero", value)
    return context.reshaped(term)


def _padded(
    context: Context,
    term: Term,
    around: dict[int, tuple[int, int]],
    mode: PaddingMode,
    value: float = 0.0,
) -> Term:
    """Pad by the positive amounts of rows and columns."""
    sides: Sides = tuple(max(amount, 0) for dim in (2, 3) for amount in around[dim])  # type: ignore[assignment]
    cropped = min(amount for dim in around for amount in around[dim]) < 0
    if any(sides) or not (cropped or any(around[1])):
        return context.emit(ConstantPad(sides, value) if value else Pad(sides, mode), term)
    return term


def _around(context: Context, term: Term, around: dict[int, tuple[int, int]]) -> Term:
    """Repeat the opposite end before and after rows and columns, as in circular padding."""
    for dim, amounts in sorted(around.items()):
        before, after = (max(amount, 0) for amount in amounts)
        parts = [term]
        if before:
            last = cut(context, term, dim, -before, None, part=f"{dim}.last", size=before)
            parts.insert(0, last)
        if after:
            parts.append(cut(context, term, dim, 0, after, part=f"{dim}.first", size=after))
        if len(parts) > 1:
            sizes = list(term.torch_shape)
            sizes[dim] = sizes[dim] + before + after
            own = context.with_arguments({}, tuple(sizes))
            term = _joined(own, parts, dim)
    return term


def _cropped(context: Context, term: Term, around: dict[int, tuple[int, int]]) -> Term:
    """Cut off what negative amounts say."""
    for dim in sorted(around):
        before, after = (min(amount, 0) for amount in around[dim])
        if before or after:
            op = Slice(AXES[dim], -before, after or None)
            term = context.emit(op, term, part=f"crop_{AXES[dim]}s")
    return term


JOINING: dict[str, Converter] = {
    "aten.cat.default": concat,
    "aten.concat.default": concat,
    "aten.stack.default": stack,
    "aten.roll.default": roll,
    "aten.pad.default": pad,
    "aten.constant_pad_nd.default": pad,
    "aten.reflection_pad2d.default": pad,
    "aten.replication_pad2d.default": pad,
}
"""Converters by aten op and overload."""
