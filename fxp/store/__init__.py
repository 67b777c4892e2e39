"""The ``.fxp`` file: a graph as safetensors and JSON, without pickled code."""

from fxp.store.container import FileError
from fxp.store.graph_file import (
    FORMAT_VERSION,
    attribute_hints,
    graph_digest,
    load_graph,
    save_graph,
)

__all__ = [
    "FORMAT_VERSION",
    "FileError",
    "attribute_hints",
    "graph_digest",
    "load_graph",
    "save_graph",
]
