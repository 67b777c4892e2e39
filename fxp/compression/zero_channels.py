"""Channels of an integer graph that have no effect are removed: the results stay the same integers.

Two kinds have none. A channel that is the same number everywhere, such as the result of a filter
of zeros, can be left out of the layers that read it, when that number is zero or the layer pads
nothing; it then belongs to the bias. A channel that is multiplied by zeros everywhere need not be
computed. What is computed for either is removed with them, back to the inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Format, requantize
from fxp.graph import Constant, Graph, Node
from fxp.graph.ops import (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Concat,
    Conv2d,
    DilatedMaxPool,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    Interpolate,
    Linear,
    MaxPool,
    Multiply,
    Nearest,
    Pad,
    SumPool,
)
from fxp.graph.ops.base import channel_view
from fxp.graph.ops.elementwise import Elementwise
from fxp.graph.ops.normalization import ChannelNormalization
from fxp.model import FixedModel
from fxp.support.errors import ArgumentError, ArgumentTypeError

_MAPS: Final = (
    AdaptiveAveragePool, AdaptiveMaxPool, AveragePool, BicubicUpsample, BilinearUpsample,
    DilatedMaxPool, GlobalAveragePool, GlobalMaxPool, Interpolate, MaxPool, Nearest, Pad, SumPool,
)  # fmt: skip
"""Ops that compute each channel from itself, and zeros from zeros."""

Mask = NDArray[np.bool_]
Compressed = TypeVar("Compressed", Graph, FixedModel)


def remove_zero_channels(model: Compressed) -> Compressed:
    """Return a model or graph without the channels that have no effect.

    Inputs, outputs and states keep all theirs, and every value keeps one channel at least. Values
    in between have fewer channels than before, with the same integers in those that are left.

    Parameters
    ----------
    model
        A model, or an integer graph. A model keeps its metadata, not its `origin`, whose values
        have all channels.

    Raises
    ------
    ArgumentError
        If it is a float graph, whose sums depend on their order.
    ArgumentTypeError
        If it is something else.

    Examples
    --------
    >>> smaller = remove_zero_channels(fxp.quantize(network, images))  # doctest: +SKIP
    """
    if isinstance(model, Graph):
        return _reduced(model)
    if not isinstance(model, FixedModel):
        raise ArgumentTypeError(
            f"a FixedModel or an integer Graph loses channels, not a {type(model).__name__}"
        )
    graph = _reduced(model.graph)

    def of_fewer(shares: Mapping[str, float]) -> dict[str, float]:
        # The channels that went clipped nothing that matters, so the share of the rest may be more.
        return {
            name: min(1.0, share * _channels(model.graph, name) / _channels(graph, name))
            for name, share in shares.items()
            if name in graph.values
        }

    return FixedModel(
        graph,
        metadata=model.metadata,
        calibration_clipped=of_fewer(model.calibration_clipped),
        calibration_clipped_by_one_step=of_fewer(model.calibration_clipped_by_one_step),
        calibration_sqnr=model.calibration_sqnr,
        limits=model.limits,
    )


def _reduced(graph: Graph) -> Graph:
    if not graph.is_integer:
        raise ArgumentError(f"graph {graph.name!r} is a float graph; quantize it first")
    known = _constant_channels(graph)
    kept = _kept_channels(graph, known)
    if all(mask.all() for mask in kept.values()):
        return graph
    nodes, constants = [], dict(graph.constants_by_name)
    for node in graph.nodes:
        names = list(node.inputs)
        for place, constant in _sliced(graph, node, known, kept).items():
            # Other readers of a constant need it as it is, or sliced otherwise.
            shared = len(graph.consumers.get(constant.name, ())) > 1
            name = f"{node.name}.{constant.name}" if shared else constant.name
            constants[name] = replace(constant, name=name)
            names[place : place + 1] = [name]
        op = node.op
        if isinstance(op, Conv2d) and op.groups > 1 and not kept[node.name].all():
            op = replace(op, groups=int(kept[node.name].sum()))
        nodes.append(replace(node, op=op, inputs=tuple(names)))
    return graph.with_nodes(nodes, constants.values())


def _channels(graph: Graph, name: str) -> int:
    return graph.operand(name).channels


def _is_sum(node: Node) -> bool:
    """Whether every output may read every input channel, by its weights."""
    return isinstance(node.op, Linear) or (isinstance(node.op, Conv2d) and node.op.groups == 1)


def _is_depthwise(graph: Graph, node: Node) -> bool:
    groups = node.op.groups if isinstance(node.op, Conv2d) else 1
    return groups > 1 and groups == _channels(graph, node.inputs[0]) == _channels(graph, node.name)


def _values(graph: Graph, node: Node) -> list[str]:
    """Return the inputs of a node that are not constants."""
    return [name for name in node.inputs if name in graph.values]


def _by_channel(graph: Graph, node: Node) -> bool:
    """Whether each channel of the result is computed from that channel of the operands."""
    if isinstance(node.op, Elementwise) and not isinstance(node.op, ChannelNormalization):
        return True
    return isinstance(node.op, _MAPS) or _is_depthwise(graph, node)


def _constant_channels(graph: Graph) -> dict[str, tuple[Mask, NDArray[np.int64]]]:
    """Return for every value which channels are one number everywhere, and that number."""
    found: dict[str, tuple[Mask, NDArray[np.int64]]] = {}
    for value in (*graph.inputs, *(state.value for state in graph.states)):
        count = _channels(graph, value.name)
        found[value.name] = np.zeros(count, bool), np.zeros(count, np.int64)
    for node in graph.nodes:
        found[node.name] = _constants_of(graph, node, found)
    return found


def _constants_of(
    graph: Graph, node: Node, found: Mapping[str, tuple[Mask, NDArray[np.int64]]]
) -> tuple[Mask, NDArray[np.int64]]:
    count = _channels(graph, node.name)
    nothing = np.zeros(count, bool), np.zeros(count, np.int64)
    constants = [graph.constants_by_name.get(name) for name in node.inputs]
    if isinstance(node.op, Conv2d | Linear):
        weight, *bias = (constant.data for constant in constants[1:] if constant is not None)
        zero = _zero_rows(weight)
        if _is_depthwise(graph, node):
            mask, numbers = found[node.inputs[0]]
            zero |= mask & (numbers == 0)
        elif _is_sum(node):
            mask, numbers = found[node.inputs[0]]
            zero = _zero_rows(weight[:, ~(mask & (numbers == 0))])
        exact = bias[0] if bias else np.zeros(count, np.int64)
        return zero, np.where(zero, _requantized(node, exact), 0)
    if isinstance(node.op, Concat):
        masks = [found[name][0] for name in node.inputs]
        moved = [_requantized_as(node, graph, name, found[name][1]) for name in node.inputs]
        return np.concatenate(masks), np.concatenate(moved)
    if isinstance(node.op, Flatten):
        mask, numbers = found[node.inputs[0]]
        pixels = count // len(mask)
        numbers = _requantized_as(node, graph, node.inputs[0], numbers)
        return mask.repeat(pixels), numbers.repeat(pixels)
    if isinstance(node.op, _MAPS):
        mask, numbers = found[node.inputs[0]]
        return mask & (numbers == 0), nothing[1]
    if not isinstance(node.op, Elementwise) or isinstance(node.op, ChannelNormalization):
        return nothing
    arrays: list[NDArray[np.int64]] = []
    whole, zero = np.ones(count, bool), np.zeros(count, bool)
    for place, (name, constant) in enumerate(zip(node.inputs, constants, strict=True)):
        if constant is None:
            mask, numbers = found[name]
            whole &= mask
            zero |= mask & (numbers == 0)
            numbers = numbers.reshape(-1, *(1,) * (len(graph.values[name].shape) - 1))
        else:
            numbers = constant.data
            table = node.op.constant_roles.get(place) == "table"
            if not table and numbers.size not in (1, len(numbers)):
                return nothing  # it differs from pixel to pixel
        arrays.append(numbers)
    if isinstance(node.op, Multiply):
        whole |= zero  # whatever the other factor is
    exact = node.op.oracle(graph.operands[node.name], *arrays)
    return whole, np.where(whole, _requantized(node, exact).reshape(count), 0)


def _zero_rows(weight: NDArray[np.int64]) -> Mask:
    return np.array([not row.any() for row in weight])


def _requantized(node: Node, exact: NDArray[np.int64]) -> NDArray[np.int64]:
    assert node.accumulator is not None
    assert node.quantization is not None
    target = node.quantization
    fracs = channel_view(node.accumulator.fracs, exact.ndim)
    return requantize(exact, fracs, target.format, target.rounding, target.overflow)


def _requantized_as(
    node: Node, graph: Graph, operand: str, numbers: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the numbers of an operand, which the node only moves, in the node's format."""
    source = graph.values[operand].format
    target = node.quantization
    assert source is not None
    assert target is not None
    return requantize(numbers, source.frac, target.format, target.rounding, target.overflow)


