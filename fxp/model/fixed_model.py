"""A quantized network ready to run: the object users hold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.engine import Engine, Plan
from fxp.executors import oracle
from fxp.executors.execution import Result
from fxp.formats import Format, FormatError, IntArray, Overflow, Rounding, overflow_mask
from fxp.graph import Graph, Node
from fxp.graph.extents import shape_text
from fxp.model.arguments import Arguments, format_of
from fxp.model.stream import Stream
from fxp.store import load_graph, save_graph

Execute = Callable[[Sequence[NDArray], Mapping[str, IntArray] | None], Result]


class FixedModel:
    """An integer graph with its engine; calling it takes and returns real values.

    Parameters
    ----------
    graph
        An integer graph.
    metadata
        Text to keep with the model, such as the training command.
    calibration_clipping
        Clip rate of every value on the calibration data, 0 to 1, as `saturation` returns it.

    Examples
    --------
    >>> model = fxp.load("kimsr.fxp")      # doctest: +SKIP
    >>> enlarged = model(luma)             # doctest: +SKIP
    """

    def __init__(
        self,
        graph: Graph,
        *,
        metadata: Mapping[str, str] | None = None,
        calibration_clipping: Mapping[str, float] | None = None,
    ) -> None:
        self._engine = Engine(graph)
        self._stream = Stream(self._engine)
        self.metadata = dict(metadata or {})
        self.calibration_clipping = dict(calibration_clipping or {})

    @property
    def graph(self) -> Graph:
        """The integer graph."""
        return self._engine.graph

    @property
    def parameters(self) -> int:
        """Number of weights and biases, without tables; shared ones count once."""
        counted = {name for node in self.graph.nodes for name in _parameters(self.graph, node)}
        return sum(self.graph.constants_by_name[name].data.size for name in counted)

    def __call__(self, *inputs: Any, threads: int | None = None) -> Any:
        """Run the engine on real values.

        Parameters
        ----------
        inputs
            For each input a NumPy array or torch tensor, ``(N, C, H, W)``, ``(C, H, W)`` or, for
            one channel, ``(H, W)``; vectors ``(N, F)`` or ``(F,)``. Quantized to the input format
            with HALF_UP and SATURATE. For a graph with states the batch axis is time: the calls
            run in order, from the reset state.
        threads
            Number of threads, all processors by default.

        Returns
        -------
        numpy.ndarray or torch.Tensor
            Same kind and axes as the inputs: float64 if they are float64 or the output format needs
            it, else float32. A tuple if the graph has several outputs.

        Raises
        ------
        GraphError
            If a shape does not fit.
        FormatError
            For NaN or infinity.
        """
        execute = partial(self._engine.run, threads=threads, count_clipped=False, narrow=True)
        return self._real(inputs, execute)

    def oracle(self, *inputs: Any) -> Any:
        """Run the slow reference instead of the engine; same arguments and results."""
        return self._real(inputs, partial(oracle.run, self.graph))

    def run_raw(self, *inputs: Any, threads: int | None = None) -> Any:
        """Run the engine on raw integers.

        Parameters
        ----------
        inputs
            Integer arrays of the input formats' raw values, with the axes `__call__` takes.
        threads
            Number of threads, all processors by default.

        Returns
        -------
        numpy.ndarray
            Raw integers of the output, int64; a tuple if the graph has several outputs.

        Raises
        ------
        GraphError, FormatError
            If a shape does not fit, or an integer lies outside the input format.
        """
        arguments = Arguments(self.graph, inputs)
        execute = partial(self._engine.run, threads=threads, count_clipped=False, narrow=True)
        return arguments.raw_results(_in_order(arguments.images, execute))

    def stream(self) -> Stream:
        """Return a new sequence of a recurrent network, which runs step by step by itself."""
        return Stream(self._engine)

    def step(self, *inputs: Any, threads: int | None = None) -> Any:
        """Run one time step of a recurrent network, from the state that the last one left.

        The model has one state for this; sequences that run side by side take a `stream` each.

        Parameters
        ----------
        inputs
            As for `__call__`, with a batch of one.
        threads
            Number of threads, all processors by default.

        Returns
        -------
        numpy.ndarray or torch.Tensor
            As `__call__`; a tuple if the graph has several outputs.
        """
        return self._stream.step(*inputs, threads=threads)

    def step_raw(self, *inputs: Any, threads: int | None = None) -> Any:
        """Run one time step on raw integers; takes and returns what `run_raw` does."""
        return self._stream.step_raw(*inputs, threads=threads)

    def reset_state(self) -> None:
        """Begin a new sequence with the next `step`."""
        self._stream.reset_state()

    @property
    def state(self) -> dict[str, IntArray]:
        """Raw integers of every state after the last `step`, a copy; empty before the first."""
        return self._stream.state

    def load_state(self, source: Mapping[str, ArrayLike] | str | PathLike[str]) -> None:
        """Continue from an earlier `state`, or from a file; see `Stream.load_state`."""
        self._stream.load_state(source)

    def save_state(self, path: str | PathLike[str]) -> None:
        """Write the state to a file, exactly and as a whole."""
        self._stream.save_state(path)

    def run(
        self,
        *inputs: NDArray,
        states: Mapping[str, NDArray] | None = None,
        threads: int | None = None,
        keep_values: bool = False,
        count_clipped: bool = True,
        narrow: bool = False,
    ) -> Result:
        """Run the engine once on raw integers and return everything it knows.

        Takes ``(C, H, W)`` or ``(F,)`` arrays and the states of the previous result, see
        `fxp.engine.Engine.run`. Fastest with ``count_clipped=False, narrow=True``.
        """
        return self._engine.run(
            inputs,
            states,
            threads=threads,
            keep_values=keep_values,
            count_clipped=count_clipped,
            narrow=narrow,
        )

    def plan(self, height: int, width: int, *, threads: int | None = None) -> Plan:
        """Return how the engine runs images of one size; ``print(plan.describe())`` shows it.

        Parameters
        ----------
        height, width
            Size of the first input; other image inputs have it too, states follow.
        threads
            Number of threads, all processors by default.

        Raises
        ------
        GraphError
            If the size does not fit the graph.
        """
        image = (height, width)
        shapes = [
            (int(value.shape[0]), *image[: len(value.shape) - 1])  # type: ignore[arg-type]
            for value in self.graph.inputs
        ]
        return self._engine.plan(shapes, threads=threads, count_clipped=False)

    def saturation(self, *inputs: Any) -> dict[str, float]:
        """Return the clip rate of every input and node: the share of values that overflowed.

        Takes real values as `__call__` does.
        """
        return self.clip_rates(Arguments(self.graph, inputs).images)

    def clip_rates(self, calls: Iterable[Sequence[NDArray]]) -> dict[str, float]:
        """Return the clip rate of every input and node over several calls, run in order.

        Each call holds one ``(C, H, W)`` or ``(F,)`` array of real values per input.
        """
        clipped: Counter[str] = Counter()
        sizes: Counter[str] = Counter()

        def execute(call: Sequence[NDArray], states: Mapping[str, IntArray] | None) -> Result:
            (raws,) = Arguments(self.graph, call).quantized()
            for value, array in zip(self.graph.inputs, call, strict=True):
                clipped[value.name] += _count_clipped(array, format_of(value))
                sizes[value.name] += array.size
            return self._engine.run(raws, states)

        for result in _in_order(calls, execute):
            clipped.update(result.clipped)
            sizes.update(result.sizes)
        return {name: clipped[name] / size for name, size in sizes.items()}

    def summary(self) -> str:
        """Table of every value's effective format, accumulator bits, clip rate and parameters.

        The clip rate is that of the calibration data.
        """
        graph = self.graph
        header = ("value", "op", "shape", "format", "accumulator", "weights", "parameters",
                  "clipped")  # fmt: skip
        rows = [
            (value.name, "input", shape_text(value.shape), str(value.format), "", "", "",
             self._clip_text(value.name))
            for value in graph.inputs
        ]  # fmt: skip
        rows += [
            (state.value.name, f"state of {state.source}", shape_text(state.value.shape),
             str(state.value.format), "", "", "", "")
            for state in graph.states
        ]  # fmt: skip
        for node in graph.nodes:
            assert node.accumulator is not None
            count = sum(
                graph.constants_by_name[name].data.size for name in _parameters(graph, node)
            )
            rows.append(
                (
                    node.name,
                    node.op.name,
                    shape_text(graph.values[node.name].shape),
                    str(node.quantization),
                    f"{node.accumulator.bits} bit",
                    _weights_text(graph, node),
                    f"{count:,}" if count else "",
                    self._clip_text(node.name),
                )
            )
        widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (header, tuple("-" * width for width in widths), *rows)
        ]
        lines.append(f"{self.parameters:,} parameters; outputs {', '.join(graph.outputs)}")
        return "\n".join(lines)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a ``.fxp`` file; an existing file is replaced only when the new one is complete."""
        metadata = dict(self.metadata)
        metadata[_CLIPPING_KEY] = json.dumps(self.calibration_clipping, sort_keys=True)
        save_graph(self.graph, path, metadata=metadata)

    def __repr__(self) -> str:
        graph = self.graph
        return (
            f"<FixedModel {graph.name!r}: {len(graph.nodes)} nodes, {self.parameters:,} parameters>"
        )

    def _clip_text(self, name: str) -> str:
        rate = self.calibration_clipping.get(name)
        return "" if rate is None else f"{rate:.4%}"

    def _real(self, inputs: tuple[Any, ...], execute: Execute) -> Any:
        arguments = Arguments(self.graph, inputs)
        return arguments.real_results(_in_order(arguments.quantized(), execute))


