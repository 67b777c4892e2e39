"""Check of a converted graph against the model, at sizes where the model may behave otherwise.

An export follows one path through the model. A branch on the image size, such as padding an odd
height, leaves no trace in the ops, so the graph is run where such a branch would show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import chain
from math import prod

import torch
from torch.utils import _pytree

from fxp.executors.torch_forward import run
from fxp.frontend.errors import FrontendError
from fxp.graph import Graph
from fxp.graph.extents import Extent, evaluate_shape
from fxp.graph.ops import GraphError

CHECKED_PIXELS = 1 << 12
"""Examples with more pixels are made smaller for the check, where the model allows it."""
TOLERANCE = 1e-2
"""Relative to the largest output; the model runs in its own precision, a branch differs by more."""


def compare_sizes(
    graph: Graph,
    model: torch.nn.Module,
    examples: Sequence[torch.Tensor],
    states: Sequence[tuple[int, int]],
    lowest: dict[str, int],
    other_paths: Callable[[dict[str, int]], Iterable[dict[str, int]]],
    same_path: Callable[[dict[str, int]], bool],
) -> None:
    """Run the model and its graph on random inputs of several sizes.

    A graph has one definition for all sizes, so that small images check it as well as large ones,
    in less time.

    Parameters
    ----------
    graph, model
        The graph and what it was made from.
    examples
        Example inputs, for their sizes, type and device.
    states
        Pairs (input position, output position).
    lowest
        Smallest size that the export allows, by symbol.
    other_paths
        Gives sizes at which the model may take another path, for those of the example.
    same_path
        Whether the model's own comparisons hold for some sizes as they do for the example.

    Raises
    ------
    FrontendError
        If the two differ.
    """
    order = [p for p in range(len(examples)) if p not in dict(states)] + [p for p, _ in states]
    given = [tuple(examples[p].shape[1:]) for p in order][: len(graph.inputs)]
    generator = torch.Generator().manual_seed(0)
    example = graph.bind(given)

    def agrees(sizes: dict[str, int]) -> bool:
        """Compare at some sizes; tell whether graph and model take them."""
        try:
            graph.concrete_shapes(sizes)
        except GraphError:
            if sizes == example:
                raise
            return False
        values = [*graph.inputs, *(state.value for state in graph.states)]
        inputs = [
            torch.randn((1, *evaluate_shape(value.shape, sizes)), generator=generator)
            for value in values
        ]
        returned = _returned(model, inputs, examples, order)
        if isinstance(returned, Exception) or not all(map(_is_finite, returned)):
            # The model may refuse random numbers, or take roots of negative ones, which says
            # nothing about this size.
            inputs = [
                _tiled(examples[position], tensor.shape)
                for position, tensor in zip(order, inputs, strict=True)
            ]
            returned = _returned(model, inputs, examples, order)
        if isinstance(returned, Exception):
            if sizes == example:
                summary = str(returned).strip().partition("\n")[0]
                raise FrontendError(
                    "the graph cannot be checked, as the model fails on the example inputs "
                    f"({type(returned).__name__}: {summary}); call the model on them first"
                ) from returned
            # The model itself does not take this size, so there is nothing to equal.
            return False
        held = {
            value.name: tensor.double()
            for value, tensor in zip(values, inputs, strict=True)
            if value not in graph.inputs
        }
        result = run(graph, inputs[: len(graph.inputs)], held)
        fed = dict(states)
        found = list(result.outputs)
        found = [
            result.states[graph.states[list(fed.values()).index(p)].value.name]
            if p in fed.values() else found.pop(0)
            for p in range(len(returned))
        ]  # fmt: skip
        differing = _differing(found, returned)
        if differing is not None:
            # Rounding errors of float32 turn over signs of sums that are close to zero, and some
            # deep networks make them a thousand times as large. In float64 they are none.
            precise = _in_float64(model, inputs, examples, order)
            if not isinstance(precise, Exception):
                differing = _differing(found, precise)
        if differing is not None:
            raise _difference(differing, sizes, sizes != example)
        return True

    for start in _starts(example, graph, lowest, same_path):
        if agrees(start):
            break
    else:
        return
    for sizes in chain(_probes(start, graph, lowest), other_paths(example)):
        agrees(sizes)


def _returned(
    model: torch.nn.Module,
    inputs: Sequence[torch.Tensor],
    examples: Sequence[torch.Tensor],
    order: Sequence[int],
) -> list[torch.Tensor] | Exception:
    """Return the model's results for inputs in the graph's order, or the error that it raises."""
    arguments = [torch.empty(0)] * len(order)
    for position, tensor in zip(order, inputs, strict=True):
        arguments[position] = tensor.to(examples[position])
    try:
        with torch.no_grad():
            return _pytree.tree_leaves(model(*[tensor.clone() for tensor in arguments]))
    except Exception as error:
        # A model may raise anything; the caller decides whether that is an error here.
        return error


def _in_float64(
    model: torch.nn.Module,
    inputs: Sequence[torch.Tensor],
    examples: Sequence[torch.Tensor],
    order: Sequence[int],
) -> list[torch.Tensor] | Exception:
    """Return what `_returned` does for a copy of the model in float64, as the graph is run."""
    try:
        copied = deepcopy(model).double()
    except Exception as error:  # a model may refuse to be copied by any error
        return error
    precise = [item.double() if item.is_floating_point() else item for item in examples]
    return _returned(copied, inputs, precise, order)


def _tiled(example: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Repeat the example until it has the shape."""
    result = example.detach().cpu().float()
    for axis, size in enumerate(shape):
        result = result.index_select(axis, torch.arange(size) % result.shape[axis])
    return result


