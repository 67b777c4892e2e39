"""The streams at the ports of a core: which values they carry, and what they cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import gcd
from typing import Final, get_args

from fxp.graph import Graph, State, Value
from fxp.hls.refusals import ELSEWHERE
from fxp.hls.rtl.core import Core, Packing, ResultStream, StateStream, StreamPort
from fxp.hls.rtl.literals import identifier
from fxp.hls.rtl.planning import CorePlan
from fxp.hls.rtl.streams import Cost, Lag, Path, PlannedValue, Raster, StreamingError, ValueBus
from fxp.hls.rtl.windows import window

MAX_STATE_SCALE: Final = 8
"""Largest enlargement at which a state may be kept."""


def check_graph(graph: Graph) -> Value:
    """Return the input of a graph; raises StreamingError if its interface cannot stream."""
    if not graph.is_integer:
        raise StreamingError(f"graph {graph.name!r} is not quantized: a core needs integers")
    if len(graph.inputs) != 1:
        raise StreamingError(
            f"graph {graph.name!r} has {len(graph.inputs)} inputs; a core has one image as input"
        )
    source = graph.inputs[0]
    if len(source.shape) != 3:
        raise StreamingError(f"input {source} is no image")
    return source


def input_values(
    graph: Graph, plan: CorePlan, path: Path, *, subsampled: bool = False
) -> list[PlannedValue]:
    """Return the values at the input: the image, and what the frame before left.

    Parameters
    ----------
    graph
        The integer graph.
    plan
        The plan, empty so far.
    path
        The path of the input.
    subsampled
        Whether the image is YCbCr whose pixels bring Cb and Cr in turn.

    Raises
    ------
    StreamingError
        If the image has no three channels, but is to be YCbCr.
    """
    result = []
    wires = ["sequencer_data", *(f"state{number}_data" for number in range(len(graph.states)))]
    values = [graph.inputs[0], *(state.value for state in graph.states)]
    scales = [1, *(_state_scale(graph, state) for state in graph.states)]
    for wire, value, scale in zip(wires, values, scales, strict=True):
        form, channels = value.format, value.shape[0]
        assert form is not None
        assert isinstance(channels, int)
        stream = ValueBus(wire, channels, form.width, form.signed, scale, path, 0)
        if subsampled and not result:
            stream = _whole_chroma(plan, stream)
        result.append(PlannedValue(value.name, stream, form))
    return result


def _whole_chroma(plan: CorePlan, image: ValueBus) -> ValueBus:
    """Return an image of three channels of the two that come: Y, and Cb and Cr in turn."""
    if image.channels != 3:
        raise StreamingError(
            f"YCbCr 4:2:2 is taken for a network with three channels as input, not {image.channels}"
        )
    pixels = replace(image, channels=2)
    taps = window(plan, pixels, (1, 3), (1, 1), (0, 1), border="replicate")
    wire = plan.wire("chroma", image.bits)
    plan.instance(
        "fxp_chroma",
        wire,
        {"Width": image.width},
        {
            "clk_i": "aclk",
            "tags_i": plan.tags(taps.path, taps.latency),
            "taps_i": taps.wire,
            "data_o": wire,
        },
        Cost(registers=image.bits + 1),
    )
    return replace(image, wire=wire, path=taps.path, latency=taps.latency + 1)


def _state_scale(graph: Graph, state: State) -> int:
    """Return how many times larger than the input a state is."""
    shape, (_, rows, columns) = state.value.shape, graph.inputs[0].shape
    for scale in range(1, MAX_STATE_SCALE + 1):
        if tuple(shape[1:]) == (rows * scale, columns * scale):
            return scale
    raise StreamingError(
        f"the state {state.value} of {graph.name!r} is neither as large as the input nor larger by "
        f"a whole factor, so it cannot come with the pixels: keep the state at the size of the "
        f"input; {ELSEWHERE}"
    )


def result_values(graph: Graph) -> list[str]:
    """Return the names of the values that leave a core: the outputs, then the next states."""
    return [*graph.outputs, *(state.source for state in graph.states)]


def check_states(graph: Graph, planned: Mapping[str, PlannedValue]) -> None:
    """Raise StreamingError if a new state does not come at the pixels that the old one comes with.

    Parameters
    ----------
    graph
        The integer graph.
    planned
        Its values.
    """
    for state in graph.states:
        old, new = planned[state.value.name].stream, planned[state.source].stream
        if new.path.raster != Raster() or new.scale != old.scale:
            raise StreamingError(
                f"the state {state.value.name!r} of {graph.name!r} is computed behind strides, "
                f"poolings or crops, so its pixels do not come with those of the input; {ELSEWHERE}"
            )


def flush_lag(results: Sequence[PlannedValue]) -> Lag:
    """Return the beats of the input that must follow a frame until all results have left.

    Parameters
    ----------
    results
        What leaves the core.
    """
    lags = [item.stream.path.input_lag for item in results]
    return Lag(max(lag.lines for lag in lags), max(lag.pixels for lag in lags))


def value_port(value: Value, packing: str, *, subsampled: bool = False) -> StreamPort:
    """Return how a value lies on a stream.

    Parameters
    ----------
    value
        The value.
    packing, subsampled
        As for `fxp.hls.emit_rtl`.
    """
    form, channels = value.format, 2 if subsampled else value.shape[0]
    assert form is not None
    assert isinstance(channels, int)
    return StreamPort(
        value.name, channels, form.width, form.frac, form.signed, -(-form.width // 8),
        packed=packing == "ug934", subsampled=subsampled,
    )  # fmt: skip


def _names(graph: Graph) -> list[str]:
    """Return a name for every stream beside the first ones: of outputs, then of states."""
    names: list[str] = []
    for value in (*graph.outputs[1:], *(state.value.name for state in graph.states)):
        base = name = identifier(value).lower()
        count = 1
        while name in names:
            count += 1
            name = f"{base}_{count}"
        names.append(name)
    return names


def result_streams(
    graph: Graph, plan: CorePlan, packing: str, raster: bool, pixels_per_beat: int | None
) -> tuple[ResultStream, ...]:
    """Return the streams of results beside the first.

    Parameters
    ----------
    graph
        The integer graph.
    plan
        Its plan.
    packing, raster, pixels_per_beat
        As for `fxp.hls.emit_rtl`. An image that is not enlarged is in raster order anyway, and
        states are kept in blocks.
    """
    result = []
    outputs = len(graph.outputs) - 1
    for number, (name, item) in enumerate(zip(_names(graph), plan.more, strict=True)):
        stream = item.stream
        lines = number < outputs and stream.scale > 1 and (raster or pixels_per_beat is not None)
        port = value_port(graph.values[item.value], packing)
        result.append(
            ResultStream(
                f"m_axis_{name}", port, stream.scale, stream.path.raster.steps, lines,
                (pixels_per_beat or 0) if lines else 0,
            )
        )  # fmt: skip
    return tuple(result)


def state_streams(graph: Graph, plan: CorePlan, packing: str) -> tuple[StateStream, ...]:
    """Return the streams that bring states back.

    Parameters
    ----------
    graph
        The integer graph.
    plan
        Its plan.
    packing
        As for `fxp.hls.emit_rtl`.
    """
    names = _names(graph)[len(graph.outputs) - 1 :]
    return tuple(
        StateStream(
            f"s_axis_{name}", f"m_axis_{name}", value_port(state.value, packing), stream.scale,
            int(state.reset),
        )
        for name, state, stream in zip(names, graph.states, plan.states, strict=True)
    )  # fmt: skip


def check_bypass(core: Core) -> None:
    """Raise StreamingError if copies of the input cannot take the place of a core's results."""
    if core.input.subsampled:
        raise StreamingError("a bypass copies RGB or grey, not YCbCr 4:2:2: do without the bypass")
    if core.more:
        raise StreamingError(
            "a bypass copies the input to one output, and this core has more streams of results: "
            "do without the bypass"
        )
    source, result = core.input, core.output
    if core.steps:
        raise StreamingError(
            "a bypass copies each input pixel to a block of the output, and this network leaves "
            "rows and columns out: do without the bypass"
        )
    if (source.width, source.frac, source.signed) != (result.width, result.frac, result.signed):
        raise StreamingError(
            f"a bypass copies the input {source.name!r} to the output {result.name!r}, so both "
            "must have the same format; quantize with output_format equal to input_format"
        )
    if source.channels not in (1, result.channels):
        raise StreamingError(
            f"a bypass copies {source.channels} channels to {result.channels}: there must be as "
            "many, or one"
        )


def check_streams(core: Core, packing: str, pixels_per_beat: int | None) -> None:
    """Raise StreamingError if beats cannot have that form.

    Parameters
    ----------
    core
        The core.
    packing, pixels_per_beat
        As for `fxp.hls.emit_rtl`.
    """
    if packing not in get_args(Packing):
        raise StreamingError(
            f"packing must be one of {', '.join(get_args(Packing))}, got {packing!r}"
        )
    block = gcd(*(result.scale**2 for result in core.results.values() if result.raster))
    possible = [count for count in (1, 2, 4) if block % count == 0]
    if pixels_per_beat is not None and pixels_per_beat not in possible:
        raise StreamingError(
            f"pixels_per_beat must be one of {', '.join(map(str, possible))} for blocks of {block} "
            f"pixels, got {pixels_per_beat!r}"
        )
