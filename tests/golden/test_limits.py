"""Limits of attributes, as numbers: the last that is taken, and the first that is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fxp.formats import Format, Quantization
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.ops import (
    AveragePool,
    Clamp,
    Conv2d,
    ConvTranspose2d,
    LocalResponseNorm,
    MaxPool,
    MaxUnpool,
    Nearest,
    Op,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Prelu,
    SoftThreshold,
)
from fxp.graph.ops.base import GraphError

LIMITS: tuple[tuple[Callable[[int], Op], tuple[int, ...], tuple[int, ...]], ...] = (
    (lambda n: PixelShuffle(n), (1, 64), (0, 65)),
    (lambda n: PixelUnshuffle(n), (1, 64), (0, 65)),
    (lambda n: Nearest(n), (1, 64), (0, 65)),
    (lambda n: Pad((n, 0, 0, 0)), (0, 1048575), (-1, 1048576)),
    (lambda n: Pad((0, 0, 0, n)), (0, 1048575), (-1, 1048576)),
    (lambda n: LocalResponseNorm(size=n), (1, 1048576), (0, 1048577)),
    (lambda n: LocalResponseNorm(alpha=n / 2), (0, 1), (-1,)),
    (lambda n: LocalResponseNorm(k=n / 2), (1,), (0, -1)),
    (lambda n: AveragePool((n, 256)), (1, 256), (0, 257)),
    (lambda n: AveragePool((2, 2), (1, n)), (1,), (0,)),
    (lambda n: MaxPool((2, 3), (1, 1), (n, 0, 0, 0)), (0, 1), (-1, 2)),
    (lambda n: MaxPool((2, 3), (1, 1), (0, n, 0, 0)), (0, 1), (-1, 2)),
    (lambda n: MaxPool((2, 3), (1, 1), (0, 0, n, 0)), (0, 2), (-1, 3)),
    (lambda n: MaxPool((2, 3), (1, 1), (0, 0, 0, n)), (0, 2), (-1, 3)),
    (lambda n: MaxUnpool((2, 3), (2, n)), (3,), (2,)),
    (lambda n: MaxUnpool((2, 3), (n, 3)), (2,), (1,)),
    (lambda n: MaxUnpool((2, 2), (2, 2), (0, 0, 0, 0), (n, 0)), (0, 1048575), (-1, 1048576)),
    (lambda n: Conv2d(stride=(n, 1)), (1,), (0,)),
    (lambda n: Conv2d(dilation=(1, n)), (1,), (0,)),
    (lambda n: Conv2d(groups=n), (1,), (0,)),
    (lambda n: ConvTranspose2d(stride=(1, n)), (1,), (0,)),
    (lambda n: ConvTranspose2d(groups=n), (1,), (0,)),
    (lambda n: Clamp(1.0, n / 2), (2,), (1,)),
)


@pytest.mark.parametrize(("build", "taken", "refused"), LIMITS)
def test_attributes_are_taken_up_to_their_limits(
    build: Callable[[int], Op], taken: tuple[int, ...], refused: tuple[int, ...]
) -> None:
    for number in taken:
        assert isinstance(build(number), Op)
    for number in refused:
        with pytest.raises(GraphError):
            build(number)


def one_node(op: Op, source: Format, constant: Format) -> Graph:
    """An op of a vector and a constant 1."""
    node = Node("y", op, ("x", "k"), Quantization(Format(8, 0)))
    constants = (Constant("k", np.array([1]), (constant,)),)
    return Graph("limits", (Value("x", (1,), source),), (node,), ("y",), constants)


def test_slopes_have_0_to_62_fraction_bits() -> None:
    bit = Format(1, 0)  # -1 and 0, so that the shift fits the accumulator
    assert one_node(Prelu(), bit, Format(2, 0)).is_integer
    with pytest.raises(GraphError, match="0 to 62 fraction bits, got -1"):
        one_node(Prelu(), bit, Format(2, -1))
    with pytest.raises(GraphError, match="0 to 62 fraction bits, got 63"):
        one_node(Prelu(), bit, Format(2, 63))


def test_differences_of_a_soft_threshold_have_at_most_62_bits() -> None:
    # The magnitude of a signed format of 60 bits, 2^59, has 60; one more for the sign, one for the
    # difference.
    assert one_node(SoftThreshold(), Format(60, 0), Format(8, 0)).is_integer
    with pytest.raises(GraphError, match="needs 63 bits; at most 62"):
        one_node(SoftThreshold(), Format(61, 0), Format(8, 0))
