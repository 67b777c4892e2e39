"""Text: one event a line, time, column, row and polarity, as in the Event Camera Dataset."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator
from io import BufferedReader
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.compiler import njit
from fxp.models.events.events import Events, EventsError
from fxp.models.events.formats import NAMES, Recording

BLOCK: Final = 1 << 22
"""Bytes that are read at a time."""
LONGEST_LINE: Final = 4096
DIGITS: Final = 18
"""Digits of a number that count; further ones of its fraction are left out."""
MICROSECONDS: Final = 6
"""Decimal digits of a second."""
_SHORTEST: Final = 8
"""Bytes of the shortest line, ``0 0 0 0`` and its end."""


def read(stream: BufferedReader) -> Recording:
    """Read text.

    A line is ``time x y polarity``, separated by spaces, tabs or commas. Times are seconds if the
    first that is not written as 0 has a decimal point or an exponent, else microseconds. A first
    line of two numbers is the width and the height of the sensor; one of four names says the order
    of the columns. Lines that begin with ``#``, and empty ones, are left out.
    """
    first, before = _first_line(stream)
    fields = first.decode("ascii", "replace").replace(",", " ").split()
    size, order = None, list(range(4))
    if len(fields) == 2 and all(field.isdigit() for field in fields):
        size = (int(fields[0]), int(fields[1]))
    elif len(fields) == 4 and fields[0][0].isalpha():
        order = _order(fields)
    else:
        return Recording(None, _parts(stream, first, before, order))
    return Recording(size, _parts(stream, b"", before + 1, order))


def _order(titles: list[str]) -> list[int]:
    """Return which of time, column, row and polarity each column is."""
    plain = [title.partition("@")[0].lower() for title in titles]
    order = [
        next((place for place, known in enumerate(NAMES.values()) if title in known), -1)
        for title in plain
    ]
    if sorted(order) != list(range(4)):
        raise EventsError(
            f"the first line names the columns {', '.join(titles)}; they must be t, x, y and p"
        )
    return order


def _first_line(stream: BufferedReader) -> tuple[bytes, int]:
    """Return the first line that is no comment, and the number of lines before it."""
    before = 0
    while True:
        line = stream.readline(LONGEST_LINE)
        if not before:
            line = line.removeprefix(BOM_UTF8)
        if not line or (line.strip() and not line.startswith(b"#")):
            return line, before
        before += 1


def _in_seconds(data: bytes, column: int) -> bool | None:
    """Say whether the first line that tells the unit tells seconds; None if there is none.

    Comments tell nothing, and nor does a time that is written as 0, which is the same in both.
    """
    for line in data.splitlines():
        fields = line.replace(b",", b" ").split()
        if len(fields) > column and not line.startswith(b"#"):
            time = fields[column]
            if _has_fraction(time):
                return True
            if time.strip(b"+-0"):
                return False
    return None


def _has_fraction(number: bytes) -> bool:
    return any(mark in number.lower() for mark in (b".", b"e"))


def _parts(stream: BufferedReader, rest: bytes, line: int, order: list[int]) -> Iterator[Events]:
    seconds: bool | None = None
    column = order.index(0)
    places = np.array(order)
    while True:
        block = stream.read1(BLOCK)
        data = rest + block
        if not data:
            return
        end = len(data) if not block else data.rfind(b"\n") + 1
        if not end and len(data) > LONGEST_LINE:
            raise EventsError(f"line {line + 1} has more than {LONGEST_LINE} bytes; is it text?")
        if not block and not data.endswith(b"\n"):
            data += b"\n"
            end += 1
        if seconds is None:
            # A number at the end may go on in the next part.
            seconds = _in_seconds(data[:end], column)
        bytes_ = np.frombuffer(data, np.uint8)[:end]
        room = len(bytes_) // _SHORTEST + 1
        found = np.empty((4, room), np.int64)
        count, lines, fault = _parse(bytes_, bool(seconds), places, found)
        yield Events.of(*found[:, :count])
        if fault >= 0:
            start = data.rfind(b"\n", 0, fault) + 1
            whole = data[start : data.find(b"\n", start)]
            text = whole[:60].decode(errors="replace")
            what = "is cut short" if not block and fault >= end - 1 else "is no event"
            help_ = "it must hold time, x, y and polarity"
            read = data[start:fault].replace(b",", b" ").split()
            if not seconds and len(read) == column + 1 and _has_fraction(read[column]):
                help_ = (
                    "its time has a fraction, but those before it are microseconds, as the first "
                    "that is not 0 has no decimal point; for seconds, write that one with a point"
                )
            raise EventsError(f"line {line + lines + 1} {what}: {text!r}; {help_}")
        line += lines
        rest = data[end:]
        if not block:
            return


@njit(cache=True, nogil=True)
def _parse(data: NDArray, seconds: bool, order: NDArray, found: NDArray) -> tuple[int, int, int]:
    """Read whole lines; return events, lines, and the place of the first fault or -1."""
    place, count, lines = 0, 0, 0
    end = len(data)
    while place < end:
        place = _skip(data, place)
        if data[place] == 10 or data[place] == 35:  # A line end, or a comment.
            while data[place] != 10:
                place += 1
            place += 1
            lines += 1
            continue
        for field in range(4):
            digits, exponent, place, good = _number(data, _skip(data, place))
            if not good:
                return count, lines, place
            meant = order[field]
            if meant == 0 and seconds:
                exponent += MICROSECONDS
            found[meant, count], exact = _scaled(digits, exponent)
            # A time of seconds may be rounded, but it must not be too large.
            if not exact and (meant > 0 or not seconds or exponent > 0):
                return count, lines, place
        place = _skip(data, place)
        if data[place] != 10:
            return count, lines, place
        place += 1
        lines += 1
        count += 1
    return count, lines, -1


@njit(cache=True, nogil=True)
def _skip(data: NDArray, place: int) -> int:
    """Go over spaces, tabs, commas and carriage returns."""
    while data[place] == 32 or data[place] == 9 or data[place] == 44 or data[place] == 13:
        place += 1
    return place


@njit(cache=True, nogil=True)
def _number(data: NDArray, place: int) -> tuple[int, int, int, bool]:
    """Read a decimal number: its digits, its power of ten, the place behind, and if it is one."""
    negative = data[place] == 45
    if negative or data[place] == 43:
        place += 1
    digits, exponent, length, read = 0, 0, 0, 0
    fraction = False
    while True:
        code = data[place]
        if 48 <= code <= 57:
            read += 1
            if length < DIGITS:
                digits = 10 * digits + (code - 48)
                length += digits > 0
                exponent -= fraction
            elif not fraction:
                return 0, 0, place, False
        elif code == 46 and not fraction:
            fraction = True
        else:
            break
        place += 1
    if read == 0:
        return 0, 0, place, False
    if data[place] == 101 or data[place] == 69:
        place += 1
        minus = data[place] == 45
        if minus or data[place] == 43:
            place += 1
        power, any_digit = 0, False
        while 48 <= data[place] <= 57:
            power = min(10 * power + (data[place] - 48), 99)
            any_digit = True
            place += 1
        if not any_digit:
            return 0, 0, place, False
        exponent += -power if minus else power
    return -digits if negative else digits, exponent, place, True


@njit(cache=True, nogil=True)
def _scaled(digits: int, exponent: int) -> tuple[int, bool]:
    """Multiply by a power of ten, rounded to the nearest integer, and say if that was exact."""
    while exponent > 0 and digits != 0:
        if abs(digits) > 2**62 // 10:
            return 0, False
        digits *= 10
        exponent -= 1
    if exponent >= 0 or digits == 0:
        return digits, True
    if exponent < -DIGITS:
        return 0, False
    divisor = 1
    for _ in range(-exponent):
        divisor *= 10
    size = abs(digits)
    # Half of the divisor is exact, as it is even.
    nearest = size // divisor + (size % divisor >= divisor // 2)
    return (-nearest if digits < 0 else nearest), size % divisor == 0
