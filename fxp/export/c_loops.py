"""Loops of C99 that compute the exact results of ops, for images of fixed sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.graph import Graph, Node
from fxp.graph.ops import (
    Add,
    AveragePool,
    Clamp,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    Linear,
    MaxPool,
    Multiply,
    Prelu,
    Relu,
    Requantize,
    Subtract,
    SumPool,
    Table,
    Unflatten,
)
from fxp.graph.ops.base import GraphError

MOVES: Final = frozenset(
    ("flip", "gather_channels", "nearest", "pad", "part", "pixel_shuffle", "pixel_unshuffle",
     "slice", "transpose")
)  # fmt: skip
"""Ops whose results are found by a table of positions."""
Shape = tuple[int, ...]


@dataclass
class Loop:
    """A node that is written.

    Attributes
    ----------
    graph, node
        What is computed.
    names
        C names of what the node reads.
    shapes
        Concrete shapes of what it reads.
    result
        Concrete shape of its result.
    wide
        C type of the sums.
    store
        Writes ``store(value, position, channel)`` for a result.
    table
        Enters a constant array under a name, and returns the name.
    """

    graph: Graph
    node: Node
    names: Sequence[str]
    shapes: Sequence[Shape]
    result: Shape
    wide: str
    store: Callable[[str, str, str], str]
    table: Callable[[str, NDArray[np.int64]], str]

    @property
    def size(self) -> int:
        """Elements of the result."""
        return prod(self.result)

    @property
    def plane(self) -> int:
        """Elements of a channel of the result."""
        return prod(self.result[1:])


def largest_partial_sum(graph: Graph, node: Node) -> int:
    """Return a bound of all sums on the way to a node's exact result.

    Parameters
    ----------
    graph, node
        An integer graph and a node of it.
    """
    accumulator, operands = node.accumulator, graph.operands[node.name]
    assert accumulator is not None
    bound = max(-min(accumulator.low), max(accumulator.high))
    if isinstance(node.op, Conv2d | ConvTranspose2d | Linear):
        positive, negative = operands[1].signed_sums
        weights = max(p - n for p, n in zip(positive, negative, strict=True))
        low, high = operands[0].limits
        bias = operands[2].constant if len(operands) > 2 else None
        most = 0 if bias is None else int(np.abs(bias).max())
        return max(bound, weights * max(-low, high) + most)
    if isinstance(node.op, Add | Subtract):
        shifts = [accumulator.frac - operand.format.frac for operand in operands]
        terms = zip(operands, shifts, strict=True)
        return max(bound, *(max(map(abs, item.limits)) << shift for item, shift in terms))
    return bound


def _convolution(loop: Loop) -> list[str]:
    op = loop.node.op
    assert isinstance(op, Conv2d)
    if op.padding_mode != "zero" and any(op.padding):
        raise GraphError("its padding is not of zeros")
    _, height, width = loop.shapes[0]
    _, inner, rows, columns = loop.shapes[1]
    channels, out_height, out_width = loop.result
    top, _, left, _ = op.padding
    bias = f"{loop.names[2]}[o]" if len(loop.names) > 2 else "0"
    per_group = channels // op.groups
    return [
        f"for (int o = 0; o < {channels}; o++)",
        f"for (int i = 0; i < {out_height}; i++)",
        f"for (int j = 0; j < {out_width}; j++) {{",
        f"  {loop.wide} sum = {bias};",
        f"  for (int c = 0; c < {inner}; c++)",
        f"  for (int k = 0; k < {rows}; k++) {{",
        f"    const int y = i * {op.stride[0]} + k * {op.dilation[0]} - {top};",
        f"    if (y < 0 || y >= {height}) continue;",
        f"    for (int l = 0; l < {columns}; l++) {{",
        f"      const int x = j * {op.stride[1]} + l * {op.dilation[1]} - {left};",
        f"      if (x < 0 || x >= {width}) continue;",
        f"      sum += ({loop.wide}){loop.names[1]}[((o * {inner} + c) * {rows} + k) * {columns} "
        f"+ l] * {loop.names[0]}[((o / {per_group} * {inner} + c) * {height} + y) * {width} + x];",
        "    }",
        "  }",
        f"  {loop.store('sum', f'(o * {out_height} + i) * {out_width} + j', 'o')}",
        "}",
    ]


def _transposed(loop: Loop) -> list[str]:
    op = loop.node.op
    assert isinstance(op, ConvTranspose2d)
    _, height, width = loop.shapes[0]
    _, inner, rows, columns = loop.shapes[1]
    channels, out_height, out_width = loop.result
    bias = f"{loop.names[2]}[o]" if len(loop.names) > 2 else "0"
    per_group = channels // op.groups
    return [
        f"for (int o = 0; o < {channels}; o++)",
        f"for (int i = 0; i < {out_height}; i++)",
        f"for (int j = 0; j < {out_width}; j++) {{",
        f"  {loop.wide} sum = {bias};",
        f"  for (int k = 0; k < {rows}; k++) {{",
        f"    const int v = i + {op.padding[0]} - k * {op.dilation[0]}, y = v / {op.stride[0]};",
        f"    if (v < 0 || v % {op.stride[0]} || y >= {height}) continue;",
        f"    for (int l = 0; l < {columns}; l++) {{",
        f"      const int u = j + {op.padding[1]} - l * {op.dilation[1]}, x = u / {op.stride[1]};",
        f"      if (u < 0 || u % {op.stride[1]} || x >= {width}) continue;",
        f"      for (int c = 0; c < {inner}; c++)",
        f"        sum += ({loop.wide}){loop.names[1]}[((o * {inner} + c) * {rows} + k) * {columns} "
        f"+ l] * {loop.names[0]}[((o / {per_group} * {inner} + c) * {height} + y) * {width} + x];",
        "    }",
        "  }",
        f"  {loop.store('sum', f'(o * {out_height} + i) * {out_width} + j', 'o')}",
        "}",
    ]


def _linear(loop: Loop) -> list[str]:
    outputs, inputs = loop.shapes[1]
    bias = f"{loop.names[2]}[o]" if len(loop.names) > 2 else "0"
    return [
        f"for (int o = 0; o < {outputs}; o++) {{",
        f"  {loop.wide} sum = {bias};",
        f"  for (int c = 0; c < {inputs}; c++)",
        f"    sum += ({loop.wide}){loop.names[1]}[o * {inputs} + c] * {loop.names[0]}[c];",
        f"  {loop.store('sum', 'o', 'o')}",
        "}",
    ]


def _each(loop: Loop, value: str) -> list[str]:
    """Write a loop over all elements; ``n`` is the position."""
    return [
        f"for (int n = 0; n < {loop.size}; n++) {{",
        f"  const {loop.wide} v = {value};",
        f"  {loop.store('v', 'n', f'n / {loop.plane}')}",
        "}",
    ]


def _operand(loop: Loop, place: int, shift: int = 0) -> str:
    """Return an operand at position ``n`` of the result, whose axes may have one entry."""
    shape, result = loop.shapes[place], loop.result
    shape = (1,) * (len(result) - len(shape)) + tuple(shape)
    if shape == result:
        index = "n"
    elif prod(shape) == 1:
        index = "0"
    else:
        terms, stride, own = [], 1, 1
        for size, mine in zip(reversed(result), reversed(shape), strict=True):
            if mine > 1:
                terms.append(f"n / {stride} % {size} * {own}")
            stride, own = stride * size, own * mine
        index = " + ".join(terms)
    factor = f" * ({loop.wide}){1 << shift}" if shift else ""
    return f"({loop.wide}){loop.names[place]}[{index}]{factor}"


def _combination(loop: Loop) -> list[str]:
    op = loop.node.op
    accumulator = loop.node.accumulator
    assert accumulator is not None
    operands = loop.graph.operands[loop.node.name]
    shifts = [0, 0]
    if not isinstance(op, Multiply):
        shifts = [accumulator.frac - operand.format.frac for operand in operands]
    sign = {Add: "+", Subtract: "-", Multiply: "*"}[type(op)]
    left, right = (_operand(loop, place, shift) for place, shift in enumerate(shifts))
    return _each(loop, f"{left} {sign} {right}")


def _clamp(loop: Loop) -> list[str]:
    op = loop.node.op
    assert isinstance(op, Relu | Clamp)
    source = loop.graph.operands[loop.node.name][0]
    low, high = op.limits(source)
    value = name = f"{loop.names[0]}[n]"
    # Compilers warn of comparisons that always have the same result.
    if high < source.limits[1]:
        value = f"{name} > {high} ? {high} : {value}"
    if low > source.limits[0]:
        value = f"{name} < {low} ? {low} : {value}"
    return _each(loop, value)


def _prelu(loop: Loop) -> list[str]:
    slope = loop.graph.operands[loop.node.name][1]
    place = f"n / {loop.plane}" if slope.channels > 1 else "0"
    name = f"({loop.wide}){loop.names[0]}[n]"
    one = 1 << slope.format.frac
    return _each(loop, f"{name} * ({loop.names[0]}[n] < 0 ? {loop.names[1]}[{place}] : {one})")


def _copy(loop: Loop) -> list[str]:
    return _each(loop, f"{loop.names[0]}[n]")


def _table(loop: Loop) -> list[str]:
    source = loop.graph.operands[loop.node.name][0].format
    return _each(loop, f"{loop.names[1]}[{loop.names[0]}[n] - ({source.min_raw})]")


def _concat(loop: Loop) -> list[str]:
    accumulator = loop.node.accumulator
    assert accumulator is not None
    lines, start = [], 0
    operands = loop.graph.operands[loop.node.name]
    for place, (shape, operand) in enumerate(zip(loop.shapes, operands, strict=True)):
        shift = accumulator.frac - operand.format.frac
        factor = f" * {1 << shift}" if shift else ""
        at = f"n + {start}"
        lines += [
            f"for (int n = 0; n < {prod(shape)}; n++) {{",
            f"  const {loop.wide} v = ({loop.wide}){loop.names[place]}[n]{factor};",
            f"  {loop.store('v', at, f'({at}) / {loop.plane}')}",
            "}",
        ]
        start += prod(shape)
    return lines


def _pool(loop: Loop, start: str, each: str, after: Sequence[str]) -> list[str]:
    """Write the loops of a sliding window; ``p`` is a pixel, and ``count`` how many there are."""
    op = loop.node.op
    assert isinstance(op, MaxPool | AveragePool | SumPool)
    _, height, width = loop.shapes[0]
    channels, out_height, out_width = loop.result
    top, _, left, _ = op.padding
    return [
        f"for (int o = 0; o < {channels}; o++)",
        f"for (int i = 0; i < {out_height}; i++)",
        f"for (int j = 0; j < {out_width}; j++) {{",
        f"  {loop.wide} sum = {start};",
        f"  for (int k = 0; k < {op.window[0]}; k++)",
        f"  for (int l = 0; l < {op.window[1]}; l++) {{",
        f"    const int y = i * {op.stride[0]} + k - {top}, x = j * {op.stride[1]} + l - {left};",
        f"    if (y < 0 || y >= {height} || x < 0 || x >= {width}) continue;",
        f"    const {loop.wide} p = {loop.names[0]}[(o * {height} + y) * {width} + x];",
        f"    {each}",
        "  }",
        *after,
        f"  {loop.store('sum', f'(o * {out_height} + i) * {out_width} + j', 'o')}",
        "}",
    ]


def _max_pool(loop: Loop) -> list[str]:
    source = loop.graph.operands[loop.node.name][0].format
    return _pool(loop, str(source.min_raw), "if (p > sum) sum = p;", [])


def _average_pool(loop: Loop) -> list[str]:
    op = loop.node.op
    assert isinstance(op, AveragePool | SumPool)
    if isinstance(op, AveragePool) and any(op.padding) and not op.count_padding:
        raise GraphError("its means are of different numbers of pixels")
    return _pool(loop, "0", "sum += p;", [f"  sum *= {_factor(loop)};"])


def _global_average_pool(loop: Loop) -> list[str]:
    plane = prod(loop.shapes[0][1:])
    return [
        f"for (int o = 0; o < {loop.shapes[0][0]}; o++) {{",
        f"  {loop.wide} sum = 0;",
        f"  for (int n = 0; n < {plane}; n++) sum += {loop.names[0]}[o * {plane} + n];",
        f"  sum *= {_factor(loop)};",
        f"  {loop.store('sum', 'o', 'o')}",
        "}",
    ]


def _factor(loop: Loop) -> int:
    """Return by what a sum of pixels is multiplied: the result of one pixel of 1."""
    one = np.zeros(loop.shapes[0], np.int64)
    one[(slice(None), *(0 for _ in one.shape[1:]))] = 1
    return int(loop.node.op.oracle(loop.graph.operands[loop.node.name], one).max())


def _global_max_pool(loop: Loop) -> list[str]:
    plane = prod(loop.shapes[0][1:])
    return [
        f"for (int o = 0; o < {loop.shapes[0][0]}; o++) {{",
        f"  {loop.wide} sum = {loop.names[0]}[o * {plane}];",
        f"  for (int n = 1; n < {plane}; n++)",
        f"    if ({loop.names[0]}[o * {plane} + n] > sum) sum = {loop.names[0]}[o * {plane} + n];",
        f"  {loop.store('sum', 'o', 'o')}",
        "}",
    ]


def _moved(loop: Loop) -> list[str]:
    """Write a move by a table of positions, which the oracle computes from the positions."""
    positions = np.arange(1, prod(loop.shapes[0]) + 1).reshape(loop.shapes[0])
    found = loop.node.op.oracle(loop.graph.operands[loop.node.name], positions)
    table = loop.table("positions", found.ravel() - 1)
    value = f"{loop.names[0]}[{table}[n]]"
    return _each(loop, value if found.min() > 0 else f"{table}[n] < 0 ? 0 : {value}")


LOOPS: Final[Mapping[type, Callable[[Loop], list[str]]]] = {
    Add: _combination,
    AveragePool: _average_pool,
    Clamp: _clamp,
    Concat: _concat,
    Conv2d: _convolution,
    ConvTranspose2d: _transposed,
    Flatten: _copy,
    GlobalAveragePool: _global_average_pool,
    GlobalMaxPool: _global_max_pool,
    Linear: _linear,
    MaxPool: _max_pool,
    Multiply: _combination,
    Prelu: _prelu,
    Relu: _clamp,
    Requantize: _copy,
    Subtract: _combination,
    SumPool: _average_pool,
    Unflatten: _copy,
}
"""Writers by op."""


def lines_of(loop: Loop) -> list[str]:
    """Return the lines of a node.

    Raises
    ------
    GraphError
        If there is no loop for its op.
    """
    writer = LOOPS.get(type(loop.node.op))
    if writer is None and isinstance(loop.node.op, Table):
        writer = _table
    if writer is None and loop.node.op.name in MOVES:
        writer = _moved
    if writer is None:
        raise GraphError("there is no C code for it")
    return writer(loop)
