"""Front end: a trained PyTorch model to a float graph, by way of torch.export."""

from fxp.frontend.errors import FrontendError
from fxp.frontend.fold_batch_norm import fold_batch_norm
from fxp.frontend.fold_padding import fold_padding
from fxp.frontend.model_import import from_torch
from fxp.frontend.remove_identities import remove_identities
from fxp.frontend.unwrap import unwrapped
from fxp.graph.remove_dead_code import remove_dead_code

__all__ = [
    "FrontendError",
    "fold_batch_norm",
    "fold_padding",
    "from_torch",
    "remove_dead_code",
    "remove_identities",
    "unwrapped",
]
