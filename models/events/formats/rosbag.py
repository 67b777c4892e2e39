"""ROS bags, of version 1 and 2, by the library rosbags, which needs no ROS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from fxp.models.events.events import SECOND, Events, EventsError
from fxp.models.events.formats import Recording
from fxp.support.lazy import lazy_import

highlevel: Any = lazy_import("rosbags.highlevel", "events")
typesys: Any = lazy_import("rosbags.typesys", "events")

KIND: Final = "/msg/EventArray"
"""How the type of the messages ends, in the packages dvs_msgs and prophesee_event_msgs."""


def read(path: Path) -> Recording:
    """Read the first topic of event arrays of a bag: a ``.bag`` file or a folder.

    The definition of the messages is taken from the bag itself.
    """
    messages = _messages(path)
    try:
        first = next(messages)
    except StopIteration:
        raise EventsError(f"{path} holds no message of events") from None
    size = (int(first.width), int(first.height))
    return Recording(size if all(size) else None, map(_events, chain([first], messages)))


def _messages(path: Path) -> Iterator[Any]:
    try:
        with ExitStack() as stack:
            store = typesys.get_typestore(typesys.Stores.EMPTY)
            bag = stack.enter_context(highlevel.AnyReader([path], default_typestore=store))
            topics = [item for item in bag.connections if item.msgtype.endswith(KIND)]
            if not topics:
                kinds = ", ".join(sorted({item.msgtype for item in bag.connections}))
                raise EventsError(f"{path} holds no topic of type dvs_msgs{KIND}, only {kinds}")
            chosen = [item for item in topics if item.topic == topics[0].topic]
            for connection, _, data in bag.messages(connections=chosen):
                yield bag.deserialize(data, connection.msgtype)
    except (EventsError, ModuleNotFoundError, GeneratorExit):
        raise
    except Exception as error:
        # The library raises many kinds of exceptions for damaged files.
        raise EventsError(f"{path} is damaged or cut short: {error}") from error


def _events(message: Any) -> Events:
    events = message.events
    count = len(events)
    times = (item.ts.sec * SECOND + item.ts.nanosec // 1000 for item in events)
    return Events.of(
        np.fromiter(times, np.int64, count),
        np.fromiter((item.x for item in events), np.int32, count),
        np.fromiter((item.y for item in events), np.int32, count),
        np.fromiter((item.polarity for item in events), np.int8, count),
    )
