"""Local response normalization as the one node that ONNX has for it.

torch's exporter writes it as a pooling in three dimensions, after which it does not know sizes any
more, so that an adaptive pooling behind it cannot be exported.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, values: Tensor, size: int, alpha: float, beta: float, bias: float
    ) -> Tensor:
        return functional.local_response_norm(values, size, alpha, beta, bias)

    @staticmethod
    def symbolic(graph: Any, values: Any, size: int, alpha: float, beta: float, bias: float) -> Any:
        made = graph.op("LRN", values, size_i=size, alpha_f=alpha, beta_f=beta, bias_f=bias)
        return made.setType(values.type())


class _OneNode(nn.Module):
    def __init__(self, layer: nn.LocalResponseNorm) -> None:
        super().__init__()
        self.options = layer.size, layer.alpha, layer.beta, layer.k

    def forward(self, values: Tensor) -> Tensor:
        return _Normalize.apply(values, *self.options)  # type: ignore[return-value]


def with_single_nodes(network: nn.Module) -> nn.Module:
    """Return a copy of a network whose local response normalizations are exported as one node.

    Parameters
    ----------
    network
        Any network; it stays as it is.
    """
    found = copy.deepcopy(network)
    for name, layer in list(found.named_modules()):
        if isinstance(layer, nn.LocalResponseNorm):
            found.set_submodule(name, _OneNode(layer))
    return found
