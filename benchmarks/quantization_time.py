"""How long quantization takes on large networks, by effort.

``python -m benchmarks.quantization_time`` prints a table: some minutes on two cores. The weights
are random, as the time hardly depends on them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.progress import track
from torch import Tensor, cat, nn, rand, relu

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

    def example(self, size: int) -> tuple[Tensor, ...]:
        """Return random images of every scale."""
        return tuple(rand(1, 3, size >> k, size >> k) - 0.5 for k in range(len(self.scales)))


def measured(network: nn.Module, calibration: Sequence, effort: str) -> tuple[float, float]:
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


def main(
    size: Annotated[int, typer.Option(help="Height and width of the images.")] = 128,
    scales: Annotated[int, typer.Option(help="Scales of DeepDeblur.")] = 3,
    effort: Annotated[list[str] | None, typer.Option(help="Effort; repeatable.")] = None,
) -> None:
    """Print how long the quantization of DeepDeblur takes."""
    network = DeepDeblur(scales).eval()
    rows = []
    for name in track(effort or EFFORTS, "quantizing"):
        clock, processors = measured(network, [network.example(size)], name)
        rows.append([name, f"{clock:.1f}", f"{processors:.1f}"])
    typer.echo(markdown_table(["effort", "seconds", "seconds of processors"], rows))


if __name__ == "__main__":
    typer.run(main)
