"""The methods of upscaling that are compared: picklable functions from luma to luma."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

import fxp
from benchmarks.psnr.pictures import SCALE
from fxp.formats import Format
from fxp.graph import Graph
from fxp.imaging.resize import imresize
from fxp.models import sr
from fxp.models.common.borders import border_of
from fxp.models.common.compare import ComparedMethod
from fxp.models.common.measure import FixedPixels, FloatPixels, PixelFunction
from fxp.models.sr.fixed import (
    CLEAN_MODELS,
    NEARLY_CLEAN,
    SHIPPED,
    TAKES_QUALITY,
    at_quality,
)
from fxp.models.sr.jpeg import CLEAN, estimated_quality, jpeg_level

WEIGHT_BITS, ACTIVATION_BITS = 10, 14
SHIPPED_FILE = f"{WEIGHT_BITS}/{ACTIVATION_BITS}, shipped file"
REAL_INPUT = Format(ACTIVATION_BITS, ACTIVATION_BITS, signed=False)
"""Input of fixed-point models that get real numbers: pixels with as many bits as activations."""


def bicubic(low: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upscale as MATLAB does."""
    return imresize(low, SCALE)


def fixed_pixels(model: fxp.FixedModel) -> FixedPixels:
    """Return what the pipeline does to luma, on one thread: the workers are the parallelism."""
    return FixedPixels(model, threads=1, border=border_of(model.graph))


def with_real_input(graph: Graph, form: Format = REAL_INPUT) -> Graph:
    """Give a graph an input with more fraction bits, and nothing else.

    Nodes that read the input and keep all its bits keep the new ones too. Weights, activations
    and roundings stay.

    Raises
    ------
    ValueError
        If the format has fewer fraction bits than the input has.
    """
    (image,) = graph.inputs
    assert image.format is not None
    extra = form.frac - image.format.frac
    if extra < 0:
        raise ValueError(f"input {image} has more fraction bits than {form}")
    nodes = []
    for node in graph.nodes:
        quantization, exact = node.quantization, node.accumulator
        assert quantization is not None
        assert exact is not None
        kept = quantization.format
        if image.name in node.inputs and kept.frac >= exact.frac:
            kept = replace(kept, width=kept.width + extra, frac=kept.frac + extra)
        nodes.append(replace(node, quantization=replace(quantization, format=kept)))
    return replace(graph, inputs=(replace(image, format=form),), nodes=tuple(nodes))


def shipped_names() -> list[str]:
    """Names of the shipped models of factor `SCALE` and full size, without special hardware."""
    return [
        name
        for name in SHIPPED
        if name.startswith(f"kimsr_x{SCALE}") and not name.endswith(("_hardware", "_8_10"))
    ]


@dataclass(frozen=True)
class ByQuality:
    """A shipped model that estimates the JPEG quality of each picture.

    Attributes
    ----------
    name
        Name of the model.
    fixed
        Compute by its file, and not in floating point.
    """

    name: str
    fixed: bool

    def of(self, quality: int) -> PixelFunction:
        """Return what the pipeline does to luma of a quality."""
        if self.fixed:
            return fixed_pixels(at_quality(sr.load(self.name), quality))
        network = sr.load_float(self.name)
        if quality >= NEARLY_CLEAN and self.name in CLEAN_MODELS:
            network = sr.load_float(CLEAN_MODELS[self.name])
        else:
            network = network.at_level(jpeg_level(quality))
        return FloatPixels(network, border=network.margin)

    def __call__(self, plane: NDArray[np.float64]) -> NDArray:
        """Upscale one plane of pixel values; what is no whole number is no decoded picture."""
        pixels = plane.astype(np.uint8)
        decoded = bool((pixels == plane).all())
        return self.of(estimated_quality(pixels) if decoded else CLEAN)(plane)


def shipped_methods(name: str) -> list[ComparedMethod]:
    """Return a shipped model in float, and as its fixed-point file has it.

    Raises
    ------
    ValueError, OSError
        If any of them cannot be loaded.
    """
    network, model = sr.load_float(name), sr.load(name)
    runs: tuple[PixelFunction, PixelFunction] = (
        (ByQuality(name, False), ByQuality(name, True))
        if TAKES_QUALITY in model.metadata
        else (FloatPixels(network, border=network.margin), fixed_pixels(model))
    )
    return [
        ComparedMethod(f"{name}, float", name, "float", runs[0]),
        ComparedMethod(f"{name}, shipped file", name, SHIPPED_FILE, runs[1]),
    ]


def for_real_input(method: ComparedMethod) -> ComparedMethod:
    """Return the method for inputs that are not rounded to 8 bits."""
    run = method.run
    if isinstance(run, ByQuality) and run.fixed:
        run = run.of(CLEAN)
    if not isinstance(run, FixedPixels):
        return method
    model = fxp.FixedModel(with_real_input(run.model.graph))
    return replace(method, run=fixed_pixels(model))


def multiplier_bits(graph: Graph) -> int:
    """Sum over all multiplications for one input pixel: weight bits times operand bits.

    Raises
    ------
    ValueError
        If a node with weights gives an image of another size than that of the input.
    """
    total = 0
    (image,) = graph.inputs
    for node in graph.nodes:
        for position, role in node.op.constant_roles.items():
            if role != "weight":
                continue
            if graph.values[node.name].shape[1:] != image.shape[1:]:
                raise ValueError(f"node {node.name} does not work at the input's size")
            weights = graph.constants_by_name[node.inputs[position]]
            operand = graph.values[node.inputs[0]].format
            assert operand is not None
            total += weights.data.size * max(form.width for form in weights.formats) * operand.width
    return total
