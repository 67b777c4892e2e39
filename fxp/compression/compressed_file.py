"""The compressed file: codes and gaps of shared weights, entropy coded by Huffman.

The third step of S. Han, H. Mao, W. Dally: Deep Compression, 2016. A tensor of few different
values is stored as its codebook, a code for each weight that is not zero, and the number of zeros
before each. Both streams are bytes in the Huffman code of Deflate (RFC 1951) without its search for
repetitions, which zlib calls ``Z_HUFFMAN_ONLY``. docs/compression.md defines the file.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fxp.store import FileError
from fxp.store.container import integer_of, items_of, object_values, parse_json, text_of
from fxp.support.errors import ArgumentError
from fxp.support.files import replace_file

VERSION: Final = 1
MAX_WEIGHTS: Final = 2**28
"""Weights that a file may hold unless the reader allows more; a gigabyte of float32."""

_MAGIC: Final = b"fxp-deep"
_START: Final = struct.Struct("<8sII")
_END: Final = struct.Struct("<I")
_ESCAPE: Final = 255
"""Gap that stands for so many zeros and no weight."""
_MAX_HEADER: Final = 2**24
_MAX_AXES: Final = 8
_DTYPES: Final = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        "float16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "bool",
    )
}


@dataclass(frozen=True)
class TensorSize:
    """What one tensor takes in the file.

    Attributes
    ----------
    name
        Its key in the state dictionary.
    weights, nonzero
        Elements, and those that are not zero.
    codebook
        Different values other than zero; 0 if the tensor is stored as it is.
    bytes
        All that is stored of it but its share of the header.
    """

    name: str
    weights: int
    nonzero: int
    codebook: int
    bytes: int


@dataclass(frozen=True)
class Sizes:
    """What a network takes in the file.

    Attributes
    ----------
    tensors
        Each tensor.
    original
        Bytes of the network before: its tensors as they are.
    compressed
        Bytes of the whole file.
    """

    tensors: tuple[TensorSize, ...]
    original: int
    compressed: int

    @property
    def ratio(self) -> float:
        """How many times smaller the file is."""
        return self.original / self.compressed


def save_compressed(
    state: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, str] | None = None,
) -> Sizes:
    """Write the weights of a network in few bytes; reading gives them back bit by bit.

    A tensor of at most 256 different values other than zero is compressed, all others are stored
    as they are. An interrupted call leaves an earlier file intact.

    Parameters
    ----------
    state
        ``plain(network).state_dict()``.
    path
        The file; an existing one is replaced.
    metadata
        Texts to keep with the weights.

    Raises
    ------
    ArgumentError
        If a tensor is of a type that the file cannot hold.
    OSError
        If the file cannot be written.
    """
    data, sizes = encode(state, metadata or {})
    replace_file(path, data)
    return sizes


def load_compressed(
    path: str | os.PathLike[str], *, max_weights: int = MAX_WEIGHTS
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a compressed file, checking everything in it.

    Safe on files from strangers: nothing in the file is executed, and no memory is taken before it
    is known that the file announces no more than it may.

    Parameters
    ----------
    path
        The file.
    max_weights
        Most elements that all tensors together may have: few bytes can stand for many zeros.

    Returns
    -------
    tensors
        The state dictionary.
    metadata
        The texts that were saved with it.

    Raises
    ------
    FileError
        If the file breaks any rule; the message names the file, the place and the rule.
    OSError
        If it cannot be read.
    """
    try:
        return decode(Path(path).read_bytes(), max_weights=max_weights)
    except FileError as error:
        raise FileError(f"{os.fspath(path)}: {error}") from None


def encode(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[bytes, Sizes]:
    """Return the bytes of a file, and what each tensor takes.

    Parameters
    ----------
    state
        Tensors by name.
    metadata
        Texts by key.
    """
    entries, parts, sizes = [], [], []
    for name, tensor in state.items():
        array = _array_of(name, tensor)
        coded = _coded(array)
        streams = [array.tobytes()] if coded is None else list(coded.streams)
        entries.append({
            "name": name, "dtype": array.dtype.name, "shape": list(array.shape),
            "counts": [] if coded is None else list(coded.counts),
            "bytes": [len(stream) for stream in streams],
        })  # fmt: skip
        parts += streams
        book = 0 if coded is None else coded.counts[0]
        sizes.append(TensorSize(name, array.size, int(np.count_nonzero(array)), book,
                                sum(map(len, streams))))  # fmt: skip
    document = {"metadata": dict(metadata), "tensors": entries}
    header = zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 9)
    data = b"".join([_START.pack(_MAGIC, VERSION, len(header)), header, *parts])
    data += _END.pack(zlib.crc32(data))
    return data, Sizes(tuple(sizes), bytes_of(state), len(data))


