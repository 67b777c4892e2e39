"""What was found about a model, as data and as text."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.diagnosis.advice import Change
from fxp.support.errors import ArgumentError
from fxp.support.text_table import text_table

SCHEMA: Final = 1
"""Version of the JSON; it changes when a field is renamed, removed or given another meaning."""


@dataclass(frozen=True)
class WeightsReport:
    """Weights of one layer.

    Attributes
    ----------
    format
        Their format, or formats, in words.
    low, high
        Smallest and largest float weight of every output channel.
    limit
        Largest magnitude that every output channel's format holds.
    step
        Step of every output channel's format.
    sqnr_db
        SQNR in dB of the rounded weights of every output channel; None where they are exact.
    """

    format: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    limit: tuple[float, ...]
    step: tuple[float, ...]
    sqnr_db: tuple[float | None, ...]


@dataclass(frozen=True)
class ValueReport:
    """What is known of one value; SQNR in dB is None where there is no noise at all.

    Attributes
    ----------
    name, op, shape
        Its name, the op that computes it (``input`` and ``state`` for what is given), and its
        sizes without batch on the data.
    format, step, format_low, format_high
        Its format with the step and the ends of that.
    low, high
        Smallest and largest float value seen.
    zeros, clipped
        Shares of float values that are zero, and of fixed-point values that were clipped, 0 to 1.
    histogram
        Numbers of float values by binary exponent: of those with a magnitude in
        ``[2**(e-1), 2**e)``.
    sqnr_db
        Cumulative: against the float network, everything up to here quantized.
    local_sqnr_db
        If this value and the weights that make it are quantized, and nothing else.
    channel_sqnr_db
        Cumulative, of every channel.
    alone_sqnr_db
        SQNR of the network's output if this value alone is quantized: its sensitivity.
    loss_share
        Its share, 0 to 1, of the sum of all values' losses at the output.
    by_weights, by_rounding, by_clipping
        Shares, 0 to 1, of its own error: of rounded weights or tables, of the rounding of the
        result, and of its clipping.
    accumulator_bits, accumulator_bits_used
        Width of the accumulator that is proved to be enough, and that the data needed.
    multiplications, value_bits, weight_bits
        For one image of the size measured: multiplications, bits of the value, bits of the layer's
        constants.
    dead_channels
        Channels that are zero throughout.
    weights
        Its layer's weights, if it has any.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    format: str
    step: float
    format_low: float
    format_high: float
    low: float
    high: float
    zeros: float
    clipped: float
    histogram: Mapping[int, int]
    sqnr_db: float | None
    local_sqnr_db: float | None
    channel_sqnr_db: tuple[float | None, ...]
    alone_sqnr_db: float | None
    loss_share: float
    by_weights: float
    by_rounding: float
    by_clipping: float
    accumulator_bits: int | None
    accumulator_bits_used: int | None
    multiplications: int
    value_bits: int
    weight_bits: int
    dead_channels: tuple[int, ...]
    weights: WeightsReport | None = None

    @property
    def worst_channel(self) -> int:
        """The channel with the lowest SQNR."""
        levels = [math.inf if level is None else level for level in self.channel_sqnr_db]
        return int(np.argmin(levels))


@dataclass(frozen=True)
class OutputReport:
    """One output: its name, and SQNR in dB of all of it and of its worst channel."""

    name: str
    sqnr_db: float | None
    worst_channel: int
    worst_channel_sqnr_db: float | None


@dataclass(frozen=True)
class AgreementReport:
    """Top-1 of an output vector.

    Attributes
    ----------
    output
        Its name.
    samples, equal
        Samples in all, and those for which fixed point chooses what float chooses.
    differences
        ``(float class, fixed class, samples)`` of the others, the most frequent first.
    worst_sample
        Number, among the samples measured, of the one with the largest error.
    worst_sample_error
        Its root mean squared error.
    """

    output: str
    samples: int
    equal: int
    differences: tuple[tuple[int, int, int], ...]
    worst_sample: int
    worst_sample_error: float


@dataclass(frozen=True)
class CropReport:
    """Where the error of an output image is largest.

    Attributes
    ----------
    output
        Its name.
    image
        Number, among the images measured.
    row, column
        Top left corner, pixels of the output.
    wanted, found
        Float and fixed-point values, ``(C, h, w)``; not part of the JSON.
    """

    output: str
    image: int
    row: int
    column: int
    wanted: NDArray[np.float64] = dataclasses.field(repr=False, compare=False)
    found: NDArray[np.float64] = dataclasses.field(repr=False, compare=False)


