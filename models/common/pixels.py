"""Whole images through a luma network in integers: the network on Y, bicubic on Cb, Cr and alpha.

For colour the way from RGB to the upscaled RGB is one integer graph, so it is defined to the last
bit, and can be saved, exported and checked like any network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp import Constant, Extent, FixedModel, Format, Graph, Node, Quantization, Value
from fxp.executors import oracle
from fxp.filters.colour import FRAC, OFFSETS, TO_RGB, TO_YCBCR
from fxp.graph.ops import (
    BicubicUpsample,
    BilinearUpsample,
    Concat,
    Conv2d,
    PixelShuffle,
    Requantize,
)
from fxp.graph.strips import in_strips
from fxp.imaging.sixteen_bits import sixteen_to_eight_bits
from fxp.models.common.borders import border_of, coloured, cropped, extended
from fxp.support.errors import ArgumentError, ArgumentTypeError

PIXEL: Final = Format(8, 8, signed=False)
"""An 8-bit pixel as a number from 0 to 255/256."""
BYTE: Final = Format(8, 0, signed=False)
"""An 8-bit pixel as a number from 0 to 255."""

SUITABLE: Final = (
    "quantize it with: fxp quantize ... --divide-by 256 --input-format 'ap_ufixed<8,0>' "
    "--output-format 'ap_ufixed<8,0>'"
)
"""How a network becomes one that takes and returns pixels."""
Chroma = Literal["bicubic", "bilinear"]
"""How Cb and Cr are enlarged."""
Source = Literal["rgb", "ycbcr"]
"""Components of a picture that comes in."""
TAP_FRAC: Final = 20
"""Fraction bits of the two-dimensional bicubic taps at x3 and x4."""

Pixels = NDArray[np.uint8]


Run = Callable[[FixedModel, NDArray], Pixels]
"""Runs planes ``(C, H, W)`` of pixels through a model."""


def on_engine(threads: int | None) -> Run:
    """Return how planes ``(C, H, W)`` go through a model by the engine, in strips if large."""

    def run(model: FixedModel, planes: NDArray) -> Pixels:
        def run_strip(strip: NDArray) -> Pixels:
            result = model.run(strip, threads=threads, count_clipped=False, narrow=True)
            return result.outputs[0].astype(np.uint8)

        return in_strips(model.graph, planes, run_strip)

    return run


def on_oracle(model: FixedModel, planes: NDArray) -> Pixels:
    """Run planes ``(C, H, W)`` through a model by the slow reference."""
    return oracle.run(model.graph, [planes]).outputs[0].astype(np.uint8)


@dataclass(frozen=True)
class ImagePipeline:
    """Models for the parts of an image; threads may share it.

    What goes through a network is continued beyond its border first, and cropped afterwards, see
    `fxp.models.common.borders.extended`.

    Attributes
    ----------
    luma
        One plane of 8-bit pixels to one: grey images, and Y of video.
    colour
        RGB ``(3, H, W)`` to RGB.
    plane
        For alpha, and for Cb and Cr of video.
    """

    luma: FixedModel
    colour: FixedModel
    plane: FixedModel

    @cached_property
    def borders(self) -> dict[str, tuple[int, int]]:
        """Rows and columns by which planes for `luma` and `colour` are extended on each side."""
        return {name: border_of(getattr(self, name).graph) for name in ("luma", "colour")}

    def image(self, image: ArrayLike, run: Run) -> Pixels:
        """Run an image of any kind, ``(H, W)`` or ``(H, W, C)``, 8 or 16 bits; see `eight_bits`."""
        pixels = eight_bits(image)
        if pixels.ndim == 2:
            return self._network("luma", pixels[None], run)[0]
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        opaque = len(planes) % 2
        shown = planes if opaque else coloured(planes[:-1], planes[-1], max(self.borders["colour"]))
        result = self._network("luma" if len(shown) == 1 else "colour", shown, run)
        if not opaque:
            result = np.concatenate([result, run(self.plane, planes[-1:])])
        return np.ascontiguousarray(result.transpose(1, 2, 0))

    def frame(self, planes: Sequence[Pixels], run: Run) -> list[Pixels]:
        """Run a video frame of separate planes: Y, or Y, Cb and Cr, each of its own size."""
        luma, *chroma = planes
        upscaled = self._network("luma", luma[None], run)[0]
        return [upscaled, *(run(self.plane, plane[None])[0] for plane in chroma)]

    def _network(self, name: str, planes: NDArray, run: Run) -> Pixels:
        """Run planes ``(C, H, W)`` through `luma` or `colour`, with a border around them."""
        border = self.borders[name]
        larger = extended(planes, border)
        result = run(getattr(self, name), larger)
        return cropped(result, border, result.shape[1] // larger.shape[1])


def for_pixels(model: FixedModel, planes: int = 1) -> FixedModel:
    """Return a model that takes and returns unsigned 8-bit pixels and computes the same.

    A model of one image in and one out whose formats are others gets a step before and after it
    that changes the format alone. The step before is exact; that after rounds half up to 8 bits.
    A pixel is divided by the model's ``divide_by``, by 256 if it does not say.

    Parameters
    ----------
    model
        Of one image in and one out.
    planes
        Channels that both ought to have: 1 for luma, 3 for RGB.

    Raises
    ------
    ArgumentError
        If that cannot be done exactly; the message says how to quantize the network.
    """
    graph = model.graph
    ends = [*graph.inputs, *(graph.values[name] for name in graph.outputs)]
    if graph.states or len(ends) != 2 or any(len(end.shape) != 3 for end in ends):
        raise ArgumentError("the model must take one image, return one, and keep no state")
    source, result = ends
    taken, given = source.format, result.format
    assert taken is not None
    assert given is not None
    if any(end.shape[0] != planes for end in ends):
        wanted = "one plane (luma)" if planes == 1 else f"{planes} planes"
        raise ArgumentError(
            f"the model must take and return {wanted} of unsigned 8-bit pixels, "
            f"not {source} and {result}"
        )
    if all(form.width == 8 and not form.signed for form in (taken, given)):
        return model
    text = model.metadata.get("divide_by", "256")
    frac = next(
        (bits for bits in range(17) if text.strip() in (str(1 << bits), f"{1 << bits}.0")), None
    )
    if frac is None:
        raise ArgumentError(
            f"the model's pixels are divided by {text}, which no fixed-point number "
            f"can hold exactly; {SUITABLE}"
        )
    pixel = Format(8, frac, signed=False)
    if taken.frac < frac or (255 << (taken.frac - frac)) > taken.max_raw:
        raise ArgumentError(
            f"the model's input {source} does not hold all unsigned 8-bit pixels; {SUITABLE}"
        )
    before = Node("pixels.input", Requantize(), ("pixels",), Quantization(taken))
    after = Node("pixels.output", Requantize(), (result.name,), Quantization(pixel))
    adapted = Graph(
        graph.name,
        (Value("pixels", source.shape, pixel),),
        (before, *_reading(graph, before.name), after),
        (after.name,),
        graph.constants,
    )
    return FixedModel(adapted, metadata=model.metadata)


def eight_bits(image: ArrayLike) -> Pixels:
    """Check an image, and round 16 bits to 8 as ``(value + 128) // 257``.

    Raises
    ------
    TypeError
        If it holds no 8-bit or 16-bit integers.
    ValueError
        If it is neither ``(H, W)`` nor ``(H, W, C)`` with 1 to 4 channels, or is empty.
    """
    pixels = np.asarray(image)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ArgumentTypeError(f"the image must be uint8 or uint16, not {pixels.dtype}")
    if pixels.ndim not in (2, 3) or pixels.size == 0 or (pixels.ndim == 3 and pixels.shape[2] > 4):
        raise ArgumentError(
            "the image must be (H, W) or (H, W, C) with 1 to 4 channels and not empty, not "
            f"{pixels.shape}"
        )
    if pixels.dtype == np.uint16:
        return sixteen_to_eight_bits(pixels)
    return pixels


def scale_of(model: FixedModel) -> int:
    """Return the factor by which a model of `for_pixels` changes both sides of an image.

    Raises
    ------
    ArgumentError
        If it is no whole factor.
    """
    graph = model.graph
    source, result = graph.inputs[0], graph.values[graph.outputs[0]]
    symbols = {size.symbol for size in source.shape if isinstance(size, Extent)}
    factors = set()
    for size in (48, 96):
        shapes = graph.concrete_shapes(dict.fromkeys(symbols, size))
        given, taken = shapes[result.name], shapes[source.name]
        factors |= {Fraction(given[axis], taken[axis]) for axis in (1, 2)}
    (factor, *others) = factors
    if others or factor.denominator != 1:
        raise ArgumentError(
            f"the model upscales by no whole factor: {', '.join(sorted(map(str, factors)))}"
        )
    return int(factor)


def bicubic_graph(scale: int, planes: int = 1, form: Format = BYTE) -> Graph:
    """Return the integer graph that upscales planes by MATLAB's bicubic, for images of any size.

    At x2 and x4 the taps are exact; at x3 they have 20 fraction bits. Exact sums are rounded
    half up once.

    Parameters
    ----------
    scale
        Upscaling factor, 2, 3 or 4.
    planes
        Number of planes, each upscaled by itself.
    form
        Format of the pixels in and out.
    """
    image = Value("plane", (planes, Extent("H"), Extent("W")), form)
    nodes, constants = _bicubic("enlarged", image.name, scale, planes, form)
    return Graph(f"bicubic_x{scale}", (image,), nodes, (nodes[-1].name,), constants)


def colour_graph(
    luma: Graph, scale: int, *, chroma: Chroma = "bicubic", source: Source = "rgb"
) -> Graph:
    """Return the integer graph from RGB or YCbCr ``(3, H, W)`` to RGB upscaled, 8 bits each.

    Nodes ``colour.luma`` and ``colour.chroma`` are the rows of `fxp.filters.rgb_to_ycbcr`, then
    come the nodes of the network and ``colour.enlarged``, and ``colour.rgb`` is
    `fxp.filters.ycbcr_to_rgb`.

    Parameters
    ----------
    luma
        Graph from one plane of unsigned 8-bit pixels to one upscaled by `scale`.
    scale
        Upscaling factor of the chroma, 2, 3 or 4.
    chroma
        Interpolation of Cb and Cr; ``"bilinear"`` at a factor of 2.
    source
        ``"ycbcr"`` takes Cr, Y and Cb, in this order: HDMI and AXI4-Stream Video have them in the
        places of R, G and B.

    Raises
    ------
    ArgumentError
        If `chroma` or `source` is no such word, or the factor does not suit it.
    """
    for what, word, words in (
        ("chroma", chroma, get_args(Chroma)),
        ("source", source, get_args(Source)),
    ):
        if word not in words:
            raise ArgumentError(f"{what} must be one of {', '.join(words)}, not {word!r}")
    if chroma == "bilinear" and scale != 2:
        raise ArgumentError(f"bilinear chroma is for a factor of 2, not {scale}; take bicubic")
    taken, given = luma.inputs[0].format, luma.values[luma.outputs[0]].format
    assert taken is not None
    assert given is not None
    image = Value("image", (3, Extent("H"), Extent("W")), BYTE)
    if source == "rgb":
        matrix, offsets = np.array(TO_YCBCR), np.array(OFFSETS) << FRAC
    else:
        matrix, offsets = np.eye(3, dtype=np.int64)[[1, 2, 0]] << FRAC, np.zeros(3, np.int64)
    back = np.array(TO_RGB)
    to_luma, luma_constants = _matrix(
        "colour.luma", image.name, matrix[:1], offsets[:1], BYTE, taken
    )
    to_chroma, chroma_constants = _matrix(
        "colour.chroma", image.name, matrix[1:], offsets[1:], BYTE, given
    )
    upscaled, taps = (
        _bicubic("colour.enlarged", to_chroma.name, scale, 2, given)
        if chroma == "bicubic"
        else _bilinear("colour.enlarged", to_chroma.name, given)
    )
    joined = (luma.outputs[0], upscaled[-1].name)
    ycbcr = Node("colour.ycbcr", Concat(), joined, Quantization(given))
    to_rgb, rgb_constants = _matrix(
        "colour.rgb", ycbcr.name, back, -back @ np.array(OFFSETS), given, BYTE
    )
    return Graph(
        f"{luma.name}_rgb",
        (image,),
        (to_luma, *_reading(luma, to_luma.name), to_chroma, *upscaled, ycbcr, to_rgb),
        (to_rgb.name,),
        (*luma_constants, *luma.constants, *chroma_constants, *taps, *rgb_constants),
    )


def upscaled_first(network: Graph, scale: int) -> Graph:
    """Put the bicubic before a network that keeps the size, and return the joined graph."""
    (image,) = network.inputs
    assert image.format is not None
    plane = Value(image.name, (1, Extent("H"), Extent("W")), image.format)
    nodes, taps = _bicubic("before.enlarged", image.name, scale, 1, image.format)
    return Graph(
        f"{network.name}_x{scale}",
        (plane,),
        (*nodes, *_reading(network, nodes[-1].name)),
        network.outputs,
        (*taps, *network.constants),
    )


def _reading(graph: Graph, source: str) -> tuple[Node, ...]:
    """Nodes of a graph, with another value in place of its input."""
    name = graph.inputs[0].name
    return tuple(
        Node(
            node.name,
            node.op,
            tuple(source if item == name else item for item in node.inputs),
            node.quantization,
            origin=node.origin,
        )
        for node in graph.nodes
    )


def _matrix(
    name: str, source: str, matrix: NDArray, offsets: NDArray, taken: Format, given: Format
) -> tuple[Node, tuple[Constant, ...]]:
    """Multiply raw channels by ``matrix / 2**FRAC``; fraction bits of formats have no influence."""
    frac = FRAC + given.frac - taken.frac
    constants = tuple(
        Constant(
            f"{name}.{part}", data, (Format.for_range(int(data.min()), int(data.max()), bits),)
        )
        for part, data, bits in (
            ("matrix", matrix[:, :, None, None], frac),
            ("offsets", offsets, FRAC + given.frac),
        )
    )
    inputs = (source, *(constant.name for constant in constants))
    return Node(name, Conv2d(), inputs, Quantization(given)), constants


def _bicubic(
    name: str, source: str, scale: int, planes: int, form: Format
) -> tuple[tuple[Node, ...], tuple[Constant, ...]]:
    if scale == 2:
        return (Node(name, BicubicUpsample(), (source,), Quantization(form)),), ()
    taps = np.tile(_taps(scale), (planes, 1, 1, 1))
    limits = int(taps.min()), int(taps.max())
    constant = Constant(f"{name}.taps", taps, (Format.for_range(*limits, TAP_FRAC),))
    phases = Node(
        f"{name}.phases",
        Conv2d(padding=(2, 2, 2, 2), padding_mode="symmetric", groups=planes),
        (source, constant.name),
        Quantization(form),
    )
    return (phases, Node(name, PixelShuffle(scale), (phases.name,), Quantization(form))), (
        constant,
    )


def _bilinear(
    name: str, source: str, form: Format
) -> tuple[tuple[Node, ...], tuple[Constant, ...]]:
    return (Node(name, BilinearUpsample(), (source,), Quantization(form)),), ()


def _taps(scale: int) -> NDArray[np.int64]:
    """Taps of every phase, ``(scale**2, 1, 5, 5)``, each phase adding to ``2**TAP_FRAC``."""
    rows = [
        [
            _keys(abs(Fraction(2 * phase + 1, 2 * scale) - Fraction(1, 2) - tap))
            for tap in range(-2, 3)
        ]
        for phase in range(scale)
    ]
    exact = np.array(rows, object) * 2 ** (TAP_FRAC // 2)
    products = exact[:, None, :, None] * exact[None, :, None, :]
    taps = np.floor(products + Fraction(1, 2)).astype(np.int64).reshape(scale**2, 1, 5, 5)
    taps[..., 2, 2] += (1 << TAP_FRAC) - taps.sum(axis=(2, 3))
    return taps


def _keys(distance: Fraction) -> Fraction:
    """Evaluate the cubic convolution kernel of Keys (1981) with a = -1/2."""
    if distance <= 1:
        return Fraction(3, 2) * distance**3 - Fraction(5, 2) * distance**2 + 1
    if distance < 2:
        return -(distance**3) / 2 + Fraction(5, 2) * distance**2 - 4 * distance + 2
    return Fraction(0)
