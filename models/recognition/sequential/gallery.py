"""Galleries: pictures that are known, as integer components with their classes, in one file.

A gallery file is in the format safetensors, as ``.fxp`` files are. It holds the components, the
axes that features are projected on, and how many rows each class has; its metadata hold the names
of the classes, which features these are, and their format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from os import PathLike
from threading import local
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Format, FormatError
from fxp.graph import Graph
from fxp.kernels import distances
from fxp.kernels.distances import STEP
from fxp.models.recognition.sequential.definition import (
    FRAC,
    MOST_FEATURES,
    Rule,
    check_granule,
)
from fxp.models.recognition.sequential.transformation import Transformation, most_bits
from fxp.store.container import FileError, decode, encode, parse_json, read
from fxp.support.errors import ArgumentError
from fxp.support.files import replace_file

KIND: Final = "fxp gallery"
VERSION: Final = "2"
METRICS: Final = ("l2", "chi2")
MOST_FRAMES: Final = 1 << 15
"""Frames of one thing, at most: the sum of their distances, 16 bits more, fits into int64."""
SUFFIX: Final = ".gallery"
_AXES, _COMPONENTS, _COUNTS = "axes", "components", "counts"
_SLACK: Final = 1.05
"""By how much rounding may make axes and components longer than 1, squared."""


class GalleryError(ArgumentError):
    """Vectors cannot be a gallery, or a file is none."""


@dataclass(frozen=True)
class Gallery:
    """Components of known pictures in the order of their classes.

    Attributes
    ----------
    classes
        Names, two at least.
    counts
        Rows of each class, ``(classes,)`` int64.
    components
        ``(rows, components)`` int16, as `transformed` makes them.
    axes
        Principal axes in 14 fraction bits, ``(components, features)`` int16; None where features
        are compared as they are.
    metric
        ``"l2"`` or ``"chi2"``.
    source
        What made the features: text by key, compared when pictures are recognized.
    feature_format
        Format of the features of a network, see `FeatureExtractor.feature_format`; None for real
        numbers, of which each row is scaled by a power of two.

    Raises
    ------
    GalleryError
        If shapes, types or values do not fit each other.
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    components: NDArray[np.int16]
    axes: NDArray[np.int16] | None = None
    metric: str = "l2"
    source: Mapping[str, str] = field(default_factory=dict)
    feature_format: Format | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise GalleryError(f"this gallery cannot be used: {problem}")

    def _problem(self) -> str | None:
        """Say what is wrong, if anything is."""
        parts = self.components
        if self.metric not in METRICS:
            return f"its metric {self.metric!r} is none of {', '.join(METRICS)}"
        if len(self.classes) < 2:
            return f"it has {len(self.classes)} class; to choose between them takes two"
        if not _are_texts(list(self.classes), list) or not _are_texts(dict(self.source), dict):
            return "classes and source must be texts"
        # Others could write to the terminal what looks like results.
        hidden = [name for name in self.classes if not name.isprintable()]
        if hidden:
            return f"the class {hidden[0]!a} holds a character that cannot be printed; rename it"
        if len(set(self.classes)) < len(self.classes):
            return "two of its classes have the same name"
        if parts.dtype != np.int16 or parts.ndim != 2 or 0 in parts.shape:
            return "its components must be rows of int16"
        if parts.shape[1] > MOST_FEATURES:
            return f"it has {parts.shape[1]} components, over {MOST_FEATURES}"
        counts = self.counts
        if counts.dtype != np.int64 or counts.shape != (len(self.classes),) or counts.min() < 1:
            return "each class must have one row at least"
        # A sum of untrusted counts may overflow; the largest is compared first.
        if counts.max() > len(parts) or counts.sum() != len(parts):
            return "the rows of its classes are not as many as its components have"
        if self.metric == "chi2":
            sums = parts.sum(axis=1, dtype=np.int64)
            if self.axes is not None or parts.min() < 0 or sums.max() > _SLACK * 2**FRAC:
                return "for chi2 its rows must be 0 or more, of sum 1, without axes"
        elif np.abs(parts.astype(np.int32)).max() > 1 << FRAC or (
            np.einsum("nd,nd->n", parts, parts, dtype=np.int64).max() > _SLACK * 2 ** (2 * FRAC)
        ):
            return "the length of its rows is above 1"
        problem = None if self.axes is None else _problem_of_axes(self.axes, parts.shape[1])
        form = self.feature_format
        if problem is None and form is not None and form.width > most_bits(self.features):
            return f"its features are of {form}, over {most_bits(self.features)} bits"
        return problem

    @property
    def features(self) -> int:
        """How many features a vector has."""
        return self.components.shape[1] if self.axes is None else self.axes.shape[1]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """First row of each class, and the number of rows."""
        return np.concatenate(([0], np.cumsum(self.counts)))

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Number of the class of each row."""
        return np.repeat(np.arange(len(self.classes)), self.counts)

    @cached_property
    def transformation(self) -> Transformation:
        """What makes components of features; it has the graph, and appends it to networks."""
        return Transformation(self.features, self.axes, self.metric, self.feature_format)

    @property
    def graph(self) -> Graph:
        """Normalization and projection as a graph, from raw integers to components.

        Raises
        ------
        ArgumentError
            If the metric is chi-squared.
        """
        return self.transformation.graph

    def __getstate__(self) -> dict[str, Any]:
        # Without what follows from the fields, such as an engine.
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def transformed(self, features: NDArray) -> NDArray[np.int16]:
        """Return the components of feature vectors.

        Parameters
        ----------
        features
            ``(N, features)``, values. Without a `feature_format`, a factor that is a power of two
            does not change the result.

        Raises
        ------
        ArgumentError
            If there are NaN, infinity or, for chi2, negative values, or another number of features.
        """
        rows = checked_features(features, self.metric)
        if rows.shape[1] != self.features:
            raise ArgumentError(
                f"there are {rows.shape[1]} features, but the gallery was made from {self.features}"
                "; the features must come from the same network"
            )
        return self.transformation(rows)

    def check_source(self, source: Mapping[str, str]) -> None:
        """Raise `GalleryError` unless features come from what made those of the gallery."""
        for key, other in source.items():
            mine = self.source.get(key)
            if mine != other:
                raise GalleryError(
                    f"the gallery was made with {key} {mine!r}, not {other!r}; recognize with the "
                    "same network and value, or build the gallery again"
                )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the gallery; an earlier file stays intact until the new one is complete."""
        tensors: dict[str, NDArray] = {_COMPONENTS: self.components, _COUNTS: self.counts}
        if self.axes is not None:
            tensors[_AXES] = self.axes
        metadata = {
            "kind": KIND,
            "version": VERSION,
            "metric": self.metric,
            "classes": json.dumps(self.classes),
            "source": json.dumps(dict(sorted(self.source.items()))),
        }
        if self.feature_format is not None:
            metadata["features"] = str(self.feature_format)
        replace_file(path, encode(tensors, metadata))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Gallery:
        """Read a gallery.

        Raises
        ------
        GalleryError
            If there is no such file, or it is damaged, of another version, or no gallery.
        """
        try:
            tensors, metadata = decode(read(path))
            if metadata.get("kind") != KIND:
                raise FileError("is no gallery; make one with fxp identify --build")
            if metadata.get("version") != VERSION:
                raise FileError(
                    f"is of version {metadata.get('version')!r}, and this program reads {VERSION!r}"
                    "; build the gallery again"
                )
            classes = parse_json(metadata.get("classes", "null"), "classes")
            source = parse_json(metadata.get("source", "null"), "source")
            if not _are_texts(classes, list) or not _are_texts(source, dict):
                raise FileError("classes and source must be texts")
            if not {_COMPONENTS, _COUNTS} <= set(tensors) <= {_COMPONENTS, _COUNTS, _AXES}:
                raise FileError(f"must hold {_COMPONENTS}, {_COUNTS} and perhaps {_AXES}")
            # Copies may be written to, so that one kernel is compiled for all galleries.
            own = {name: np.array(tensor) for name, tensor in tensors.items()}
            return cls(
                tuple(classes),
                own[_COUNTS],
                own[_COMPONENTS],
                own.get(_AXES),
                metadata.get("metric", ""),
                source,
                Format.parse(metadata["features"]) if "features" in metadata else None,
            )
        except (FileError, FormatError, GalleryError) as error:
            raise GalleryError(f"{path}: {error}") from error


