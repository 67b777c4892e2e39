"""What to do about an operation that neither a streaming core nor an hls4ml project has."""

from __future__ import annotations

from typing import Final

ELSEWHERE: Final = "the engine and fxp.export.onnx take it"
"""What runs every graph."""

_ADAPTIVE: Final = (
    "pool with windows of a fixed size and a stride, or over the whole image (adaptive pooling to "
    "1×1)"
)
_ROOTS: Final = (
    "hardware for squares and roots over many values does not exist here: train the network "
    "without it, or leave it to the processor"
)

ADVICE: Final = {
    "max_pool_indices": "pool without indices, and enlarge by nearest-neighbour upsampling or a "
    "transposed convolution",
    "adaptive_average_pool": _ADAPTIVE,
    "adaptive_max_pool": _ADAPTIVE,
    "constant_pad": "pad inside a convolution, with its padding=...; padding apart from one, with "
    "zeros or by copying or reflecting the border, needs hardware made with fxp.hls.export",
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
