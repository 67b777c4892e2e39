"""All integers of an integer graph as NumPy arrays, with their formats."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxp.graph import Graph
from fxp.graph.ops.base import GraphError

DESCRIPTION = "graph"
"""Key of the description, JSON in the bytes of a uint8 array."""
_TAKEN = frozenset({DESCRIPTION, "file", "allow_pickle"})
"""Keys that are not free: the others are arguments of ``numpy.savez``."""


def to_npz(graph: Graph) -> dict[str, NDArray[Any]]:
    """Return the arrays of an integer graph, for ``numpy.savez``.

    Under the name of a constant, such as ``conv1.weight``, are its raw integers in the narrowest of
    int16, int32 and int64 that holds its format; ``NAME:frac`` has its fraction bits, one number,
    or one for each index of the first axis. The real value is ``integer * 2.0**-frac``. Under
    ``graph`` is a description in JSON: the inputs, outputs and nodes in order, with what each reads
    and its format.

    Raises
    ------
    GraphError
        If the graph is a float graph, or a constant has a name that the file needs.
    """
    if not graph.is_integer:
        raise GraphError(f"graph {graph.name!r} is a float graph; quantize it first")
    constants = graph.constants_by_name
    arrays: dict[str, NDArray[Any]] = {}
    for name, constant in constants.items():
        if name in _TAKEN:
            raise GraphError(
                f"constant {name!r}: an .npz file needs that name; rename the constant"
            )
        dtype = np.result_type(*(item.dtype for item in constant.formats))
        arrays[name] = constant.data.astype(dtype)
        arrays[f"{name}:frac"] = np.array([item.frac for item in constant.formats], np.int32)
    description = {
        "name": graph.name,
        "inputs": {value.name: str(value.format) for value in graph.inputs},
        "states": {state.value.name: state.source for state in graph.states},
        "outputs": list(graph.outputs),
        "nodes": [
            {
                "name": node.name,
                "op": node.op.name,
                "inputs": list(node.inputs),
                "format": str(graph.values[node.name].format),
                "shape": [str(size) for size in graph.values[node.name].shape],
            }
            for node in graph.nodes
        ],
    }
    text = json.dumps(description, indent=1).encode()
    arrays[DESCRIPTION] = np.frombuffer(text, np.uint8)
    return arrays