def _pads_zeros(node: Node) -> bool:
    return isinstance(node.op, Conv2d) and any(node.op.padding) and node.op.padding_mode == "zero"


def _kept_channels(
    graph: Graph, known: Mapping[str, tuple[Mask, NDArray[np.int64]]]
) -> dict[str, Mask]:
    """Return for every value the channels that something still needs.

    Needs only grow, from the outputs backwards and where values must have equal channels, until
    nothing changes.
    """
    kept = {name: np.zeros(_channels(graph, name), bool) for name in graph.values}
    fixed = {value.name for value in graph.inputs} | set(graph.outputs)
    for state in graph.states:
        fixed |= {state.value.name, state.source}
    for name in fixed:
        kept[name][:] = True
    while True:
        before = {name: mask.copy() for name, mask in kept.items()}
        for node in reversed(graph.nodes):
            _spread(graph, node, known, kept)
        if all(np.array_equal(mask, before[name]) for name, mask in kept.items()):
            empty = [mask for mask in kept.values() if not mask.any()]
            if not empty:
                return kept
            empty[-1][0] = True  # a value has one channel at least


def _spread(
    graph: Graph,
    node: Node,
    known: Mapping[str, tuple[Mask, NDArray[np.int64]]],
    kept: dict[str, Mask],
) -> None:
    """Add what a node needs to the channels that are kept."""
    result = kept[node.name]
    sources = _values(graph, node)
    if _is_sum(node):
        weight = graph.constants_by_name[node.inputs[1]].data
        mask, numbers = known[sources[0]]
        absorbed = mask & ((numbers == 0) | (not _pads_zeros(node)))
        read = weight[result].any(axis=(0, *range(2, weight.ndim)))
        kept[sources[0]] |= read & ~absorbed
    elif isinstance(node.op, Concat):
        first = 0
        for name in sources:
            part = result[first : first + len(kept[name])]
            first += len(part)
            part |= kept[name]
            kept[name] |= part
    elif isinstance(node.op, Flatten):
        source = kept[sources[0]]
        source |= result.reshape(len(source), -1).any(axis=1)
        result |= source.repeat(len(result) // len(source))
    elif _by_channel(graph, node):
        for name in sources:
            if len(kept[name]) == len(result):
                result |= kept[name]
            else:
                kept[name][:] = True  # one channel for all
        for name in sources:
            if len(kept[name]) == len(result):
                kept[name] |= result
    else:
        result[:] = True
        for name in sources:
            kept[name][:] = True


def _sliced(
    graph: Graph,
    node: Node,
    known: Mapping[str, tuple[Mask, NDArray[np.int64]]],
    kept: Mapping[str, Mask],
) -> dict[int, Constant]:
    """Return the constants of a node that change, by position."""
    result = kept[node.name]
    changed: dict[int, Constant] = {}
    if not (_is_sum(node) or _by_channel(graph, node)):
        return changed
    summed = _is_sum(node) and not kept[node.inputs[0]].all()
    if result.all() and not summed:
        return changed
    for place, name in enumerate(node.inputs):
        constant = graph.constants_by_name.get(name)
        table = node.op.constant_roles.get(place) == "table"
        if constant is None or table or len(constant.data) != len(result):
            continue
        data = constant.data
        if summed and place == 1:
            data = data[:, kept[node.inputs[0]]]
        formats = constant.formats if len(constant.formats) == 1 else tuple(
            form for form, keep in zip(constant.formats, result, strict=True) if keep
        )  # fmt: skip
        changed[place] = Constant(name, data[result], formats)
    if summed:
        bias = _absorbing_bias(graph, node, known, kept)
        if bias is not None:
            changed[2] = bias
    return changed


def _absorbing_bias(
    graph: Graph,
    node: Node,
    known: Mapping[str, tuple[Mask, NDArray[np.int64]]],
    kept: Mapping[str, Mask],
) -> Constant | None:
    """Return the bias that takes over the constant channels that go, None if they are zeros."""
    weight = graph.constants_by_name[node.inputs[1]]
    gone = ~kept[node.inputs[0]]
    numbers = known[node.inputs[0]][1][gone]
    taps = weight.data[:, gone].reshape(len(weight.data), len(numbers), -1).sum(axis=2)
    # A channel that nothing multiplies may hold any number; constant ones are known.
    added = taps[kept[node.name]] @ numbers
    if not added.any():
        return None
    assert node.accumulator is not None
    fracs = np.array(node.accumulator.fracs)[kept[node.name]]
    if len(node.inputs) == 3:
        added = added + graph.constants_by_name[node.inputs[2]].data[kept[node.name]]
        name = node.inputs[2]
    else:
        name = f"{node.name}.bias"
    width = Format.for_range(min(int(added.min()), -1), max(int(added.max()), 0), 0).width
    formats = tuple(Format(width, int(frac)) for frac in fracs)
    return Constant(name, added, formats[:1] if len(set(formats)) == 1 else formats)
