"""Whole images through a luma network in integers: the network on Y, bicubic on Cb, Cr and alpha.

For colour the way from RGB to the enlarged RGB is one integer graph, so it is defined to the last
bit, and can be saved, exported and checked like any network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp import Constant, Extent, FixedModel, Format, Graph, Node, Quantization, Value
from fxp.executors import oracle
from fxp.filters.colour import FRAC, OFFSETS, TO_RGB, TO_YCBCR
from fxp.graph.ops import BicubicUpsample, Concat, Conv2d, PixelShuffle
from fxp.imaging.colour import rgb_to_ycbcr, ycbcr_to_rgb
from fxp.imaging.quality import to_codes
from fxp.imaging.resize import imresize
from fxp.imaging.sixteen_bits import sixteen_to_eight_bits
from fxp.models.sr.strips import in_strips
from fxp.support.errors import ArgumentError, ArgumentTypeError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch", "torch")

PIXEL: Final = Format(8, 8, signed=False)
"""An 8-bit pixel as a number from 0 to 255/256."""
BYTE: Final = Format(8, 0, signed=False)
"""An 8-bit pixel as a number from 0 to 255."""
SCALES: Final = (2, 3, 4)

TAP_FRAC: Final = 20
"""Fraction bits of the two-dimensional bicubic taps at x3 and x4."""

Pixels = NDArray[np.uint8]


class Enlarger:
    """A luma network made to enlarge whole images, in integers from end to end.

    Threads may share it.

    Parameters
    ----------
    model
        Takes and returns one plane of unsigned 8-bit pixels: quantize it with
        ``input_format=PIXEL, output_format=PIXEL``.
    scale
        Enlargement factor, 2, 3 or 4; that of the model by default. A model that keeps the size,
        such as SRCNN or VDSR, gets the plane enlarged by the integer bicubic first.

    Attributes
    ----------
    scale : int
        Enlargement factor.

    Raises
    ------
    ValueError
        If the model is no such model, or has another factor.
    """

    def __init__(self, model: FixedModel, *, scale: int | None = None) -> None:
        own = scale_of(model)
        self.scale = own if scale is None else scale
        if self.scale not in SCALES:
            hint = "; the model keeps the size, so give the factor" if own == 1 else ""
            raise ArgumentError(f"the factor must be one of {SCALES}, not {self.scale}{hint}")
        if own not in (1, self.scale):
            raise ArgumentError(f"the model enlarges by {own}, not by {self.scale}")
        self._luma = model if own > 1 else FixedModel(_enlarged_first(model.graph, self.scale))
        self._colour = FixedModel(colour_graph(self._luma.graph, self.scale))
        self._plane = FixedModel(bicubic_graph(self.scale))

    def __call__(self, image: ArrayLike, *, threads: int | None = None) -> Pixels:
        """Enlarge an image by the engine, a large one strip by strip with the same result.

        Parameters
        ----------
        image
            ``(H, W)`` or ``(H, W, C)``, uint8 or uint16, of any size: C is 1 for grey, 3 for RGB,
            one more with alpha. 16-bit images use the whole range and are rounded to 8 bits first,
            as ``(value + 128) // 257``.
        threads
            Number of threads, all processors by default.

        Returns
        -------
        numpy.ndarray
            uint8 with the axes of the image, enlarged. Alpha is enlarged bicubically and has no
            influence on the colours.

        Raises
        ------
        TypeError
            If the image holds no 8-bit or 16-bit integers.
        ValueError
            If its shape does not fit.
        """
        return self._image(image, _on_engine(threads))

    def oracle(self, image: ArrayLike) -> Pixels:
        """Enlarge an image by the slow reference; equals the call to the last bit."""
        return self._image(image, _on_oracle)

    def frame(self, planes: Sequence[Pixels], *, threads: int | None = None) -> list[Pixels]:
        """Enlarge a video frame of separate planes.

        Parameters
        ----------
        planes
            Y of ``(H, W)``, or Y, Cb and Cr; chroma planes of any size.
        threads
            Number of threads, all processors by default.

        Returns
        -------
        list of numpy.ndarray
            Y from the network, Cb and Cr enlarged on their own pixel grid, not cut.
        """
        run = _on_engine(threads)
        models = [self._luma, *[self._plane] * (len(planes) - 1)]
        return [run(model, plane[None])[0] for model, plane in zip(models, planes, strict=True)]

    def _image(self, image: ArrayLike, run: _Run) -> Pixels:
        pixels = eight_bits(image)
        if pixels.ndim == 2:
            return run(self._luma, pixels[None])[0]
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        opaque = len(planes) % 2
        shown = planes if opaque else planes[:-1]
        enlarged = run(self._luma if len(shown) == 1 else self._colour, shown)
        if not opaque:
            enlarged = np.concatenate([enlarged, run(self._plane, planes[-1:])])
        return np.ascontiguousarray(enlarged.transpose(1, 2, 0))


_Run = Callable[[FixedModel, NDArray], Pixels]


def _on_engine(threads: int | None) -> _Run:
    def run(model: FixedModel, planes: NDArray) -> Pixels:
        def run_strip(strip: NDArray) -> Pixels:
            result = model.run(strip, threads=threads, count_clipped=False, narrow=True)
            return result.outputs[0].astype(np.uint8)

        return in_strips(model.graph, planes, run_strip)

    return run


def _on_oracle(model: FixedModel, planes: NDArray) -> Pixels:
    return oracle.run(model.graph, [planes]).outputs[0].astype(np.uint8)


def enlarge(
    image: ArrayLike, model: FixedModel, *, scale: int | None = None, threads: int | None = None
) -> Pixels:
    """Enlarge one image through a luma network, in integers; see `Enlarger`."""
    return Enlarger(model, scale=scale)(image, threads=threads)


def enlarge_float(image: ArrayLike, network: torch.nn.Module) -> Pixels:
    """Enlarge one image by the same steps in real numbers, rounded once at the end.

    Parameters
    ----------
    image
        As for `Enlarger`.
    network
        Maps luma in [0, 1] to luma enlarged by ``network.scale``, ``(N, 1, H, W)``.
    """
    pixels = eight_bits(image)
    scale = int(network.scale)  # type: ignore[arg-type]

    def luma(plane: NDArray) -> NDArray[np.float64]:
        with torch.inference_mode():
            tensor = torch.from_numpy(np.asarray(plane / 255.0, np.float32))[None, None]
            return network(tensor)[0, 0].double().numpy() * 255.0

    if pixels.ndim == 2:
        return to_codes(luma(pixels))
    count = pixels.shape[2]
    shown = pixels[..., : count - 1 + count % 2]
    if shown.shape[2] == 1:
        enlarged = luma(shown[..., 0])[..., None]
    else:
        ycbcr = rgb_to_ycbcr(shown)
        chroma = imresize(ycbcr[..., 1:], scale)
        enlarged = ycbcr_to_rgb(np.dstack([luma(ycbcr[..., 0]), chroma]))
    if count % 2 == 0:
        enlarged = np.dstack([enlarged, imresize(pixels[..., -1], scale)])
    return to_codes(enlarged)


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
    """Enlargement factor of a model from one plane of 8-bit pixels to one.

    Raises
    ------
    ValueError
        If it is no such model, or enlarges by no whole factor.
    """
    graph = model.graph
    ends = [*graph.inputs, *(graph.values[name] for name in graph.outputs)]
    if graph.states or len(ends) != 2 or any(len(end.shape) != 3 for end in ends):
        raise ArgumentError("the model must take one image, return one, and keep no state")
    for end in ends:
        form = end.format
        assert form is not None
        if end.shape[0] != 1 or form.signed or form.width != 8:
            raise ArgumentError(
                f"the model must take and return one plane of unsigned 8-bit pixels, but {end}; "
                "quantize it with models.sr.PIXEL as input_format and output_format"
            )
    source, result = ends
    symbols = {size.symbol for size in source.shape if isinstance(size, Extent)}
    factors = set()
    for size in (48, 96):
        shapes = graph.concrete_shapes(dict.fromkeys(symbols, size))
        given, taken = shapes[result.name], shapes[source.name]
        factors |= {Fraction(given[axis], taken[axis]) for axis in (1, 2)}
    (factor, *others) = factors
    if others or factor.denominator != 1:
        raise ArgumentError(f"the model enlarges by no whole factor: {sorted(map(str, factors))}")
    return int(factor)


def bicubic_graph(scale: int, planes: int = 1, form: Format = BYTE) -> Graph:
    """Return the integer graph that enlarges planes by MATLAB's bicubic, for images of any size.

    At x2 and x4 the taps are exact; at x3 they have 20 fraction bits. Exact sums are rounded
    half up once.
    """
    image = Value("plane", (planes, Extent("H"), Extent("W")), form)
    nodes, constants = _bicubic("enlarged", image.name, scale, planes, form)
    return Graph(f"bicubic_x{scale}", (image,), nodes, (nodes[-1].name,), constants)


def colour_graph(luma: Graph, scale: int) -> Graph:
    """Return the integer graph from RGB ``(3, H, W)`` to RGB enlarged, 8 bits each.

    Nodes ``colour.luma`` and ``colour.chroma`` are the rows of `fxp.filters.rgb_to_ycbcr`, then
    come the nodes of the network and ``colour.enlarged``, and ``colour.rgb`` is
    `fxp.filters.ycbcr_to_rgb`.

    Parameters
    ----------
    luma
        Graph from one plane of unsigned 8-bit pixels to one enlarged by `scale`.
    scale
        Enlargement factor of the chroma, 2, 3 or 4.
    """
    taken, given = luma.inputs[0].format, luma.values[luma.outputs[0]].format
    assert taken is not None
    assert given is not None
    image = Value("image", (3, Extent("H"), Extent("W")), BYTE)
    matrix, offsets = np.array(TO_YCBCR), np.array(OFFSETS) << FRAC
    back = np.array(TO_RGB)
    to_luma, luma_constants = _matrix(
        "colour.luma", image.name, matrix[:1], offsets[:1], BYTE, taken
    )
    to_chroma, chroma_constants = _matrix(
        "colour.chroma", image.name, matrix[1:], offsets[1:], BYTE, given
    )
    enlarged, taps = _bicubic("colour.enlarged", to_chroma.name, scale, 2, given)
    joined = (luma.outputs[0], enlarged[-1].name)
    ycbcr = Node("colour.ycbcr", Concat(), joined, Quantization(given))
    to_rgb, rgb_constants = _matrix(
        "colour.rgb", ycbcr.name, back, -back @ np.array(OFFSETS), given, BYTE
    )
    return Graph(
        f"{luma.name}_rgb",
        (image,),
        (to_luma, *_reading(luma, to_luma.name), to_chroma, *enlarged, ycbcr, to_rgb),
        (to_rgb.name,),
        (*luma_constants, *luma.constants, *chroma_constants, *taps, *rgb_constants),
    )


def _enlarged_first(network: Graph, scale: int) -> Graph:
    """Put the bicubic before a network that keeps the size."""
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
