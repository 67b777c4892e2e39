"""The page on filters says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import fxp.filters
from fxp.filters.colour import rgb_to_ycbcr_graph, ycbcr_to_rgb_graph
from fxp.filters.filtering import PADDING_MODES
from fxp.graph.ops.padding import NUMPY_MODES

PAGE = (Path(__file__).parents[2] / "docs" / "filters.md").read_text(encoding="utf-8")


def rows(first_heading: str) -> list[list[str]]:
    """Cells of the table whose first column has that heading."""
    found = re.search(rf"^\| ?{first_heading} \|.*\n(?:\|.*\n)+", PAGE, re.MULTILINE)
    assert found is not None
    return [[cell.strip(" `") for cell in line.strip("|").split("|")]
            for line in found[0].splitlines()[2:]]  # fmt: skip


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "filters.md", "exec"), names)
    assert names["smooth"].dtype == np.uint8
    assert names["edges"].dtype == np.int16
    assert np.array_equal(fxp.load("gaussian.fxp").run_raw(names["image"]), names["smooth"])


def test_borders() -> None:
    table = rows("`border`")
    assert {row[0].split("`")[0]: row[4] for row in table} == PADDING_MODES
    for row in table:
        sides, numpy_mode = row[1], row[2]
        assert NUMPY_MODES[row[4]] == numpy_mode
        codes = {letter: position for position, letter in enumerate("0abcd")}
        expected = [codes[letter] for letter in sides.replace("│", "")]
        assert np.pad([1, 2, 3, 4], 3, mode=numpy_mode).tolist() == expected
        padded = fxp.filter2d([[1, 2, 3, 4]], [[0, 0, 0, 0, 0, 0, 1]],
                              border=row[0].split("`")[0],
                              image_format=fxp.Format(8, 0))  # fmt: skip
        assert padded[0].tolist() == expected[6:]


def test_colour_coefficients() -> None:
    table = [[cell.replace("\N{MINUS SIGN}", "-") for cell in row] for row in rows("")]
    written = [[int(cell) for cell in row[1:4]] for row in table]
    offsets = [int(row[4].replace(" · 2¹⁶", "")) << 16 * ("·" in row[4]) for row in table]
    for graph, part in ((rgb_to_ycbcr_graph(), slice(0, 3)), (ycbcr_to_rgb_graph(), slice(3, 6))):
        matrix, bias = (constant.data for constant in graph.constants)
        assert matrix[:, :, 0, 0].tolist() == written[part]
        assert bias.tolist() == offsets[part]


def test_every_kind_of_taps_is_listed() -> None:
    listed = {row[0].partition("(")[0] for row in rows("Taps")}
    assert listed == {
        "sobel", "prewitt", "laplacian", "gaussian", "laplacian_of_gaussian",
        "difference_of_gaussians", "gabor",
    }  # fmt: skip
    assert listed <= {*fxp.filters.__all__}
