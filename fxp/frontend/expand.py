"""Ops that are written as simpler ones before they are converted.

A reduction over the axis along which tensors were stacked is a chain of ops on two tensors, and an
`einsum` that multiplies entry by entry, or mixes channels with constant weights, is a product and a
sum, or a linear layer. One pixel that is spread over an image, to be joined with others, is an
enlargement. Some ops are formulas of others.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Sequence
from functools import cache, reduce
from typing import Any, Final

import torch
from torch.fx import Node as FxNode

_ATEN: Final = torch.ops.aten
COMPOSED: Final = frozenset(
    ("addcdiv", "addcmul", "aminmax", "atleast_1d", "atleast_2d", "atleast_3d",
     "cosine_similarity", "diff", "dstack", "glu", "hardshrink", "hstack", "masked_fill",
     "special_erf", "special_exp2", "special_expit", "special_expm1", "special_log1p",
     "special_softmax", "threshold", "vstack")
)  # fmt: skip
"""Ops that PyTorch itself writes as simpler ones, which are supported."""
MOST_PARTS: Final = 64
"""Longest axis of which every entry is read by itself."""
_CHAINED: Final = {
    "aten.amax.default": _ATEN.maximum.default,
    "aten.max.dim": _ATEN.maximum.default,
    "aten.amin.default": _ATEN.minimum.default,
    "aten.min.dim": _ATEN.minimum.default,
    "aten.sum.dim_IntList": _ATEN.add.Tensor,
    "aten.mean.dim": _ATEN.add.Tensor,
}
"""Reductions, with the op of two tensors that they repeat."""
_PRODUCTS: Final = {"aten.matmul.default", "aten.mm.default"}
_SPREADING: Final = {"aten.expand.default", "aten.repeat.default"}
_JOINING: Final = {"aten.cat.default", "aten.convolution.default"}
"""Ops that read every pixel by itself; those of two tensors spread one pixel on their own."""


@cache
def composed() -> dict[Any, Any]:
    """Return PyTorch's decompositions of the ops in `COMPOSED`, for ``run_decompositions``."""
    table = torch.export.default_decompositions()
    return {
        target: function
        for target, function in table.items()
        if str(target).startswith("aten.") and str(target).split(".")[1] in COMPOSED
    }


def expand(nodes: Sequence[FxNode], inputs: Collection[FxNode]) -> None:
    """Rewrite the nodes of an exported program in place; what cannot be expanded stays.

    Parameters
    ----------
    nodes
        All nodes in execution order; none writes to its arguments.
    inputs
        Placeholders of what the user gives.
    """
    computed = set(inputs)
    for node in nodes:
        if computed.intersection(node.all_input_nodes):
            computed.add(node)
        if node not in computed or not node.users:
            continue
        writer = _Writer(node)
        made = None
        if str(node.target) in _CHAINED:
            made = _chain(writer, node)
        elif str(node.target) == "aten.einsum.default":
            made = _einsum(writer, node, computed)
        elif str(node.target) in _PRODUCTS:
            made = _mixed(writer, node, computed)
        elif str(node.target) == "aten.im2col.default":
            made = _patches(writer, **_arguments(node))
        elif str(node.target) == "aten.mul.Tensor":
            made = _zeros(writer, node)
        elif str(node.target) in FORMULAS:
            made = FORMULAS[str(node.target)](writer, **_arguments(node))
        elif str(node.target) in _SPREADING:
            made = _spread(writer, node)
        if made is not None:
            computed.update(writer.written)
            node.replace_all_uses_with(made)
            node.graph.erase_node(node)


class _Writer:
    """Writes nodes before one, in whose place they are: of its module and line of code."""

    def __init__(self, place: FxNode) -> None:
        self._place = place
        self.written: list[FxNode] = []

    def __call__(self, target: Any, *arguments: Any) -> FxNode:
        graph = self._place.graph
        with graph.inserting_before(self._place):
            node = graph.call_function(target, arguments)
        node.meta = dict(self._place.meta)
        node.meta["val"] = target(*torch.fx.map_arg(arguments, lambda item: item.meta["val"]))
        self.written.append(node)
        return node

    def permuted(self, tensor: FxNode, before: str, after: str) -> FxNode:
        """Order axes, which have one letter each, anew."""
        order = [before.index(letter) for letter in after]
        if order == sorted(order):
            return tensor
        return self(_ATEN.permute.default, tensor, order)


