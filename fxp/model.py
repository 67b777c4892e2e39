"""A quantized network ready to run: the object users hold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fxp import oracle
from fxp.engine import Engine, Plan
from fxp.execution import Result
from fxp.extents import shape_text
from fxp.formats import (
    Format,
    FormatError,
    IntArray,
    Overflow,
    Rounding,
    dequantize,
    overflow_mask,
    quantize,
)
from fxp.graph import Graph, Node, Value
from fxp.kernels.real import quantize_half_up
from fxp.lazy import lazy_import
from fxp.ops.base import GraphError
from fxp.store import load_graph, save_graph

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch", "torch")


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
        return self._real(inputs, self._executor(threads))

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
        batches, restore = self._batched(_as_arrays(inputs))
        execute = partial(self._engine.run, threads=threads, count_clipped=False)
        results = _in_order(batches, execute)
        outputs = [result.outputs for result in results]
        return _unpacked([restore(np.stack(output)) for output in zip(*outputs, strict=True)])

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
        shapes = [
            (int(value.shape[0]), height, width) if len(value.shape) == 3 else (int(value.shape[0]),)  # type: ignore[arg-type]
            for value in self.graph.inputs
        ]
        return self._engine.plan(shapes, threads=threads, count_clipped=False)

    def saturation(self, *inputs: Any) -> dict[str, float]:
        """Return the clip rate of every input and node: the share of values that overflowed.

        Takes real values as `__call__` does.
        """
        batches, _ = self._batched(_as_arrays(inputs))
        return self.clip_rates(batches)

    def clip_rates(self, calls: Iterable[Sequence[NDArray]]) -> dict[str, float]:
        """Return the clip rate of every input and node over several calls, run in order.

        Each call holds one ``(C, H, W)`` or ``(F,)`` array of real values per input.
        """
        clipped: Counter[str] = Counter()
        sizes: Counter[str] = Counter()

        def execute(call: Sequence[NDArray], states: Mapping[str, IntArray] | None) -> Result:
            raws = self._quantized(call)
            for value, array in zip(self.graph.inputs, call, strict=True):
                clipped[value.name] += _count_clipped(array, _format(value))
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

    def _executor(self, threads: int | None) -> Execute:
        return partial(self._engine.run, threads=threads, count_clipped=False, narrow=True)

    def _clip_text(self, name: str) -> str:
        rate = self.calibration_clipping.get(name)
        return "" if rate is None else f"{rate:.4%}"

    def _quantized(self, batch: Sequence[NDArray]) -> list[IntArray]:
        raws = []
        for array, value in zip(batch, self.graph.inputs, strict=True):
            try:
                raws.append(_raw(array, _format(value)))
            except FormatError as error:
                raise FormatError(f"input {value.name!r}: {error}") from None
        return raws

    def _real(self, inputs: tuple[Any, ...], execute: Execute) -> Any:
        arrays = _as_arrays(inputs)
        batches, restore = self._batched(arrays)
        calls = map(self._quantized, batches)
        results = [result.outputs for result in _in_order(calls, execute)]
        outputs = []
        for name, raws in zip(self.graph.outputs, zip(*results, strict=True), strict=True):
            form = _format(self.graph.values[name])
            wide = any(array.dtype == np.float64 for array in arrays) or not _fits_float32(form)
            values = _values(np.stack(raws), form, np.dtype(np.float64 if wide else np.float32))
            outputs.append(_like(restore(values), inputs[0]))
        return _unpacked(outputs)

    def _batched(self, arrays: list[NDArray]) -> tuple[list[list[NDArray]], Any]:
        """Split inputs into calls; also returns what gives a stacked result the inputs' axes."""
        values = self.graph.inputs
        if len(arrays) != len(values):
            raise GraphError(
                f"graph {self.graph.name!r} takes {len(values)} inputs "
                f"({', '.join(map(str, values))}), got {len(arrays)}"
            )
        full, missing = zip(
            *(_with_batch(array, value) for array, value in zip(arrays, values, strict=True)),
            strict=True,
        )
        if len({len(array) for array in full}) > 1:
            raise GraphError(f"the inputs have different batch sizes {[len(a) for a in full]}")

        def restore(stacked: NDArray) -> NDArray:
            if missing[0] == 2 and stacked.ndim == 4 and stacked.shape[1] == 1:
                return stacked[0, 0]
            return stacked[0] if missing[0] else stacked

        return [list(call) for call in zip(*full, strict=True)], restore


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


def _format(value: Value) -> Format:
    assert value.format is not None
    return value.format


def _is_share(rate: object) -> bool:
    return isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate <= 1


def _fits_float32(form: Format) -> bool:
    """Whether every value of a format is a float32: significand, smallest and largest number."""
    return form.width <= 24 and form.frac <= 149 and form.integer <= 128


def _raw(array: NDArray, form: Format) -> NDArray:
    """Raw integers of real values, with HALF_UP and SATURATE."""
    if array.dtype not in (np.float32, np.float64) or form.dtype != np.int16:
        return quantize(array, form)
    raw = np.empty(array.shape, np.int16)
    values = np.ascontiguousarray(array).reshape(-1)
    if not quantize_half_up(values, form.frac, form.min_raw, form.max_raw, raw.reshape(-1)):
        quantize(array, form)  # names what is not finite, and where
    return raw


def _values(raw: NDArray, form: Format, dtype: np.dtype) -> NDArray:
    """Real values of raw integers that the dtype holds exactly."""
    if form.width > 24 or not -100 <= form.frac <= 100:
        return dequantize(raw, form).astype(dtype)
    values = raw.astype(dtype)
    values *= dtype.type(2.0**-form.frac)
    return values


def _as_arrays(inputs: tuple[Any, ...]) -> list[NDArray]:
    return [_as_array(item) for item in inputs]


def _as_array(item: Any) -> NDArray:
    if not _is_tensor(item):
        return np.asarray(item)
    tensor = item.detach().cpu()
    # NumPy has no bfloat16.
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _is_tensor(item: Any) -> bool:
    return hasattr(item, "detach")


def _like(values: NDArray, item: Any) -> Any:
    """Return an array as a tensor where the user's `item` is one."""
    return torch.from_numpy(values).to(item.device) if _is_tensor(item) else values


def _with_batch(array: NDArray, value: Value) -> tuple[NDArray, int]:
    """Add the axes that a user may leave out; also returns how many there were."""
    rank = len(value.shape) + 1
    missing = rank - array.ndim
    allowed = 2 if len(value.shape) == 3 and value.shape[0] == 1 else 1
    if not 0 <= missing <= allowed:
        raise GraphError(
            f"input {value} takes {rank} axes with batch, or {rank - 1} without"
            f"{', or (height, width)' if allowed == 2 else ''}; got shape {array.shape}"
        )
    full = array.reshape((1,) * missing + array.shape)
    if 0 in full.shape:
        raise GraphError(f"input {value} is empty: shape {array.shape}")
    return full, missing


def _unpacked(outputs: list[Any]) -> Any:
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


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
