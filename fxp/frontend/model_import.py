"""The front end as one call."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from typing import Final

import torch
from torch.export import ExportedProgram

from fxp.frontend.builder import clean_name
from fxp.frontend.compare_sizes import compare_sizes
from fxp.frontend.convert import CONVERTERS, convert
from fxp.frontend.errors import FrontendError
from fxp.frontend.fold_batch_norm import fold_batch_norm
from fxp.frontend.fold_padding import fold_padding
from fxp.frontend.fuse_statistics import fuse_statistics
from fxp.frontend.name_outputs import name_outputs
from fxp.frontend.onnx.module import OnnxModule
from fxp.frontend.onnx.places import has_sizes_of_file, naming_nodes_of
from fxp.frontend.refusals import may_multiply_values, refuse_products_of_values
from fxp.frontend.remove_identities import remove_identities
from fxp.frontend.size_branches import other_paths, same_path
from fxp.frontend.trace import check_examples, trace
from fxp.frontend.unwrap import check_model, is_exported, unwrapped
from fxp.graph import Graph

TRACING: Final = threading.RLock()
"""Held while a model is traced, and by all work of this package that a trace would disturb.

torch.export replaces methods of torch and built-in functions for the whole process, and the
parameters of the model by stand-ins, so that a second trace, a copy of the model, a kernel that is
compiled and a model that another thread calls meanwhile would go through the first one's hands.
"""


def from_torch(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[torch.Tensor],
    *,
    name: str | None = None,
    states: Sequence[tuple[int, int]] = (),
) -> Graph:
    """Convert a trained model to a float graph that computes the same function.

    Heights and widths of images stay free where the model allows it; they are called ``H`` and
    ``W``, those of further images ``H2``, ``W2`` and so on. If the model needs fixed sizes, the
    sizes of the examples are fixed. Outputs that the model returns in a dictionary have its keys as
    names. The graph is run against the model on random inputs, at the
    sizes of the examples, or at smaller ones where these are large, and at some others.

    Threads may call this; they wait for each other. Other threads must not call or copy any torch
    module meanwhile: torch.export changes torch for the whole process.

    Parameters
    ----------
    model
        A module in eval mode, or a program that was exported from one; it is not modified.
        Wrappers such as ``torch.compile`` and ``DataParallel`` are taken off.
    example_inputs
        One tensor per argument of ``forward``: images ``(N, C, H, W)`` or vectors ``(N, F)``. Use
        sizes well above 1, small ones where the model allows it; the values do not matter.
    name
        Name of the graph; by default the class of the model, ``exported`` for a program.
    states
        Pairs (input position, output position): the output of one call is that input of the next.
        Before the first call it is zero. Such inputs and outputs are states of the graph, and no
        longer its inputs and outputs.

    Returns
    -------
    Graph
        With float64 constants that hold the exact weights, named by their state-dict keys. Batch
        normalization and padding are folded into the layers around them.

    Raises
    ------
    FrontendError
        If the model is in training mode, cannot be traced, holds something unsupported, or
        computes something else than the graph.

    Warns
    -----
    UserWarning
        If the sizes are fixed, because a conversion with free sizes failed or the model's own code
        compares them; the message says where.
    """
    module: torch.nn.Module = unwrapped(model)
    check_model(module)
    examples = check_examples(example_inputs)
    graph_name = clean_name(name or _own_name(module))

    branches: dict[str, None] = {}
    given: list[bool] = []

    @naming_nodes_of(module)
    def attempt(free_sizes: bool) -> Graph:
        traced = trace(module, examples, free_sizes=free_sizes, known=CONVERTERS)
        branches.update(dict.fromkeys(branch.place for branch in traced.size_branches))
        given.append(traced.gives_sizes)
        graph, lowest, extents = convert(traced, graph_name, states)
        graph = fuse_statistics(remove_identities(graph))
        graph = fold_padding(fold_batch_norm(graph))
        compare_sizes(
            graph, module, examples, states, lowest,
            lambda sizes: other_paths(traced.size_branches, extents, sizes),
            lambda sizes: same_path(traced.size_branches, extents, sizes),
        )  # fmt: skip
        fed = {result for _, result in states}
        names = [name for place, name in enumerate(traced.output_names) if place not in fed]
        return name_outputs(graph, names)

    with TRACING:
        if may_multiply_values(module, examples):
            # Before the sizes are left free, which takes torch many minutes for some transformers.
            with naming_nodes_of(module):
                refuse_products_of_values(
                    trace(module, examples, free_sizes=False, known=CONVERTERS)
                )
        try:
            graph, reason = attempt(free_sizes=not has_sizes_of_file(module, examples)), ""
        except FrontendError as error:
            if not error.size_dependent:
                raise
            try:
                graph = attempt(free_sizes=False)
            except FrontendError as fixed:
                # With fixed sizes another rule may be broken first; that has to go in any case.
                raise fixed from error
            reason = f"with free sizes the conversion fails: {error}"
    where, is_code = ", ".join(branches), not isinstance(module, OnnxModule)
    if not reason and _fixed_images(graph) and not has_sizes_of_file(module, examples):
        if where:
            reason = "the model itself compares the image size; let it compute alike for every size"
        elif any(given):
            reason = "the model gives the image size to an operation that takes fixed numbers alone"
    if reason:
        sizes = ", ".join(str(value) for value in graph.inputs)
        warnings.warn(
            f"the image sizes are fixed to those of the examples ({sizes}), because "
            f"{reason}"
            + (f" ({graph.name} compares a size at {where})" if where and is_code else ""),
            stacklevel=2,
        )
    return graph


def _own_name(module: torch.nn.Module) -> str:
    """Name of a graph that is given none."""
    if isinstance(module, OnnxModule):
        return module.graph_name
    return "exported" if is_exported(module) else type(module).__name__


def _fixed_images(graph: Graph) -> bool:
    """Whether an image input has a height or width that is not free."""
    return any(isinstance(size, int) for value in graph.inputs for size in value.shape[1:])
