"""Converters of sums, means, maxima, deviations and norms over axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.fx import Node as FxNode

from fxp.frontend.builder import Term
from fxp.frontend.channel_groups import grouped, groups_on_rows
from fxp.frontend.context import Context, Converter, shape_of
from fxp.frontend.trace import Size, difference, sizes_of
from fxp.graph import Node, Value
from fxp.graph.ops import (
    GlobalAveragePool,
    GlobalMaxPool,
    L2Norm,
    Multiply,
    Op,
    Prelu,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    StandardDeviation,
    Subtract,
    Variance,
)
from fxp.graph.ops.statistics import Scope

Axes = frozenset[int]
"""Axes of a value in the graph: 0 for channels or features, 1 for rows, 2 for columns."""
IMAGE: Axes = frozenset((1, 2))
CHANNELS: Axes = frozenset((0,))


def reduction(kind: type[ReduceSum | ReduceMean | ReduceMax], axes: Axes) -> Op:
    """Return the op that reduces axes: a global pooling, where there is one."""
    if axes == IMAGE and kind is ReduceMean:
        return GlobalAveragePool()
    if axes == IMAGE and kind is ReduceMax:
        return GlobalMaxPool()
    return kind(0 in axes, 1 in axes, 2 in axes)


def reduced(op: Op) -> tuple[type[Op], Axes] | None:
    """Return what an op computes over which axes; None if it is no reduction."""
    match op:
        case GlobalAveragePool():
            return ReduceMean, IMAGE
        case GlobalMaxPool():
            return ReduceMax, IMAGE
        case ReduceSum() | ReduceMean() | ReduceMax():
            flags = (op.channels, op.rows, op.columns)
            return type(op), frozenset(axis for axis, flag in enumerate(flags) if flag)
    return None


def grouping(axes: Axes, value: Term | Value) -> tuple[int, Scope] | None:
    """Return groups and scope of statistics over axes of a value; None if no op has them."""
    channels, rank = int(value.shape[0]), len(value.shape)  # type: ignore[arg-type]
    if axes == CHANNELS:
        return 1, "pixel"
    if rank == 3 and axes == IMAGE:
        return channels, "image"
    if rank == 3 and axes == IMAGE | CHANNELS:
        return 1, "image"
    return None


def _producer(context: Context, term: Term) -> Node | None:
    return next((node for node in context.builder.nodes if node.name == term.name), None)


@dataclass(frozen=True)
class Reading:
    """What a reduction reads, a value of the graph, however the model views it.

    Attributes
    ----------
    term
        The view.
    dims
        Axes of the view that are reduced.
    value
        The value itself.
    axes
        Its axes that are reduced.
    """

    term: Term
    dims: frozenset[int]
    value: Term
    axes: Axes

    def result(self, context: Context, op: Op, part: str = "") -> Term:
        """Emit an op that leaves one entry of each reduced axis.

        Parameters
        ----------
        context
            The aten op.
        op
            The op of the graph.
        part
            Tells nodes of one aten op apart.
        """
        return self.of(context, context.emit(op, self.value, part=part, torch_shape=()))

    def of(self, context: Context, made: Term) -> Term:
        """Return a reduced value as torch gives it, with or without its reduced axes."""
        shape = self.value.torch_shape
        own = tuple(
            1 if axis - 1 in self.axes or (axis and made.shape[axis - 1] == 1) else shape[axis]
            for axis in range(len(shape))
        )
        made = replace(made, torch_shape=own)
        wanted = context.result_shape
        kept = len(wanted) == len(self.term.axes)
        axes = tuple(
            () if dim in self.dims else axis
            for dim, axis in enumerate(self.term.axes)
            if kept or dim not in self.dims
        )
        return made.viewed(axes, wanted)


def _reduced_axes(context: Context, name: str, dims: Any) -> tuple[Term, frozenset[int]]:
    """Return the tensor that an op over some axes reads, and these axes, all of them for None."""
    if context.arguments.get("dtype") is not None:
        context.refuse("it changes the type", "keep one floating-point type in the whole model")
    term = context[name]
    if not isinstance(term, Term):
        term = context.term(name)
    rank = max(len(term.torch_shape), 1)
    named = [dims] if isinstance(dims, int) else list(dims or range(rank))
    chosen = frozenset(dim % rank for dim in named)
    if 0 in chosen and len(chosen) < rank:
        context.refuse("it reduces the batch axis", "reduce channels, rows or columns alone")
    return term, chosen


def reading(context: Context, name: str, dims: Any) -> Reading:
    """Return what an op over some axes of torch reads; over all axes for None or an empty list.

    Parameters
    ----------
    context
        The aten op.
    name
        The argument.
    dims
        Axes of torch: one, several or None.
    """
    term, chosen = _reduced_axes(context, name, dims)
    axes = _axes_of_value(term, chosen)
    if axes is None:
        groups = groups_on_rows(context, term, chosen)
        if groups is not None:
            view = groups.value.viewed(groups.axes, term.torch_shape)
            return Reading(view, chosen, groups.value, IMAGE)
        term = context.standard(term)
        axes = frozenset(dim - 1 for dim in chosen if dim)
    return Reading(term, chosen, term.base, axes)


def _axes_of_value(term: Term, dims: frozenset[int]) -> Axes | None:
    """Axes of the value that axes of its view are; None if these are parts of an axis."""
    inside = [atom for dim, axis in enumerate(term.axes) if dim in dims for atom in axis]
    outside = [atom for dim, axis in enumerate(term.axes) if dim not in dims for atom in axis]
    sources = {atom.source for atom in inside}
    if None in sources or sources & {atom.source for atom in outside}:
        return None
    if len(term.base.torch_shape) != len(term.shape) + 1 and term.base.torch_shape:
        return None
    return frozenset(source for source in sources if source is not None)


def _reduce(context: Context, kind: type[ReduceSum | ReduceMean | ReduceMax]) -> Term:
    read = reading(context, "self", context.arguments.get("dim"))
    if not read.axes:
        return read.of(context, read.value)
    before = _producer(context, read.value)
    found = before and reduced(before.op)
    if before is not None and found is not None and found[0] is kind:
        # One after the other is both at once.
        source = context.builder.terms[before.inputs[0]]
        both = context.emit(reduction(kind, read.axes | found[1]), source, torch_shape=())
        return read.of(context, both)
    return read.result(context, reduction(kind, read.axes))


def total(context: Context) -> Term:
    """Sum over channels, rows, columns, or several of them."""
    return _reduce(context, ReduceSum)


def mean(context: Context) -> Term:
    """Mean over channels, rows, columns, or several of them."""
    return _reduce(context, ReduceMean)


def maximum(context: Context) -> Term:
    """Maximum over channels, rows, columns, or several of them."""
    return _reduce(context, ReduceMax)


def _negative(context: Context, term: Term, part: str = "") -> Term:
    minus = context.scalar(-1.0, len(term.shape), f"{part}.minus" if part else "minus")
    return context.emit(Multiply(), term, minus, part=part, torch_shape=term.torch_shape)


def minimum(context: Context) -> Term:
    """Minimum over channels, rows, columns, or several of them, as a maximum of the negative."""
    read = reading(context, "self", context.arguments.get("dim"))
    negative = _negative(context, read.value, "negative")
    largest = context.emit(
        reduction(ReduceMax, read.axes), negative, part="largest", torch_shape=()
    )
    return read.of(context, _negative(context, largest))


def maximum_of_axis(context: Context) -> tuple[Term]:
    """Maximum over one axis; its position, the second result, is refused where it is read."""
    return (maximum(context),)


def minimum_of_axis(context: Context) -> tuple[Term]:
    """Minimum over one axis; its position, the second result, is refused where it is read."""
    return (minimum(context),)


def _correction(context: Context) -> int:
    """Return what is taken off the count: torch's older argument is called unbiased."""
    arguments = context.arguments
    if "unbiased" in arguments:
        return int(bool(arguments["unbiased"]))
    correction = arguments.get("correction")
    correction = 1 if correction is None else correction
    if correction not in (0, 1):
        context.refuse(f"its correction is {correction}", "only 0 and 1 are supported")
    return int(correction)


