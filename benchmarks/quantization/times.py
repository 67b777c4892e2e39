"""How long quantization of large networks takes, by effort.

The weights are random, as the time hardly depends on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.progress import track
from torch import Tensor, cat, manual_seed, nn, rand, relu

import fxp
from benchmarks.report import markdown_table

EFFORTS = ("fast", "balanced", "best")


class _Block(nn.Module):
    """Two convolutions around a ReLU, and the sum with what went in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 5, padding=2) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(relu(self.first(x)))


class DeepDeblur(nn.Module):
    """Images at several scales, finest first, to the sharp finest one.

    S. Nah, T. H. Kim, K. M. Lee, "Deep Multi-scale Convolutional Neural Network for Dynamic Scene
    Deblurring", CVPR 2017: with 3 scales 120 convolutions besides those between scales.

    Parameters
    ----------
    scales, blocks, channels
        Numbers of scales, of residual blocks of each, and of channels.
    """

    def __init__(self, scales: int = 3, blocks: int = 19, channels: int = 64) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(6 if scale < scales - 1 else 3, channels, 5, padding=2),
                *(_Block(channels) for _ in range(blocks)),
                nn.Conv2d(channels, 3, 5, padding=2),
            )
            for scale in range(scales)
        )
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 12, 5, padding=2), nn.PixelShuffle(2))
            for _ in range(scales - 1)
        )

    def forward(self, *images: Tensor) -> Tensor:
        """Return the sharp image."""
        sharp = self.scales[-1](images[-1])
        for scale in range(len(self.up) - 1, -1, -1):
            sharp = self.scales[scale](cat([images[scale], self.up[scale](sharp)], 1))
        return sharp

    @staticmethod
    def example(scales: int, size: int) -> tuple[Tensor, ...]:
        """Return random images of every scale, the finest of this height and width."""
        return tuple(rand(1, 3, size >> k, size >> k) - 0.5 for k in range(scales))


class ResidualBlock(nn.Module):
    """Two convolutions with batch norms, and the sum with what went in."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if stride == 1 else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the two ways."""
        return relu(self.shortcut(x) + self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))))


class ResNet18(nn.Sequential):
    """ResNet-18 for ImageNet: K. He et al., CVPR 2016."""

    def __init__(self) -> None:
        blocks = [
            ResidualBlock(*channels)
            for inputs, outputs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
            for channels in ((inputs, outputs, stride), (outputs, outputs, 1))
        ]
        super().__init__(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.MaxPool2d(3, 2, 1), *blocks,
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000),
        )  # fmt: skip


@dataclass(frozen=True)
class Work:
    """A network, and data that quantization of it is timed on.

    Attributes
    ----------
    name
        With the size, for the table.
    network
        Makes it.
    calibration
        Makes the data.
    efforts
        Which are timed.
    """

    name: str
    network: Callable[[], nn.Module]
    calibration: Callable[[], list]
    efforts: tuple[str, ...] = EFFORTS


WORKS = (
    Work("ResNet-18, 4 images of 224×224", ResNet18, lambda: [rand(4, 3, 224, 224) * 2 - 1]),
    # A search for the fraction bits of its 250 values would take most of an hour.
    Work(
        "DeepDeblur of 3 scales, 128×128",
        DeepDeblur,
        lambda: [DeepDeblur.example(3, 128)],
        EFFORTS[:2],
    ),
)


def measured() -> dict[str, dict[str, list[float]]]:
    """Return for each work and effort the seconds on the clock and those of processors."""
    found: dict[str, dict[str, list[float]]] = {}
    for work in WORKS:
        manual_seed(0)
        network, calibration = work.network().eval(), work.calibration()
        found[work.name] = {}
        for effort in track(work.efforts, work.name):
            found[work.name][effort] = [
                round(value, 1) for value in seconds(network, calibration, effort)
            ]
            print(work.name, effort, *found[work.name][effort], flush=True)
    return found


def body(times: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return the Markdown of what `measured` gave.

    Parameters
    ----------
    times
        Seconds on the clock and of processors, by work and effort.
    """
    rows = [
        [name, *(_cell(efforts.get(effort)) for effort in EFFORTS)]
        for name, efforts in times.items()
    ]
    table = markdown_table(("network", *EFFORTS), rows)
    return f"Seconds of quantization by effort, on the clock and of two processors:\n\n{table}"


def _cell(found: Sequence[float] | None) -> str:
    return "not timed" if found is None else "{:.0f} / {:.0f}".format(*found)


def seconds(network: nn.Module, calibration: Sequence, effort: str) -> tuple[float, float]:
    """Return the seconds on the clock and the seconds of processors that quantization takes.

    Parameters
    ----------
    network
        In eval mode.
    calibration
        Calibration data.
    effort
        As for `fxp.quantize`.
    """
    clock, processors = time.perf_counter(), time.process_time()
    fxp.quantize(network, calibration, effort=effort)  # type: ignore[arg-type]
    return time.perf_counter() - clock, time.process_time() - processors
