"""Integers written by hand: sums, products and what is compared."""

from __future__ import annotations

from typing import Final

from golden_case import (
    HALF_AWAY,
    HALF_DOWN,
    HALF_EVEN,
    S8,
    S16,
    Constant,
    Golden,
    Value,
    column,
    row,
    signed,
    to,
    unsigned,
)

from fxp.graph.ops import (
    Add,
    Clamp,
    Conv2d,
    ConvTranspose2d,
    Linear,
    Multiply,
    Prelu,
    Relu,
    Requantize,
    Sign,
    SoftThreshold,
    Subtract,
)

CONVOLUTIONS: Final = (
    # Cross-correlation of the rows 000|1230|4560|7890 (one row of zeros above, one column to the
    # right) with [[1, -2], [3, 0]]:
    #    3 6 9 | 1-4+12 2-6+15 3+18 | 4-10+21 5-12+24 6+27  =  3 6 9 | 9 11 21 | 15 17 33
    # less 10: -7 -4 -1 | -1 1 11 | 5 7 23 with 1 + 1 fraction bits. Half of that, ties up:
    # -3.5 -2 -0.5 | -0.5 0.5 5.5 | 2.5 3.5 11.5. Four bits hold at most 7.
    Golden(
        "padding on two sides, ties of both signs, saturation",
        Conv2d(padding=(1, 0, 0, 1)),
        (
            Value([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]], signed(8, 1)),
            Constant([[[[1, -2], [3, 0]]]], signed(4, 1)),
            Constant([-10], signed(8, 2)),
        ),
        to(signed(4, 1)),
        [[[-3, -2, 0], [0, 1, 6], [3, 4, 7]]],
    ),
    # The corners of each channel: 1 + 2 + 3 - 4 = 2 with f = 0, and 5 - 2*8 = -11 with f = 1, which
    # is -5.5 and goes to the even neighbour.
    Golden(
        "groups, dilation, a format for each channel, ties to even",
        Conv2d(dilation=(2, 2), groups=2),
        (
            Value([[[1, 0, 2], [0, 0, 0], [3, 0, 4]], [[5, 9, 6], [9, 9, 9], [7, 9, 8]]], S8),
            Constant([[[[1, 1], [1, -1]]], [[[1, 0], [0, -2]]]], (signed(4, 0), signed(4, 1))),
        ),
        to(S8, HALF_EVEN),
        column(2, -6),
    ),
    # Reflected, the row 1 2 3 becomes 3 2 1 2 3; the taps 10 and 1 stand at columns 0 and 2.
    Golden(
        "reflect, stride",
        Conv2d(stride=(1, 2), padding=(0, 0, 2, 0), padding_mode="reflect"),
        (Value(row(1, 2, 3), S8), Constant([[[[10, 1]]]], S8)),
        to(S16),
        row(32, 12),
    ),
    # Replicated: 1 1 1 2 3.
    Golden(
        "replicate",
        Conv2d(stride=(1, 2), padding=(0, 0, 2, 0), padding_mode="replicate"),
        (Value(row(1, 2, 3), S8), Constant([[[[10, 1]]]], S8)),
        to(S16),
        row(11, 12),
    ),
    # Mirrored with the edge: 2 1 1 2 3.
    Golden(
        "symmetric",
        Conv2d(stride=(1, 2), padding=(0, 0, 2, 0), padding_mode="symmetric"),
        (Value(row(1, 2, 3), S8), Constant([[[[10, 1]]]], S8)),
        to(S16),
        row(21, 12),
    ),
    # Two input channels: 2*3 + 5*(-1) = 1 and -2*3 + 7*(-1) = -13.
    Golden(
        "sums over channels",
        Conv2d(),
        (Value(column(3, -1), S8), Constant([[[[2]], [[5]]], [[[-2]], [[7]]]], S8)),
        to(S16),
        column(1, -13),
    ),
    # x = 3, -2 with f = 1. First: 1*3 + 2*(-2) + 2 = 1 with f = 2, a quarter. Second:
    # -3*3 + 4*(-2) - 1 = -18 with f = 3, -2.25. With one fraction bit: 0.5 and -4.5.
    Golden(
        "ties up, a format for each feature",
        Linear(),
        (
            Value([3, -2], signed(6, 1)),
            Constant([[1, 2], [-3, 4]], (signed(4, 1), signed(4, 2))),
            Constant([2, -1], (signed(6, 2), signed(6, 3))),
        ),
        to(signed(6, 1)),
        [1, -4],
    ),
    Golden(
        "ties down",
        Linear(),
        (
            Value([3, -2], signed(6, 1)),
            Constant([[1, 2], [-3, 4]], (signed(4, 1), signed(4, 2))),
            Constant([2, -1], (signed(6, 2), signed(6, 3))),
        ),
        to(signed(6, 1), HALF_DOWN),
        [0, -5],
    ),
    # Output o reads 2*i + t = o: 10 | 20 | 30 + 20 | 40 | 60. One pixel is cropped in front
    # and behind, one added behind: 20 50 40 60.
    Golden(
        "stride, padding and output padding",
        ConvTranspose2d(stride=(1, 2), padding=(0, 1), output_padding=(0, 1)),
        (Value(row(1, 2), S8), Constant([[[[10, 20, 30]]]], S8)),
        to(S16),
        row(20, 50, 40, 60),
    ),
    # The sums 1 2 3+2 4 6 less 2, halved: -0.5 0 1.5 1 2.
    Golden(
        "bias and rounding",
        ConvTranspose2d(stride=(1, 2)),
        (
            Value(row(1, 2), signed(8, 1)),
            Constant([[[[1, 2, 3]]]], S8),
            Constant([-2], signed(8, 1)),
        ),
        to(S8),
        row(0, 0, 2, 1, 2),
    ),
    # Output channel first: 1*1 + 10*2 and 2*1 + 20*2; then -1*1 and -2*1.
    Golden(
        "sums over channels",
        ConvTranspose2d(),
        (
            Value(column(1, 2), S8),
            Constant([[[[1, 2]], [[10, 20]]], [[[-1, -2]], [[0, 0]]]], S8),
        ),
        to(S16),
        [[[21, 42]], [[-1, -2]]],
    ),
)

