"""The table of op cases that every executor runs, and the builder of one-node graphs from it.

A `Case` is an op with templates of its operands. `build` fills the templates: it draws formats,
constants, modes, sizes and data, either from a NumPy generator (`RandomChoices`) or from hypothesis
(`DrawnChoices`), so that one table serves enumerated and shrinking tests alike.

To add an op, add it to `CASES`; every executor then runs it. Rows of `fxp.graph.ops.functions` have
a case without more.
"""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st

from fxp.formats import Format, IntArray, Overflow, Quantization, Rounding
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.extents import Extent, Shape
from fxp.graph.ops import (
    REGISTRY,
    Add,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Clamp,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    FunctionTable,
    Gelu,
    GlobalAveragePool,
    GlobalMaxPool,
    Linear,
    LineCodec,
    LocalResponseNorm,
    MaxPool,
    MaxPoolIndices,
    MaxUnpool,
    Multiply,
    Nearest,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Prelu,
    Relu,
    Requantize,
    Sigmoid,
    Slice,
    Softmax,
    SoftThreshold,
    StoredTable,
    Subtract,
    Tanh,
)
from fxp.graph.ops.base import Accumulator, Op, Operand
from fxp.graph.ops.normalization import ChannelNormalization

Pattern = Literal["random", "largest", "smallest", "zero", "impulse"]
PATTERNS: Final[tuple[Pattern, ...]] = ("random", "largest", "smallest", "zero", "impulse")
MODES: Final = tuple(itertools.product(Rounding, Overflow))

COMPARISONS: Counter[str] = Counter()
"""How many arrays each executor had compared with the oracle; printed when the tests end."""

T = TypeVar("T")


def assert_same(executor: str, name: str, expected: np.ndarray, actual: np.ndarray) -> None:
    """Fail unless two arrays are equal element by element; counts the comparison."""
    COMPARISONS[executor] += 1
    assert actual.shape == expected.shape, f"{executor}, {name}: {actual.shape}, {expected.shape}"
    different = np.argwhere(actual != expected)
    if len(different):
        where = tuple(int(index) for index in different[0])
        raise AssertionError(
            f"{executor}, {name}: {len(different)} of {expected.size} elements differ, first at "
            f"{where}: {actual[where]} instead of {expected[where]}"
        )


class Choices(Protocol):
    """Where `build` takes its decisions from."""

    def integer(self, low: int, high: int) -> int:
        """Return an integer from `low` to `high`, both included."""
        ...

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        ...


@dataclass(frozen=True)
class RandomChoices:
    """Choices from a NumPy generator."""

    generator: np.random.Generator

    def integer(self, low: int, high: int) -> int:
        return int(self.generator.integers(low, high + 1))

    def pick(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]


@dataclass(frozen=True)
class DrawnChoices:
    """Choices from hypothesis, which shrinks them."""

    draw: st.DrawFn

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def pick(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))


@dataclass(frozen=True)
class Template:
    """An operand to be filled in.

    Attributes
    ----------
    shape
        Sizes; ``"H"`` and ``"W"`` are free.
    role
        ``value``, or what the constant is.
    widths
        Fewest and most bits of its format.
    fracs
        Fewest and most fraction bits; None for -6 to ``width + 6``.
    signed
        Whether the format is signed; None for either.
    per_channel
        Whether every index of the first axis has a format of its own.
    """

    shape: tuple[int | str, ...]
    role: Literal["value", "weight", "bias", "factor", "offset", "slope", "table"] = "value"
    widths: tuple[int, int] = (1, 24)
    fracs: tuple[int, int] | None = None
    signed: bool | None = None
    per_channel: bool = False


@dataclass(frozen=True)
class Case:
    """One op with templates of its operands.

    Attributes
    ----------
    name
        Unique name.
    op
        The op with its attributes.
    operands
        Templates in the order of the op's inputs.
    smallest
        Smallest legal height and width.
    multiple
        What height and width must be multiples of.
    """

    name: str
    op: Op
    operands: tuple[Template, ...]
    smallest: tuple[int, int] = (1, 1)
    multiple: int = 1

    @property
    def is_free(self) -> bool:
        """Whether the case has a free height or width."""
        return any(size in ("H", "W") for item in self.operands for size in item.shape)


