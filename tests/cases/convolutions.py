"""Cases of convolutions and transposed convolutions."""

from __future__ import annotations

from typing import Final

from cases.templates import Case, constant, image
from fxp.graph.ops import Conv2d, ConvTranspose2d


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


CONVOLUTIONS: Final[tuple[Case, ...]] = (
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
)  # fmt: skip


TRANSPOSED_CONVOLUTIONS: Final[tuple[Case, ...]] = (
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
