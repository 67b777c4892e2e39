"""Cores with signs, whose wires and shared adders give the engine's integers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from simulations import bench_of, check, frames

import fxp
from fxp.models.recognition.binary import BinaryConv2d, XnorConv2d


def test_signs_at_and_around_zero(tmp_path: Path) -> None:
    """A layer of binary weights, one of signs, and the sign of zero of all three kinds."""
    torch.manual_seed(3)

    class Signs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = BinaryConv2d(1, 3, 3, padding=1, bias=False)
            self.second = XnorConv2d(3, 2, 3, padding=1, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x - 0.5)
            return torch.cat([self.second(y), torch.sign(y), torch.where(y > 0, 1.0, -1.0)], 1)

    model = fxp.quantize(
        Signs().eval(),
        [torch.rand(1, 1, 6, 6)],
        input_format=fxp.Format(3, 3, signed=False),
        output_format=fxp.Format(8, 4),
        effort="fast",
    )
    model, bench = bench_of(model, "icarus", tmp_path)
    images = frames(model, [(5, 4)], ["random"])
    # Some sums are zero: the third to the fifth channel hold their signs as torch has them.
    found = model.run_raw(images[0])
    assert {*np.unique(found[2:5] >> 4).tolist()} == {-1, 0, 1}
    check(bench, model, images)
    texts = [path.read_text() for path in tmp_path.rglob("*.sv")]
    assert any(re.search(r"^ +fxp_sequencer #", text, re.MULTILINE) for text in texts)
    assert not any(re.search(r"^ +fxp_dot(_folded)? #", text, re.MULTILINE) for text in texts)
