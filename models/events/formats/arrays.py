"""Files of arrays: NumPy's ``.npz`` and HDF5."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fxp.models.events.events import LONGEST_TIME, SECOND, Events, EventsError, Size
from fxp.models.events.formats import NAMES, PART, Recording
from fxp.support.lazy import lazy_import

h5py: Any = lazy_import("h5py", "events")

_DAMAGE: Final = (OSError, EOFError, zlib.error, zipfile.BadZipFile)
"""What reading a damaged archive raises."""
_Next = Callable[[int], NDArray]
"""Reads so many values of an array, fewer at its end."""


def read_npz(path: Path) -> Recording:
    """Read an ``.npz`` file with arrays of times, columns, rows and polarities.

    Their names are those in `NAMES`. Integer times are microseconds, others are seconds. An array
    ``size_wh`` has the width and the height of the sensor.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise EventsError(f"{path} is damaged or cut short: {error}") from error
    with archive:
        members = {Path(name).stem: name for name in archive.namelist() if name.endswith(".npy")}
        chosen = _chosen(members, path)
        size = None
        if "size_wh" in members:
            try:
                with archive.open(members["size_wh"]) as file:
                    width, height = npy.read_array(file, allow_pickle=False).tolist()
            except (*_DAMAGE, ValueError, TypeError) as error:
                raise EventsError(f"{path}: size_wh is no width and height: {error}") from error
            size = (int(width), int(height))
    return Recording(size, _npz_parts(path, {key: members[name] for key, name in chosen.items()}))


def _npz_parts(path: Path, members: Mapping[str, str]) -> Iterator[Events]:
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        try:
            columns = {
                key: _member(stack.enter_context(archive.open(name)))
                for key, name in members.items()
            }
            yield from _together(columns)
        except _DAMAGE as error:
            raise EventsError(f"{path} is damaged or cut short: {error}") from error


def _member(file: IO[bytes]) -> _Next:
    """Read the header of an array, and return what reads on."""
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = read(file)
    except ValueError as error:
        # What NumPy says of a header that it cannot read.
        raise EOFError(str(error)) from error
    if len(shape) != 1 or kind.hasobject:
        raise EventsError(f"an array of events must have one axis of numbers, not {shape} {kind}")
    left = shape[0]

    def values(count: int) -> NDArray:
        nonlocal left
        wanted = min(count, left)
        data = file.read(wanted * kind.itemsize)
        if len(data) < wanted * kind.itemsize:
            raise EOFError("an array ends early")
        left -= wanted
        return np.frombuffer(data, kind)

    return values


def read_hdf5(path: Path) -> Recording:
    """Read an HDF5 file with arrays of times, columns, rows and polarities.

    They lie at the root or in a group such as ``events``, under the names in `NAMES`, or are the
    fields of one array such as ``CD/events``. Integer times are microseconds, others are seconds.
    ``t_offset`` at the root is added to the times. Compressed arrays such as those of DSEC need the
    package hdf5plugin, which is used if it is installed. The sensor's size is taken from the
    attribute ``sensor_resolution``, height and width, or from ``width`` and ``height``.
    """
    try:
        with h5py.File(path) as file:
            place = _place(file, path)
            size = _hdf5_size(file, place, path)
    except OSError as error:
        raise EventsError(f"{path} is damaged or cut short: {error}") from error
    return Recording(size, _hdf5_parts(path, place))


def _place(file: Any, path: Path) -> str:
    """Find the group, or the array with fields, that holds the events."""
    found: list[str] = []

    def look(name: str, item: Any) -> None:
        names = _column_names(item)
        if all(any(known in names for known in known_as) for known_as in NAMES.values()):
            found.append(name)

    look("/", file)
    file.visititems(look)
    if not found:
        # As in a path, a stroke tells groups from arrays.
        names = (
            f"{name}/" if isinstance(item, h5py.Group) else name for name, item in file.items()
        )
        raise EventsError(f"{path} holds no arrays of t, x, y and p; it has {', '.join(names)}")
    return found[0]


def _column_names(item: Any) -> Sequence[str]:
    """Return the names of the arrays in a group, or of the fields of an array."""
    if isinstance(item, h5py.Group):
        return [name for name, part in item.items() if isinstance(part, h5py.Dataset)]
    return (item.dtype.names or ()) if isinstance(item, h5py.Dataset) else ()


