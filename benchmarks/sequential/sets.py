"""Features of sets of pictures, divided into a gallery and queries."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import fxp
from benchmarks.quantization import networks
from benchmarks.quantization.tasks import IMAGENET_DEVIATION, IMAGENET_MEAN
from fxp.cli.pixel_values import PixelScale, scale_of_model
from fxp.models.recognition.data import fitted, in_channels, read_labelled
from fxp.models.recognition.fixed import calibration_images, load
from fxp.models.recognition.sequential import FeatureExtractor
from fxp.support.errors import PrecisionWarning

SIDE: Final = 96
"""Side of the pictures that MobileNetV1 takes."""
BATCH: Final = 50
DEFAULT_WIDTHS: Final = "10/14"
WIDTHS: Final[dict[str, dict[str, Any]]] = {
    DEFAULT_WIDTHS: {},
    "12/16": {"weight_bits": 12, "activation_bits": 16},
    "16/16": {"weight_bits": 16, "activation_bits": 16},
}
"""Bits of weights and values of MobileNetV1, as options."""


@dataclass(frozen=True)
class FeatureSet:
    """Features of pictures in fixed point and in float32.

    Attributes
    ----------
    name
        Title.
    fixed
        ``(N, features)``, by the bits of weights and values; the first are those that methods take.
    real
        As each of `fixed`; None where there is no float network to compare with.
    labels
        Class of each, from 0.
    query
        Which are queries; the others are the gallery.
    """

    name: str
    fixed: Mapping[str, NDArray]
    real: NDArray | None
    labels: NDArray[np.int64]
    query: NDArray[np.bool_]


def every_other(labels: NDArray, known: int, period: int) -> NDArray[np.bool_]:
    """Mark as queries all but the first of the pictures of each class.

    Parameters
    ----------
    labels
        Classes of the pictures.
    known, period
        Of so many pictures of a class, in their order, how many are the gallery.
    """
    query = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        query[rows[np.arange(len(rows)) % period >= known]] = True
    return query


def _arrays(data: Path, name: str) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    with np.load(data / "recognition" / name) as arrays:
        if "x_packedbits" in arrays:
            height, width = arrays["shape"]
            bits = np.unpackbits(arrays["x_packedbits"], axis=1)[:, : height * width]
            pictures = bits.reshape(-1, height, width) * np.uint8(255)
        else:
            pictures = arrays["x"]
        return list(pictures), arrays["y"].astype(np.int64)


@dataclass(frozen=True)
class _Networks:
    """A float network, and the extractors of its fixed-point models."""

    network: nn.Module
    extractors: Mapping[str, FeatureExtractor]
    scale: PixelScale


def _mobilenet(data: Path) -> _Networks:
    network = networks.mobilenet(data)
    scale = PixelScale(255.0, tuple(IMAGENET_MEAN), tuple(IMAGENET_DEVIATION))
    pictures = torch.from_numpy(scale.values(calibration_images(SIDE) * 256)).float()
    extractors = {}
    for name, bits in WIDTHS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            # Equalization would change the scales of channels, and with them the distances.
            model = fxp.quantize(network, [pictures], equalization=False, **bits)
        model.metadata.update(scale.metadata())
        extractors[name] = FeatureExtractor(model, side=SIDE)
    return _Networks(network, extractors, scale)


def _float_features(
    network: nn.Module, scale: PixelScale, squares: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return what the last linear layer of a network takes."""
    kept: list[torch.Tensor] = []
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]

    def keep(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        kept.append(inputs[0].flatten(1))

    hook = last.register_forward_pre_hook(keep)
    with torch.inference_mode():
        for start in range(0, len(squares), BATCH):
            part = squares[start : start + BATCH].transpose(0, 3, 1, 2)
            network(torch.from_numpy(scale.values(part)).float())
    hook.remove()
    return torch.cat(kept).numpy()


def _features(extractor: FeatureExtractor, squares: NDArray[np.uint8]) -> NDArray:
    return np.concatenate(
        [
            extractor(list(squares[start : start + BATCH]), threads=1)
            for start in range(0, len(squares), BATCH)
        ]
    )


def _squares(pictures: list[NDArray[np.uint8]], side: int) -> NDArray[np.uint8]:
    return np.stack([fitted(in_channels(item, 3), side) for item in pictures])


def _cifar(data: Path) -> FeatureSet:
    from fxp.models.recognition.checkpoints import load_float

    folder = data / "recognition"
    known = read_labelled(folder / "cifar10_jpeg_train20000.zip", 32)
    asked = read_labelled(folder / "cifar10_jpeg_test2000.zip", 32)
    model = load("cifar_resnet20")
    extractor = FeatureExtractor(model)
    squares = _squares([*known.images, *asked.images], extractor.side)
    return FeatureSet(
        "CIFAR-10",
        {DEFAULT_WIDTHS: _features(extractor, squares)},
        _float_features(load_float("cifar_resnet20"), scale_of_model(model), squares),
        np.concatenate([known.labels, asked.labels]),
        np.arange(len(squares)) >= len(known),
    )


SETS: Final[dict[str, tuple[str, int, int]]] = {
    "faces 40×10": ("orl_faces_40x10.npz", 5, 10),
    "Omniglot": ("omniglot_small1.npz", 10, 20),
    "COIL-20": ("coil20_32.npz", 1, 6),
}
"""File, and how many of so many pictures of a class are the gallery."""


def feature_sets(data: Path, only: Callable[[str], bool]) -> Iterator[FeatureSet]:
    """Yield the sets that are asked for.

    Parameters
    ----------
    data
        Folder of the released weights and pictures.
    only
        Whether a set of this name is wanted.
    """
    made: _Networks | None = None
    for name, (file, known, period) in SETS.items():
        if only(name):
            made = made or _mobilenet(data)
            pictures, labels = _arrays(data, file)
            squares = _squares(pictures, SIDE)
            yield FeatureSet(
                name,
                {bits: _features(item, squares) for bits, item in made.extractors.items()},
                _float_features(made.network, made.scale, squares),
                labels,
                every_other(labels, known, period),
            )
    if only("CIFAR-10"):
        yield _cifar(data)
