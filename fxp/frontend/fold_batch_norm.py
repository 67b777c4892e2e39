"""Pass: fold batch normalization into the layer before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.frontend.derivation import Derivation, Source, evaluate
from fxp.frontend.rewrite import rebuilt, unique_name
from fxp.graph import Constant, Graph, Node
from fxp.graph.extents import Shape
from fxp.graph.ops import (
    Accumulator,
    Add,
    Conv2d,
    ConvTranspose2d,
    GraphError,
    Linear,
    Multiply,
    Op,
    Operand,
)
from fxp.graph.ops.base import Role
from fxp.graph.ops.windows import Kernel

if TYPE_CHECKING:
    from fxp.graph.onnx_emitter import Emitter


@dataclass(frozen=True)
class BatchNorm(Op):
    """Batch normalization with stored statistics; it lives in a float graph until it is folded.

    Inputs: image or vector, then weight, bias, mean and variance, one number per channel. It is not
    registered, so no saved graph holds one.
    """

    name: ClassVar[str] = "batch_norm"
    arity: ClassVar[tuple[int, int]] = (5, 5)
    constant_roles: ClassVar[Mapping[int, Role]] = dict.fromkeys(range(1, 5), "factor")

    epsilon: float = 1e-5

    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule: unchanged."""
        return shapes[0]

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.batch_norm."""
        value, weight, bias, mean, variance = tensors
        return torch.nn.functional.batch_norm(
            value, mean, variance, weight, bias, training=False, eps=self.epsilon
        )

    def accumulator(self, *operands: Operand) -> Accumulator:
        """Refuse; `fold_batch_norm` comes first."""
        _refuse()

    def oracle(self, operands: Sequence[Operand], *arrays: NDArray) -> NDArray:
        """Refuse; `fold_batch_norm` comes first."""
        _refuse()

    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Refuse; `fold_batch_norm` comes first."""
        _refuse()

    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Refuse; `fold_batch_norm` comes first."""
        _refuse()


def _refuse() -> NoReturn:
    raise GraphError("batch normalization has no integer form; run fold_batch_norm first")


def fold_batch_norm(graph: Graph) -> Graph:
    """Return the graph without batch normalization.

    One that alone reads a convolution or linear layer goes into its weights and bias. Any other
    becomes a 1x1 depthwise convolution of an image, or a product and a sum of a vector.
    """
    return _Folding(graph).run()


class _Folding:
    """One run of the pass."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._ends = {*graph.outputs, *(state.source for state in graph.states)}
        self._nodes: dict[str, Node] = {}
        self._constants: dict[str, Constant] = {}
        self._folded: dict[tuple[object, ...], tuple[str, str]] = {}
        self._renamed: dict[str, str] = {}

    def run(self) -> Graph:
        for node in self._graph.nodes:
            if not isinstance(node.op, BatchNorm):
                self._nodes[node.name] = node
                continue
            source = self._layer_before(node)
            if source is not None:
                self._fold(source, node)
            else:
                self._express(node, node.op)
        return rebuilt(self._graph, self._nodes.values(), self._constants.values(), self._renamed)

    def _layer_before(self, node: Node) -> Node | None:
        """Return the layer that only this node reads, or None."""
        name = node.inputs[0]
        alone = name not in self._ends and len(self._graph.consumers[name]) == 1
        source = self._nodes.get(self._renamed.get(name, name))
        if source is None or not isinstance(source.op, Conv2d | ConvTranspose2d | Linear):
            return None
        return source if alone else None

    def _source(self, name: str) -> Source:
        constant = self._constants.get(name) or self._graph.constants_by_name[name]
        derivation = constant.derivation
        return torch.tensor(constant.data) if derivation is None else derivation

    def _affine(self, node: Node) -> tuple[Source, Source]:
        """Scale and shift per channel."""
        assert isinstance(node.op, BatchNorm)
        weight, bias, mean, variance = (self._source(name) for name in node.inputs[1:])
        scale = Derivation(_scale, (weight, variance, node.op.epsilon))
        return scale, Derivation(_shift, (bias, mean, scale))

    def _fold(self, source: Node, node: Node) -> None:
        assert isinstance(node.op, BatchNorm)
        # A layer called twice with one normalization keeps one set of weights.
        key = (*source.inputs[1:], *node.inputs[1:], node.op.epsilon)
        if key not in self._folded:
            scale, shift = self._affine(node)
            weight_name, *bias_names = source.inputs[1:]
            weight = Derivation(_scaled, (self._source(weight_name), scale))
            bias = shift
            if bias_names:
                bias = Derivation(_moved, (self._source(bias_names[0]), scale, shift))
            stem = weight_name.removesuffix(".weight")
            self._folded[key] = (
                self._constant(f"{weight_name}.folded", weight),
                self._constant(f"{stem}.bias.folded", bias),
            )
        self._nodes[source.name] = replace(source, inputs=(source.inputs[0], *self._folded[key]))
        self._renamed[node.name] = source.name

    def _express(self, node: Node, op: BatchNorm) -> None:
        scale, shift = self._affine(node)
        key = (node.inputs[1:], op.epsilon)
        image = len(self._graph.values[node.name].shape) == 3
        if key not in self._folded:
            shape = (-1, 1, 1, 1) if image else (-1,)
            self._folded[key] = (
                self._constant(f"{node.name}.scale", Derivation(torch.reshape, (scale, shape))),
                self._constant(f"{node.name}.shift", shift),
            )
        names = self._folded[key]
        if image:
            layer = Conv2d(groups=int(self._graph.values[node.name].shape[0]))  # type: ignore[arg-type]
            self._nodes[node.name] = replace(node, op=layer, inputs=(node.inputs[0], *names))
            return
        product = unique_name(self._graph, f"{node.name}.scaled", self._nodes)
        self._nodes[product] = replace(
            node, name=product, op=Multiply(), inputs=(node.inputs[0], names[0])
        )
        self._nodes[node.name] = replace(node, op=Add(), inputs=(product, names[1]))

    def _constant(self, wanted: str, source: Source) -> str:
        name = unique_name(self._graph, wanted, [*self._constants, *self._nodes])
        data = evaluate(source, {}, torch.device("cpu")).detach().numpy()
        self._constants[name] = Constant(name, data, (), source)
        return name


def _scale(weight: torch.Tensor, variance: torch.Tensor, epsilon: float) -> torch.Tensor:
    return weight / torch.sqrt(variance + epsilon)


def _shift(bias: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return bias - mean * scale


def _scaled(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))


def _moved(bias: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    return bias * scale + shift
