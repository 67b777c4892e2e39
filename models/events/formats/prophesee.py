"""Prophesee's RAW files in the encodings EVT 2.0 and EVT 3.0, and DAT files.

The decoders are our own, of about a hundred lines, because they read from a pipe in bounded memory
and give what precedes a broken end. The libraries that decode these formats either read whole files
at once, or are under the GNU licences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.compiler import njit
from fxp.models.events.events import Events, EventsError, Size
from fxp.models.events.formats import Recording

BLOCK: Final = 1 << 18
"""Bytes that are decoded at a time."""
LONGEST_HEADER: Final = 1 << 16
MOST_OF_A_WORD: Final = 12
"""Events of one word of EVT 3.0, at most."""
DAT_2D: Final = (0, 12)
"""Numbers of the kinds of DAT events that have a pixel and a polarity."""

Decoder = Callable[[NDArray, NDArray, NDArray], int]
"""Takes words, the state and the arrays to fill; returns the number of events."""


def read(stream: BufferedReader) -> Recording:
    """Read a RAW or DAT file, which begins with lines that begin with ``%``."""
    header, ahead = _header(stream)
    size = _size(header)
    encoding = _encoding(header)
    if encoding == "dat":
        lead = ahead + stream.read(2 - len(ahead))
        if len(lead) < 2:
            raise EventsError("the DAT file ends within its header")
        kind, width = lead
        if kind not in DAT_2D or width != 8:
            raise EventsError(
                f"the DAT file holds events of kind {kind} in {width} bytes; read are those with a "
                "pixel and a polarity, kind 0 or 12 in 8 bytes"
            )
        return Recording(size, _parts(stream, b"", np.dtype("<u4"), 2, _dat, 1))
    if encoding == "2.0":
        return Recording(size, _parts(stream, ahead, np.dtype("<u4"), 1, _evt2, 1))
    if encoding == "3.0":
        return Recording(size, _parts(stream, ahead, np.dtype("<u2"), 1, _evt3, MOST_OF_A_WORD))
    raise EventsError(
        f"the RAW file is encoded as EVT {encoding}; read are EVT 2.0 and 3.0, so convert it"
    )


def _header(stream: BufferedReader) -> tuple[list[str], bytes]:
    """Return the lines of the header, and the bytes that have been read behind them."""
    lines, length = [], 0
    while True:
        # Old files have no last line of the header, and their first event may begin with a %.
        mark = stream.read(2)
        if mark not in (b"% ", b"%\n"):
            return lines, mark
        line = mark if mark.endswith(b"\n") else stream.readline(LONGEST_HEADER)
        length += len(line)
        if not line.endswith(b"\n") or length > LONGEST_HEADER:
            raise EventsError("the header does not end, so this is no RAW or DAT file")
        text = line.decode(errors="replace").strip()
        if text == "end":
            return lines, b""
        lines.append(text)


def _size(header: list[str]) -> Size | None:
    text = "\n".join(header).lower()
    geometry = re.search(r"geometry (\d+)x(\d+)", text)
    if geometry:
        return int(geometry[1]), int(geometry[2])
    width = re.search(r"width[= ](\d+)", text)
    height = re.search(r"height[= ](\d+)", text)
    return (int(width[1]), int(height[1])) if width and height else None


def _encoding(header: list[str]) -> str:
    text = "\n".join(header).lower()
    named = re.search(r"^format evt(\d)(?:\.?(\d))?", text, re.MULTILINE)
    if named:
        return f"{named[1]}.{named[2] or 0}"
    plain = re.search(r"^evt (\d\.\d)", text, re.MULTILINE)
    return plain[1] if plain else "dat"


def _parts(
    stream: BufferedReader, ahead: bytes, word: np.dtype, together: int, decode: Decoder, most: int
) -> Iterator[Events]:
    """Decode block by block.

    `together` words make an event, and each group of them gives `most` events at most.
    """
    step = word.itemsize * together
    state = np.zeros(8, np.int64)
    room = (BLOCK // step + 1) * most
    while True:
        block = stream.read1(BLOCK)
        data = ahead + block
        whole = len(data) // step * step
        words = np.frombuffer(data[:whole], word)
        # The arrays are the caller's from then on.
        found = np.empty((4, min(room, len(words) * most)), np.int64)
        count = decode(words, state, found)
        yield Events.of(*found[:, :count])
        ahead = data[whole:]
        if not block:
            if ahead:
                raise EventsError(
                    f"the file is cut short: its last event has {len(ahead)} of {step} bytes"
                )
            return


@njit(cache=True, nogil=True)
def _dat(words: NDArray, state: NDArray, found: NDArray) -> int:
    count = len(words) // 2
    for index in range(count):
        place = np.int64(words[2 * index + 1])
        found[0, index] = words[2 * index]
        found[1, index] = place & 0x3FFF
        found[2, index] = (place >> 14) & 0x3FFF
        found[3, index] = (place >> 28) & 1
    return count


@njit(cache=True, nogil=True)
def _evt2(words: NDArray, state: NDArray, found: NDArray) -> int:
    """Decode EVT 2.0; `state` is: time known, upper bits, times they have begun anew."""
    count = 0
    for index in range(len(words)):
        word = np.int64(words[index])
        kind = word >> 28
        if kind == 8:
            high = word & 0xFFFFFFF
            if state[0] and state[1] >= high + (1 << 27):
                state[2] += 1
            state[0], state[1] = 1, high
        elif kind <= 1 and state[0]:
            found[0, count] = (state[2] << 34) + (state[1] << 6) + ((word >> 22) & 0x3F)
            found[1, count] = (word >> 11) & 0x7FF
            found[2, count] = word & 0x7FF
            found[3, count] = kind
            count += 1
    return count


@njit(cache=True, nogil=True)
def _evt3(words: NDArray, state: NDArray, found: NDArray) -> int:
    """Decode EVT 3.0.

    `state` is: time known, upper bits, times they have begun anew, lower bits, row, first column
    of a vector, its polarity.
    """
    count = 0
    for index in range(len(words)):
        word = np.int64(words[index])
        kind, content = word >> 12, word & 0xFFF
        if kind == 8:
            if state[0] and state[1] >= content + (1 << 11):
                state[2] += 1
            if state[1] != content:
                # The lower bits follow; until then the old ones would be too large.
                state[3] = 0
            state[0], state[1] = 1, content
        elif kind == 6:
            state[3] = content
        elif kind == 0:
            state[4] = content & 0x7FF
        elif kind == 3:
            state[5], state[6] = content & 0x7FF, content >> 11
        elif kind == 2 or kind == 4 or kind == 5:
            time = (state[2] << 24) + (state[1] << 12) + state[3]
            length = 1 if kind == 2 else 12 if kind == 4 else 8
            first = content & 0x7FF if kind == 2 else state[5]
            sign = content >> 11 if kind == 2 else state[6]
            for place in range(length):
                if state[0] and (kind == 2 or (content >> place) & 1):
                    found[0, count] = time
                    found[1, count] = first + place
                    found[2, count] = state[4]
                    found[3, count] = sign
                    count += 1
            if kind != 2:
                state[5] += length
    return count
