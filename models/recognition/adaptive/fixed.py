"""`AdaptiveResNet` in integers: what has halted is left out, with the same results.

Every unit, every halting score and the rest are integer graphs. Between them, for each position of
a stage, or for the picture (raw integers; scores have 14 fraction bits, so 1 is ``2^14``)::

    total = 0; result = 0; x = first unit
    for every unit:
        active = total < threshold             # round((1 - epsilon) * 2^14)
        x      = active ? unit(x) : x          # the first unit has been run already
        score  = last unit ? 2^14 : halting(x)
        share  = !active ? 0 : total + score >= threshold ? 2^14 - total : score
        result = result + share * x
        total  = total + share
    stage  = result, requantized by 14 bits to the format of x

`AdaptiveModel.definition` computes this as it stands, with the oracle. `AdaptiveModel.run_raw` ends
the loop where nothing is active, and runs a unit only on the tiles that hold active positions, each
with the pixels around it that its convolutions read. The integers are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fxp
from fxp.formats import Format, Overflow, Rounding, quantize, requantize
from fxp.models.common.pixels import PIXEL
from fxp.models.recognition.adaptive.networks import AdaptiveResNet, check_epsilon
from fxp.models.recognition.adaptive.parts import (
    AdaptiveError,
    Run,
    check_chain,
    check_picture,
    common_format,
    gives,
    on_engine,
    on_oracle,
    quantized,
    read_parts,
    reads,
    write_parts,
)
from fxp.support.errors import ArgumentError

SCORE: Final = Format(14, 14, signed=False)
"""Format of halting scores."""
ONE: Final = 1 << SCORE.frac
HALO: Final = 2
"""Pixels around a tile that the two convolutions of a unit read."""
TILE: Final = 16
"""Rows and columns of a tile."""


@dataclass(frozen=True)
class AdaptiveResult:
    """What a picture gave.

    Attributes
    ----------
    scores
        Raw scores of the classes, ``(classes,)``.
    units
        For each stage, how many units every position ran, ``(H, W)``.
    """

    scores: NDArray[np.int64]
    units: tuple[NDArray[np.int64], ...]

    def share(self, most: int) -> float:
        """Share of the positions of all units that were computed.

        Parameters
        ----------
        most
            Units of a stage.
        """
        done = sum(int(stage.sum()) for stage in self.units)
        return done / (most * sum(stage.size for stage in self.units))


@dataclass(frozen=True)
class AdaptiveModel:
    """An `AdaptiveResNet` in fixed point.

    Attributes
    ----------
    entries
        For each stage, its first unit; that of the first stage reads pictures.
    units, halting
        For each stage, its other units, and the halting scores of all but the last unit.
    head
        Scores of the classes.
    threshold
        Halting scores end a position where they reach it, in units of 2^-14.

    Raises
    ------
    ArgumentError
        If the threshold is none, or a part does not take what the one before it returns.
    """

    entries: tuple[fxp.FixedModel, ...]
    units: tuple[tuple[fxp.FixedModel, ...], ...]
    halting: tuple[tuple[fxp.FixedModel, ...], ...]
    head: fxp.FixedModel
    threshold: int

    def __post_init__(self) -> None:
        if type(self.threshold) is not int or not 1 <= self.threshold <= ONE:
            raise ArgumentError(f"the threshold is a number from 1 to {ONE}, not {self.threshold}")
        counts = {len(item) for item in (*self.units, *self.halting)}
        if not len(self.entries) == len(self.units) == len(self.halting) == 3 or (
            len(counts) != 1 or 0 in counts
        ):
            raise ArgumentError("the model needs three stages of equally many units and scores")
        for stage, entry in enumerate(self.entries):
            inside = gives(entry)
            behind = self.entries[stage + 1] if stage < 2 else self.head
            check_chain(
                (f"what follows stage {stage}", reads(behind), inside),
                *(
                    (f"a unit of stage {stage}", port(unit), inside)
                    for unit in self.units[stage]
                    for port in (reads, gives)
                ),
                *((f"a score of stage {stage}", reads(part), inside)
                  for part in self.halting[stage]),
                *((f"a score of stage {stage}", gives(part), (1, SCORE))
                  for part in self.halting[stage]),
            )  # fmt: skip

    @property
    def most_units(self) -> int:
        """Units of a stage."""
        return 1 + len(self.units[0])

    def with_epsilon(self, epsilon: float) -> AdaptiveModel:
        """Return the model with another threshold, ``1 - epsilon`` rounded to 14 bits."""
        return AdaptiveModel(
            self.entries, self.units, self.halting, self.head, threshold_of(epsilon)
        )

    def run_raw(self, picture: NDArray[np.int64]) -> AdaptiveResult:
        """Run the engine on the raw pixels of one picture, ``(C, H, W)``."""
        check_picture(picture)
        return self._run(picture, on_engine, skips=True)

    def definition(self, picture: NDArray[np.int64]) -> AdaptiveResult:
        """Return the same by the oracle, which computes everything and masks what has halted."""
        return self._run(picture, on_oracle, skips=False)

    def __call__(self, images: NDArray[np.floating] | Tensor) -> NDArray[np.float64]:
        """Return scores ``(N, classes)`` of pictures ``(N, C, H, W)``, pixels divided by 256."""
        form = self.head.graph.values[self.head.graph.outputs[0]].format
        pixels = self.entries[0].graph.inputs[0].format
        assert form is not None
        assert pixels is not None
        raws = quantize(np.asarray(images, np.float64), pixels, Rounding.HALF_UP, Overflow.SATURATE)
        return np.stack([np.ldexp(self.run_raw(raw).scores, -form.frac) for raw in raws])

    def _run(self, picture: NDArray[np.int64], run: Run, *, skips: bool) -> AdaptiveResult:
        x, counts = picture, []
        for entry, units, halting in zip(self.entries, self.units, self.halting, strict=True):
            form = entry.graph.values[entry.graph.outputs[0]].format
            assert form is not None
            x, count = self._stage(run(entry, x), form, units, halting, run, skips=skips)
            counts.append(count)
        return AdaptiveResult(run(self.head, x), tuple(counts))

    def _stage(
        self,
        x: NDArray[np.int64],
        form: Format,
        units: Sequence[fxp.FixedModel],
        halting: Sequence[fxp.FixedModel],
        run: Run,
        *,
        skips: bool,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the result of a stage, and how many units each position ran."""
        total = np.zeros((1, *x.shape[1:]), np.int64)
        count, result = np.zeros_like(total), np.zeros_like(x)
        for place in range(len(units) + 1):
            active = total < self.threshold
            if skips and not active.any():
                break
            if place:
                unit = units[place - 1]
                computed = by_tiles(unit, x, active[0], run) if skips else run(unit, x)
                x = np.where(active, computed, x)
            score = run(halting[place], x) if place < len(units) else np.int64(ONE)
            share = np.where(total + score >= self.threshold, ONE - total, score) * active
            result += share * x
            count += active
            total += share
        stage = requantize(result, form.frac + SCORE.frac, form, Rounding.HALF_UP)
        return stage, count[0]

    def save(self, folder: str | Path) -> None:
        """Write all parts into a folder."""
        parts = {"head": self.head}
        for stage, entry in enumerate(self.entries):
            parts[f"stage{stage}.first"] = entry
            for kind, models in (("unit", self.units), ("halting", self.halting)):
                for place, part in enumerate(models[stage]):
                    parts[f"stage{stage}.{kind}{place}"] = part
        write_parts(
            folder,
            parts,
            {"kind": "adaptive", "threshold": self.threshold, "units": len(self.units[0])},
        )

    @classmethod
    def load(cls, folder: str | Path) -> AdaptiveModel:
        """Read what `save` wrote.

        Raises
        ------
        AdaptiveError
            If the folder is none of an adaptive model, or damaged.
        ArgumentError
            If its threshold is none, or its parts do not fit each other.
        """
        parts, settings = read_parts(folder, "adaptive")
        try:
            places = range(settings["units"])
            units, halting = (
                tuple(
                    tuple(parts[f"stage{stage}.{kind}{place}"] for place in places)
                    for stage in range(3)
                )
                for kind in ("unit", "halting")
            )
            entries = tuple(parts[f"stage{stage}.first"] for stage in range(3))
            return cls(entries, units, halting, parts["head"], settings["threshold"])
        except (KeyError, TypeError) as error:
            raise AdaptiveError(f"the adaptive model in {folder} lacks {error}") from error

    @classmethod
    def of(
        cls,
        network: AdaptiveResNet,
        calibration: Tensor,
        *,
        pixels: Format = PIXEL,
        **options: Any,
    ) -> AdaptiveModel:
        """Quantize a trained network.

        Parameters
        ----------
        network
            In eval mode.
        calibration
            Typical pictures, ``(N, channels, H, W)``.
        pixels
            Format of the pictures.
        options
            As for `fxp.quantize`, for every part.
        """
        bits = int(options.get("activation_bits", 14))
        entries, units, halting = [], [], []
        part = partial(quantized, network, **options)
        with torch.no_grad():
            source, form_before = calibration, pixels
            for number, stage in enumerate(network.stages):
                stem = source if number else network.stem(source)
                run = network.run_stage(number, stem)
                form = common_format(run.features, bits)
                first = stage[0] if number else nn.Sequential(_Stem(network), stage[0])
                entries.append(part(first, [source], input_format=form_before, output_format=form))
                inside = {"input_format": form}
                units.append(
                    tuple(
                        part(unit, [x], output_format=form, **inside)
                        for unit, x in zip(list(stage)[1:], run.features, strict=False)
                    )
                )
                scores = cast(nn.ModuleList, network.halting[number])
                halting.append(
                    tuple(
                        part(score, [x], output_format=SCORE, **inside)
                        for score, x in zip(scores, run.features, strict=False)
                    )
                )
                source, form_before = run.result, form
            head = part(network.head, [source], input_format=form_before)
        return cls(
            tuple(entries), tuple(units), tuple(halting), head, threshold_of(network.epsilon)
        )


