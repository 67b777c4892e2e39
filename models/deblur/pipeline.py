"""Whole photographs and video frames through a network that deblurs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp import Extent, FixedModel, Graph
from fxp.executors import oracle
from fxp.filters.colour import rgb_to_ycbcr, ycbcr_to_rgb
from fxp.imaging.quality import to_codes
from fxp.imaging.video import VideoFormat
from fxp.models.common.borders import MOST, coloured
from fxp.models.common.pixels import Pixels, eight_bits, for_pixels
from fxp.models.deblur.tiles import TILE_BYTES, Run, run_parts, split
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch", "torch")


def to_multiple(planes: NDArray, multiple: int) -> NDArray:
    """Continue planes ``(..., H, W)`` by their last row and column to sides of a multiple."""
    sides = [(0, 0)] * (planes.ndim - 2) + [(0, -size % multiple) for size in planes.shape[-2:]]
    return np.pad(planes, sides, mode="edge")


class Deblurrer:
    """A network made to deblur whole images, in integers from end to end.

    Threads may share it.

    Parameters
    ----------
    model
        Takes and returns RGB. Formats other than unsigned 8-bit pixels are adapted where that is
        exact, see `fxp.models.common.pixels.for_pixels`.
    tile_bytes
        Memory for the values of a tile. Larger images are computed in tiles that overlap as far as
        needed, with the integers of the whole image.

    Attributes
    ----------
    multiple : int
        What the network needs both sides to be multiples of. Images are continued by their last
        row and column, and cropped afterwards.

    Raises
    ------
    ValueError
        If the model is no such model.
    """

    def __init__(self, model: FixedModel, *, tile_bytes: int = TILE_BYTES) -> None:
        self._model = for_pixels(model, planes=3)
        self._tile_bytes = tile_bytes
        self.multiple = _multiple(self._model.graph)
        self._parts = split(self._model.graph)

    def __call__(self, image: ArrayLike, *, threads: int | None = None) -> Pixels:
        """Deblur an image by the engine.

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
            uint8 of the same shape. Alpha stays as it is and has no influence on the colours. A
            grey image goes through the network as RGB of equal channels, and becomes the rounded
            mean of the three.

        Raises
        ------
        TypeError
            If the image holds no 8-bit or 16-bit integers.
        ValueError
            If its shape does not fit.
        """
        return self._image(image, _on_engine(threads))

    def oracle(self, image: ArrayLike) -> Pixels:
        """Deblur an image by the slow reference, without tiles; equals the call to the last bit."""
        return self._image(image, None)

    def frame(self, planes: Sequence[Pixels], *, threads: int | None = None) -> list[Pixels]:
        """Deblur a video frame of separate planes.

        Parameters
        ----------
        planes
            Y of ``(H, W)``, or Y, Cb and Cr in BT.601 studio range; chroma planes of any size.
        threads
            Number of threads, all processors by default.

        Returns
        -------
        list of numpy.ndarray
            The planes in their sizes. Chroma is repeated to the size of the luma for the way to
            RGB and averaged afterwards, so that chroma of less resolution returns unchanged where
            the network changes nothing.
        """
        run = _on_engine(threads)
        luma, *chroma = planes
        if not chroma:
            return [self._image(luma, run)]
        larger = [_repeated(plane, luma.shape) for plane in chroma]
        colours = ycbcr_to_rgb(np.stack([luma, *larger]), threads=threads)
        made = rgb_to_ycbcr(self._rgb(colours, run), threads=threads)
        smaller = [
            _averaged(plane, given.shape) for plane, given in zip(made[1:], chroma, strict=True)
        ]
        return [made[0], *smaller]

    def video_format(self, form: VideoFormat) -> VideoFormat:
        """Return the format of the result of a video: the same, in 8 bits."""
        return form.upscaled(1)

    def _image(self, image: ArrayLike, run: Run | None) -> Pixels:
        pixels = eight_bits(image)
        planes = np.atleast_3d(pixels).transpose(2, 0, 1)
        alpha = planes[-1:] if len(planes) % 2 == 0 else planes[:0]
        shown = planes[: len(planes) - len(alpha)]
        if len(alpha):
            shown = coloured(shown, alpha[0], MOST)
        result = self._rgb(np.repeat(shown, 3, 0) if len(shown) == 1 else shown, run)
        if len(shown) == 1:
            result = ((2 * result.sum(0, keepdims=True, dtype=np.int64) + 3) // 6).astype(np.uint8)
        result = np.concatenate([result, alpha]).transpose(1, 2, 0)
        return np.ascontiguousarray(result.reshape(pixels.shape))

    def _rgb(self, planes: NDArray, run: Run | None) -> Pixels:
        height, width = planes.shape[1:]
        larger = np.ascontiguousarray(to_multiple(planes, self.multiple))
        if run is None:
            result = oracle.run(self._model.graph, [larger]).outputs[0]
        else:
            result = run_parts(self._parts, larger, run, self._tile_bytes)
        return result[:, :height, :width].astype(np.uint8)

    def __reduce__(self) -> tuple[Any, ...]:
        return _deblurrer, (self._model.graph, self._model.metadata, self._tile_bytes)


def _deblurrer(graph: Graph, metadata: dict[str, str], tile_bytes: int) -> Deblurrer:
    return Deblurrer(FixedModel(graph, metadata=metadata), tile_bytes=tile_bytes)


def _on_engine(threads: int | None) -> Run:
    def run(model: FixedModel, inputs: Sequence[NDArray]) -> NDArray:
        result = model.run(*inputs, threads=threads, count_clipped=False, narrow=True)
        return result.outputs[0]

    return run


def _multiple(graph: Graph) -> int:
    """Return what the sides of a graph's images must be multiples of."""
    source, result = graph.inputs[0], graph.values[graph.outputs[0]]
    if source.shape != result.shape:
        raise ArgumentError(
            f"the model must keep the size of an image, not make {result} of {source}"
        )
    factors = {size.scale if isinstance(size, Extent) else 0 for size in source.shape[1:]}
    if len(factors) != 1 or 0 in factors:
        raise ArgumentError(f"the model must take images of any size, not {source}")
    return factors.pop()