@dataclass(frozen=True)
class Findings:
    """Everything that was found about a model.

    Attributes
    ----------
    model
        Name of the graph.
    images, images_given
        Images, vectors or steps that were measured, and those that were given.
    images_alone
        Those on which every value was quantized by itself.
    output_sqnr_db
        SQNR in dB of the outputs against the float network, every output counting alike.
    sum_of_losses_db
        The same as the losses of single values, added up, say; how far it is from
        `output_sqnr_db` says how well the losses explain what is lost.
    outputs
        Each output.
    values
        Inputs, states and nodes in order.
    changes
        What to change, what gains most first.
    steps_db
        Output SQNR of every step of a recurrent network, in dB; else empty.
    agreement, crop
        For output vectors and for output images.
    """

    model: str
    images: int
    images_given: int
    images_alone: int
    output_sqnr_db: float | None
    sum_of_losses_db: float | None
    outputs: tuple[OutputReport, ...]
    values: tuple[ValueReport, ...]
    changes: tuple[Change, ...]
    steps_db: tuple[float | None, ...] = ()
    agreement: AgreementReport | None = None
    crop: CropReport | None = None

    def value(self, name: str) -> ValueReport:
        """Return what is known of one value; raises ArgumentError for a name it does not have."""
        for item in self.values:
            if item.name == name:
                return item
        raise ArgumentError(f"model {self.model!r} has no value {name!r}")

    @property
    def by_loss(self) -> list[ValueReport]:
        """The values by their loss at the output, the largest first."""
        return sorted(self.values, key=lambda item: -item.loss_share)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as data that `json.dumps` takes; docs/diagnosis.md explains them."""
        figures = {
            field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)
        }
        totals = {
            name: sum(getattr(item, name) for item in self.values)
            for name in ("multiplications", "value_bits", "weight_bits")
        }
        return {"schema": SCHEMA, **figures, "totals": totals}

    def to_json(self) -> str:
        """Return the same as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        lines = [
            f"{self.model}: output SQNR {level_text(self.output_sqnr_db)} on {self.images} of "
            f"{self.images_given} {'steps' if self.steps_db else 'images'}"
        ]
        if self.agreement is not None:
            votes = self.agreement
            lines.append(f"top-1 equal for {votes.equal} of {votes.samples} samples")
        lines += ["", *text_table(HEADER, map(cells, self.values)), ""]
        lines.append("What to change:" if self.changes else "Nothing to change stands out.")
        for number, change in enumerate(self.changes, 1):
            lines.append(f"{number}. {change.reason}")
            lines.append(f"   {gain_text(change)}")
        return "\n".join(lines)


HEADER: Final = (
    "value", "op", "format", "range", "clipped", "SQNR", "local", "alone", "loss", "accumulator",
    "multiplications",
)  # fmt: skip


def cells(item: ValueReport) -> tuple[str, ...]:
    """Return a value's row of the table, in the order of `HEADER`."""
    bits = item.accumulator_bits
    state = item.op.startswith("state")
    return (
        item.name,
        item.op,
        item.format,
        f"{item.low:.3g} to {item.high:.3g}",
        f"{item.clipped:.4%}" if item.clipped else "",
        level_text(item.sqnr_db),
        "" if state else level_text(item.local_sqnr_db),
        "" if state else level_text(item.alone_sqnr_db),
        f"{item.loss_share:.1%}" if item.loss_share >= 0.0005 else "",
        "" if bits is None else f"{item.accumulator_bits_used} of {bits} bit",
        f"{item.multiplications:,}" if item.multiplications else "",
    )


def level_text(level: float | None) -> str:
    """Return an SQNR in words."""
    return "exact" if level is None else f"{level:.1f} dB"


def gain_text(change: Change) -> str:
    """Say what a change gains, and with which options."""
    parts = []
    if change.predicted_gain_db is not None:
        parts.append(f"predicted gain {change.predicted_gain_db:+.1f} dB of {change.gain_of}")
    if change.measured_gain_db is not None:
        parts.append(f"measured {change.measured_gain_db:+.1f} dB")
    if change.options:
        options = ", ".join(f"{name}={value!r}" for name, value in change.options.items())
        parts.append(f"fxp.quantize(..., {options})")
    return "; ".join(parts)


def finite(level: float) -> float | None:
    """Return a level in dB; None for an infinite one, which JSON does not have."""
    return level if math.isfinite(level) else None


def _plain(value: Any) -> Any:
    """Return dataclasses as dictionaries, and only what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not isinstance(getattr(value, field.name), np.ndarray)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return finite(float(value))
    if isinstance(value, bool | int | str | None):
        return value
    return int(value) if isinstance(value, np.integer) else str(value)
