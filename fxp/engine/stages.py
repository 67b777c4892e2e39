"""Stages: what a plan runs, one compiled step each.

A *command stage* writes itself down as commands and can run over row bands of a strip together with
its neighbours; a *band stage* calls an op's kernel from Python, band by band, over whole images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.engine.chains import Chain
from fxp.formats import saturation_limits
from fxp.graph import Graph, Node
from fxp.graph.ops.base import Operand
from fxp.graph.ops.windows import Window
from fxp.kernels.commands import FIELDS
from fxp.kernels.requantize import OVERFLOW_CODES, ROUNDING_CODES, requantize_band
from fxp.kernels.routines import Call, Kept, written


@dataclass(frozen=True)
class Place:
    """Where an operand of a command begins: base, offset and row pitch in bytes."""

    base: int
    offset: int
    pitch: int

    def fields(self) -> tuple[int, int, int]:
        """Return the fields of a command."""
        return self.base, self.offset, self.pitch

    def moved(self, rows: int, size: int) -> Place:
        """Place some rows down and bytes to the right."""
        return Place(self.base, self.offset + rows * self.pitch + size, self.pitch)


NOWHERE: Final = Place(-1, 0, 0)


@dataclass(frozen=True)
class Region:
    """Part of a stage's result that a command computes.

    Attributes
    ----------
    rows, columns
        Its size.
    first_row, first_column
        Where it begins.
    result, inputs
        Places of the result's first element and of the first element each input's reach begins
        with.
    sizes
        Rows and columns of the whole image that each input is part of.
    spans
        Rows and columns that each input's reach has, of its whole image.
    scratch
        Base and offset of memory that the command may overwrite.
    counted
        Whether overflows are counted.
    slot
        Counter of the overflows.
    kept
        Arrays that live as long as the commands.
    """

    rows: int
    columns: int
    first_row: int
    first_column: int
    result: Place
    inputs: tuple[Place, ...]
    sizes: tuple[tuple[int, int], ...]
    spans: tuple[tuple[tuple[int, int], tuple[int, int]], ...]
    scratch: tuple[int, int]
    counted: bool
    slot: int
    kept: Kept

    def in_one_row(self, result_pixel: int, input_pixels: Sequence[int]) -> Region:
        """Region with all rows side by side, if they follow each other in memory.

        Only for a kernel that computes every pixel from the same pixel of its inputs, wherever it
        lies.

        Parameters
        ----------
        result_pixel, input_pixels
            Bytes of a pixel of the result, and of each input.
        """
        places = (self.result, *self.inputs)
        pixels = (result_pixel, *input_pixels)
        if any(
            place.pitch != self.columns * pixel for place, pixel in zip(places, pixels, strict=True)
        ):
            return self
        return replace(self, rows=1, columns=self.rows * self.columns)

    def command(self, kernel: Any, record: NDArray | None) -> list[int]:
        """Return a command for this region."""
        first, *others = self.inputs
        fields = [
            kernel.address,
            0 if record is None else record.ctypes.data,
            self.rows,
            self.columns,
            self.first_row,
            self.first_column,
            self.slot,
            *self.scratch,
            *self.result.fields(),
            *first.fields(),
            *(others[0] if others else NOWHERE).fields(),
            *(self.sizes[0] if self.sizes else (0, 0)),
        ]
        assert len(fields) == FIELDS
        return fields

    def routine(
        self, call: Call, band: Place, inputs: Sequence[Place], size: int, channels: int
    ) -> list[int]:
        """Return the command of a routine's call.

        Parameters
        ----------
        call
            The call.
        band
            Where the band of the region begins.
        inputs
            Where what the region reads of the operands begins.
        size
            Bytes of an element of the band.
        channels
            Channels of the band.
        """
        pitches = [place.pitch for place in inputs]
        command = written(call, size, self.kept, band.pitch, pitches)
        places = tuple(
            inputs[part.position].moved(part.row, part.column * part.pixel)
            for part in command.images
        )
        result = band.moved(call.row, call.column * size * channels)
        moved = replace(self, result=result, inputs=places or (NOWHERE,))
        return moved.command(command.kernel, command.record)


class Stage:
    """One compiled step: one or more nodes, of which the last one's value is the result."""

    def __init__(self, graph: Graph, chain: Chain, kernel: str) -> None:
        self.chain = chain
        self.kernel = kernel
        """Name of the kernel, for people."""
        names = list(variable_inputs(graph, chain.head))
        self.main_inputs = tuple(names)
        if chain.other is not None:
            names.append(chain.other)
        self.inputs = tuple(names)
        """Values that are read, in the order of places; constants are bound."""
        self.result = chain.last.name
        target = chain.last.quantization
        assert target is not None
        self.dtype = target.format.dtype
        self.operands = graph.operands[chain.head.name]
        self.multiple = chain.factor
        """Regions begin and end at multiples of this."""
        self._positions = [
            position
            for position, name in enumerate(chain.head.inputs)
            if name not in graph.constants_by_name
        ]

    def reach(self, axis: int, position: int, first: int, last: int, size: int) -> tuple[int, int]:
        """Rows or columns of an input that a range of the result reads, as `Op.reach`.

        Parameters
        ----------
        axis
            0 for rows, 1 for columns.
        position
            Which of `inputs`.
        first, last
            The range of the result; `last` is not part of it.
        size
            Rows or columns of the input.
        """
        factor = self.chain.factor
        if position >= len(self._positions):
            return first, last
        return self.chain.head.op.reach(
            self.operands,
            axis,
            self._positions[position],
            first // factor,
            -(-last // factor),
            size,
        )

    def own_size(self, sizes: Mapping[str, tuple[int, int, int]]) -> tuple[int, int, int]:
        """``(H, W, C)`` of a result that is no value of the graph, from those of the values."""
        raise NotImplementedError

    accumulator_dtype = np.dtype(np.int32)

    @property
    def accumulator_bits(self) -> int:
        """Proved width of the accumulator."""
        accumulator = self.chain.head.accumulator
        assert accumulator is not None
        return accumulator.bits


def variable_inputs(graph: Graph, node: Node) -> list[str]:
    """Return the inputs of a node that are not constants."""
    return [name for name in node.inputs if name not in graph.constants_by_name]


class CommandStage(Stage, ABC):
    """A stage that compiled code runs without the interpreter."""

    is_local: bool = True
    """Whether rows of the result need few rows of the inputs, so that it may run with others."""
    before: tuple[CommandStage, ...] = ()
    """Stages that compute what only this one needs."""
    relocatable: bool = True
    """Whether commands for other columns differ in their places alone."""

    @abstractmethod
    def commands(self, region: Region) -> list[list[int]]:
        """Commands that compute a region of the result."""

    def scratch_bytes(self, rows: int, columns: int) -> int:
        """Memory that a command for a region needs to itself."""
        return 0


class BandStage(Stage):
    """One node, by its op's kernel and the general requantize step.

    Parameters
    ----------
    graph, chain
        What is computed.
    reason
        Why no command stage computes it, for people.
    band_bytes
        Accumulators of one band.
    """

    def __init__(self, graph: Graph, chain: Chain, reason: str, band_bytes: int) -> None:
        super().__init__(graph, Chain((chain.head,)), "portable")
        self.reason = reason
        dtype = accumulator_dtype(graph, chain.head)
        self.band_bytes = band_bytes
        node = chain.head
        self.node = node
        self.accumulator_dtype = dtype
        self.run_kernel = node.op.kernel(self.operands, dtype)
        self.summary = node.op.summary(self.operands)
        self.constants = bound_constants(graph, node)
        self.requantization = requantization(node)

    def windows(self, values: Sequence[NDArray], height: int, width: int) -> list[Window]:
        """Windows of all non-bound inputs for the whole result, with the zeros around them.

        Parameters
        ----------
        values
            The inputs, ``(H, W, C)``.
        height, width
            Size of the result.
        """
        given = iter(values)
        windows = []
        for position in range(len(self.node.inputs)):
            if position in self.node.op.constant_roles:
                continue
            array = self.constants[position] if position in self.constants else next(given)
            reaches = [
                self.node.op.reach(self.operands, axis, position, 0, outputs, array.shape[axis])
                for axis, outputs in enumerate((height, width))
            ]
            borders = [
                (max(0, -first), max(0, last - size))
                for (first, last), size in zip(reaches, array.shape, strict=False)
            ]
            padded = np.pad(array, (*borders, (0, 0))) if np.any(borders) else array
            windows.append(Window(padded, -borders[0][0], -borders[1][0], *array.shape[:2]))
        return windows

    def band_rows(self, height: int, width: int, channels: int, threads: int) -> int:
        """Rows of a band.

        Parameters
        ----------
        height, width, channels
            Size of the result.
        threads
            How many threads share the rows.
        """
        row_bytes = width * channels * self.accumulator_dtype.itemsize
        return max(1, min(self.band_bytes // row_bytes, -(-height // threads)))

    def run(self, windows: Sequence[Window], result: NDArray, first_row: int, rows: int) -> int:
        """Compute a band of rows; returns how many elements overflowed.

        Parameters
        ----------
        windows
            The inputs, as `windows` returns them.
        result
            The whole result, ``(H, W, C)``; the band is written.
        first_row, rows
            The band.
        """
        band = np.empty((rows, *result.shape[1:]), self.accumulator_dtype)
        self.run_kernel(band, first_row, 0, windows)
        return requantize_band(result[first_row : first_row + rows], band, *self.requantization)


def accumulator_dtype(graph: Graph, node: Node) -> np.dtype:
    """Return the dtype in which a node's kernel sums."""
    accumulator = node.accumulator
    assert accumulator is not None
    # Wrapping to 32 bits is exact for sums and products whose result is proved to fit, but
    # a comparison (clamp, max) must see its operands whole.
    narrow = accumulator.bits <= 32 and all(
        form.dtype.itemsize <= 4
        for operand in graph.operands[node.name]
        for form in operand.formats
    )
    return np.dtype(np.int32 if narrow else np.int64)


def bound_constants(graph: Graph, node: Node) -> dict[int, NDArray]:
    """Return the constants that a node reads like images, ``(H, W, C)``, by their positions."""
    operands = graph.operands[node.name]
    return {
        position: _image(graph.constants_by_name[name].data, operand)
        for position, (name, operand) in enumerate(zip(node.inputs, operands, strict=True))
        if name in graph.constants_by_name and position not in node.op.constant_roles
    }


def requantization(node: Node) -> tuple[NDArray[np.int64], int, int, int, int, int, bool]:
    """Return what `requantize_band` takes for a node, after the results and the sums."""
    accumulator, target = node.accumulator, node.quantization
    assert accumulator is not None
    assert target is not None
    low, high = saturation_limits(target.format, target.overflow)
    return (
        np.array(accumulator.fracs, np.int64) - target.format.frac,
        ROUNDING_CODES[target.rounding],
        OVERFLOW_CODES[target.overflow],
        low,
        high,
        target.format.width,
        target.format.signed,
    )


def _image(data: NDArray, operand: Operand) -> NDArray:
    """Constant ``(C, H, W)`` or ``(F,)`` as a contiguous ``(H, W, C)`` image."""
    narrow = data.astype(operand.format.dtype)
    if narrow.ndim == 1:
        return narrow.reshape(1, 1, -1)
    return np.ascontiguousarray(narrow.transpose(1, 2, 0))
