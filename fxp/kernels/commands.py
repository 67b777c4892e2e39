"""Commands: what a plan tells compiled code to do, as rows of integers.

A plan works everything out beforehand - which rows of which buffer, at which address - and writes
it down as commands. Running it is then one loop in compiled code without the interpreter, which is
what lets a whole network walk over bands of a few rows in the caches.

A command names a kernel (a C function by address), a *block* of the kernel's own parameters
(weights, shifts, bounds), and where its operands lie: a base, whose address is known only when the
plan runs, and an offset in bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from fxp.kernels.compiler import I64, carray, cfunc, code_generator, njit

KERNEL: Final = 0
"""Field: address of the kernel."""
BLOCK: Final = 1
"""Field: address of the kernel's parameters."""
ROWS: Final = 2
"""Field: rows of the region."""
COLUMNS: Final = 3
"""Field: columns of the region."""
FIRST_ROW: Final = 4
"""Field: row of the image at which the region begins."""
FIRST_COLUMN: Final = 5
"""Field: column of the image at which the region begins."""
SLOT: Final = 6
"""Field: index of the counter of overflows."""
SCRATCH: Final = 7
"""Two fields of memory that the kernel may overwrite: base, offset in bytes."""
RESULT: Final = 9
"""Three fields of the result: base, offset in bytes, bytes from one row to the next."""
INPUT: Final = 12
"""Three fields of the first operand, for the first input that the region reads."""
OTHER: Final = 15
"""Three fields of the second operand; base -1 for none."""
SIZE: Final = 18
"""Two fields: rows and columns of the whole image that the first operand is part of."""
FIELDS: Final = 20

INTEGERS: Final = {2: np.int16, 4: np.int32}
"""Types of the values that commands read and write, by their bytes."""

signature = types.int64(types.CPointer(types.int64), types.CPointer(types.int64))
kernel: Final[Callable[[Callable[..., int]], Any]] = cfunc(signature)
"""Decorator of a kernel: ``kernel(command, bases) -> overflows``."""


@code_generator
def pointer(typingctx, address):  # type: ignore[no-untyped-def]
    """Turn an address into a pointer that `numba.carray` takes."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), codegen


@code_generator
def _call(typingctx, address, command, bases):  # type: ignore[no-untyped-def]
    """Call the kernel at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        integer = ir.IntType(64)
        kind = ir.FunctionType(integer, [integer.as_pointer(), integer.as_pointer()])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        places = [builder.inttoptr(a, integer.as_pointer()) for a in arguments[1:]]
        return builder.call(function, places)

    return types.int64(types.int64, types.int64, types.int64), codegen


