"""What a converter knows of the aten op it converts, and how it refuses one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch.fx import Node as FxNode

from fxp.frontend.arrange import ArrangementError, arranged
from fxp.frontend.builder import Builder, KnownTensor, Term
from fxp.frontend.errors import FrontendError
from fxp.frontend.trace import Size, sizes_of
from fxp.graph.ops import Op

FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]*\n\s*(?P<code>[^\n]*)')


@dataclass(frozen=True)
class Module:
    """The innermost module that a node was traced in.

    Attributes
    ----------
    call
        Identifies one call of the module.
    path
        Its path in the model; empty for the model itself.
    kind
        Its class.
    """

    call: str
    path: str
    kind: str

    @property
    def is_torch_layer(self) -> bool:
        """Whether the class is torch's own, such as ``torch.nn.Conv2d``."""
        return self.kind.startswith("torch.nn.modules.")


def module_of(node: FxNode) -> Module:
    """Return the innermost module of a node."""
    stack = node.meta.get("nn_module_stack") or {}
    for call, (path, kind) in reversed(stack.items()):
        if "metadata_hook" not in call:
            name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
            return Module(call, path, name)
    return Module("", "", "")


def refusal(node: FxNode, rule: str, instead: str, *, size_dependent: bool) -> FrontendError:
    """Error that says which op of which module is refused, why, and what to do instead.

    Parameters
    ----------
    node
        The traced node.
    rule
        What is wrong.
    instead
        What to do.
    size_dependent
        Whether a fixed image size might help.
    """
    module = module_of(node)
    place = f"module {module.path!r}" if module.path else "the model itself"
    kind = f" ({module.kind.removeprefix('torch.nn.modules.')})" if module.kind else ""
    frames = list(FRAME.finditer(node.meta.get("stack_trace") or ""))
    own = [frame for frame in frames if "/torch/" not in frame["file"].replace("\\", "/")]
    line = ""
    if own or frames:
        frame = (own or frames)[-1]
        line = f"\n  {frame['file']}:{frame['line']}: {frame['code']}"
    return FrontendError(
        f"{op_name(node)} in {place}{kind}: {rule}; {instead}{line}",
        size_dependent=size_dependent,
        module=module.path,
        reason=f"{rule}; {instead}",
    )


def op_name(node: FxNode) -> str:
    """Name of the aten op without its overload, such as ``aten.conv2d``."""
    if isinstance(node.target, torch._ops.OpOverload):
        return f"{node.target.namespace}.{node.target._schema.name.rpartition('::')[2]}"
    return getattr(node.target, "__name__", str(node.target))


