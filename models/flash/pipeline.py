"""Whole photographs through a fixed-point network, in integers from end to end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from fxp import Extent, FixedModel, FxpError, Graph
from fxp.imaging.video import VideoError, VideoFormat
from fxp.models.common.borders import MOST, coloured
from fxp.models.common.pixels import Pixels, Run, eight_bits, for_pixels, on_engine, on_oracle
from fxp.models.flash.pictures import GREY_WEIGHTS, to_multiple
from fxp.support.errors import ArgumentError

MULTIPLES: Final = tuple(1 << power for power in range(9))
"""Numbers of pixels that the sides of a network's pictures may have to be multiples of."""


class Relighter:
    """A network on RGB made to take whole photographs of any size; threads may share it.

    A photograph is continued by its outermost pixels to the next size that the network takes, and
    the result is cropped. The network sees it as a whole: one that looks at all of a picture cannot
    work in parts. Memory therefore grows with the photograph.

    Parameters
    ----------
    model
        Takes ``(3, H, W)`` and returns as much. Formats other than unsigned 8-bit pixels are
        adapted where that is exact, see `fxp.models.common.pixels.for_pixels`.

    Attributes
    ----------
    multiple : int
        Height and width that the network takes are multiples of it.

    Raises
    ------
    ValueError
        If the model is no such model.
    """

    def __init__(self, model: FixedModel) -> None:
        self.model = for_pixels(model, planes=3)
        self.multiple = multiple_of(self.model.graph)

    def __call__(self, image: ArrayLike, *, threads: int | None = None) -> Pixels:
        """Return a photograph as ambient light would have shown it, by the engine.

        Parameters
        ----------
        image
            ``(H, W)`` or ``(H, W, C)``, uint8 or uint16, of any size: C is 1 for grey, 3 for RGB,
            one more with alpha. 16-bit images are rounded to 8 bits first. Grey ones stay grey,
            alpha stays as it is.
        threads
            Number of threads, all processors by default.

        Returns
        -------
        numpy.ndarray
            uint8 of the same shape.

        Raises
        ------
        TypeError
            If the image holds no 8-bit or 16-bit integers.
        ValueError
            If its shape does not fit.
        """
        return self._image(image, on_engine(threads))

    def oracle(self, image: ArrayLike) -> Pixels:
        """Do the same by the slow reference; equals the call to the last bit."""
        return self._image(image, on_oracle)

    def _image(self, image: ArrayLike, run: Run) -> Pixels:
        pixels = eight_bits(image)
        planes = np.atleast_3d(pixels).transpose(2, 0, 1)
        alpha = planes[-1:] if len(planes) % 2 == 0 else planes[:0]
        shown = planes[: len(planes) - len(alpha)]
        if len(alpha):
            shown = coloured(shown, alpha[0], MOST)
        larger, place = to_multiple(np.repeat(shown, 3 // len(shown), axis=0), self.multiple)
        result = run(self.model, np.ascontiguousarray(larger))[place]
        if len(shown) == 1:
            weighted = np.tensordot(GREY_WEIGHTS, result.astype(np.int64), 1)
            result = ((weighted + 0x8000) >> 16).astype(np.uint8)[None]
        joined = np.concatenate([result, alpha]).transpose(1, 2, 0)
        return np.ascontiguousarray(joined[..., 0] if pixels.ndim == 2 else joined)

    def frame(self, planes: Sequence[Pixels], *, threads: int | None = None) -> list[Pixels]:
        """Refuse video, see `video_format`."""
        raise VideoError("relighting is for photographs, not for video")

    def video_format(self, form: VideoFormat) -> VideoFormat:
        """Refuse video.

        Raises
        ------
        VideoError
            Always: each frame would get a light of its own, and the video would flicker.
        """
        raise VideoError("relighting is for photographs, not for video")

    def __reduce__(self) -> tuple[Any, ...]:
        return _relighter, (self.model.graph, self.model.metadata)


def _relighter(graph: Graph, metadata: dict[str, str]) -> Relighter:
    return Relighter(FixedModel(graph, metadata=metadata))


def multiple_of(graph: Graph) -> int:
    """Return the smallest power of two whose multiples a graph takes as sides, and keeps.

    Raises
    ------
    ArgumentError
        If there is none to 256.
    """
    source, result = graph.inputs[0].name, graph.outputs[0]
    if not all(isinstance(size, Extent) for size in graph.inputs[0].shape[1:]):
        raise ArgumentError("the model takes pictures of one size only; quantize it for any size")
    for multiple in MULTIPLES:
        # An odd number of times, as other multiples would do for twice as much too.
        try:
            shapes = graph.concrete_shapes(graph.bind([(3, 3 * multiple, 5 * multiple)]))
        except FxpError:
            continue
        if shapes[source] == shapes[result]:
            return multiple
    raise ArgumentError(
        f"the model does not keep the size of pictures whose sides are multiples of {MULTIPLES[-1]}"
    )


def relight(image: ArrayLike, model: FixedModel, *, threads: int | None = None) -> Pixels:
    """Return one photograph in ambient light, in integers; see `Relighter`.

    Parameters
    ----------
    image, threads
        As a `Relighter` is called.
    model
        As a `Relighter` is made.
    """
    return Relighter(model)(image, threads=threads)
