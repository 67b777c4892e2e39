"""The values of a float graph and of its integer graph, computed node by node, side by side.

What no later node reads is dropped, so that memory does not grow with the depth of the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.engine import Engine
from fxp.executors.calls import Calls, FirstStep
from fxp.executors.torch_forward import evaluate, run
from fxp.formats import dequantize, quantize
from fxp.graph import Constant, Graph, Node, Value
from fxp.quantization.integer_run import outputs_in_torch, runs_in_torch


def states_before(graph: Graph, calls: Calls) -> list[dict[str, torch.Tensor]]:
    """Return the states that a float network has before each of some calls in order."""
    found: list[dict[str, torch.Tensor]] = []
    states: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for call in calls if graph.states else ():
            before = run(graph, call, {} if isinstance(call, FirstStep) else states)
            found.append({state.value.name: before.values[state.value.name]
                          for state in graph.states})  # fmt: skip
            states = before.states
    return found or [{} for _ in calls]


class LiveValues:
    """Values of every image that nodes to come read.

    Parameters
    ----------
    graph, lowered
        A float graph and its integer graph, whose nodes have the same names as far as they
        correspond.
    calls
        Images, as calls with a batch of one. The states of each are those of the float network, so
        that a layer is compared with its own errors and not with those that earlier calls left.
    """

    def __init__(self, graph: Graph, lowered: Graph, calls: Calls) -> None:
        self._graph, self._lowered = graph, lowered
        self._formats = {name: value.format for name, value in lowered.values.items()}
        self._nodes = {node.name: node for node in graph.nodes}
        self._real: list[dict[str, torch.Tensor]] = []
        self._fixed: list[dict[str, NDArray]] = []
        for call, states in zip(calls, states_before(graph, calls), strict=True):
            real = {
                value.name: tensor.to(torch.float64)
                for value, tensor in zip(graph.inputs, call, strict=True)
            } | states
            self._real.append(real)
            self._fixed.append(
                {
                    name: quantize(tensor[0].cpu().numpy(), self._formats[name])  # type: ignore[arg-type]
                    for name, tensor in real.items()
                }
            )
        # Of several readers the last one stays. Where the integer graph has a copy in another
        # format, they are not the same in both.
        self._last_real, self._last_fixed = (
            {name: node.name for node in one.nodes for name in node.inputs}
            for one in (graph, lowered)
        )

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self._real)

    def real(self, name: str, image: int) -> NDArray[np.float64]:
        """Return a value of the float network, ``(C, H, W)`` or ``(F,)``."""
        return self._real[image][name][0].numpy()

    def clipped(self, name: str, image: int) -> NDArray[np.float64]:
        """Return a value of the float network, clipped as in the integer network."""
        form = self._formats[name]
        assert form is not None
        return np.clip(self.real(name, image), form.min, form.max)

    def fixed(self, name: str, image: int) -> NDArray[np.float64]:
        """Return a value of the integer network as real numbers."""
        form = self._formats[name]
        assert form is not None
        return dequantize(self._fixed[image][name], form)

    def run_float(self, name: str) -> None:
        """Compute a node of the float network, if it has this one."""
        node = self._nodes.get(name)
        if node is None:
            return
        part = _part(self._graph, node, {})
        constants = {c.name: torch.from_numpy(c.data.copy()) for c in part.constants}
        with torch.no_grad():
            for values in self._real:
                read = {value.name: values[value.name] for value in part.inputs}
                evaluate(part, read, constants)
                values[name] = read[name]

    def run_fixed(self, node: Node, constants: Mapping[str, Constant]) -> None:
        """Compute a node of the integer network.

        Parameters
        ----------
        node
            The node, with inputs that may differ from those in the graph.
        constants
            Its constants that differ from those in the graph.
        """
        # Parts that PyTorch runs, or engines, by the shapes of what is read.
        parts: dict[tuple, Graph] = {}
        engines: dict[tuple, Engine] = {}
        form = self._formats[node.name]
        assert form is not None
        for values in self._fixed:
            names = list(dict.fromkeys(name for name in node.inputs if name in values))
            shapes = tuple(values[name].shape for name in names)
            if shapes not in parts and shapes not in engines:
                sizes = dict(zip(names, shapes, strict=True))
                part = _part(self._lowered, node, constants, sizes)
                empty = [torch.empty(1, *shape) for shape in shapes]
                times = len(self._fixed) * len(self._lowered.nodes)
                if runs_in_torch(part, [empty], times):
                    parts[shapes] = part
                else:
                    engines[shapes] = Engine(part)
            if shapes in parts:
                read = [
                    torch.from_numpy(dequantize(values[name], self._formats[name]))[None]  # type: ignore[arg-type]
                    for name in names
                ]
                (real,) = outputs_in_torch(parts[shapes], read)
                values[node.name] = quantize(real, form).astype(form.dtype)
                continue
            result = engines[shapes].run(
                [values[name] for name in names], count_clipped=False, narrow=True
            )
            values[node.name] = result.outputs[0]

    def drop_after(self, name: str) -> None:
        """Drop what no node after this one reads."""
        for every, last in ((self._real, self._last_real), (self._fixed, self._last_fixed)):
            for values in every:
                for old in [n for n in values if last.get(n, name) == name]:
                    del values[old]


def _part(
    graph: Graph,
    node: Node,
    constants: Mapping[str, Constant],
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Graph:
    """Return one node as a graph, with values of these shapes as inputs."""
    known = {**graph.constants_by_name, **constants}
    names = list(dict.fromkeys(node.inputs))
    inputs = [graph.values[name] for name in names if name not in known]
    if shapes is not None:
        inputs = [Value(value.name, tuple(shapes[value.name]), value.format) for value in inputs]
    held = tuple(known[name] for name in names if name in known)
    return Graph(graph.name, tuple(inputs), (node,), (node.name,), held)
