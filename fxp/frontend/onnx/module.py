"""An ONNX graph as a torch module: one small module for each node, joined by a `torch.fx` graph."""

from __future__ import annotations

import keyword
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from fxp.frontend.builder import clean_name
from fxp.frontend.errors import FrontendError
from fxp.frontend.onnx.call import Call, NodeInfo, refused
from fxp.frontend.onnx.elementwise import ELEMENTWISE
from fxp.frontend.onnx.file import array_of, label, opset_of
from fxp.frontend.onnx.image_layout import has_channels_last
from fxp.frontend.onnx.layers import LAYERS
from fxp.frontend.onnx.limits import MAX_RANK, MAX_STATIC
from fxp.frontend.onnx.movement import MOVEMENT
from fxp.frontend.onnx.refusals import ADVICE, DEFAULT
from fxp.frontend.onnx.sizes import SIZES, element_count, shape
from fxp.frontend.onnx.spelled import found_again
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
    import onnx.defs as onnx_defs
    import onnx.helper as onnx_helper
else:
    onnx = lazy_import("onnx", "onnx")
    onnx_defs = lazy_import("onnx.defs", "onnx")
    onnx_helper = lazy_import("onnx.helper", "onnx")

TRANSLATORS: Final = {
    **LAYERS, **ELEMENTWISE, **MOVEMENT, "Shape": shape, "Size": element_count,
}  # fmt: skip
"""Translators by operation, for nodes that read something computed from the image."""
_STANDARD: Final = ("", "ai.onnx")


class Operator(torch.nn.Module):
    """One node of an ONNX graph.

    Parameters
    ----------
    node
        What it computes.
    constants
        The inputs that are constants, by position.
    keeps_tensors
        Whether a constant of one number stays a tensor, which has a format.
    """

    def __init__(
        self, node: NodeInfo, constants: Mapping[int, NDArray[Any]], keeps_tensors: bool = False
    ) -> None:
        super().__init__()
        self.keeps_tensors = keeps_tensors
        self.node = node
        self.constants = dict(constants)
        self.weights: dict[int, str] = {}
        """Names of the parameters that hold constants, by position."""
        names = _input_names(node)
        for position, array in constants.items():
            if array.dtype.kind == "f":
                name = clean_name(names[position]).replace(".", "_")
                tensor = torch.from_numpy(array.copy())
                self.register_parameter(name, torch.nn.Parameter(tensor, requires_grad=False))
                self.weights[position] = name

    def forward(self, *computed: torch.Tensor | NDArray[Any]) -> Any:
        """Compute the node for the inputs that are not constants."""
        given = iter(computed)
        values = [
            None if not name else self.constants[p] if p in self.constants else next(given)
            for p, name in enumerate(self.node.inputs)
        ]
        weights = {position: getattr(self, name) for position, name in self.weights.items()}
        call = Call(self.node, values, weights, self.keeps_tensors)
        # Large constants are tensors of numbers, not sizes.
        small = all(array.size <= MAX_STATIC for array in self.constants.values())
        if _is_static(values) and self.node.op in SIZES and small:
            return SIZES[self.node.op](call)
        translator = TRANSLATORS.get(self.node.op)
        if translator is None:
            raise refused(self.node, "it computes with values of the image", DEFAULT)
        return translator(call)

    def extra_repr(self) -> str:
        """Return the operation, for ``print``."""
        return f"{self.node.op}, opset {self.node.opset}"


def _is_static(values: list[Any]) -> bool:
    return all(value is None or isinstance(value, np.ndarray) for value in values)


def _input_names(node: NodeInfo) -> list[str]:
    """Names of a node's inputs in the standard, such as ``W`` of a Conv, all different."""
    schema = _schema(node)
    formal = [] if schema is None else [item.name for item in schema.inputs]
    return [
        formal[position] if position < len(formal) else f"input_{position}"
        for position in range(len(node.inputs))
    ]


