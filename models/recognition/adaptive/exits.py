"""`BranchyResNet` in integers: a picture leaves at the first exit that is sure of it.

BranchyNet leaves where the entropy of the probabilities is small. Here it is where the largest
score exceeds the second largest by a margin, a comparison of integers: the more it does, the
smaller the entropy is. The last exit takes all that are left. Stages behind the exit are not
computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import fxp
from fxp.formats import Format
from fxp.models.common.pixels import PIXEL
from fxp.models.recognition.adaptive.networks import BranchyResNet
from fxp.models.recognition.adaptive.parts import (
    AdaptiveError,
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


@dataclass(frozen=True)
class ExitResult:
    """What a picture gave.

    Attributes
    ----------
    scores
        Raw scores of the classes, ``(classes,)``.
    exit
        Number of the exit, from 0.
    """

    scores: NDArray[np.int64]
    exit: int


@dataclass(frozen=True)
class EarlyExits:
    """A `BranchyResNet` in fixed point.

    Attributes
    ----------
    segments
        The stages.
    exits
        The scores behind each, all in one format.
    margin
        By how much the largest score has to exceed the second one, a raw integer.

    Raises
    ------
    ArgumentError
        If the margin is no number from 0 to the largest difference of two scores, or a part does
        not take what the one before it returns.
    """

    segments: tuple[fxp.FixedModel, ...]
    exits: tuple[fxp.FixedModel, ...]
    margin: int

    def __post_init__(self) -> None:
        largest = (1 << self.scores.width) - 1
        if type(self.margin) is not int or not 0 <= self.margin <= largest:
            raise ArgumentError(f"the margin is a number from 0 to {largest}, not {self.margin}")
        if len(self.segments) != len(self.exits):
            raise ArgumentError(f"{len(self.segments)} stages need as many exits")
        check_chain(
            *((f"exit {number}", reads(part), gives(self.segments[number]))
              for number, part in enumerate(self.exits)),
            *((f"exit {number}", gives(part), gives(self.exits[0]))
              for number, part in enumerate(self.exits)),
            *((f"stage {number}", reads(segment), gives(before))
              for number, (before, segment) in enumerate(pairwise(self.segments), 1)),
        )  # fmt: skip

    @property
    def scores(self) -> Format:
        """Format of the scores."""
        graph = self.exits[0].graph
        form = graph.values[graph.outputs[0]].format
        assert form is not None
        return form

    def with_margin(self, margin: float) -> EarlyExits:
        """Return the model with another margin, in units of the scores; rounded up."""
        if not np.isfinite(margin):
            raise ArgumentError(f"the margin must be a finite number, not {margin}")
        return replace(self, margin=int(np.ceil(np.ldexp(margin, self.scores.frac))))

    def run_raw(self, picture: NDArray[np.int64]) -> ExitResult:
        """Run the engine on the raw pixels of one picture, ``(C, H, W)``, up to its exit."""
        check_picture(picture)
        x = picture
        last = len(self.exits) - 1
        for number, (segment, leaves) in enumerate(zip(self.segments, self.exits, strict=True)):
            x = on_engine(segment, x)
            scores = on_engine(leaves, x)
            if number == last or self.is_sure(scores):
                return ExitResult(scores, number)
        raise AssertionError

    def definition(self, picture: NDArray[np.int64]) -> ExitResult:
        """Return the same by the oracle, which computes all exits, and then chooses."""
        x, found = picture, []
        for segment, leaves in zip(self.segments, self.exits, strict=True):
            x = on_oracle(segment, x)
            found.append(on_oracle(leaves, x))
        sure = [self.is_sure(scores) for scores in found[:-1]]
        number = sure.index(True) if any(sure) else len(found) - 1
        return ExitResult(found[number], number)

    def is_sure(self, scores: NDArray[np.int64]) -> bool:
        """Whether the largest of the raw scores exceeds the second largest by the margin."""
        second, first = np.sort(scores)[-2:]
        return bool(first - second >= self.margin)

    def save(self, folder: str | Path) -> None:
        """Write all parts into a folder."""
        parts = {f"segment{number}": part for number, part in enumerate(self.segments)}
        parts |= {f"exit{number}": part for number, part in enumerate(self.exits)}
        write_parts(folder, parts, {"kind": "exits", "margin": self.margin})

    @classmethod
    def load(cls, folder: str | Path) -> EarlyExits:
        """Read what `save` wrote.

        Raises
        ------
        AdaptiveError
            If the folder is none of a network with exits, or damaged.
        ArgumentError
            If its margin is none, or its parts do not fit each other.
        """
        parts, settings = read_parts(folder, "exits")
        try:
            segments, exits = (
                tuple(parts[f"{kind}{number}"] for number in range(3))
                for kind in ("segment", "exit")
            )
            return cls(segments, exits, settings["margin"])
        except KeyError as error:
            raise AdaptiveError(f"the adaptive model in {folder} lacks {error}") from error

    @classmethod
    def of(
        cls,
        network: BranchyResNet,
        calibration: Tensor,
        *,
        margin: float,
        pixels: Format = PIXEL,
        **options: Any,
    ) -> EarlyExits:
        """Quantize a trained network.

        Parameters
        ----------
        network
            In eval mode.
        calibration
            Typical pictures, ``(N, channels, H, W)``.
        margin
            See `with_margin`.
        pixels
            Format of the pictures.
        options
            As for `fxp.quantize`, for every part.
        """
        bits = int(options.get("activation_bits", 14))
        segments, exits = [], []
        with torch.no_grad():
            scores = common_format(network.all_scores(calibration), bits)
            x, before = calibration, pixels
            for number in range(3):
                segment = partial(network.segment, number)
                behind = segment(x)
                form = common_format([behind], bits)
                segments.append(
                    quantized(
                        network, segment, [x], input_format=before, output_format=form, **options
                    )
                )
                x, before = behind, form
                leaves = partial(network.exit, number)
                exits.append(
                    quantized(
                        network, leaves, [x], input_format=form, output_format=scores, **options
                    )
                )
        return cls(tuple(segments), tuple(exits), 0).with_margin(margin)
