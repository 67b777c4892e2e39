"""Recordings in every format, and what is wrong with them."""

from __future__ import annotations

import io
import os
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import event_files
import h5py
import numpy as np
import pytest
from event_files import SIZE, P, T, X, Y

from fxp.models.events.events import Events, EventsError
from fxp.models.events.formats import aedat4
from fxp.models.events.reading import EventReader, read_events
from fxp.support.errors import ArgumentError, ArgumentTypeError

UNKNOWN_FILTER = 40_000


def holds(events: Events) -> bool:
    found = [getattr(events, name).tolist() for name in "txyp"]
    return found == [T, X, Y, P]


def written(folder: Path, content: bytes, name: str = "recording") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


LINES = {
    "seconds": [(f"{t / 1e6:.6f}", x, y, int(p > 0))
                for t, x, y, p in zip(T, X, Y, P, strict=True)],
    "microseconds": list(zip(T, X, Y, P, strict=True)),
    "scientific": [(f"{t / 1e6:.18e}", f"{x:.18e}", f"{y:.1f}", f"{p:+d}.0")
                   for t, x, y, p in zip(T, X, Y, P, strict=True)],
}  # fmt: skip


@pytest.mark.parametrize("kind", LINES)
def test_text(kind: str, tmp_path: Path):
    content = b"# recorded\n\n" + event_files.text(LINES[kind])
    assert holds(read_events(written(tmp_path, content), size=SIZE))


def test_text_with_a_line_of_the_size_or_of_names():
    sized = b"8 6\n" + event_files.text(LINES["microseconds"])
    with EventReader(io.BytesIO(sized)) as reader:
        assert reader.size == (8, 6)
        assert holds(Events.joined(list(reader)))
    named = "x,y,p,t\r\n" + "".join(
        f"{x},{y},{p},{t}\r\n" for t, x, y, p in zip(T, X, Y, P, strict=True)
    )
    assert holds(read_events(io.BytesIO(named.encode()), size=SIZE))


@pytest.mark.parametrize(
    ("content", "times"),
    [
        (b"0 0 0 1\n0.000044 1 3 0\n2 1 3 0\n", [0, 44, 2_000_000]),
        (b"# t x y p\n0 0 0 1\n-0 0 0 1\n7 1 3 0\n8.0 1 3 0\n", [0, 0, 7, 8]),
        (b"0 0 0 1\n0 0 0 1\n", [0, 0]),
    ],
)
def test_a_first_time_of_zero_tells_no_unit(content: bytes, times: list[int]):
    assert read_events(io.BytesIO(content), size=SIZE).t.tolist() == times


def test_a_unit_is_not_told_by_half_a_number():
    class Pipe(io.RawIOBase):
        chunks: ClassVar = [b"8 6\n0 0 0 1\n1", b"4.5 1 1 1\n"]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any, /) -> int:
            chunk = self.chunks.pop(0) if self.chunks else b""
            buffer[: len(chunk)] = chunk
            return len(chunk)

    assert read_events(io.BufferedReader(Pipe())).t.tolist() == [0, 14_500_000]


def test_a_fraction_of_microseconds_says_what_to_do():
    times, error = until_broken(io.BytesIO(b"5 6 2 0\n5.000044 1 3 0\n"))
    assert times == [5]
    assert error.startswith("line 2 is no event: '5.000044 1 3 0'; its time has a fraction")
    assert error.endswith("for seconds, write that one with a point")
    assert "line 1 is no event" in until_broken(io.BytesIO(b"1e30 0 0 1\n"))[1]


def test_text_with_a_byte_order_mark():
    with EventReader(io.BytesIO(b"\xef\xbb\xbf8 6\n10 1 2 1\n")) as reader:
        assert reader.size == (8, 6)
        assert Events.joined(list(reader)).t.tolist() == [10]
    assert read_events(io.BytesIO(b"\xef\xbb\xbf10 1 2 1\n"), size=SIZE).t.tolist() == [10]


def test_text_rounds_to_the_nearest_microsecond():
    lines = b"0.0000014 0 0 1\n0.0000015 0 0 1\n1468939993.067416019 0 0 1\n"
    assert read_events(io.BytesIO(lines), size=SIZE).t.tolist() == [1, 2, 1_468_939_993_067_416]


