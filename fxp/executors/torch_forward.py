"""A graph run by PyTorch: the float forward, and the fake-quantized forward of an integer graph.

In float64 the fake-quantized forward equals the oracle to the last bit while every accumulator fits
the 53-bit significand; a graph that does not is refused rather than run inexactly.

Gradients pass straight through roundings, and stop where a value overflows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.formats import Overflow, Quantization, Rounding, saturation_limits
from fxp.graph import Graph, Limits, Node
from fxp.graph.ops.base import GraphError, Operand

EXACT_BITS = 52
"""Accumulators up to this width leave float64 one bit for adding half a step."""
EXACT_WIDTH = 53
"""Results up to this width are float64 values, saturated and wrapped ones included."""
KEPT_ELEMENTS = 1 << 22
"""Constants of more elements are not kept beside those of the graph."""
EXACT_FRAC = 900
"""Fraction bits up to this magnitude keep float64 away from its smallest and largest exponents."""


@dataclass(frozen=True)
class TorchResult:
    """Outputs, all values by name, the states to feed back, and what nodes clip if it was counted.

    The counts are those of elements that overflow changes, over the whole batch.
    """

    outputs: tuple[torch.Tensor, ...]
    values: dict[str, torch.Tensor]
    states: dict[str, torch.Tensor]
    clipped: dict[str, int] = field(default_factory=dict)


def run(
    graph: Graph,
    inputs: Sequence[torch.Tensor],
    states: Mapping[str, torch.Tensor] | None = None,
    *,
    limits: Limits | None = None,
    count_clipped: bool = False,
) -> TorchResult:
    """Run a float or an integer graph on real values in float64.

    Parameters
    ----------
    graph
        Float graph: the plain network. Integer graph: every value is quantized.
    inputs
        Real values, ``(N, C, H, W)`` or ``(N, F)``; an integer graph quantizes them to the input
        formats with HALF_UP and SATURATE.
    states
        Real values of the states by name; those left out start from their reset value.
    limits
        Most that the run of one image may need.
    count_clipped
        Whether the result holds the counts of overflows; without gradients.

    Raises
    ------
    GraphError
        If shapes do not fit, the run would need more than the limits, or float64 is too narrow for
        an integer graph: an accumulator is wider than 52 bits, a result wider than 53, or fraction
        bits are beyond ±900.
    """
    values = start_values(graph, inputs, states, limits=limits)
    constants = constant_values(graph, inputs[0].device)
    check_exact(graph)
    clipped = evaluate(graph, values, constants, count_clipped=count_clipped)
    return TorchResult(
        tuple(values[name] for name in graph.outputs),
        values,
        {state.value.name: values[state.source] for state in graph.states},
        clipped,
    )


def start_values(
    graph: Graph,
    inputs: Sequence[torch.Tensor],
    states: Mapping[str, torch.Tensor] | None = None,
    *,
    limits: Limits | None = None,
) -> dict[str, torch.Tensor]:
    """Return the values of inputs and states by name, in float64; takes what `run` does.

    Parameters
    ----------
    graph, inputs, states, limits
        As for `run`.

    Raises
    ------
    GraphError
        If shapes do not fit.
    """
    shapes = graph.concrete_shapes(graph.bind([tuple(x.shape[1:]) for x in inputs]), limits)
    batch, device = inputs[0].shape[0], inputs[0].device
    values: dict[str, torch.Tensor] = {}
    for value, tensor in zip(graph.inputs, inputs, strict=True):
        tensor = tensor.to(torch.float64)
        if value.format is not None:
            tensor = fake_quantize(tensor, Quantization(value.format))
        values[value.name] = tensor
    for state in graph.states:
        name = state.value.name
        if states is not None and name in states:
            values[name] = states[name]
            continue
        step = 1.0 if state.value.format is None else state.value.format.step
        shape = (batch, *shapes[name])
        values[name] = torch.full(shape, state.reset * step, dtype=torch.float64, device=device)
    return values


def constant_values(
    graph: Graph, device: torch.device | None = None, dtype: torch.dtype = torch.float64
) -> Mapping[str, torch.Tensor]:
    """Return the real values of all constants by name.

    Large ones, of which some networks have gigabytes, are made anew whenever they are asked for.

    Parameters
    ----------
    graph
        Float or integer graph.
    device, dtype
        Of the tensors.
    """
    return _Constants(graph, device, dtype)


class _Shared:
    """An array as one that may be written, without a copy of what may be gigabytes.

    PyTorch has no tensors that must not be written, and warns of arrays that must not; nothing here
    writes them.
    """

    def __init__(self, values: NDArray[np.float64]) -> None:
        self._values = values
        self.__array_interface__ = {
            **values.__array_interface__,
            "data": (values.ctypes.data, False),
        }


class _Constants(Mapping[str, torch.Tensor]):
    def __init__(self, graph: Graph, device: torch.device | None, dtype: torch.dtype) -> None:
        self._constants, self._device, self._dtype = graph.constants_by_name, device, dtype
        self._kept: dict[str, torch.Tensor] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor = self._kept.get(name)
        if tensor is None:
            values = self._constants[name].values
            tensor = torch.from_numpy(np.asarray(_Shared(values))).to(self._device, self._dtype)
            if values.size <= KEPT_ELEMENTS:
                self._kept[name] = tensor
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._constants)

    def __len__(self) -> int:
        return len(self._constants)


def evaluate(
    graph: Graph,
    values: dict[str, torch.Tensor],
    constants: Mapping[str, torch.Tensor],
    *,
    count_clipped: bool = False,
) -> dict[str, int]:
    """Add the result of every node to the values, in the type of its first input.

    Parameters
    ----------
    graph
        Float or integer graph.
    values
        Inputs and states by name, already values of their formats.
    constants
        Real values of the constants by name, already values of their formats.
    count_clipped
        Whether to count what overflow changes; without gradients.

    Returns
    -------
    dict
        The counts by node; empty if they are not wanted.
    """
    clipped: dict[str, int] = {}
    for node in graph.nodes:
        tensors = [values[name] if name in values else constants[name] for name in node.inputs]
        operands = graph.operands[node.name]
        result = node.op.torch(operands, *tensors).to(tensors[0].dtype)
        differentiated = torch.is_grad_enabled() and tensors[0].requires_grad
        if differentiated and operands[0].is_integer and node.op.table_use is not None:
            # A table has no slope; the function that it holds has.
            smooth = node.op.torch([Operand(operands[0].shape)], tensors[0])
            result = _Substitution.apply(smooth, result)
        if node.quantization is not None and count_clipped:
            result, kept = quantized_and_kept(result, node.quantization)
            clipped[node.name] = kept.numel() - int(torch.count_nonzero(kept))
        elif node.quantization is not None:
            result = fake_quantize(result, node.quantization)
        values[node.name] = result
    return clipped


class _Substitution(torch.autograd.Function):
    """The values of one tensor with the gradient of another."""

    @staticmethod
    def forward(ctx: Any, smooth: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


class _StraightThrough(torch.autograd.Function):
    """Rounding to a format; no gradient where values overflow."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, target: Quantization) -> torch.Tensor:
        result, kept = quantized_and_kept(values, target)
        ctx.save_for_backward(kept)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (kept,) = ctx.saved_tensors
        return gradients[0] * kept, None


