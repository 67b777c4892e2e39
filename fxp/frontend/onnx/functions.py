"""Functions that a file defines, written out where they are called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fxp.frontend.errors import FrontendError
from fxp.frontend.onnx.limits import MAX_FUNCTION_BYTES, MAX_FUNCTION_DEPTH
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
    import onnx.inliner as onnx_inliner
else:
    onnx_inliner = lazy_import("onnx.inliner", "onnx")


def without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model in which the functions that it defines are written out.

    Raises
    ------
    FrontendError
        If they call themselves, or would need too much memory.
    """
    if not model.functions:
        return model
    _Sizes(model).check()
    try:
        made = onnx_inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:
        # It raises many unrelated types for damaged functions.
        summary = str(error).strip().partition("\n")[0]
        raise FrontendError(
            f"its function {model.functions[0].name!r} cannot be written out ({summary}); export "
            "it again without functions"
        ) from error
    return made


class _Sizes:
    """How many bytes functions have once they are written out, which is exponential at worst."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._functions = {(item.domain, item.name): item for item in model.functions}
        self._known: dict[tuple[str, str], int] = {}
        self._largest = 0

    def check(self) -> None:
        """Refuse functions that are too large, or call themselves."""
        bodies = [self._model.graph.node, *(item.node for item in self._model.functions)]
        attributes = [
            item.ByteSize()
            for body in bodies
            for node in body
            if (node.domain, node.op_type) in self._functions
            for item in node.attribute
        ]
        self._largest = max(attributes, default=0)
        if self._of_nodes(self._model.graph.node, 0) > MAX_FUNCTION_BYTES:
            raise FrontendError(
                f"its functions, such as {self._model.functions[0].name!r}, need too much memory "
                "when they are written out"
            )

    def _of_nodes(self, nodes: Iterable[onnx.NodeProto], depth: int) -> int:
        """Bytes of the functions that some nodes call, and of the nodes in a function's body."""
        total = 0
        for node in nodes:
            called = (node.domain, node.op_type)
            if called in self._functions:
                total += self._of_function(called, depth + 1)
            if depth:
                total += node.ByteSize()
                total += self._largest * sum(bool(item.ref_attr_name) for item in node.attribute)
            for item in node.attribute:
                if item.HasField("g"):
                    total += self._of_nodes(item.g.node, depth)
        return total

    def _of_function(self, name: tuple[str, str], depth: int) -> int:
        if depth > MAX_FUNCTION_DEPTH:
            raise FrontendError(
                f"its function {name[1]!r} calls itself, or others more than "
                f"{MAX_FUNCTION_DEPTH} deep"
            )
        if name not in self._known:
            self._known[name] = self._of_nodes(self._functions[name].node, depth)
        return self._known[name]
