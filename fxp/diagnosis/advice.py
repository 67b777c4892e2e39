"""What to change, and what it gains: predicted from the parts of every value's error.

Errors of single values are small and nearly independent, so that their losses at the output add up;
what a change takes off one value's error, it takes off that value's share of the sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch

from fxp.diagnosis.costs import multiplications
from fxp.diagnosis.measure import Measured
from fxp.diagnosis.pair import Pair
from fxp.diagnosis.sums import ValueSums, decibels
from fxp.formats import Format, quantize
from fxp.graph import Constant, Graph, Node
from fxp.graph.readers import read_by_prelus_alone

LEAST_GAIN: Final = 0.3
"""Changes that gain less than this, in dB, are not listed."""
MOST: Final = 12
"""Changes listed."""
MORE_BITS: Final = 2
SPREAD: Final = 8.0
"""Ranges of channels that differ by more than this factor are worth equalizing."""
POOR: Final = 40.0
"""SQNR in dB below which a result is called poor."""
POOR_PART: Final = 50.0
"""The same for a part of a concatenation, of which other parts have more."""
DROP: Final = 20.0
"""Loss of SQNR in dB from what a value reads to the value that is called a drop."""
_FLOOR: Final = 1e-9


@dataclass(frozen=True)
class Change:
    """One thing to change.

    Attributes
    ----------
    kind
        ``headroom``, ``finer_steps``, ``more_bits``, ``per_channel``, ``bias_correction``,
        ``more_weight_bits``, ``equalization``, ``split_concatenation`` or ``remove_channels``.
    values
        The values that it is for, the one with most to gain first.
    reason
        Why, in words.
    options
        Options of `fxp.quantize` that make the change; empty if it takes another network.
    gain_of
        What gains: ``output``, or a part of a value in words.
    predicted_gain_db
        Gain of SQNR in dB; None if it cannot be predicted.
    measured_gain_db
        The same, measured by quantizing again; None if it was not.
    """

    kind: str
    values: tuple[str, ...]
    reason: str
    options: Mapping[str, Any] = field(default_factory=dict)
    gain_of: str = "output"
    predicted_gain_db: float | None = None
    measured_gain_db: float | None = None

    @property
    def value(self) -> str:
        """The value with most to gain."""
        return self.values[0]


@dataclass(frozen=True)
class _Saving:
    """What a change takes off the loss of one value, in parts of that loss."""

    kind: str
    value: str
    part: float
    reason: str
    options: Mapping[str, Any] = field(default_factory=dict)


def advise(measured: Measured, call: Sequence[torch.Tensor]) -> list[Change]:
    """Return what to change, what gains most first.

    Parameters
    ----------
    measured
        What was seen.
    call
        One call of the data, on which changes of single values are tried.
    """
    losses = {name: measured.loss(name) for name in measured.pair.roundable}
    total = sum(losses.values())
    found: list[Change] = []
    if total > 0:
        with torch.no_grad():
            probe = measured.pair.run_float(call)
            savings = [
                saving
                for name in sorted(losses, key=lambda name: -losses[name])
                if losses[name] > total * 1e-3
                for saving in _savings(measured, name, probe)
            ]
        found = _combined(savings, losses, total)
    found = [c for c in found if (c.predicted_gain_db or 0.0) >= LEAST_GAIN]
    found += list(concatenations(measured.pair, measured.values))
    found.sort(key=lambda change: -(change.predicted_gain_db or 0.0))
    return [*found[:MOST], *_dead(measured)]


def _combined(
    savings: Sequence[_Saving], losses: Mapping[str, float], total: float
) -> list[Change]:
    """Join the savings that one option makes, and say what each gains at the output."""
    groups: dict[str, list[_Saving]] = {}
    for saving in savings:
        groups.setdefault(f"{saving.kind} {sorted(saving.options.items())!r}", []).append(saving)
    found = []
    for group in groups.values():
        group.sort(key=lambda saving: -saving.part * losses[saving.value])
        saved = sum(saving.part * losses[saving.value] for saving in group)
        if saved <= 0:
            continue
        first = group[0]
        others = len(group) - 1
        more = f" So do {others} other values." if others > 1 else ""
        more = f" So does {group[1].value!r}." if others == 1 else more
        found.append(
            Change(
                first.kind,
                tuple(saving.value for saving in group),
                first.reason + more,
                first.options,
                predicted_gain_db=decibels(1.0, max(1 - saved / total, _FLOOR)),
            )
        )
    return found


def _savings(measured: Measured, name: str, probe: Mapping[str, torch.Tensor]) -> Iterator[_Saving]:
    """Yield what may be done about one value."""
    sums, pair = measured.values[name], measured.pair
    whole = sums.by_weights + sums.by_rounding + sums.by_clipping
    if whole <= 0:
        return
    yield from _of_format(pair, name, sums, whole)
    node = pair.fixed_nodes.get(name)
    if node is not None and sums.by_weights > 0.1 * whole:
        yield from _of_weights(measured, node, sums, whole, probe)
    if sums.by_rounding > 0.1 * whole and name not in pair.fixed.outputs:
        yield from _of_ranges(measured, name, sums, probe)


def _of_format(pair: Pair, name: str, sums: ValueSums, whole: float) -> Iterator[_Saving]:
    form = pair.fixed.values[name].format
    assert form is not None
    largest = sums.largest
    limit = form.max if sums.high.max() >= -sums.low.min() or not form.signed else -form.min
    if sums.by_clipping > 0.02 * whole and largest > limit > 0:
        bits = max(math.ceil(math.log2(largest / limit)), 1)
        after = sums.by_weights + sums.by_rounding * 4.0**bits
        yield _Saving(
            "headroom",
            name,
            1 - after / whole,
            f"{name!r} reaches {largest:.4g}, but {form} ends at {limit:.4g}, so that "
            f"{sums.clipped / sums.count:.3%} of its values are clipped: give it "
            f"{_bits(bits, 'integer')} more.",
            _shifted(pair, name, form, -bits),
        )
    elif sums.by_rounding > 0.2 * whole and 0 < 2 * largest <= form.max:
        bits = math.floor(math.log2(form.max / largest))
        after = sums.by_weights + sums.by_clipping + sums.by_rounding / 4.0**bits
        yield _Saving(
            "finer_steps",
            name,
            1 - after / whole,
            f"{name!r} reaches {largest:.4g} only, but {form} ends at {form.max:.4g}: turn "
            f"{_bits(bits, 'integer')} into fraction bits.",
            _shifted(pair, name, form, bits),
        )
    node = pair.fixed_nodes.get(name)
    rounded = node is None or (node.accumulator is not None and form.frac < node.accumulator.frac)
    if rounded and sums.by_rounding > 0.3 * whole:
        after = sums.by_weights + sums.by_clipping + sums.by_rounding / 4.0**MORE_BITS
        width = rounded_width(pair.fixed)
        own = f"{form.width} bits" if form.width != width else "the activations"
        yield _Saving(
            "more_bits",
            name,
            1 - after / whole,
            f"The rounding of {name!r} to {form} costs most of its loss: {MORE_BITS} bits more "
            f"than {own} take it off.",
            {"activation_bits": width + MORE_BITS},
        )


def _shifted(pair: Pair, name: str, form: Format, by: int) -> dict[str, Any]:
    """Options that move the binary point of a value."""
    if name in pair.network.values:
        return {"fracs": {name: form.frac + by}}
    source = pair.source[name]
    if name in pair.fixed.outputs:
        return {"output_format": {source: str(Format(form.width, form.frac + by, form.signed))}}
    return {"fracs": {source: form.frac + by}}


def _bits(count: int, kind: str) -> str:
    return f"{count} {kind} bit{'s' if count > 1 else ''}"


def rounded_width(graph: Graph) -> int:
    """Bits that most rounded values of an integer graph have."""
    wider = read_by_prelus_alone(graph)
    widths = [
        node.quantization.format.width
        for node in graph.nodes
        if node.quantization is not None
        and node.name not in wider
        and node.accumulator is not None
        and node.quantization.format.frac < node.accumulator.frac
    ]
    widths = widths or [value.format.width for value in graph.inputs if value.format]
    return max(set(widths), key=lambda width: (widths.count(width), width))


def weight_constant(pair: Pair, node: Node) -> tuple[Constant, Constant] | None:
    """Return the weights of a node in the integer and in the float graph."""
    for position, name in enumerate(node.inputs):
        if node.op.constant_roles.get(position) == "weight":
            own = pair.fixed.constants_by_name[name]
            return own, pair.network.constants_by_name[
                pair.network.node(node.name).inputs[position]
            ]
    return None


def _of_weights(
    measured: Measured,
    node: Node,
    sums: ValueSums,
    whole: float,
    probe: Mapping[str, torch.Tensor],
) -> Iterator[_Saving]:
    pair = measured.pair
    found = weight_constant(pair, node)
    if found is None:
        return
    own, wanted = found
    width = own.formats[0].width
    if len(set(own.formats)) == 1 and len(own.data) > 1:
        yield _Saving(
            "per_channel",
            node.name,
            1 - _with_channel_formats(measured, node, own, wanted, probe),
            f"The weights of {node.name!r} share {own.formats[0]}, though the largest of a channel "
            f"is from {_sizes(wanted).min():.3g} to {_sizes(wanted).max():.3g}: give every "
            "output channel fraction bits of its own.",
            {"per_channel": True},
        )
    if sums.by_mean > 0.2 * sums.by_weights:
        yield _Saving(
            "bias_correction",
            node.name,
            sums.by_mean / whole,
            f"{sums.by_mean / sums.by_weights:.0%} of the error that the rounded weights of "
            f"{node.name!r} make is constant in every channel: the bias can take it off.",
            {"bias_correction": True},
        )
    yield _Saving(
        "more_weight_bits",
        node.name,
        sums.by_weights * (1 - 4.0**-MORE_BITS) / whole,
        f"The rounding of the weights of {node.name!r} to {width} bits costs "
        f"{sums.by_weights / whole:.0%} of its loss: {MORE_BITS} bits more take it off.",
        {"weight_bits": width + MORE_BITS},
    )


def _sizes(constant: Constant) -> np.ndarray:
    """Largest magnitude of every output channel."""
    return np.abs(constant.data.reshape(len(constant.data), -1)).max(axis=1)


def _with_channel_formats(
    measured: Measured,
    node: Node,
    own: Constant,
    wanted: Constant,
    probe: Mapping[str, torch.Tensor],
) -> float:
    """Loss at the output with weight formats per channel, in parts of what it is."""
    pair, width = measured.pair, own.formats[0].width
    rows = []
    for row, size in zip(wanted.data, _sizes(wanted), strict=True):
        if size == 0:
            rows.append(row)
            continue
        form = Format(width, width - 1 - math.frexp(size)[1])
        rows.append(np.ldexp(quantize(row, form).astype(np.float64), -form.frac))
    given = {own.name: torch.tensor(np.stack(rows))}
    error = pair.op_error(node, pair.operands_of(node.name, probe), given)
    local = pair.local(node.name, probe)
    rounding = local.found - local.computed
    before = _loss_at_output(measured, node.name, probe, local.found)
    after = _loss_at_output(measured, node.name, probe, local.wanted + error + rounding)
    return min(after / before, 1.0) if before else 1.0


def _of_ranges(
    measured: Measured, name: str, sums: ValueSums, probe: Mapping[str, torch.Tensor]
) -> Iterator[_Saving]:
    """Yield the gain of channels of like ranges: all then have the resolution of the largest."""
    sizes = np.maximum(np.abs(sums.low), np.abs(sums.high))
    alive = sizes[sizes > 0]
    if len(alive) < 2 or alive.max() < SPREAD * np.median(alive):
        return
    pair = measured.pair
    local = pair.local(name, probe)
    factors = torch.tensor(np.clip(sizes / sizes.max(), 2.0**-24, 1.0))
    shaped = factors.reshape(-1, *[1] * (local.wanted.ndim - 2))
    better = local.wanted + (local.found - local.wanted) * shaped
    before = _loss_at_output(measured, name, probe, local.found)
    after = _loss_at_output(measured, name, probe, better)
    if before <= 0 or after >= before:
        return
    yield _Saving(
        "equalization",
        name,
        1 - after / before,
        f"The channels of {name!r} share one format, though their largest values are from "
        f"{alive.min():.3g} to {alive.max():.3g}: scale them to like ranges first.",
        {"equalization": True},
    )


def _loss_at_output(
    measured: Measured, name: str, probe: Mapping[str, torch.Tensor], value: torch.Tensor
) -> float:
    pair = measured.pair
    result = pair.outputs_with(name, probe, {}, value)
    assert result is not None
    outputs = [*result[0], *result[1].values()]
    given = [*pair.network.outputs]
    following = {state.value.name: state.source for state in pair.network.states}
    given += [following[name] for name in result[1]]
    return sum(
        float(((output - probe[source]) ** 2).sum())
        / max(float((probe[source] ** 2).sum()), 1e-300)
        for output, source in zip(outputs, given, strict=True)
    )


def concatenations(pair: Pair, values: Mapping[str, ValueSums]) -> Iterator[Change]:
    """Yield the concatenations that drown one of their parts in the range of another.

    Parameters
    ----------
    pair
        The two graphs.
    values
        Sums of all values.
    """
    for node in pair.fixed.nodes:
        if node.op.name != "concat" or node.op.attributes().get("axis", 0) not in (0, None):
            continue
        sums, first = values[node.name], 0
        parts = []
        for source in node.inputs:
            last = first + len(values[source].power)
            level = decibels(
                float(sums.power[first:last].sum()), float(sums.noise[first:last].sum())
            )
            parts.append((source, first, last, level, values[source].largest))
            first = last
        widest = max(parts, key=lambda part: part[4])
        for source, begin, end, level, largest in parts:
            own = min(values[source].sqnr, 200.0)
            if level < POOR_PART and own - level > DROP and largest > 0:
                form = pair.fixed.values[node.name].format
                yield Change(
                    "split_concatenation",
                    (node.name, source),
                    f"The concatenation {node.name!r} joins {source!r}, which reaches "
                    f"{largest:.3g}, and {widest[0]!r}, which reaches {widest[4]:.3g}, in one "
                    f"format, {form}: {source!r} has {own:.1f} dB before and {level:.1f} dB after. "
                    "Return the parts as outputs of their own, or let each be read by itself.",
                    {},
                    f"channels {begin} to {end - 1} of {node.name}",
                    own - level,
                )


def _dead(measured: Measured) -> Iterator[Change]:
    """Yield one change for all layers with channels that are always zero."""
    pair = measured.pair
    found: dict[str, str] = {}
    saved = 0
    for node in pair.fixed.nodes:
        channels = measured.values[node.name].dead_channels
        reads = [name for name in node.inputs if name in measured.values]
        inherited = any(measured.values[name].dead_channels for name in reads)
        if not channels or len(channels) == len(measured.values[node.name].power) or inherited:
            continue
        listed = ", ".join(map(str, channels[:8])) + (" and others" if len(channels) > 8 else "")
        noun = "channel" if len(channels) == 1 else "channels"
        found[node.name] = f"{noun} {listed} of {node.name!r}"
        count = multiplications(pair.fixed, node, measured.shapes)
        saved += count * len(channels) // len(measured.values[node.name].power)
    if found:
        texts = list(found.values())
        others = f", and those of {len(texts) - 4} more values" if len(texts) > 4 else ""
        saves = f", which saves {saved:,} multiplications" if saved else ""
        yield Change(
            "remove_channels",
            tuple(found),
            f"These are zero on all images given: {', '.join(texts[:4])}{others}. If others agree, "
            f"the network can do without them{saves}.",
            predicted_gain_db=0.0,
        )


def with_measured(change: Change, gain: float) -> Change:
    """Return a change with its measured gain in dB."""
    return replace(change, measured_gain_db=gain)
