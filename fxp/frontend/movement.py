"""Converters of ops that move values, and of ops that do nothing at inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fxp.frontend.builder import KnownTensor, Term
from fxp.frontend.context import Context, Converter, shape_of
from fxp.frontend.trace import difference, example_size
from fxp.graph.extents import Extent
from fxp.graph.ops import Concat, Flatten, Pad, PixelShuffle, PixelUnshuffle, Slice
from fxp.graph.ops.movement import Axis
from fxp.graph.ops.padding import PaddingMode

AXES: dict[int, Axis] = {1: "channel", 2: "row", 3: "column"}
END = 1 << 62
"""A bound from here on stands for the end of the axis; export writes 2**63 - 1."""


def concat(context: Context) -> Term:
    """Concatenation of channels or features."""
    items = context["tensors"]
    if any(isinstance(item, KnownTensor) for item in items):
        context.refuse("it joins a constant", "add the constant's part in the next layer instead")
    terms = [context.standard(item) for item in items]
    axis = context["dim"] % len(terms[0].torch_shape)
    if axis != 1:
        context.refuse(f"it joins along axis {axis}", "only channels, dim=1, can be joined")
    return context.emit(Concat(), *terms)


def pixel_shuffle(context: Context) -> Term:
    """Depth to space."""
    return context.emit(PixelShuffle(context["upscale_factor"]), context.term("self"))


def pixel_unshuffle(context: Context) -> Term:
    """Space to depth."""
    return context.emit(PixelUnshuffle(context["downscale_factor"]), context.term("self"))


def _cut(context: Context, term: Term, dim: int, start: Any, stop: Any, step: int = 1) -> Term:
    """Emit ``start:stop:step`` of one axis, bounds as in Python."""
    dim %= len(term.torch_shape)
    if dim == 0:
        context.refuse("it cuts the batch axis", "the batch axis must stay whole")
    size = term.shape[dim - 1]
    if isinstance(size, Extent):
        bounds = [_free_bound(context, term, dim, bound) for bound in (start, stop)]
        return context.emit(Slice(AXES[dim], bounds[0] or 0, bounds[1], step), term)
    # A size fixed by the graph may still be a symbol for torch.
    fixed = [None if bound is None else example_size(bound) for bound in (start, stop)]
    first, last, _ = slice(*fixed).indices(size)
    if last <= first:
        context.refuse("its result is empty", "cut at least one row, column or channel")
    return context.emit(Slice(AXES[dim], first, None if last == size else last, step), term)


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
            "cut a fixed number of rows or columns from either end",
            size_dependent=True,
        )
    return behind or None


def cut(context: Context) -> Term:
    """Slice of one axis."""
    arguments = context.arguments
    return _cut(context, context.term("self"), arguments["dim"], arguments["start"],
                arguments["end"], arguments["step"])  # fmt: skip


def narrow(context: Context) -> Term:
    """``length`` entries of one axis from ``start`` on."""
    start, length = context["start"], context["length"]
    if not isinstance(start, int) or start < 0:
        context.refuse(f"it starts at {start}", "start must be a fixed number from 0 on")
    return _cut(context, context.term("self"), context["dim"], start, start + length)


def split(context: Context) -> tuple[Term, ...]:
    """Consecutive parts of the channels."""
    term = context.term("self")
    dim = context["dim"] % len(term.torch_shape)
    if dim != 1:
        context.refuse(f"it splits axis {dim}", "only channels, dim=1, can be split")
    channels = int(term.shape[0])  # type: ignore[arg-type]
    sizes = context.arguments.get("split_sizes", context.arguments.get("split_size"))
    if "chunks" in context.arguments:
        sizes = -(-channels // context["chunks"])
    if isinstance(sizes, list | tuple):
        lengths = [int(size) for size in sizes]
    else:
        step = int(sizes)
        lengths = [min(step, channels - first) for first in range(0, channels, step)]
    parts, first = [], 0
    for index, length in enumerate(lengths):
        if length == 0:
            context.refuse("one of its parts is empty", "split into parts of at least one channel")
        stop = None if first + length == channels else first + length
        shape = (1, length, *term.torch_shape[2:])
        op = Slice("channel", first, stop)
        parts.append(context.emit(op, term, part=str(index), torch_shape=shape))
        first += length
    return tuple(parts)


def pad(context: Context) -> Term:
    """Pad rows and columns; a negative amount crops."""
    arguments = context.arguments
    amounts = list(arguments.get("pad", arguments.get("padding")))
    name = context.node.target.__name__  # type: ignore[union-attr]
    mode = next((m for m in ("reflection", "replication") if m in name), None)
    mode = {"reflection": "reflect", "replication": "replicate", None: "constant"}[mode]
    mode = arguments.get("mode", mode)
    modes: dict[str, PaddingMode] = {
        "constant": "zero", "reflect": "reflect", "replicate": "replicate",
    }  # fmt: skip
    if mode not in modes:
        context.refuse(
            f"its padding mode is {mode!r}", "use zeros, 'reflect' or 'replicate' instead"
        )
    if mode == "constant" and arguments.get("value"):
        context.refuse(f"it pads with {arguments['value']}", "only zeros can be padded")
    if not all(isinstance(amount, int) for amount in amounts):
        context.refuse(
            "its amounts move with the image size",
            "pad by fixed amounts, or pad the image before the model",
            size_dependent=True,
        )
    if any(amounts[4:]):
        context.refuse("it pads channels", "only rows and columns can be padded")
    term = context.term("self")
    if len(term.shape) != 3:
        context.refuse(f"it pads a tensor of shape {shape_of(term)}", "only images can be padded")
    left, right, top, bottom = [*amounts, 0, 0][:4]
    # Padding comes first: what a reflection reads may be cropped on the other side.
    added = (max(top, 0), max(bottom, 0), max(left, 0), max(right, 0))
    if any(added) or min(amounts) >= 0:
        term = context.emit(Pad(added, modes[mode]), term)
    for dim, before, after in ((2, top, bottom), (3, left, right)):
        if min(before, after) < 0:
            stop = min(after, 0) or None
            op = Slice(AXES[dim], max(-before, 0), stop)
            term = context.emit(op, term, part=f"crop_{AXES[dim]}s")
    return context.reshaped(term)


def reshape(context: Context) -> Term:
    """Flatten, or a reshape that leaves every value where it is."""
    term: Term = context["self"]
    wanted = context.result_shape
    if len(wanted) == len(term.torch_shape) and all(
        a is b or difference(a, b) == 0 for a, b in zip(wanted, term.torch_shape, strict=True)
    ):
        return term
    if term.shape[1:] == (1, 1) and _without_ones(wanted) == _without_ones(term.shape):
        return context.reshaped(term)
    if len(term.shape) == 1 and len(wanted) > 2:
        context.refuse(
            f"it makes shape {tuple(wanted)} of the vector {shape_of(term)}",
            "a vector cannot become an image again: keep (1, C, 1, 1) and use a 1x1 nn.Conv2d in "
            "place of nn.Linear",
        )
    if len(wanted) != 2 or wanted[0] != 1 or len(term.torch_shape) != 4:
        context.refuse(
            f"it reshapes {shape_of(term)} to {tuple(wanted)}",
            "only flattening to (1, F) is supported; use pixel_shuffle or pixel_unshuffle to move "
            "pixels between channels",
        )
    return context.emit(Flatten(), term)


def _without_ones(sizes: Sequence[object]) -> list[object]:
    return [size for size in sizes if size != 1]


def identity(context: Context) -> Term:
    """Nothing: the op only copies, or acts in training alone."""
    if context.arguments.get("train"):
        context.refuse("it drops values at random", "pass training=self.training")
    term = context["input" if "input" in context.arguments else "self"]
    dtype = context.arguments.get("dtype")
    before = context.node.all_input_nodes[0].meta["val"].dtype
    if dtype is not None and dtype != before:
        context.refuse(
            f"it changes the type from {before} to {dtype}",
            "keep one floating-point type in the whole model",
        )
    return term


def expand(context: Context) -> Term:
    """Nothing, where the size stays."""
    term: Term = context["self"]
    if any(difference(a, b) != 0
           for a, b in zip(context.result_shape, term.torch_shape, strict=False)):  # fmt: skip
        context.refuse(
            "it repeats values along an axis", "arithmetic repeats axes of size 1 by itself"
        )
    return term


MOVEMENT: dict[str, Converter] = {
    "aten.cat.default": concat,
    "aten.concat.default": concat,
    "aten.pixel_shuffle.default": pixel_shuffle,
    "aten.pixel_unshuffle.default": pixel_unshuffle,
    "aten.slice.Tensor": cut,
    "aten.narrow.default": narrow,
    "aten.split.Tensor": split,
    "aten.split_with_sizes.default": split,
    "aten.chunk.default": split,
    "aten.pad.default": pad,
    "aten.constant_pad_nd.default": pad,
    "aten.reflection_pad2d.default": pad,
    "aten.replication_pad2d.default": pad,
    "aten.expand.default": expand,
    **dict.fromkeys(
        (
            "aten.flatten.using_ints", "aten.view.default", "aten.reshape.default",
            "aten._unsafe_view.default", "aten.squeeze.default", "aten.squeeze.dim",
            "aten.squeeze.dims", "aten.unsqueeze.default",
        ),
        reshape,
    ),
    **dict.fromkeys(
        (
            "aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default",
            "aten.clone.default", "aten.detach.default", "aten.alias.default",
            "aten.contiguous.default", "aten.to.dtype", "aten.to.device", "aten.to.dtype_layout",
            "aten._to_copy.default", "aten.lift_fresh_copy.default",
        ),
        identity,
    ),
}  # fmt: skip
"""Converters by aten op and overload."""
