"""The .fxp file: an integer graph in a safetensors container; see ``docs/file-format.md``.

The constants' raw integers are the tensors; everything else is one JSON text in the metadata.
Accumulators are not stored: loading builds the graph anew, which proves every one of them again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from reprlib import repr as shortened
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Format, FormatError, Quantization
from fxp.graph import MAX_CHANNELS, MAX_ELEMENTS, Constant, Graph, Node, State, Value
from fxp.graph.extents import Dimension, Extent, Shape, shape_text
from fxp.graph.ops import REGISTRY, GraphError, Op
from fxp.store import container
from fxp.store.container import FileError, integer_of, items_of, object_values, text_of
from fxp.support.distribution import version
from fxp.support.errors import ArgumentError
from fxp.support.files import replace_file

FORMAT_VERSION: Final = 4
"""Each version has more ops than the one before, and is otherwise the same."""
MAX_NUMBER: Final = 2**31 - 1
"""Largest size, op attribute and number in a size formula."""
MAX_CONSTANT_READS: Final = 2**24
"""Constant elements that all nodes together may read, beyond 16 times those stored."""
MAX_EXTENT_DEPTH: Final = 64

_KEY: Final = "fxp"
_DIGEST_VERSION: Final = 3
"""File version whose bytes `graph_digest` hashes, whatever `FORMAT_VERSION` is.