@dataclass(frozen=True)
class ImageInput:
    """An input of a network.

    Attributes
    ----------
    name
        Its name.
    shape
        Its sizes in the file, batch included; None where the file leaves one free.
    channels_last
        Whether the file has it as ``(N, H, W, C)``. The module takes ``(N, C, H, W)``.
    """

    name: str
    shape: tuple[int | None, ...]
    channels_last: bool = False

    def module_shape(self, free: int) -> tuple[int, ...]:
        """Return the shape that the module takes.

        Parameters
        ----------
        free
            For heights and widths that the file leaves free.
        """
        sizes = [1, *(free if size is None else size for size in self.shape[1:])]
        if self.channels_last:
            sizes = [sizes[0], sizes[3], *sizes[1:3]]
        if len(sizes) == 3:
            sizes.insert(2, 1)
        return tuple(sizes)

    def fitted(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        """Return a shape with the sizes that the file fixes; None if it has other axes or channels.

        Parameters
        ----------
        shape
            As the module takes it; its batch does not matter.
        """
        own = self.module_shape(0)
        if len(own) != len(shape) or own[1] != shape[1]:
            return None
        return tuple(fixed or size for fixed, size in zip(own, shape, strict=True))


class OnnxModule(fx.GraphModule):
    """A network that was read from an ONNX file.

    Attributes
    ----------
    image_inputs
        What its ``forward`` takes, in order.
    channels_last
        Names of outputs that are ``(N, H, W, C)`` in the file; the module has ``(N, C, H, W)``.
    graph_name
        Name of the graph in the file.
    dtype
        Type of the numbers that it takes.
    runnable_shapes
        Shapes of its inputs with which it runs; None if that has not been tried.
    """

    image_inputs: tuple[ImageInput, ...]
    channels_last: frozenset[str]
    graph_name: str
    dtype: torch.dtype = torch.float32
    runnable_shapes: Sequence[tuple[int, ...]] | None = None


class Assembly:
    """One pass over the nodes of a model.

    Attributes
    ----------
    known
        Values of tensors that are known without the image, by name.
    computed
        For every other tensor the node of the `torch.fx` graph that computes it.
    """

    takes_integers = False
    """Whether inputs may hold integers."""
    keeps_tensors = False
    """Whether constants of one number stay tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.opset = opset_of(model)
        self.root = torch.nn.Module()
        self.graph = fx.Graph()
        self.known: dict[str, NDArray[Any]] = {
            tensor.name: array_of(tensor, tensor.name) for tensor in model.graph.initializer
        }
        self.computed: dict[str, fx.Node] = {}
        self.channels_last: set[str] = set()
        self.inputs = [
            _image_input(value, model.graph, self.takes_integers)
            for value in model.graph.input
            if value.name not in self.known
        ]
        if not self.inputs:
            raise FrontendError("it has no input")

    def build(self) -> OnnxModule:
        """Translate all nodes."""
        placeholders = [self.graph.placeholder(_identifier(given.name)) for given in self.inputs]
        for given, node in zip(self.inputs, placeholders, strict=True):
            if given.channels_last:
                node = self.graph.call_method("permute", (node, 0, 2, 3, 1))
                self.channels_last.add(given.name)
            elif len(given.shape) == 3:
                node = self.graph.call_method("squeeze", (node, 2))
            self.computed[given.name] = node
        for node in found_again(self.model.graph):
            self.add(node)
        results = {}
        for value in self.model.graph.output:
            if value.name not in self.computed:
                reason = "is constant" if value.name in self.known else "is computed by no node"
                raise FrontendError(f"output {value.name!r} {reason}")
            last = value.name in self.channels_last
            result = self.graph.call_function(_as_output, (self.computed[value.name], last))
            results[value.name] = result
        self.graph.output(results)
        module = OnnxModule(self.root, self.graph, "OnnxModule")
        module.graph.eliminate_dead_code()
        module.recompile()
        module.delete_all_unused_submodules()
        module.image_inputs = tuple(self.inputs)
        module.channels_last = frozenset(results) & self.channels_last
        module.graph_name = clean_name(self.model.graph.name or "network")
        return module.eval()

    def add(self, proto: onnx.NodeProto) -> None:
        """Translate one node."""
        node = self.info(proto)
        if proto.op_type == "Constant" and node.domain == "":
            self.known[node.outputs[0]] = _constant(node)
            return
        for name in node.inputs:
            if name and name not in self.known and name not in self.computed:
                raise refused(
                    node, f"it reads {name!r}, which no earlier node computes",
                    "the file is damaged, or its nodes are out of order: export it again",
                )  # fmt: skip
        if node.domain not in _STANDARD or node.op not in {*TRANSLATORS, *SIZES}:
            advice = _OPTIMIZED if node.domain in _OF_ONNX_RUNTIME else DEFAULT
            raise refused(node, "this operation is not supported", ADVICE.get(node.op, advice))
        constants = {
            p: self.known[name] for p, name in enumerate(node.inputs) if name in self.known
        }
        folded = self.folded(node, constants)
        if folded is not None:
            self.known[node.outputs[0]] = folded
            return
        # Operations on sizes alone show when they are run whether they read sizes.
        if node.op not in TRANSLATORS and not any(name in self.computed for name in node.inputs):
            raise refused(node, "it computes a large constant", "store the result")
        path = self.unique(clean_name(node.name).replace(".", "_"))
        if not self.takes_integers:
            constants = {p: _single(array) for p, array in constants.items()}
        self.root.add_module(path, Operator(node, constants, self.keeps_tensors))
        operands = tuple(
            self.computed[name]
            for position, name in enumerate(node.inputs)
            if name and position not in constants
        )
        made = self.graph.call_module(path, operands)
        if self._gives_channels_last(node):
            self.channels_last.update(node.outputs)
        several = node.op == "Split"
        for position, name in enumerate(node.outputs):
            if name:
                self.computed[name] = (
                    self.graph.call_function(operator.getitem, (made, position))
                    if several else made
                )  # fmt: skip
            if not several:
                break

    def _gives_channels_last(self, node: NodeInfo) -> bool:
        """Whether a node computes images ``(N, H, W, C)`` in a file whose inputs are such."""
        if node.op == "Transpose":
            turned = node.attributes.get("perm") == [0, 2, 3, 1]
            return turned and any(given.channels_last for given in self.inputs)
        return any(name in self.channels_last for name in node.inputs)

    def folded(self, node: NodeInfo, constants: Mapping[int, NDArray[Any]]) -> NDArray[Any] | None:
        """Return what a node computes from constants alone, None where torch has to."""
        if node.op == "Identity" and constants:
            return constants[0]
        if node.op == "ConstantOfShape" and constants:
            return _filled(node, constants[0])
        given = [position for position, name in enumerate(node.inputs) if name]
        if node.op not in SIZES or len(constants) != len(given):
            return None
        if any(array.size > MAX_STATIC for array in constants.values()):
            return None
        values = [constants.get(position) for position in range(len(node.inputs))]
        try:
            made = np.asarray(SIZES[node.op](Call(node, values, {})))
        except FrontendError:
            raise
        except Exception as error:
            # NumPy raises many unrelated types for operands that do not fit.
            raise refused(node, f"it cannot be computed ({error})", "repair the model") from error
        if made.dtype == object:
            made = np.array(made.tolist())
        return made

    def info(self, proto: onnx.NodeProto) -> NodeInfo:
        """Return what a node computes, with its attributes read."""
        name = label(proto)[1:-1]
        domain = "" if proto.domain in _STANDARD else proto.domain
        if not proto.output:
            raise FrontendError(f"ONNX node {name!r} ({proto.op_type}) has no output")
        attributes = {item.name: _attribute(item, name) for item in proto.attribute}
        node = NodeInfo(
            name, proto.op_type, domain, self.opset, attributes, tuple(proto.input),
            tuple(proto.output),
        )  # fmt: skip
        _check_given(node)
        return node

    def unique(self, wanted: str) -> str:
        """Return a name for a module that is an identifier, and not taken."""
        name, number = _identifier(wanted), 1
        while hasattr(self.root, name):
            number += 1
            name = f"{_identifier(wanted)}_{number}"
        return name


_OF_ONNX_RUNTIME: Final = ("com.microsoft", "com.microsoft.nchwc")
_OPTIMIZED: Final = (
    "if ONNX Runtime has optimized the network, save it before, or at the level ORT_ENABLE_BASIC"
)


def build(model: onnx.ModelProto) -> OnnxModule:
    """Return the torch module of a model that `fxp.frontend.onnx.file.read_model` has checked."""
    return Assembly(model).build()


def _check_given(node: NodeInfo) -> None:
    """Refuse a node that leaves out what it must have; ONNX Runtime would end the process."""
    schema = _schema(node)
    if schema is None:
        return
    for kind, names, formal in (
        ("input", node.inputs, schema.inputs),
        ("output", node.outputs, schema.outputs),
    ):
        for position, name in enumerate(names):
            optional = onnx_defs.OpSchema.FormalParameterOption.Optional
            if not name and formal and formal[min(position, len(formal) - 1)].option != optional:
                raise refused(
                    node, f"its {kind} {position} has no name, but cannot be left out",
                    "give it a name, or export the model again",
                )  # fmt: skip


def _schema(node: NodeInfo) -> onnx_defs.OpSchema | None:
    """Return what the standard says of a node, None if it is no operation of the standard."""
    if node.domain:
        return None
    try:
        return onnx_defs.get_schema(node.op, node.opset, "")
    except onnx_defs.SchemaError:
        return None


def _identifier(name: str) -> str:
    text = clean_name(name).replace(".", "_").strip("_") or "value"
    return f"node_{text}" if text[0].isdigit() or keyword.iskeyword(text) else text


def _filled(node: NodeInfo, sizes: NDArray[Any]) -> NDArray[Any] | None:
    """Return a small constant of one number; large ones are computed by torch."""
    count = math.prod(map(int, sizes.ravel())) if sizes.size <= MAX_RANK else -1
    if not 0 <= count <= MAX_STATIC or (sizes < 0).any():
        return None
    value = np.ravel(node.attributes.get("value", np.float32(0)))[:1]
    return np.full(sizes.ravel().astype(np.int64), value)


def _single(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array, of float32 if it has float64: float networks are computed in that."""
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _attribute(proto: onnx.AttributeProto, node: str) -> Any:
    if proto.HasField("t"):
        return array_of(proto.t, f"{node}.{proto.name}")
    try:
        value = onnx_helper.get_attribute_value(proto)
    except ValueError as error:
        raise FrontendError(f"ONNX node {node!r}: attribute {proto.name!r} is damaged") from error
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return list(value) if isinstance(value, list | tuple) or hasattr(value, "extend") else value


def _constant(node: NodeInfo) -> NDArray[Any]:
    if len(node.attributes) != 1:
        raise refused(node, "it must hold one value", "export the model again")
    name, value = next(iter(node.attributes.items()))
    if name == "sparse_value":
        raise refused(node, "its tensor is sparse", "save it as a dense tensor")
    if isinstance(value, np.ndarray):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "fi":
        raise refused(node, "it holds no numbers", "remove it")
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)


