"""Released and own classifiers, float against fixed point: calibration only, default options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.quantization import released
from benchmarks.quantization.tasks import TASKS, Task, classification
from benchmarks.report import markdown_table
from fxp.models.recognition.checkpoints import load_float
from fxp.models.recognition.data import find, planes, read_labelled
from fxp.models.recognition.fixed import SHIPPED, calibration_images

DEFAULT, NARROW = "10/14", "8/8 refined"
VARIANTS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    NARROW: {"weight_bits": 8, "activation_bits": 8, "effort": "best"},
}
"""Bits of weights and of activations; what is not named is as by default."""
TEST = "cifar10_jpeg_test2000.zip"

METHOD = (
    "Top-1 accuracy in percent, and fixed point less float in points. Nothing is trained: formats "
    "are chosen on a few calibration pictures, which are in no test. *10/14* is by default "
    'options, *8/8 refined* with `effort="best"`. *Released* weights are those of others, not '
    "changed. The networks named `cifar_...` were trained by `python -m "
    "fxp.models.recognition.train` on 19,500 pictures of CIFAR-10, and are calibrated on "
    "photographs of scikit-image, as the shipped models are. All pictures of CIFAR-10 are lossy "
    "JPEG here, on which networks that were trained on the originals score less."
)


def own_task(name: str, data: Path) -> Task:
    """Return the task of a shipped network.

    Parameters
    ----------
    name
        Name of its weights.
    data
        Folder of data with the test pictures.
    """
    network = load_float(name)
    images = read_labelled(find(data, TEST), network.side)
    return classification(
        network,
        torch.from_numpy(calibration_images(network.side)),
        torch.from_numpy(planes(images.images)),
        images.labels.tolist(),
        "CIFAR-10 as JPEG",
    )


NETWORKS: dict[str, Callable[[Path], Task]] = {
    **{name: TASKS[name] for name in ("MobileNetV1 ×0.25", "SqueezeNet 1.0", "ResNet-20",
                                      "ResNet-8")},
    **{name: partial(own_task, name) for name in SHIPPED},
}  # fmt: skip
"""Makers of tasks by the name of the network; each takes the folder of data."""


def measured(name: str, data: Path) -> dict[str, Any]:
    """Return the figures of one network, as `json.dumps` takes them.

    Parameters
    ----------
    name
        One of `NETWORKS`.
    data
        Folder of data.
    """
    return released.measured(NETWORKS[name](data), VARIANTS)


def body(networks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the section of the page.

    Parameters
    ----------
    networks
        What `measured` found, by name.
    """
    rows = [
        [
            f"{name}, {row['name']}", str(row["images"]), f"{row['float']:.2f}",
            *(f"{row[bits]['difference'] + 0.0:+.2f}" for bits in VARIANTS),
            *(f"{row[bits]['sqnr']:.1f}" for bits in VARIANTS),
        ]
        for name, found in networks.items()
        for row in found["sets"]
    ]  # fmt: skip
    header = ("network, test set", "pictures", "float %", *VARIANTS,
              *(f"{bits} SQNR dB" for bits in VARIANTS))  # fmt: skip
    return "\n\n".join((METHOD, markdown_table(header, rows)))


def summary(networks: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the rows of the README: the largest losses.

    Parameters
    ----------
    networks
        As for `body`.
    """
    rows = [row for found in networks.values() for row in found["sets"]]
    return [
        (
            f"top-1 of {bits} bits less float, worst of {len(rows)} classifiers",
            f"{min(row[bits]['difference'] for row in rows) + 0.0:+.2f} points",
        )
        for bits in VARIANTS
        if rows
    ]