@dataclass(frozen=True)
class Example:
    """A one-node graph with data for it.

    Attributes
    ----------
    graph
        The graph; its node is called ``result``.
    inputs
        Raw integers of every input, for each element of a batch of two.
    patterns
        Pattern of the first batch element, and of the constants.
    size
        Height and width.
    """

    graph: Graph
    inputs: tuple[tuple[IntArray, ...], tuple[IntArray, ...]]
    patterns: tuple[Pattern, Pattern]
    size: tuple[int, int]

    @property
    def node(self) -> Node:
        """The node."""
        return self.graph.nodes[0]

    @property
    def accumulator(self) -> Accumulator:
        """The proved range of the node."""
        assert self.node.accumulator is not None
        return self.node.accumulator

    @property
    def quantization(self) -> Quantization:
        """Format and modes of the node."""
        assert self.node.quantization is not None
        return self.node.quantization


def image(channels: int, height: int | str = "H", width: int | str = "W", **more) -> Template:
    """Template of an image."""
    return Template((channels, height, width), **more)


def vector(features: int, **more) -> Template:
    """Template of a vector."""
    return Template((features,), **more)


def constant(role: str, *shape: int, **more) -> Template:
    """Template of a constant."""
    return Template(shape, role, **{"widths": (2, 16), **more})  # type: ignore[arg-type]


def slope(count: int, **more) -> Template:
    """Template of the slopes of a PReLU."""
    return constant("slope", count, **{"fracs": (0, 14), **more})


def table(width: int) -> Template:
    """Template of a table for a source of `width` bits."""
    return constant("table", 1 << width, fracs=(0, 16))


