"""Messages of the front end in terms of the ONNX file that a module was read from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from fxp.frontend.errors import FrontendError
from fxp.frontend.onnx.call import NodeInfo
from fxp.frontend.onnx.module import OnnxModule, Operator


@contextmanager
def naming_nodes_of(module: torch.nn.Module) -> Iterator[None]:
    """Name ONNX nodes in the errors of a block, if the module was read from an ONNX file.

    Parameters
    ----------
    module
        What is converted in the block.
    """
    try:
        yield
    except FrontendError as error:
        node = _node_of(module, error.module)
        if node is None:
            raise
        raise FrontendError(
            f"{node}: {error.reason}", size_dependent=error.size_dependent
        ) from error


def _node_of(module: torch.nn.Module, path: str) -> NodeInfo | None:
    if not isinstance(module, OnnxModule) or not path:
        return None
    found = module.get_submodule(path)
    return found.node if isinstance(found, Operator) else None


def has_sizes_of_file(module: torch.nn.Module, examples: Sequence[torch.Tensor]) -> bool:
    """Whether a module is of an ONNX file that fixes all its sizes, and the examples have these.

    Parameters
    ----------
    module
        Any module.
    examples
        Its inputs.
    """
    if not isinstance(module, OnnxModule) or len(examples) != len(module.image_inputs):
        return False
    return all(
        None not in given.shape[1:] and given.module_shape(0) == (1, *example.shape[1:])
        for given, example in zip(module.image_inputs, examples, strict=True)
    )