def _repeated(plane: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Repeat rows and columns of a chroma plane up to the size of the luma."""
    for axis, size in enumerate(shape):
        plane = plane.repeat(-(-size // plane.shape[axis]), axis).take(range(size), axis)
    return plane


def _averaged(plane: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Average blocks of a plane down to the size of a chroma plane, rounded half up."""
    rows, columns = (-(-large // small) for large, small in zip(plane.shape, shape, strict=True))
    padded = np.pad(
        plane,
        [(0, rows * shape[0] - plane.shape[0]), (0, columns * shape[1] - plane.shape[1])],
        mode="edge",
    )
    sums = padded.reshape(shape[0], rows, shape[1], columns).sum((1, 3), dtype=np.int64)
    count = rows * columns
    return ((2 * sums + count) // (2 * count)).astype(np.uint8)


def deblur_float(
    image: NDArray[np.uint8], network: torch.nn.Module, multiple: int | None = None
) -> NDArray[np.uint8]:
    """Deblur an image ``(H, W, 3)`` by a float network, rounded once at the end.

    Parameters
    ----------
    image
        uint8, of any size.
    network
        On the CPU in eval mode; takes and returns ``(N, 3, H, W)`` in [0, 1].
    multiple
        What the sides of its images are multiples of; by default what a `Generator` needs.
    """
    if multiple is None:
        multiple = 1 << (len(network.scales) - 1)  # type: ignore[arg-type]
    planes = to_multiple(image.transpose(2, 0, 1), multiple)
    with torch.inference_mode():
        given = torch.from_numpy(planes.astype(np.float32) / 255)[None]
        result = network(given)[0].numpy()
    height, width = image.shape[:2]
    return to_codes(255 * result[:, :height, :width].transpose(1, 2, 0))