def _are_texts(found: Any, kind: type) -> bool:
    values = found.values() if isinstance(found, dict) else found
    return isinstance(found, kind) and all(isinstance(item, str) for item in values)


def _problem_of_axes(axes: NDArray, components: int) -> str | None:
    """Say what is wrong with axes: they must be of length 1 and at right angles to each other."""
    if axes.dtype != np.int16 or axes.ndim != 2 or len(axes) != components:
        return "it must have one axis, int16, for each component"
    if not len(axes) <= axes.shape[1] <= MOST_FEATURES:
        return f"it has {len(axes)} axes of {axes.shape[1]} features"
    real = axes / 2.0**FRAC
    error = real @ real.T - np.eye(len(axes))
    # The Frobenius norm is a bound that costs little; few galleries need the spectral norm itself.
    if not (
        np.linalg.norm(error) <= _SLACK - 1 or np.abs(np.linalg.eigvalsh(error)).max() <= _SLACK - 1
    ):
        return "its axes are not at right angles and of length 1"
    return None


def checked_features(features: NDArray, metric: str) -> NDArray[np.float64]:
    """Return feature vectors as rows of float64.

    Parameters
    ----------
    features
        ``(N, features)``, or one vector.
    metric
        ``"l2"``, or ``"chi2"``, which takes no negative values.

    Raises
    ------
    ArgumentError
        If there are none, too many in a vector, or values that cannot be used.
    """
    rows = np.atleast_2d(np.asarray(features))
    if rows.dtype.kind not in "iufb" or rows.ndim != 2 or 0 in rows.shape:
        raise ArgumentError(
            f"features must be rows of real numbers, not {rows.dtype} of shape {rows.shape}"
        )
    if rows.shape[1] > MOST_FEATURES:
        raise ArgumentError(f"there are {rows.shape[1]} features, over {MOST_FEATURES}")
    rows = np.ascontiguousarray(rows, np.float64)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise ArgumentError(f"the features in row {bad[0]} hold NaN or infinity")
    if metric == "chi2" and rows.min() < 0:
        raise ArgumentError("Negative values in data: chi2 cannot compare features below 0; use l2")
    return rows


