"""Mixed precision on a super-resolution network and on a classifier, and digits trained away.

``python -m benchmarks.mixed_precision`` prints the tables and writes
docs/benchmarks/mixed_precision.md; names of tables, such as ``kimsr``, measure these alone and keep
the others. The pictures of ``kimsr`` ship with scikit-image; ``classifier`` and ``digits`` need a
folder of data, named by the variable ``FXP_DATA``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import fxp
from benchmarks.quantization.networks import resnet8
from benchmarks.quantization.tasks import cifar
from benchmarks.report import ROOT, Summary, environment, markdown_table, publish
from fxp import hls
from fxp.models import sr
from fxp.models.common.settings import Precision
from fxp.models.sr.fixed import calibration_images, formats
from fxp.models.sr.settings import KimSRSettings
from fxp.models.sr.train import KimSRRecipe, load_images, training_pairs
from fxp.quantization.mixed.quality import AgainstReferences
from fxp.quantization.signed_digits import signed_digit_count

CROP = 64
"""Side of the calibration pictures of KimSR."""
UNIFORM = (8, 10)
"""Widths whose quality is the floor for KimSR."""
STRATEGIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("greedy", {"strategy": "greedy"}),
    ("integer program", {}),
    ("integer program, curvature", {"sensitivity": "curvature"}),
)
COSTS: tuple[tuple[str, Any], ...] = (
    ("multiplier bits", "multiplier_bits"),
    ("line-memory bits, 1920 wide", hls.LineMemoryCost(1920)),
    ("LUTs of shared adders", hls.ShiftAddCost()),
)
HEADER = ("cost, strategy", "uniform", "mixed", "saved", "dB SQNR", "models measured", "s")
DIGIT_STEPS = 250
DIGIT_FACTOR = 8e-6
DIGIT_BITS = 10
DIGIT_RATE = 5e-4
PAGE = "mixed_precision"

Table = dict[str, Any]
"""A text, a header, rows, and rows for the README."""


def searched(
    network: nn.Module, images: Sequence[Any], cost: Any, options: dict[str, Any]
) -> tuple[fxp.MixedPrecision, float]:
    """Search, and return the result and the seconds.

    Parameters
    ----------
    network, images
        What to quantize.
    cost
        What to save.
    options
        Other arguments of `fxp.quantize_mixed`.
    """
    begin = time.perf_counter()
    found = fxp.quantize_mixed(network, images, cost=cost, **options)
    return found, time.perf_counter() - begin


def kimsr() -> Table:
    """Return the table of KimSR."""
    network = sr.load_float("kimsr_x2_bicubic")
    images = [image[..., :CROP, :CROP] for image in calibration_images()]
    pixels: dict[str, Any] = {"input_format": sr.PIXEL, "output_format": sr.PIXEL}
    widths = {"weight_bits": UNIFORM[0], "activation_bits": UNIFORM[1]}
    uniform = fxp.quantize(network, images, **widths, **pixels)
    with torch.no_grad():
        double = sr.load_float("kimsr_x2_bicubic").double()
        references = [[double(torch.from_numpy(image))[0].numpy()] for image in images]
    floor = AgainstReferences("sqnr", [[image[0]] for image in images], references)(uniform)
    rows = []
    for name, cost in COSTS:
        for strategy, chosen in STRATEGIES[: 3 if cost == "multiplier_bits" else 2]:
            options = {"floor": floor, **pixels, **chosen, "weight_widths": range(5, 11)}
            found, seconds = searched(network, images, cost, options)
            assert found.uniform is not None
            saved = 1 - found.cost / found.uniform.cost
            rows.append([
                f"{name}, {strategy}", f"{found.uniform.cost:,.0f}", f"{found.cost:,.0f}",
                f"{saved:.1%}", f"{found.quality:.2f}", str(len(found.points)), f"{seconds:.0f}",
            ])  # fmt: skip
            print(rows[-1], flush=True)
    text = (
        f"KimSR ×2, 8 bits in and out, on {CROP}×{CROP} pixels of {len(images)} pictures. The "
        f"floor, {floor:.2f} dB SQNR against the float network, is what {UNIFORM[0]}-bit weights "
        f"and {UNIFORM[1]}-bit activations give; *uniform* is the cheapest pair of widths that "
        "reaches it."
    )
    summary = [
        (f"KimSR, {row[0].split(',')[0]} saved by mixed widths at equal SQNR", row[3])
        for row in rows
        if row[0].endswith(", integer program")
    ]
    return {"text": text, "header": HEADER, "rows": rows, "summary": summary}


def accuracy(model: Callable[[torch.Tensor], Any], images: torch.Tensor, wanted: Any) -> float:
    """Return the share of images that a model classifies as wanted.

    Parameters
    ----------
    model
        Returns scores.
    images, wanted
        Inputs and their classes.
    """
    with torch.no_grad():
        return float((model(images).argmax(1) == wanted).double().mean())


def classifier(data: Path) -> Table:
    """Return the table of ResNet-8, from a folder of data."""
    network = resnet8(data)
    archive = data / "recognition" / "cifar10_jpeg_test2000.zip"
    calibration, _ = cifar(archive, 2)
    images, labels = cifar(archive, 20, first=2)
    unseen, truth = cifar(archive, 60, first=22)
    floor = accuracy(network, images, labels) - 0.005
    options = {
        "floor": floor,
        "quality": lambda model: accuracy(model, images, labels),
        "input_format": "ap_ufixed<8,8>",
        "per_channel": True,
        "weight_widths": range(3, 9),
        "activation_widths": range(4, 11),
        "max_trials": 200,
    }
    rows = []
    for strategy, chosen in STRATEGIES:
        given = {**options, **chosen}
        found, seconds = searched(network, [calibration], "multiplier_bits", given)
        assert found.uniform is not None
        rows.append([
            strategy, f"{found.uniform.cost:,.0f}", f"{found.cost:,.0f}",
            f"{1 - found.cost / found.uniform.cost:.1%}", f"{found.quality:.3f}",
            f"{accuracy(found.model, unseen, truth):.3f}", str(len(found.points)), f"{seconds:.0f}",
        ])  # fmt: skip
        print(rows[-1], flush=True)
    text = (
        "Multiplier bits of ResNet-8 on CIFAR-10 as JPEG, released weights. The floor is the float "
        f"accuracy on {len(labels)} images minus half a point, {floor:.3f}; on {len(truth)} other "
        f"images the float network has {accuracy(network, unseen, truth):.3f}."
    )
    header = ("strategy", "uniform", "mixed", "saved", "accuracy", "on other images",
              "models measured", "s")  # fmt: skip
    summary = [("ResNet-8, multiplier bits saved by mixed widths at equal accuracy", rows[1][3])]
    return {"text": text, "header": header, "rows": rows, "summary": summary}


def digits(data: Path) -> Table:
    """Return what training digits away from KimSR saves and costs, from a folder of data."""
    settings = KimSRSettings(
        steps=DIGIT_STEPS, batch=8, rate=DIGIT_RATE, precision=Precision.FLOAT32, compiled=False,
        digits=DIGIT_FACTOR, weight_bits=DIGIT_BITS, activation_bits=14,
    )  # fmt: skip
    training, held, test = load_images(data)
    recipe = KimSRRecipe(settings, training_pairs(settings, training[::4]), held, test)
    rows = []

    def measure(name: str, model: fxp.FixedModel) -> dict[str, float]:
        constants = [item for item in model.graph.constants if item.name.endswith(".weight")]
        count = sum(int(signed_digit_count(torch.tensor(item.data)).sum()) for item in constants)
        adders, luts = (
            sum(hls.ShiftAddCost(kind).parts(model.graph).values()) for kind in ("adders", "luts")
        )
        psnr = recipe.scores(model)
        rows.append([name, f"{count:,}", f"{adders:,.0f}", f"{luts:,.0f}",
                     f"{psnr['held-out']:.3f}", f"{psnr['Set5']:.3f}"])  # fmt: skip
        print(rows[-1], flush=True)
        return {"adders": adders, **psnr}

    first = measure("shipped, 10-bit weights", sr.load("kimsr_x2_bicubic"))
    qat = fxp.prepare_qat(sr.load_float("kimsr_x2_bicubic"), **formats(2), weight_bits=DIGIT_BITS)
    optimizer = torch.optim.Adam(qat.parameters(), DIGIT_RATE)
    for step in range(DIGIT_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate_at(step)
        batch = recipe.tensors(recipe.batch(step), "cpu")
        optimizer.zero_grad()
        recipe.loss(qat, batch, finishing=True).backward()
        optimizer.step()
    last = measure(f"trained on for {DIGIT_STEPS} steps with the penalty", fxp.convert(qat))
    change = last["adders"] / first["adders"] - 1
    text = (
        "KimSR ×2 trained on with a penalty on signed digits, from the shipped weights. Adders and "
        "look-up tables are those of the graphs of shared adders."
    )
    header = ("weights", "signed digits", "adders", "LUTs", "held-out dB", "Set5 dB")
    summary = [
        ("KimSR, adders after training digits away, and PSNR on Set5",
         f"{change:+.0%}, {last['Set5'] - first['Set5']:+.3f} dB"),
    ]  # fmt: skip
    return {"text": text, "header": header, "rows": rows, "summary": summary}


def main(names: Sequence[str]) -> None:
    """Measure the tables of these names, or all, and publish them with those kept.

    Raises
    ------
    SystemExit
        If a name is unknown, or the data folder is needed and not named.
    """
    makers: dict[str, Callable[[], Table]] = {
        "kimsr": kimsr,
        "classifier": lambda: classifier(Path(os.environ["FXP_DATA"])),
        "digits": lambda: digits(Path(os.environ["FXP_DATA"])),
    }
    if not set(names) <= set(makers):
        sys.exit(f"tables are {', '.join(makers)}")
    if set(names or makers) - {"kimsr"} and "FXP_DATA" not in os.environ:
        sys.exit("set FXP_DATA to the folder of data, or measure kimsr alone")
    measured = {name: makers[name]() for name in names or makers}
    known = ROOT / "docs" / "benchmarks" / f"{PAGE}.json"
    tables = (json.loads(known.read_text()) if known.exists() else {}) | measured
    print(f"wrote {publish_tables({name: tables[name] for name in makers if name in tables})}")


def publish_tables(tables: dict[str, Table]) -> Path:
    """Write the page of these tables, and return its path."""
    parts = [
        part
        for table in tables.values()
        for part in (table["text"], markdown_table(table["header"], table["rows"]))
    ]
    summary: Summary = [row for table in tables.values() for row in table["summary"]]
    body = "\n\n".join([*parts, environment("fxp", "torch", "numpy", "scipy")])
    return publish(PAGE, "Mixed precision", body, summary=summary, data=tables)


if __name__ == "__main__":
    main(sys.argv[1:])
