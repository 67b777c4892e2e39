"""From an ONNX file to a float graph, as one call."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

import torch

from fxp.frontend.model_import import from_torch
from fxp.frontend.onnx.load import example_inputs, load_onnx
from fxp.frontend.trace import check_examples
from fxp.graph import Graph

if TYPE_CHECKING:
    import onnx


def from_onnx(
    source: str | PathLike[str] | onnx.ModelProto,
    examples: Sequence[torch.Tensor] | None = None,
    *,
    name: str | None = None,
    states: Sequence[tuple[int, int]] = (),
) -> Graph:
    """Convert a float ONNX network to a float graph that computes the same function.

    Heights and widths that the file leaves free stay free. What the network computes is compared
    with ONNX Runtime.

    Parameters
    ----------
    source
        The file, or a model in memory; see `load_onnx`.
    examples
        Inputs as `load_onnx` describes them; their sizes matter alone. By default those of the
        file.
    name
        Name of the graph; by default that in the file.
    states
        Pairs (input position, output position), as for `from_torch`.

    Raises
    ------
    FrontendError
        If the file is damaged or holds something unsupported; the message names the node, its
        operation and its operator set, and says what to do.
    """
    if examples is not None:
        examples = check_examples(examples)
    module = load_onnx(source, None if examples is None else [item.shape for item in examples])
    return from_torch(
        module, example_inputs(module) if examples is None else examples, name=name, states=states
    )
