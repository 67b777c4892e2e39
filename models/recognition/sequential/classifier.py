"""The sequential classifier in the manner of scikit-learn, and galleries made from features."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.formats import Format, quantize
from fxp.models.recognition.sequential.definition import FRAC, Rule, check_granule, is_integer
from fxp.models.recognition.sequential.gallery import (
    METRICS,
    Gallery,
    GalleryError,
    Search,
    checked_features,
)
from fxp.models.recognition.sequential.transformation import PROJECTED, Transformation, narrowed
from fxp.support.errors import ArgumentError
from fxp.support.lazy import naming_extra

with naming_extra("recognition", "sklearn"):
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.decomposition import PCA
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data

if TYPE_CHECKING:
    from typing import Self


def build_gallery(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    components: int | None = None,
    metric: str = "l2",
    classes: Sequence[str] | None = None,
    source: Mapping[str, str] | None = None,
    feature_format: Format | None = None,
) -> Gallery:
    """Make a gallery: normalize features, find their principal axes and project them.

    Parameters
    ----------
    features
        ``(N, features)``, values.
    labels
        Number of the class of each row, from 0.
    components
        Principal components, by falling variance; None compares the features as they are.
    metric
        ``"l2"``, or ``"chi2"`` for features that are not negative, without components.
    classes
        Names; by default the numbers.
    source
        What made the features, for `Gallery.check_source`.
    feature_format
        Format of the features of a network, which then enter as the integers that they are; None
        for real numbers, of which each row is scaled by a power of two.

    Raises
    ------
    GalleryError
        If there are fewer than two classes, a class has no rows, or there are fewer rows or
        features than components.
    ArgumentError
        If features hold NaN or infinity.
    """
    if metric not in METRICS:
        raise ArgumentError(f"no metric {metric!r}, only {', '.join(METRICS)}")
    rows = checked_features(np.asarray(features), metric)
    numbers = np.asarray(labels)
    if numbers.shape != (len(rows),) or numbers.dtype.kind not in "iu":
        raise GalleryError(f"{len(rows)} rows of features need a whole number each as labels")
    most = len(rows) if classes is None else len(classes)
    if numbers.min() < 0 or numbers.max() >= most:
        raise GalleryError(
            f"labels must be from 0 to {most - 1}, the last of the "
            f"{'rows' if classes is None else 'classes'}, not {numbers.min()} to {numbers.max()}"
        )
    names = tuple(classes) if classes is not None else tuple(map(str, range(numbers.max() + 1)))
    counts = np.bincount(numbers, minlength=len(names)).astype(np.int64)
    if not counts.all():
        raise GalleryError(f"the class {names[int(np.argmin(counts))]!r} has no rows")
    order = np.argsort(numbers, kind="stable")
    count = rows.shape[1]
    form = None if feature_format is None else narrowed(feature_format, count)
    axes = None
    if components is not None:
        if metric == "chi2":
            raise ArgumentError("chi2 compares features as they are, so it takes no components")
        axes = _axes(Transformation(count, None, metric, form)(rows), components)
    vectors = Transformation(count, axes, metric, form)(rows[order])
    return Gallery(names, counts, vectors, axes, metric, dict(source or {}), form)


def _axes(vectors: NDArray[np.int16], components: int) -> NDArray[np.int16]:
    """Return the principal axes of normalized rows in 14 fraction bits."""
    most = min(vectors.shape)
    if not is_integer(components) or not 1 <= components <= most:
        raise GalleryError(
            f"{components} components cannot be found in {len(vectors)} rows of "
            f"{vectors.shape[1]} features; give more rows, or 1 to {most} components"
        )
    analysis = PCA(components, svd_solver="full" if vectors.shape[1] > 1024 else "covariance_eigh")
    if len(vectors) < vectors.shape[1]:
        # Beyond the rank of the data the eigenvectors of the covariance are not reliable.
        analysis.set_params(svd_solver="full")
    with warnings.catch_warnings():
        # Equal rows have no variance to divide by.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = analysis.fit(vectors / 2.0**FRAC).components_
    return quantize(found, PROJECTED).astype(np.int16)


class SequentialClassifier(ClassifierMixin, BaseEstimator):
    """Nearest neighbours by a few principal components first, in integers.

    Features are normalized to length 1 and projected on principal axes. `rule` decides after each
    granule of components whether the nearest class is clear, see
    `fxp.models.recognition.sequential.Rule`; A. V. Savchenko, "Sequential three-way decisions in
    multi-category image recognition with deep features based on distance factor", Information
    Sciences 489 (2019).

    Parameters
    ----------
    n_components
        Principal components; None takes as many as there are features, or rows if those are fewer.
        With the metric chi2, features are compared as they are.
    granule
        Components that are added at a time, a multiple of 8.
    rule
        ``"classes"``, ``"posteriors"``, ``"bayes_factor"`` or ``"distance_factor"``.
    threshold
        Of the rule. For the classes it is the ratio of distances up to which a class stays;
        infinity makes a full search.
    sharpness
        Factor of the distances in the softmax that gives posteriors.
    metric
        ``"l2"`` or ``"chi2"``.

    Attributes
    ----------
    classes_
        Labels of the classes, sorted.
    gallery_
        The rows of the training data, see `Gallery`.
    n_features_in_
        How many features a vector has.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        granule: int = 32,
        rule: str = "classes",
        threshold: float = 1.4,
        sharpness: float = 100.0,
        metric: str = "l2",
    ) -> None:
        self.n_components = n_components
        self.granule = granule
        self.rule = rule
        self.threshold = threshold
        self.sharpness = sharpness
        self.metric = metric

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn's tools what features may be."""
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = self.metric == "chi2"
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803
        """Keep rows with their classes, and find the principal axes.

        Parameters
        ----------
        X
            ``(N, features)``.
        y
            A label for each row.
        """
        Rule(self.rule, self.threshold, self.sharpness)
        check_granule(self.granule)
        X, y = validate_data(self, X, y)  # noqa: N806
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        components = None
        if self.metric != "chi2":
            components = min(X.shape) if self.n_components is None else self.n_components
        names = [str(label) for label in self.classes_]
        self.gallery_ = build_gallery(
            X, numbers, components=components, metric=self.metric, classes=names
        )
        self._search = Search(self.gallery_, self._own_rule(), granule=self.granule)
        return self

    def _own_rule(self) -> Rule:
        return Rule(self.rule, self.threshold, self.sharpness)

    def _components(self, X: ArrayLike) -> NDArray[np.int16]:  # noqa: N803
        check_is_fitted(self)
        return self.gallery_.transformed(validate_data(self, X, reset=False))

    def predict(self, X: ArrayLike) -> NDArray:  # noqa: N803
        """Return the label of each row; of classes equally near the first."""
        rows = self._components(X)
        return self.classes_[[self._search.decide(row[None]).number for row in rows]]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Return posteriors ``(N, classes)``: the softmax of distances by what was looked at.

        A class that the rule dropped has the posterior 0.
        """
        found = [self._search.decide(row[None]).distances for row in self._components(X)]
        return posteriors(np.stack(found), self.sharpness)

    def predict_frames(self, X: ArrayLike) -> Any:  # noqa: N803
        """Return the one label of several rows that show the same thing, such as frames of a video.

        It is the maximum a-posteriori choice: the sum of the logarithms of posteriors is largest.
        """
        return self.classes_[self._search.decide(self._components(X)).number]

    def kneighbors(
        self,
        X: ArrayLike,  # noqa: N803
        n_neighbors: int = 1,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return distances and rows of the gallery nearest by all components.

        Parameters
        ----------
        X
            ``(N, features)``.
        n_neighbors
            How many; of equally distant rows the first come first.

        Returns
        -------
        distances, rows
            ``(N, n_neighbors)``; squared Euclidean distances of vectors of length 1. Rows count
            within ``gallery_``, whose `Gallery.labels` are their classes.
        """
        components = self._components(X)
        if not is_integer(n_neighbors) or not 1 <= n_neighbors <= len(self.gallery_.components):
            raise ArgumentError(
                f"n_neighbors={n_neighbors} must be from 1 to {len(self.gallery_.components)}, the "
                "rows of the gallery"
            )
        found = self._search.distances(components)
        rows = np.argsort(found, axis=1, kind="stable")[:, :n_neighbors]
        return np.take_along_axis(found, rows, axis=1) / 2.0 ** (2 * FRAC), rows


def posteriors(distances: NDArray[np.int64], sharpness: float) -> NDArray[np.float64]:
    """Return the softmax of distances ``(N, classes)`` with 28 fraction bits.

    Parameters
    ----------
    distances
        Negative for classes that were dropped.
    sharpness
        Factor of the distances.
    """
    left = distances >= 0
    least = np.where(left, distances, np.iinfo(np.int64).max).min(axis=1, keepdims=True)
    apart = np.where(left, distances - least, 0) / 2.0 ** (2 * FRAC)
    weights = np.where(left, np.exp(-sharpness * apart), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


__all__ = ["SequentialClassifier", "build_gallery", "posteriors"]
