"""The methods of upscaling that are compared: picklable functions from luma to luma."""

from __future__ import annotations

from dataclasses import replace

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
from fxp.models.common.measure import FixedPixels, FloatPixels
from fxp.models.sr.fixed import SHIPPED

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
    """Names of the shipped models of factor `SCALE`."""
    return [name for name in SHIPPED if int(sr.read_metadata(name)["scale"]) == SCALE]


def shipped_methods(name: str) -> list[ComparedMethod]:
    """Return a shipped model in float, and as its fixed-point file has it.

    Raises
    ------
    ValueError, OSError
        If any of them cannot be loaded.
    """
    network = sr.load_float(name)
    return [
        ComparedMethod(
            f"{name}, float", name, "float", FloatPixels(network, border=network.margin)
        ),
        ComparedMethod(f"{name}, shipped file", name, SHIPPED_FILE, fixed_pixels(sr.load(name))),
    ]


def for_real_input(method: ComparedMethod) -> ComparedMethod:
    """Return the method for inputs that are not rounded to 8 bits."""
    if not isinstance(method.run, FixedPixels):
        return method
    model = fxp.FixedModel(with_real_input(method.run.model.graph))
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