def conv(
    name: str,
    channels: tuple[int, int] = (3, 4),
    kernel: tuple[int, int] = (3, 3),
    *,
    bias: bool = True,
    per_channel: bool = False,
    smallest: tuple[int, int] = (1, 1),
    **attributes,
) -> Case:
    """Case of a convolution from and to so many channels."""
    groups = attributes.get("groups", 1)
    shape = (channels[1], channels[0] // groups, *kernel)
    operands = [image(channels[0]), constant("weight", *shape, per_channel=per_channel)]
    if bias:
        operands.append(constant("bias", channels[1], widths=(2, 30)))
    return Case(f"conv2d_{name}", Conv2d(**attributes), tuple(operands), smallest)


def transposed(
    name: str,
    channels: tuple[int, int] = (3, 4),
    kernel: tuple[int, int] = (3, 3),
    *,
    bias: bool = True,
    per_channel: bool = False,
    smallest: tuple[int, int] = (1, 1),
    **attributes,
) -> Case:
    """Case of a transposed convolution from and to so many channels."""
    same = conv(name, channels, kernel, bias=bias, per_channel=per_channel,
                groups=attributes.get("groups", 1))  # fmt: skip
    return Case(f"conv_transpose2d_{name}", ConvTranspose2d(**attributes), same.operands, smallest)


def unpool(name: str, op: MaxUnpool, smallest: tuple[int, int] = (1, 1)) -> Case:
    """Case of an unpooling; some of the indices name no tap."""
    indices = image(3, widths=(2, 4), fracs=(0, 0))
    return Case(f"max_unpool_{name}", op, (image(3), indices), smallest)


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


CASES: Final[tuple[Case, ...]] = (
    conv("1x1", (3, 5), (1, 1), padding=(0, 0, 0, 0)),
    conv("1x1_per_channel", (4, 3), (1, 1), per_channel=True),
    conv("1x1_groups", (4, 8), (1, 1), groups=2, bias=False),
    conv("1x1_stride_2", (3, 2), (1, 1), stride=(2, 2)),
    conv("3x3_valid", smallest=(3, 3)),
    conv("3x3_zero", padding=(1, 1, 1, 1)),
    conv("3x3_zero_no_bias", padding=(1, 1, 1, 1), bias=False),
    conv("3x3_zero_per_channel", padding=(1, 1, 1, 1), per_channel=True),
    conv("3x3_zero_per_channel_no_bias", padding=(1, 1, 1, 1), per_channel=True, bias=False),
    conv("3x3_reflect", padding=(1, 1, 1, 1), padding_mode="reflect", smallest=(2, 2)),
    conv("3x3_replicate", padding=(1, 1, 1, 1), padding_mode="replicate"),
    conv("3x3_symmetric", padding=(1, 1, 1, 1), padding_mode="symmetric"),
    conv("3x3_asymmetric_symmetric", padding=(0, 5, 3, 0), padding_mode="symmetric",
         stride=(2, 1), dilation=(1, 2), smallest=(1, 2)),
    conv("3x3_asymmetric", padding=(2, 0, 0, 1), smallest=(1, 2)),
    conv("3x3_asymmetric_reflect", padding=(0, 2, 1, 0), padding_mode="reflect", smallest=(3, 2)),
    conv("3x3_asymmetric_replicate", padding=(3, 0, 0, 4), padding_mode="replicate"),
    conv("3x3_stride_2", padding=(1, 1, 1, 1), stride=(2, 2)),
    conv("3x3_stride_2_valid", (2, 3), stride=(2, 2), bias=False, smallest=(3, 3)),
    conv("3x3_stride_3x1", padding=(1, 1, 1, 1), stride=(3, 1)),
    conv("3x3_stride_past_kernel", padding=(1, 1, 1, 1), stride=(4, 5)),
    conv("3x3_dilation_2", padding=(2, 2, 2, 2), dilation=(2, 2)),
    conv("3x3_dilation_2x1_reflect", padding=(2, 2, 1, 1), dilation=(2, 1), padding_mode="reflect",
         smallest=(3, 2)),
    conv("3x3_dilation_3_stride_2", padding=(3, 2, 2, 3), dilation=(3, 3), stride=(2, 2),
         smallest=(2, 2)),
    conv("3x3_groups", (4, 6), padding=(1, 1, 1, 1), groups=2),
    conv("3x3_groups_per_channel", (6, 3), padding=(1, 1, 1, 1), groups=3, per_channel=True),
    conv("3x3_depthwise", (4, 4), padding=(1, 1, 1, 1), groups=4),
    conv("3x3_depthwise_per_channel", (3, 3), padding=(1, 1, 1, 1), groups=3, per_channel=True,
         bias=False),
    conv("3x3_depthwise_stride_2", (3, 3), padding=(1, 1, 1, 1), groups=3, stride=(2, 2),
         padding_mode="replicate"),
    conv("3x3_depth_multiplier_2", (3, 6), padding=(1, 1, 1, 1), groups=3),
    conv("3x3_single_channel", (1, 1), padding=(1, 1, 1, 1)),
    conv("5x5", (2, 3), (5, 5), padding=(2, 2, 2, 2)),
    conv("5x5_reflect", (1, 2), (5, 5), padding=(2, 2, 2, 2), padding_mode="reflect",
         smallest=(3, 3)),
    conv("1x5", (3, 2), (1, 5), padding=(0, 0, 2, 2)),
    conv("7x1", (2, 2), (7, 1), padding=(3, 3, 0, 0), per_channel=True),
    conv("7x1_depthwise_reflect", (2, 2), (7, 1), padding=(3, 3, 0, 0), padding_mode="reflect",
         groups=2, bias=False, smallest=(4, 1)),
    conv("2x2_even", (2, 3), (2, 2), padding=(0, 1, 1, 0)),
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
    Case("concat_two", Concat(), (image(2), image(3))),
    Case("concat_three", Concat(), (image(1), image(3), image(2))),
    Case("concat_one", Concat(), (image(2),)),
    Case("concat_vectors", Concat(), (vector(3), vector(2))),
    Case("slice_channels", Slice(start=1, stop=3), (image(4),)),
    Case("slice_last_channels", Slice(start=-2), (image(5),)),
    Case("slice_every_second_channel", Slice(start=1, step=2), (image(5),)),
    Case("slice_rows", Slice("row", 1, -1), (image(2),), (3, 1)),
    Case("slice_every_third_row", Slice("row", 0, None, 3), (image(2),)),
    Case("slice_columns", Slice("column", 2, None, 2), (image(3),), (1, 3)),
    Case("slice_fixed_columns", Slice("column", 1, 3), (image(3, "H", 4),)),
    Case("slice_vector", Slice(start=1, stop=-1), (vector(6),)),
    Case("pad_zero", Pad((1, 1, 1, 1)), (image(3),)),
    Case("pad_asymmetric", Pad((0, 2, 3, 1)), (image(2),)),
    Case("pad_reflect", Pad((2, 1, 0, 3), "reflect"), (image(2),), (3, 4)),
    Case("pad_replicate", Pad((2, 1, 0, 3), "replicate"), (image(2),)),
    Case("pad_symmetric", Pad((2, 1, 0, 3), "symmetric"), (image(2),)),
    Case("pad_symmetric_past_size", Pad((7, 12, 20, 1), "symmetric"), (image(1),)),
    Case("pad_nothing", Pad(), (image(2),)),
    Case("flatten", Flatten(), (image(2, 3, 4),)),
    Case("flatten_pixel", Flatten(), (image(5, 1, 1),)),
    Case("pixel_shuffle", PixelShuffle(), (image(8),)),
    Case("pixel_shuffle_3", PixelShuffle(3), (image(9),)),
    Case("pixel_shuffle_1", PixelShuffle(1), (image(2),)),
    Case("pixel_unshuffle", PixelUnshuffle(), (image(2),), (2, 2), 2),
    Case("pixel_unshuffle_3", PixelUnshuffle(3), (image(1),), (3, 3), 3),
    Case("pixel_unshuffle_1", PixelUnshuffle(1), (image(2),)),
    Case("nearest", Nearest(), (image(3),)),
    Case("nearest_3", Nearest(3), (image(2),)),
    Case("nearest_1", Nearest(1), (image(2),)),
    Case("max_pool", MaxPool(), (image(3),), (2, 2)),
    Case("max_pool_3x3_padded", MaxPool((3, 3), (2, 2), (1, 1, 1, 1)), (image(2),)),
    Case("max_pool_3x2_asymmetric", MaxPool((3, 2), (1, 3), (1, 0, 1, 1)), (image(3),), (2, 1)),
    Case("average_pool", AveragePool(), (image(3),), (2, 2)),
    Case("average_pool_3x3_counted", AveragePool((3, 3), (2, 2), (1, 1, 1, 1)), (image(2),)),
    Case("average_pool_3x3_not_counted", AveragePool((3, 3), (1, 2), (1, 1, 1, 1), False),
         (image(2),)),
    Case("average_pool_2x5_asymmetric", AveragePool((2, 5), (1, 1), (1, 0, 2, 1), False),
         (image(2),), (1, 2)),
    Case("average_pool_1x1", AveragePool((1, 1), (1, 2)), (image(2),)),
    Case("max_pool_ceil", MaxPool((3, 3), (2, 2), (0, 1, 0, 1)), (image(3),), (2, 2)),
    Case("max_pool_past_half", MaxPool((3, 4), (2, 3), (2, 2, 3, 1)), (image(2),)),
    Case("average_pool_ceil", AveragePool((2, 3), (2, 2), (0, 1, 0, 2), False), (image(3),)),
    Case("average_pool_past_half", AveragePool((3, 3), (3, 1), (2, 1, 0, 2)), (image(2),)),
    Case("max_pool_indices", MaxPoolIndices(), (image(3, widths=(1, 4)),), (2, 2)),
    Case("max_pool_indices_3x3_padded", MaxPoolIndices((3, 3), (2, 2), (1, 1, 1, 1)),
         (image(2, widths=(1, 6)),)),
    Case("max_pool_indices_2x3_asymmetric", MaxPoolIndices((2, 3), (1, 3), (1, 0, 0, 2)),
         (image(3),)),
    Case("max_pool_indices_1x2", MaxPoolIndices((1, 2), (2, 1)), (image(2),), (1, 2)),
    unpool("default", MaxUnpool()),
    unpool("padded", MaxUnpool((3, 3), (3, 3), (1, 1, 1, 1), (0, 2))),
    unpool("2x3_asymmetric", MaxUnpool((2, 3), (2, 3), (1, 0, 0, 1), (1, 0))),
    unpool("stride_past_window", MaxUnpool((2, 1), (3, 2))),
    unpool("cut", MaxUnpool((2, 2), (2, 3), (0, 1, 1, 0))),
    unpool("1x1", MaxUnpool((1, 1), (1, 1), output_padding=(3, 4))),
    Case("global_average_pool", GlobalAveragePool(), (image(3),)),
    Case("global_average_pool_fixed", GlobalAveragePool(), (image(2, 5, 3),)),
    Case("global_max_pool", GlobalMaxPool(), (image(3),)),
    Case("bilinear_upsample", BilinearUpsample(), (image(3),)),
    Case("bicubic_upsample", BicubicUpsample(), (image(3),)),
    Case("bicubic_upsample_interpolate", BicubicUpsample(-0.75, "replicate"), (image(2),)),
    Case("bicubic_upsample_replicate", BicubicUpsample(-0.5, "replicate"), (image(1),)),
    Case("bicubic_upsample_symmetric", BicubicUpsample(-0.75, "symmetric"), (image(1),)),
    transposed("1x1", (2, 3), (1, 1)),
    transposed("2x2_stride_2", (3, 2), (2, 2), stride=(2, 2), per_channel=True),
    transposed("3x3"),
    transposed("3x3_padded", padding=(1, 1), bias=False),
    transposed("3x3_padded_past_kernel", (2, 2), padding=(3, 4), smallest=(5, 7)),
    transposed("3x3_stride_2", stride=(2, 2), padding=(1, 1), output_padding=(1, 1)),
    transposed("3x3_stride_2_odd", stride=(2, 2), padding=(1, 1), per_channel=True),
    transposed("3x3_stride_3x1", (2, 2), stride=(3, 1), padding=(0, 2), output_padding=(2, 0),
               smallest=(1, 3)),
    transposed("3x3_stride_past_kernel", (2, 2), stride=(5, 4), padding=(1, 0),
               output_padding=(4, 1)),
    transposed("3x3_dilation_2", (2, 3), stride=(2, 2), dilation=(2, 2), padding=(1, 2)),
    transposed("3x3_dilation_3_stride_2", (2, 2), stride=(2, 2), dilation=(3, 3), padding=(2, 1),
               output_padding=(2, 1), bias=False),
    transposed("3x3_dilation_4x6_stride_6x4", (2, 2), stride=(6, 4), dilation=(4, 6)),
    transposed("3x3_groups", (4, 6), stride=(2, 2), padding=(1, 1), groups=2),
    transposed("3x3_depthwise", (3, 3), stride=(2, 1), groups=3, per_channel=True),
    transposed("3x3_depth_multiplier_2", (2, 4), stride=(2, 2), groups=2, output_padding=(1, 0)),
    transposed("4x4_stride_2", (1, 2), (4, 4), stride=(2, 2), padding=(1, 1)),
    transposed("9x9_stride_2", (2, 1), (9, 9), stride=(2, 2), padding=(4, 4),
               output_padding=(1, 1)),
    transposed("2x5_stride_3x2", (2, 3), (2, 5), stride=(3, 2), padding=(0, 1)),
)  # fmt: skip


def bits(width: int, signed: bool = True) -> dict[str, object]:
    """Keywords that give a template a fixed width, without fraction bits."""
    return {"widths": (width, width), "fracs": (0, 0), "signed": signed}


def wide(name: str, op: Op, left: Template, right: Template) -> Case:
    """Case of a combination at a bound of some executor."""
    return Case(f"wide_{name}", op, (left, right))


def product(left: int, right: int) -> Case:
    """Case of a product of signed operands, whose accumulator has ``left + right`` bits."""
    return wide(f"multiply_{left}x{right}", Multiply(), image(2, **bits(left)),
                image(2, **bits(right)))  # fmt: skip


WIDE_CASES: Final[dict[int, tuple[Case, ...]]] = {
    31: (
        product(16, 15),
        wide("add_30", Add(), image(2, **bits(30)), image(2, **bits(30))),
        wide("subtract_30", Subtract(), image(2, **bits(30)), image(2, **bits(30))),
    ),
    32: (
        product(16, 16),
        wide("add_31", Add(), image(2, **bits(31)), image(2, **bits(31))),
        wide("subtract_unsigned_31", Subtract(), image(2, **bits(31, False)),
             image(2, **bits(31, False))),
    ),
    33: (
        product(17, 16),
        wide("add_32", Add(), image(2, **bits(32)), image(1, **bits(32))),
        wide("add_unsigned_31", Add(), image(2, **bits(31, False)), image(2, **bits(31, False))),
    ),
    40: (
        Case("wide_relu_40", Relu(), (image(2, **bits(40)),)),
        Case("wide_clamp_39", Clamp(-3e11, 4e11), (image(2, **bits(40)),)),
        Case("wide_max_pool_40", MaxPool((3, 3), (1, 1), (1, 1, 1, 1)), (image(2, **bits(40)),)),
        Case("wide_global_max_pool_40", GlobalMaxPool(), (image(2, **bits(40)),)),
        Case("wide_global_max_pool_39", GlobalMaxPool(), (image(2, **bits(39, False)),)),
        Case("wide_requantize_39", Requantize(), (image(2, **bits(39, False)),)),
    ),
    48: (product(24, 24),),
    52: (product(26, 26), wide("add_51", Add(), image(2, **bits(51)), image(2, **bits(51)))),
    53: (product(27, 26),),
    61: (Case("wide_global_max_pool_61", GlobalMaxPool(), (image(2, **bits(61)),)),),
    62: (product(31, 31), wide("add_61", Add(), image(2, **bits(61)), image(2, **bits(61)))),
    63: (
        product(32, 31),
        wide("add_62", Add(), image(2, **bits(62)), image(2, **bits(62))),
        wide("subtract_62", Subtract(), image(2, **bits(62)), image(2, **bits(62))),
        Case("wide_linear_48x12", Linear(), (vector(8, **bits(48)),
             constant("weight", 3, 8, **bits(12)))),
        wide("multiply_constant_47x16", Multiply(), image(2, **bits(47)),
             constant("factor", 2, 1, 1, **bits(16))),
    ),
}  # fmt: skip
"""Cases by the bits of their accumulator, at the bounds of int32, of float64 and of 63 bits."""


def build(
    case: Case,
    choices: Choices,
    *,
    modes: tuple[Rounding, Overflow] | None = None,
    pattern: Pattern | None = None,
    constant_pattern: Pattern | None = None,
    size: tuple[int, int] | None = None,
) -> Example:
    """Fill the templates of a case; what is not given is chosen."""
    size = size or (pick_size(case, choices, 0), pick_size(case, choices, 1))
    pattern = pattern or choices.pick(PATTERNS)
    constant_pattern = constant_pattern or choices.pick(PATTERNS)
    generator = np.random.default_rng(choices.integer(0, (1 << 32) - 1))
    values, constants, operands = [], [], []
    for position, template in enumerate(case.operands):
        if template.role == "value":
            value = Value(
                f"input{position}", symbolic_shape(template), pick_format(template, choices)
            )
            values.append(value)
            operands.append(Operand(value.shape, (value.format,)))
        else:
            constants.append(
                pick_constant(f"constant{position}", case.op, template, operands, choices,
                              generator, constant_pattern)
            )  # fmt: skip
            operands.append(Operand(template.shape, constants[-1].formats, constants[-1].data))
    result = pick_result(case.op.accumulator(*operands), choices, modes)
    names = [
        f"{'input' if template.role == 'value' else 'constant'}{position}"
        for position, template in enumerate(case.operands)
    ]
    graph = Graph(
        case.name,
        tuple(values),
        (Node("result", case.op, tuple(names), result),),
        ("result",),
        tuple(constants),
    )
    first, second = (
        tuple(fill(concrete_shape(value.shape, size), value.format, chosen, generator)
              for value in values)
        for chosen in (pattern, "random")
    )  # fmt: skip
    return Example(graph, (first, second), (pattern, constant_pattern), size)


def enumerated(case: Case) -> Iterator[Example]:
    """One example per pair of modes: all patterns and the smallest size among them."""
    choices = RandomChoices(np.random.default_rng(zlib.crc32(case.name.encode())))
    count = len(PATTERNS)
    for index, modes in enumerate(MODES):
        rounding, overflow = divmod(index, len(Overflow))
        yield build(
            case,
            choices,
            modes=modes,
            pattern=PATTERNS[(rounding + overflow) % count],
            constant_pattern=PATTERNS[0] if index % 2 else PATTERNS[index // 2 % count],
            size=case.smallest if index % 4 == 0 else None,
        )


def examples(case: Case) -> st.SearchStrategy[Example]:
    """Hypothesis strategy of examples of one case."""

    @st.composite
    def strategy(draw: st.DrawFn) -> Example:
        return build(case, DrawnChoices(draw))

    return strategy()


def any_example() -> st.SearchStrategy[Example]:
    """Hypothesis strategy of examples of any case, wide ones included."""
    cases = (*CASES, *itertools.chain.from_iterable(WIDE_CASES.values()))
    return st.sampled_from(cases).flatmap(examples)


def symbolic_shape(template: Template) -> Shape:
    """Shape of a template with extents for the free sizes."""
    return tuple(Extent(size) if isinstance(size, str) else size for size in template.shape)


def concrete_shape(shape: Shape, size: tuple[int, int]) -> tuple[int, ...]:
    """Shape at a height and width."""
    sizes = {"H": size[0], "W": size[1]}
    return tuple(item.evaluate(sizes) if isinstance(item, Extent) else item for item in shape)


def pick_size(case: Case, choices: Choices, axis: int) -> int:
    """Choose a height or width, from the smallest legal one to about nine."""
    smallest, multiple = case.smallest[axis], case.multiple
    return (
        choices.integer(smallest // multiple, max(9, smallest) // multiple) * multiple or multiple
    )


def pick_format(template: Template, choices: Choices, frac: int | None = None) -> Format:
    """Choose a format within the bounds of a template."""
    width = choices.integer(*template.widths)
    if frac is None:
        frac = choices.integer(*(template.fracs or (-6, width + 6)))
    signed = choices.pick((True, False)) if template.signed is None else template.signed
    return Format(width, frac, signed)


def pick_constant(
    name: str,
    op: Op,
    template: Template,
    before: Sequence[Operand],
    choices: Choices,
    generator: np.random.Generator,
    pattern: Pattern,
) -> Constant:
    """Choose formats and data of a constant; `before` are the operands that come before it."""
    shape = tuple(int(size) for size in template.shape)
    if template.role == "bias":
        fracs = np.broadcast_to(before[1].fracs + before[0].format.frac, shape)
        if len(set(fracs.tolist())) == 1:
            fracs = fracs[:1]
        formats = [pick_format(template, choices, int(frac)) for frac in fracs]
    elif template.per_channel:
        base = pick_format(template, choices)
        formats = [
            replace(pick_format(template, choices, base.frac + choices.integer(-3, 3)),
                    signed=base.signed)
            for _ in range(shape[0])
        ]  # fmt: skip
    else:
        formats = [pick_format(template, choices)]
    if isinstance(op, FunctionTable) and choices.pick((True, False)):
        return Constant(name, op.tabulate(before[0].format, formats[0]), tuple(formats))
    if len(formats) == 1:
        data = fill(shape, formats[0], pattern, generator)
        if isinstance(op, ChannelNormalization):
            data[0] = max(data[0], 1)  # a sum of entries must not be zero
    else:
        data = np.stack([fill(shape[1:], form, pattern, generator) for form in formats])
    return Constant(name, data, tuple(formats))


def pick_result(
    accumulator: Accumulator, choices: Choices, modes: tuple[Rounding, Overflow] | None = None
) -> Quantization:
    """Choose a result format near the accumulator's, so that rounding and overflow both matter."""
    rounding, overflow = modes or choices.pick(MODES)
    shift = choices.integer(-4, accumulator.bits + 2)
    kind = choices.integer(0, 7)
    if kind <= 4:
        width = min(max(accumulator.bits - shift - choices.integer(-1, 3), 1), 63)
    elif kind <= 6:
        width = choices.integer(1, 24)
    else:
        width = choices.integer(25, 63)
    signed = overflow is Overflow.WRAP_SIGN_MAGNITUDE or choices.integer(0, 3) > 0
    return Quantization(Format(width, accumulator.frac - shift, signed), rounding, overflow)


def fill(
    shape: tuple[int, ...], form: Format, pattern: Pattern, generator: np.random.Generator
) -> IntArray:
    """Raw integers of a format in a pattern."""
    if pattern == "random":
        return generator.integers(form.min_raw, form.max_raw, shape, np.int64, endpoint=True)
    level = {"largest": form.max_raw, "smallest": form.min_raw}.get(pattern, 0)
    data = np.full(shape, level, np.int64)
    if pattern == "impulse":
        where = int(generator.integers(data.size))
        data.reshape(-1)[where] = form.min_raw if generator.integers(2) else form.max_raw
    return data