class Context:
    """One aten op: its arguments by name, and the builder to write to."""

    def __init__(
        self,
        builder: Builder,
        node: FxNode,
        arguments: Mapping[str, Any],
        whole_layer: bool,
        result_shape: tuple[Size, ...] | None = None,
    ) -> None:
        self.builder = builder
        self.node = node
        self.arguments = arguments
        self.module = module_of(node)
        self._whole_layer = whole_layer
        self._result_shape = result_shape

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def result_shape(self) -> tuple[int | torch.SymInt, ...]:
        """Shape of the (first) result in torch, or of the value that the result is a view of."""
        if self._result_shape is not None:
            return self._result_shape
        value = self.node.meta["val"]
        return sizes_of(value[0] if isinstance(value, tuple | list) else value)

    def with_arguments(
        self, arguments: Mapping[str, Any], result_shape: tuple[Size, ...] | None = None
    ) -> Context:
        """Return the same op with other arguments in place of some.

        Parameters
        ----------
        arguments
            The new ones, by name.
        result_shape
            Shape of its result, if that changes too.
        """
        return Context(
            self.builder, self.node, {**self.arguments, **arguments}, self._whole_layer,
            result_shape or self._result_shape,
        )  # fmt: skip

    def refuse(self, rule: str, instead: str, *, size_dependent: bool = False) -> NoReturn:
        """Raise the `FrontendError` of this op.

        Parameters
        ----------
        rule
            What is wrong.
        instead
            What to do.
        size_dependent
            Whether a fixed image size might help.
        """
        raise refusal(self.node, rule, instead, size_dependent=size_dependent)

    def name(self, op_name: str, part: str = "") -> str:
        """Name for a node: the module's path for a torch layer, else path and op."""
        path = self.module.path
        if not self._whole_layer or not path or not self.module.is_torch_layer:
            path = f"{path}.{op_name}" if path else op_name
        return f"{path}.{part}" if part else path

    def emit(
        self,
        op: Op,
        *operands: Term | str,
        part: str = "",
        torch_shape: tuple[int | torch.SymInt, ...] | None = None,
    ) -> Term:
        """Append a node.

        Parameters
        ----------
        op, operands
            The op and what it reads, constants by name.
        part
            Tells helper nodes from the one that carries the result.
        torch_shape
            Shape in the model, by default that of the result.
        """
        return self.builder.emit(
            op,
            operands,
            self.name(op.name, part),
            self.module.path,
            self.result_shape if torch_shape is None else torch_shape,
        )

    def term(self, name: str) -> Term:
        """Return an argument that must be computed, as an image or a vector."""
        value = self[name]
        if isinstance(value, KnownTensor):
            self.refuse(
                f"{name!r} is a constant, where a computed value is needed",
                "give it the image or a value computed from it",
            )
        return self.standard(value)

    def standard(self, term: Term) -> Term:
        """Return the term as the image or vector its torch shape says; one number stays."""
        rank = len(term.torch_shape)
        if term.view is None and rank == len(term.shape) + 1:
            return term
        if rank == 0:
            return term
        if rank not in (2, 4):
            self.refuse(
                f"it reads a tensor of shape {shape_of(term)}",
                "keep images (1, C, H, W) and vectors (1, F), batch axis included",
            )
        if rank == 2 and term.shape[1:] == (1, 1) and term.axes == term.own_axes(term.torch_shape):
            return self.builder.flattened(term, self.module.path)
        key = term.name, term.axes
        if key not in self.builder.arranged:
            try:
                made = arranged(self.helper, term.base, term.axes)
            except ArrangementError as error:
                self.refuse(
                    f"it reads a tensor of shape {shape_of(term)}: {error}",
                    "keep images (1, C, H, W) and vectors (1, F)",
                    size_dependent=error.size_dependent,
                )
            self.builder.arranged[key] = made
        made = self.builder.arranged[key]
        return Term(made.name, made.shape, term.torch_shape)

    def helper(self, op: Op, *operands: Term) -> Term:
        """Append a node that moves values for this op, named after what it reads."""
        name = f"{operands[0].name}.{op.name}"
        return self.builder.emit(op, operands, name, self.module.path, ())

    def weights(self, name: str) -> KnownTensor | None:
        """Return an argument that must be constant or None."""
        value = self[name]
        if isinstance(value, Term):
            self.refuse(
                f"{name!r} is computed from the input",
                "only weights that are parameters, buffers or constants are supported",
            )
        return value

    def constant(self, weights: KnownTensor, shape: Sequence[int], part: str) -> str:
        """Enter a constant in the graph, named by its key or after this op.

        Parameters
        ----------
        weights
            The tensor.
        shape
            Shape in the graph, of as many elements.
        part
            Tells the constants of one op apart.
        """
        own = self.name(op_name(self.node).removeprefix("aten."), part)
        return self.builder.constant(weights, shape, own)

    def scalar(self, value: float, rank: int, part: str) -> str:
        """Enter a number as a constant that fits values of that graph rank.

        Parameters
        ----------
        value
            The number.
        rank
            Number of axes, all of size 1.
        part
            Tells the constants of one op apart.
        """
        return self.constant(
            KnownTensor(torch.tensor(float(value), dtype=torch.float64)), (1,) * rank, part
        )

    def reshaped(self, term: Term) -> Term:
        """Return the same value under the shape torch gives the result."""
        return replace(term, torch_shape=self.result_shape)


def shape_of(term: Term) -> str:
    """Shape in torch, as text."""
    return f"({', '.join(str(size) for size in term.torch_shape)})"


Converter = Callable[[Context], Any]
"""Writes nodes for one aten op; returns a `Term`, or a tuple of them."""
