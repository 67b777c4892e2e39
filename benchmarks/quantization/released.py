"""What fixed point costs released networks, at default options and at few bits."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fxp
from benchmarks.quantization.tasks import Task, TestSet
from benchmarks.report import markdown_table
from fxp.imaging.metrics import sqnr
from fxp.support.errors import PrecisionWarning

DEFAULT = "10/14"
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    (DEFAULT, {}),
    ("8/12", {"weight_bits": 8, "activation_bits": 12}),
    ("8/12 best", {"weight_bits": 8, "activation_bits": 12, "effort": "best"}),
)
"""Bits of weights and of activations; what is not named is as by default."""
CEILING = 60.0
"""PSNR above which no pixel in a dozen is off by one: what is beyond counts as equal."""


def measured(task: Task, variants: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of one network, as `json.dumps` takes them.

    Parameters
    ----------
    task
        The network and its data.
    variants
        Keywords of `fxp.quantize` by name.
    """
    models, seconds = {}, {}
    for name, options in variants.items():
        clock, processors = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            # The page says what the warning says.
            warnings.simplefilter("ignore", PrecisionWarning)
            models[name] = fxp.quantize(task.network, task.calibration, **options)
        passed = time.perf_counter() - clock, time.process_time() - processors
        seconds[name] = [round(value, 1) for value in passed]
    sets = [_of_set(task.network, models, images) for images in task.sets]
    found: dict[str, Any] = {"measure": task.measure, "seconds": seconds, "sets": sets}
    if task.extremes is not None:
        found["extremes"] = _of_extremes(task.network, models, task.extremes)
    return found


def _of_set(
    network: nn.Module, models: Mapping[str, fxp.FixedModel], images: TestSet
) -> dict[str, Any]:
    """Return means over a set."""
    references = list(_outputs(network, images))
    scores = [images.score(output, number) for number, output in enumerate(references)]
    row: dict[str, Any] = {"name": images.name, "images": len(scores), "float": np.mean(scores)}
    for name, model in models.items():
        outputs = list(_outputs(model, images))
        fixed = [images.score(output, number) for number, output in enumerate(outputs)]
        row[name] = {
            "difference": np.mean(fixed) - row["float"],
            "worst": min(np.subtract(fixed, scores)),
            "sqnr": sqnr(
                np.concatenate([output.ravel() for output in references]),
                np.concatenate([output.ravel() for output in outputs]),
            ),
        }
    return row


def _of_extremes(
    network: nn.Module, models: Mapping[str, fxp.FixedModel], images: TestSet
) -> dict[str, Any]:
    """Return the worst difference of each model, and of which picture."""

    def scores(model: Any) -> list[float]:
        outputs = enumerate(_outputs(model, images))
        return [min(images.score(output, number), CEILING) for number, output in outputs]

    found = {}
    reference = scores(network)
    for name, model in models.items():
        differences = np.subtract(scores(model), reference)
        worst = int(differences.argmin())
        found[name] = {"picture": images.names[worst], "difference": differences[worst]}
    return found


def _outputs(model: Any, images: TestSet) -> Iterator[NDArray]:
    """Yield what a network or a model gives for each image."""
    with torch.inference_mode():
        for call in images.inputs:
            output = model(call)
            yield from output.numpy() if isinstance(output, Tensor) else output


def body(networks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the Markdown of all networks measured.

    Parameters
    ----------
    networks
        What `measured` gave, by the name of the network.
    """
    names = [name for name, _ in VARIANTS]
    rows = [
        [
            f"{network}, {row['name']}", found["measure"], str(row["images"]),
            _figure(row["float"], found["measure"], signed=False),
            *(_figure(row[name]["difference"], found["measure"]) for name in names),
            f"{row[DEFAULT]['sqnr']:.1f}", f"{found['seconds'][DEFAULT][1]:.0f}",
        ]
        for network, found in networks.items()
        for row in found["sets"]
    ]  # fmt: skip
    header = ("network, test set", "measure", "images", "float", *names, f"{DEFAULT} SQNR dB",
              f"{DEFAULT} seconds")  # fmt: skip
    parts = [
        "Networks with the weights that others released, not changed: calibration alone. The "
        "columns of bits of weights and activations are fixed point less float, by default options "
        'or with `effort="best"`. No image that calibrates is in a test. Classifiers of CIFAR-10 '
        "get lossy JPEG, on which they score less than on the original. *Seconds* are those of "
        "processors that quantization takes. Recurrent networks have "
        "[a page of their own](recurrent.md).",
        markdown_table(header, rows),
    ]
    extremes = [
        [
            network,
            *(
                f"{_figure(found['extremes'][name]['difference'], 'dB')}, "
                f"{found['extremes'][name]['picture']}"
                for name in names
            ),
        ]
        for network, found in networks.items()
        if "extremes" in found
    ]
    if extremes:
        parts += [
            "The worst of flat pictures, drawings and text, PSNR in dB of fixed point less float; "
            f"PSNR counts up to {CEILING:.0f} dB, where one pixel in fifteen is off by one:",
            markdown_table(("network", *names), extremes),
        ]
    return "\n\n".join(parts)


def _figure(value: float, measure: str, *, signed: bool = True) -> str:
    """Return decibels with three digits after the point, percents with two."""
    digits = 3 if measure.endswith("dB") else 2
    value = round(value, digits) + 0.0  # no minus before a zero
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def summary(networks: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return rows of the README: the largest loss of each measure by default options.

    Parameters
    ----------
    networks
        As for `body`.
    """
    rows = []
    for measure, unit in (("PSNR dB", "dB"), ("top-1 %", "points")):
        losses = [
            row[DEFAULT]["difference"]
            for found in networks.values()
            if found["measure"] == measure
            for row in found["sets"]
        ]
        if losses and all(map(math.isfinite, losses)):
            text = f"{DEFAULT} bits less float, worst of {len(losses)} tests of released networks"
            figure = f"{_figure(min(losses), measure)} {unit}"
            rows.append((f"{measure.split()[0]} of {text}", figure))
    return rows
