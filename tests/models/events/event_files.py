"""Recordings of the same five events in every format, written by hand or by other programs."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SIZE = (8, 6)
T = [10, 20, 30, 40, 1_000_050]
X = [0, 1, 2, 3, 7]
Y = [0, 1, 2, 3, 5]
P = [1, -1, 1, -1, 1]

AEDAT4 = (
    "eNqNU81rE0EU/+WjHyz9Ms2hBynrVNSDdjellB6S0AQjBmyDbShWelmykzqYzCyzk0B6Ev8bofon6E28+B+IFw+evX"
    "gTfLtJIa4rZuDNvmF/H28eb7Zu1RrHDx7W2rvb7rJ1lQU2ADRbjxuIl4Ui8ljCImVAhmKJYi83/ntJ+LI/tIdch0LJ"
    "CtvZdlnVsmmVpfK5Lb0+rzA1ME3ZVcwOPPOiwpy+J2RPqcA55h2lfa6dCcKZkJMC7gxUd5ocC3jGaPslH1VYR/UDzc"
    "OoRmabUUCSodFCXrDqk+e7ZSdC/pOstLgQ0uu1BiYYmCMqKKnBh1ya8D8yEaXpE1B0BddJicZp+yRVYKoLYrYeuo5I"
    "tDKlmlBc8mfXRQhpWHU/zT6FdfYHa28Wlhrozl9N63pcj1Kv7ER3nhqEqfN1Xnb8YXU8gwFFnh1utA/enVH6c71H+x"
    "pF1FJgnkY3TzuBKObikc7gJJrk4ipKGWQs3Nicx1Mgi2wB6/fWUMohZ6Gk66uLeLVApAj9q/X9U+RXePt1c+J3Sscf"
    "d84nfo/atXrSL7aJy1zBfXo6eTrdxG2sFPF6XPrH7DIKcwvYgkVmZBmj37z/8i361j98vvsbsNbcsA=="
)
"""What the program faery has written, compressed."""


def text(lines: Sequence[tuple[object, ...]]) -> bytes:
    return "".join(" ".join(map(str, line)) + "\n" for line in lines).encode()


def evt2() -> bytes:
    """EVT 2.0: times are TIME_HIGH times 64 plus the 6 bits of the event."""
    words = []
    high = None
    for t, x, y, p in zip(T, X, Y, P, strict=True):
        if t >> 6 != high:
            high = t >> 6
            words.append(0x8 << 28 | high)
        words.append((1 if p > 0 else 0) << 28 | (t & 63) << 22 | x << 11 | y)
        # An external trigger and words of other kinds are left out by a reader.
        words += [0xA << 28 | 1, 0xE << 28 | 5]
    header = b"% evt 2.0\n% format EVT2;height=6;width=8\n% geometry 8x6\n% end\n"
    return header + struct.pack(f"<{len(words)}I", *words)


def evt3() -> bytes:
    """EVT 3.0: the first event before any time is left out; the last two come as a vector."""
    words = [0x0000, 0x2005]
    for t, x, y, p in zip(T, X, Y, P, strict=True):
        words += [0x8000 | t >> 12, 0x6000 | t & 0xFFF, 0x0000 | y]
        if t == 40:
            # Bit 3 of a vector that begins in column 0.
            words += [0x3000 | (p > 0) << 11 | 0, 0x4000 | 1 << 3]
        elif t == 30:
            # Bit 2 of a short vector, of 8 columns.
            words += [0x3000 | (p > 0) << 11 | 0, 0x5000 | 1 << 2]
        else:
            words.append(0x2000 | (p > 0) << 11 | x)
        words += [0xA001, 0xE005, 0x7000]
    header = b"% evt 3.0\n% format EVT3;height=6;width=8\n% geometry 8x6\n% end\n"
    return header + struct.pack(f"<{len(words)}H", *words)


def dat() -> bytes:
    events = b"".join(
        struct.pack("<II", t, x | y << 14 | (p > 0) << 28)
        for t, x, y, p in zip(T, X, Y, P, strict=True)
    )
    return b"% Data file\n% Version 2\n% Width 8\n% Height 6\n" + bytes([12, 8]) + events


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, t=np.array(T, np.int32), x=np.array(X, np.uint16), y=Y,
                        p=np.array(P) > 0, size_wh=SIZE)  # fmt: skip
    return stream.getvalue()


def aedat4() -> bytes:
    return zlib.decompress(base64.b64decode(AEDAT4))


def rosbag(path: Path) -> None:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    event = "uint16 x\nuint16 y\ntime ts\nbool polarity\n"
    array = "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events\n"
    store.register(get_types_from_msg(event, "dvs_msgs/msg/Event"))
    store.register(get_types_from_msg(array, "dvs_msgs/msg/EventArray"))
    time, header = store.types["builtin_interfaces/msg/Time"], store.types["std_msgs/msg/Header"]
    one, many = store.types["dvs_msgs/msg/Event"], store.types["dvs_msgs/msg/EventArray"]
    with Writer(path) as writer:
        connection = writer.add_connection(
            "/dvs/events", "dvs_msgs/msg/EventArray", typestore=store
        )
        for start, end in ((0, 2), (2, 5)):
            events = [
                one(x=x, y=y, ts=time(sec=t // 1_000_000, nanosec=t % 1_000_000 * 1000),
                    polarity=p > 0)
                for t, x, y, p in zip(T[start:end], X[start:end], Y[start:end], P[start:end],
                                      strict=True)
            ]  # fmt: skip
            message = many(
                header=header(seq=0, stamp=time(sec=0, nanosec=0), frame_id=""),
                height=6, width=8, events=events,
            )  # fmt: skip
            data = store.serialize_ros1(message, "dvs_msgs/msg/EventArray")
            writer.write(connection, start + 1, data)
