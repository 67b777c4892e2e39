"""Methods without training that divide a photograph into reflectance and illumination.

Both are those the paper compares with: LIME enhances a map of the illumination, SRIE finds
reflectance and illumination together. Denoising after LIME is left out, and the weights of the
terms are arguments; these are implementations of the published equations, not the authors' code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fxp.imaging.quality import to_codes
from fxp.models.common.pixels import Pixels
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import scipy.ndimage as ndimage
    import scipy.sparse as sparse
    import scipy.sparse.linalg as solvers
else:
    ndimage = lazy_import("scipy.ndimage", "models")
    sparse = lazy_import("scipy.sparse", "models")
    solvers = lazy_import("scipy.sparse.linalg", "models")

Plane = NDArray[np.float64]

DARKEST: Final = 1 / 255
"""Illumination that nothing is divided below."""
TOLERANCE: Final = 1e-5
"""Relative residual at which the conjugate gradients stop."""
MOST_STEPS: Final = 2000
"""Steps of the conjugate gradients at most."""
DISPLAY: Final = 2.2
"""Exponent by which SRIE brightens the illumination."""


def lime(
    picture: Pixels, *, smoothness: float = 0.15, gamma: float = 0.8, deviation: float = 2.0
) -> Pixels:
    """Brighten a photograph by its illumination map: LIME, with the sped-up solver.

    The map is the largest of the three colours, smoothed where its gradients do not add up in
    their neighbourhood (weights of strategy III); the photograph is divided by its power.

    Parameters
    ----------
    picture
        ``(H, W, 3)`` uint8.
    smoothness
        Weight of the gradients of the map, alpha in the paper.
    gamma
        Exponent of the map.
    deviation
        Of the Gaussian neighbourhood, pixels.

    Returns
    -------
    numpy.ndarray
        ``(H, W, 3)`` uint8.

    References
    ----------
    X. Guo, Y. Li, H. Ling, "LIME: Low-light image enhancement via illumination map estimation",
    IEEE Trans. Image Processing 26(2), 2017.
    """
    light = _checked(picture)
    brightest = light.max(2)
    rows, columns = (
        smoothness
        / (np.abs(ndimage.gaussian_filter(gradient, deviation, mode="nearest")) + 1e-3)
        / (np.abs(gradient) + 1e-3)
        for gradient in _gradients(brightest)
    )
    chart = np.clip(_smooth(brightest, (rows, columns)), DARKEST, 1)
    return to_codes(light / chart[..., None] ** gamma * 255)


def srie(
    picture: Pixels,
    *,
    reflectance: float = 0.01,
    illumination: float = 0.1,
    coupling: float = 1.0,
    rounds: int = 8,
) -> Pixels:
    """Brighten a photograph by the weighted variational model: SRIE.

    The value, the largest of the three colours, is divided into reflectance and illumination in
    logarithms. Reflectance is piecewise constant and illumination smooth, each weighted by its own
    size, which undoes the exaggeration of dark parts by the logarithm. Sparse gradients are found
    by alternation with soft thresholds. The result has the illumination to the power 1/2.2.

    Parameters
    ----------
    picture
        ``(H, W, 3)`` uint8.
    reflectance, illumination
        Weights of the gradients of the two, c1 and c2 in the paper.
    coupling
        Weight that ties the sparse gradients to those of the reflectance, lambda in the paper.
    rounds
        Alternations.

    Returns
    -------
    numpy.ndarray
        ``(H, W, 3)`` uint8.

    References
    ----------
    X. Fu et al., "A weighted variational model for simultaneous reflectance and illumination
    estimation", CVPR 2016.
    """
    light = _checked(picture)
    value = np.maximum(light.max(2), DARKEST)
    total = np.log(value)
    bright = np.log(np.maximum(ndimage.gaussian_filter(value, 5, mode="nearest"), value))
    surface = total - bright
    residual = (np.zeros_like(total), np.zeros_like(total))
    for _ in range(rounds):
        size = np.exp(surface)
        weighted = tuple(size * item for item in _gradients(surface))
        sparse_ones = tuple(
            _shrunk(item + rest, 1 / (2 * coupling))
            for item, rest in zip(weighted, residual, strict=True)
        )
        residual = tuple(
            rest + item - kept
            for rest, item, kept in zip(residual, weighted, sparse_ones, strict=True)
        )
        aim = tuple(kept - rest for kept, rest in zip(sparse_ones, residual, strict=True))
        factor = reflectance * coupling
        pull = factor * _adjoint(tuple(size * item for item in aim))
        both = factor * size**2
        surface = _smooth(total - bright, (both, both), pull, surface)
        surface = np.minimum(surface, 0)
        both = illumination * np.exp(2 * bright)
        bright = _smooth(total - surface, (both, both), start=bright)
        bright = np.clip(bright, total, 0)
    # The value is divided by the illumination and multiplied by its power.
    gain = np.exp(surface + bright / DISPLAY) / value
    return to_codes(light * gain[..., None] * 255)


def _checked(picture: Pixels) -> NDArray[np.float64]:
    """Return a photograph in [0, 1]."""
    if picture.ndim != 3 or picture.shape[2] != 3 or min(picture.shape[:2]) < 2:
        raise ArgumentError(
            f"the photograph must be (H, W, 3) of at least 2 x 2 pixels, not {picture.shape}"
        )
    return picture.astype(np.float64) / 255


def _gradients(plane: Plane) -> tuple[Plane, Plane]:
    """Differences to the next row and to the next column, zero at the end."""
    return (
        np.diff(plane, axis=0, append=plane[-1:]),
        np.diff(plane, axis=1, append=plane[:, -1:]),
    )


def _adjoint(gradients: tuple[Plane, ...]) -> Plane:
    """Apply the transpose of `_gradients`."""
    rows, columns = gradients[0].copy(), gradients[1].copy()
    rows[-1], columns[:, -1] = 0, 0
    return -np.diff(rows, axis=0, prepend=0) - np.diff(columns, axis=1, prepend=0)


def _shrunk(plane: Plane, threshold: float) -> Plane:
    return np.sign(plane) * np.maximum(np.abs(plane) - threshold, 0)


def _smooth(
    plane: Plane,
    weights: tuple[Plane, Plane],
    pull: Plane | None = None,
    start: Plane | None = None,
) -> Plane:
    """Return the x that minimises ``|x - plane|**2`` and the weighted squares of its gradients.

    Parameters
    ----------
    plane
        What it should be like.
    weights
        Of the squared differences to the next row and the next column.
    pull
        Added to the right side of the linear equations.
    start
        Where the conjugate gradients start.
    """
    height, width = plane.shape
    down, right = weights[0].copy(), weights[1].copy()
    down[-1], right[:, -1] = 0, 0
    diagonal = 1 + down + right
    diagonal[1:] += down[:-1]
    diagonal[:, 1:] += right[:, :-1]
    matrix = sparse.diags(
        [
            diagonal.ravel(),
            *(-right.ravel()[:-1],) * 2,
            *(-down.ravel()[:-width],) * 2,
        ],
        [0, 1, -1, width, -width],  # pyright: ignore[reportArgumentType] (a list is usual)
        format="csr",
    )
    wanted = (plane if pull is None else plane + pull).ravel()
    result, _ = solvers.cg(
        matrix,
        wanted,
        x0=None if start is None else start.ravel(),
        rtol=TOLERANCE,
        maxiter=MOST_STEPS,
        M=sparse.diags(1 / diagonal.ravel()),
    )
    return result.reshape(height, width)
