"""Routines: compiled functions that ops call, at once or later as commands.

A routine fills a band of results from arrays and numbers. An op's kernel calls it with whole images
(`fxp.graph.ops.base.Kernel`), and it runs. A plan calls the same kernel of the op once, beforehand,
with a `Recorder` for the band and a `Part` for each image: the routine then notes what it is called
with, and `Recorder.calls` become commands (`fxp.kernels.commands`), which need no interpreter. So
the arithmetic of an op is written once, and every op can be a part of a segment.

A command's record is a row of int64: the numbers, and for every array its address and its shape, in
the order of the arguments. What the arguments are is a text, the *form*, for which one kernel is
compiled: letters and sizes of elements only, so that there are few of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
from llvmlite import ir
from numba import types
from numba.np.arrayobj import make_array, populate_array
from numpy.typing import NDArray

from fxp.kernels import commands, compiler
from fxp.kernels.commands import BLOCK, INPUT, OTHER, RESULT, kernel
from fxp.kernels.compiler import I64, code_generator, njit

VALUES: Final = {2: np.int16, 4: np.int32, 8: np.int64}
"""Types of values and sums, by their bytes."""
_BAND, _IMAGE, _ARRAY = "band", "image", "array"
_ELEMENTS: Final = {
    "i1": types.int8,
    "u1": types.uint8,
    "i2": types.int16,
    "i4": types.int32,
    "i8": types.int64,
}
_NUMBERS: Final = {"bool": types.boolean, "i4": types.int32, "i8": types.int64}
_ROUTINES: Final[dict[str, Routine]] = {}
"""Every routine by name; filled while the modules of kernels are imported."""
_SHARED: Final = crc32(
    b"".join(
        Path(str(file)).read_bytes() for file in (__file__, commands.__file__, compiler.__file__)
    )
)


@dataclass(frozen=True)
class Part:
    """Stands for the part of an operand that a region reads, while an op's kernel is recorded.

    Attributes
    ----------
    position
        Which of the stage's inputs.
    shape
        Rows, columns and channels.
    dtype
        Of an element.
    pixel
        Bytes of a pixel.
    row, column
        Where it begins in what the region reads.
    """

    position: int
    shape: tuple[int, int, int]
    dtype: np.dtype
    pixel: int
    row: int = 0
    column: int = 0

    def __getitem__(self, spans: tuple[slice, slice]) -> Part:
        return _cut(self, spans)

    def reshape(self, rows: int, columns: int, channels: int) -> Part:
        """Join the pixels of a row.

        Parameters
        ----------
        rows
            As many as there are.
        columns
            1.
        channels
            -1, which stands for all elements of a row.
        """
        return replace(self, shape=_joined(self.shape, (rows, columns, channels)))


@dataclass(frozen=True)
class Call:
    """A routine with its arguments, and the shape of its band and where it begins."""

    routine: Routine
    arguments: tuple[Any, ...]
    band: tuple[int, int, int]
    row: int
    column: int


@dataclass
class Recorder:
    """Stands for the band of results while an op's kernel is recorded.

    Attributes
    ----------
    shape
        Rows, columns and channels.
    dtype
        Of the results.
    row, column
        Where the band begins in what is recorded.
    calls
        What is to be run, in order.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    row: int = 0
    column: int = 0
    calls: list[Call] = field(default_factory=list)

    def __getitem__(self, spans: tuple[slice, slice]) -> Recorder:
        return _cut(self, spans)

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, rows: int, columns: int, channels: int) -> Recorder:
        """Join the pixels of a row.

        Parameters
        ----------
        rows
            As many as there are.
        columns
            1.
        channels
            -1, which stands for all elements of a row.
        """
        return replace(self, shape=_joined(self.shape, (rows, columns, channels)))


def _cut(image: Any, spans: tuple[slice, slice]) -> Any:
    """Part of rows and columns of a part or a band."""
    rows, columns = (
        range(*span.indices(size)) for span, size in zip(spans, image.shape, strict=False)
    )
    shape = (len(rows), len(columns), image.shape[2])
    row, column = image.row + rows.start, image.column + columns.start
    return replace(image, shape=shape, row=row, column=column)