def _whole_numbers(value: Any, count: int, name: str, path: Path) -> list[int]:
    """Return the first so many numbers of an attribute, or of an array that has only these."""
    found = np.asarray(value).reshape(-1)[:count].tolist()
    numbers = [each for each in found if isinstance(each, int | float) and each == each // 1]
    if len(numbers) < count:
        wanted = "a whole number" if count == 1 else f"{count} whole numbers"
        raise EventsError(f"{path}: {name} must hold {wanted}, not {value!r}")
    return [int(each) for each in numbers]


def _hdf5_size(file: Any, place: str, path: Path) -> Size | None:
    for item in (file, file[place]):
        attributes = item.attrs
        if "sensor_resolution" in attributes:
            height, width = _whole_numbers(
                attributes["sensor_resolution"], 2, "sensor_resolution", path
            )
            return width, height
        if "width" in attributes and "height" in attributes:
            (width,), (height,) = (
                _whole_numbers(attributes[name], 1, name, path) for name in ("width", "height")
            )
            return width, height
    return None


def _hdf5_parts(path: Path, place: str) -> Iterator[Events]:
    with suppress(ModuleNotFoundError):
        # Importing it registers the filters; it is too large to be required.
        import_module("hdf5plugin")
    try:
        with h5py.File(path) as file:
            item: Any = file[place]
            offset = _hdf5_offset(file, path)
            chosen = _chosen(dict.fromkeys(_column_names(item)), path)
            columns = (
                [item[name] for name in chosen.values()] if isinstance(item, h5py.Group) else [item]
            )
            for column in columns:
                if len(column.shape or ()) != 1:
                    raise EventsError(
                        f"{path}: an array of events must have one axis of numbers, not "
                        f"{column.shape} as {column.name}"
                    )
            fields = {
                key: item[name] if isinstance(item, h5py.Group) else item.fields(name)
                for key, name in chosen.items()
            }
            for start in range(0, len(fields["t"]), PART):
                arrays = {key: field[start : start + PART] for key, field in fields.items()}
                part = _events(arrays)
                # Sums of what the limit allows do not overflow, or only to what it does not allow.
                yield part if not offset else Events.of(part.t + offset, part.x, part.y, part.p)
    except OSError as error:
        if "plugin" in str(error) or "filter" in str(error):
            raise EventsError(
                f"{path} is compressed in a way that HDF5 cannot read by itself; pip install "
                f"hdf5plugin has the usual ones ({error})"
            ) from error
        raise EventsError(f"{path} is damaged or cut short: {error}") from error


def _hdf5_offset(file: Any, path: Path) -> int:
    """Return what is added to the times, in microseconds."""
    item = file.get("t_offset")
    if not isinstance(item, h5py.Dataset):
        return 0
    offset = _whole_numbers(item[()], 1, "t_offset", path)[0]
    if abs(offset) > LONGEST_TIME:
        raise EventsError(f"{path}: t_offset is too large")
    return offset


def _chosen(names: Mapping[str, Any], path: Path) -> dict[str, str]:
    chosen = {
        key: next((known for known in known_as if known in names), "")
        for key, known_as in NAMES.items()
    }
    missing = [key for key, name in chosen.items() if not name]
    if missing:
        raise EventsError(
            f"{path} holds no {', '.join(missing)}; its arrays are {', '.join(names)}"
        )
    return chosen


def _together(columns: Mapping[str, _Next]) -> Iterator[Events]:
    while True:
        arrays = {key: values(PART) for key, values in columns.items()}
        if not any(map(len, arrays.values())):
            return
        yield _events(arrays)


def _events(arrays: Mapping[str, NDArray]) -> Events:
    times = arrays["t"]
    if times.dtype.kind == "f":
        limited = _limited(times, "t", LONGEST_TIME / SECOND)
        times = np.rint(limited.astype(np.float64) * SECOND).astype(np.int64)
    return Events.of(times, *(_whole(arrays[key], key) for key in "xyp"))


def _whole(values: NDArray, name: str) -> NDArray:
    """Turn numbers that other programs keep as float into integers."""
    if values.dtype.kind != "f":
        return values
    integers = np.rint(_limited(values, name, np.iinfo(np.int64).max // 2)).astype(np.int64)
    if not np.array_equal(integers, values):
        raise EventsError(f"{name} holds values that are no integers")
    return integers


def _limited(values: NDArray, name: str, limit: float) -> NDArray:
    """Return float numbers, of 64 bits at least, that are finite and no larger than a limit."""
    if not np.isfinite(values).all():
        raise EventsError(f"{name} holds values that are not finite")
    # The limit itself is beyond the numbers of 16 bits.
    wide = values.astype(np.result_type(values.dtype, np.float64), copy=False)
    if (np.abs(wide) > limit).any():
        raise EventsError(f"{name} holds values that are too large")
    return wide
