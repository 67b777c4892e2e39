"""Networks that Brevitas trained and wrote come in with its own integers.

``brevitas_files.py`` made the files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fxp
from fxp import Format, Rounding
from fxp.executors import oracle
from fxp.formats import quantize
from fxp.hls import emit_rtl

FOLDER = Path(__file__).parent / "brevitas"


@pytest.mark.parametrize("name", ["denoiser", "classifier"])
def test_every_integer_is_that_of_brevitas(name: str) -> None:
    model = fxp.from_quantized_onnx(FOLDER / f"{name}.onnx")
    stored = np.load(FOLDER / f"{name}.npz")
    start = model.graph.inputs[0].format
    end = model.graph.values[model.graph.outputs[0]].format
    assert start is not None
    assert end is not None
    for x, y in zip(stored["x"], stored["y"], strict=True):
        raw = quantize(x.astype(np.float64), start, Rounding.HALF_EVEN)
        (found,) = oracle.run(model.graph, [raw]).outputs
        assert (np.ldexp(y.astype(np.float64), end.frac) == found).all()
    assert len(np.unique(stored["y"])) > 10


def test_formats_are_those_of_the_training(tmp_path: Path) -> None:
    model = fxp.from_quantized_onnx(FOLDER / "denoiser.onnx")
    weights = [constant for constant in model.graph.constants if constant.data.ndim == 4]
    assert [len(constant.formats) for constant in weights] == [4, 4, 1]
    assert {form.width for constant in weights for form in constant.formats} == {4}
    # Scales that are powers of two use at least half of the integers from -7 to 7.
    assert all(4 <= np.abs(constant.data).max() <= 7 for constant in weights)
    relu = [node for node in model.graph.nodes if node.op.name == "relu"]
    for node in relu:
        assert node.quantization is not None
        form = node.quantization.format
        assert form == Format(6, form.frac, signed=False)
        assert node.quantization.rounding is Rounding.HALF_EVEN
    core = emit_rtl(model, tmp_path / "core", max_width=12, max_height=12)
    assert core.latency_clocks > 0