@pytest.mark.parametrize("kind", ["evt2", "evt3", "dat"])
def test_prophesee_from_a_file_and_a_pipe(kind: str, tmp_path: Path):
    content = getattr(event_files, kind)()
    path = written(tmp_path, content)
    with EventReader(path) as reader:
        assert reader.size == SIZE
        assert holds(Events.joined(list(reader)))
    ours, theirs = os.pipe()

    def feed() -> None:
        with open(theirs, "wb", buffering=0) as pipe:
            for start in range(0, len(content), 7):
                pipe.write(content[start : start + 7])

    thread = threading.Thread(target=feed)
    thread.start()
    with open(ours, "rb") as pipe, EventReader(pipe) as reader:
        assert holds(Events.joined(list(reader)))
    thread.join()


def test_evt3_counts_on_when_its_24_bits_begin_anew():
    words = [0x8FFF, 0x6FFF, 0x0000, 0x2001, 0x8000, 0x6002, 0x2001]
    content = b"% evt 3.0\n% geometry 8x6\n% end\n" + np.array(words, "<u2").tobytes()
    assert read_events(io.BytesIO(content)).t.tolist() == [(1 << 24) - 1, (1 << 24) + 2]


def test_a_header_without_an_end():
    """The first word, TIME_HIGH 0x25, begins with the byte of a percent sign."""
    words = [0x8025, 0x6001, 0x0002, 0x2803]
    content = b"% evt 3.0\n% geometry 8x6\n" + np.array(words, "<u2").tobytes()
    events = read_events(io.BytesIO(content))
    assert events.t.tolist() == [(0x25 << 12) + 1]
    assert (events.x.tolist(), events.y.tolist(), events.p.tolist()) == ([3], [2], [1])


def test_npz(tmp_path: Path):
    assert holds(read_events(written(tmp_path, event_files.npz())))
    np.savez(tmp_path / "float.npz", ts=np.array(T) / 1e6, xs=np.array(X, float), ys=Y, ps=P)
    assert holds(read_events(tmp_path / "float.npz", size=SIZE))


