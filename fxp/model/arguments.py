"""What a user passes to a model and gets back: arrays or tensors, real values or raw integers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fxp.executors.execution import Result
from fxp.formats import Format, FormatError, IntArray, dequantize, quantize
from fxp.graph import Graph, Value
from fxp.graph.ops.base import GraphError
from fxp.kernels.requantize import quantize_half_up
from fxp.support.errors import ArgumentTypeError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch", "torch")


Execute = Callable[[Sequence[NDArray], Mapping[str, IntArray] | None], Result]


class Arguments:
    """The inputs of one call, taken apart into images.

    Parameters
    ----------
    graph
        The graph that will run.
    inputs
        One array or tensor per input of the graph, with or without batch axis.

    Attributes
    ----------
    images
        For every element of the batch, one ``(C, H, W)`` or ``(F,)`` array per input.

    Raises
    ------
    GraphError
        If their number, axes or batch sizes do not fit.
    TypeError
        If one cannot be read as an array.
    """

    def __init__(self, graph: Graph, inputs: Sequence[Any]) -> None:
        values = graph.inputs
        if len(inputs) != len(values):
            raise GraphError(
                f"graph {graph.name!r} takes {len(values)} inputs "
                f"({', '.join(map(str, values))}), got {len(inputs)}"
            )
        self._graph = graph
        self._first = inputs[0]
        arrays = [_as_array(item, value) for item, value in zip(inputs, values, strict=True)]
        self._in_float64 = any(array.dtype == np.float64 for array in arrays)
        full, missing = zip(
            *(_with_batch(array, value) for array, value in zip(arrays, values, strict=True)),
            strict=True,
        )
        if len({len(array) for array in full}) > 1:
            raise GraphError(f"the inputs have different batch sizes {[len(a) for a in full]}")
        self._missing: int = missing[0]
        self._full = full
        self.images: list[list[NDArray]] = [list(image) for image in zip(*full, strict=True)]

    def quantized(self) -> Iterator[list[NDArray]]:
        """Raw integers of every image, one after the other.

        Raises
        ------
        FormatError
            For NaN or infinity.
        TypeError
            For something else than real numbers.
        """
        for image in self.images:
            yield [
                _raw(array, value) for array, value in zip(image, self._graph.inputs, strict=True)
            ]

    @property
    def batches(self) -> tuple[NDArray, ...]:
        """The inputs with the batch axis, one array per input."""
        return self._full

    def quantized_batches(self) -> list[NDArray]:
        """Raw integers of `batches`; raises as `quantized`."""
        return [
            _raw(array, value) for array, value in zip(self._full, self._graph.inputs, strict=True)
        ]

    def raw_results(self, outputs: Iterable[NDArray]) -> Any:
        """Raw integers with the axes of the inputs; a tuple if there are several outputs.

        `outputs` are raw integers of every output, with the batch axis.
        """
        return _unpacked([self._restored(raws.astype(np.int64)) for raws in outputs])

    def real_results(self, outputs: Iterable[NDArray]) -> Any:
        """Real values of raw integers, of the kind and with the axes of the inputs.

        `outputs` are raw integers of every output, with the batch axis.
        """
        found = []
        for name, raws in zip(self._graph.outputs, outputs, strict=True):
            form = format_of(self._graph.values[name])
            wide = self._in_float64 or not _fits_float32(form)
            values = _values(raws, form, np.dtype(np.float64 if wide else np.float32))
            found.append(_like(self._restored(values), self._first))
        return _unpacked(found)

    def _restored(self, stacked: NDArray) -> NDArray:
        """Return a result without the axes that the first input left out."""
        if self._missing == 2 and stacked.ndim == 4 and stacked.shape[1] == 1:
            return stacked[0, 0]
        return stacked[0] if self._missing else stacked


def in_order(calls: Iterable[Sequence[NDArray]], execute: Execute) -> Iterator[Result]:
    """Run calls one after the other, each starting from the states the last one left."""
    states: Mapping[str, IntArray] | None = None
    for call in calls:
        result = execute(call, states)
        states = result.states
        yield result


def stacked(results: Iterable[Result]) -> list[NDArray]:
    """Raw integers of every output of several runs, with the batch axis."""
    outputs = zip(*(result.outputs for result in results), strict=True)
    return [np.stack(raws) for raws in outputs]


def input_shapes(graph: Graph, sizes: Sequence[int | Sequence[int]]) -> list[tuple[int, ...]]:
    """Return the shape of every input from sizes as a user gives them.

    Parameters
    ----------
    graph
        The graph that will run.
    sizes
        Height and width of all images, or for each input ``(H, W)``, ``(C, H, W)`` or ``(F,)``.

    Raises
    ------
    GraphError
        If their number does not fit.
    ArgumentTypeError
        If one is no whole number.
    """
    values = graph.inputs
    for size in sizes:
        numbers = size if isinstance(size, tuple | list) else (size,)
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | np.integer):
                raise ArgumentTypeError(f"a size is whole numbers such as 540, 960, got {size!r}")
    whole = [size for size in sizes if isinstance(size, int | np.integer)]
    if len(whole) == len(sizes) == 2:
        given = [whole if len(value.shape) == 3 else value.shape for value in values]
    elif whole or len(sizes) != len(values):
        raise GraphError(
            f"graph {graph.name!r} takes {len(values)} inputs ({', '.join(map(str, values))}); "
            "give height and width, or one size (H, W) for each input"
        )
    else:
        given = sizes
    shapes = []
    for size, value in zip(given, values, strict=True):
        if not min(2, len(value.shape)) <= len(size) <= len(value.shape):  # type: ignore[arg-type]
            raise GraphError(f"input {value} needs a size (H, W) or all of its shape, got {size!r}")
        missing = tuple(value.shape[: len(value.shape) - len(size)])  # type: ignore[arg-type]
        shapes.append(tuple(int(number) for number in (*missing, *size)))  # type: ignore[misc]
    return shapes


def format_of(value: Value) -> Format:
    """Format of a value of an integer graph."""
    assert value.format is not None
    return value.format


def _fits_float32(form: Format) -> bool:
    """Whether every value of a format is a float32: significand, smallest and largest number."""
    return form.width <= 24 and form.frac <= 149 and form.integer <= 128


def _raw(array: NDArray, value: Value) -> NDArray:
    """Raw integers of real values, with HALF_UP and SATURATE."""
    form = format_of(value)
    try:
        if array.dtype not in (np.float32, np.float64) or form.dtype != np.int16:
            return quantize(array, form)
        raw = np.empty(array.shape, np.int16)
        values = np.ascontiguousarray(array).reshape(-1)
        if not quantize_half_up(values, form.frac, form.min_raw, form.max_raw, raw.reshape(-1)):
            quantize(array, form)  # names what is not finite, and where
        return raw
    except (FormatError, TypeError) as error:
        raise type(error)(f"input {value.name!r}: {error}") from None


def _values(raw: NDArray, form: Format, dtype: np.dtype) -> NDArray:
    """Real values of raw integers that the dtype holds exactly."""
    if form.width > 24 or not -100 <= form.frac <= 100:
        return dequantize(raw, form).astype(dtype)
    values = raw.astype(dtype)
    values *= dtype.type(2.0**-form.frac)
    return values


def _as_array(item: Any, value: Value) -> NDArray:
    if _is_tensor(item):
        tensor = item.detach().cpu()
        # NumPy has no bfloat16.
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    try:
        return np.asarray(item)
    except ValueError as error:
        raise ArgumentTypeError(
            f"input {value.name!r} cannot be read as an array: {error}"
        ) from None


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