def _of_groups(
    context: Context, dims: Any, op: Callable[[int, Scope], Op], part: str = ""
) -> Term | None:
    """Emit a statistic of groups of channels; None if the axes are axes of the value itself."""
    term, chosen = _reduced_axes(context, "self", dims)
    groups = grouped(context, term, chosen) if _axes_of_value(term, chosen) is None else None
    if groups is None:
        return None
    sizes = groups.value.torch_shape
    shape = (1, groups.count, *((1, 1) if groups.scope == "image" else sizes[2:]))
    made = context.emit(op(groups.count, groups.scope), groups.value, part=part, torch_shape=shape)
    wanted = context.result_shape
    kept = len(wanted) == len(term.axes)
    axes = tuple(axis for dim, axis in enumerate(groups.axes) if kept or dim not in chosen)
    return made.viewed(axes, wanted)


def _spread(context: Context, *, root: bool, part: str = "") -> Term:
    """Emit a variance, or its root."""
    kind, correction = StandardDeviation if root else Variance, _correction(context)
    dims = context.arguments.get("dim")
    made = _of_groups(context, dims, lambda count, scope: kind(count, scope, correction), part)
    if made is not None:
        return made
    read = reading(context, "self", dims)
    found = grouping(read.axes, read.value)
    if found is None:
        context.refuse(
            f"it takes the deviation over axes {dims} of {shape_of(read.term)}",
            "take it over channels, dim=1, over rows and columns, dim=(2, 3), or over all three",
        )
    return read.result(context, kind(*found, correction), part)


