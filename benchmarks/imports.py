"""What reading ONNX files costs, in time and precision: ``python -m benchmarks.imports``.

Writes docs/benchmarks/imports.md.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import typer
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image

import fxp
from benchmarks.report import ROOT, environment, markdown_table, write_page
from fxp.frontend import from_onnx
from fxp.imaging.metrics import sqnr
from fxp.models.common.data import data_folder
from fxp.quantization.options import Effort

DETECTOR = "ultraface_slim320_simplified.onnx"
UPSCALER = "super_resolution.onnx"
CALIBRATION, TEST = 8, 6
"""Pictures that are calibrated with, and that precision is measured on."""
METHOD = (
    "*Import and quantization*: the largest third-party file of about 1 MB, the Ultra-light face "
    "detector, is read by `from_onnx`, and read and quantized by `fxp.quantize` with four "
    "pictures. Processor time of one run, with numba's compiled kernels in its cache.\n\n"
    "*Scales*: ESPCN, a super-resolution network, is quantized to 8 bits by "
    "`onnxruntime.quantization.quantize_static`, per tensor, with "
    f"{CALIBRATION} pictures of B100, and by `fxp.quantize` with the same pictures and the effort "
    "`fast`. SQNR against the float network in ONNX Runtime, without its optimizations, the mean "
    f"of {TEST} pictures of Set14, all cut to the 224×224 pixels that the file fixes."
)
"""How the figures were taken."""
FORMS: dict[str, dict[str, Any]] = {
    "its defaults, with zero points": {},
    "`ActivationSymmetric`": {"ActivationSymmetric": True},
}
Images = Sequence[NDArray[np.float32]]


class _Reader(CalibrationDataReader):
    """Hands over pictures."""

    def __init__(self, name: str, images: Images) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter([{name: image} for image in images])

    def get_next(self) -> Any:
        """Return the next feed, None at the end."""
        return next(self._feeds, None)


def session(path: Path) -> onnxruntime.InferenceSession:
    """Return a session on one thread that computes the file as it is."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def input_of(path: Path) -> str:
    """Name of the only input that is no initializer."""
    graph = onnx.load(path).graph
    stored = {tensor.name for tensor in graph.initializer}
    return next(value.name for value in graph.input if value.name not in stored)


def luminances(folder: Path, count: int) -> list[NDArray[np.float32]]:
    """Return the first pictures of a folder, cut to the size of the network."""
    found = []
    for path in sorted([*folder.glob("*.jpg"), *folder.glob("*.png")]):
        image = Image.open(path).convert("L")
        if min(image.size) >= 224:
            pixels = np.asarray(image.crop((0, 0, 224, 224)), np.float32)
            found.append(pixels[None, None] / 255)
    return found[:count]


def mean_sqnr(
    wanted: Images, run: Callable[[NDArray[np.float32]], NDArray[Any]], images: Images
) -> float:
    """Mean SQNR of results.

    Parameters
    ----------
    wanted
        What the float network computes of the pictures.
    run
        Computes a picture.
    images
        The pictures.
    """
    levels = [
        sqnr(want.astype(np.float64).ravel(), np.asarray(run(image), np.float64).ravel())
        for want, image in zip(wanted, images, strict=True)
    ]
    return float(np.mean(levels))


def precision(source: Path, folder: Path) -> list[list[str]]:
    """Return the rows of the table of scales.

    Parameters
    ----------
    source
        The float network.
    folder
        That of the image sets.
    """
    name = input_of(source)
    calibration = luminances(folder / "B100", CALIBRATION)
    images = luminances(folder / "Set14", TEST)
    floats = session(source)
    wanted = [np.asarray(floats.run(None, {name: image})[0]) for image in images]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        prepared, quantized = Path(temporary) / "prepared.onnx", Path(temporary) / "quantized.onnx"
        quant_pre_process(str(source), str(prepared))
        for label, options in FORMS.items():
            quantize_static(
                str(prepared), str(quantized), _Reader(name, calibration),
                activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, extra_options=options,
            )  # fmt: skip
            theirs = session(quantized)
            snapped = fxp.from_quantized_onnx(quantized, snap_scales=True)
            levels = (
                mean_sqnr(
                    wanted, lambda x, s=theirs: np.asarray(s.run(None, {name: x})[0]), images
                ),
                mean_sqnr(wanted, lambda x, m=snapped: np.asarray(m(x)[0]), images),
            )
            rows.append([f"ONNX Runtime's quantizer, {label}", *(f"{v:.1f} dB" for v in levels)])
    own = fxp.quantize(source, calibration, weight_bits=8, activation_bits=8, effort="fast")
    level = mean_sqnr(wanted, lambda x: np.asarray(own(x)[0]), images)
    return [*rows, ["`fxp quantize` of the float file", "", f"{level:.1f} dB"]]


def seconds(path: Path, folder: Path) -> list[list[str]]:
    """Return the rows of the table of times."""
    images = []
    for picture in sorted((folder / "Set14").glob("*.png"))[:4]:
        image = Image.open(picture).convert("RGB").resize((320, 240))
        images.append((np.asarray(image, np.float32).transpose(2, 0, 1)[None] - 127) / 128)
    begin = time.process_time()
    graph = from_onnx(path)
    size = path.stat().st_size / 1e6
    label = f"import, {size:.2f} MB, {len(graph.nodes)} nodes"
    rows = [[label, f"{time.process_time() - begin:.1f} s"]]
    efforts: tuple[Effort, ...] = ("fast", "balanced")
    for effort in efforts:
        begin = time.process_time()
        fxp.quantize(path, images, effort=effort)
        taken = time.process_time() - begin
        rows.append([f"import and quantization, effort `{effort}`", f"{taken:.1f} s"])
    return rows


def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder of pictures and files; FXP_DATA by default.")
    ] = None,
) -> None:
    """Measure, and write the page."""
    folder = data_folder(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fxp.PrecisionWarning)
        # The first run fills numba's cache.
        seconds(folder / "onnx" / DETECTOR, folder)
        times = seconds(folder / "onnx" / DETECTOR, folder)
        levels = precision(folder / "onnx" / UPSCALER, folder)
    header = ["ESPCN, 8 bits", "computed by ONNX Runtime", "by fxp, with `--snap-scales`"]
    body = (
        f"{METHOD}\n\n## Import and quantization\n\n"
        f"{markdown_table(['Ultra-light face detector', 'processor time'], times)}\n\n"
        f"## Scales\n\n{markdown_table(header, levels)}\n\n"
        f"{environment('fxp', 'numpy', 'torch', 'onnx', 'onnxruntime')}"
    )
    write_page(ROOT / "docs" / "benchmarks", "imports", "Files from other tools", body)


if __name__ == "__main__":
    typer.run(main)