def test_hdf5_of_several_programs(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("events")
        columns = {"ts": np.array(T) / 1e6, "xs": X, "ys": Y, "ps": np.array(P) > 0}
        for name, column in columns.items():
            group[name] = column
        file.attrs["sensor_resolution"] = (6, 8)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for name, column in {"t": np.array(T) - 10, "x": X, "y": Y, "p": P}.items():
            file[f"events/{name}"] = column
        file["t_offset"] = 10
        file.attrs["width"], file.attrs["height"] = SIZE
    with h5py.File(tmp_path / "c.h5", "w") as file:
        kind = [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")]
        file["CD/events"] = np.array(list(zip(X, Y, P, T, strict=True)), kind)
    assert holds(read_events(tmp_path / "a.h5"))
    assert holds(read_events(tmp_path / "b.h5"))
    assert holds(read_events(tmp_path / "c.h5", size=SIZE))


def test_hdf5_with_a_filter_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Chunks are stored as they are, but marked as filtered by a filter that nobody has."""
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with h5py.File(tmp_path / "blosc.h5", "w") as file:
        for name in "txyp":
            layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            layout.set_chunk((5,))
            layout.set_filter(UNKNOWN_FILTER, h5py.h5z.FLAG_OPTIONAL)
            space = h5py.h5s.create_simple((5,))
            made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_INT64, space, layout)
            made.write_direct_chunk((0,), np.arange(5).tobytes())
    assert "pip install hdf5plugin" in until_broken(tmp_path / "blosc.h5")[1]


def test_aedat4(tmp_path: Path):
    assert holds(read_events(written(tmp_path, event_files.aedat4())))


@pytest.mark.parametrize(
    ("place", "panic"), [(14, "or no AEDAT 4 file: range end"), (717, "or cut short: assertion")]
)
def test_aedat4_whose_damage_makes_the_library_panic(place: int, panic: str, tmp_path: Path):
    """In the header and in a packet; the exceptions of a panic are no `Exception`."""
    content = bytearray(event_files.aedat4())
    content[place] ^= 254
    error = until_broken(written(tmp_path, bytes(content), "panic.aedat4"))[1]
    assert "panic.aedat4 is damaged" in error
    assert panic in error


def test_an_interrupt_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Library:
        @staticmethod
        def Decoder(_: Path) -> Any:  # noqa: N802
            raise KeyboardInterrupt

    monkeypatch.setattr(aedat4, "aedat", Library)
    with pytest.raises(KeyboardInterrupt):
        EventReader(written(tmp_path, event_files.aedat4()))


def test_rosbag(tmp_path: Path):
    event_files.rosbag(tmp_path / "recording.bag")
    with EventReader(tmp_path / "recording.bag") as reader:
        assert reader.size == SIZE
        parts = list(reader)
    assert [len(part) for part in parts] == [2, 3]
    assert holds(Events.joined(parts))


def until_broken(source: Path | io.BytesIO) -> tuple[list[int], str]:
    """Return the times of the events that are given, and then the message of the error."""
    times: list[int] = []
    try:
        with EventReader(source, size=SIZE) as reader:
            for part in reader:
                times += part.t.tolist()
    except EventsError as error:
        return times, str(error)
    raise AssertionError("no error")


@pytest.mark.parametrize(
    ("kind", "cut", "left", "message"),
    [
        ("evt2", 1, 5, "cut short: its last event has 3 of 4 bytes"),
        ("evt3", 1, 5, "cut short: its last event has 1 of 2 bytes"),
        ("dat", 3, 4, "cut short: its last event has 5 of 8 bytes"),
    ],
)
def test_a_cut_end_gives_the_events_before_it(kind: str, cut: int, left: int, message: str):
    content = getattr(event_files, kind)()
    times, error = until_broken(io.BytesIO(content[:-cut]))
    assert times == T[:left]
    assert message in error


def test_text_that_is_cut_short_or_no_text():
    times, error = until_broken(io.BytesIO(b"10 0 0 1\n20 1 1 0\n30 2"))
    assert times == [10, 20]
    assert error == "line 3 is cut short: '30 2'; it must hold time, x, y and polarity"
    times, error = until_broken(io.BytesIO(b"10 0 0 1\n20 1 one 0\n30 2 2 1\n"))
    assert times == [10]
    assert error == "line 2 is no event: '20 1 one 0'; it must hold time, x, y and polarity"
    for line in (b"10 0 0 1 7", b"10.5 0", b"10 0.5 0 1", b"1" * 30 + b" 0 0 1"):
        assert "line 1 is" in until_broken(io.BytesIO(line + b"\n"))[1]
    assert "more than 4096 bytes" in until_broken(io.BytesIO(b"\x01" * 9000))[1]
    assert "the columns t, x, y, z" in until_broken(io.BytesIO(b"t x y z\n1 1 1 1\n"))[1]


def test_damaged_archives(tmp_path: Path):
    for kind in ("npz", "aedat4"):
        content = getattr(event_files, kind)()
        times, error = until_broken(written(tmp_path, content[: len(content) // 2], kind))
        assert times == []
        assert kind in error
        assert "damaged" in error
    event_files.rosbag(tmp_path / "whole.bag")
    content = (tmp_path / "whole.bag").read_bytes()
    cut = written(tmp_path, content[: len(content) // 2], "cut.bag")
    assert "cut.bag is damaged or cut short" in until_broken(cut)[1]
    cut = written(tmp_path, b"\x89HDF\r\n\x1a\n" + bytes(64), "cut.h5")
    assert "cut.h5 is damaged or cut short" in until_broken(cut)[1]


def test_files_without_events(tmp_path: Path):
    np.savez(tmp_path / "sized.npz", t=T, x=X, y=Y, p=P, size_wh=[1, 2, 3])
    with pytest.raises(EventsError, match="size_wh is no width and height"):
        EventReader(tmp_path / "sized.npz")
    with zipfile.ZipFile(tmp_path / "broken.npz", "w") as archive:
        for name in "txyp":
            archive.writestr(f"{name}.npy", b"no array")
    assert "broken.npz is damaged" in until_broken(tmp_path / "broken.npz")[1]
    np.savez(tmp_path / "other.npz", t=T, x=X)
    assert "holds no y, p; its arrays are t, x" in until_broken(tmp_path / "other.npz")[1]
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = [1]
    assert (
        "holds no arrays of t, x, y and p; it has images" in until_broken(tmp_path / "other.h5")[1]
    )
    assert until_broken(io.BytesIO(b""))[1] == "the stream is empty"
    assert "cannot read" in until_broken(tmp_path / "missing")[1]
    later = b"% evt 2.1\n% end\n" + bytes(8)
    assert "encoded as EVT 2.1" in until_broken(io.BytesIO(later))[1]
    other = b"% Version 2\n" + bytes([5, 8])
    assert "events of kind 5 in 8 bytes" in until_broken(io.BytesIO(other))[1]
    with pytest.raises(EventsError, match="give its size, --size WIDTHxHEIGHT"):
        EventReader(io.BytesIO(b"10 0 0 1\n"))
    with pytest.raises(EventsError, match="kind npz cannot be read from a pipe"):
        EventReader(io.BytesIO(event_files.npz()))


def test_hdf5_that_holds_something_else(tmp_path: Path):
    def error_of(content: dict[str, Any], **attributes: Any) -> str:
        with h5py.File(tmp_path / "other.h5", "w") as file:
            for name, value in content.items():
                if value is None:
                    file.create_group(name)
                else:
                    file[name] = value
            file.attrs.update(attributes)
        return until_broken(tmp_path / "other.h5")[1]

    columns: dict[str, Any] = {"t": T, "x": X, "y": Y, "p": P}
    assert "one axis of numbers, not () as /t" in error_of(dict.fromkeys("txyp", 3))
    assert "one axis of numbers, not (5, 1) as /y" in error_of(
        columns | {"y": np.array(Y)[:, None]}
    )
    one = np.zeros((), [("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "i8")])
    assert "one axis of numbers, not () as /events" in error_of({"events": one})
    groups = error_of(dict.fromkeys("txyp"))
    assert "holds no arrays of t, x, y and p; it has p/, t/, x/, y/" in groups
    assert "sensor_resolution must hold 2 whole numbers, not '24x32'" in error_of(
        columns, sensor_resolution="24x32"
    )
    assert "sensor_resolution must hold 2 whole numbers" in error_of(columns, sensor_resolution=[6])
    assert "height must hold a whole number" in error_of(columns, width=8, height=6.5)
    assert "t_offset must hold a whole number" in error_of(columns | {"t_offset": "now"})
    assert "t_offset is too large" in error_of(columns | {"t_offset": 2**63 - 1})


def test_a_file_with_an_impossible_size(tmp_path: Path):
    np.savez(tmp_path / "size.npz", t=T, x=X, y=Y, p=P, size_wh=[-8, 6])
    with pytest.raises(EventsError, match="says that the sensor has -8x6 pixels; give its size"):
        EventReader(tmp_path / "size.npz")
    assert holds(read_events(tmp_path / "size.npz", size=SIZE))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("t", np.array([0.1, np.nan]), "t holds values that are not finite"),
        ("t", np.array([0.1, np.inf], np.float16), "t holds values that are not finite"),
        ("t", np.array([0.1, 1e300]), "t holds values that are too large"),
        ("t", np.array([0.1, -1e13], np.float32), "t holds values that are too large"),
        ("t", np.array([1, 2**63], np.uint64), "t holds values that are too large"),
        ("t", np.array([-(2**63), 1], np.int64), "t holds values that are too large"),
        ("x", np.array([1, 1e300]), "x holds values that are too large"),
        ("y", np.array([1, -np.inf]), "y holds values that are not finite"),
        ("p", np.array([np.nan, 1]), "p holds values that are not finite"),
    ],
)
def test_numbers_that_are_none(name: str, values: np.ndarray, message: str, tmp_path: Path):
    columns = {key: np.array([0, 1]) for key in "txyp"} | {name: values}
    np.savez(tmp_path / "numbers.npz", **columns)  # type: ignore[arg-type]
    with h5py.File(tmp_path / "numbers.h5", "w") as file:
        for key, column in columns.items():
            file[key] = column
    assert until_broken(tmp_path / "numbers.npz") == ([], message)
    assert until_broken(tmp_path / "numbers.h5") == ([], message)
    if values.dtype.kind in "iu":
        with pytest.raises(EventsError, match=message):
            Events.of(values, [0, 0], [0, 0], [1, 1])


def test_times_that_are_too_large():
    assert Events.of([2**62, -(2**62)], [0, 0], [0, 0], [1, 1]).t.tolist() == [2**62, -(2**62)]
    for time in (2**62 + 1, 2**63, -(2**62) - 1):
        with pytest.raises(EventsError, match="t holds values that are too large"):
            Events.of([time], [0], [0], [1])


def test_arguments_that_cannot_be():
    sizes: list[Any] = [(-3, 5), (0, 0), "32x24", (8.0, 6), (8, 6, 1), 8]
    for size in sizes:
        with pytest.raises(ArgumentError, match="the width and the height of the sensor"):
            EventReader(io.BytesIO(b"1 0 0 1\n"), size=size)
    sources: list[Any] = [5, None, io.StringIO("1 0 0 1\n")]
    for source in sources:
        with pytest.raises(ArgumentTypeError, match="a path or an open binary stream"):
            EventReader(source, size=SIZE)


def test_unsorted_times():
    times, error = until_broken(io.BytesIO(b"5000 0 0 1\n9000 0 0 1\n7999 0 0 1\n"))
    assert times == [5000, 9000]
    assert error == (
        "the time goes back from 9000 to 7999 microseconds at event 2; sort the events by time"
    )
    # One millisecond is taken as none.
    late = read_events(io.BytesIO(b"5000 0 0 1\n9000 0 0 1\n8000 0 0 1\n9001 0 0 1\n"), size=SIZE)
    assert late.t.tolist() == [5000, 9000, 9000, 9001]


@pytest.mark.parametrize("counter", [1 << 31, 1 << 32])
def test_a_counter_that_wraps(counter: int):
    first, second, third = counter - 10, 5, 7
    lines = event_files.text([(first, 0, 0, 1), (second, 0, 0, 1), (third, 0, 0, 1)])
    found = read_events(io.BytesIO(lines), size=SIZE)
    assert found.t.tolist() == [first, counter + 5, counter + 7]


def test_pixels_outside_the_sensor():
    lines = b"1 0 0 1\n2 8 0 1\n3 7 5 1\n4 0 -1 1\n"
    times, error = until_broken(io.BytesIO(lines))
    assert times == [1]
    assert error == "event 1 is at column 8, row 0, outside the sensor of 8x6"
    assert read_events(io.BytesIO(lines), size=SIZE, outside="drop").t.tolist() == [1, 3]
    far = f"1 {1 << 40} 0 1\n".encode()
    assert "outside the sensor" in until_broken(io.BytesIO(far))[1]


def test_polarities():
    assert Events.of([1, 2, 3], [0, 0, 0], [0, 0, 0], [0, -1, 1]).p.tolist() == [-1, -1, 1]
    assert Events.of([1, 2], [0, 0], [0, 0], np.array([False, True])).p.tolist() == [-1, 1]
    with pytest.raises(EventsError, match="event 1 has the polarity 2"):
        Events.of([1, 2], [0, 0], [0, 0], [1, 2])
    with pytest.raises(EventsError, match="of one length"):
        Events.of([1, 2], [0], [0], [1])
    with pytest.raises(EventsError, match="t must be integers, not float64"):
        Events.of([1.5], [0], [0], [1])


def test_sorting_keeps_the_order_of_equal_times():
    events = Events.of([3, 1, 3, 1], [0, 1, 2, 3], [0] * 4, [1] * 4).sorted()
    assert events.x.tolist() == [1, 3, 0, 2]


def test_a_long_recording_comes_in_parts(tmp_path: Path):
    count = 1_000_000
    np.savez(tmp_path / "long.npz", t=np.arange(count), x=np.zeros(count, np.uint16),
             y=np.zeros(count, np.uint16), p=np.ones(count, np.uint8))  # fmt: skip
    with EventReader(tmp_path / "long.npz", size=SIZE) as reader:
        sizes = [len(part) for part in reader]
    assert sum(sizes) == count
    assert max(sizes) <= 1 << 18
