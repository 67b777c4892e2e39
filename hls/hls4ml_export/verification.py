"""C simulation against the engine, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fxp.formats import IntArray
from fxp.graph import Graph
from fxp.hls.hls4ml_export.project import HlsError, HlsProject
from fxp.model.arguments import Arguments
from fxp.model.sources import ModelSource, model_of
from fxp.store import graph_digest
from fxp.support.progress import Progress


@dataclass(frozen=True)
class LayerDifference:
    """The first layer whose results differ from the engine's.

    Attributes
    ----------
    layer, op
        Name of the node and of its op.
    image
        Which image of the call.
    count, size
        How many results differ, of how many.
    position
        First place that differs, ``(channel, row, column)`` or ``(feature,)``.
    expected, found
        Raw integers of the engine and of the C simulation there.
    """

    layer: str
    op: str
    image: int
    count: int
    size: int
    position: tuple[int, ...]
    expected: int
    found: int

    def __str__(self) -> str:
        return (
            f"layer {self.layer!r} ({self.op}) differs in {self.count} of {self.size} values of "
            f"image {self.image}, first at {self.position}: C simulation {self.found}, engine "
            f"{self.expected}"
        )


@dataclass(frozen=True)
class Verification:
    """What `verify` found; true if every value of every layer is equal.

    Attributes
    ----------
    layers, values
        How many layers and integers were compared.
    difference
        The first difference in the order of execution, None if there is none.
    """

    layers: int
    values: int
    difference: LayerDifference | None = None

    def __bool__(self) -> bool:
        return self.difference is None

    def __str__(self) -> str:
        if self.difference is not None:
            return str(self.difference)
        return f"all {self.values:,} integers of {self.layers} layers are equal"


class VerificationError(HlsError):
    """The C simulation of a project gives other integers than the engine."""


def verify(
    project: HlsProject,
    model: ModelSource,
    images: Any,
    *,
    progress: Progress | None = None,
) -> Verification:
    """Run the C simulation of a project against the engine, layer by layer.

    Compiles the project anew, so that what is verified is what the folder holds.

    Parameters
    ----------
    project
        An exported project.
    model
        The model it was exported from, its graph, or the path of its ``.fxp`` file.
    images
        Real values as the model takes them, a batch ``(N, C, H, W)`` or one image ``(C, H, W)``;
        a tuple of them if the model has several inputs.
    progress
        Told before g++ runs, and before the comparison.

    Returns
    -------
    Verification
        Whether all is equal, or the first layer that differs.

    Raises
    ------
    HlsError
        If the project is of another model, or g++ or the C simulation fails.
    """
    say = progress or (lambda done, total, text: None)
    say(0, 2, "g++ compiles the C simulation")
    project.compile()
    say(1, 2, "every layer is compared with the engine")
    return compare(project, model, images)


def compare(project: HlsProject, model: ModelSource, images: Any) -> Verification:
    """Do what `verify` does with the C simulation as it was compiled last.

    Parameters
    ----------
    project, model, images
        As for `verify`.

    Returns
    -------
    Verification
        Whether all is equal, or the first layer that differs.
    """
    fixed = model_of(model)
    graph = fixed.graph
    if graph_digest(graph) != graph_digest(project.graph):
        raise HlsError(f"{project.folder} was exported from another model than {graph.name!r}")
    inputs = images if isinstance(images, tuple) else (images,)
    calls = list(Arguments(graph, inputs).quantized())
    engine = [fixed.run(*call, keep_values=True).values for call in calls]
    # Traces see what a layer writes, not what leaves the top function.
    compared = 0
    for names, found in (
        ([node.name for node in graph.nodes], project.trace_images(calls)),
        (list(graph.outputs), project.run_images(calls)),
    ):
        for name in names:
            for index, (right, given) in enumerate(zip(engine, found, strict=True)):
                compared += given[name].size
                difference = _difference(graph, name, index, right[name], given[name])
                if difference is not None:
                    return Verification(len(graph.nodes), compared, difference)
    return Verification(len(graph.nodes), compared)


def _difference(
    graph: Graph, name: str, image: int, expected: IntArray, found: IntArray
) -> LayerDifference | None:
    different = np.argwhere(expected != found)
    if not len(different):
        return None
    where = tuple(int(index) for index in different[0])
    return LayerDifference(
        layer=name,
        op=graph.node(name).op.name,
        image=image,
        count=len(different),
        size=found.size,
        position=where,
        expected=int(expected[where]),
        found=int(found[where]),
    )
