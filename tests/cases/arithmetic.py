"""Cases of linear layers, arithmetic, activations, tables and normalizations."""

from __future__ import annotations

from typing import Final

from cases.templates import Case, Template, constant, image, vector
from fxp.graph.ops import (
    REGISTRY,
    Add,
    Clamp,
    FunctionTable,
    Gelu,
    Linear,
    LineCodec,
    LocalResponseNorm,
    Multiply,
    Prelu,
    Relu,
    Requantize,
    Sigmoid,
    Sign,
    Softmax,
    SoftThreshold,
    StoredTable,
    Subtract,
    Tanh,
)
from fxp.graph.ops.base import Op


def slope(count: int, **more) -> Template:
    """Template of the slopes of a PReLU."""
    return constant("slope", count, **{"fracs": (0, 14), **more})


def table(width: int) -> Template:
    """Template of a table for a source of `width` bits."""
    return constant("table", 1 << width, fracs=(0, 16))


def tabulated(name: str, op: Op, width: int, *shape: int | str) -> Case:
    """Case of a table op with a source of `width` bits."""
    return Case(name, op, (Template(shape, widths=(width, width)), table(width)))


def softmax(name: str, width: int, entries: int, *shape: int | str) -> Case:
    """Case of a softmax with a source of `width` bits and so many entries."""
    operands = (
        Template(shape, widths=(width, width)),
        constant("table", entries, widths=(1, 16), signed=False),
    )
    return Case(f"softmax_{name}", Softmax(), operands)


def local_response(
    name: str, size: int, channels: int, width: int, shift: int, signed: bool = True
) -> Case:
    """Case of a local response normalization whose sums of squares are shifted by `shift` bits."""
    largest = min(size, channels) * (1 << (width - 1) if signed else (1 << width) - 1) ** 2
    operands = (
        image(channels, widths=(width, width), signed=signed),
        constant("table", (largest >> shift) + 1, widths=(1, 16), signed=False),
    )
    return Case(f"local_response_norm_{name}", LocalResponseNorm(size), operands)


