"""What adaptive computation saves: positions, accuracy, and time.

``python -m benchmarks.recognition.adaptive`` measures time. With ``--train FOLDER`` it trains a
network there, which takes minutes and goes on where it was interrupted, and measures accuracy; with
``--weights FILE`` that of another network. It prints both tables and writes the page in
docs/benchmarks. Time depends on where positions are active, and not on what the weights are.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

import fxp
from benchmarks.report import ROOT, environment, markdown_table, write_page
from benchmarks.speed.machine import describe
from benchmarks.speed.timing import Settings, best_times, load_per_processor, load_text
from benchmarks.trainings import trained
from fxp.formats import Format
from fxp.models.common.settings import Optimizer
from fxp.models.common.weights import load_weights, read_weights
from fxp.models.recognition.adaptive.fixed import AdaptiveModel, by_tiles
from fxp.models.recognition.adaptive.networks import AdaptiveResNet
from fxp.models.recognition.adaptive.parts import on_engine
from fxp.models.recognition.adaptive.train import AdaptiveSettings, computed_share, recipe
from fxp.models.recognition.checkpoints import load_float
from fxp.models.recognition.data import find, planes, read_labelled
from fxp.models.recognition.train import accuracy, calibration
from fxp.models.recognition.zoo.cifar import CifarBlock

NAME: Final = "recognition.adaptive"
PLAIN: Final = "cifar_resnet20"
"""Network that the adaptive one is compared with."""
SIDES: Final = (32, 128)
CHANNELS: Final = 32
SHARES: Final = (1.0, 0.5, 0.25, 0.05, 0.0)
FORM: Final = Format(14, 10, signed=False)
FIRST: Final = AdaptiveSettings(
    start=PLAIN, teacher=PLAIN, optimizer=Optimizer.ADAM, ponder=0.2, weigh_positions=True,
    computed=60.0, rate=0.002, steps=450, epoch=75,
)  # fmt: skip
"""The training by which positions begin to halt."""
SECOND: Final = replace(FIRST, ponder=0.03, rate=0.0015, steps=320, epoch=80, seed=1)
"""The training after it, which brings accuracy back at a lower price of positions."""


def times(settings: Settings) -> list[list[str]]:
    """Return rows of milliseconds of one unit, by the share of active positions in one corner."""
    torch.manual_seed(0)
    block = nn.Sequential(CifarBlock(CHANNELS, CHANNELS, 1)).eval()
    unit = fxp.quantize(
        block,
        [torch.rand(1, CHANNELS, 16, 16)],
        input_format=FORM,
        output_format=FORM,
        effort="fast",
    )
    rows = []
    for side in SIDES:
        x = np.random.default_rng(0).integers(0, FORM.max_raw, (CHANNELS, side, side))
        calls = {}
        for share in SHARES:
            active = np.zeros((side, side), bool)
            edge = round(side * share**0.5)
            active[:edge, :edge] = True
            calls[f"{share:.0%}"] = partial(by_tiles, unit, x, active, on_engine)
        best = best_times(calls, settings)
        rows.append([f"{side}x{side}", *(f"{best[name] * 1e3:.2f}" for name in calls)])
    return rows


def reproduced(folder: Path, data: Path) -> tuple[Path, str]:
    """Train the network of the page.

    Parameters
    ----------
    folder
        Of weights, logs and checkpoints; a training that is there goes on.
    data
        Folder of the pictures.

    Returns
    -------
    weights, commands
        The file, and the commands that the training stands for.
    """
    first = trained(recipe(FIRST, data), folder, "first")
    second = replace(SECOND, start=str(first))
    weights = trained(recipe(second, data), folder, "cifar_sact")
    named = FIRST.command().replace("--out FILE", f"--out {first.name}")
    return weights, f"{named}`, and then `{second.command()}"


def quality(weights: Path, data: Path) -> list[list[str]]:
    """Return rows of accuracy and computed positions of a trained network, float and fixed.

    Parameters
    ----------
    weights
        Of an `AdaptiveResNet`.
    data
        Folder of the pictures.
    """
    network = load_weights(weights, AdaptiveResNet)
    training = read_labelled(find(data, "cifar10_jpeg_train20000.zip"), 32)
    test = read_labelled(find(data, "cifar10_jpeg_test2000.zip"), 32)
    plain = load_float(PLAIN)
    rows = [
        [f"`{PLAIN}`, float", f"{accuracy(plain, test):.2f}", "100.0", "100.0"],
        ["adaptive, float", f"{accuracy(network, test):.2f}",
         f"{100 * computed_share(network, test):.1f}", ""],
    ]  # fmt: skip
    model = AdaptiveModel.of(network, torch.from_numpy(planes(calibration(training))))
    right, shares, works = 0, [], []
    pixels = test.images.transpose(0, 3, 1, 2).astype(np.int64)
    for raws, label in zip(pixels, test.labels, strict=True):
        found = model.run_raw(raws)
        right += int(found.scores.argmax() == label)
        shares.append(found.share(model.most_units))
        works.append(np.mean([stage.mean() for stage in found.units]) / model.most_units)
    rows.append(
        ["adaptive, fixed point, 10/14", f"{100 * right / len(test):.2f}",
         f"{100 * np.mean(shares):.1f}", f"{100 * np.mean(works):.1f}"]
    )  # fmt: skip
    return rows


def page(record: dict[str, Any]) -> str:
    """Return the body of the page.

    Parameters
    ----------
    record
        What `times` and `quality` found, each with what was used.
    """
    parts = []
    if "times" in record:
        parts += [
            f"Milliseconds of a residual unit of {CHANNELS} channels, by the share of active "
            "positions, which lie in one corner. A unit runs on the tiles that hold active "
            "positions, and none at all costs a copy.",
            markdown_table(("picture", *(f"{share:.0%}" for share in SHARES)), record["times"]),
            record["machine"],
        ]
    if "quality" in record:
        parts += [
            "Spatially adaptive ResNet-20 on the 2,000 test pictures of CIFAR-10 as JPEG. "
            "*Positions* are those of all units, of which three quarters lie in the first stage, "
            "as the pictures are largest there. *Products* is the mean of the shares of the "
            "stages, whose units take equally many products.",
            markdown_table(
                ("network", "accuracy %", "positions %", "products %"), record["quality"]
            ),
            f"Trained by `{record['training']}`.",
        ]
    return "\n\n".join((*parts, environment("fxp", "torch", "numpy")))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recognition.adaptive")
    parser.add_argument("--data", type=Path, default=os.environ.get("FXP_DATA"))
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--weights", type=Path, help="Measure accuracy, and not time.")
    source.add_argument("--train", type=Path, metavar="FOLDER", help="Train the weights there.")
    given = parser.parse_args(arguments)
    folder = ROOT / "docs" / "benchmarks"
    store = folder / f"{NAME}.json"
    record = json.loads(store.read_text("utf-8")) if store.exists() else {}
    weights: Path | None = given.weights
    training: Path | None = given.train
    if weights is None and training is None:
        load = load_per_processor()
        record["times"] = times(Settings())
        record["machine"] = f"{describe(())['processor']}; {load_text([load])}."
    else:
        if given.data is None:
            parser.error("give --data DIR, or set FXP_DATA")
        data = Path(given.data)
        if training is not None:
            weights, record["training"] = reproduced(training, data)
        else:
            assert weights is not None
            record["training"] = read_weights(weights)[1]["training_command"]
        record["quality"] = quality(weights, data)
    body = page(record)
    print(body)
    print(f"wrote {write_page(folder, NAME, 'Adaptive computation', body, record)}")


if __name__ == "__main__":
    main()
