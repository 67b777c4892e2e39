"""Runs of an integer graph that are not worth compiling for: by PyTorch, with the same integers.

The engine compiles code for every kind of layer and every set of formats, which takes many seconds
of a new network. A few calibration images are through sooner in float64, which is exact as long as
all accumulators fit its significand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.diagnosis.measure import work_of
from fxp.executors.calls import Calls
from fxp.executors.torch_forward import check_exact, run
from fxp.graph import Graph
from fxp.graph.ops.base import GraphError
from fxp.model.clipping import ClippedCounter, ClippedShares

WORK: Final = 1e10
"""Operations that PyTorch makes in a few seconds of one processor."""
PASSES: Final = 32
"""Operations on every value, beside the multiplications that compute it."""


def runs_in_torch(graph: Graph, calls: Calls, times: int = 1) -> bool:
    """Whether PyTorch computes the integers of a graph exactly, and soon enough.

    Parameters
    ----------
    graph
        An integer graph. One with states is left to the engine.
    calls
        What it would be run on.
    times
        How many such runs there will be.
    """
    if graph.states:
        return False
    try:
        check_exact(graph)
    except GraphError:
        return False
    work = 0
    for call in calls:
        shapes = graph.concrete_shapes(graph.bind([tuple(tensor.shape[1:]) for tensor in call]))
        values = sum(math.prod(shapes[node.name]) for node in graph.nodes)
        work += len(call[0]) * (work_of(graph, shapes) + PASSES * values)
        if work * times > WORK:
            return False
    return True


def outputs_in_torch(graph: Graph, call: Sequence[torch.Tensor]) -> list[NDArray[np.float64]]:
    """Return the real values of every output, for which `runs_in_torch` holds.

    Parameters
    ----------
    graph
        An integer graph without states.
    call
        Real values of every input, with a batch of one.
    """
    with torch.no_grad():
        result = run(graph, [tensor.double() for tensor in call])
    return [output[0].cpu().numpy() for output in result.outputs]


def clipped_in_torch(graph: Graph, calls: Iterable[Sequence[torch.Tensor]]) -> ClippedShares:
    """Count what an integer graph clips, for which `runs_in_torch` holds.

    Parameters
    ----------
    graph
        An integer graph without states.
    calls
        Real values of every input, with batch.
    """
    counter = ClippedCounter(graph)
    for call in calls:
        # One by one, as a run keeps all values.
        for index in range(len(call[0])):
            image = [tensor[index : index + 1].double() for tensor in call]
            counter.add_inputs([tensor[0].cpu().numpy() for tensor in image])
            with torch.no_grad():
                result = run(graph, image, count_clipped=True)
            sizes = {node.name: result.values[node.name].numel() for node in graph.nodes}
            counter.add_nodes(result.clipped, sizes)
    return counter.shares()
