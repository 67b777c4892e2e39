"""Binary convolutions in the engine against float32 in ONNX Runtime.

``python -m benchmarks.recognition.binary`` prints the table and writes the page in docs/benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import nn

import fxp
from benchmarks.report import ROOT, environment, markdown_table, write_page
from benchmarks.speed.machine import describe
from benchmarks.speed.peers import export, onnx_session
from benchmarks.speed.timing import Settings, best_times, load_per_processor, load_text
from fxp.engine import Engine
from fxp.models.recognition.binary import BinaryConv2d, XnorConv2d

CHANNELS: Final = 256
SIZE: Final = 28
LAYERS: Final = (1, 2)
"""A layer by itself, with what a call costs, and several, whose difference is that of layers."""


def signs() -> np.ndarray:
    """Return the input of all networks."""
    return np.random.default_rng(0).choice([-1, 1], (CHANNELS, SIZE, SIZE))


def engine_of(layer: type[BinaryConv2d], count: int) -> tuple[Engine, str]:
    """Return the engine of so many layers in a row, and what computes the last one.

    Parameters
    ----------
    layer
        Their class.
    count
        How many.
    """
    torch.manual_seed(0)
    layers = [layer(CHANNELS, CHANNELS, 3, padding=1, bias=False) for _ in range(count)]
    example = torch.from_numpy(signs()[None, :, :12, :12].astype(np.float32))
    model = fxp.quantize(
        nn.Sequential(*layers).eval(), [example], input_format=fxp.Format(2, 0), effort="fast"
    )
    engine = Engine(model.graph)
    stages = engine.plan([(CHANNELS, SIZE, SIZE)], threads=1).program.stages
    return engine, stages[-1].kernel


def main() -> None:
    """Measure, print and write the page."""
    settings = Settings(threads=(1,))
    image = signs()
    real = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False).eval()
    pixels = image[None].astype(np.float32)
    session = onnx_session(export(real, [pixels]), 1)
    name = session.get_inputs()[0].name
    calls: dict[str, Callable[[], object]] = {"float": lambda: session.run(None, {name: pixels})}
    raws, kernels = [image.astype(np.int16)], {}
    for layer in (XnorConv2d, BinaryConv2d):
        for count in LAYERS:
            engine, kernels[layer.__name__] = engine_of(layer, count)
            run = partial(engine.run, raws, threads=1, count_clipped=False)
            calls[f"{layer.__name__} {count}"] = run
    load = load_per_processor()
    best = best_times(calls, settings)
    rows = [[f"float32, ONNX Runtime {environment('onnxruntime').split()[-1].rstrip('.')}", "",
             f"{best['float'] * 1e3:.2f}", "", "1.0", ""]]  # fmt: skip
    few, many = LAYERS
    for layer in (XnorConv2d, BinaryConv2d):
        whole, more = (best[f"{layer.__name__} {count}"] for count in LAYERS)
        each = (more - whole) / (many - few)
        rows.append(
            [
                f"`{layer.__name__}`",
                kernels[layer.__name__],
                f"{whole * 1e3:.2f}",
                f"{each * 1e3:.2f}",
                f"{best['float'] / whole:.1f}",
                f"{best['float'] / each:.1f}",
            ]
        )
    header = ("layer", "kernel", "ms, a call", "ms, a further layer", "times as fast", "further")
    body = (
        f"A convolution of {CHANNELS} to {CHANNELS} channels, 3x3, on {SIZE}x{SIZE} pixels, on one "
        "thread. A call takes the image in and gives the results out. The first XNOR layer reads "
        "signs; each further one takes the signs of the sums before it, which is in its time. "
        "`BinaryConv2d` has binary weights alone, and further layers of it read 14 bits; the first "
        "one reads the same signs.\n\n"
        f"{markdown_table(header, rows)}\n\n"
        f"{describe(())['processor']}; {load_text([load])}. "
        f"{environment('fxp', 'torch', 'numpy', 'onnxruntime')}"
    )
    print(body)
    page = write_page(
        ROOT / "docs" / "benchmarks", "recognition.binary", "Binary convolutions", body
    )
    print(f"wrote {page}")


if __name__ == "__main__":
    main()