def deviation(context: Context) -> Term:
    """Root of the variance over channels, over the image, or over both."""
    return _spread(context, root=True)


def variance(context: Context) -> Term:
    """Variance over channels, over the image, or over both."""
    return _spread(context, root=False)


def _with_mean(context: Context, *, root: bool) -> tuple[Term, Term]:
    spread = _spread(context, root=root, part="deviation" if root else "variance")
    read = reading(context, "self", context.arguments.get("dim"))
    return spread, read.result(context, reduction(ReduceMean, read.axes), "mean")


def deviation_and_mean(context: Context) -> tuple[Term, Term]:
    """Root of the variance, and mean, over channels, over the image, or over both."""
    return _with_mean(context, root=True)


def variance_and_mean(context: Context) -> tuple[Term, Term]:
    """Variance and mean over channels, over the image, or over both."""
    return _with_mean(context, root=False)


def vector_norm(context: Context) -> Term:
    """L2 norm over channels, over the image, or over both; L1 and maximum norm over any axes."""
    arguments = context.arguments
    order = arguments.get("ord", arguments.get("p", 2))
    order = 2.0 if order is None else float(order)
    made = _of_groups(context, arguments.get("dim"), L2Norm) if order == 2 else None
    if made is not None:
        return made
    read = reading(context, "self", arguments.get("dim"))
    if order in (1.0, math.inf):
        slope = context.scalar(-1.0, 1, "slope")
        magnitude = context.emit(
            Prelu(), read.value, slope, part="magnitude", torch_shape=read.value.torch_shape
        )
        op = reduction(ReduceSum if order == 1 else ReduceMax, read.axes)
        return read.of(context, context.emit(op, magnitude, torch_shape=()))
    found = grouping(read.axes, read.value)
    if order != 2 or found is None:
        context.refuse(
            f"it takes the norm of order {order:g} over axes {arguments.get('dim')}",
            "take the norm of order 2 over channels, dim=1, over rows and columns, dim=(2, 3), or "
            "over all three",
        )
    return read.result(context, L2Norm(*found))