@dataclass(frozen=True)
class Decision:
    """What a search found.

    Attributes
    ----------
    number
        Of the class.
    granules
        How many granules of components were looked at.
    rows
        By how many rows in all; a full search looks at every row in each granule.
    distances
        Of every class by those components, ``(classes,)`` int64 with 28 fraction bits, summed over
        the frames; negative where the class was dropped.
    """

    number: int
    granules: int
    rows: int
    distances: NDArray[np.int64]


class Search:
    """A gallery arranged for the search by one rule.

    Parameters
    ----------
    gallery
        The gallery.
    rule
        When to stop.
    granule
        Components that are added at a time, a multiple of 8.

    Raises
    ------
    ArgumentError
        If the granule is no such number.
    """

    def __init__(self, gallery: Gallery, rule: Rule | None = None, *, granule: int = 32) -> None:
        check_granule(granule)
        self.gallery, self.rule, self.granule = gallery, rule or Rule(), granule
        # A granule of more components than there are would be filled with zeros.
        self._width = min(granule, -(-gallery.components.shape[1] // STEP) * STEP)
        self._arranged = distances.arranged(gallery.components, self._width)
        self._squares = gallery.metric == "l2"
        self._rule, self._table = self.rule.integers, self.rule.table
        # Each thread has room for sums of its own.
        self._room = local()

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, which is quicker than to store the arranged components as well.
        return _search, (self.gallery, self.rule, self.granule)

    @property
    def granules(self) -> int:
        """Granules of all components."""
        return len(self._arranged)

    def _sums(self, frames: int) -> NDArray[np.int32]:
        """Return room for the sums of so many frames."""
        room = getattr(self._room, "sums", None)
        if room is None or len(room) < frames:
            room = np.empty((frames, self._arranged.shape[1] * distances.LANES), np.int32)
            self._room.sums = room
        return room[:frames]

    def _padded(self, rows: NDArray[np.int16]) -> NDArray[np.int16]:
        """Return checked components as the kernels take them, which check nothing."""
        count = self.gallery.components.shape[1]
        if rows.dtype != np.int16 or rows.ndim != 2 or rows.shape[1] != count or not len(rows):
            raise ArgumentError(
                f"components must be rows of {count} int16, as Gallery.transformed returns them, "
                f"not {rows.dtype} of shape {rows.shape}"
            )
        return distances.padded(rows, self._width)

    def decide(self, frames: NDArray[np.int16]) -> Decision:
        """Decide which class one or more pictures of the same thing belong to.

        With several frames this is the maximum a-posteriori rule: the sum of log posteriors is
        largest where the sum of distances is least.

        Parameters
        ----------
        frames
            Components ``(frames, components)`` of `Gallery.transformed`, at most 2**15 frames.

        Raises
        ------
        ArgumentError
            If they are no components of this gallery, or too many.
        """
        queries = self._padded(frames)
        if len(queries) > MOST_FRAMES:
            raise ArgumentError(f"there are {len(queries)} frames, over {MOST_FRAMES}")
        sums = self._sums(len(queries))
        found = np.empty(len(self.gallery.classes), np.int64)
        number, granules, rows = distances.decide(
            self._arranged, queries, self._squares, self.gallery.starts, self._rule, self._table,
            sums, found,
        )  # fmt: skip
        return Decision(number, granules, rows, found)

    def distances(self, queries: NDArray[np.int16]) -> NDArray[np.int32]:
        """Return the distances of queries to all rows by all components, ``(queries, rows)``."""
        parts = self._padded(queries)
        sums = np.empty((len(parts), self._arranged.shape[1] * distances.LANES), np.int32)
        distances.row_distances(self._arranged, parts, self._squares, sums)
        return sums[:, : len(self.gallery.components)]

    def nearest(self, queries: NDArray[np.int16]) -> NDArray[np.int64]:
        """Return the nearest row of each query by all components, of equal ones the first."""
        parts = self._padded(queries)
        found = np.empty(len(parts), np.int64)
        rows = len(self.gallery.components)
        distances.nearest_rows(self._arranged, parts, self._squares, rows, found)
        return found


def _search(gallery: Gallery, rule: Rule, granule: int) -> Search:
    return Search(gallery, rule, granule=granule)


def pooled(frames: NDArray) -> NDArray:
    """Return the sum of the features of frames, ``(1, features)``.

    It has the direction of their mean, and the length is normalized away.
    """
    return np.asarray(frames).sum(axis=0, keepdims=True)