@code_generator
def move_bytes(typingctx, target, source, count):  # type: ignore[no-untyped-def]
    """Copy bytes from one address to another; the ranges may overlap.

    Parameters
    ----------
    target, source
        Addresses.
    count
        Number of bytes.
    """

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        places = [builder.inttoptr(place, byte) for place in arguments[:2]]
        cgutils.raw_memmove(builder, places[0], places[1], arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@code_generator
def _zero_bytes(typingctx, target, count):  # type: ignore[no-untyped-def]
    """Fill bytes with zeros."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        cgutils.memset(builder, place, arguments[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@code_generator
def _add_atomically(typingctx, address, value):  # type: ignore[no-untyped-def]
    """Add to the int64 at an address, seen by all threads; returns what it was before."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], I64.as_pointer())
        return builder.atomic_rmw("add", place, arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@code_generator
def _load_atomically(typingctx, address):  # type: ignore[no-untyped-def]
    """Load the int64 at an address as other threads left it."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], I64.as_pointer())
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(types.int64), codegen


PAUSES: Final = {"x86_64": "pause", "i686": "pause", "aarch64": "yield", "arm64": "yield"}
"""Instructions that tell a processor that this thread waits for another one."""


@code_generator
def _pause(typingctx):  # type: ignore[no-untyped-def]
    """Wait for a moment."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        architecture = llvm.get_process_triple().partition("-")[0]
        instruction = PAUSES.get(architecture)
        if instruction is not None:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(ir.InlineAsm(kind, instruction, "~{memory}", side_effect=True), [])
        return context.get_dummy_value()

    return types.void(), codegen


@njit(cache=True, nogil=True)
def run_commands(
    commands: NDArray[np.int64], bases: NDArray[np.int64], overflows: NDArray[np.int64]
) -> None:
    """Run commands in order.

    Parameters
    ----------
    commands
        ``(n, FIELDS)``.
    bases
        Addresses of what the commands' bases stand for.
    overflows
        Counters; every kernel adds to the one of its slot.
    """
    for index in range(commands.shape[0]):
        command = commands[index]
        overflows[command[SLOT]] += _call(command[KERNEL], command.ctypes.data, bases.ctypes.data)


COUNTERS: Final = 16
"""Integers per step that threads share: two that are used, and so many that steps do not share a
cache line."""
PAUSES_BEFORE_SLEEP: Final = 5000
"""How often a thread looks whether the others are done before it sleeps: for about as long as the
system takes to wake it up, 100 µs."""
FEW_PAUSES: Final = 500
"""How often it does where a processor has more to do than this thread."""


@njit(cache=True, nogil=True)
def wait_for_change(place: int, known: int, pauses: int) -> bool:
    """Look at a number until another thread has changed it; returns whether one has.

    Parameters
    ----------
    place
        Address of an int64.
    known
        What it was.
    pauses
        How often to look.
    """
    for _ in range(pauses):
        if _load_atomically(place) != known:
            return True
        _pause()
    return False


@njit(cache=True, nogil=True)
def run_pieces(
    pieces: NDArray[np.int64],
    firsts: NDArray[np.int64],
    bases: NDArray[np.int64],
    overflows: NDArray[np.int64],
    counters: NDArray[np.int64],
    first_step: int,
    most_pauses: int,
) -> int:
    """Run steps together with other threads, which run the same function.

    The threads take the pieces of a step one by one. A step begins when all pieces of the one
    before are done.

    Parameters
    ----------
    pieces
        ``(n, 2)``: address of the commands of every piece, and how many there are.
    firsts
        First piece of every step, and the number of pieces.
    bases, overflows
        As in `run_commands`; of this thread alone.
    counters
        ``(steps, COUNTERS)``: pieces of every step that were taken and that are done; zeros
        before the first thread begins.
    first_step
        Where to begin; 0, or what the last call of this thread returned.
    most_pauses
        How often to look whether the other threads are done with a step.

    Returns
    -------
    int
        The number of steps; or a smaller one if other threads take long with the pieces of that
        step. The caller then sleeps for a while and calls again.
    """
    steps = firsts.size - 1
    for step in range(first_step, steps):
        first, last = firsts[step], firsts[step + 1]
        taken = counters.ctypes.data + 8 * COUNTERS * step
        done = taken + 8
        while True:
            number = first + _add_atomically(taken, 1)
            if number >= last:
                break
            commands = carray(pointer(pieces[number, 0]), (pieces[number, 1], FIELDS), np.int64)
            run_commands(commands, bases, overflows)
            _add_atomically(done, 1)
        pauses = 0
        while _load_atomically(done) < last - first:
            if pauses == most_pauses:
                return step
            _pause()
            pauses += 1
    return steps


@njit(cache=True, nogil=True)
def run_images(
    pieces: NDArray[np.int64],
    bases: NDArray[np.int64],
    moving: NDArray[np.int64],
    overflows: NDArray[np.int64],
    counter: NDArray[np.int64],
    count: int,
) -> None:
    """Run all steps for images of a batch, which threads that run this function take one by one.

    Parameters
    ----------
    pieces
        As in `run_pieces`, of all steps.
    bases
        As in `run_commands`; of this thread alone, and written.
    moving
        ``(n, 3)``: the bases that differ from image to image, the address of the first image, and
        bytes from one image to the next.
    overflows
        As in `run_commands`; of this thread alone.
    counter
        Images that were taken, one element; zero before the first thread begins.
    count
        How many images there are.
    """
    while True:
        image = _add_atomically(counter.ctypes.data, 1)
        if image >= count:
            break
        for index in range(moving.shape[0]):
            bases[moving[index, 0]] = moving[index, 1] + image * moving[index, 2]
        for number in range(pieces.shape[0]):
            commands = carray(pointer(pieces[number, 0]), (pieces[number, 1], FIELDS), np.int64)
            run_commands(commands, bases, overflows)


@njit(cache=True, nogil=True, inline="always")
def operand(command: NDArray[np.int64], bases: NDArray[np.int64], field: int) -> int:
    """Address of an operand.

    Parameters
    ----------
    command
        A command.
    bases
        Addresses of what the bases stand for.
    field
        First field of the operand: `RESULT`, `INPUT`, `OTHER` or `SCRATCH`.
    """
    return bases[command[field]] + command[field + 1]


@kernel
def copy_rows(command_at: Any, bases_at: Any) -> int:
    """Copy rows of as many bytes as the command has columns."""
    command = carray(command_at, FIELDS)
    bases = carray(bases_at, 1 << 16)
    target, source = operand(command, bases, RESULT), operand(command, bases, INPUT)
    for y in range(command[ROWS]):
        move_bytes(
            target + y * command[RESULT + 2], source + y * command[INPUT + 2], command[COLUMNS]
        )
    return 0


@kernel
def zero_rows(command_at: Any, bases_at: Any) -> int:
    """Fill rows of as many bytes as the command has columns with zeros."""
    command = carray(command_at, FIELDS)
    bases = carray(bases_at, 1 << 16)
    target = operand(command, bases, RESULT)
    for y in range(command[ROWS]):
        _zero_bytes(target + y * command[RESULT + 2], command[COLUMNS])
    return 0