def _joined(shape: tuple[int, int, int], wanted: tuple[int, int, int]) -> tuple[int, int, int]:
    assert wanted == (shape[0], 1, -1)
    return shape[0], 1, shape[1] * shape[2]


def row_vectors(image: Any) -> Any:
    """Return an image or band whose rows are one pixel of all their channels each."""
    return image.reshape(image.shape[0], 1, -1)


class Routine:
    """A compiled function ``function(band, ...)``; see the module.

    Parameters
    ----------
    function
        Plain loops that Numba compiles; the first argument is the band ``(rows, W, C)``. It may
        return how many results overflowed.
    """

    def __init__(self, function: Callable[..., np.int64 | None]) -> None:
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.compiled: Any = njit(cache=True, nogil=True)(function)
        source = Path(str(inspect.getsourcefile(function))).read_bytes()
        # Part of the form: Numba's cache then knows a kernel of an older routine from a new one.
        self.version = f"{self.name}:{crc32(source, _SHARED):x}"
        _ROUTINES[self.name] = self

    def __call__(self, band: Any, *arguments: Any) -> Any:
        """Run the function, or note the call if the band is a `Recorder`."""
        if isinstance(band, Recorder):
            band.calls.append(Call(self, arguments, band.shape, band.row, band.column))
            return None
        return self.compiled(band, *arguments)


def routine(function: Callable[..., np.int64 | None]) -> Routine:
    """Make a function a routine."""
    return Routine(function)


@dataclass(frozen=True)
class Written:
    """A call as a command has it.

    Attributes
    ----------
    kernel
        The compiled kernel.
    record
        Its numbers, shapes and addresses.
    images
        Operands in the order of the command's fields, at most two.
    """

    kernel: Any
    record: NDArray[np.int64]
    images: tuple[Part, ...]


Kept = dict[tuple[str, tuple[int, ...], bytes], NDArray]
"""Arrays whose addresses commands hold, by their contents."""


def keep(kept: Kept, array: NDArray) -> NDArray:
    """Return an array that lives as long as `kept`, equal to this one."""
    return kept.setdefault(
        (array.dtype.str, array.shape, array.tobytes()), np.ascontiguousarray(array)
    )


def written(
    call: Call, result_size: int, kept: Kept, pitch: int, pitches: Sequence[int]
) -> Written:
    """Write a call down.

    Parameters
    ----------
    call
        The call.
    result_size
        Bytes of an element of the band.
    kept
        Takes in the arrays whose addresses are in the record, and the record.
    pitch, pitches
        Bytes from one row to the next of the band, and of every operand.
    """
    layout = _layout(call.band, result_size, pitch)
    form, record = [f"{_BAND}.i{result_size}.{layout}"], list(call.band)
    images = []
    for argument in call.arguments:
        if isinstance(argument, Part):
            size = argument.dtype.itemsize
            layout = _layout(argument.shape, size, pitches[argument.position])
            form.append(f"{_IMAGE}.i{size}.{layout}")
            record += argument.shape
            images.append(argument)
        elif isinstance(argument, np.ndarray):
            array = keep(kept, argument)
            form.append(f"{_ARRAY}.{array.dtype.kind}{array.dtype.itemsize}.{array.ndim}")
            record += [array.ctypes.data, *array.shape]
        elif isinstance(argument, tuple):
            form.append(f"tuple.{len(argument)}")
            record += argument
        else:
            narrow = isinstance(argument, np.integer) and argument.dtype.itemsize <= 4
            form.append("bool" if isinstance(argument, bool) else "i4" if narrow else "i8")
            record.append(int(argument))
    assert len(images) <= 2
    text = ",".join((call.routine.version, *form))
    numbers = keep(kept, np.array(record, np.int64))
    return Written(routine_kernel(text), numbers, tuple(images))


def _layout(shape: tuple[int, int, int], size: int, pitch: int) -> str:
    """Numba's name of a layout: C where rows lie side by side, which makes faster code; else A."""
    return "C" if shape[0] == 1 or pitch == shape[1] * shape[2] * size else "A"


