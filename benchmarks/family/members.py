"""The members of the family: what they cost in hardware, and what they give."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

import fxp
from benchmarks.psnr.methods import fixed_pixels, multiplier_bits
from fxp import hls
from fxp.hls.synth.synthesis import synthesize
from fxp.hls.synth.targets import TARGETS
from fxp.imaging.quality import Quality
from fxp.models import sr
from fxp.models.common.measure import FloatPixels, PixelFunction
from fxp.models.sr.fixed import (
    ACTIVATION_BITS,
    COMPARED,
    WEIGHT_BITS,
    formats,
    quantize_shipped,
)
from fxp.quantization.mixed.quality import AgainstReferences

LINE: Final = 1920
"""Pixels of the longest line of a core."""
TARGET: Final = "xilinx-us"
SYNTHESIS_SECONDS: Final = 3600

Images = dict[str, list[NDArray[np.uint8]]]
"""Luma by the name of the set."""
Record = dict[str, Any]


@dataclass(frozen=True)
class Member:
    """A network of certain weights and widths.

    Attributes
    ----------
    network
        What the tables call the network.
    weights
        Name of shipped weights.
    weight_bits, activation_bits
        Widths, the widest ones where they are searched.
    searched
        Whether each activation has the fewest bits that a search finds, see `narrowed`.
    """

    network: str
    weights: str
    weight_bits: int
    activation_bits: int
    searched: bool = False

    @property
    def name(self) -> str:
        """Unique name."""
        return f"{self.network} {self.weight_bits}/{self.activation_bits}"

    def model(self) -> fxp.FixedModel:
        """Load it if its file has these widths, or quantize it quickly."""
        known = sr.read_metadata(self.weights)
        own = (
            int(known.get("weight_bits", WEIGHT_BITS)),
            int(known.get("activation_bits", ACTIVATION_BITS)),
        )
        if self.searched:
            return narrowed(sr.load(self.weights), self.weights)
        shipped = self.weights not in COMPARED.values()
        if shipped and own == (self.weight_bits, self.activation_bits):
            return sr.load(self.weights)
        return quantize_shipped(
            self.weights,
            weight_bits=self.weight_bits,
            activation_bits=self.activation_bits,
            # Weights without roundings of these widths may gain by refinements.
            effort="balanced" if "weight_bits" not in known else "fast",
        )


CROP: Final = 64
"""Side of the pictures on which widths are searched."""
LOSS: Final = 0.5
"""What a search for widths may lose, dB of SQNR against the float network."""


def narrowed(model: fxp.FixedModel, weights: str) -> fxp.FixedModel:
    """Return a model with the same weights, and activations that take the fewest LUTs.

    Parameters
    ----------
    model
        The shipped model, whose quality less `LOSS` is the floor.
    weights
        Name of its weights, which were trained with roundings.
    """
    network, known, options = sr.load_float(weights), sr.read_metadata(weights), formats()
    pictures = [image[..., :CROP, :CROP] for image in options.pop("calibration")]
    with torch.no_grad():
        double = sr.load_float(weights).double()
        references = [[double(torch.from_numpy(picture))[0].numpy()] for picture in pictures]
    quality = AgainstReferences("sqnr", [[picture[0]] for picture in pictures], references)
    bits = int(known["weight_bits"])
    widest = int(known["activation_bits"])
    found = fxp.quantize_mixed(
        network, pictures, floor=quality(model) - LOSS, cost=hls.ShiftAddCost(),
        weight_widths=(bits,), activation_widths=range(widest - 5, widest + 1),
        strategy="greedy", effort="fast", **options,
    )  # fmt: skip
    widths = {"bits": found.bits, "weight_bits": bits, "activation_bits": widest}
    return fxp.quantize(network, **formats(), **widths, effort="fast")


FEATURES: Final = {8: "kimsr8_x2", 16: "kimsr16_x2", 24: "kimsr24_x2", 32: "kimsr_x2"}
"""Beginning of the names of the weights, by feature maps."""
TRAINED: Final = (8, 24, 32)
"""Feature maps for which a training with the roundings of 8/10 bits gained something."""
HARDWARE: Final = "kimsr_x2_hardware"
BITS: Final = ((8, 10), (8, 12), (10, 14))
MEMBERS: Final = (
    *(
        Member(
            f"KimSR, {features} maps",
            f"{name}_8_10" if bits[0] == 8 and features in TRAINED else f"{name}_bicubic",
            *bits,
        )
        for features, name in FEATURES.items()
        for bits in BITS
    ),
    Member("KimSR, fewer digits", HARDWARE, 9, 13),
    Member("KimSR, fewer digits", HARDWARE, 10, 14),
    Member("KimSR, fewer digits, widths searched", HARDWARE, 10, 14, searched=True),
    *(
        Member(network, weights, *bits)
        for network, weights in COMPARED.items()
        for bits in ((10, 14), (12, 16))
    ),
)
BY_NAME: Final = {member.name: member for member in MEMBERS}
"""The members by their names."""

PLAIN: Final = next(
    member
    for member in MEMBERS
    if member.weights == f"{FEATURES[32]}_bicubic" and member.weight_bits == WEIGHT_BITS
)
"""The shipped network, which those for cores of shared adders come from."""


def psnrs(images: Images, upscale: PixelFunction, scale: int) -> dict[str, float]:
    """Return PSNR in dB by set, for inputs of 8 bits.

    Parameters
    ----------
    images
        High-resolution luma by set.
    upscale
        What is measured.
    scale
        Upscaling factor.
    """
    return {name: quality(pictures, upscale, scale).psnr for name, pictures in images.items()}


def quality(pictures: Iterable[NDArray[np.uint8]], upscale: PixelFunction, scale: int) -> Quality:
    """Return PSNR and SSIM for inputs of 8 bits.

    Parameters
    ----------
    pictures, upscale, scale
        As for `psnrs`.
    """
    return sr.luma_scores(pictures, upscale, scale, round_input=True)


def measured(member: Member, images: Images) -> Record:
    """Measure one member.

    Parameters
    ----------
    member
        Which.
    images
        Luma by set.
    """
    model, network = member.model(), sr.load_float(member.weights)
    adders, luts = (
        sum(hls.ShiftAddCost(kind).parts(model.graph).values()) for kind in ("adders", "luts")
    )
    return {
        "network": member.network,
        "bits": f"{member.weight_bits}/{'≤' * member.searched}{member.activation_bits}",
        "parameters": sum(item.numel() for item in network.parameters()),
        "psnr": psnrs(images, fixed_pixels(model), network.scale),
        "multiplier_bits": multiplier_bits(model.graph),
        "adders": adders,
        "luts": luts,
        "line_memory": sum(hls.LineMemoryCost(LINE).parts(model.graph).values()),
    }


def synthesized(member: Member) -> Record:
    """Return what yosys counts for a whole core of shared adders.

    Parameters
    ----------
    member
        Which.
    """
    with tempfile.TemporaryDirectory() as folder:
        core = hls.emit_rtl(member.model(), folder, max_width=LINE, multipliers="shift_add")
        result = synthesize(
            Path(folder), core.sources, core.top, TARGETS[TARGET], timeout_s=SYNTHESIS_SECONDS
        )
    total = result.total
    return {"luts": total.luts, "registers": total.registers, "block_rams": total.block_rams}


def factor(scale: int, images: Images) -> Record:
    """Measure the shipped network of a factor.

    Parameters
    ----------
    scale
        Upscaling factor.
    images
        Luma by set.
    """
    name = f"kimsr_x{scale}_bicubic"
    network = sr.load_float(name)
    return {
        "name": name,
        "parameters": sum(item.numel() for item in network.parameters()),
        "bicubic": {
            key: sr.bicubic_scores(pictures, scale, round_input=True).psnr
            for key, pictures in images.items()
        },
        "float": psnrs(images, FloatPixels(network, border=network.margin), scale),
        "fixed": psnrs(images, fixed_pixels(sr.load(name)), scale),
    }