class _Stem(nn.Module):
    """The layers before the first unit."""

    def __init__(self, network: AdaptiveResNet) -> None:
        super().__init__()
        self.conv, self.norm = network.conv1, network.bn1

    def forward(self, x: Tensor) -> Tensor:
        """Return what the first unit reads."""
        return torch.relu(self.norm(self.conv(x)))


def threshold_of(epsilon: float) -> int:
    """Return ``1 - epsilon`` in units of 2^-14, rounded half up.

    Raises
    ------
    ArgumentError
        If epsilon does not lie between 0 and 1, or rounds to 1.
    """
    threshold = int(np.floor((1 - check_epsilon(epsilon)) * ONE + 0.5))
    if not threshold:
        raise ArgumentError(f"epsilon {epsilon} leaves a threshold of 0; give a smaller one")
    return threshold


def by_tiles(
    unit: fxp.FixedModel, x: NDArray[np.int64], active: NDArray[np.bool_], run: Run
) -> NDArray[np.int64]:
    """Compute a unit where positions are active; elsewhere the result is what was there.

    Parameters
    ----------
    unit
        Two convolutions with zeros around the picture.
    x
        ``(C, H, W)``.
    active
        ``(H, W)``.
    run
        Runs the unit.
    """
    chosen = list(_tiles(active))
    pixels = sum(
        (bottom - top + 2 * HALO) * (right - left + 2 * HALO) for top, bottom, left, right in chosen
    )
    # A call for each tile takes longer than the same pixels at once.
    if 2 * pixels >= active.size:
        return run(unit, x)
    result = x.copy()
    height, width = active.shape
    for top, bottom, left, right in chosen:
        up, down = min(top, HALO), min(height - bottom, HALO)
        before, behind = min(left, HALO), min(width - right, HALO)
        patch = x[:, top - up : bottom + down, left - before : right + behind]
        found = run(unit, np.ascontiguousarray(patch))
        result[:, top:bottom, left:right] = found[
            :, up : up + bottom - top, before : before + right - left
        ]
    return result


def _tiles(active: NDArray[np.bool_]) -> Iterator[tuple[int, int, int, int]]:
    """Yield top, bottom, left and right of the tiles that hold active positions."""
    height, width = active.shape
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            bottom, right = min(top + TILE, height), min(left + TILE, width)
            if active[top:bottom, left:right].any():
                yield top, bottom, left, right
