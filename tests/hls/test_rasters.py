"""Rasters that rows and columns are left out of, lags across them, blocks, and long literals."""

from __future__ import annotations

import numpy as np
import pytest
import stage_graphs

from fxp.hls.rtl.blocks import AxisTaps, block_matrix
from fxp.hls.rtl.emit import plan_graph
from fxp.hls.rtl.literals import packed
from fxp.hls.rtl.streams import WHOLE_FRAME, Kept, Lag, ModuleInstance, Path, Raster


@pytest.mark.parametrize(
    ("kept", "size", "count"),
    [
        (Kept(), 7, 7),
        (Kept(0, 2, 0), 7, 4),
        (Kept(0, 2, 1), 7, 3),
        (Kept(0, 2, 1), 8, 4),
        (Kept(1, 3, 0), 8, 3),
        (Kept(2, 1, 1), 4, 1),
        (Kept(2, 1, 1), 3, 0),
        (Kept(2, 2, 3), 1, 0),
    ],
)
def test_how_many_positions_remain(kept, size, count):
    assert kept.count(size) == count
    if count:
        # One position less, and as many no longer remain, or it was not the least size.
        assert kept.needed(count) <= size < kept.needed(count + 1)


def test_a_raster_follows_its_steps():
    half = (Kept(0, 2, 1), Kept(0, 2, 0))
    raster = Raster().reached(half).reached(half)
    assert raster.size(13, 13) == (3, 4)
    assert raster == Raster((half, half))
    assert not raster.one_beat
    whole = raster.reached((WHOLE_FRAME, WHOLE_FRAME))
    assert whole.one_beat
    assert whole.size(13, 13) == (1, 1)


def test_lags_add_up_over_rasters():
    half = (Kept(0, 2, 0), Kept(0, 2, 0))
    raster = Raster((half,))
    size = ("columns", "rows")
    early = Path("a", raster, (Lag(1, 1), Lag(0, 0)), 3, "tags", size)
    late = Path("b", raster, (Lag(0, 4), Lag(2, 1)), 9, "tags", size)
    assert early.behind(late) == Lag(1, 0)
    assert late.behind(early) == Lag(0, 3)
    # Two rows of the input for each row of the raster, and for each pixel at most.
    assert late.input_lag == Lag(2 * (2 + 1), 4)
    assert early.lag == Lag(0, 0)


def test_line_memories_of_a_coarser_raster_are_shorter():
    plan, _ = plan_graph(stage_graphs.unet(), max_width=64)
    windows = [
        item.parameters["MaxWidth"]
        for item in plan.items
        if isinstance(item, ModuleInstance) and item.module == "fxp_window"
    ]
    assert sorted({int(width) for width in windows}) == [16, 32, 64]


def test_a_linear_layer_behind_a_global_pool_shares_multipliers():
    plan, _ = plan_graph(stage_graphs.residual_classifier(), max_width=16)
    costs = {
        item.name: item.cost.multipliers for item in plan.items if isinstance(item, ModuleInstance)
    }
    # Six outputs of four weights each; a line has eight clocks.
    assert costs["u_v10_linear9_sums"] == 6


def test_pixels_of_a_block_read_their_own_taps():
    weight = np.array([[[[1, 2, 3]]]])
    rows = AxisTaps.of_convolution(2, 1, 1, 1, 0)
    columns = AxisTaps.of_convolution(2, 3, 1, 1, 1)
    assert columns.reads == (((-1, 0), (0, 1), (1, 2)), ((0, 0), (1, 1), (2, 2)))
    assert columns.blocks(2) == (-1, 1)
    # Three blocks of four pixels each, row by row; a result for each pixel of the block.
    assert block_matrix(weight, rows, columns, 2, 1).tolist() == [
        [0, 1, 0, 0, 2, 3, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 2, 0, 0, 3, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 2, 3, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 0],
    ]


def test_long_literals_are_several_side_by_side():
    assert packed([1, 2], 8) == "16'h201"
    text = packed([*[0] * 2047, 1, 2], 8)
    assert text.startswith("{8'h2, 16384'h1")
    assert text.endswith("0" * 100 + "}")
