"""Operations that QONNX wraps for images ``(N, H, W, C)``, as those of the standard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
    import onnx.helper as onnx_helper
else:
    onnx = lazy_import("onnx", "onnx")
    onnx_helper = lazy_import("onnx.helper", "onnx")

_DOMAIN: Final = "channels_last"
_TO_FIRST: Final = [0, 3, 1, 2]
_TO_LAST: Final = [0, 2, 3, 1]


def unwrapped_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose wrapped nodes are those of the standard between Transpose nodes.

    Images at the inputs are turned there and back, so that the network takes them in the order of
    the standard.
    """
    if not any(node.domain.endswith(_DOMAIN) for node in model.graph.node):
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    stored = {tensor.name for tensor in model.graph.initializer}
    turned: dict[str, str] = {}

    def turn(source: str, target: str, order: list[int]) -> str:
        made.graph.node.append(
            onnx_helper.make_node("Transpose", [source], [target], f"{target}/turn", perm=order)
        )
        return target

    for value in model.graph.input:
        if value.name not in stored and len(value.type.tensor_type.shape.dim) == 4:
            first = turn(value.name, f"{value.name}/first", _TO_FIRST)
            turned[value.name] = turn(first, f"{value.name}/last", _TO_LAST)
    for node in model.graph.node:
        copy = made.graph.node.add()
        copy.CopyFrom(node)
        names = [turned.get(name, name) for name in node.input]
        del copy.input[:]
        copy.input.extend(names)
        if node.domain.endswith(_DOMAIN) and node.input and node.output:
            inner = onnx.NodeProto()
            inner.CopyFrom(copy)
            del made.graph.node[-1]
            inner.domain = ""
            for place in range(min(len(names), 2 if node.op_type == "Conv" else 1)):
                target = f"{node.output[0]}/{place}"
                inner.input[place] = turn(names[place], target, _TO_FIRST)
            inner.output[0] = f"{node.output[0]}/first"
            made.graph.node.append(inner)
            turn(inner.output[0], node.output[0], _TO_LAST)
    return made
