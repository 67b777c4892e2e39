"""The engine: an integer graph run by Numba kernels over row bands, on several threads.

Values live as ``(H, W, C)`` arrays of the narrowest integer type of their format. A node computes a
band of rows of exact accumulators, then requantizes it into its result, so that accumulators never
fill more than a cache-sized scratch buffer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.execution import Result, start
from fxp.formats import IntArray, saturation_limits
from fxp.graph import Graph, Node
from fxp.kernels.requantize import OVERFLOW_CODES, ROUNDING_CODES, requantize_band
from fxp.ops.base import GraphError, Kernel, Window

BAND_BYTES: Final = 1 << 18
"""Scratch memory for one band of accumulators, sized for the second-level cache."""


@dataclass(frozen=True)
class _Step:
    """A node bound to its kernel."""

    node: Node
    kernel: Kernel
    accumulator_dtype: np.dtype
    result_dtype: np.dtype
    requantization: tuple[NDArray[np.int64], int, int, int, int, int, bool]
    dead: tuple[str, ...]
    """Values that nothing reads after this node."""


class Engine:
    """Runs one integer graph; holds only constants, so that threads may share it.

    Parameters
    ----------
    graph
        An integer graph.
    """

    def __init__(self, graph: Graph) -> None:
        if not graph.is_integer:
            raise GraphError(f"graph {graph.name!r} is a float graph; quantize it first")
        self.graph = graph
        last_reader = {name: node.name for node in graph.nodes for name in node.inputs}
        kept = set(graph.outputs) | {state.source for state in graph.states}
        self._constants = {
            constant.name: _to_rows_columns_channels(
                constant.data.astype(constant.formats[0].dtype)
            )
            for constant in graph.constants
            if constant.data.ndim in (1, 3) and len(constant.formats) == 1
        }
        self._dtypes = {
            value.name: value.format.dtype
            for value in (*graph.inputs, *(state.value for state in graph.states))
            if value.format is not None
        }
        self._steps = tuple(
            self._bind(
                node,
                tuple(
                    name
                    for name in dict.fromkeys(node.inputs)
                    if last_reader[name] == node.name and name not in kept
                ),
            )
            for node in graph.nodes
        )

    def run(
        self,
        inputs: Sequence[ArrayLike],
        states: Mapping[str, ArrayLike] | None = None,
        *,
        threads: int | None = None,
        keep_values: bool = False,
    ) -> Result:
        """Run the graph once.

        Parameters
        ----------
        inputs, states
            Raw integers, as in `fxp.execution.start`, whose errors this raises.
        threads
            Number of threads; all processors by default. The result does not depend on it.
        keep_values
            Whether the result holds every value; otherwise memory is freed as soon as possible.
        """
        threads = check_threads(threads)
        started, shapes = start(self.graph, inputs, states)
        values: dict[str, NDArray] = {
            name: _to_rows_columns_channels(array.astype(self._dtypes[name]))
            for name, array in started.items()
        }
        del started
        clipped: dict[str, int] = {}
        pool: AbstractContextManager[Executor | None] = (
            ThreadPoolExecutor(threads) if threads > 1 else nullcontext()
        )
        with pool as executor:
            for step in self._steps:
                name = step.node.name
                values[name], clipped[name] = self._run_step(
                    step, values, shapes[name], executor, threads
                )
                if not keep_values:
                    for dead in step.dead:
                        values.pop(dead, None)
        ranks = {name: len(shape) for name, shape in shapes.items()}

        def export(name: str) -> IntArray:
            array = values[name].transpose(2, 0, 1).astype(np.int64)
            return array.reshape(-1) if ranks[name] == 1 else np.ascontiguousarray(array)

        return Result(
            tuple(export(name) for name in self.graph.outputs),
            {state.value.name: export(state.source) for state in self.graph.states},
            {name: export(name) for name in values} if keep_values else {},
            clipped,
            {step.node.name: int(np.prod(shapes[step.node.name])) for step in self._steps},
        )

    def _bind(self, node: Node, dead: tuple[str, ...]) -> _Step:
        operands = self.graph.operands[node.name]
        accumulator, target = node.accumulator, node.quantization
        assert accumulator is not None
        assert target is not None
        # Wrapping to 32 bits is exact for sums and products whose result is proved to fit, but
        # a comparison (clamp, max) must see its operands whole.
        narrow = accumulator.bits <= 32 and all(
            form.dtype.itemsize <= 4 for operand in operands for form in operand.formats
        )
        dtype = np.dtype(np.int32 if narrow else np.int64)
        shifts = np.array(accumulator.fracs, np.int64) - target.format.frac
        low, high = saturation_limits(target.format, target.overflow)
        return _Step(
            node,
            node.op.kernel(operands, dtype),
            dtype,
            target.format.dtype,
            (
                shifts,
                ROUNDING_CODES[target.rounding],
                OVERFLOW_CODES[target.overflow],
                low,
                high,
                target.format.width,
                target.format.signed,
            ),
            dead,
        )

    def _run_step(
        self,
        step: _Step,
        values: Mapping[str, NDArray],
        shape: tuple[int, ...],
        executor: Executor | None,
        threads: int,
    ) -> tuple[NDArray, int]:
        """Compute one node band by band; returns its values and how many of them overflowed."""
        height, width, channels = (1, 1, shape[0]) if len(shape) == 1 else (*shape[1:], shape[0])
        operands = self.graph.operands[step.node.name]

        def window(position: int, name: str) -> Window:
            """Return an input with the zeros around it that the op reads."""
            array = values[name] if name in values else self._constants[name]
            reaches = [
                step.node.op.reach(operands, axis, position, 0, outputs, array.shape[axis])
                for axis, outputs in enumerate((height, width))
            ]
            borders = [
                (max(0, -first), max(0, last - size))
                for (first, last), size in zip(reaches, array.shape, strict=False)
            ]
            padded = np.pad(array, (*borders, (0, 0))) if np.any(borders) else array
            return Window(padded, -borders[0][0], -borders[1][0], *array.shape[:2])

        inputs = [
            window(position, name)
            for position, name in enumerate(step.node.inputs)
            if position not in step.node.op.constant_roles  # those are bound in the kernel
        ]
        result = np.empty((height, width, channels), step.result_dtype)
        row_bytes = width * channels * step.accumulator_dtype.itemsize
        rows = max(1, min(BAND_BYTES // row_bytes, -(-height // threads)))

        def run_band(first: int) -> int:
            band = np.empty((min(rows, height - first), width, channels), step.accumulator_dtype)
            step.kernel(band, first, 0, inputs)
            return requantize_band(band, result, first, *step.requantization)

        firsts = range(0, height, rows)
        if executor is None or len(firsts) == 1:
            return result, sum(map(run_band, firsts))
        futures: list[Future[int]] = [executor.submit(run_band, first) for first in firsts]
        return result, sum(future.result() for future in futures)


def check_threads(threads: int | None) -> int:
    """Return the number of threads to use; raises ValueError unless it is None or at least 1."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be an integer of at least 1, got {threads!r}")
    return threads


def _to_rows_columns_channels(array: NDArray) -> NDArray:
    """``(C, H, W)`` to contiguous ``(H, W, C)``; a vector ``(F,)`` to ``(1, 1, F)``."""
    if array.ndim == 1:
        return array.reshape(1, 1, -1)
    return np.ascontiguousarray(array.transpose(1, 2, 0))
