"""Weights that are all ``a`` or ``-a`` in a channel stay so, whatever quantization does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import fxp
from fxp.quantization.constants import alike_in_size, rows_of_one_size


def test_rows_of_one_size() -> None:
    weight = np.array([[0.5, -0.5, 0.0], [0.5, 0.25, 0.5], [0.0, 0.0, 0.75], [0.0, 0.0, 0.0]])
    # A single weight is not a pattern, and neither are zeros.
    assert rows_of_one_size(weight).tolist() == [True, False, False, False]
    # Layers of one sign are averages, say, and no binary network.
    assert not rows_of_one_size(np.ones((2, 3))).any()
    assert not rows_of_one_size(-np.ones((2, 3))).any()


def test_halves_and_the_most_negative_number_are_alike() -> None:
    values = np.array([[2.5, -2.5, 0.0], [511.8, -511.8, -511.8], [2.5, -2.5, 1.0]])
    raws = np.array([[3, -2, 0], [511, -512, -512], [3, -2, 1]])
    assert alike_in_size(values, raws).tolist() == [[2, -2, 0], [511, -511, -511], [3, -2, 1]]


class Binary(nn.Module):
    """A layer of ``a * sign(w)`` behind channels of very different size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(1, 6, 3)
        with torch.no_grad():
            self.first.weight *= torch.tensor([1.0, 30.0, 0.02, 5.0, 0.3, 100.0]).reshape(
                6, 1, 1, 1
            )
        self.weight = nn.Parameter(torch.randn(4, 6, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = self.weight.abs().mean((1, 2, 3), keepdim=True)
        signs = torch.where(self.weight >= 0, 1.0, -1.0)
        return nn.functional.conv2d(torch.relu(self.first(x)), size * signs)


@pytest.mark.parametrize(
    "options",
    [{}, {"weight_rounding": "learned", "equalization": True}],
    ids=str,
)
def test_refinements_leave_sizes_alike(options: dict) -> None:
    images = [torch.rand(1, 1, 12, 12) for _ in range(4)]
    model = fxp.quantize(Binary().eval(), images, **options)
    weight = model.graph.constants_by_name[model.graph.nodes[-1].inputs[1]].data
    assert weight.shape == (4, 6, 3, 3)
    for row in weight:
        assert len(np.unique(np.abs(row))) == 1
        assert {*np.sign(row).ravel().tolist()} == {-1, 1}
