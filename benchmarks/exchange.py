"""What exported files cost and whether they are equal: ``python -m benchmarks.exchange``.

Writes docs/benchmarks/exchange.md.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import fxp
from benchmarks.report import ROOT, environment, markdown_table, write_page
from benchmarks.speed.peers import onnx_session
from fxp.executors import oracle
from fxp.export.c import to_c
from fxp.export.onnx import Form, to_onnx
from fxp.formats import quantize

IMAGES = 100
RESNET = ROOT / "models" / "recognition" / "weights" / "cifar_resnet20.fxp"
SIZE = (90, 160)
"""Rows and columns of the images that the convolutional network is timed on."""
REPETITIONS = 40
METHOD = (
    "*float32*: the same network in ONNX Runtime, in floating point. *auto* and *integer*: the "
    "two forms that `fxp export onnx` writes. One thread, processor time, the fastest of "
    f"{REPETITIONS} runs (2 of *integer*), batch of one. The network has five convolutions 3×3 "
    "with ReLU between them and random weights, and is timed on "
    f"{SIZE[1]}×{SIZE[0]} pixels. All results of both forms were compared with the engine's and "
    "are equal.\n\n"
    "The C file of the CIFAR ResNet-20 that fxp ships was compiled by gcc with `-std=c99 -Wall "
    f"-Wextra -Werror -fsanitize=undefined` and run on {IMAGES} random images; all integers were "
    "compared with the oracle's."
)
"""How the figures were taken."""


def network(channels: int) -> nn.Module:
    """Return a convolutional network."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(1, channels, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, 3, padding=1)).eval()


def milliseconds(run: Callable[[], object], repetitions: int) -> float:
    """Return the processor time of the fastest run, after one that does not count."""
    run()
    times = []
    for _ in range(repetitions):
        begin = time.process_time()
        run()
        times.append(time.process_time() - begin)
    return min(times) * 1e3


def rows_of(channels: int) -> list[list[str]]:
    """Return a row of the table for each width of values.

    Parameters
    ----------
    channels
        Of the network.
    """
    net = network(channels)
    image = torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(0))
    file = BytesIO()
    # The stub does not know that files in memory are taken as well.
    torch.onnx.export(net, (image,), file, dynamo=False)  # type: ignore[arg-type]
    floats = onnx_session(file.getvalue(), 1)
    name = floats.get_inputs()[0].name
    reference = milliseconds(lambda: floats.run(None, {name: image.numpy()}), REPETITIONS)
    rows = []
    for bits in (8, 12, 14):
        model = fxp.quantize(net, [image], weight_bits=8, activation_bits=bits, effort="fast")
        form = model.graph.inputs[0].format
        assert form is not None
        raw = quantize(image.numpy().astype(np.float64), form)
        (wanted,) = model.run(raw[0]).outputs
        times: dict[Form, float] = {}
        for kind in ("auto", "integer"):
            made = onnx_session(to_onnx(model.graph, form=kind).SerializeToString(), 1)
            feed = {made.get_inputs()[0].name: raw}
            assert (np.asarray(made.run(None, feed)[0])[0] == wanted).all()
            count = REPETITIONS if kind == "auto" else 2
            times[kind] = milliseconds(lambda made=made, feed=feed: made.run(None, feed), count)
        rows.append(
            [
                f"{channels} channels, 8-bit weights, {bits}-bit values",
                f"{reference:.1f} ms",
                f"{times['auto']:.1f} ms",
                f"{times['integer']:.0f} ms",
                f"{reference / times['auto']:.2f}",
            ]
        )
    return rows


def differing(model: fxp.FixedModel, images: Sequence[NDArray[np.int64]]) -> tuple[int, int, int]:
    """Run the C file of a model on images.

    Parameters
    ----------
    model
        A model of one input and one output.
    images
        Raw integers.

    Returns
    -------
    tuple of int
        How many integers differ from the oracle's, of how many, and the bytes of the file.
    """
    graph = model.graph
    text = to_c(graph, [images[0]], name="network")
    # The images are read from a file, in place of the one test vector.
    size, result = images[0].size, oracle.run(graph, [images[0]]).outputs[0].size
    start, end = (graph.inputs[0].format, graph.values[graph.outputs[0]].format)
    assert start is not None
    assert end is not None
    kinds = [text.partition("network_run(const ")[2].split(" ", 1)[0]]
    kinds.append(text.partition("network_run(")[2].partition(", ")[2].split(" ", 1)[0])
    main = (
        "#include <stdio.h>\nint main(void)\n{\n"
        f"  static {kinds[0]} x[{size}];\n  static {kinds[1]} y[{result}];\n"
        f"  while (fread(x, sizeof x, 1, stdin) == 1) {{\n    network_run(x, y);\n"
        "    fwrite(y, sizeof y, 1, stdout);\n  }\n  return 0;\n}\n"
    )
    types = [np.dtype(kind.removesuffix("_t")) for kind in kinds]
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "network.c", Path(folder) / "network"
        source.write_text(text + main)
        subprocess.run(
            ["gcc", "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined",
             "-fno-sanitize-recover=all", str(source), "-o", str(program)],
            check=True,
        )  # fmt: skip
        given = np.stack(images).astype(types[0]).tobytes()
        done = subprocess.run([str(program)], input=given, capture_output=True, check=True)
    found = np.frombuffer(done.stdout, types[1]).reshape(len(images), -1)
    wanted = np.stack([oracle.run(graph, [image]).outputs[0].ravel() for image in images])
    return int((found != wanted).sum()), wanted.size, len(text)


def main() -> None:
    """Measure, and write the page."""
    rows = [row for channels in (16, 32) for row in rows_of(channels)]
    header = ["network", "float32", "auto", "integer", "auto, share of float32's speed"]
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (3, 32, 32)) for _ in range(IMAGES)]
    wrong, total, size = differing(fxp.load(RESNET), images)
    body = (
        f"{METHOD}\n\n## Speed in ONNX Runtime\n\n{markdown_table(header, rows)}\n\n## C\n\n"
        f"ResNet-20 on {IMAGES} images: {wrong} of {total} integers differ. The file has "
        f"{size / 1e6:.1f} MB of text."
    )
    body += f"\n\n{environment('fxp', 'numpy', 'torch', 'onnxruntime')}"
    write_page(ROOT / "docs" / "benchmarks", "exchange", "Files for other tools", body)


if __name__ == "__main__":
    main()