ARITHMETIC: Final[tuple[Case, ...]] = (
    Case("linear", Linear(), (vector(5), constant("weight", 4, 5), constant("bias", 4))),
    Case("linear_no_bias", Linear(), (vector(3), constant("weight", 2, 3))),
    Case("linear_per_channel", Linear(),
         (vector(4), constant("weight", 3, 4, per_channel=True), constant("bias", 3))),
    Case("linear_one", Linear(), (vector(1), constant("weight", 1, 1))),
    Case("add", Add(), (image(3), image(3))),
    Case("add_channel_broadcast", Add(), (image(1), image(4))),
    Case("add_pixel_broadcast", Add(), (image(4, 1, 1), image(4))),
    Case("add_row_broadcast", Add(), (image(2), image(1, 1, "W"))),
    Case("add_constant_right", Add(), (image(3), constant("offset", 3, 1, 1))),
    Case("add_constant_left", Add(), (constant("offset", 1, 1, 1), image(2))),
    Case("add_vectors", Add(), (vector(4), vector(1))),
    Case("subtract", Subtract(), (image(3), image(3))),
    Case("subtract_channel_broadcast", Subtract(), (image(3), image(1))),
    Case("subtract_constant_right", Subtract(), (image(2), constant("offset", 1, 1, 1))),
    Case("subtract_constant_left", Subtract(), (constant("offset", 3, 1, 1), image(3))),
    Case("subtract_vectors", Subtract(), (vector(3), vector(3))),
    Case("multiply", Multiply(), (image(3), image(3))),
    Case("multiply_attention", Multiply(), (image(3), image(3, 1, 1))),
    Case("multiply_attention_left", Multiply(), (image(1), image(3))),
    Case("multiply_constant_right", Multiply(), (image(3), constant("factor", 3, 1, 1))),
    Case("multiply_constant_left", Multiply(), (constant("factor", 1, 1, 1), image(2))),
    Case("multiply_vectors", Multiply(), (vector(3), vector(3))),
    Case("multiply_vector_constant", Multiply(), (vector(3), constant("factor", 3))),
    Case("relu", Relu(), (image(3),)),
    Case("relu_vector", Relu(), (vector(5),)),
    Case("clamp_relu6", Clamp(0.0, 6.0), (image(3, fracs=(0, 8), widths=(4, 16)),)),
    Case("clamp_inexact_bounds", Clamp(-0.3, 0.71), (image(2, fracs=(0, 12)),)),
    Case("clamp_low_only", Clamp(low=-1.5), (image(3),)),
    Case("clamp_high_only", Clamp(high=0.25), (image(3),)),
    Case("clamp_vector", Clamp(-1.0, 1.0), (vector(4),)),
    Case("prelu_one_slope", Prelu(), (image(3), slope(1))),
    Case("prelu_slopes", Prelu(), (image(4), slope(4))),
    Case("prelu_slopes_above_one", Prelu(),
         (image(4), slope(4, widths=(8, 8), fracs=(2, 4), signed=True))),
    Case("prelu_vector", Prelu(), (vector(3), slope(3))),
    tabulated("sigmoid", Sigmoid(), 8, 3, "H", "W"),
    tabulated("sigmoid_one_bit", Sigmoid(), 1, 2, "H", "W"),
    tabulated("sigmoid_vector", Sigmoid(), 6, 4),
    tabulated("tanh", Tanh(), 10, 2, "H", "W"),
    tabulated("tanh_16_bit", Tanh(), 16, 2, "H", "W"),
    *(
        tabulated(name, op_class(), 7, 2, "H", "W")
        for name, op_class in REGISTRY.items()
        if issubclass(op_class, FunctionTable) and op_class not in (Sigmoid, Tanh)
    ),
    tabulated("gelu_tanh", Gelu("tanh"), 5, 2, "H", "W"),
    tabulated("table", StoredTable(), 8, 3, "H", "W"),
    tabulated("table_one_bit", StoredTable(), 1, 2, "H", "W"),
    tabulated("table_vector", StoredTable(), 5, 3),
    Case("soft_threshold_one", SoftThreshold(), (image(3), constant("offset", 1))),
    Case("soft_threshold_channels", SoftThreshold(), (image(4), constant("offset", 4))),
    Case("soft_threshold_vector", SoftThreshold(), (vector(3), constant("offset", 3))),
    Case("soft_threshold_beyond", SoftThreshold(),
         (image(3, fracs=(12, 16), widths=(2, 8)),
          constant("offset", 3, widths=(20, 30), fracs=(-2, 4), signed=True))),
    Case("soft_threshold_fine", SoftThreshold(),
         (image(3, fracs=(0, 2), widths=(3, 8)), constant("offset", 3, fracs=(20, 26)))),
    Case("sign", Sign(), (image(3),)),
    Case("sign_one_at_zero", Sign(1), (image(3, widths=(1, 3)),)),
    Case("sign_minus_one_at_zero", Sign(-1), (vector(4, widths=(1, 3)),)),
    Case("sign_unsigned", Sign(1), (image(2, widths=(1, 2), signed=False),)),
    Case("requantize", Requantize(), (image(3),)),
    Case("requantize_vector", Requantize(), (vector(4),)),
    Case("line_codec", LineCodec(), (image(3, widths=(6, 24)),)),
    Case("line_codec_narrow", LineCodec(), (image(2, widths=(6, 8)),)),
    Case("line_codec_14", LineCodec(), (image(2, widths=(14, 14), signed=False),)),
    Case("line_codec_whole_groups", LineCodec(), (image(2, "H", 16, widths=(6, 24)),)),
    Case("line_codec_one_column", LineCodec(), (image(1, "H", 1, widths=(6, 24)),)),
    Case("line_codec_wide", LineCodec(), (image(1, "H", 37, widths=(16, 24)),)),
    softmax("image", 8, 200, 5, "H", "W"),
    softmax("all_codes", 4, 16, 3, "H", "W"),
    softmax("one_entry", 6, 1, 3, "H", "W"),
    softmax("one_channel", 5, 9, 1, "H", "W"),
    softmax("vector", 10, 300, 12),
    softmax("vector_16_bit", 16, 1 << 16, 3),
    local_response("default", 5, 7, 6, 3),
    local_response("exact_index", 3, 4, 4, 0),
    local_response("even_size", 4, 6, 8, 6, signed=False),
    local_response("more_than_channels", 9, 3, 8, 7),
    local_response("past_all_channels", 6, 2, 5, 2),
    local_response("one", 1, 3, 14, 14),
)  # fmt: skip