def _difference(position: int, sizes: dict[str, int], other: bool) -> FrontendError:
    start = f"output {position} of the graph differs from the model's at "
    if not other:
        return FrontendError(
            f"{start}the example's sizes; either the model draws random numbers or reads something "
            "besides its inputs, or this is a bug of the front end: please report it"
        )
    return FrontendError(
        f"{start}the sizes {sizes}; the model seems to branch on the image size: make it compute "
        "the same way for every size, or pad the image before the model",
        size_dependent=True,
    )


def _starts(
    example: dict[str, int],
    graph: Graph,
    lowest: dict[str, int],
    same_path: Callable[[dict[str, int]], bool],
) -> Iterator[dict[str, int]]:
    """Sizes of a smaller example where this one is large, then its own."""
    sizes = example
    while sum(prod(evaluate_shape(v.shape, sizes)[1:]) for v in graph.inputs) > CHECKED_PIXELS:
        # Odd sizes stay odd.
        halves = {
            name: max(size // 2 + (size // 2 + size) % 2, lowest.get(name, 1))
            for name, size in sizes.items()
        }
        if halves == sizes or not same_path(halves):
            break
        sizes = halves
    yield sizes
    if sizes != example:
        yield example


def _probes(example: dict[str, int], graph: Graph, lowest: dict[str, int]) -> Iterator[dict]:
    """Odd and even sizes beside those of the example, and those the export excludes."""
    names = {s.symbol for v in graph.inputs for s in v.shape if isinstance(s, Extent)}
    for name in sorted(names):
        yield {**example, name: example[name] + 1}
        if lowest.get(name, 2) > 2:
            yield {**example, name: lowest[name] - 1}


def _differing(found: Sequence[torch.Tensor], returned: Sequence[torch.Tensor]) -> int | None:
    """Return the first output that is not the model's; None if all are."""
    pairs = zip(found, returned, strict=True)
    return next((p for p, (ours, theirs) in enumerate(pairs) if not _close(ours, theirs)), None)


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    precision = torch.finfo(theirs.dtype).eps
    theirs = theirs.detach().cpu().double()
    if ours.shape != theirs.shape:
        return False
    # What is infinite or no number in both is alike; in one alone, the difference is no number.
    alike = (ours == theirs) | (ours.isnan() & theirs.isnan())
    finite = theirs[theirs.isfinite()].abs()
    scale = max(float(finite.max()) if finite.numel() else 0.0, 1e-6)
    tolerance = max(TOLERANCE, 32 * precision) * scale
    return bool((alike | ((ours - theirs).abs() <= tolerance)).all())
