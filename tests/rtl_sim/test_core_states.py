"""States that pass from frame to frame by pairs of streams, and several outputs."""

from __future__ import annotations

import numpy as np
import pytest
import stage_graphs
import streaming_graphs
from simulations import SIMULATIONS, bench_of, frame

from fxp.formats import Format
from fxp.graph import ops
from fxp.hls import Core, emit_rtl
from fxp.hls.boards import emit_board
from fxp.hls.rtl.emit import plan_graph
from fxp.hls.rtl.streams import StreamingError
from fxp.model import FixedModel
from fxp.rtl_sim import Stalls, cosim, full_frame
from fxp.rtl_sim.comparison import patience_of
from fxp.rtl_sim.differences import engine_results, results_difference
from fxp.rtl_sim.packing import input_beats
from fxp.rtl_sim.script import CONTROL, FRAMES, LAST, SIZE, STATUS, Log, Script, StreamLog

ENABLE, RESET = 1, 4
SHORT_LINE = 1


def script_for(core: Core, stalls: Stalls) -> Script:
    more = tuple(result.stream for result in core.more)
    loops = {state.stream: state.result for state in core.states}
    return Script(stalls, patience_of(core, stalls, 16), more=more, loops=loops)


def part(log: Log, first: int, count: int) -> Log:
    """Return some beats of every stream, counted from the end."""
    results = tuple(
        StreamLog(
            each.data[len(each.data) - first :][:count], None,
            each.flags[len(each.data) - first :][:count],
            each.clocks[len(each.data) - first :][:count],
        )
        for each in log.results
    )  # fmt: skip
    return Log(results, log.input_clocks, log.steps, log.violations)


def test_a_sequence_begins_with_every_reset(work_dir):
    model, bench = bench_of(stage_graphs.recurrent(), "icarus", work_dir, max_width=16)
    core, size = bench.core, (4, 3)
    frames = [frame(model, size, "random", number) for number in range(3)]
    script = script_for(core, Stalls("random25", "bursts", seed=1))
    script.reset()
    script.write(SIZE, 3 << 16 | 4)
    data, flags = input_beats(frames[0], core.input)
    script.send(data[:7], flags[:7])
    script.reset()
    script.write(SIZE, 3 << 16 | 4)
    for each in frames[:2]:
        script.send(*input_beats(each, core.input))
    counts = [24] * len(core.results)
    script.drain(*counts)
    script.read(FRAMES)
    script.read(STATUS)
    script.write(CONTROL, ENABLE | RESET)
    script.send(*input_beats(frames[2], core.input))
    script.drain(*(count + 12 for count in counts))
    script.read(FRAMES)
    log, _ = bench.run(script)
    SIMULATIONS["icarus"] += 1
    assert log.violations == ()
    assert log.values == [2, 0, 1]
    # Of the frame that the first reset cut off came what needs no pixels behind it.
    assert len(log.data) == 36
    first = engine_results(model, frames[:2])
    assert results_difference(core, part(log, 36, 24), frames[:2], first) is None
    again = engine_results(model, frames[2:])
    assert results_difference(core, part(log, 12, 12), frames[2:], again) is None


def test_states_stay_with_their_pixels_when_a_line_is_short(work_dir):
    model, bench = bench_of(stage_graphs.recurrent(), "icarus", work_dir, max_width=16)
    core = bench.core
    frames = [frame(model, (4, 3), "random", number) for number in range(3)]
    script = script_for(core, Stalls())
    script.reset()
    script.write(SIZE, 3 << 16 | 4)
    for number, each in enumerate(frames):
        data, flags = input_beats(each, core.input)
        if number == 1:
            # The second line has two pixels of four; the others are zeros.
            data, flags = np.delete(data, [6, 7], 0), np.delete(flags, [6, 7])
            flags[5] = LAST
            each[:, 1, 2:] = 0
        script.send(data, flags)
    script.drain(*[36] * len(core.results))
    script.read(STATUS)
    log, _ = bench.run(script)
    SIMULATIONS["icarus"] += 1
    assert log.values == [SHORT_LINE]
    assert results_difference(core, log, frames, engine_results(model, frames)) is None


def test_several_outputs_and_what_they_cannot_be(work_dir, tmp_path):
    graph = stage_graphs.several()
    model = FixedModel(graph)
    images = [frame(model, (8, 6), "photo", number) for number in range(2)]
    result = cosim(
        model, images, simulator="icarus", stalls="random25", work_dir=work_dir, raster=True,
        packing="ug934", max_width=16,
    )  # fmt: skip
    SIMULATIONS["icarus"] += 1
    assert result.bit_exact, str(result)
    assert [(each.scale, each.raster) for each in result.core.results.values()] == [
        (2, True), (1, False), (1, False), (1, False), (1, False),
    ]  # fmt: skip
    folder = tmp_path / "core"
    core = emit_rtl(graph, folder, max_width=16)
    assert Core.read(folder) == core
    sheet = (folder / "README.md").read_text()
    assert "| m_axis_max_pool3 | max_pool3 | 3 |" in sheet
    with pytest.raises(StreamingError, match="bypass"):
        emit_rtl(graph, tmp_path / "bypass", max_width=16, bypass=True)
    with pytest.raises(ValueError, match="m_axis_max_pool3"):
        full_frame(model, images[0])


def test_states_that_cannot_stream_are_refused_by_name(tmp_path):
    recurrent = FixedModel(stage_graphs.recurrent())
    images = [frame(recurrent, size, "random") for size in ((4, 3), (3, 3))]
    with pytest.raises(ValueError, match="one size"):
        cosim(recurrent, images, simulator="icarus")
    with pytest.raises(ValueError, match="no memory of frames"):
        emit_board(recurrent, tmp_path / "board", board="ulx3s-25f")
    for size, kept, words in (
        ((2, 3), False, "neither as large"),
        ((4, 6), True, "behind strides"),
    ):
        b = streaming_graphs.GraphBuilder("small", 1, Format(7, 4), size=(4, 6))
        state = b.state("memory", 1, Format(7, 4), size=size)
        if kept:
            b.add(ops.Add(), "image", state, target=Format(7, 4), name="sum")
            b.add(ops.MaxPool((2, 2), (2, 2)))
            b.add(ops.Nearest(2))
        else:
            b.add(ops.Nearest(2), state)
            b.add(ops.Add(), b.last, "image")
            b.add(ops.MaxPool((2, 2), (2, 2)), target=Format(7, 4))
        b.keep("memory")
        with pytest.raises(StreamingError, match=f"memory.*{words}"):
            plan_graph(b.graph(), max_width=16)