def fake_quantize(values: torch.Tensor, target: Quantization) -> torch.Tensor:
    """Round real values to the values of a format, as `fxp.quantize` would.

    Exact for values of up to 52 significant bits at and above the rounding position. Gradients pass
    straight through, and are zero where a value overflows.
    """
    if torch.is_grad_enabled() and values.requires_grad:
        return _StraightThrough.apply(values, target)
    return quantized_and_kept(values, target)[0]


def quantized_and_kept(
    values: torch.Tensor, target: Quantization
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return values of the format, and a mask of where overflow changes none."""
    scaled = torch.ldexp(values, torch.tensor(target.format.frac, device=values.device))
    rounded = _round(scaled, target.rounding)
    low, high = saturation_limits(target.format, target.overflow)
    kept = (rounded >= low) & (rounded <= high)
    if target.overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
        raw = torch.clamp(rounded, low, high)
    elif target.overflow is Overflow.SATURATE_TO_ZERO:
        raw = torch.where(kept, rounded, 0.0)
    else:
        raw = _wrap(rounded, target)
    return torch.ldexp(raw, torch.tensor(-target.format.frac, device=values.device)), kept


def _round(values: torch.Tensor, rounding: Rounding) -> torch.Tensor:
    # Rounding of the other executors: fxp/formats/conversion.py (oracle),
    # fxp/kernels/requantize.py (engine), fxp/graph/onnx_emitter.py (ONNX).
    match rounding:
        case Rounding.FLOOR:
            return torch.floor(values)
        case Rounding.TO_ZERO:
            return torch.trunc(values)
        case Rounding.HALF_UP:
            return torch.floor(values + 0.5)
        case Rounding.HALF_DOWN:
            return torch.ceil(values - 0.5)
        case Rounding.HALF_AWAY:
            return torch.copysign(torch.floor(torch.abs(values) + 0.5), values)
        case Rounding.HALF_TO_ZERO:
            return torch.copysign(torch.ceil(torch.abs(values) - 0.5), values)
        case Rounding.HALF_EVEN:
            return torch.round(values)


def _wrap(rounded: torch.Tensor, target: Quantization) -> torch.Tensor:
    modulus = 2.0**target.format.width
    kept = torch.remainder(rounded, modulus)
    if target.overflow is Overflow.WRAP_SIGN_MAGNITUDE:
        dropped = torch.remainder(torch.floor(rounded / modulus), 2.0)
        sign = torch.floor(kept / (modulus / 2))
        kept = torch.where(dropped != sign, modulus - 1 - kept, kept)
    if not target.format.signed:
        return kept
    return torch.where(kept >= modulus / 2, kept - modulus, kept)


def check_exact(graph: Graph) -> None:
    """Raise a `GraphError` if float64 is too narrow for an integer graph; see `run`."""
    for node in graph.nodes:
        _check_exact(graph, node)


def _check_exact(graph: Graph, node: Node) -> None:
    if node.accumulator is None or node.quantization is None:
        return
    bits, target = node.accumulator.bits, node.quantization.format
    if bits > EXACT_BITS:
        raise GraphError(
            f"node {node.name!r}: an accumulator of {bits} bits is not exact in float64; at most "
            f"{EXACT_BITS} bits are"
        )
    if target.width > EXACT_WIDTH:
        raise GraphError(
            f"node {node.name!r}: a result of {target.width} bits is not exact in float64; at most "
            f"{EXACT_WIDTH} bits are"
        )
    formats = [form for operand in graph.operands[node.name] for form in operand.formats]
    fracs = [*node.accumulator.fracs, target.frac, *(form.frac for form in formats)]
    if max(map(abs, fracs)) > EXACT_FRAC:
        raise GraphError(
            f"node {node.name!r}: {max(fracs, key=abs)} fraction bits are not exact in float64; at "
            f"most ±{EXACT_FRAC} are"
        )
