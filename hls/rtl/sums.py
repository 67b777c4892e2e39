"""Weighted sums with constant weights: multipliers, folded multipliers or adder graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.graph import Node
from hls.rtl.planning import (
    Cost,
    Plan,
    Stream,
    StreamingError,
    packed,
    verilog_bit,
)

DSP_BITS: Final = (18, 25)
"""Signed operands of the multipliers of the common devices; either may be the weight."""


def weighted_sums(
    plan: Plan,
    node: Node,
    taps: Stream,
    source: Stream,
    matrix: NDArray[np.int64],
    groups: int,
    bias: NDArray[np.int64] | None,
) -> Stream:
    """Add ``matrix @ taps + bias``, group by group, as wide as the proof says.

    Parameters
    ----------
    taps
        Fields tap by tap, in each tap the channels of `source`.
    matrix
        ``(outputs, taps * channels / groups)``, tap by tap.
    """
    assert node.accumulator is not None
    bits = node.accumulator.bits
    outputs, products = matrix.shape
    weights = [int(weight) for weight in matrix.reshape(-1)]
    weight_bits = signed_bits(weights)
    check_multiplier(plan, source.width + (not source.signed), weight_bits)
    leaves = products + (bias is not None)
    levels = (leaves - 1).bit_length()
    wire = plan.wire("sums", outputs * bits)
    plan.instance(
        "fxp_dot",
        wire,
        {
            "Taps": taps.channels // source.channels,
            "Channels": source.channels,
            "Groups": groups,
            "Outputs": outputs,
            "DataWidth": source.width,
            "DataSigned": verilog_bit(source.signed),
            "WeightWidth": weight_bits,
            "SumWidth": bits,
            "HasBias": verilog_bit(bias is not None),
            "Weights": packed(weights, weight_bits),
            "Biases": packed([0] * outputs if bias is None else [int(b) for b in bias], bits),
        },
        {"clk_i": "aclk", "taps_i": taps.wire, "sums_o": wire},
        _cost(matrix, bias, source.width + (not source.signed) + weight_bits, bits),
    )
    latency = taps.latency + 1 + levels
    return replace(taps, wire=wire, channels=outputs, width=bits, signed=True, latency=latency)


def _cost(
    matrix: NDArray[np.int64], bias: NDArray[np.int64] | None, product_bits: int, bits: int
) -> Cost:
    nonzero = np.count_nonzero(matrix, axis=1)
    registers = 0
    nodes = matrix.shape[1] + (bias is not None)
    level = 0
    while True:
        registers += len(matrix) * nodes * min(bits, product_bits + level)
        if nodes == 1:
            break
        nodes, level = (nodes + 1) // 2, level + 1
    terms = nonzero + (bias is not None)
    return Cost(
        multipliers=int(nonzero.sum()),
        adders=int(np.maximum(terms - 1, 0).sum()),
        registers=registers,
    )


def check_multiplier(plan: Plan, first: int, second: int) -> None:
    """Raise unless two signed operands fit a multiplier of the common devices."""
    small, large = sorted((first, second))
    if plan.multipliers == "dsp" and (small > DSP_BITS[0] or large > DSP_BITS[1]):
        raise StreamingError(
            f"needs multipliers of {small} x {large} bits; those of the devices have "
            f"{DSP_BITS[0]} x {DSP_BITS[1]}: use narrower formats"
        )


def signed_bits(values: Sequence[int]) -> int:
    """Bits of the two's-complement register that holds all values."""
    return max(max(value, ~value).bit_length() for value in values) + 1
