"""Reading of an ONNX file: what it holds, with every size checked before memory is taken for it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.frontend.errors import FrontendError
from fxp.frontend.onnx.branches import with_chosen_branches
from fxp.frontend.onnx.functions import without_functions
from fxp.frontend.onnx.limits import MAX_FILE_BYTES, MAX_NODES, MAX_RANK
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
    import onnx.external_data_helper as external_data_helper
    import onnx.helper as onnx_helper
    import onnx.numpy_helper as numpy_helper
    from google.protobuf import message as protobuf_message
else:
    onnx = lazy_import("onnx", "onnx")
    external_data_helper = lazy_import("onnx.external_data_helper", "onnx")
    onnx_helper = lazy_import("onnx.helper", "onnx")
    numpy_helper = lazy_import("onnx.numpy_helper", "onnx")
    protobuf_message = lazy_import("google.protobuf.message", "onnx")

SUFFIX: Final = ".onnx"
OPSETS: Final = (7, 23)
"""First and last version of the operator set that is understood."""
_HALF_BYTES: Final = (21, 22, 23)
"""Types of which a byte holds two numbers: uint4, int4, and floats of 4 bits."""
_LISTS: Final = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def read_model(source: str | PathLike[str] | onnx.ModelProto) -> onnx.ModelProto:
    """Return a checked model whose tensors are all in memory.

    Parameters
    ----------
    source
        An ONNX file, with its external data beside it, or a model that is in memory.

    Raises
    ------
    FrontendError
        If the file is missing or damaged, needs a newer or older operator set than those of
        `OPSETS`, or reads data outside its own folder.
    """
    if isinstance(source, str | PathLike):
        path = Path(fspath(source))
        model, folder = _parsed(path), path.parent
    else:
        model, folder = source, None
    _check_text(model)
    _check_version(model)
    model = with_chosen_branches(without_functions(model))
    if len(model.graph.node) > MAX_NODES:
        raise FrontendError(f"it has {len(model.graph.node)} nodes; {MAX_NODES} are supported")
    if len(model.functions):
        raise FrontendError(
            f"its function {model.functions[0].name!r} uses another operator set than the network, "
            "and cannot be converted; export it again without functions"
        )
    for tensor in model.graph.initializer:
        _read_external(tensor, folder)
        _check_tensor(tensor, tensor.name)
    if len(model.graph.sparse_initializer):
        raise FrontendError("it has sparse initializers; save them as dense tensors")
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g") or len(attribute.graphs):
                raise FrontendError(
                    f"ONNX node {label(node)} ({node.op_type}, opset {opset_of(model)}) holds a "
                    "graph of its own, a branch or a loop; export a network without control flow, "
                    "or fold its conditions with a tool such as onnxsim"
                )
            if attribute.HasField("t"):
                _read_external(attribute.t, folder)
                _check_tensor(attribute.t, f"{label(node)}.{attribute.name}")
    return model


def _parsed(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise FrontendError(f"there is no file {str(path)!r}")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise FrontendError(f"{str(path)!r} has {size} bytes; keep large weights in external data")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except protobuf_message.DecodeError as error:
        raise FrontendError(
            f"{str(path)!r} is damaged, or no ONNX file; copy or export it again"
        ) from error
    if not model.HasField("graph"):
        raise FrontendError(f"{str(path)!r} holds no network; it is damaged, or no ONNX file")
    return model


def _check_text(message: protobuf_message.Message) -> None:
    """Refuse text that is not UTF-8, which protobuf hands over as bytes, and odd operations.

    Messages show names in quotes, but operations as they are.
    """
    for field, value in message.ListFields():
        if field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
            continue
        several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        for item in value if several else (value,):
            if isinstance(item, protobuf_message.Message):
                _check_text(item)
            elif isinstance(item, bytes):
                raise FrontendError(
                    f"it is damaged: its text {item[:20]!r} ({field.name}) is not UTF-8; copy or "
                    "export it again"
                )
            elif (
                isinstance(item, str)
                and field.name in ("op_type", "domain")
                and not item.isprintable()
            ):
                raise FrontendError(
                    f"it is damaged: its operation {item[:20]!r} ({field.name}) is no word; copy "
                    "or export it again"
                )


def _check_version(model: onnx.ModelProto) -> None:
    lowest, highest = OPSETS
    version = opset_of(model)
    if not lowest <= version <= highest:
        raise FrontendError(
            f"its operator set is version {version}; {lowest} to {highest} are supported: export "
            "it again, or use onnx.version_converter"
        )


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set that a model uses."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        raise FrontendError("it does not say which operator set it uses; export it again")
    return versions[0]


def label(node: onnx.NodeProto) -> str:
    """Name of a node in messages: its own, or that of what it computes."""
    return repr(node.name or (node.output[0] if node.output else node.op_type))


def _read_external(tensor: onnx.TensorProto, folder: Path | None) -> None:
    """Read the data of a tensor that lies in another file of the model's folder."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    if folder is None:
        raise FrontendError(
            f"tensor {tensor.name!r} lies in another file, and a model in memory has no folder; "
            "give the path of the model"
        )
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    root = folder.resolve()
    path = (root / location).resolve()
    if not location or Path(location).is_absolute() or not path.is_relative_to(root):
        raise FrontendError(
            f"tensor {tensor.name!r} lies in {location!r}, outside the folder of the model; put "
            "all its files in one folder, and save it with relative locations"
        )
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or _byte_count(tensor))
    except ValueError as error:
        raise FrontendError(f"tensor {tensor.name!r} has a damaged location") from error
    if not path.is_file():
        raise FrontendError(f"tensor {tensor.name!r} lies in {location!r}, which is no file")
    if length != _byte_count(tensor) or offset < 0 or offset + length > path.stat().st_size:
        raise FrontendError(
            f"tensor {tensor.name!r} of shape {tuple(tensor.dims)} needs {_byte_count(tensor)} "
            f"bytes, which {location!r} does not hold; copy that file again"
        )
    with path.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _byte_count(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's data."""
    if tensor.data_type in _HALF_BYTES:
        return (prod(tensor.dims) + 1) // 2
    return prod(tensor.dims) * _dtype(tensor).itemsize


def _dtype(tensor: onnx.TensorProto) -> np.dtype[Any]:
    try:
        return np.dtype(onnx_helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, TypeError) as error:
        raise FrontendError(f"tensor {tensor.name!r} has an unknown type") from error


def _check_tensor(tensor: onnx.TensorProto, name: str) -> None:
    """Compare the shape of a tensor with the data that the file holds for it."""
    dimensions = tuple(tensor.dims)
    if len(dimensions) > MAX_RANK or any(size < 0 for size in dimensions):
        raise FrontendError(f"tensor {name!r} has the shape {dimensions[:MAX_RANK]}")
    count = prod(dimensions)
    if tensor.HasField("raw_data"):
        held, wanted = len(tensor.raw_data), _byte_count(tensor)
    else:
        held = sum(len(getattr(tensor, field)) for field in _LISTS)
        wanted = _byte_count(tensor) if tensor.data_type in _HALF_BYTES else count
    if held != wanted:
        raise FrontendError(
            f"tensor {name!r} of shape {dimensions} does not have that many numbers; the file is "
            "damaged"
        )


def array_of(tensor: onnx.TensorProto, name: str) -> NDArray[Any]:
    """Return a tensor as an array; floats of any width as float32, or float64 where they are that.

    Parameters
    ----------
    tensor
        It has been checked by `read_model`.
    name
        What messages call it.
    """
    try:
        array = np.array(numpy_helper.to_array(tensor))
    except Exception as error:
        # The reader raises many unrelated types for damaged tensors.
        raise FrontendError(f"tensor {name!r} cannot be read ({error})") from error
    if array.dtype.kind in "iub" or tensor.data_type in _HALF_BYTES[:2]:
        return array.astype(np.int64)
    if array.dtype == np.float64:
        return array
    try:
        return array.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise FrontendError(f"tensor {name!r} holds {array.dtype}, and no numbers") from error
