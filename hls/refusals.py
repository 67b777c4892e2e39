"""What to do about a network that a streaming core, or an hls4ml project, cannot be made of.

Either way is recommended in place of the other one only if it takes the network, which is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from fxp.support.errors import FxpError

if TYPE_CHECKING:
    from fxp.graph import Graph

ELSEWHERE: Final = "the engine and fxp.export.onnx take it"
"""What runs every graph."""

_ADAPTIVE: Final = (
    "pool with windows of a fixed size and a stride, or over the whole image (adaptive pooling to "
    "1×1)"
)
_PADDING: Final = "pad inside a convolution, with its padding=..., instead of apart from one"
_ROOTS: Final = (
    "hardware for squares and roots over many values does not exist here: train the network "
    "without it, or leave it to the processor"
)

ADVICE: Final = {
    "max_pool_indices": "pool without indices, and enlarge by nearest-neighbour upsampling or a "
    "transposed convolution",
    "adaptive_average_pool": _ADAPTIVE,
    "adaptive_max_pool": _ADAPTIVE,
    "constant_pad": _PADDING,
    "pad": _PADDING,
    "interpolate": "upsample by nearest neighbour, by a transposed convolution, or bilinearly or "
    "bicubically by two with align_corners=False",
    "max_unpool": "use a transposed convolution or nearest-neighbour upsampling",
    "variance": _ROOTS,
    "standard_deviation": _ROOTS,
    "l2_norm": _ROOTS,
    "group_norm": "train with torch.nn.BatchNorm2d instead, which quantization folds into the "
    "convolution before it",
    "local_response_norm": "train the network without it, or with torch.nn.BatchNorm2d",
    "softmax": "leave it out, and apply it to what the hardware returns; the largest class is the "
    "same without it",
}
"""By name of the operation."""


def instead_of_core(graph: Graph, operation: str = "") -> str:
    """Return what to do about a network that cannot stream.

    Parameters
    ----------
    graph
        The network.
    operation
        Name of the operation that stands in the way, if it is one.
    """
    # Either way asks the other one, so neither can be imported first.
    from fxp.hls.hls4ml_export.exporting import check_export

    if _takes(check_export, graph):
        return _listed(operation, "fxp.hls.export takes this network")
    return ADVICE.get(operation, f"change the network; {ELSEWHERE}")


def instead_of_project(graph: Graph, shape: tuple[int, ...], operation: str = "") -> str:
    """Return what to do about a network that hls4ml cannot take.

    Parameters
    ----------
    graph
        The network.
    shape
        Of its first input, in which all sizes are numbers.
    operation
        Name of the operation that stands in the way, if it is one.
    """
    from fxp.hls.rtl.emit import check_stream

    # A core streams images.
    if len(shape) == 3 and _takes(check_stream, graph, shape[1:]):
        return _listed(operation, "fxp.hls.emit_rtl takes this network")
    return ADVICE.get(operation, f"change the network; {ELSEWHERE}")


def _listed(operation: str, other: str) -> str:
    return f"{ADVICE[operation]}; {other}" if operation in ADVICE else other


def _takes(check: Callable[..., object], *arguments: object) -> bool:
    try:
        check(*arguments)
    except FxpError:
        return False
    return True
