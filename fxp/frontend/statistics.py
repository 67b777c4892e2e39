"""Converters of sums, means, maxima, deviations and norms over axes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node as FxNode

from fxp.frontend.builder import Term
from fxp.frontend.context import Context, Converter, shape_of
from fxp.frontend.trace import Size, difference, sizes_of
from fxp.graph import Node
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


def grouping(axes: Axes, channels: int, rank: int) -> tuple[int, Scope] | None:
    """Return groups and scope of statistics over axes; None if no op has them.

    Parameters
    ----------
    axes
        The axes.
    channels
        Channels of the value.
    rank
        Number of its axes.
    """
    if axes == CHANNELS:
        return 1, "pixel"
    if rank == 3 and axes == IMAGE:
        return channels, "image"
    if rank == 3 and axes == IMAGE | CHANNELS:
        return 1, "image"
    return None


def _producer(context: Context, term: Term) -> Node | None:
    return next((node for node in context.builder.nodes if node.name == term.name), None)


def _axes(context: Context, term: Term, dims: Any) -> Axes:
    """Axes of the graph that the named axes of torch are; all of them for None or an empty list."""
    if context.arguments.get("dtype") is not None:
        context.refuse("it changes the type", "keep one floating-point type in the whole model")
    rank = len(term.torch_shape)
    named = [dims] if isinstance(dims, int) else list(dims or range(1, rank))
    axes = {dim % rank for dim in named} - ({0} if len(named) >= rank else set())
    if 0 in axes:
        context.refuse("it reduces the batch axis", "reduce channels, rows or columns alone")
    return frozenset(axis - 1 for axis in axes)


def _reduce(context: Context, kind: type[ReduceSum | ReduceMean | ReduceMax]) -> Term:
    term = context.term("self")
    axes = _axes(context, term, context.arguments.get("dim"))
    before = _producer(context, term)
    found = before and reduced(before.op)
    if before is not None and found is not None and found[0] is kind:
        # One after the other is both at once.
        source = context.builder.terms[before.inputs[0]]
        return context.emit(reduction(kind, axes | found[1]), source)
    return context.emit(reduction(kind, axes), term)


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
    term = context.term("self")
    axes = _axes(context, term, context.arguments.get("dim"))
    negative = _negative(context, term, "negative")
    return _negative(context, context.emit(reduction(ReduceMax, axes), negative, part="largest"))


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


def _spread(context: Context, *, root: bool, part: str = "") -> Term:
    """Emit a variance, or its root."""
    term = context.term("self")
    axes = _axes(context, term, context.arguments.get("dim"))
    found = grouping(axes, int(term.shape[0]), len(term.shape))  # type: ignore[arg-type]
    if found is None:
        context.refuse(
            f"it takes the deviation over axes {context.arguments.get('dim')} of {shape_of(term)}",
            "take it over channels, dim=1, over rows and columns, dim=(2, 3), or over all three",
        )
    op = (StandardDeviation if root else Variance)(*found, _correction(context))
    return context.emit(op, term, part=part)


def deviation(context: Context) -> Term:
    """Return the standard deviation over channels, over the image, or over both."""
    return _spread(context, root=True)


def variance(context: Context) -> Term:
    """Variance over channels, over the image, or over both."""
    return _spread(context, root=False)


def _with_mean(context: Context, *, root: bool) -> tuple[Term, Term]:
    spread = _spread(context, root=root, part="deviation" if root else "variance")
    term = context.term("self")
    op = reduction(ReduceMean, _axes(context, term, context.arguments.get("dim")))
    return spread, context.emit(op, term, part="mean")


def deviation_and_mean(context: Context) -> tuple[Term, Term]:
    """Return standard deviation and mean over channels, over the image, or over both."""
    return _with_mean(context, root=True)


def variance_and_mean(context: Context) -> tuple[Term, Term]:
    """Variance and mean over channels, over the image, or over both."""
    return _with_mean(context, root=False)


def vector_norm(context: Context) -> Term:
    """L2 norm over channels, over the image, or over both; L1 and maximum norm over any axes."""
    arguments = context.arguments
    term = context.term("self")
    order = arguments.get("ord", arguments.get("p", 2))
    order = 2.0 if order is None else float(order)
    axes = _axes(context, term, arguments.get("dim"))
    if order in (1.0, math.inf):
        slope = context.scalar(-1.0, 1, "slope")
        magnitude = context.emit(
            Prelu(), term, slope, part="magnitude", torch_shape=term.torch_shape
        )
        return context.emit(reduction(ReduceSum if order == 1 else ReduceMax, axes), magnitude)
    found = grouping(axes, int(term.shape[0]), len(term.shape))  # type: ignore[arg-type]
    if order != 2 or found is None:
        context.refuse(
            f"it takes the norm of order {order:g} over axes {arguments.get('dim')}",
            "take the norm of order 2 over channels, dim=1, over rows and columns, dim=(2, 3), or "
            "over all three",
        )
    return context.emit(L2Norm(*found), term)


def matrix_or_vector_norm(context: Context) -> Term:
    """Norm as `torch.linalg.norm` understands it: of vectors, or the Frobenius norm."""
    dims, order = context["dim"], context["ord"]
    if order is not None and dims is not None and len(dims) == 2:
        context.refuse("it is a norm of matrices", "leave ord out, or use vector_norm")
    return vector_norm(context)


def counted_sum(context: Context, divisor: int | float | torch.SymInt) -> Term | None:
    """Return the mean that ``sum / divisor`` is, or None if the divisor is not the count."""
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
    if not isinstance(divisor, int | torch.SymInt) or difference(count, divisor) != 0:
        return None
    axes = frozenset(axis for axis, flag in enumerate(flags) if flag)
    return context.emit(reduction(ReduceMean, axes), context.builder.terms[before.inputs[0]])


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