def _chain(write: _Writer, node: FxNode) -> FxNode | None:
    """Reduce entry by entry what was stacked, or split into more axes than an image has."""
    source: Any = node.args[0]
    arguments = _arguments(node)
    rank = len(source.meta["val"].shape)
    dims = arguments["dim"]
    dims = [dims] if isinstance(dims, int) else list(dims or range(rank))
    stacked = source.target is _ATEN.stack.default
    if len(dims) != 1 or arguments.get("dtype") is not None or not (stacked or rank > 4):
        return None
    dim = dims[0] % rank
    parts: Sequence[FxNode]
    if stacked and _arguments(source)["dim"] % rank == dim:
        parts = list(source.args[0])
    elif rank > 4 and isinstance(source.meta["val"].shape[dim], int):
        count = source.meta["val"].shape[dim]
        if count > MOST_PARTS:
            return None
        parts = [write(_ATEN.select.int, source, dim, index) for index in range(count)]
    else:
        return None
    kind = str(node.target)
    readers = [node]
    if kind.endswith(".dim") and kind != "aten.mean.dim":
        # The second result, positions, is refused where it is read.
        if any(item.args[1] for item in node.users if item.users):
            return None
        readers = list(node.users)
    made = reduce(lambda left, right: write(_CHAINED[kind], left, right), parts)
    if kind == "aten.mean.dim":
        made = write(_ATEN.mul.Tensor, made, 1 / len(parts))
    if arguments["keepdim"]:
        made = write(_ATEN.unsqueeze.default, made, dim)
    if readers == [node]:
        return made
    for reader in readers:
        reader.replace_all_uses_with(made)
        reader.graph.erase_node(reader)
    return made


def _spread(write: _Writer, node: FxNode) -> FxNode | None:
    """Enlarge an image of one pixel for ops that read all of its pixels."""
    source: Any = node.args[0]
    before, after = source.meta["val"].shape, node.meta["val"].shape
    if not any(str(reader.target) in _JOINING for reader in node.users):
        return None
    if len(before) != 4 or len(after) != 4 or before[2:] != (1, 1) or before[:2] != after[:2]:
        return None
    sizes: Any = node.args[1]
    if any(isinstance(size, int) and size < 1 for size in sizes[2:]):
        return None
    return write(_ATEN.upsample_nearest2d.default, source, list(sizes[2:]))


def _zeros(write: _Writer, node: FxNode) -> FxNode | None:
    """Write ``x * 0``, which is joined with others, as the zeros that it is."""
    source, factor = node.args
    if not isinstance(source, FxNode) or isinstance(factor, FxNode) or factor != 0:
        return None
    if any(str(reader.target) != "aten.cat.default" for reader in node.users):
        return None
    return write(_ATEN.zeros_like.default, source)


def _einsum(write: _Writer, node: FxNode, computed: Collection[FxNode]) -> FxNode | None:
    """Write a product and a sum, or a linear layer, unless matrices are multiplied."""
    equation: Any = node.args[0]
    tensors: list[FxNode] = list(node.args[1])  # type: ignore[arg-type]
    read, arrow, result = equation.replace(" ", "").partition("->")
    letters = read.split(",")
    if not arrow or "." in equation or any(len(set(item)) < len(item) for item in letters):
        return None
    if len(tensors) == 1:
        return _summed(write, tensors[0], letters[0], result)
    if len(tensors) != 2:
        return None
    if set(letters[0]) < set(letters[1]):
        tensors, letters = tensors[::-1], letters[::-1]
    (large, small), (axes, fewer) = tensors, letters
    if set(fewer) <= set(axes):
        small = write.permuted(small, fewer, "".join(item for item in axes if item in fewer))
        for place, letter in enumerate(axes):
            if letter not in fewer:
                small = write(_ATEN.unsqueeze.default, small, place)
        return _summed(write, write(_ATEN.mul.Tensor, large, small), axes, result)
    if large not in computed:
        (large, small), (axes, fewer) = (small, large), (fewer, axes)
    inner, outer = set(axes) & set(fewer), set(fewer) - set(axes)
    mixes = len(fewer) == 2 and len(inner) == len(outer) == 1
    if small in computed or not mixes or set(result) != set(axes) - inner | outer:
        return None
    (old,), (new,) = inner, outer
    last = axes.replace(old, "")
    weights = write.permuted(small, fewer, new + old)
    mixed = write(_ATEN.linear.default, write.permuted(large, axes, last + old), weights)
    return write.permuted(mixed, last + new, result)


def _mixed(write: _Writer, node: FxNode, computed: Collection[FxNode]) -> FxNode | None:
    """Write the product of a constant matrix and rows, ``W @ x``, as a linear layer of columns."""
    matrix, rows = node.args
    assert isinstance(matrix, FxNode)
    assert isinstance(rows, FxNode)
    if matrix in computed or len(matrix.meta["val"].shape) != 2 or len(rows.meta["val"].shape) < 3:
        return None
    columns = write(_ATEN.transpose.int, rows, -1, -2)
    return write(_ATEN.transpose.int, write(_ATEN.linear.default, columns, matrix), -1, -2)


