"""Advice for ops that are known and refused."""

from __future__ import annotations

from typing import Final

_ATTENTION = (
    "attention is not supported, as it multiplies computed values with each other; use a network "
    "of convolutions"
)
_CELL = (
    "write one step with nn.Conv2d or nn.Linear and gates, take its state as an input and return "
    "it as an output, and name the pair in `states`"
)
_CONTROL = "use a model without branches and loops on values"
_NUMBER = "compute with the tensor itself, or keep the number as a Python number"
_1D = "use nn.Conv2d with a 1 x n kernel on images (N, C, 1, W)"

ADVICE: Final[dict[str, str]] = {
    "aten.conv1d": _1D,
    "aten.conv3d": "use nn.Conv2d on single frames, and states for what is kept between them",
    "aten.conv_transpose1d": _1D,
    "aten.bmm": _ATTENTION,
    "aten.baddbmm": _ATTENTION,
    "aten.einsum": _ATTENTION,
    "aten.scaled_dot_product_attention": _ATTENTION,
    "aten._native_multi_head_attention": _ATTENTION,
    "aten._transformer_encoder_layer_fwd": _ATTENTION,
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
    "aten.hardshrink": "use nn.Softshrink",
    "aten.threshold": "use nn.ReLU, or torch.clamp",
    "aten.rrelu": "use nn.LeakyReLU with the mean of its slopes, which is what eval mode computes",
    "aten.glu": "write a, b = x.chunk(2, 1) and a * torch.sigmoid(b)",
    "aten.item": _NUMBER,
    "aten._local_scalar_dense": _NUMBER,
    "cond": _CONTROL,
    "while_loop": _CONTROL,
    "scan": _CONTROL,
}
"""What to do instead, by op."""

DEFAULT: Final = "rewrite the module with ops that are, or leave it outside of the converted model"
