"""Whole photographs through a network on RGB: any size, grey, alpha, 16 bits a channel.

`PhotographNetwork` runs a fixed-point model, in integers from end to end; `float_photograph` runs
a float network in the same way, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp import Extent, FixedModel, FxpError, Graph
from fxp.imaging.quality import Quality, compare, mean_quality, to_codes
from fxp.models.common.borders import MOST, coloured, to_multiple
from fxp.models.common.pixels import Pixels, eight_bits, for_pixels, on_engine, on_oracle
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch", "torch")

MULTIPLES: Final = tuple(1 << power for power in range(9))
"""Numbers of pixels that the sides of a network's pictures may have to be multiples of."""
GREY_WEIGHTS: Final = (19595, 38470, 7471)
"""Of red, green and blue in the grey of Pillow's mode ``L``, in units of 2**-16."""

Method = Callable[[Pixels], Pixels]
"""Maps a photograph ``(H, W, 3)`` uint8 to one of the same size."""
PlanesMethod = Callable[[Pixels], NDArray]
"""Maps planes ``(3, H, W)`` whose sides fit a network to others of that size."""


class PhotographNetwork:
    """A network on RGB made to take whole photographs of any size; threads may share it.

    A photograph is continued by its last row and column to the next size that the network takes,
    and the result is cropped.

    Parameters
    ----------
    model
        Takes ``(3, H, W)`` and returns as much. Formats other than unsigned 8-bit pixels are
        adapted where that is exact, see `fxp.models.common.pixels.for_pixels`.

    Attributes
    ----------
    model : FixedModel
        The model, on pixels.
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
        """Run a photograph by the engine.

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
            uint8 of the same shape. Alpha stays as it is, and colours that it hides have no
            influence. A grey image goes through the network as RGB of equal channels, and becomes
            the grey of the result, see `grey_of`.

        Raises
        ------
        TypeError
            If the image holds no 8-bit or 16-bit integers.
        ValueError
            If its shape does not fit.
        """
        return self._image(image, self._on_engine(threads))

    def oracle(self, image: ArrayLike) -> Pixels:
        """Do the same by the slow reference; equals the call to the last bit."""
        return self._image(image, partial(on_oracle, self.model))

    def _on_engine(self, threads: int | None) -> PlanesMethod:
        return partial(on_engine(threads), self.model)

    def _image(self, image: ArrayLike, run: PlanesMethod) -> Pixels:
        pixels = eight_bits(image)
        planes = np.atleast_3d(pixels).transpose(2, 0, 1)
        alpha = planes[-1:] if len(planes) % 2 == 0 else planes[:0]
        shown = planes[: len(planes) - len(alpha)]
        if len(alpha):
            # Networks of several scales, and those with means, look farther than colours spread.
            shown = coloured(shown, alpha[0], MOST, everywhere=True)
        result = self._rgb(np.repeat(shown, 3 // len(shown), axis=0), run)
        if len(shown) == 1:
            result = grey_of(result.transpose(1, 2, 0))[None]
        joined = np.concatenate([result, alpha]).transpose(1, 2, 0)
        return np.ascontiguousarray(joined.reshape(pixels.shape))

    def _rgb(self, planes: Pixels, run: PlanesMethod) -> Pixels:
        """Run planes ``(3, H, W)`` of any size."""
        height, width = planes.shape[1:]
        larger = np.ascontiguousarray(to_multiple(planes, self.multiple))
        return run(larger)[:, :height, :width].astype(np.uint8)

    def _options(self) -> dict[str, Any]:
        """Return the arguments besides the model that make this again."""
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), self.model.graph, self.model.metadata, self._options())


def _made(
    kind: type[PhotographNetwork],
    graph: Graph,
    metadata: dict[str, str],
    options: dict[str, Any],
) -> PhotographNetwork:
    return kind(FixedModel(graph, metadata=metadata), **options)


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
    channels = graph.inputs[0].shape[0]
    assert isinstance(channels, int)
    for multiple in MULTIPLES:
        # An odd number of times, as other multiples would do for twice as much too.
        try:
            shapes = graph.concrete_shapes(graph.bind([(channels, 3 * multiple, 5 * multiple)]))
        except FxpError:
            continue
        if shapes[source] == shapes[result]:
            return multiple
    raise ArgumentError(
        f"the model does not keep the size of pictures whose sides are multiples of {MULTIPLES[-1]}"
    )


def grey_of(picture: Pixels) -> Pixels:
    """Return the grey ``(H, W)`` of RGB ``(H, W, 3)``, as Pillow's mode ``L`` has it."""
    return ((picture.astype(np.int64) @ GREY_WEIGHTS + 0x8000) >> 16).astype(np.uint8)


def float_photograph(network: torch.nn.Module, picture: Pixels) -> Pixels:
    """Return what a float network makes of a photograph, rounded to 8 bits.

    Parameters
    ----------
    network
        On the CPU in eval mode; takes and returns ``(N, 3, H, W)`` in [0, 1], whose sides are
        multiples of its attribute ``multiple``.
    picture
        ``(H, W, 3)`` uint8 of any size.
    """
    planes = to_multiple(picture.transpose(2, 0, 1), int(network.multiple))  # type: ignore[arg-type]
    with torch.inference_mode():
        result = network(torch.from_numpy(planes.astype(np.float32) / 255)[None])[0].numpy()
    height, width = picture.shape[:2]
    return to_codes(result[:, :height, :width].transpose(1, 2, 0) * 255)


def photograph_method(model: torch.nn.Module | FixedModel) -> Method:
    """Return a float network or a fixed-point model as a function of photographs."""
    if isinstance(model, FixedModel):
        return PhotographNetwork(model)
    return partial(float_photograph, model)


def unchanged(picture: Pixels) -> Pixels:
    """Return the photograph itself, what every method is compared with."""
    return picture


def photographs_quality(
    pairs: Iterable[tuple[Pixels, Pixels]],
    method: Method = unchanged,
    measure: Callable[[Pixels, Pixels], Quality] = compare,
) -> Quality:
    """Return the mean quality of a method over pairs; NaN for none.

    Parameters
    ----------
    pairs
        What the method gets and what it ought to make of it, ``(H, W, 3)`` uint8 of one size.
    method
        What is measured.
    measure
        Quality of a result, from the truth and the result; by default PSNR and SSIM of RGB.
    """
    return mean_quality(measure(truth, method(given)) for given, truth in pairs)
