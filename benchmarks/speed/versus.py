"""One network in fxp, with 10/14 and with 8/8 bits, and in the programs it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

import fxp
from benchmarks.speed.peers import Arrays, Peers, as_arrays, torch_threads
from benchmarks.speed.pictures import PHOTOGRAPH, picture
from benchmarks.speed.timing import Settings, best_times, load_per_processor, threads_text
from benchmarks.speed.works import Work
from fxp.diagnosis.costs import multiply_accumulates
from fxp.executors import oracle
from fxp.formats import quantize
from fxp.frontend import FrontendError
from fxp.graph import Graph
from fxp.graph.ops import GraphError
from fxp.imaging.metrics import sqnr
from fxp.models.sr import PIXEL

ORACLE_SIDE: Final = 16
"""Side of the part of each corner in which engine and oracle are compared, without its margin."""
SMALL_SIDES: Final = (32, 64, 96, 128, 224)
"""Sides of the image that is compared as a whole; the least that the network takes."""
WIDTHS: Final = {"fxp": (10, 14), "fxp_8": (8, 8)}
"""Bits of weights and activations of each contender."""

Say = Callable[[str], None]


def measure(work: Work, settings: Settings, say: Say) -> dict[str, Any]:
    """Quantize a network, check it against the oracle, and time it against its peers.

    Parameters
    ----------
    work
        The network and its frame.
    settings
        Sizes, rounds and numbers of threads.
    say
        Called with what is being done.
    """
    record: dict[str, Any] = {
        "name": work.name,
        "title": work.title,
        "input": list(work.shape),
        "seconds": {},
    }
    network, frame = work.network(), work.frame()
    steps = float_steps(network, frame) if work.recurrent else [[frame]]
    with torch.inference_mode():
        expected = as_arrays(network(*map(torch.from_numpy, steps[-1])))[0]
    runs: dict[str, Runs] = {}
    for name, (weights, activations) in WIDTHS.items():
        say(f"{work.title}: quantizing to {weights}/{activations} bits")
        try:
            model = fixed_model(work, network, weight_bits=weights, activation_bits=activations)
        except FrontendError as error:
            return record | {"refused": str(error).splitlines()[0]}
        runs[name] = run = Runs(work, model, frame)
        say(f"{work.title}: comparing with the oracle")
        values = check_small(model, work) if work.margin is None else run.check(work.margin)
        record["equal_values"] = record.get("equal_values", 0) + values
        plan = model.plan(frame.shape[1:], threads=1)
        record.setdefault("portable", {})[name] = len(plan.portable)
        record.setdefault("sqnr", {})[name] = float(sqnr(expected, run.first_output()))
    graph = runs["fxp"].model.graph
    shapes = graph.concrete_shapes(graph.bind([frame.shape[1:]]))
    record["output"] = list(shapes[graph.outputs[0]])
    record["macs"] = work.batch * count_macs(graph, frame.shape[1:])
    say(f"{work.title}: exporting")
    peers = Peers(network, steps[-1], _calibration(work, network))
    record["load"] = load_per_processor()
    for threads in settings.threads:
        say(f"{work.title}: {threads_text(threads)}")
        with torch_threads(threads), torch.inference_mode():
            calls: dict[str, Callable[[], object]] = {**peers.calls(threads)}
            calls |= {name: run.raw_call(threads) for name, run in runs.items()}
            calls["fxp_real"] = runs["fxp"].real_call(threads)
            record["seconds"][str(threads)] = best_times(calls, settings)
    if peers.int8_sqnr is not None:
        record["sqnr"]["onnxruntime_int8"] = peers.int8_sqnr
    return record | {"missing": peers.reasons}


class Runs:
    """A fixed-point model with what it is run on.

    Parameters
    ----------
    work
        What runs.
    model
        Its fixed-point model.
    frame
        Its input in real values.
    """

    def __init__(self, work: Work, model: fxp.FixedModel, frame: NDArray[np.float32]) -> None:
        self.model = model
        self._work = work
        self._frame = frame
        self._raw = raw_inputs(model, frame)
        self._states: Any = None
        if work.recurrent:
            for raw in self._raw[:-1]:
                result = model.run(raw, states=self._states, count_clipped=False, narrow=True)
                self._states = result.states

    def raw_call(self, threads: int) -> Callable[[], object]:
        """Return the fastest call: raw integers in and out, one step from the states."""
        if self._work.batch > 1:
            return partial(self.model.run_raw, self._raw, threads=threads)
        return fastest(self.model, self._raw[-1], threads, self._states)

    def real_call(self, threads: int) -> Callable[[], object]:
        """Return the call on real values."""
        if not self._work.recurrent:
            return partial(self.model, self._frame, threads=threads)
        stream = self.model.stream(count_clipped=False)
        return partial(stream.step, self._frame[-1:], threads=threads)

    def first_output(self) -> NDArray:
        """Return the first output in real values, after the last step."""
        found = self.model(self._frame)
        first = found[0] if isinstance(found, tuple) else found
        return first[-1:] if self._work.recurrent else first

    def check(self, margin: int) -> int:
        """Compare the corners with the oracle; see the function `check`."""
        return check(self.model, self._raw[-1], margin)


def float_steps(network: Any, frame: NDArray[np.float32]) -> list[list[NDArray[np.float32]]]:
    """Return the inputs of every step of a sequence: the frame and the states.

    Parameters
    ----------
    network
        A recurrent float network.
    frame
        The sequence, ``(T, C, H, W)``.
    """
    states = [state.numpy() for state in network.initial_states(*frame.shape[2:])]
    steps = []
    for image in frame:
        inputs = [image[None], *states]
        steps.append(inputs)
        with torch.inference_mode():
            states = as_arrays(network(*map(torch.from_numpy, inputs)))[1:]
    return steps


def _calibration(work: Work, network: Any) -> list[Arrays]:
    images = work.calibration()
    if work.recurrent:
        return [step for image in images for step in float_steps(network, image)]
    return [[image] for image in images]


def fixed_model(
    work: Work,
    network: Any,
    *,
    per_channel: bool = True,
    weight_bits: int = 10,
    activation_bits: int = 14,
) -> fxp.FixedModel:
    """Quantize a network; images have 8 bits.

    Parameters
    ----------
    work
        What runs.
    network
        Its float network.
    per_channel
        Whether weights have fraction bits per output channel.
    weight_bits, activation_bits
        Widths.
    """
    pixel = PIXEL if work.pixels else None
    side = work.side
    options: dict[str, Any] = {}
    calibration: Any = work.calibration(side)
    if work.recurrent:
        states = network.initial_states(side, side)
        options = {
            "states": [(number, number) for number in range(1, 1 + len(states))],
            "initial_states": states,
        }
        calibration = fxp.Sequences(*map(torch.from_numpy, calibration))
    return fxp.quantize(
        network,
        calibration,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        input_format=pixel,
        output_format=pixel,
        per_channel=per_channel,
        effort="fast",
        **options,
    )


def fastest(
    model: fxp.FixedModel, raw: NDArray, threads: int, states: Any = None
) -> Callable[[], object]:
    """Return the fastest call on raw integers: nothing is counted or widened.

    Parameters
    ----------
    model
        What to run.
    raw
        Raw integers in the dtype of the input format, ``(C, H, W)``.
    threads
        Threads of the run.
    states
        Those of an earlier result; by default the reset state.
    """
    options = {"threads": threads, "count_clipped": False, "narrow": True}
    return partial(model.run, raw, states=states, **options)


def raw_inputs(model: fxp.FixedModel, frame: NDArray[np.float32]) -> NDArray:
    """Return the raw integers of a batch in the dtype of the input format, ``(N, C, H, W)``."""
    (value,) = model.graph.inputs
    assert value.format is not None
    return quantize(frame, value.format).astype(value.format.dtype)


def raw_input(model: fxp.FixedModel, frame: NDArray[np.float32]) -> NDArray:
    """Return the raw integers of a ``(1, C, H, W)`` frame in the dtype of the input format."""
    return raw_inputs(model, frame)[0]


def check_small(model: fxp.FixedModel, work: Work) -> int:
    """Compare all outputs and states on a small image, or sequence, with the oracle.

    Parameters
    ----------
    model
        What to run.
    work
        What it is; says what its inputs are like.

    Returns
    -------
    int
        How many values were compared.

    Raises
    ------
    RuntimeError
        If any differs.
    """
    channels, height, width = work.shape
    size = (height, width)
    if min(size) > min(SMALL_SIDES):
        side = smallest_side(model.graph, channels)
        size = (side, side)
    images = raw_inputs(model, picture(work.kind, PHOTOGRAPH, (channels, *size), 2))
    compared, states = 0, None
    for image in images:
        found, expected = (
            run(states) for run in (partial(_engine, model, image), partial(_oracle, model, image))
        )
        for one, other in zip(found, expected, strict=True):
            if not np.array_equal(one, other):
                raise RuntimeError(f"{model}: the engine and the oracle differ")
            compared += one.size
        if work.recurrent:
            states = model.run(image, states=states).states
    return compared


def _engine(model: fxp.FixedModel, image: NDArray, states: Any) -> list[NDArray]:
    result = model.run(image, states=states)
    return [*result.outputs, *result.states.values()]


def _oracle(model: fxp.FixedModel, image: NDArray, states: Any) -> list[NDArray]:
    result = oracle.run(model.graph, [image], states)
    return [*result.outputs, *result.states.values()]


def smallest_side(graph: Graph, channels: int, *, from_side: int = 0) -> int:
    """Return the least of `SMALL_SIDES` that a graph of one input takes.

    Parameters
    ----------
    graph
        The graph.
    channels
        Those of its input.
    from_side
        The least side to try.

    Raises
    ------
    ValueError
        If it takes none of them.
    """
    for side in SMALL_SIDES:
        if side < from_side:
            continue
        try:
            graph.concrete_shapes(graph.bind([(channels, side, side)]))
        except GraphError:
            continue
        return side
    raise ValueError(f"{graph.name} takes images of none of the sides {SMALL_SIDES}")


def check(model: fxp.FixedModel, raw: NDArray, margin: int) -> int:
    """Compare a run on the whole frame with the oracle on two opposite corners of it.

    Pixels of a corner whose surroundings are cut off are left out.

    Parameters
    ----------
    model
        What to run.
    raw
        Raw integers of the whole frame, ``(C, H, W)``.
    margin
        Input pixels that a result depends on to each side.

    Returns
    -------
    int
        How many values were compared.

    Raises
    ------
    RuntimeError
        If any differs.
    """
    result = model.run(raw).outputs[0]
    factor = result.shape[1] // raw.shape[1]
    compared = 0
    for end in (False, True):
        rows, columns = (_corner(size, margin, end=end) for size in raw.shape[1:])
        corner = oracle.run(model.graph, [raw[:, rows[0], columns[0]]]).outputs[0]
        expected = np.zeros_like(result)
        expected[:, _scaled(rows[0], factor), _scaled(columns[0], factor)] = corner
        kept = (slice(None), _scaled(rows[1], factor), _scaled(columns[1], factor))
        if not np.array_equal(result[kept], expected[kept]):
            raise RuntimeError(f"{model}: the engine and the oracle differ")
        compared += result[kept].size
    return compared


def _corner(size: int, margin: int, *, end: bool) -> tuple[slice, slice]:
    """Return, along one axis, what the oracle gets of the frame, and what of that is compared."""
    taken = min(size, ORACLE_SIDE + margin)
    lost = 0 if taken == size else margin
    if end:
        return slice(size - taken, size), slice(size - taken + lost, size)
    return slice(0, taken), slice(0, taken - lost)


def _scaled(part: slice, factor: int) -> slice:
    return slice(part.start * factor, part.stop * factor)


def count_macs(graph: Graph, shape: tuple[int, ...]) -> int:
    """Count the multiply-accumulates of the convolutions and linear layers for one input shape.

    Parameters
    ----------
    graph
        A graph of one input.
    shape
        Of the input.
    """
    shapes = graph.concrete_shapes(graph.bind([shape]))
    return sum(multiply_accumulates(graph, node, shapes) for node in graph.nodes)
