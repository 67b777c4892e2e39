"""Layers that torch.export writes as several ops, found again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch.fx import Node as FxNode

from fxp.frontend.context import Converter
from fxp.frontend.layers import max_pool
from fxp.frontend.movement import identity
from fxp.frontend.normalization import local_response_norm, soft_shrink

RESHAPES: Final = frozenset(
    (
        "aten.view.default", "aten.reshape.default", "aten._unsafe_view.default",
        "aten.squeeze.dim", "aten.squeeze.dims", "aten.unsqueeze.default",
    )
)  # fmt: skip
PADS: Final = frozenset(("aten.pad.default", "aten.constant_pad_nd.default"))


@dataclass(frozen=True)
class Pattern:
    """One layer found in several nodes.

    Attributes
    ----------
    converter
        Converts the layer.
    arguments
        What the converter reads: nodes and numbers by name.
    inner
        Nodes besides the last one, which nothing outside reads.
    """

    converter: Converter
    arguments: Mapping[str, Any]
    inner: frozenset[FxNode]


def find_patterns(nodes: Iterable[FxNode]) -> dict[FxNode, Pattern]:
    """Return every pattern by its last node."""
    found = {}
    for node in nodes:
        recognized = (find(node) for find in _FINDERS)
        pattern = next((item for item in recognized if item is not None), None)
        if pattern is not None:
            found[node] = pattern
    return found


def _calls(node: Any, *targets: str) -> bool:
    return isinstance(node, FxNode) and str(node.target) in targets and not node.kwargs


def _descend(node: Any, path: list[FxNode], *targets: str) -> tuple[Any, ...] | None:
    """Arguments of a node that calls one of the targets, after reshapes; adds both to the path."""
    while _calls(node, *RESHAPES):
        path.append(node)
        node = node.args[0]
    if not _calls(node, *targets):
        return None
    path.append(node)
    return node.args


def _pattern(
    converter: Converter, last: FxNode, path: Iterable[FxNode], arguments: Mapping[str, Any]
) -> Pattern:
    inner: set[FxNode] = set()
    for node in path:  # readers come first
        if all(user is last or user in inner for user in node.users):
            inner.add(node)
    return Pattern(converter, arguments, frozenset(inner))


def _numbers(*items: object) -> bool:
    return all(isinstance(item, int | float) for item in items)


def _local_response_norm(last: FxNode) -> Pattern | None:
    """``x / (k + alpha * avg_pool3d(pad(x * x))) ** beta``, as torch.nn.functional writes it."""
    if not _calls(last, "aten.div.Tensor"):
        return None
    source: Any = last.args[0]
    node: Any = last.args[1]
    path: list[FxNode] = []
    numbers = []
    for targets in (
        ("aten.pow.Tensor_Scalar",),
        ("aten.add.Tensor", "aten.add.Scalar"),
        ("aten.mul.Tensor", "aten.mul.Scalar"),
    ):
        arguments = _descend(node, path, *targets)
        if arguments is None or not _numbers(arguments[1]):
            return None
        node, number = arguments
        numbers.append(float(number))
    beta, k, alpha = numbers
    pooled = _descend(node, path, "aten.avg_pool3d.default")
    padded = pooled and _descend(pooled[0], path, *PADS)
    if not pooled or not padded:
        return None
    images = padded[0].meta["val"].shape
    squares = _descend(padded[0], path, "aten.mul.Tensor")
    size = pooled[1][0]
    matches = (
        squares == (source, source)
        and list(pooled[1:]) == [[size, 1, 1], [1, 1, 1]]
        and list(padded[1]) == [0, 0, 0, 0, size // 2, (size - 1) // 2]
        and not any(padded[2:])
        and list(images[:3]) == [1, 1, source.meta["val"].shape[1]]
    )
    if not matches:
        return None
    arguments = {"self": source, "size": size, "alpha": alpha, "beta": beta, "k": k}
    return _pattern(local_response_norm, last, path, arguments)


def _soft_shrink(last: FxNode) -> Pattern | None:
    """``where(|x| > t, x - sign(x) * t, x * 0)``, to which torch may expand softshrink."""
    if not _calls(last, "aten.where.self"):
        return None
    path: list[FxNode] = []
    above = _descend(last.args[0], path, "aten.gt.Scalar")
    magnitude = above and _descend(above[0], path, "aten.abs.default")
    less = _descend(last.args[1], path, "aten.sub.Tensor")
    step = less and _descend(less[1], path, "aten.mul.Tensor")
    sign = step and _descend(step[0], path, "aten.sign.default")
    zero = _descend(last.args[2], path, "aten.mul.Tensor")
    if not (above and magnitude and less and step and sign and zero):
        return None
    (source,), threshold = magnitude, above[1]
    matches = (less[0], sign, step[1], zero) == (source, (source,), threshold, (source, 0))
    if not matches or not _numbers(threshold):
        return None
    return _pattern(soft_shrink, last, path, {"self": source, "lambd": threshold})


def _signed_magnitude(last: FxNode) -> Pattern | None:
    """``sign(x) * relu(abs(x))``, which is x, as torch.nn.functional writes it for LPPool2d."""
    if not _calls(last, "aten.mul.Tensor"):
        return None
    path: list[FxNode] = []
    sign = _descend(last.args[0], path, "aten.sign.default")
    positive = sign and _descend(last.args[1], path, "aten.relu.default")
    magnitude = positive and _descend(positive[0], path, "aten.abs.default")
    if not sign or magnitude != sign:
        return None
    return _pattern(identity, last, path, {"self": sign[0]})


def _padded_max_pool(last: FxNode) -> Pattern | None:
    """``max_pool2d(pad(x, sides, value=-inf))``, as networks from TensorFlow write it."""
    if not _calls(last, "aten.max_pool2d.default") or not _calls(last.args[0], *PADS):
        return None
    padded: Any = last.args[0]
    source, sides, *rest = padded.args
    numbers = _numbers(*sides) and len(sides) == 4 and min(sides) >= 0
    if not numbers or not rest or rest[-1] != -math.inf:
        return None
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    given = dict(zip(names, last.args[1:], strict=False))
    defaults = {"stride": [], "padding": 0, "dilation": 1, "ceil_mode": False}
    left, right, top, bottom = sides
    arguments = {"self": source, **defaults, **given, "sides": [top, bottom, left, right]}
    return _pattern(max_pool, last, [padded], arguments)


_FINDERS: Final = (_local_response_norm, _soft_shrink, _signed_magnitude, _padded_max_pool)