def _image_input(
    value: onnx.ValueInfoProto, graph: onnx.GraphProto, takes_integers: bool
) -> ImageInput:
    kind = value.type.tensor_type
    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
    if not takes_integers and kind.elem_type not in floats:
        raise FrontendError(
            f"input {value.name!r} holds no floating-point numbers; convert outside of the network"
        )
    if not kind.HasField("shape"):
        raise FrontendError(f"input {value.name!r} has no shape; write it into the file")
    sizes = tuple(
        size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None
        for size in kind.shape.dim
    )
    if len(sizes) not in (2, 3, 4):
        raise FrontendError(
            f"input {value.name!r} has {len(sizes)} axes; give images (N, C, H, W), sequences "
            "(N, C, L) or vectors (N, F)"
        )
    if sizes[0] not in (None, 1):
        raise FrontendError(
            f"input {value.name!r} is a batch of {sizes[0]}; export it for a batch of 1, or of any "
            "size"
        )
    turned = len(sizes) == 4 and has_channels_last(value.name, graph)
    channels = 3 if turned else 1
    if sizes[channels] is None:
        raise FrontendError(
            f"input {value.name!r} has a free number of channels; write it into the file"
        )
    return ImageInput(value.name, sizes, turned)


def _as_output(value: torch.Tensor, channels_last: bool) -> torch.Tensor:
    """Return a result as an image ``(N, C, H, W)``, or as a vector."""
    if value.ndim == 4 and channels_last:
        return value.permute(0, 3, 1, 2)
    if value.ndim == 3:
        return value.unsqueeze(2)
    return value.unsqueeze(1) if value.ndim == 1 else value