def bytes_of(state: Mapping[str, Tensor]) -> int:
    """Return the bytes of tensors as they are."""
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())


def decode(
    data: bytes, *, max_weights: int = MAX_WEIGHTS
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the texts of a file; the inverse of `encode`.

    Parameters
    ----------
    data
        The bytes of the file.
    max_weights
        As for `load_compressed`.
    """
    if len(data) < _START.size + _END.size or data[:8] != _MAGIC:
        raise FileError("is no compressed network: it does not begin with 'fxp-deep'")
    _, version, length = _START.unpack_from(data)
    if version != VERSION:
        raise FileError(f"has version {version}, this release reads version {VERSION}; update fxp")
    if zlib.crc32(data[: -_END.size]) != _END.unpack(data[-_END.size :])[0]:
        raise FileError("is damaged or truncated: its checksum does not match")
    end = len(data) - _END.size
    if length > end - _START.size:
        raise FileError(f"header: {length} bytes are announced, more than the file has")
    begin = _START.size + length
    header = parse_json(_inflated(data[_START.size : begin], _MAX_HEADER, "header", 15), "header")
    texts, items = object_values(header, "header", "metadata", "tensors")
    if not isinstance(texts, dict):
        raise FileError("header, metadata: must be an object of texts")
    metadata = {key: text_of(text, f"header, metadata {key!r}") for key, text in texts.items()}
    entries = [_Entry.parse(item, where) for item, where in items_of(items, "header, tensors")]
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise FileError("header, tensors: a name appears twice")
    total = sum(entry.size for entry in entries)
    if total > max_weights:
        raise FileError(
            f"holds {total} weights, more than the allowed {max_weights}; pass a larger "
            "max_weights if the file can be trusted"
        )
    stored = sum(sum(entry.bytes) for entry in entries)
    if stored != end - begin:
        raise FileError(f"tensors: {stored} bytes are announced, the file has {end - begin}")
    tensors = {}
    for entry in entries:
        streams = []
        for count in entry.bytes:
            streams.append(data[begin : begin + count])
            begin += count
        tensors[entry.name] = torch.from_numpy(entry.array(streams))
    return tensors, metadata


@dataclass(frozen=True)
class _Coded:
    """A tensor in code: sizes of codebook, codes and gaps, and these as bytes."""

    counts: tuple[int, int, int]
    streams: tuple[bytes, bytes, bytes]


def _array_of(name: str, tensor: Tensor) -> NDArray:
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()  # numpy has no such type, and float32 holds every value
    if str(tensor.dtype).removeprefix("torch.") not in _DTYPES or tensor.ndim > _MAX_AXES:
        raise ArgumentError(
            f"{name}: a tensor of {tensor.dtype} with {tensor.ndim} axes cannot be stored"
        )
    array = tensor.contiguous().numpy()
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _coded(array: NDArray) -> _Coded | None:
    """Return a tensor in code, None if it is better stored as it is."""
    if array.dtype != np.float32 or not array.size:
        return None
    flat = array.ravel()
    places = np.flatnonzero(flat.view(np.uint32))  # -0.0 is a value like any other
    values = flat[places].view(np.uint32)
    # Most tensors that are not shared show it at once.
    if len(np.unique(values[:4096])) > 256:
        return None
    book, codes = np.unique(values, return_inverse=True)
    if len(book) > 256:
        return None
    skipped = np.diff(places, prepend=-1) - 1
    escapes = skipped // _ESCAPE
    gaps = np.full(len(places) + int(escapes.sum()), _ESCAPE, np.uint8)
    gaps[np.cumsum(escapes + 1) - 1] = skipped % _ESCAPE
    if len(places) == len(flat):
        gaps = gaps[:0]
    coded = _Coded(
        (len(book), len(codes), len(gaps)),
        (book.astype("<u4").tobytes(), _huffman(codes.astype(np.uint8)), _huffman(gaps)),
    )
    return coded if sum(map(len, coded.streams)) < array.nbytes else None


def _huffman(symbols: NDArray[np.uint8]) -> bytes:
    """Return bytes in the Huffman code of Deflate, nothing for none."""
    if not len(symbols):
        return b""
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return coder.compress(symbols.tobytes()) + coder.flush()


def _inflated(data: bytes, most: int, where: str, window: int) -> bytes:
    """Undo Deflate; `most` bytes at most come out of it."""
    decoder = zlib.decompressobj(window)
    try:
        found = decoder.decompress(data, most + 1)
    except zlib.error as error:
        raise FileError(f"{where}: cannot be decoded: {error}") from None
    if len(found) > most:
        raise FileError(f"{where}: holds more than the {most} bytes that it may")
    if not decoder.eof or decoder.unused_data:
        raise FileError(f"{where}: does not end where it should")
    return found


@dataclass(frozen=True)
class _Entry:
    """A tensor in the header."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    counts: tuple[int, ...]
    bytes: tuple[int, ...]

    @classmethod
    def parse(cls, item: Any, where: str) -> _Entry:
        """Check what the header says of a tensor."""
        name, dtype, shape, counts, sizes = object_values(
            item, where, "name", "dtype", "shape", "counts", "bytes"
        )
        where = f"tensor {text_of(name, where)!r}"
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise FileError(f"{where}: dtype must be one of {', '.join(_DTYPES)}")
        lists = [
            tuple(integer_of(value, place, 0, 2**40) for value, place in items_of(values, place))
            for values, place in (
                (shape, f"{where}, shape"), (counts, f"{where}, counts"), (sizes, f"{where}, bytes")
            )
        ]  # fmt: skip
        entry = cls(name, _DTYPES[dtype], *lists)
        if len(entry.shape) > _MAX_AXES:
            raise FileError(f"{where}: shape has more than {_MAX_AXES} axes")
        if not entry.counts:
            fits = entry.bytes == (entry.size * entry.dtype.itemsize,)
        elif len(entry.counts) == len(entry.bytes) == 3 and entry.dtype == _DTYPES["float32"]:
            book, codes, gaps = entry.counts
            # A symbol takes a bit at least, so a short stream cannot stand for many.
            fits = (
                book <= 256
                and codes <= entry.size
                and (codes <= gaps or (gaps == 0 and codes == entry.size))
                and entry.bytes[0] == 4 * book
                and all(count <= 8 * size for count, size in zip(entry.counts[1:], entry.bytes[1:],
                                                                 strict=True))
            )  # fmt: skip
        else:
            fits = False
        if not fits:
            raise FileError(f"{where}: counts {list(entry.counts)} and bytes {list(entry.bytes)} "
                            f"do not fit shape {list(entry.shape)}")  # fmt: skip
        return entry

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def array(self, streams: list[bytes]) -> NDArray:
        """Decode the tensor."""
        if not self.counts:
            return np.frombuffer(streams[0], self.dtype).reshape(self.shape).copy()
        where = f"tensor {self.name!r}"
        book = np.frombuffer(streams[0], "<u4")
        codes, gaps = (
            self._symbols(stream, count, f"{where}, {kind}")
            for stream, count, kind in zip(
                streams[1:], self.counts[1:], ("codes", "gaps"), strict=True
            )
        )
        if len(codes) and codes.max() >= len(book):
            raise FileError(f"{where}: a code is beyond the {len(book)} values of the codebook")
        flat = np.zeros(self.size, "<u4")
        if self.counts[2] == 0 and len(codes) == self.size:
            flat[:] = book[codes] if len(codes) else 0
        else:
            weight = gaps != _ESCAPE
            places = (np.cumsum(gaps.astype(np.int64) + weight) - 1)[weight]
            if len(places) != len(codes) or (len(places) and places[-1] >= self.size):
                raise FileError(f"{where}: the gaps do not lead to {len(codes)} of {self.size} "
                                "places")  # fmt: skip
            flat[places] = book[codes]
        return flat.view(self.dtype).reshape(self.shape)

    def _symbols(self, stream: bytes, count: int, where: str) -> NDArray[np.uint8]:
        if not count and not stream:
            return np.zeros(0, np.uint8)
        symbols = _inflated(stream, count, where, -15)
        if len(symbols) < count:
            raise FileError(f"{where}: {count} are announced, {len(symbols)} are there")
        return np.frombuffer(symbols, np.uint8)
