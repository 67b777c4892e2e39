"""Frames that the network does not take are refused by the registers, and the papers say so."""

from __future__ import annotations

from pathlib import Path

import pytest
import stage_graphs
from simulations import SIMULATIONS, bench_of, frames
from streaming_graphs import GraphBuilder

from fxp.formats import Format
from fxp.graph import Graph, ops
from fxp.graph.extents import Extent
from fxp.hls import Core, StreamingError, emit_rtl
from fxp.hls.rtl.frame_sizes import taken_sizes
from fxp.hls.rtl.streams import TakenSizes
from fxp.rtl_sim import Stalls
from fxp.rtl_sim.differences import output_difference
from fxp.rtl_sim.packing import input_beats, output_shape
from fxp.rtl_sim.script import HEIGHT, SIZE, STATUS, WIDTH, Script

ACT = Format(8, 4)
H, W = Extent("H"), Extent("W")


def unshuffled(factor: int = 2, stride: int = 1, size: tuple[Extent, Extent] = (H, W)) -> Graph:
    b = GraphBuilder("unshuffled", 1, Format(7, 4), size=size)  # type: ignore[arg-type]
    if stride > 1:
        weight = b.constant("weight", b.random.integers(-31, 32, (1, 1, 1, 1)), Format(6, 5))
        b.add(ops.Conv2d(stride=(stride, stride)), b.last, weight, target=ACT)
    b.add(ops.PixelUnshuffle(factor))
    b.conv(2, target=ACT)
    return b.graph()


@pytest.mark.parametrize(
    ("graph", "rows", "columns"),
    [
        (unshuffled(1), (1, (0,)), (1, (0,))),
        (unshuffled(2), (2, (0,)), (2, (0,))),
        (unshuffled(3), (3, (0,)), (3, (0,))),
        # A stride of 2 leaves (H + 1) // 2 rows, which are even for 3, 4, 7, 8 and so on.
        (unshuffled(2, stride=2), (4, (0, 3)), (4, (0, 3))),
        (unshuffled(1, size=(2 * H + 1, 4 * W)), (2, (1,)), (4, (0,))),
        (unshuffled(2, size=(2 * H, 6 * W)), (2, (0,)), (6, (0,))),
    ],
)
def test_which_sizes_a_network_takes(graph: Graph, rows, columns):
    assert taken_sizes(graph) == (TakenSizes(*rows), TakenSizes(*columns))


def test_what_registers_check():
    # Of multiples of 6 the even numbers; of multiples of 3 none.
    assert TakenSizes(6, (0,)).checked == TakenSizes(2, (0,))
    assert TakenSizes(3, (0,)).checked == TakenSizes(1, (0,))
    four = TakenSizes(4, (0, 3))
    assert four.checked == four
    assert four.mask == 0b1001
    assert [four.at_least(5), four.at_most(6)] == [7, 4]
    assert str(four) == "a number with the remainder 0 or 3 by 4"


def test_papers_say_which_sizes_are_taken(tmp_path: Path):
    graph = unshuffled(2, size=(2 * H, 6 * W))
    core = emit_rtl(graph, tmp_path / "core", max_width=20, max_height=9)
    assert (core.initial_width, core.initial_height) == (18, 8)
    assert Core.read(tmp_path / "core").taken == (TakenSizes(2, (0,)), TakenSizes(6, (0,)))
    sheet = (tmp_path / "core" / "README.md").read_text()
    assert "| Width | 6 to 20, a multiple of 6, of which the registers check only: a mul" in sheet
    assert "| Height | 2 to 9, a multiple of 2 |" in sheet
    header = (tmp_path / "core" / "fxp_registers.h").read_text()
    assert "#define FXP_MIN_WIDTH 6u\n" in header
    assert "/* widths are a multiple of 6: what is taken repeats after */\n" in header
    assert "#define FXP_WIDTH_PERIOD 6u\n" in header
    with pytest.raises(StreamingError, match="the width must be a multiple of 6; choose another"):
        emit_rtl(graph, tmp_path / "other", max_width=20, max_height=9, initial_size=(20, 8))
    # A network of fixed size takes that alone.
    core = emit_rtl(stage_graphs.unshuffled(), tmp_path / "fixed", max_width=64)
    assert (core.max_width, core.max_height, core.smallest) == (8, 6, (6, 8))
    assert "| Width | 8 alone |" in (tmp_path / "fixed" / "README.md").read_text()


def test_registers_refuse_what_the_engine_refuses(work_dir: Path):
    model, bench = bench_of(unshuffled(2), "icarus", work_dir, max_width=8, max_height=8)
    with pytest.raises(ValueError, match="size 5 is not a multiple of 2"):
        model.run_raw(frames(model, [(7, 5)], ["random"])[0])
    script = Script(Stalls(), patience=2000)
    script.reset()
    for address, value in ((SIZE, 5 << 16 | 7), (WIDTH, 7), (HEIGHT, 5), (SIZE, 4 << 16 | 7),
                           (SIZE, 1 << 16 | 1)):  # fmt: skip
        script.write(address, value)
        script.read(STATUS)
        script.write(STATUS, 0x1F)
        script.read(SIZE)
    script.write(SIZE, 4 << 16 | 6)
    image = frames(model, [(6, 4)], ["random"])[0]
    script.send(*input_beats(image, bench.core.input))
    rows, columns, *_ = output_shape(bench.core, 4, 6)
    script.drain(rows * columns)
    script.read(STATUS)
    log, _ = bench.run(script)
    SIMULATIONS["icarus"] += 1
    assert log.values == [1 << 4, 8 << 16 | 8] * 5 + [0]
    expected = [model.run(image).outputs[0]]
    assert output_difference(bench.core, log.results[0], [image], expected) is None
