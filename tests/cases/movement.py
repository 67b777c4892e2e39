"""Cases of ops that move, choose or repeat pixels, of pooling and of resampling."""

from __future__ import annotations

from typing import Final

from cases.templates import Case, image, vector
from fxp.graph.ops import (
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Concat,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    MaxPool,
    MaxPoolIndices,
    MaxUnpool,
    Nearest,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Slice,
)


def unpool(name: str, op: MaxUnpool, smallest: tuple[int, int] = (1, 1)) -> Case:
    """Case of an unpooling; some of the indices name no tap."""
    indices = image(3, widths=(2, 4), fracs=(0, 0))
    return Case(f"max_unpool_{name}", op, (image(3), indices), smallest)


MOVEMENT: Final[tuple[Case, ...]] = (
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
)  # fmt: skip
