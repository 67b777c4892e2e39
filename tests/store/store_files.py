"""Take saved files apart and put broken ones together."""

import json
import struct
from collections.abc import Callable
from typing import Any

import store_graphs

from fxp.store import graph_file as store

VALID = store._to_bytes(store_graphs.small(), {"licence": "Apache-2.0"}, "fxp 0.1.0")


def header_of(data: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])


def payload_of(data: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    return data[8 + length :]


def document_of(data: bytes) -> dict[str, Any]:
    return json.loads(header_of(data)["__metadata__"]["fxp"])


def pack(header: bytes | str | dict[str, Any], payload: bytes = payload_of(VALID)) -> bytes:
    if isinstance(header, dict):
        header = json.dumps(header)
    text = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(text)) + text + payload


def with_header(change: Callable[[dict[str, Any]], Any], data: bytes = VALID) -> bytes:
    header = header_of(data)
    change(header)
    return pack(header, payload_of(data))


def with_text(text: str, data: bytes = VALID) -> bytes:
    """Replace the whole JSON text of the graph."""
    return with_header(lambda header: header["__metadata__"].update(fxp=text), data)


def with_document(change: Callable[[dict[str, Any]], Any], data: bytes = VALID) -> bytes:
    document = document_of(data)
    change(document)
    return with_text(json.dumps(document), data)
