"""Bands of rows give what the whole image gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from fxp.graph.ops import double_convolution

SHAPES = [
    ((2, 3, 11, 13), (4, 3, 3, 3), (1, 1), (1, 1)),
    ((1, 2, 12, 9), (1, 2, 3, 2), (2, 3), (1, 1)),
    ((1, 2, 14, 9), (3, 2, 2, 3), (3, 1), (4, 2)),
    ((1, 1, 5, 6), (1, 1, 4, 1), (1, 1), (1, 1)),
]


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize(("image", "weight", "stride", "dilation"), SHAPES)
def test_bands_are_exact(
    rows: int,
    image: tuple[int, ...],
    weight: tuple[int, ...],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole numbers, whose sums float64 holds exactly."""
    generator = np.random.default_rng(0)
    values, weights, bias = (
        torch.from_numpy(generator.integers(-(2**20), 2**20, shape).astype(float))
        for shape in (image, weight, weight[:1])
    )
    wanted = functional.conv2d(values, weights, bias, stride, dilation=dilation)
    row = 8 * weight[1] * weight[2] * weight[3] * wanted.shape[3]
    monkeypatch.setattr(double_convolution, "WHOLE_BYTES", row)
    monkeypatch.setattr(double_convolution, "BAND_BYTES", rows * row)
    calls = []
    whole = functional.conv2d

    def counted(*arguments, **options):
        calls.append(1)
        return whole(*arguments, **options)

    monkeypatch.setattr(double_convolution.torch_functional, "conv2d", counted)
    with torch.no_grad():
        found = double_convolution.conv2d(values, weights, bias, stride, dilation, 1)
    assert torch.equal(found, wanted)
    assert len(calls) == -(-wanted.shape[2] // rows)


def test_only_large_images_without_gradients_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(
        double_convolution.torch_functional, "conv2d", lambda *args, **options: calls.append(args)
    )
    image, weight = torch.zeros(1, 64, 100, 100), torch.zeros(8, 64, 5, 5)
    double = image.double(), weight.double()

    def count(values: torch.Tensor, weights: torch.Tensor, groups: int = 1) -> int:
        calls.clear()
        monkeypatch.setattr(torch, "cat", lambda parts, axis: parts)
        double_convolution.conv2d(values, weights, None, (1, 1), (1, 1), groups)
        return len(calls)

    assert count(*double) == 1
    with torch.no_grad():
        # A row of copies: 64 * 25 * 96 * 8 bytes; 4 MiB hold three of 96 rows.
        assert count(*double) == 32
        assert count(image, weight) == 1
        assert count(double[0][:, :, :12], double[1]) == 1
        assert count(double[0], double[1][:, :1], groups=64) == 1
        assert count(double[0], double[1][:, :, :1, :1]) == 1
