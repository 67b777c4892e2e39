"""Time and memory of the published network against ONNX Runtime."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.deblur.process import start
from benchmarks.speed.peers import export
from benchmarks.speed.timing import threads_text
from fxp.models.deblur.fixed import quantize_weights
from fxp.models.deblur.networks import preset

LARGER: Final = (1080, 1920)
"""Size at which memory is measured too."""


def paper_rows(
    size: tuple[int, int], threads: tuple[int, ...], runs: int, *, larger: bool, network: str
) -> list[list[str]]:
    """Return the rows of the table: network, size, threads, seconds, ratio and memory.

    Weights are random, as time and memory do not depend on them.

    Parameters
    ----------
    size
        Height and width.
    threads
        Numbers of threads.
    runs
        Runs of each.
    larger
        Whether to run `LARGER` as well, in fixed point, with the most threads.
    network
        Preset.
    """
    torch.manual_seed(0)
    generator = preset(network).eval()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        fixed, real = Path(folder) / "network.fxp", Path(folder) / "network.onnx"
        quantize_weights(generator, "random", effort="fast").save(fixed)
        example: NDArray[np.float32] = np.zeros((1, 3, *size), np.float32)
        real.write_bytes(export(generator, [example]))
        name = f"{size[1]}x{size[0]}"
        for count in threads:
            theirs = start(real, *size, count, runs)
            ours = start(fixed, *size, count, runs)
            ratio = theirs["best"] / ours["best"]
            for title, found, text in (
                ("ONNX Runtime float32", theirs, ""),
                ("fxp 10/14 bits", ours, f"{ratio:.2f}"),
            ):
                rows.append([title, name, threads_text(count), f"{found['best']:.2f}", text,
                             _megabytes(found)])  # fmt: skip
                print(*rows[-1], flush=True)
        if larger:
            found = start(fixed, *LARGER, max(threads), 1)
            rows.append(["fxp 10/14 bits", f"{LARGER[1]}x{LARGER[0]}", threads_text(max(threads)),
                         f"{found['best']:.2f}", "", _megabytes(found)])  # fmt: skip
            print(*rows[-1], flush=True)
    return rows


def _megabytes(found: dict[str, float]) -> str:
    return f"{found['bytes'] / 1e6:.0f}"
