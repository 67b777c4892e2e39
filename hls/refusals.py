"""What to do about an operation that neither a streaming core nor an hls4ml project has."""

from __future__ import annotations

from typing import Final

ELSEWHERE: Final = "the engine and fxp.export.onnx take it"
"""What runs every graph."""

_WHOLE_IMAGE: Final = (
    "its result depends on a whole image, which would have to be stored: leave it to the processor "
    "behind the hardware"
)
_POOLING: Final = (
    "use a convolution with a stride, and make the hardware with fxp.hls.export: a streaming core "
    "works at one resolution"
)
_ROOTS: Final = (
    "hardware for squares and roots over many values does not exist here: train the network "
    "without it, or leave it to the processor"
)

ADVICE: Final = {
    "average_pool": _POOLING,
    "max_pool": _POOLING,
    "max_pool_indices": _POOLING,
    "dilated_max_pool": _POOLING,
    "sum_pool": _POOLING,
    "adaptive_average_pool": _POOLING,
    "adaptive_max_pool": _POOLING,
    "constant_pad": "pad inside a convolution, with its padding=...; padding apart from one, with "
    "zeros or by copying or reflecting the border, needs hardware made with fxp.hls.export",
    "interpolate": "upsample by nearest neighbour or by a transposed convolution; bilinear "
    "upsampling by two needs hardware made with fxp.hls.export",
    "max_unpool": "use a transposed convolution or nearest-neighbour upsampling",
    "global_average_pool": _WHOLE_IMAGE,
    "global_max_pool": _WHOLE_IMAGE,
    "reduce_max": "leave it to the processor behind the hardware",
    "reduce_mean": "a mean over channels alone is a 1×1 convolution with equal weights; over rows "
    "or columns, leave it to the processor behind the hardware",
    "reduce_sum": "a sum over channels alone is a 1×1 convolution with weights of 1; over rows or "
    "columns, leave it to the processor behind the hardware",
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
