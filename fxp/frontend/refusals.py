"""Advice for ops that are known and refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import torch
from torch.fx import Node as FxNode
from torch.utils._python_dispatch import TorchDispatchMode

from fxp.frontend.context import op_name, refusal
from fxp.frontend.trace import Trace

ATTENTION: Final = (
    "attention is not supported, as the graph has no products of two computed matrices; use a "
    "network of convolutions"
)
"""Advice for products of matrices that are both computed."""
PRODUCTS: Final = frozenset(
    ("aten.bmm", "aten.baddbmm", "aten.matmul", "aten.mm", "aten.einsum",
     "aten.scaled_dot_product_attention", "aten._native_multi_head_attention")
)  # fmt: skip
"""Ops that multiply matrices; refused where two are computed from the input."""
_CELL = (
    "write one step with nn.Conv2d or nn.Linear and gates, take its state as an input and return "
    "it as an output, and name the pair in `states`"
)
_CONTROL = "use a model without branches and loops on values"
_NUMBER = "compute with the tensor itself, or keep the number as a Python number"
_ROUND = (
    "leave it out: formats round, such as those of output_format; for a network that was trained "
    "with fake quantization, take the float network"
)
_POSITION = "leave it outside of the network, which then returns what it searches"
_1D = "use the layer for images, with 1 x n windows on images (N, C, 1, L)"

ADVICE: Final[dict[str, str]] = {
    "aten.conv3d": "use nn.Conv2d on single frames, and states for what is kept between them",
    "aten.conv_transpose1d": _1D,
    "aten.max_pool1d": _1D,
    "aten.avg_pool1d": _1D,
    "aten.adaptive_avg_pool1d": _1D,
    "aten.adaptive_max_pool1d": _1D,
    "aten.lstm": _CELL,
    "aten.gru": _CELL,
    "aten.rnn_tanh": _CELL,
    "aten.rnn_relu": _CELL,
    "aten.lstm_cell": _CELL,
    "aten.gru_cell": _CELL,
    "aten.select_scatter": "build the result with torch.cat",
    "aten.slice_scatter": "build the result with torch.cat instead of writing into a part",
    "aten.fill": "build the result with torch.cat instead of writing into a part",
    "aten.copy": "build the result with torch.cat instead of writing into a part",
    "aten._upsample_bilinear2d_aa": "set antialias=False",
    "aten._upsample_bicubic2d_aa": "set antialias=False",
    "aten.upsample_linear1d": "use images (N, C, H, W)",
    "aten.log_softmax": "use softmax, or return the logits; their order is the same",
    "aten._native_batch_norm_legit_functional": "call batch_norm with training=False",
    "aten.prod": "write the product out: a * b",
    "aten.einsum": "write it with nn.Conv2d, nn.Linear, or products and sums of tensors",
    **dict.fromkeys(("aten.round", "aten.floor", "aten.ceil", "aten.trunc"), _ROUND),
    **dict.fromkeys(("aten.argmax", "aten.argmin", "aten.sort", "aten.topk"), _POSITION),
    "aten.grid_sampler": "leave it outside of the network, or use F.interpolate",
    "aten.item": _NUMBER,
    "aten._local_scalar_dense": _NUMBER,
    "cond": _CONTROL,
    "while_loop": _CONTROL,
    "scan": _CONTROL,
}
"""What to do instead, by op."""

DEFAULT: Final = "rewrite the module with ops that are, or leave it outside of the converted model"


class _ProductWatch(TorchDispatchMode):
    """Notes whether a matrix product is computed, or attention by a kernel of its own.

    Products with parameters and buffers, or views of them, do not count.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.seen = False
        self._held = {_address(held) for held in (*model.parameters(), *model.buffers())} - {0}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        kernel = "attention" in name or "transformer" in name
        product = name in ("mm", "bmm", "baddbmm") and not any(
            isinstance(item, torch.Tensor) and _address(item) in self._held for item in args[-2:]
        )
        self.seen = self.seen or kernel or product
        return func(*args, **(kwargs or {}))


def _address(tensor: torch.Tensor) -> int:
    """Where the numbers of a tensor lie, which views share."""
    return tensor.untyped_storage().data_ptr()


def may_multiply_values(model: torch.nn.Module, examples: Sequence[torch.Tensor]) -> bool:
    """Whether a run of the model computes products that may be of two computed matrices."""
    try:
        watch = _ProductWatch(model)
        with torch.no_grad(), watch:
            model(*examples)
    except Exception:
        # The export meets the same error next, and tells what to do.
        return False
    return watch.seen


def refuse_products_of_values(trace: Trace) -> None:
    """Refuse to multiply matrices which are both computed from the input.

    Raises
    ------
    FrontendError
        If there is such a product; the message names its module.
    """
    computed = set(trace.inputs)
    for node in trace.nodes:
        sources = [source for source in node.all_input_nodes if source in computed]
        if sources:
            computed.add(node)
        # The same value twice is two factors, too.
        factors = [item for item in _leaves(node.args) if item in computed]
        if len(factors) > 1 and op_name(node) in PRODUCTS:
            raise refusal(
                node,
                "it multiplies matrices that are both computed from the input",
                ATTENTION,
                size_dependent=False,
            )


def _leaves(arguments: Iterable[object]) -> Iterator[object]:
    for item in arguments:
        if isinstance(item, list | tuple):
            yield from _leaves(item)
        elif isinstance(item, FxNode):
            yield item