def _patches(
    write: _Writer,
    self: FxNode,
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> FxNode | None:
    """Write ``F.unfold`` as the slices that one place of the window after the other reads."""
    if len(self.meta["val"].shape) != 4 or math.prod(kernel_size) > MOST_PARTS:
        return None
    (rows, columns), (down, right) = kernel_size, dilation
    if any(padding):
        sides = [padding[1], padding[1], padding[0], padding[0]]
        self = write(_ATEN.constant_pad_nd.default, self, sides, 0.0)
    parts = []
    for row in range(rows):
        end = -(rows - 1 - row) * down or sys.maxsize
        strip = write(_ATEN.slice.Tensor, self, 2, row * down, end, stride[0])
        for column in range(columns):
            end = -(columns - 1 - column) * right or sys.maxsize
            parts.append(write(_ATEN.slice.Tensor, strip, 3, column * right, end, stride[1]))
    stacked = write(_ATEN.stack.default, parts, 2)
    channels = write(_ATEN.flatten.using_ints, stacked, 1, 2)
    return write(_ATEN.flatten.using_ints, channels, 2, 3)


def _summed(write: _Writer, tensor: FxNode, axes: str, result: str) -> FxNode | None:
    """Sum over the axes that the result lacks, and order the others."""
    if not set(result) <= set(axes) or len(set(result)) < len(result):
        return None
    gone = [place for place, letter in enumerate(axes) if letter not in result]
    if gone:
        tensor = write(_ATEN.sum.dim_IntList, tensor, gone)
        axes = "".join(letter for letter in axes if letter in result)
    return write.permuted(tensor, axes, result)


def _lerp(write: _Writer, self: FxNode, end: FxNode, weight: Any) -> FxNode:
    distance = write(_ATEN.sub.Tensor, end, self)
    return write(_ATEN.add.Tensor, self, write(_ATEN.mul.Tensor, distance, weight))


def _rrelu(write: _Writer, self: FxNode, lower: float, upper: float, **_: Any) -> FxNode:
    """Take the mean of the slopes, as PyTorch does in eval mode."""
    return write(_ATEN.leaky_relu.default, self, (lower + upper) / 2)


def _log1p(write: _Writer, self: FxNode) -> FxNode:
    return write(_ATEN.log.default, write(_ATEN.add.Tensor, self, 1.0))


def _log2(write: _Writer, self: FxNode) -> FxNode:
    return write(_ATEN.mul.Tensor, write(_ATEN.log.default, self), 1 / math.log(2))


def _log10(write: _Writer, self: FxNode) -> FxNode:
    return write(_ATEN.mul.Tensor, write(_ATEN.log.default, self), 1 / math.log(10))


def _exp2(write: _Writer, self: FxNode) -> FxNode:
    return write(_ATEN.exp.default, write(_ATEN.mul.Tensor, self, math.log(2)))


def _expm1(write: _Writer, self: FxNode) -> FxNode:
    return write(_ATEN.sub.Tensor, write(_ATEN.exp.default, self), 1.0)


def _clamp(write: _Writer, self: FxNode, min: Any = None, max: Any = None) -> FxNode:
    for bound, op in ((min, _ATEN.maximum.default), (max, _ATEN.minimum.default)):
        if bound is not None:
            self = write(op, self, bound)
    return self


def _type_as(write: _Writer, self: FxNode, other: FxNode) -> FxNode:
    return write(_ATEN.to.dtype, self, other.meta["val"].dtype)


FORMULAS: Final[dict[str, Callable[..., FxNode]]] = {
    "aten.clamp.Tensor": _clamp,
    "aten.clamp_min.Tensor": _clamp,
    "aten.clamp_max.Tensor": _clamp,
    "aten.lerp.Scalar": _lerp,
    "aten.lerp.Tensor": _lerp,
    "aten.rrelu.default": _rrelu,
    "aten.log1p.default": _log1p,
    "aten.log2.default": _log2,
    "aten.log10.default": _log10,
    "aten.exp2.default": _exp2,
    "aten.expm1.default": _expm1,
    "aten.type_as.default": _type_as,
}
"""Ops that are formulas of others."""


def _arguments(node: FxNode) -> dict[str, Any]:
    """Arguments by the names of the op's schema, defaults included."""
    given: Any = node.target
    names = given._schema.arguments
    return {
        item.name: node.args[place] if place < len(node.args)
        else node.kwargs.get(item.name, item.default_value)
        for place, item in enumerate(names)
    }  # fmt: skip
