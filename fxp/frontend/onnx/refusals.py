"""Advice for ONNX operations that are known and refused."""

from __future__ import annotations

from typing import Final

from fxp.frontend.onnx.qlinear import QLINEAR

_CELL: Final = "write one step of it with Gemm or Conv, and name the state in `states`"
_POSITION: Final = "leave it outside of the network, which then returns what it searches"
_QUANTIZED: Final = (
    "the network is quantized already: read it with fxp.from_quantized_onnx, or with fxp quantize "
    "without --calibration"
)
_DYNAMIC: Final = "quantize statically; its scale depends on the image"
_CONTROL: Final = "export a network without control flow"

ADVICE: Final[dict[str, str]] = {
    "ArgMax": _POSITION,
    "ArgMin": _POSITION,
    "BipolarQuant": _QUANTIZED,
    "ConvInteger": _QUANTIZED,
    "DequantizeLinear": _QUANTIZED,
    "DynamicQuantizeLSTM": _DYNAMIC,
    "DynamicQuantizeLinear": _DYNAMIC,
    "DynamicQuantizeMatMul": _DYNAMIC,
    "Einsum": "write it with MatMul or Conv",
    "GRU": _CELL,
    "GridSample": "leave it outside of the network, or use Resize",
    "If": _CONTROL,
    "IntQuant": _QUANTIZED,
    "LSTM": _CELL,
    "LogSoftmax": "use Softmax, or return what it reads; the order is the same",
    "Loop": _CONTROL,
    "MatMulInteger": _QUANTIZED,
    "MaxUnpool": "use Resize",
    "NonMaxSuppression": _POSITION,
    **dict.fromkeys(QLINEAR, _QUANTIZED),
    "Quant": _QUANTIZED,
    "QuantizeLinear": _QUANTIZED,
    "RNN": _CELL,
    "RoiAlign": "leave it outside of the network",
    "Scan": _CONTROL,
    "TopK": _POSITION,
    "Trunc": _QUANTIZED,
}
"""What to do instead, by operation."""
DEFAULT: Final = "rewrite the network with operations that are, or leave it outside of the network"
