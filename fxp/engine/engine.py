"""The engine: an integer graph run by Numba kernels, planned beforehand for its size."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.engine.inputs import checked_quickly
from fxp.engine.plan import CompiledSteps, Memory, Plan, aligned_bytes, make_plan
from fxp.engine.program import Options, Program
from fxp.engine.stages import BandStage
from fxp.engine.vectors import Halves, cut_batch
from fxp.engine.workers import Workers, check_threads
from fxp.executors.execution import Result, checked, start
from fxp.graph import Graph, Limits
from fxp.graph.ops.base import GraphError
from fxp.graph.ops.windows import Summary, Window
from fxp.kernels.commands import COUNTERS, FEW_PAUSES, run_images, run_pieces
from fxp.kernels.layout import pixels_to_planes, planes_to_pixels
from fxp.support.errors import ArgumentTypeError

MAX_PLANS = 16
"""Plans kept at most, for as many sizes; see also `Options.plan_bytes`."""
SHARED_ELEMENTS = 1 << 18
"""Images of fewer elements are copied by one thread."""
MAX_BATCH_BYTES = 1 << 26
"""Memory of all threads together up to which each runs images of a batch of its own."""
NAP_SECONDS = 2e-5
"""How long a thread sleeps that has waited for others; the system makes it about 100 µs."""


class Engine:
    """Runs one integer graph; threads may share it.

    Parameters
    ----------
    graph
        An integer graph.
    options
        How to run it; the results do not depend on it.
    limits
        Most that a run may need.
    """

    def __init__(
        self, graph: Graph, options: Options | None = None, limits: Limits | None = None
    ) -> None:
        if not graph.is_integer:
            raise GraphError(f"graph {graph.name!r} is a float graph; quantize it first")
        self.graph = graph
        self.options = options or Options()
        if not isinstance(limits, Limits | None):
            raise ArgumentTypeError(f"limits must be fxp.Limits or None, got {limits!r}")
        self.limits = limits or Limits()
        self._programs: dict[bool, Program] = {}
        self._halves: dict[tuple, Halves | None] = {}
        self._plans: dict[tuple, Plan] = {}
        self._lock = threading.Lock()
        self._workers = Workers()

    def __reduce__(self) -> tuple[Any, ...]:
        # Compiled code, locks and threads stay here; a copy makes its own.
        return Engine, (self.graph, self.options, self.limits)

    def plan(
        self,
        input_shapes: Sequence[tuple[int, ...]],
        *,
        threads: int | None = None,
        keep_values: bool = False,
        count_clipped: bool = True,
    ) -> Plan:
        """Return the plan for a size; plans are kept for later runs.

        Parameters
        ----------
        input_shapes
            ``(C, H, W)`` or ``(F,)`` of every input.
        threads, keep_values, count_clipped
            As in `run`.

        Raises
        ------
        GraphError
            If the shapes do not fit the graph, or a run would need more than the limits.
        """
        shapes = tuple(tuple(map(int, shape)) for shape in input_shapes)
        return self._plan_of(shapes, check_threads(threads), keep_values, count_clipped)

    def _plan_of(
        self, shapes: tuple[tuple[int, ...], ...], threads: int, keep_values: bool, counted: bool
    ) -> Plan:
        """Return the plan of `plan`."""

        def make() -> Plan:
            program = self._program(keep_values)
            sizes = self._sizes(shapes)
            return make_plan(program, sizes, threads=threads, counted=counted)

        with self._lock:
            return self._planned((shapes, threads, keep_values, counted), make)

    def _planned(self, key: tuple, make: Callable[[], Plan]) -> Plan:
        """Return the plan of that key, made now if none is kept; the lock is held."""
        plan = self._plans.pop(key, None)
        if plan is None:
            plan = make()
            self._forget(plan.held_bytes)
        # The one used last stands last.
        self._plans[key] = plan
        return plan

    def _sizes(self, shapes: Sequence[tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Shape of every value for inputs of these shapes; the lock is held."""
        graph = self._program(False).graph
        return graph.concrete_shapes(graph.bind(shapes), self.limits)

    def _forget(self, needed: int) -> None:
        """Forget the plans used least recently, and their memory, to make room for another."""
        held = needed + sum(plan.held_bytes for plan in self._plans.values())
        while self._plans and (len(self._plans) >= MAX_PLANS or held > self.options.plan_bytes):
            held -= self._plans.pop(next(iter(self._plans))).held_bytes

    def _program(self, keep_values: bool) -> Program:
        if keep_values not in self._programs:
            options = replace(self.options, fuse=False) if keep_values else self.options
            kept = self.graph.values if keep_values else ()
            self._programs[keep_values] = Program(self.graph, options, frozenset(kept))
        return self._programs[keep_values]

    def run(
        self,
        inputs: Sequence[ArrayLike],
        states: Mapping[str, ArrayLike] | None = None,
        *,
        threads: int | None = None,
        keep_values: bool = False,
        count_clipped: bool = True,
        narrow: bool = False,
    ) -> Result:
        """Run the graph once.

        Parameters
        ----------
        inputs, states
            Raw integers, as in `fxp.executors.execution.start`, whose errors this raises.
        threads
            Number of threads; all processors by default. The result does not depend on it.
        keep_values
            Whether the result holds every value; then nothing is fused.
        count_clipped
            Whether the result holds the counts of overflows; without, more is fused.
        narrow
            Whether arrays come in the narrowest integer type of their format instead of int64.
        """
        arrays = [np.asarray(array) for array in inputs]
        sizes = tuple([array.shape for array in arrays])
        plan = self._plan_of(sizes, check_threads(threads), keep_values, count_clipped)
        shapes = plan.planes
        started, _ = start(
            self.graph, arrays, states, narrow=True, shapes=shapes, check=checked_quickly
        )
        memory = plan.take_memory()
        for name, array in started.items():
            self._take_in(array, plan.array(memory, name), plan.threads)
        overflows = self._execute(plan, memory)

        def export(name: str) -> NDArray:
            given = self._give_out(plan.array(memory, name), shapes[name], plan.threads)
            return given if narrow else given.astype(np.int64)

        def export_state(name: str) -> NDArray:
            # In the order of the image, which the next step takes in as it is.
            given = plan.array(memory, name).copy()
            given = given.transpose(2, 0, 1) if len(shapes[name]) == 3 else given.reshape(-1)
            return given if narrow else given.astype(np.int64)

        result = Result(
            tuple(export(name) for name in self.graph.outputs),
            {state.value.name: export_state(state.source) for state in self.graph.states},
            {name: export(name) for name in self.graph.values} if keep_values else {},
            self._counts(plan, overflows) if count_clipped else {},
            dict(plan.node_sizes),
        )
        plan.give_back(memory)
        return result

    def run_batch(
        self, inputs: Sequence[NDArray], *, threads: int | None = None
    ) -> tuple[NDArray, ...]:
        """Run a graph without states on many images, which threads take one by one.

        Parameters
        ----------
        inputs
            Raw integers ``(N, C, H, W)`` or ``(N, F)`` of every input, N at least 1.
        threads
            As in `run`.

        Returns
        -------
        tuple
            Raw integers of every output, with the axis N, in the narrowest type of its format.

        Raises
        ------
        GraphError, FormatError
            As `run`.
        """
        if self.graph.states:
            raise GraphError(f"graph {self.graph.name!r} has states; its steps run one by one")
        threads = check_threads(threads)
        count = len(inputs[0])
        shapes = tuple(tuple(map(int, array.shape[1:])) for array in inputs)
        halves = self._cut(shapes) if count > 1 else None
        plan = None if halves else self.plan(shapes, threads=1, count_clipped=False)
        if plan is not None and not self._runs_side_by_side(plan, count, threads):
            results = [
                self.run(images, threads=threads, count_clipped=False, narrow=True).outputs
                for images in zip(*inputs, strict=True)
            ]
            return tuple(np.stack(arrays) for arrays in zip(*results, strict=True))
        batches = {
            value.name: checked(value, array, narrow=True)
            for value, array in zip(self.graph.inputs, inputs, strict=True)
        }
        if plan is not None:
            values = self._run_images(plan, batches, threads)
        else:
            assert halves is not None
            values = self._run_vectors(
                halves.vectors, self._run_first_half(halves.images, batches, threads), threads
            )
        return tuple(
            self._batch_out(values[name], len(self.graph.values[name].shape), threads)
            for name in self.graph.outputs
        )

    def _cut(self, shapes: tuple[tuple[int, ...], ...]) -> Halves | None:
        """Cut the program for a batch of images of these shapes, if that is worth while."""
        with self._lock:
            if shapes not in self._halves:
                halves = Halves.of(self._program(False))
                planes = self._sizes(shapes)
                if len(self._halves) >= MAX_PLANS:
                    self._halves.pop(next(iter(self._halves)))
                worth = halves is not None and halves.are_worth_while(planes)
                self._halves[shapes] = halves if worth else None
            return self._halves[shapes]

    def _part_plan(
        self, program: Program, planes: Mapping[str, tuple[int, ...]], threads: int
    ) -> Plan:
        """Return the plan of a part of the program for values of these shapes."""
        shapes = {name: planes[name] for name in program.inputs}
        key = (*shapes.items(), threads)
        with self._lock:
            return self._planned(
                key, lambda: make_plan(program, planes, threads=threads, counted=False)
            )

    def _run_first_half(
        self, program: Program | None, batches: Mapping[str, NDArray], threads: int
    ) -> dict[str, NDArray]:
        """Run the stages before those of vectors; returns what these read, ``(N, H, W, C)``."""
        if program is None:
            return {name: batch[:, None, None] for name, batch in batches.items()}
        with self._lock:
            planes = self._sizes([batch.shape[1:] for batch in batches.values()])
        count = len(next(iter(batches.values())))
        plan = self._part_plan(program, planes, 1)
        if self._runs_side_by_side(plan, count, threads):
            return self._run_images(plan, batches, threads)
        plan = self._part_plan(program, planes, threads)
        values = {name: _batch(plan, name, count) for name in program.kept}
        memory = plan.take_memory()
        for number in range(count):
            for name, batch in batches.items():
                self._take_in(batch[number], plan.array(memory, name), threads)
            self._execute(plan, memory)
            for name, batch in values.items():
                batch[number] = plan.array(memory, name)
        plan.give_back(memory)
        return values

    def _run_vectors(
        self, program: Program, values: dict[str, NDArray], threads: int
    ) -> dict[str, NDArray]:
        """Run stages of vectors, which are pixels of images; returns their results, too."""
        dtypes = program.dtypes
        names = {*program.inputs, *(stage.result for stage in program.stages)}
        features = {name: self.graph.operand(name).channels for name in names}
        count = len(values[program.inputs[0]])
        results = {
            name: np.empty((count, 1, 1, features[name]), dtypes[name]) for name in program.kept
        }
        for first, last, rows, columns in cut_batch(count):
            planes = {name: (features[name], rows, columns) for name in names}
            plan = self._part_plan(program, planes, threads)
            memory = plan.take_memory()
            for name in program.inputs:
                pixels = plan.array(memory, name).reshape(-1, 1, 1, features[name])
                pixels[: last - first] = values[name][first:last]
                pixels[last - first :] = 0
            self._execute(plan, memory)
            for name, batch in results.items():
                pixels = plan.array(memory, name).reshape(-1, 1, 1, features[name])
                batch[first:last] = pixels[: last - first]
            plan.give_back(memory)
        return values | results

    def _run_images(
        self, plan: Plan, batches: Mapping[str, NDArray], threads: int
    ) -> dict[str, NDArray]:
        """Run a plan for many images; returns inputs and what is kept, ``(N, H, W, C)``."""
        (part,) = plan.parts
        assert isinstance(part, CompiledSteps)
        count = len(next(iter(batches.values())))
        images = {name: _batch(plan, name, count) for name in plan.program.kept}
        images |= {
            name: self._batch_in(batch, plan, name, threads) for name, batch in batches.items()
        }
        moving = np.array(
            [
                (plan.bases[name], array.ctypes.data, array[0].nbytes)
                for name, array in images.items()
            ],
            np.int64,
        )
        counter = np.zeros(1, np.int64)

        def work(thread: int) -> None:
            del thread
            memory = plan.take_memory()
            overflows = np.zeros(len(plan.program.stages), np.int64)
            bases = plan.addresses(memory)[0].copy()
            run_images(part.pieces, bases, moving, overflows, counter, count)
            plan.give_back(memory)

        self._workers.together(work, min(threads, count))
        return images

    def _runs_side_by_side(self, plan: Plan, count: int, threads: int) -> bool:
        """Whether threads run images of their own rather than parts of one image."""
        return (
            count >= 2 * threads
            and len(plan.parts) == 1
            and isinstance(plan.parts[0], CompiledSteps)
            and threads * (sum(plan.slot_bytes) + plan.workspace_bytes) <= MAX_BATCH_BYTES
        )

    def _batch_in(self, planes: NDArray, plan: Plan, name: str, threads: int) -> NDArray:
        """Copy ``(N, C, H, W)`` or ``(N, F)`` arrays to images ``(N, H, W, C)``."""
        images = _batch(plan, name, len(planes))
        if planes.ndim == 2 or planes.shape[1] == 1:
            images[...] = planes.reshape(images.shape)
        else:
            self._workers.share(
                lambda _, number: self._take_in(planes[number], images[number], 1),
                len(planes),
                threads,
            )
        return images

    def _batch_out(self, images: NDArray, axes: int, threads: int) -> NDArray:
        """Return images ``(N, H, W, C)`` as arrays ``(N, C, H, W)`` or, of one axis, ``(N, F)``."""
        count, height, width, channels = images.shape
        shape = (channels,) if axes == 1 else (channels, height, width)
        if 1 in (axes, channels):
            return images.reshape(count, *shape)
        planes = np.empty((count, *shape), images.dtype)

        def copy(thread: int, number: int) -> None:
            del thread
            planes[number] = self._give_out(images[number], shape, 1)

        self._workers.share(copy, count, threads)
        return planes

    def _take_in(self, array: NDArray, image: NDArray, threads: int) -> None:
        """Copy a user's ``(C, H, W)`` or ``(F,)`` array to an image."""
        if 1 in (array.ndim, len(array)):
            image[...] = array.reshape(image.shape)
        elif array.dtype != np.int16 or not array.flags.c_contiguous:
            image[...] = array.transpose(1, 2, 0)
        else:
            self._in_rows(
                lambda first, last: planes_to_pixels(array, image, first, last), image, threads
            )

    def _give_out(self, image: NDArray, shape: tuple[int, ...], threads: int) -> NDArray:
        """Copy an image to a new ``(C, H, W)`` or ``(F,)`` array."""
        planes = np.empty(shape, image.dtype)
        if 1 in (len(shape), shape[0]):
            planes[...] = image.reshape(shape)
        elif image.dtype != np.int16:
            planes[...] = image.transpose(2, 0, 1)
        else:
            self._in_rows(
                lambda first, last: pixels_to_planes(image, planes, first, last),
                image,
                threads,
            )
        return planes

    def _in_rows(self, work: Callable[[int, int], None], image: NDArray, threads: int) -> None:
        """Call ``work(first, last)`` for the rows of an image, on several threads if that pays."""
        height = len(image)
        if threads == 1 or image.size < SHARED_ELEMENTS:
            work(0, height)
            return
        rows = -(-height // threads)
        self._workers.share(
            lambda _, number: work(number * rows, min((number + 1) * rows, height)),
            -(-height // rows),
            threads,
        )

    def _execute(self, plan: Plan, memory: Memory) -> NDArray[np.int64]:
        """Run all steps; returns the overflows of every stage, a row per thread."""
        bases = plan.addresses(memory)
        overflows = np.zeros((plan.threads, len(plan.program.stages)), np.int64)
        for part in plan.parts:
            if isinstance(part, CompiledSteps):
                self._run_compiled(part, bases, overflows)
            else:
                self._run_bands(plan, memory, part, overflows, plan.counters[part.result])
        return overflows

    def _run_compiled(
        self, part: CompiledSteps, bases: NDArray[np.int64], overflows: NDArray[np.int64]
    ) -> None:
        """Run steps without the interpreter, all threads together."""
        steps = len(part.firsts) - 1
        counters = np.zeros((steps, COUNTERS), np.int64)
        if part.most == 1 or len(bases) == 1:
            run_pieces(part.pieces, part.firsts, bases[0], overflows[0], counters, 0, 0)
            return

        def work(thread: int) -> None:
            arguments = part.pieces, part.firsts, bases[thread], overflows[thread], counters
            done = run_pieces(*arguments, 0, self._workers.pauses(len(bases)))
            while done < steps:
                # Who waits for so long waits for a thread that has no processor.
                time.sleep(NAP_SECONDS)
                done = run_pieces(*arguments, done, FEW_PAUSES)

        self._workers.together(work, min(len(bases), part.most))

    def _run_bands(
        self, plan: Plan, memory: Memory, stage: BandStage, overflows: NDArray[np.int64], slot: int
    ) -> None:
        result = plan.array(memory, stage.result)
        height, width, channels = result.shape
        windows = stage.windows([plan.array(memory, name) for name in stage.inputs], height, width)
        rows = stage.band_rows(height, width, channels, plan.threads)
        if stage.summary is not None:
            windows.append(Window.whole(self._summarize(stage.summary, windows[0], plan.threads)))

        def run_band(thread: int, number: int) -> None:
            first = number * rows
            overflows[thread, slot] += stage.run(windows, result, first, min(rows, height - first))

        self._workers.share(run_band, -(-height // rows), plan.threads)

    def _summarize(self, summary: Summary, source: Window, threads: int) -> NDArray:
        """Summarize an image by parts, which threads share."""
        parts: dict[int, NDArray] = {}

        def take(first: int, last: int) -> None:
            parts[first] = summary.part(source.array[first:last])

        self._in_rows(take, source.array, threads)
        return summary.merge(np.stack([parts[first] for first in sorted(parts)]))

    def _counts(self, plan: Plan, overflows: NDArray[np.int64]) -> dict[str, int]:
        # All nodes of a chain but one are exact: nothing overflows there.
        counts = {node.name: 0 for node in self.graph.nodes}
        for stage, count in zip(plan.program.stages, overflows.sum(axis=0).tolist(), strict=True):
            name = stage.chain.counted or stage.result
            if name in counts:
                counts[name] = count
        return counts


def _batch(plan: Plan, name: str, count: int) -> NDArray:
    """Memory for a value of many images, ``(N, H, W, C)``."""
    shape, dtype = plan.shapes[name], plan.program.dtypes[name]
    memory = aligned_bytes(count * prod(shape) * dtype.itemsize)
    return memory.view(dtype).reshape(count, *shape)