ARITHMETIC: Final = (
    # The example of docs/number-semantics.md, 5*4 + 3 = 23 with f = 4, and -5*4 + 2 = -18; without
    # the last two bits 5.75 and -4.5.
    Golden(
        "alignment, ties up",
        Add(),
        (Value([5, -5], signed(6, 2)), Value([3, 2], signed(6, 4))),
        to(signed(8, 2)),
        [6, -4],
    ),
    # One number for all pixels: 1 + 7, -8 + 7, with f = 0.
    Golden(
        "broadcast of a constant",
        Add(),
        (Value(row(1, -8), signed(4, 0)), Constant([[[7]]], signed(4, 0))),
        to(signed(4, 0)),
        row(7, -1),
    ),
    # 5*4 - 3 = 17 and -5*4 + 6 = -14; 4.25 and -3.5, the tie away from zero.
    Golden(
        "alignment, ties away from zero",
        Subtract(),
        (Value([5, -5], signed(6, 2)), Value([3, -6], signed(6, 4))),
        to(signed(8, 2), HALF_AWAY),
        [4, -4],
    ),
    # First minus second: 3 - 1 and 3 - 5, which no unsigned format holds.
    Golden(
        "constant first, unsigned result",
        Subtract(),
        (Constant([3], S8), Value([1, 5], S8)),
        to(unsigned(8, 0)),
        [2, 0],
    ),
    # 15 and -15 with f = 6, halved: 7.5 and -7.5.
    Golden(
        "ties up",
        Multiply(),
        (Value([5, -5], signed(6, 2)), Value([3, 3], signed(6, 4))),
        to(signed(8, 5)),
        [8, -7],
    ),
    Golden(
        "ties to even, one factor for all",
        Multiply(),
        (Value([5, -5, 7], signed(6, 2)), Constant([3], signed(6, 4))),
        to(signed(8, 5), HALF_EVEN),
        [8, -8, 10],  # 21/2 = 10.5
    ),
    # -3 0 5 with f = 1 are -1.5 0 2.5.
    Golden("ties up", Relu(), (Value([-3, 0, 5], signed(6, 1)),), to(S8), [0, 0, 3]),
    Golden("ties down", Relu(), (Value([-3, 0, 5], signed(6, 1)),), to(S8, HALF_DOWN), [0, 0, 2]),
    # The bounds in steps of a half: -0.625 is -1.25 steps, so -1; 1.25 is 2.5 steps, so 3, a tie
    # that goes up.
    Golden(
        "bounds rounded half up",
        Clamp(-0.625, 1.25),
        (Value([-5, -1, 0, 2, 3, 7], signed(4, 1)),),
        to(signed(4, 1)),
        [-1, -1, 0, 2, 3, 3],
    ),
    # -0.75 is -1.5 steps, so -1.
    Golden(
        "low bound alone, a negative tie",
        Clamp(low=-0.75),
        (Value([-5, -1, 7], signed(4, 1)),),
        to(signed(4, 1)),
        [-1, -1, 7],
    ),
    # Three unsigned bits, 0 to 7: neither bound is reached.
    Golden(
        "bounds beyond the format",
        Clamp(-2.0, 9.0),
        (Value([0, 3, 7], unsigned(3, 0)),),
        to(unsigned(3, 0)),
        [0, 3, 7],
    ),
    # 2.75 is cut to 2.5, a tie that goes down; rounded first, it would be 3.
    Golden(
        "bounds before rounding",
        Clamp(high=2.5),
        (Value([11, -10], signed(6, 2)),),
        to(S8, HALF_DOWN),
        [2, -3],  # -2.5
    ),
    # Slope 0.75, raw 3 with f = 2. Accumulators with f = 3: -3*3, 3*4, -2*3; without the last two
    # bits -2.25, 3, -1.5. Slope -0.25: 3, 12, 2, so 0.75, 3, 0.5.
    Golden(
        "a slope for each channel",
        Prelu(),
        (
            Value([[[-3, 3, -2]], [[-3, 3, -2]]], signed(4, 1)),
            Constant([3, -1], signed(4, 2)),
        ),
        to(signed(8, 1)),
        [[[-2, 3, -1]], [[1, 3, 1]]],
    ),
    # -2.5 -1.5 -0.5 0.5 1.5 2.5
    Golden(
        "ties up",
        Requantize(),
        (Value([-10, -6, -2, 2, 6, 10], signed(6, 2)),),
        to(S8),
        [-2, -1, 0, 1, 2, 3],
    ),
    # Times four, and three bits hold -4 to 3.
    Golden(
        "more fraction bits, saturation",
        Requantize(),
        (Value([-2, -1, 0, 1], S8),),
        to(signed(3, 2)),
        [-4, -4, 0, 3],
    ),
    # x*2: -10 -2 0 6 14 with f = 2; max(x - 3, 0) - max(-x - 3, 0) = -7 0 0 3 11; halved
    # -3.5 0 0 1.5 5.5.
    Golden(
        "alignment, ties up",
        SoftThreshold(),
        (Value([-5, -1, 0, 3, 7], signed(4, 1)), Constant([3], signed(4, 2))),
        to(signed(8, 1)),
        [-3, 0, 0, 2, 6],
    ),
    # Threshold -3 for x = -5, 1: max(x + 3, 0) - max(-x + 3, 0) = 0 - 8 and 4 - 2. Threshold 100,
    # beyond the largest magnitude 8: nothing is left. -100 gives what -8 gives: 11 - 5 and 0 - 16.
    Golden(
        "negative and large thresholds",
        SoftThreshold(),
        (
            Value([[[-5, 1]], [[-8, 7]], [[3, -8]]], signed(4, 0)),
            Constant([-3, 100, -100], S8),
        ),
        to(S8),
        [[[-8, 2]], [[0, 0]], [[6, -16]]],
    ),
    Golden(
        "sign as torch has it",
        Sign(),
        (Value([-8, -1, 0, 1, 7], signed(4, 2)),),
        to(S8),
        [-1, -1, 0, 1, 1],
    ),
    Golden(
        "sign, one at zero",
        Sign(1),
        (Value([-8, -1, 0, 1, 7], signed(4, 2)),),
        to(S8),
        [-1, -1, 1, 1, 1],
    ),
    Golden(
        "sign, minus one at zero",
        Sign(-1),
        (Value([-8, -1, 0, 1, 7], signed(4, 2)),),
        to(signed(8, 1)),
        [-2, -2, -2, 2, 2],
    ),
)