The digests of this version stand in emitted cores and in saved states of streams, and must match
for ever: changing it would make these strangers to the graph that they were made from.
"""


def save_graph(
    graph: Graph, path: str | os.PathLike[str], *, metadata: Mapping[str, str] = {}
) -> None:
    """Save an integer graph as a .fxp file.

    The file is written beside its destination and then moved there, so a failure leaves an earlier
    file intact. Equal graphs and metadata give equal bytes.

    Parameters
    ----------
    graph
        An integer graph.
    path
        The file; an existing one is replaced.
    metadata
        Any texts to keep with the graph, such as the name of the model and its licence.

    Raises
    ------
    FileError
        If it is a float graph or cannot come back equal from a file; nothing is written.
    OSError
        If the file cannot be written.
    """
    data = _to_bytes(graph, metadata, f"fxp {version()}")
    # A file that would not load is never written.
    if _from_bytes(data) != (graph, dict(metadata)):
        raise FileError(f"graph {graph.name!r}: an attribute of a wrong type would change its type")
    replace_file(path, data)


def load_graph(path: str | os.PathLike[str]) -> tuple[Graph, dict[str, str]]:
    """Load a .fxp file, checking everything in it.

    Safe on files from strangers: nothing in the file is executed, and memory stays in proportion to
    its size.

    Returns
    -------
    graph
        The saved graph, validated and with every accumulator proved anew.
    metadata
        The texts that were saved with it.

    Raises
    ------
    FileError
        A `FormatError`, if the file cannot be read or breaks any rule; the message names the file,
        the place and the rule.
    """
    try:
        return _from_bytes(container.read(path))
    except (FormatError, GraphError) as error:
        raise FileError(f"{os.fspath(path)}: {error}") from None


def graph_digest(graph: Graph) -> str:
    """SHA-256 of an integer graph, which tells it from every other; newer fxp give the same."""
    return hashlib.sha256(_to_bytes(graph, {}, "", _DIGEST_VERSION)).hexdigest()


def _to_bytes(
    graph: Graph, metadata: Mapping[str, str], producer: str, file_version: int = FORMAT_VERSION
) -> bytes:
    if not graph.is_integer:
        raise FileError(f"graph {graph.name!r} is a float graph; convert it before saving it")
    for item in (*metadata, *metadata.values()):
        if not isinstance(item, str):
            raise FileError(f"metadata must map texts to texts, got {item!r}")
    document = {
        "version": file_version,
        "producer": producer,
        "metadata": dict(metadata),
        "graph": {
            "name": graph.name,
            "inputs": [_value_document(value) for value in graph.inputs],
            "states": [
                {
                    **_value_document(state.value),
                    "source": state.source,
                    "reset": int(state.reset),
                }
                for state in graph.states
            ],
            "constants": [_constant_document(constant) for constant in graph.constants],
            "nodes": [_node_document(node) for node in graph.nodes],
            "outputs": list(graph.outputs),
        },
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    tensors = {
        constant.name: constant.data.astype(_stored_dtype(constant.formats), copy=False)
        for constant in graph.constants
    }
    return container.encode(tensors, {_KEY: text})


def _stored_dtype(formats: Sequence[Format]) -> np.dtype:
    return max((form.dtype for form in formats), key=lambda dtype: dtype.itemsize)


def _value_document(value: Value) -> dict[str, Any]:
    shape = [str(size) if isinstance(size, Extent) else int(size) for size in value.shape]
    return {"name": value.name, "shape": shape, "format": str(value.format)}


def _constant_document(constant: Constant) -> dict[str, Any]:
    distinct = {form: index for index, form in enumerate(dict.fromkeys(constant.formats))}
    single = len(constant.formats) == 1
    return {
        "name": constant.name,
        "formats": [str(form) for form in distinct],
        "channels": [] if single else [distinct[form] for form in constant.formats],
    }


def _node_document(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "op": node.op.name,
        "attributes": {
            name: _plain(getattr(node.op, name), hint)
            for name, hint in attribute_hints(type(node.op)).items()
        },
        "inputs": list(node.inputs),
        "type": str(node.quantization),
        "origin": node.origin,
    }


def _plain(value: Any, hint: Any) -> Any:
    """Return an attribute as JSON stores it."""
    if get_origin(hint) is tuple:
        return [int(item) for item in value]
    if value is None or get_origin(hint) is Literal:
        return value
    if hint is bool:
        return bool(value)
    return float(value) if float in (hint, *get_args(hint)) else int(value)


@cache
def attribute_hints(op_class: type[Op]) -> dict[str, Any]:
    """Return the resolved type hint of every attribute of an op."""
    hints = get_type_hints(op_class)
    return {field.name: hints[field.name] for field in fields(op_class)}  # type: ignore[arg-type]


def _from_bytes(data: bytes) -> tuple[Graph, dict[str, str]]:
    tensors, texts = container.decode(data)
    if set(texts) != {_KEY}:
        raise FileError(
            f"header, __metadata__: must hold the one key {_KEY!r}, got "
            f"{shortened(sorted(texts))}; this is a safetensors file, but not a .fxp file"
        )
    document = container.parse_json(texts[_KEY], _KEY)
    found = document.get("version") if isinstance(document, dict) else None
    if type(found) is int and found > FORMAT_VERSION:
        raise FileError(
            f"written by a newer fxp, update: its file format version is {shortened(found)}, this "
            f"fxp reads up to {FORMAT_VERSION}"
        )
    if type(found) is not int or found < 1:
        raise FileError(
            f"{_KEY}: needs a version from 1 to {FORMAT_VERSION}, got {shortened(found)}"
        )
    _, producer, metadata, content = object_values(
        document, _KEY, "version", "producer", "metadata", "graph"
    )
    text_of(producer, "producer")
    if not isinstance(metadata, dict):
        raise FileError(f"metadata: must be an object, got {shortened(metadata)}")
    for key, value in metadata.items():
        text_of(key, "metadata")
        text_of(value, f"metadata, {shortened(key)}")
    return _graph(content, tensors), metadata


def _graph(content: Any, tensors: dict[str, NDArray]) -> Graph:
    name, inputs, states, constants, nodes, outputs = object_values(
        content, "graph", "name", "inputs", "states", "constants", "nodes", "outputs"
    )
    title = text_of(name, "graph, name")
    read = tuple(_value(*item) for item in items_of(inputs, "inputs"))
    computed = tuple(_node(*item) for item in items_of(nodes, "nodes"))
    results = tuple(text_of(*item) for item in items_of(outputs, "outputs"))
    stored = tuple(_constant(*item, tensors) for item in items_of(constants, "constants"))
    fed = tuple(_state(*item) for item in items_of(states, "states"))
    if tensors:
        raise FileError(f"header: no constant names the tensors {shortened(sorted(tensors))}")
    _check_sizes(read, computed, stored, fed)
    return Graph(title, read, computed, results, stored, fed)


def _check_sizes(
    inputs: Sequence[Value],
    nodes: Sequence[Node],
    constants: Sequence[Constant],
    states: Sequence[State],
) -> None:
    """Bound the memory and time that building the graph takes.

    Stops at the first node that breaks a rule of `Graph`, which then says so itself.
    """
    stored = {constant.name: constant.data.shape for constant in constants}
    shapes: dict[str, Shape] = dict(stored)
    reads = MAX_CONSTANT_READS + 16 * sum(constant.data.size for constant in constants)
    channels = 0
    for value in (*inputs, *(state.value for state in states), *nodes):
        if isinstance(value, Node):
            where = f"node {value.name!r} ({value.op.name})"
            fewest, most = value.op.arity
            if not fewest <= len(value.inputs) <= most or not shapes.keys() >= set(value.inputs):
                return
            reads -= sum(math.prod(stored[name]) for name in value.inputs if name in stored)
            if reads < 0:
                raise FileError(f"{where}: the nodes so far read the constants too many times")
            try:
                shape = value.op.shape(*(shapes[name] for name in value.inputs))
            except GraphError:
                return
        else:
            where, shape = f"value {value.name!r}", value.shape
        fixed = [size for size in shape if isinstance(size, int)]
        if len(shape) not in (1, 3) or isinstance(shape[0], Extent) or min(fixed) < 1:
            return
        _check_formulas(shape, where)
        if max(fixed) > MAX_NUMBER or math.prod(fixed) > MAX_ELEMENTS:
            raise FileError(f"{where}: shape {shape_text(shape)} is too large")
        channels += shape[0]
        if channels > MAX_CHANNELS:
            raise FileError(
                f"{where}: the values so far have {channels} channels; at most {MAX_CHANNELS} in "
                "all are supported"
            )
        shapes[value.name] = shape


def _check_formulas(shape: Shape, where: str) -> None:
    for size in shape:
        formula, depth = size, 0
        while isinstance(formula, Extent):
            if max(abs(formula.scale), abs(formula.offset), formula.divisor) > MAX_NUMBER:
                raise FileError(f"{where}: a number in a size formula is too large")
            formula, depth = formula.base, depth + 1
        if depth > MAX_EXTENT_DEPTH:
            raise FileError(f"{where}: a size formula is nested more than {MAX_EXTENT_DEPTH} deep")


def _value(item: Any, where: str) -> Value:
    name, shape, form = object_values(item, where, "name", "shape", "format")
    return _typed_value(name, shape, form, where)


def _state(item: Any, where: str) -> State:
    name, shape, form, source, reset = object_values(
        item, where, "name", "shape", "format", "source", "reset"
    )
    fed = _typed_value(name, shape, form, where)
    assert fed.format is not None
    low, high = fed.format.min_raw, fed.format.max_raw
    return State(
        fed, text_of(source, f"{where}, source"), integer_of(reset, f"{where}, reset", low, high)
    )


def _typed_value(name: Any, shape: Any, form: Any, where: str) -> Value:
    sizes = tuple(_size(*item) for item in items_of(shape, f"{where}, shape"))
    return Value(text_of(name, f"{where}, name"), sizes, _format(form, f"{where}, format"))


def _size(item: Any, where: str) -> Dimension:
    if not isinstance(item, str):
        return integer_of(item, where, 1, MAX_NUMBER)
    try:
        extent = Extent.parse(item)
    except ArgumentError as error:
        raise FileError(f"{where}: {error}") from None
    _check_formulas((extent,), where)
    if str(extent) != item:
        raise FileError(f"{where}: {item!r} must be written {str(extent)!r}")
    return extent


def _format(item: Any, where: str) -> Format:
    return _parsed(Format, item, where)


def _parsed(kind: Any, item: Any, where: str) -> Any:
    """Parse a format or quantization, which must be written as ``str`` writes it."""
    if not isinstance(item, str) or len(item) > 100:
        raise FileError(f"{where}: must be a type name, got {shortened(item)}")
    try:
        result = kind.parse(item)
    except FormatError as error:
        raise FileError(f"{where}: {error}") from None
    if str(result) != item:
        raise FileError(f"{where}: {item!r} must be written {str(result)!r}")
    return result


def _constant(item: Any, where: str, tensors: dict[str, NDArray]) -> Constant:
    name, formats, channels = object_values(item, where, "name", "formats", "channels")
    data = tensors.pop(text_of(name, f"{where}, name"), None)
    if data is None:
        raise FileError(f"{where}: there is no tensor {shortened(name)}, or it is named twice")
    distinct = [_format(*entry) for entry in items_of(formats, f"{where}, formats")]
    last = len(distinct) - 1
    indices = [integer_of(*entry, 0, last) for entry in items_of(channels, f"{where}, channels")]
    used = list(dict.fromkeys(indices)) if indices else [0]
    if len(set(distinct)) != len(distinct) or used != list(range(len(distinct))):
        raise FileError(
            f"{where}: formats must be distinct and stand in the order in which channels use them; "
            "without channels there must be one"
        )
    chosen = tuple(distinct[index] for index in indices) or (distinct[0],)
    if indices and len(indices) != data.shape[0]:
        raise FileError(f"{where}: {len(indices)} channels are given for shape {data.shape}")
    if len(indices) == 1:
        raise FileError(f"{where}, channels: must be left empty for one channel")
    expected = _stored_dtype(chosen)
    if data.dtype != expected:
        raise FileError(f"{where}: its formats are stored as {expected}, not as {data.dtype}")
    raw = data.astype(np.int64)
    raw.setflags(write=False)
    return Constant(name, raw, chosen)


def _node(item: Any, where: str) -> Node:
    name, op, attributes, inputs, quantization, origin = object_values(
        item, where, "name", "op", "attributes", "inputs", "type", "origin"
    )
    return Node(
        text_of(name, f"{where}, name"),
        _op(op, attributes, where),
        tuple(text_of(*entry) for entry in items_of(inputs, f"{where}, inputs")),
        _parsed(Quantization, quantization, f"{where}, type"),
        origin=text_of(origin, f"{where}, origin"),
    )


def _op(name: Any, attributes: Any, where: str) -> Op:
    op_class = REGISTRY.get(name) if isinstance(name, str) else None
    if op_class is None:
        raise FileError(f"{where}, op: there is no op {shortened(name)}")
    hints = attribute_hints(op_class)
    where = f"{where} ({name}), attributes"
    values = object_values(attributes, where, *hints)
    checked = {
        key: _attribute(value, hint, f"{where}, {key}")
        for value, (key, hint) in zip(values, hints.items(), strict=True)
    }
    try:
        return op_class(**checked)
    except GraphError as error:
        raise FileError(f"{where}: {error}") from None


def _attribute(value: Any, hint: Any, where: str) -> Any:
    """Check an attribute against its type hint."""
    if get_origin(hint) in (Union, UnionType):
        (inner,) = (kind for kind in get_args(hint) if kind is not NoneType)
        return None if value is None else _attribute(value, inner, where)
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        items = items_of(value, where)
        if kinds[1:] == (Ellipsis,):
            kinds = kinds[:1] * len(items)
        if len(items) != len(kinds):
            raise FileError(f"{where}: must be {len(kinds)} numbers, got {shortened(value)}")
        return tuple(
            _attribute(item, kind, place) for (item, place), kind in zip(items, kinds, strict=True)
        )
    if get_origin(hint) is Literal:
        if not isinstance(value, str) or value not in get_args(hint):
            raise FileError(f"{where}: must be one of {get_args(hint)}, got {shortened(value)}")
        return value
    if hint is int:
        return integer_of(value, where, -MAX_NUMBER, MAX_NUMBER)
    if hint is float:
        if type(value) not in (int, float) or not abs(value) <= 1e300:
            raise FileError(f"{where}: must be a finite number, got {shortened(value)}")
        return float(value)
    assert hint is bool, f"attributes of type {hint} have no file format"
    if not isinstance(value, bool):
        raise FileError(f"{where}: must be true or false, got {shortened(value)}")
    return value
