"""Weighted sums with constant weights: multipliers, folded multipliers or adder graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Format
from fxp.graph import Node
from fxp.hls.rtl.adder_graph import MAX_WEIGHT_BITS
from fxp.hls.rtl.adder_graph_verilog import constant_matrix_module
from fxp.hls.rtl.literals import packed, verilog_bit
from fxp.hls.rtl.planning import CorePlan, Cost, StreamingError, ValueBus
from fxp.hls.rtl.streams import MultiplierWidthError

DSP_BITS: Final = (18, 25)
"""Signed operands of the multipliers of the common devices; either may be the weight."""


def weighted_sums(
    plan: CorePlan,
    node: Node,
    taps: ValueBus,
    source: ValueBus,
    matrix: NDArray[np.int64],
    groups: int,
    bias: NDArray[np.int64] | None,
    bits: int | None = None,
    *,
    adders: bool = False,
    fold: int | None = None,
) -> ValueBus:
    """Add ``matrix @ taps + bias``, group by group, as wide as the proof says.

    Parameters
    ----------
    taps
        Fields tap by tap, in each tap the channels of `source`.
    matrix
        ``(outputs, taps * channels / groups)``, tap by tap.
    bits
        Of a sum, instead of what the proof of the node says.
    adders
        Whether shared adders suit the weights better than multipliers, whatever the plan says.
    fold
        Weights that share a multiplier, instead of what the plan says. If an output has no more
        than half as many, outputs share multipliers as well.
    """
    assert node.accumulator is not None
    bits = node.accumulator.bits if bits is None else bits
    sums = _Sums(
        plan,
        taps,
        source,
        matrix,
        groups,
        np.zeros(len(matrix), np.int64) if bias is None else bias,
        bits,
    )
    clocks_of_beat = plan.fold if fold is None else fold
    fold = min(clocks_of_beat, matrix.shape[1])
    share = min(clocks_of_beat // matrix.shape[1], len(matrix))
    if adders or plan.multipliers == "shift_add" or (fold == 1 and are_signs(matrix)):
        # Signs need no multiplier; their size is a few more adders for each output.
        wire, clocks = sums.shift_add()
    elif share > 1:
        wire, clocks = sums.shared(share)
    elif fold > 1:
        wire, clocks = sums.folded(fold)
    else:
        wire, clocks = sums.parallel()
    return replace(
        taps,
        wire=wire,
        channels=len(matrix),
        width=bits,
        signed=True,
        latency=taps.latency + clocks,
    )


@dataclass(frozen=True)
class _Sums:
    plan: CorePlan
    taps: ValueBus
    source: ValueBus
    matrix: NDArray[np.int64]
    groups: int
    bias: NDArray[np.int64]
    bits: int

    def _dsp(self, weights: NDArray[np.int64]) -> dict[str, int | str]:
        """Parameters of the modules with multipliers, with the weights in a module's order."""
        ordered = [int(weight) for weight in weights.reshape(-1)]
        width = signed_bits(ordered)
        check_multiplier(self.plan, self._factor_bits, width)
        return {
            "Taps": self.taps.channels // self.source.channels,
            "Channels": self.source.channels,
            "Groups": self.groups,
            "Outputs": len(self.matrix),
            "DataWidth": self.source.width,
            "DataSigned": verilog_bit(self.source.signed),
            "WeightWidth": width,
            "SumWidth": self.bits,
            "Weights": packed(ordered, width),
            "Biases": packed([int(offset) for offset in self.bias], self.bits),
        }

    @property
    def _factor_bits(self) -> int:
        return self.source.width + (not self.source.signed)

    def parallel(self) -> tuple[str, int]:
        """Use a multiplier per weight."""
        outputs, products = self.matrix.shape
        parameters = self._dsp(self.matrix)
        has_bias = bool(self.bias.any())
        leaves = products + has_bias
        terms = np.count_nonzero(self.matrix, axis=1)
        product_bits = self._factor_bits + int(parameters["WeightWidth"])
        wire = self.plan.wire("sums", outputs * self.bits)
        self.plan.instance(
            "fxp_dot",
            wire,
            {**parameters, "HasBias": verilog_bit(has_bias)},
            {"clk_i": "aclk", "taps_i": self.taps.wire, "sums_o": wire},
            Cost(
                multipliers=int(terms.sum()),
                adders=int(np.maximum(terms + has_bias - 1, 0).sum()),
                adder_bits=int(np.maximum(terms + has_bias - 1, 0).sum())
                * min(self.bits, product_bits + 1),
                registers=int(terms.sum()) * self.source.width
                + outputs * self._tree_registers(leaves, product_bits),
            ),
        )
        return wire, 2 + (leaves - 1).bit_length()

    def folded(self, fold: int) -> tuple[str, int]:
        """Use a multiplier for `fold` weights."""
        outputs, products = self.matrix.shape
        multipliers = -(-products // fold)
        by_phase = np.zeros((outputs, fold * multipliers), np.int64)
        by_phase[:, :products] = self.matrix
        by_phase = by_phase.reshape(outputs, fold, multipliers).swapaxes(0, 1)
        parameters = self._dsp(by_phase)
        product_bits = self._factor_bits + int(parameters["WeightWidth"])
        wire = self.plan.wire("sums", outputs * self.bits)
        self.plan.instance(
            "fxp_dot_folded",
            wire,
            {**parameters, "Fold": fold},
            self._counting_ports(wire),
            Cost(
                multipliers=outputs * multipliers,
                adders=outputs * multipliers,
                adder_bits=outputs * multipliers * self.bits,
                registers=self.taps.bits
                + self.groups * multipliers * self._choice_registers(fold)
                + outputs
                * (
                    multipliers * (3 * int(parameters["WeightWidth"]) + self.source.width)
                    + self._tree_registers(multipliers, product_bits)
                    + self.bits
                ),
            ),
        )
        return wire, fold + 5 + (multipliers - 1).bit_length()

    def shared(self, share: int) -> tuple[str, int]:
        """Use a multiplier for `share` outputs."""
        outputs, products = self.matrix.shape
        multipliers = -(-outputs // share)
        by_multiplier = np.zeros((multipliers, share * products), np.int64)
        by_multiplier.reshape(-1)[: self.matrix.size] = self.matrix.reshape(-1)
        parameters = self._dsp(by_multiplier.T)
        weight_bits = int(parameters["WeightWidth"])
        wire = self.plan.wire("sums", outputs * self.bits)
        self.plan.instance(
            "fxp_dot_shared",
            wire,
            {**parameters, "Share": share},
            self._counting_ports(wire),
            Cost(
                multipliers=multipliers,
                adders=multipliers,
                adder_bits=multipliers * self.bits,
                registers=self.taps.bits
                + multipliers
                * (
                    self._choice_registers(products if self.groups == 1 else share * products)
                    + 3 * weight_bits
                    + self.source.width
                    + min(self.bits, self._factor_bits + weight_bits)
                    + share * self.bits
                ),
            ),
        )
        return wire, share * products + 5

    def _choice_registers(self, values: int) -> int:
        """Return the registers of ``fxp_choose``: one for each group of values, and the last."""
        index_bits = max((values - 1).bit_length(), 1)
        groups = -(-values // (1 << min(index_bits, max(3, index_bits - 5))))
        return (groups + 1) * self.source.width

    def _counting_ports(self, wire: str) -> dict[str, str]:
        """Return the ports of a module that counts the clocks from one valid pixel to the next."""
        return {
            "clk_i": "aclk",
            "rst_ni": "core_rst_n",
            "valid_i": self.plan.tag(self.taps.path, self.taps.latency, "Valid"),
            "taps_i": self.taps.wire,
            "sums_o": wire,
        }

    def _tree_registers(self, leaves: int, product_bits: int) -> int:
        total = level = 0
        while True:
            total += leaves * min(self.bits, product_bits + level)
            if leaves == 1:
                return total
            leaves, level = (leaves + 1) // 2, level + 1

    def shift_add(self) -> tuple[str, int]:
        """Use shared adders, in a module of this layer alone."""
        outputs = len(self.matrix)
        inputs = self.source.channels // self.groups
        tap_count = self.taps.channels // self.source.channels
        dense = dense_matrix(self.matrix, self.groups, tap_count, inputs)
        if (width := signed_bits([int(dense.min()), int(dense.max())])) > MAX_WEIGHT_BITS:
            raise StreamingError(
                f"has weights of {width} bits; shift_add takes at most {MAX_WEIGHT_BITS}: use a "
                "narrower format"
            )
        name = self.plan.module_name("matrix")
        module = constant_matrix_module(
            dense,
            Format(self.source.width, 0, self.source.signed),
            name,
            bias=self.bias if self.bias.any() else None,
            output_bits=self.bits,
            levels_per_register=self.plan.levels_per_register,
            register_shared=self.plan.register_shared,
        )
        self.plan.modules[name] = module.text
        wire = self.plan.wire("sums", outputs * self.bits)
        self.plan.instance(
            name,
            wire,
            {},
            {"clk_i": "aclk", "data_i": self.taps.wire, "data_o": wire},
            Cost(
                adders=module.counts.adders,
                registers=module.counts.registers,
                adder_bits=module.counts.luts,
            ),
        )
        return wire, module.latency


def are_signs(matrix: NDArray[np.int64]) -> bool:
    """Whether the weights of every output are zero or of one size, and of both signs in all.

    Parameters
    ----------
    matrix
        ``(outputs, products)``.
    """
    sizes = np.abs(matrix)
    alike = (sizes == sizes.max(axis=1, keepdims=True)) | (sizes == 0)
    both = matrix.min() < 0 < matrix.max()
    return bool(both and alike.all() and (np.count_nonzero(matrix, axis=1) > 1).any())


def dense_matrix(
    matrix: NDArray[np.int64], groups: int, taps: int, inputs: int
) -> NDArray[np.int64]:
    """Return the matrix of all groups, ``(outputs, taps * groups * inputs)``, zero between groups.

    Parameters
    ----------
    matrix
        ``(outputs, taps * inputs)``, tap by tap.
    groups
        Groups of outputs, each with inputs of its own.
    taps, inputs
        Taps, and inputs of a group in each.
    """
    outputs = len(matrix)
    dense = np.zeros((outputs, taps, groups, inputs), np.int64)
    for output, weights in enumerate(matrix):
        group = output // (outputs // groups)
        dense[output, :, group] = weights.reshape(taps, inputs)
    return dense.reshape(outputs, -1)


def check_multiplier(plan: CorePlan, first: int, second: int) -> None:
    """Raise unless two signed operands fit a multiplier of the common devices.

    Parameters
    ----------
    plan
        Says what multiplies.
    first, second
        Bits of the operands, signs included.
    """
    small, large = sorted((first, second))
    if plan.multipliers == "dsp" and (small > DSP_BITS[0] or large > DSP_BITS[1]):
        raise MultiplierWidthError(
            f"needs multipliers of {small} x {large} bits; those of the devices have "
            f"{DSP_BITS[0]} x {DSP_BITS[1]}",
            f"use narrower formats, or multipliers='shift_add' for weights of at most "
            f"{MAX_WEIGHT_BITS} bits",
        )


def signed_bits(values: Sequence[int]) -> int:
    """Bits of the two's-complement register that holds all values."""
    return max(max(value, ~value).bit_length() for value in values) + 1
