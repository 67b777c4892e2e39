"""Features of pictures: any named value of a network in integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fxp import FixedModel
from fxp.cli.pixel_values import scale_of_model
from fxp.cli.sources import image_channels
from fxp.graph import Graph
from fxp.graph.remove_dead_code import remove_dead_code
from fxp.imaging.files import read_image
from fxp.model.refinements import kept_refinements
from fxp.models.recognition.data import fitted, in_channels
from fxp.models.recognition.recognizer import picture_side
from fxp.models.recognition.sequential.gallery import Gallery
from fxp.support.errors import ArgumentError, warn_of_precision


def up_to(graph: Graph, value: str, side: int | None = None) -> Graph:
    """Return the part of a graph that computes one of its values.

    Parameters
    ----------
    graph
        A graph without states.
    value
        Name of a node.
    side
        Height and width of its pictures; None leaves free sizes free.

    Raises
    ------
    ArgumentError
        If there is no such node, or the graph has states.
    """
    if graph.states:
        raise ArgumentError(f"{graph.name} has states, so its values depend on earlier pictures")
    if value not in graph.nodes_by_name:
        near = ", ".join(node.name for node in graph.nodes[-5:])
        raise ArgumentError(f"{graph.name} has no value {value!r}; its last ones are {near}")
    nodes = remove_dead_code(graph.nodes, [value])
    needed = {name for node in nodes for name in node.inputs}
    kept = tuple(constant for constant in graph.constants if constant.name in needed)
    inputs = graph.inputs
    if side is not None:
        inputs = tuple(replace(item, shape=(item.shape[0], side, side)) for item in inputs)
    return Graph(graph.name, inputs, nodes, (value,), kept)


def last_features(graph: Graph) -> str:
    """Return the value that the last layer with weights takes, the usual features of a classifier.

    Raises
    ------
    ArgumentError
        If the network has no such layer behind another one.
    """
    constants = graph.constants_by_name
    for node in reversed(graph.nodes):
        if any(name in constants for name in node.inputs):
            source = node.inputs[0]
            if source in graph.nodes_by_name:
                return source
            break
    raise ArgumentError(f"{graph.name} has no layer of features before its last one; give --value")


class FeatureExtractor:
    """A network in integers, up to a named value, as a function of pictures.

    Parameters
    ----------
    model
        Takes one picture.
    value
        Name of the value; by default what the last layer with weights takes.
    side
        Height and width that pictures are brought to; by default what the model says.
    share
        Share of the shorter side of a picture that is looked at.

    Attributes
    ----------
    source
        What tells these features from those of others, for `Gallery.source`.
    feature_format
        What integers they are, for `build_gallery`.

    Raises
    ------
    ArgumentError
        If the model takes something else than a picture, or there is no such value.

    Warns
    -----
    PrecisionWarning
        If the network was equalized when it was quantized.
    """

    def __init__(
        self,
        model: FixedModel,
        value: str | None = None,
        *,
        side: int | None = None,
        share: float = 1.0,
    ) -> None:
        graph = model.graph
        self.channels = image_channels(model)
        if self.channels not in (1, 3):
            raise ArgumentError(f"{graph.name} takes {self.channels} channels, not 1 or 3")
        if not 0 < share <= 1:
            raise ArgumentError(
                f"the share of a picture must be above 0 and at most 1, not {share}"
            )
        self.value = value or last_features(graph)
        if self.value not in graph.outputs:
            _warn_if_equalized(model)
        self.side = picture_side(model, graph.inputs[0].shape, side)
        part = up_to(graph, self.value, self.side)
        self.model = FixedModel(part, metadata=model.metadata, limits=model.limits)
        self.share = share
        self.scale = scale_of_model(model)
        self.source = {
            "network": graph.name,
            "value": self.value,
            "side": str(self.side),
            "share": str(share),
            "weights": f"{_checksum(self.model.graph):08x}",
        }
        form = self.model.graph.values[self.value].format
        assert form is not None
        self.feature_format = form

    def __call__(
        self, pictures: Sequence[NDArray[np.uint8]], *, threads: int | None = None
    ) -> NDArray:
        """Return the features of pictures, ``(N, features)``, the real values of the integers.

        Parameters
        ----------
        pictures
            ``(H, W)`` or ``(H, W, 3)`` uint8, of any sizes.
        threads
            Threads of the engine.
        """
        squares = [
            fitted(in_channels(picture, self.channels), self.side, share=self.share)
            for picture in pictures
        ]
        values = self.scale.values(np.stack(squares).transpose(0, 3, 1, 2))
        return np.asarray(self.model(values, threads=threads)).reshape(len(squares), -1)

    def with_gallery(self, gallery: Gallery) -> FixedModel:
        """Return one model from pictures to the components of a gallery, for any executor.

        Parameters
        ----------
        gallery
            Built from these features with `feature_format`, for squared distances.

        Raises
        ------
        GalleryError
            If it was built from other features.
        ArgumentError
            If its features have no format, or its metric is chi-squared.
        """
        gallery.check_source(self.source)
        graph = gallery.transformation.appended(self.model.graph)
        return FixedModel(graph, metadata=self.model.metadata, limits=self.model.limits)

    def file(self, path: Path, *, threads: int | None = None) -> NDArray:
        """Return the features of a picture in a file, ``(features,)``.

        Raises
        ------
        ImageError
            If the file is no image, or damaged.
        """
        return self([read_image(path)], threads=threads)[0]


def _warn_if_equalized(model: FixedModel) -> None:
    """Warn if the channels of hidden values may have other scales than in the float network."""
    if any(name.startswith("equalization") for name in kept_refinements(model.metadata)):
        text = (
            f"{model.graph.name} was equalized when it was quantized: the channels of its hidden "
            "values may have been scaled against each other, and distances then weigh them "
            "otherwise than in the float network. Quantize with equalization=False, or quantize a "
            "network that ends at its features"
        )
        warn_of_precision([text])


def _checksum(graph: Graph) -> int:
    """Checksum of the nodes and constants, the same wherever the model is loaded."""
    check = crc32(str(graph).encode())
    for constant in graph.constants:
        check = crc32(np.ascontiguousarray(constant.data).tobytes(), check)
    return check
