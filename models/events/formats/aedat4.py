"""AEDAT 4, the files of iniVation's cameras, by the library aedat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fxp.models.events.events import Events, EventsError
from fxp.models.events.formats import Recording
from fxp.support.lazy import lazy_import

aedat: Any = lazy_import("aedat", "events")


def read(path: Path) -> Recording:
    """Read the first stream of events of an AEDAT 4 file."""
    try:
        decoder = aedat.Decoder(path)
        streams = decoder.id_to_stream()
    except ModuleNotFoundError:
        raise
    except BaseException as error:
        _pass_on_what_ends_the_program(error)
        # The library raises plain exceptions for all that it cannot read.
        raise EventsError(f"{path} is damaged, or no AEDAT 4 file: {error}") from error
    chosen = [number for number, stream in streams.items() if stream["type"] == "events"]
    if not chosen:
        kinds = ", ".join(stream["type"] for stream in streams.values())
        raise EventsError(f"{path} holds no stream of events, only {kinds}")
    first = streams[chosen[0]]
    return Recording((first["width"], first["height"]), _parts(path, decoder, chosen[0]))


def _parts(path: Path, decoder: Any, number: int) -> Iterator[Events]:
    try:
        for packet in decoder:
            if packet["stream_id"] == number:
                events = packet["events"]
                yield Events.of(events["t"], events["x"], events["y"], events["on"])
    except EventsError:
        raise
    except BaseException as error:
        _pass_on_what_ends_the_program(error)
        raise EventsError(f"{path} is damaged or cut short: {error}") from error


def _pass_on_what_ends_the_program(error: BaseException) -> None:
    """Raise an exception again that is no `Exception`, such as an interrupt, but for a panic.

    The library is written in Rust, whose panics are no `Exception`; their class has no name that
    could be imported.
    """
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error
