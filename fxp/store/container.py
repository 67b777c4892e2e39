"""The safetensors container: named integer tensors and text metadata in one file.

The layout is an 8-byte little-endian header length, a JSON header, and the tensors' bytes one after
the other. Reading trusts nothing: every length is compared with the size of the file before
anything of that length is allocated.
"""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Mapping
from itertools import pairwise
from math import prod
from reprlib import repr as shortened
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import FormatError

MAX_HEADER_BYTES: Final = 100_000_000
"""The limit of the safetensors specification."""
MAX_AXES: Final = 8
DTYPES: Final = {"I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2")}
"""Tensor types by safetensors name, in the order in which they stand in a file."""

_METADATA: Final = "__metadata__"


class FileError(FormatError):
    """A file is not a valid saved graph, or a graph cannot be saved."""


def read(path: str | os.PathLike[str]) -> bytes:
    """Read a whole file whose first bytes look like a container's.

    Raises
    ------
    FileError
        If it is not a regular readable file, or its header length is impossible.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise FileError("is not a regular file")
        with open(path, "rb") as stream:
            _header_length(stream.read(8), status.st_size)
            stream.seek(0)
            return stream.read()
    except (OSError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def encode(tensors: Mapping[str, NDArray], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a container; equal arguments give equal bytes.

    Parameters
    ----------
    tensors
        int16, int32 or int64 arrays by name.
    metadata
        Text by key.
    """
    names = {dtype: name for name, dtype in DTYPES.items()}
    order = list(DTYPES)
    little = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        for name, array in tensors.items()
    }
    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))}
    parts = []
    end = 0
    # Widest first, so that every tensor is aligned to its element size.
    for name in sorted(little, key=lambda name: (order.index(names[little[name].dtype]), name)):
        array = little[name]
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
        parts.append(array.data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise FileError(f"the header has {len(text)} bytes; at most {MAX_HEADER_BYTES} are allowed")
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def decode(data: bytes) -> tuple[dict[str, NDArray], dict[str, str]]:
    """Take a container apart; the inverse of `encode`.

    Returns
    -------
    tensors
        Read-only views of `data`, by name.
    metadata
        Text by key.

    Raises
    ------
    FileError
        If any rule of the container is broken; the message says which and where.
    """
    start = 8 + _header_length(data[:8], len(data))
    header = parse_json(data[8:start], "header")
    if not isinstance(header, dict):
        raise FileError(f"header: must be an object, got {shortened(header)}")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FileError(f"header, {_METADATA}: must be an object of texts")
    spans = {name: _span(name, entry, len(data) - start) for name, entry in header.items()}
    _check_tiling({name: span for name, (_, _, span) in spans.items()}, len(data) - start)
    tensors = {
        name: np.frombuffer(data, dtype, prod(shape), start + begin).reshape(shape)
        for name, (dtype, shape, (begin, _)) in spans.items()
    }
    return tensors, metadata


def parse_json(data: bytes | str, where: str) -> Any:
    """Parse JSON strictly: UTF-8, no duplicate keys, no NaN or infinity, bounded nesting.

    Raises
    ------
    FileError
        With `where` in front of the message.
    """
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise FileError(f"{where}: is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise FileError(f"{where}: JSON is nested too deeply") from None
    except ValueError as error:
        raise FileError(f"{where}: is not valid JSON: {error}") from None


def object_values(value: Any, where: str, *keys: str) -> list[Any]:
    """Return the values of an object that has just these keys, in their order."""
    if not isinstance(value, dict):
        raise FileError(f"{where}: must be an object, got {shortened(value)}")
    for key in keys:
        if key not in value:
            raise FileError(f"{where}: the key {key!r} is missing")
    for key in value:
        if key not in keys:
            raise FileError(f"{where}: the key {shortened(key)} is unknown")
    return [value[key] for key in keys]


def items_of(value: Any, where: str) -> list[tuple[Any, str]]:
    """Return the items of an array, each with its place."""
    if not isinstance(value, list):
        raise FileError(f"{where}: must be an array, got {shortened(value)}")
    return [(item, f"{where}[{index}]") for index, item in enumerate(value)]


def text_of(value: Any, where: str) -> str:
    """Return `value` if it is a text that UTF-8 can hold."""
    if not isinstance(value, str):
        raise FileError(f"{where}: must be a text, got {shortened(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FileError(f"{where}: {shortened(value)} is not valid Unicode") from None
    return value


def integer_of(value: Any, where: str, low: int, high: int) -> int:
    """Return `value` if it is an integer from `low` to `high`.

    Parameters
    ----------
    value
        What stands in the file.
    where
        The place in the file, for the message.
    low, high
        Smallest and largest that is allowed.

    Raises
    ------
    FileError
        With `where` in front of the message.
    """
    if type(value) is not int or not low <= value <= high:
        raise FileError(f"{where}: must be an integer {low} to {high}, got {shortened(value)}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {shortened(double)} appears twice in one object")
    return result


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _header_length(start: bytes, size: int) -> int:
    if size < 8 or len(start) < 8:
        raise FileError(f"has {size} bytes, too few for a header length; it is empty or truncated")
    (length,) = struct.unpack("<Q", start)
    if length > MAX_HEADER_BYTES:
        raise FileError(
            f"header length: {length} bytes are more than the allowed {MAX_HEADER_BYTES}; "
            "this is not a safetensors file"
        )
    if length > size - 8:
        raise FileError(
            f"header length: {length} bytes are announced, the file has {size - 8}; "
            "it is truncated or not a safetensors file"
        )
    return length


def _span(name: str, entry: Any, available: int) -> tuple[np.dtype, list[int], tuple[int, int]]:
    """Check one tensor's entry; returns its dtype, shape, begin and end."""
    where = f"header, tensor {shortened(name)}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise FileError(f"{where}: must be an object of dtype, shape and data_offsets")
    shape, offsets = entry["shape"], entry["data_offsets"]
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise FileError(
            f"{where}: dtype must be one of {', '.join(DTYPES)}, got {shortened(entry['dtype'])}"
        )
    if not _are_counts(shape) or not 1 <= len(shape) <= MAX_AXES or min(shape) < 1:
        raise FileError(
            f"{where}: shape must be 1 to {MAX_AXES} positive sizes, got {shortened(shape)}"
        )
    if not _are_counts(offsets) or len(offsets) != 2:
        raise FileError(f"{where}: data_offsets must be two counts, got {shortened(offsets)}")
    begin, end = offsets
    if not begin <= end <= available:
        raise FileError(
            f"{where}: data_offsets {begin} to {end} leave the {available} bytes of tensor data; "
            "the file is truncated or damaged"
        )
    if prod(shape) * dtype.itemsize != end - begin:
        raise FileError(
            f"{where}: shape {shape} of {entry['dtype']} does not take the {end - begin} bytes "
            "of its data_offsets"
        )
    return dtype, shape, (begin, end)


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 1 << 63 for value in values
    )


def _check_tiling(spans: Mapping[str, tuple[int, int]], available: int) -> None:
    """Raise unless the tensors cover the data section without overlap, hole or rest."""
    ordered = sorted(spans.items(), key=lambda item: item[1])
    edges = [("", (0, 0)), *ordered, ("", (available, available))]
    for (left, (_, end)), (right, (begin, _)) in pairwise(edges):
        if end != begin:
            between = " and ".join(shortened(name) for name in (left, right) if name)
            kind = "overlap" if end > begin else "unused bytes"
            raise FileError(
                f"tensor data: {kind} between byte {min(end, begin)} and {max(end, begin)}"
                + (f", at tensor {between}" if between else "")
            )