@code_generator
def _run(typingctx, command, bases, form):  # type: ignore[no-untyped-def]
    """Call the routine that a form names with what a command says."""
    name, *kinds = form.literal_value.split(",")
    arguments = [_argument_type(kind) for kind in kinds]
    function = types.Dispatcher(_ROUTINES[name.split(":")[0]].compiled)
    call = function.get_call_type(typingctx, tuple(arguments), {})
    counts = call.return_type == types.int64

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        reader = _Reader(context, builder, values[0], values[1])
        passed = [reader.argument(kind, form) for kind, form in zip(kinds, arguments, strict=True)]
        implementation = context.get_function(function, call)
        context.add_linking_libs(getattr(implementation, "libs", ()))
        result = implementation(builder, passed)
        return result if counts else I64(0)

    return types.int64(types.int64, types.int64, form), codegen


def _argument_type(kind: str) -> Any:
    first, *rest = kind.split(".")
    if first in (_BAND, _IMAGE):
        return types.Array(_ELEMENTS[rest[0]], 3, rest[1])
    if first == _ARRAY:
        return types.Array(_ELEMENTS[rest[0]], int(rest[1]), "C")
    if first == "tuple":
        return types.UniTuple(types.int64, int(rest[0]))
    return _NUMBERS[first]


class _Reader:
    """Writes the code that makes a routine's arguments of a command and its record.

    Parameters
    ----------
    context, builder
        Of Numba.
    command, bases
        Addresses.
    """

    def __init__(self, context: Any, builder: ir.IRBuilder, command: Any, bases: Any) -> None:
        self.context, self.builder = context, builder
        self.command, self.bases = command, bases
        self.record = self._load(command, BLOCK)
        self.taken = 0
        self.fields = [INPUT, OTHER]

    def _load(self, base: Any, index: Any) -> Any:
        return self.builder.load(
            compiler.address(
                self.builder, base, I64(index) if isinstance(index, int) else index, I64
            )
        )

    def _next(self) -> Any:
        value = self._load(self.record, self.taken)
        self.taken += 1
        return value

    def argument(self, kind: str, form: Any) -> Any:
        """Return the next argument.

        Parameters
        ----------
        kind
            What the form says of it.
        form
            Its type.
        """
        builder, context = self.builder, self.context
        first = kind.split(".")[0]
        if first in (_BAND, _IMAGE):
            field = RESULT if first == _BAND else self.fields.pop(0)
            place = builder.add(
                self._load(self.bases, self._load(self.command, field)),
                self._load(self.command, field + 1),
            )
            shape = [self._next() for _ in range(3)]
            return self._view(form, place, shape, self._load(self.command, field + 2))
        if first == _ARRAY:
            place = self._next()
            return self._view(form, place, [self._next() for _ in range(form.ndim)])
        if first == "tuple":
            items = [self._next() for _ in range(form.count)]
            return context.make_tuple(builder, form, items)
        return context.cast(builder, self._next(), types.int64, form)

    def _view(self, form: Any, place: Any, shape: list[Any], pitch: Any = None) -> Any:
        """Make an array; its elements lie side by side, but for rows that are `pitch` apart."""
        builder, context = self.builder, self.context
        element = context.get_data_type(form.dtype)
        size = I64(context.get_abi_sizeof(element))
        strides: list[Any] = [size]
        for extent in reversed(shape[1:]):
            strides = [builder.mul(strides[0], extent), *strides]
        if pitch is not None:
            strides[0] = pitch
        view = make_array(form)(context, builder)
        data = builder.inttoptr(place, element.as_pointer())
        populate_array(view, data, shape=shape, strides=strides, itemsize=size, meminfo=None)
        return view._getvalue()


@cache
def routine_kernel(form: str) -> Any:
    """Return the kernel that runs a routine with arguments of a form."""

    @kernel
    def run_routine(command_at: Any, bases_at: Any) -> int:
        command = compiler.carray(command_at, 1)
        bases = compiler.carray(bases_at, 1)
        return _run(command.ctypes.data, bases.ctypes.data, form)

    return run_routine


__all__ = [
    "VALUES",
    "Call",
    "Part",
    "Recorder",
    "Routine",
    "Written",
    "routine",
    "row_vectors",
    "written",
]
