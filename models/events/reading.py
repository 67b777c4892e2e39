"""Recordings of event cameras, read part by part from a file or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from io import BufferedReader
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from fxp.models.events.events import Events, EventsError, Size, checked
from fxp.models.events.formats import Recording, aedat4, arrays, prophesee, rosbag, text
from fxp.support.errors import ArgumentError, ArgumentTypeError

STREAM: Final = "-"
MARKS: Final = {
    b"PK": "npz",
    b"\x89HDF": "hdf5",
    b"#!AER-DAT4": "aedat4",
    b"#ROSBAG V2": "rosbag",
    b"%": "prophesee",
}
"""How files begin, and what they are; a file that begins otherwise is text."""
LONGEST_MARK: Final = max(map(len, MARKS))
ARCHIVES: Final = {
    "npz": arrays.read_npz,
    "hdf5": arrays.read_hdf5,
    "aedat4": aedat4.read,
    "rosbag": rosbag.read,
}
"""Readers of what cannot come through a pipe, because it is not read from front to back."""


class EventReader:
    """The events of a recording, part by part, checked as `fxp.models.events.events.checked` says.

    What the file holds is told by its first bytes, not by its name: text, ``.npz``, HDF5,
    AEDAT 4, Prophesee RAW (EVT 2.0 and 3.0) and DAT, and ROS bags.

    Parameters
    ----------
    source
        A file, the folder of a ROS 2 bag, ``-`` for standard input, or an open binary stream.
        Text, RAW and DAT may come through a pipe.
    size
        Width and height of the sensor, which goes before what the file says.
    outside
        What becomes of events outside the sensor: ``"refuse"`` or ``"drop"``.

    Attributes
    ----------
    size : tuple of int
        Width and height of the sensor.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If the source is neither a path nor a binary stream, or the size is no width and height.
    EventsError
        If the file is missing or of no known kind, or nothing says how large the sensor is; while
        it is read, if it is damaged, after the events before the damage as far as the kind of
        file allows.

    Examples
    --------
    >>> with EventReader("recording.raw") as reader:  # doctest: +SKIP
    ...     for events in reader:
    ...         print(len(events))
    """

    def __init__(
        self, source: str | Path | IO[bytes], *, size: Size | None = None, outside: str = "refuse"
    ) -> None:
        self._file: IO[bytes] | None = None
        if size is not None:
            _check_size(size)
        if not isinstance(source, str | Path) and not hasattr(source, "readinto"):
            raise ArgumentTypeError(
                f"a recording must be a path or an open binary stream, not {type(source).__name__}"
            )
        self._name = source if isinstance(source, str | Path) else "the stream"
        try:
            recording = self._recording(source)
            found = recording.size if size is None else (int(size[0]), int(size[1]))
            if found is not None and min(found) < 1:
                raise EventsError(
                    f"{self._name} says that the sensor has {found[0]}x{found[1]} pixels; give its "
                    "size, --size WIDTHxHEIGHT"
                )
            if found is None:
                raise EventsError(
                    f"{self._name} does not say how large the sensor is; give its size, --size "
                    "WIDTHxHEIGHT"
                )
        except BaseException:
            self.close()
            raise
        self.size: Size = found
        self._parts = checked(recording.parts, found, outside=outside)

    def __iter__(self) -> Iterator[Events]:
        return self._parts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _recording(self, source: str | Path | IO[bytes]) -> Recording:
        if isinstance(source, str | Path) and str(source) != STREAM:
            path = Path(source)
            if path.is_dir():
                return rosbag.read(path)
            try:
                self._file = path.open("rb")
            except OSError as error:
                raise EventsError(f"cannot read {path}: {error.strerror}") from error
            stream = self._file
        else:
            path = None
            stream = sys.stdin.buffer if isinstance(source, str | Path) else source
        # One more buffer lets the first bytes be looked at without taking them.
        ahead = stream if isinstance(stream, BufferedReader) else BufferedReader(stream)  # type: ignore[arg-type]
        first = ahead.peek(LONGEST_MARK)[:LONGEST_MARK]
        kind = next((kind for mark, kind in MARKS.items() if first.startswith(mark)), "text")
        if not first:
            raise EventsError(f"{self._name} is empty")
        if kind in ARCHIVES:
            if path is None:
                raise EventsError(
                    f"a recording of the kind {kind} cannot be read from a pipe; give the file"
                )
            self.close()
            return ARCHIVES[kind](path)
        return prophesee.read(ahead) if kind == "prophesee" else text.read(ahead)


def _check_size(size: Size) -> None:
    if (
        not isinstance(size, Sequence)
        or len(size) != 2
        or not all(isinstance(side, Integral) and side > 0 for side in size)
    ):
        raise ArgumentError(
            f"the size must be the width and the height of the sensor, such as (640, 480), not "
            f"{size!r}"
        )


def read_events(
    source: str | Path | IO[bytes], *, size: Size | None = None, outside: str = "refuse"
) -> Events:
    """Read a whole recording at once; `EventReader` reads large ones part by part.

    Parameters
    ----------
    source, size, outside
        As for `EventReader`.

    Raises
    ------
    ArgumentError, ArgumentTypeError, EventsError
        As `EventReader`.
    """
    with EventReader(source, size=size, outside=outside) as reader:
        return Events.joined(list(reader))