def _in_order(calls: Iterable[Sequence[NDArray]], execute: Execute) -> Iterator[Result]:
    """Run calls one after the other, each starting from the states the last one left."""
    states: Mapping[str, IntArray] | None = None
    for call in calls:
        result = execute(call, states)
        states = result.states
        yield result


_CLIPPING_KEY = "fxp.calibration_clipping"


def load(path: str | PathLike[str]) -> FixedModel:
    """Read a ``.fxp`` file; needs NumPy and Numba alone.

    Raises
    ------
    FormatError
        If the file is not a valid ``.fxp`` file; the message names the file and the fault.
    OSError
        If it cannot be read.
    """
    graph, metadata = load_graph(path)
    text = metadata.pop(_CLIPPING_KEY, "{}")
    try:
        clipping = json.loads(text)
    except (ValueError, RecursionError):
        clipping = None
    if not isinstance(clipping, dict) or not all(map(_is_share, clipping.values())):
        raise FormatError(f"{path}: the calibration clip rates are damaged")
    return FixedModel(graph, metadata=metadata, calibration_clipping=clipping)


def _is_share(rate: object) -> bool:
    return isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate <= 1


def _count_clipped(array: NDArray, form: Format) -> int:
    # A number beyond the format's range by less than half a step is rounded, not clipped.
    mantissa, exponent = np.frexp(np.asarray(array, np.float64))
    raw = np.ldexp(mantissa, 53).astype(np.int64)
    fracs = 53 - exponent.astype(np.int64)
    return int(overflow_mask(raw, fracs, form, Rounding.HALF_UP, Overflow.SATURATE).sum())


def _parameters(graph: Graph, node: Node) -> list[str]:
    """Names of a node's weights and biases."""
    return [
        name
        for position, name in enumerate(node.inputs)
        if name in graph.constants_by_name and node.op.constant_roles.get(position) != "table"
    ]


def _weights_text(graph: Graph, node: Node) -> str:
    for position, name in enumerate(node.inputs):
        constant = graph.constants_by_name.get(name)
        if constant is not None and node.op.constant_roles.get(position) != "bias":
            return str(constant).partition(") ")[2]
    return ""
