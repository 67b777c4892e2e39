"""What every integer executor shares: checked inputs, and the shape of a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.formats import FormatError, IntArray, check_raw
from fxp.graph import Graph, Limits, Value
from fxp.graph.ops.base import GraphError


@dataclass(frozen=True)
class Result:
    """What one run of an integer graph gives.

    Attributes
    ----------
    outputs
        Raw integers of the graph's outputs, ``(C, H, W)`` or ``(F,)``, int64.
    states
        Raw integers to feed back in the next call, by state name.
    values
        Raw integers of every value by name, where the executor was asked to keep them.
    clipped
        For every node, how many elements its overflow mode changed.
    sizes
        For every node, how many elements it has.
    """

    outputs: tuple[IntArray, ...]
    states: dict[str, IntArray]
    values: dict[str, IntArray] = field(default_factory=dict)
    clipped: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)


def start(
    graph: Graph,
    inputs: Sequence[ArrayLike],
    states: Mapping[str, ArrayLike] | None = None,
    *,
    narrow: bool = False,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    limits: Limits | None = None,
    check: Callable[[Value, NDArray, bool], NDArray] | None = None,
) -> tuple[dict[str, NDArray], Mapping[str, tuple[int, ...]]]:
    """Check what goes into a run.

    Parameters
    ----------
    graph
        An integer graph.
    inputs
        Raw integers of each input, ``(C, H, W)`` or ``(F,)``.
    states
        Raw integers of the states by name; those left out start from their reset value.
    narrow
        Give arrays of the formats' own dtypes instead of int64, perhaps the caller's own.
    shapes
        The concrete shape of every value for these inputs, where it is known already.
    limits
        Most that a run may need.
    check
        Does the same as `checked`, which it is by default.

    Returns
    -------
    tuple
        Raw integers of inputs and states by name, and the concrete shape of every value.

    Raises
    ------
    GraphError
        If the graph is a float graph, a shape or a state's name does not fit, or a run would need
        more than the limits.
    FormatError
        If a raw integer lies outside its format.
    """
    if not graph.is_integer:
        raise GraphError(f"graph {graph.name!r} is a float graph; quantize it first")
    arrays = [np.asarray(array) for array in inputs]
    check = check or checked
    if shapes is None:
        shapes = graph.concrete_shapes(graph.bind([array.shape for array in arrays]), limits)
    values = {
        value.name: check(value, array, narrow)
        for value, array in zip(graph.inputs, arrays, strict=True)
    }
    given = dict(states or {})
    for state in graph.states:
        shape = shapes[state.value.name]
        if shapes[state.source] != shape:
            raise GraphError(
                f"state {state.value.name!r} has shape {shape}, but its source {state.source!r} "
                f"has {shapes[state.source]} for inputs of {[array.shape for array in arrays]}"
            )
        known = given.pop(state.value.name, None)
        array = np.full(shape, int(state.reset)) if known is None else np.asarray(known)
        if array.shape != shape:
            raise GraphError(
                f"state {state.value.name!r} needs shape {shape}, got {array.shape}; the images of "
                "a sequence have one size"
            )
        values[state.value.name] = check(state.value, array, narrow)
    if given:
        raise GraphError(f"graph {graph.name!r} has no state {sorted(given)}")
    return values, shapes


def checked(value: Value, array: np.ndarray, narrow: bool) -> NDArray:
    """Return raw integers of an input or state as int64; raises `FormatError` if one does not fit.

    Parameters
    ----------
    value
        The input or state.
    array
        Integers of any shape.
    narrow
        Return the format's own dtype instead.
    """
    assert value.format is not None
    try:
        return check_raw(array, value.format, narrow=narrow)
    except (FormatError, TypeError) as error:
        raise type(error)(f"{value.name!r}: {error}") from None
