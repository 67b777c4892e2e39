"""Pooling and reductions: totals of windows that tile the image."""

from __future__ import annotations

import numpy as np

from fxp.formats import Format, IntArray
from fxp.graph import Node
from fxp.graph.ops import AveragePool, DilatedMaxPool, MaxPool, SumPool
from fxp.graph.ops.pooling import GLOBAL_FRAC, SlidingWindow, reciprocal
from fxp.graph.ops.reduction import GlobalAveragePool, GlobalMaxPool, ReduceMax, ReduceMean
from fxp.hls.hls4ml_export.layers import Axis, Weights, check_rounding, move, reduction
from fxp.hls.hls4ml_export.lowering_state import Lowering, exact_type, source_of


def windows(made: Lowering, node: Node, result: str) -> str:
    """Pooling windows; those that overlap or meet the padding are laid out side by side first.

    Parameters
    ----------
    made
        Layers made so far; the new ones are added to them.
    node
        The node of the graph.
    result
        C++ type of its result.

    Returns
    -------
    str
        Name of the layer that computes the node.
    """
    op = node.op
    assert isinstance(op, SlidingWindow)
    source, shape, counts = source_of(made, node), made.image(node.inputs[0]), made.image(node.name)
    tiles = (shape[0], counts[1] * op.window[0], counts[2] * op.window[1])
    largest = isinstance(op, MaxPool | DilatedMaxPool)
    if tiles != shape or op.stride != op.window or any(op.padding) or op.dilation != (1, 1):
        form = made.format(node.inputs[0])
        rows, columns = (
            Axis(
                shape[1 + axis],
                step=op.stride[axis],
                start=-op.padding[2 * axis],
                window=op.window[axis],
                dilation=op.dilation[axis],
            )
            for axis in (0, 1)
        )
        name = made.new_name(f"{node.name}_windows")
        outside = form.min if largest else 0.0
        layer = move(
            name, source, (shape, tiles), exact_type(form), rows, columns, outside=outside
        )  # fmt: skip
        source = made.add(layer)
    factors = None
    if isinstance(op, AveragePool):
        factors = op.multiplier((0, counts[1]), (0, counts[2]), shape[1:])
    elif isinstance(op, SumPool):
        factors = np.array(op.factor[0])
    return _reduced(made, node, result, source, tiles, largest=largest, factors=factors)


def over_axes(made: Lowering, node: Node, result: str) -> str:
    """Sum, mean or maximum over axes: one window as long as they are.

    Parameters
    ----------
    made
        Layers made so far; the new ones are added to them.
    node
        The node of the graph.
    result
        C++ type of its result.

    Returns
    -------
    str
        Name of the layer that computes the node.
    """
    shape = made.shapes[node.inputs[0]]
    factors = None
    if isinstance(node.op, GlobalAveragePool | ReduceMean):
        count = int(np.prod(shape)) // int(np.prod(made.shapes[node.name]))
        factors = reciprocal(count, GLOBAL_FRAC)
    largest = isinstance(node.op, GlobalMaxPool | ReduceMax)
    source = source_of(made, node)
    return _reduced(made, node, result, source, shape, largest=largest, factors=factors)


def _reduced(
    made: Lowering,
    node: Node,
    result: str,
    source: str,
    shape: tuple[int, ...],
    *,
    largest: bool,
    factors: IntArray | None,
) -> str:
    """Totals of windows that tile an image of this shape, times factors."""
    target, form, accumulator = node.quantization, made.format(node.inputs[0]), node.accumulator
    assert target is not None
    assert accumulator is not None
    total, constants = form, None
    if not largest:
        count = int(np.prod(shape)) // int(np.prod(made.shapes[node.name]))
        total = Format.for_range(min(form.min_raw, 0) * count, form.max_raw * count, form.frac)
    width, frac = total.width, total.frac
    if factors is not None:
        factors = np.unique(factors) if len(np.unique(factors)) == 1 else factors.reshape(-1)
        scale = Format.for_range(0, int(factors.max()), accumulator.exact_format.frac - frac)
        constants = Weights(factors, scale)
        width, frac = width + scale.width, frac + scale.frac
    check_rounding(target, width, frac)
    shapes = shape, made.shapes[node.name]
    types = {"result": result, "accum": exact_type(total)}
    gather = "if (a > total) total = a;" if largest else "total += a;"
    name = made.new_name(node.name)
    return made.add(reduction(name, source, shapes, types, gather, constants))