def matrix_or_vector_norm(context: Context) -> Term:
    """Norm as `torch.linalg.norm` understands it: of vectors, or the Frobenius norm."""
    dims, order = context["dim"], context["ord"]
    if order is not None and dims is not None and len(dims) == 2:
        context.refuse("it is a norm of matrices", "leave ord out, or use vector_norm")
    return vector_norm(context)


def counted_sum(context: Context, divisor: int | float | torch.SymInt) -> Term | None:
    """Return the mean that ``sum / divisor`` is, or the variance if the divisor is one less.

    None if it is neither.
    """
    term = context["self"]
    before = _producer(context, term) if isinstance(term, Term) else None
    if before is None or not isinstance(before.op, ReduceSum):
        return None
    root: Any = context.node.args[0]
    while isinstance(root, FxNode) and str(root.target).startswith("aten.sum."):
        root = root.args[0]
    sizes = sizes_of(root.meta["val"])[1:]
    flags = (before.op.channels, before.op.rows, before.op.columns)
    count: Size = 1
    if len(sizes) != (3 if len(term.shape) == 3 else 1):
        return None
    for size, flag in zip(sizes, flags, strict=False):
        count = count * size if flag else count
    if isinstance(divisor, float):
        divisor = int(divisor) if divisor.is_integer() else 0
    if not isinstance(divisor, int | torch.SymInt):
        return None
    missing = difference(count, divisor)
    axes = frozenset(axis for axis, flag in enumerate(flags) if flag)
    source = context.builder.terms[before.inputs[0]]
    op: Op
    if missing == 0:
        op = reduction(ReduceMean, axes)
    elif missing == 1:
        centered = _centered(context, source, axes)
        groups = grouping(axes, centered) if centered is not None else None
        if centered is None or groups is None:
            return None
        op, source = Variance(*groups, 1), centered
    else:
        return None
    return replace(term, name=context.emit(op, source, torch_shape=()).name)


def _centered(context: Context, squares: Term, axes: Axes) -> Term | None:
    """Return ``x`` of ``(x - mean(x))**2``, with the mean over some axes."""
    square = _producer(context, squares)
    if square is None or not isinstance(square.op, Multiply) or len(set(square.inputs)) > 1:
        return None
    deviation = _producer(context, context.builder.terms[square.inputs[0]])
    if deviation is None or not isinstance(deviation.op, Subtract):
        return None
    value, center = (context.builder.terms.get(name) for name in deviation.inputs)
    mean = _producer(context, center) if center is not None else None
    if value is None or mean is None or mean.inputs != (value.name,):
        return None
    return value if reduced(mean.op) == (ReduceMean, axes) else None


STATISTICS: dict[str, Converter] = {
    "aten.sum.default": total,
    "aten.sum.dim_IntList": total,
    "aten.mean.default": mean,
    "aten.mean.dim": mean,
    "aten.amax.default": maximum,
    "aten.max.default": maximum,
    "aten.max.dim": maximum_of_axis,
    "aten.amin.default": minimum,
    "aten.min.default": minimum,
    "aten.min.dim": minimum_of_axis,
    "aten.std.default": deviation,
    "aten.std.dim": deviation,
    "aten.std.correction": deviation,
    "aten.var.default": variance,
    "aten.var.dim": variance,
    "aten.var.correction": variance,
    "aten.std_mean.default": deviation_and_mean,
    "aten.std_mean.dim": deviation_and_mean,
    "aten.std_mean.correction": deviation_and_mean,
    "aten.var_mean.default": variance_and_mean,
    "aten.var_mean.dim": variance_and_mean,
    "aten.var_mean.correction": variance_and_mean,
    "aten.linalg_vector_norm.default": vector_norm,
    "aten.linalg_norm.default": matrix_or_vector_norm,
    "aten.norm.ScalarOpt_dim": vector_norm,
    "aten.norm.Scalar": vector_norm,
}
"""Converters by aten op and overload."""
