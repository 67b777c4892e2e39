"""Front end: a trained PyTorch model or ONNX file to a float graph, by way of torch.export."""

from fxp.frontend.errors import FrontendError
from fxp.frontend.fold_batch_norm import fold_batch_norm
from fxp.frontend.fold_padding import fold_padding
from fxp.frontend.model_import import from_torch
from fxp.frontend.onnx import load_onnx
from fxp.frontend.onnx_import import from_onnx
from fxp.frontend.remove_identities import remove_identities
from fxp.frontend.unwrap import unwrapped
from fxp.graph.remove_dead_code import remove_dead_code

__all__ = [
    "FrontendError",
    "fold_batch_norm",
    "fold_padding",
    "from_onnx",
    "from_torch",
    "load_onnx",
    "remove_dead_code",
    "remove_identities",
    "unwrapped",
]
