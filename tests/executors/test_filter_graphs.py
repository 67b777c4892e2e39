"""The graphs of the classical image operations on every executor, and what running them imports."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from cases import fill
from equality import check_engine, check_onnx, check_torch, run_oracle

from fxp.filters import (
    difference_of_gaussians,
    filter_graph,
    gabor,
    gamma_table,
    gaussian,
    laplacian,
    laplacian_of_gaussian,
    prewitt,
    pyramid_graph,
    rgb_to_ycbcr_graph,
    sobel,
    table_graph,
    ycbcr_to_rgb_graph,
)
from fxp.formats import Format, Overflow, Rounding
from fxp.graph import Graph

WORD = Format(16, 0)
RAW, PIXEL = Format(12, 0, signed=False), Format(16, 0, signed=False)

GRAPHS = {
    "sobel": filter_graph(sobel("x"), mode="convolution", channels=3),
    "prewitt": filter_graph(prewitt("y"), border="zero", output=Format(8, 0, False)),
    "laplacian": filter_graph(laplacian(), border="replicate", image_format=WORD),
    "gaussian": filter_graph(gaussian(1.4), border="reflect"),
    "gaussian_of_words": filter_graph(
        gaussian(1.0), image_format=WORD, rounding=Rounding.HALF_EVEN, border="reflect101"
    ),
    "log": filter_graph(laplacian_of_gaussian(1.0), border="replicate", output=Format(14, 2)),
    "dog": filter_graph(difference_of_gaussians(1.0), border="reflect", output=12),
    "gabor": filter_graph(
        gabor(1.5, 4.0, 0.6), border="zero", output=6, overflow=Overflow.WRAP, channels=2
    ),
    "even": filter_graph([[1, -2], [3, 4]], 2, anchor=(0, 1), border="reflect"),
    "row": filter_graph([[1, 2, 3, 4]], mode="convolution", border="replicate"),
    "column": filter_graph([[1], [0], [-1]], border="reflect101"),
    "pyramid": pyramid_graph(2, channels=3),
    "pyramid_reflect": pyramid_graph(3, border="reflect", rounding=Rounding.FLOOR),
    "pyramid_of_words": pyramid_graph(2, border="zero", image_format=WORD),
    "rgb_to_ycbcr": rgb_to_ycbcr_graph(),
    "ycbcr_to_rgb": ycbcr_to_rgb_graph(),
    "gamma": table_graph(gamma_table(2.2), channels=3),
    "gamma_of_raw_pixels": table_graph(gamma_table("5/11", RAW, PIXEL), RAW, PIXEL),
}


@pytest.mark.parametrize("size", [(11, 14), (9, 32), (40, 9)])
@pytest.mark.parametrize("name", GRAPHS)
def test_all_executors(name: str, size: tuple[int, int]) -> None:
    graph: Graph = GRAPHS[name]
    value = graph.inputs[0]
    assert value.format is not None
    generator = np.random.default_rng(len(name))
    shape = (int(value.shape[0]), *size)  # type: ignore[arg-type]
    for patterns in (("random", "largest"), ("smallest", "impulse")):
        batch = [(fill(shape, value.format, pattern, generator),) for pattern in patterns]
        expected = run_oracle(graph, batch)
        for result, arrays in zip(expected, batch, strict=True):
            check_engine(graph, result, arrays)
        check_torch(graph, expected, batch)
        check_onnx(graph, expected, batch)


def test_filters_need_no_torch() -> None:
    program = (
        "import sys, fxp, numpy as np; assert not {'numba', 'fxp.filters'} & {*sys.modules}; "
        "fxp.filter2d(np.zeros((8, 8), np.uint8), fxp.filters.gaussian(1.0)); "
        "fxp.gaussian_pyramid(np.zeros((8, 8), np.uint8), 1); "
        "fxp.filters.apply_table(np.zeros((8, 8), np.uint8), fxp.gamma_table(2.2)); "
        "assert not {'torch', 'onnx', 'PIL', 'skimage'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
