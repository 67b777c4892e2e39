"""Products with constant matrices as graphs of shared adders, without any multiplier.

`adder_graph` turns an integer matrix into an `AdderGraph`; `fxp.hls.rtl.adder_graph_verilog` writes
one as a pipelined module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from fxp.formats import IntArray
from fxp.hls.rtl.adder_graph_schedule import adder_times, shortest_latency
from fxp.hls.rtl.adder_graph_search import Digits, Sum, shared_sums, signed_digits
from fxp.support.errors import ArgumentError

MAX_WEIGHT_BITS = 24
"""Widest weight, sign included."""

LEVELS_PER_REGISTER = 2
"""Adders between two registers, by default: half the registers of one, at hardly fewer MHz."""

MAX_BITS = 62
"""Most bits of the magnitude of a sum."""

Interval = tuple[int, int]
"""Smallest and largest value."""


@dataclass(frozen=True)
class Adder:
    """One adder: ``(left << a) + (right << b)``, or the difference.

    Parameters
    ----------
    left, right
        Numbers of its operands: inputs come first, then constants, then adders.
    shift
        By how many bits `right` is shifted to the left; if negative, `left` is shifted instead.
    negate
        Whether `right` is subtracted.
    depth
        Adders on the longest way from an input, this one included.
    time
        Clocks after the input in which a register may hold the result. An operand of the same
        time is read before its register.
    low, high
        Smallest and largest result that any input within its range can give.
    """

    left: int
    right: int
    shift: int
    negate: bool
    depth: int
    time: int
    low: int
    high: int

    @property
    def passed_bits(self) -> int:
        """Low bits that come straight from the operand that is not shifted."""
        if self.shift < 0:
            return 0 if self.negate else -self.shift
        return self.shift


@dataclass(frozen=True)
class Output:
    """A result of the graph: a value, shifted to the left."""

    value: int
    shift: int


@dataclass(frozen=True)
class Counts:
    """What a graph costs in hardware.

    Parameters
    ----------
    adders
        Adders and subtractors.
    registers
        Register bits: of the adders, and of the delays that keep the data of one clock together.
    luts
        Estimated look-up tables: one for each bit of a result that is not merely passed on.
    """

    adders: int
    registers: int
    luts: int


@dataclass(frozen=True)
class AdderGraph:
    """Outputs that are sums of inputs times constants, plus constants, computed by adders.

    Parameters
    ----------
    inputs
        Range of every input.
    constants
        Numbers added to outputs.
    adders
        In order: operands come before the adders that use them.
    outputs
        Where the results are.
    latency
        Clocks from inputs to outputs, at least one.
    levels_per_register
        Most adders on a way between two registers.
    """

    inputs: tuple[Interval, ...]
    constants: tuple[int, ...]
    adders: tuple[Adder, ...]
    outputs: tuple[Output, ...]
    latency: int
    levels_per_register: int = 1

    @cached_property
    def ranges(self) -> tuple[Interval, ...]:
        """Range of every value: inputs, constants, adders."""
        return (
            *self.inputs,
            *((constant, constant) for constant in self.constants),
            *((adder.low, adder.high) for adder in self.adders),
        )

    @cached_property
    def output_ranges(self) -> tuple[Interval, ...]:
        """Range of every output."""
        return tuple(
            (self.ranges[output.value][0] << output.shift,
             self.ranges[output.value][1] << output.shift)
            for output in self.outputs
        )  # fmt: skip

    @property
    def output_bits(self) -> int:
        """Bits of a signed register that holds any output."""
        return max(range_bits(low, high, signed=True) for low, high in self.output_ranges)

    @property
    def depth(self) -> int:
        """Most adders on a way from an input to an output."""
        return max((adder.depth for adder in self.adders), default=0)

    @cached_property
    def times(self) -> tuple[int, ...]:
        """Clock in which every value is there first; constants always are."""
        sources = len(self.inputs) + len(self.constants)
        return (0,) * sources + tuple(adder.time for adder in self.adders)

    @property
    def stages(self) -> tuple[tuple[int, ...], ...]:
        """Bits that registers keep of every value, from the clock it appears to its last use.

        The highest ones are left out where all later readers drop them; a constant has no bits.
        The first stage of an input is the input itself.
        """
        return self._kept[0]

    @property
    def chained(self) -> tuple[int, ...]:
        """Bits of every value that adders of the same clock read, before any register."""
        return self._kept[1]

    @cached_property
    def _kept(self) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
        first = len(self.inputs) + len(self.constants)
        readers: list[list[tuple[int, int]]] = [[] for _ in self.ranges]
        stages: list[tuple[int, ...]] = [()] * len(self.ranges)
        chained = [0] * len(self.ranges)
        for output in self.outputs:
            readers[output.value].append((self.latency, self.output_bits - output.shift))
        for number in reversed(range(len(self.ranges))):
            if len(self.inputs) <= number < first:
                continue
            low, high = self.ranges[number]
            time, bits, widths = self.times[number], 0, []
            full = range_bits(low, high, signed=low < 0)
            ends = [end for end, needed in readers[number] if needed > 0 and end >= time]
            for clock in range(max(ends, default=time - 1), time - 1, -1):
                needed = [needed for end, needed in readers[number] if end == clock]
                bits = max(bits, min(max(needed, default=0), full))
                widths.append(bits)
            stages[number] = tuple(reversed(widths))
            at_once = [needed for end, needed in readers[number] if end < time]
            chained[number] = min(max(at_once, default=0), full)
            if number >= first and (result := max(bits, chained[number])) > 0:
                adder = self.adders[number - first]
                for operand, shift in ((adder.left, -adder.shift), (adder.right, adder.shift)):
                    readers[operand].append((time - 1, result - max(shift, 0)))
        return tuple(stages), tuple(max(bits, 0) for bits in chained)

    @cached_property
    def result_bits(self) -> tuple[int, ...]:
        """Bits of every value that anybody reads."""
        return tuple(
            max(*stages[:1], chained, 0)
            for stages, chained in zip(self.stages, self.chained, strict=True)
        )

    @cached_property
    def weights(self) -> tuple[dict[int, int], ...]:
        """What every value is: the weight of each input, and at -1 what is added."""
        first = len(self.inputs)
        forms = [{number: 1} for number in range(first)]
        forms += [{-1: constant} for constant in self.constants]
        for adder in self.adders:
            form: dict[int, int] = {}
            sides = ((adder.left, max(-adder.shift, 0), 1),
                     (adder.right, max(adder.shift, 0), -1 if adder.negate else 1))  # fmt: skip
            for operand, shift, sign in sides:
                for number, weight in forms[operand].items():
                    form[number] = form.get(number, 0) + sign * (weight << shift)
            forms.append({number: form[number] for number in sorted(form) if form[number]})
        return tuple(forms)

    @cached_property
    def counts(self) -> Counts:
        """Adders, register bits and estimated look-up tables."""
        luts = 0
        first = len(self.inputs) + len(self.constants)
        for adder, bits in zip(self.adders, self.result_bits[first:], strict=True):
            luts += max(bits - adder.passed_bits, 0)
        registers = sum(map(sum, self.stages[first:]))
        registers += sum(sum(stages[1:]) for stages in self.stages[:first])
        return Counts(len(self.adders), registers, luts)

    def evaluate(self, inputs: ArrayLike) -> IntArray:
        """Return the outputs for inputs along the first axis, adder by adder.

        Raises
        ------
        ValueError
            If there are not as many inputs as the graph has, or one is outside its range.
        """
        data = np.asarray(inputs, dtype=np.int64)
        if data.ndim == 0 or len(data) != len(self.inputs):
            raise ArgumentError(f"the graph has {len(self.inputs)} inputs, got shape {data.shape}")
        for number, (low, high) in enumerate(self.inputs):
            if data[number].size and not low <= data[number].min() <= data[number].max() <= high:
                raise ArgumentError(f"input {number} must be within {low} to {high}")
        values = [*data, *(np.full(data.shape[1:], value) for value in self.constants)]
        for adder in self.adders:
            left = values[adder.left] << max(-adder.shift, 0)
            right = values[adder.right] << max(adder.shift, 0)
            values.append(left - right if adder.negate else left + right)
            assert np.all((adder.low <= values[-1]) & (values[-1] <= adder.high))
        return np.array([values[output.value] << output.shift for output in self.outputs])


def range_bits(low: int, high: int, *, signed: bool) -> int:
    """Return the width of the narrowest register, of at least one bit, for `low` to `high`.

    Parameters
    ----------
    low, high
        The range, both ends included.
    signed
        Whether the register is read as two's complement; `low` is not negative otherwise.
    """
    return max(int(high).bit_length(), (-int(low) - 1).bit_length(), 1 - signed) + signed


def adder_graph(
    matrix: ArrayLike,
    inputs: Interval | Sequence[Interval],
    bias: ArrayLike | None = None,
    *,
    extra_depth: int = 1,
    levels_per_register: int = LEVELS_PER_REGISTER,
    register_shared: bool = False,
) -> AdderGraph:
    """Find adders that compute ``matrix @ x + bias``.

    Parameters
    ----------
    matrix
        Integers, (outputs, inputs), of at most 24 bits.
    inputs
        Range of all inputs, or of each one.
    bias
        An integer for every output; a zero costs nothing.
    extra_depth
        Adder levels more than the fewest that the longest row needs without any sharing. More
        levels leave more to share, but more registers are needed too.
    levels_per_register
        Most adders on a way between two registers. More need fewer registers, and reach a lower
        clock frequency.
    register_shared
        Whether a sum with several readers is read from a register only. Its readers lie far from
        each other in a large layer, so no clock then has more than one long way.

    Raises
    ------
    ValueError
        If the matrix is empty or has weights of more than 24 bits, sizes do not fit, or there is
        not at least one level between registers.
    """
    weights = np.asarray(matrix)
    if weights.ndim != 2 or weights.size == 0 or weights.dtype.kind not in "iu":
        raise ArgumentError(f"a matrix of integers is needed, got {weights.dtype} {weights.shape}")
    if levels_per_register < 1:
        raise ArgumentError(f"levels_per_register must be at least 1, got {levels_per_register}")
    outputs, count = weights.shape
    limit = 1 << (MAX_WEIGHT_BITS - 1)
    if weights.min() < -limit or weights.max() >= limit:
        raise ArgumentError(f"weights must fit {MAX_WEIGHT_BITS} bits signed")
    ranges = _ranges(inputs, count)
    added = np.zeros(outputs, np.int64) if bias is None else np.asarray(bias)
    if added.shape != (outputs,) or added.dtype.kind not in "iu":
        raise ArgumentError(f"bias must be {outputs} integers, got {added.dtype} {added.shape}")
    # Without the zeros at their ends, which an adder passes on.
    odd = [number // (number & -number or 1) for number in added.tolist()]
    constants = tuple(dict.fromkeys((0, *odd)))
    rows = [_digits(row) for row in weights]
    for row, constant, number in zip(rows, odd, added.tolist(), strict=True):
        positive = any(sign > 0 for shifts in row.values() for sign in shifts.values())
        if constant or not positive:
            shift = max((number & -number).bit_length() - 1, 0)
            row[count + constants.index(constant)] = {shift: 1}
    sums, terms = shared_sums(rows, count + len(constants), count, extra_depth)
    forms = _linear_forms(weights, constants, sums)
    bounds = _bounds(forms, ranges)
    ends = [bound << term.shift for term in terms for bound in bounds[term.value]]
    if any(abs(bound) >> MAX_BITS for bound in (*ends, *(end for pair in bounds for end in pair))):
        raise ArgumentError(f"a sum needs more than {MAX_BITS} bits")
    depths = [0] * (count + len(constants))
    for item in sums:
        depths.append(1 + max(depths[item.left], depths[item.right]))
    widths = [range_bits(low, high, signed=low < 0) for low, high in bounds]
    widths[count : count + len(constants)] = [0] * len(constants)
    ends = [term.value for term in terms]
    latency = shortest_latency(sums, ends, count + len(constants), levels_per_register,
                               near=register_shared)  # fmt: skip
    times = adder_times(sums, ends, widths, latency, levels_per_register, near=register_shared)
    first = count + len(constants)
    adders = tuple(
        Adder(item.left, item.right, item.shift, item.negate, depth, time, low, high)
        for item, depth, time, (low, high) in zip(
            sums, depths[first:], times, bounds[first:], strict=True
        )
    )
    return AdderGraph(ranges, constants, adders,
                      tuple(Output(term.value, term.shift) for term in terms), latency,
                      levels_per_register)  # fmt: skip


def _linear_forms(
    weights: np.ndarray, constants: tuple[int, ...], sums: Sequence[Sum]
) -> list[np.ndarray]:
    """Return every value as weights of the inputs and an added constant."""
    count = weights.shape[1]
    forms = list(np.eye(count + 1, dtype=object)[:count])
    forms += [constant * np.eye(count + 1, dtype=object)[count] for constant in constants]
    for item in sums:
        left = forms[item.left] * (1 << max(-item.shift, 0))
        right = forms[item.right] * (1 << max(item.shift, 0))
        forms.append(left - right if item.negate else left + right)
    return forms


def _bounds(forms: list[np.ndarray], ranges: tuple[Interval, ...]) -> list[Interval]:
    """Return the range of every linear form, which some input reaches at both ends."""
    low = np.array([*(low for low, _ in ranges), 1], dtype=object)
    high = np.array([*(high for _, high in ranges), 1], dtype=object)
    bounds = []
    for form in forms:
        positive, negative = np.maximum(form, 0), np.minimum(form, 0)
        bounds.append(
            (int(positive @ low + negative @ high), int(positive @ high + negative @ low))
        )
    return bounds


def _ranges(inputs: Interval | Sequence[Interval], count: int) -> tuple[Interval, ...]:
    bounds = np.array(inputs, dtype=object)
    if bounds.shape == (2,):
        bounds = np.tile(bounds, (count, 1))
    if bounds.shape != (count, 2):
        raise ArgumentError(f"the matrix has {count} inputs, got ranges of shape {bounds.shape}")
    ranges = tuple((int(low), int(high)) for low, high in bounds)
    if any(low > high for low, high in ranges):
        raise ArgumentError("a range must not end before it starts")
    return ranges


def _digits(row: np.ndarray) -> Digits:
    return {number: dict(signed_digits(int(weight))) for number, weight in enumerate(row) if weight}
