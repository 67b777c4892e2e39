"""Trained float weights of the small classifiers, by name or file."""

from __future__ import annotations

from pathlib import Path

from fxp.models.common.weights import load_weights
from fxp.models.recognition.fixed import MODELS
from fxp.models.recognition.zoo import SMALL_CLASSES, Classifier


def load_float(name: str | Path) -> Classifier:
    """Load a trained small classifier in floating point.

    Parameters
    ----------
    name
        A shipped name, see `fxp.models.recognition.fixed.SHIPPED`, or a ``.safetensors`` file.

    Returns
    -------
    Classifier
        In eval mode; it takes pixels divided by 256.

    Raises
    ------
    WeightsError
        If there are no such weights, or they are damaged or of another network.
    """
    return load_weights(MODELS.weights_path(name), *SMALL_CLASSES)
