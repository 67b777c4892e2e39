"""Whole networks, placed and routed on the LFE5U-85F."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import fxp
from benchmarks.family.members import BY_NAME, HARDWARE, MEMBERS, Member
from benchmarks.synth.stages import LONGEST_LINE, MODEL, TARGET_MEGAHERTZ, Record
from fxp.hls.rtl.emit import emit_rtl
from fxp.hls.synth import SynthesisError, place
from fxp.hls.synth.fit import fit
from fxp.hls.synth.harness import ports_of
from fxp.hls.synth.nextpnr import Placer
from fxp.model import FixedModel
from fxp.models import sr
from fxp.models.recognition.zoo.cifar import CifarResNet

TARGET = "ecp5-85k"
Options = dict[str, Any]
ADDERS: Options = {"max_width": LONGEST_LINE, "multipliers": "shift_add", "register_shared": True}
TO_FULL_HD: Options = {"max_width": 960, "max_height": 540}
"""Input of a picture of 1920x1080, at a factor of two."""


@dataclass(frozen=True)
class PlacedCore:
    """A whole network, and how to place its core.

    Attributes
    ----------
    model
        Makes the network.
    options
        Of the core.
    fps
        Frames per second for which styles of the layers are chosen, if they are.
    speed, megahertz
        Speed grade, and frequency to aim at.
    placer
        Of nextpnr. The one that looks at wires alone suits a device that is nearly full.
    """

    model: Callable[[], FixedModel]
    options: Options = field(default_factory=dict)
    fps: float | None = None
    speed: int = 8
    megahertz: float = TARGET_MEGAHERTZ
    placer: Placer = "heap"

    def frames_per_second(self, megahertz: float, clocks: int) -> float:
        """Return the rate of the largest frames, at so many clocks for each pixel."""
        width = self.options["max_width"]
        height = self.options.get("max_height", width * 9 // 16)
        return megahertz * 1e6 / (clocks * width * height)


def _chain(member: Member) -> FixedModel:
    return sr.colour_chain(member.model(), chroma="bicubic")


def _upscaler(make: Callable[[], nn.Module]) -> FixedModel:
    """Return a network of 8-bit weights and 10-bit values, untrained."""
    torch.manual_seed(0)
    return fxp.quantize(make().eval(), [torch.rand(1, 1, 48, 48)], weight_bits=8,
                        activation_bits=10, input_format=fxp.Format(8, 8, signed=False),
                        effort="fast")  # fmt: skip


def _classifier() -> FixedModel:
    """Return a ResNet-8 for CIFAR with a quarter of the usual widths, 8 bits, untrained."""
    torch.manual_seed(0)
    return fxp.quantize(CifarResNet(depth=8, classes=10, width=4).eval(),
                        [torch.rand(8, 3, 32, 32)], weight_bits=8, activation_bits=8,
                        input_format=fxp.Format(8, 8, signed=False), effort="fast",
                        name="resnet8")  # fmt: skip


class EspcnRelu(sr.ESPCN):
    """ESPCN with ReLU in place of tanh, as hardware has it."""

    def forward(self, luma: torch.Tensor) -> torch.Tensor:
        """Upscale ``(N, 1, H, W)``."""
        features = torch.relu(self.body(torch.relu(self.head(luma))))
        return nn.functional.pixel_shuffle(self.tail(features), self.scale).clamp(0.0, 1.0)


PLACED: dict[str, PlacedCore] = {
    **{
        name: PlacedCore(BY_NAME[name].model, ADDERS | {"levels_per_register": 1})
        for name in ("KimSR, 8 maps 8/10", "KimSR, 16 maps 8/10", "KimSR, 24 maps 8/10")
    },
    **{
        member.name: PlacedCore(member.model, ADDERS, placer="static")
        for member in MEMBERS
        if member.weights == HARDWARE and not member.searched
    },
    "RGB video chain, KimSR, 8 maps 8/10": PlacedCore(
        partial(_chain, BY_NAME["KimSR, 8 maps 8/10"]),
        ADDERS | TO_FULL_HD | {"levels_per_register": 1, "packing": "ug934", "pixels_per_beat": 2},
        speed=6,
        megahertz=148.5,
    ),
    "FSRCNN-s, fitted to 15 frames/s": PlacedCore(
        partial(_upscaler, sr.FSRCNN), TO_FULL_HD, fps=15, megahertz=125, placer="static"
    ),
    "ESPCN with ReLU, fitted to 1 frame/s": PlacedCore(
        partial(_upscaler, EspcnRelu), TO_FULL_HD, fps=1, megahertz=125
    ),
    "ResNet-8 for CIFAR, 4 maps": PlacedCore(
        _classifier, {"max_width": 32, "max_height": 32, "multipliers": "dsp", "fold": 64}
    ),
}
"""Whole networks to place, by name."""


def place_whole(
    name: str, folder: Path, timeout_s: float, *, route: bool = True, attempts: int = 1
) -> Record:
    """Synthesize and place a whole network, then route it.

    Parameters
    ----------
    name
        Which core, a key of `PLACED`.
    folder
        Where everything goes; what is there already of an earlier run is used again.
    timeout_s
        Seconds for each tool.
    route
        Whether to route.
    attempts
        Seeds of the placer, until the aim is reached.

    Returns
    -------
    dict
        ``estimate``, before routing, and ``placement``, or why there is none; the latency in
        clocks, and the clocks for each pixel.
    """
    core = PLACED[name]
    model, options = core.model(), dict(core.options)
    if core.fps is not None:
        chosen = fit(model, TARGET, fps=core.fps, width=options["max_width"],
                     height=options["max_height"], megahertz=core.megahertz)  # fmt: skip
        options |= {"multipliers": chosen.multipliers, "fold": chosen.fold}
    emitted = emit_rtl(model, folder / "core", name=MODEL, **options)
    sources = [f"core/{source}" for source in emitted.sources]
    ports = ports_of((folder / sources[-1]).read_text(encoding="utf-8"), emitted.top)

    def tell(done: int, total: int, text: str) -> None:
        print(f"{name}: {text}", flush=True)

    run = partial(place, folder, sources, emitted.top, ports, target=TARGET, speed=core.speed,
                  megahertz=core.megahertz, router="router2", placer=core.placer,
                  timeout_s=timeout_s, progress=tell)  # fmt: skip
    record: Record = {"estimate": asdict(run(route=False)), "latency": emitted.latency_clocks,
                      "clocks": emitted.fold}  # fmt: skip
    print(f"{name}: {record['estimate']['megahertz']} MHz, estimated", flush=True)
    if not route:
        return record | {"reason": "not routed"}
    try:
        record["placement"] = asdict(run(attempts=attempts))
    except SynthesisError as error:
        record["reason"] = str(error)
    return record
