"""Markdown from the record, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.psnr import published
from benchmarks.psnr.pictures import EIGHT_BITS, REAL, SCALE
from benchmarks.report import Summary, markdown_table
from fxp.imaging.quality import Quality

Record = dict[str, Any]
BICUBIC = "bicubic"
HEATMAP, PARETO, COMPRESSED = "psnr_sweep.png", "psnr_pareto.png", "psnr_compressed.png"


def summary(record: Record) -> Summary:
    """Return the rows of the README: the plain shipped model beside its float network."""
    found, sets = qualities(record), list(record["sets"])
    model = next(item["model"] for item in record["methods"] if item["model"])
    fixed = next(
        item["name"]
        for item in record["methods"]
        if item["model"] == model and item["name"].endswith("shipped file")
    )
    real = next(
        item["name"]
        for item in record["methods"]
        if item["model"] == model and item["arithmetic"] == "float"
    )
    scores = [
        [found[name, REAL.name, method].psnr for name in sets] for method in (fixed, real, BICUBIC)
    ]
    losses = (mine - other for mine, other in zip(*scores[:2], strict=True))
    gains = (mine - other for mine, other in zip(scores[0], scores[2], strict=True))
    where = f"{', '.join(sets)} at ×{SCALE}"
    return [
        (f"PSNR of `{model}.fxp`, {where}", ", ".join(f"{psnr:.3f}" for psnr in scores[0]) + " dB"),
        ("The same against float32", f"{_differences(losses, 3)} dB"),
        ("The same against bicubic", f"{_differences(gains, 3)} dB"),
    ]


def overview(record: Record) -> str:
    """Return the paper's table with the measured rows below its own."""
    sets = list(record["sets"])
    rows = [*_published(sets), *_measured(record, REAL.name)]
    return "\n\n".join(
        [
            f"PSNR in dB and SSIM at ×{SCALE} on luma, bicubic downscaling, borders of {SCALE} "
            "pixels left out. *Shipped file* is the `.fxp` of that name; all fixed-point rows give "
            f"8-bit pixels. The input is not rounded to pixels here, as in the literature: "
            f"fixed-point models take it with {record['input_bits']} bits.",
            _comparison(sets, rows),
            record["environment"],
        ]
    )


def details(record: Record, pictures: str) -> str:
    """Return the second half of the page; `pictures` is where its pictures lie, as a link."""
    parts = [
        _eight_bits(record),
        _compressed(record, pictures),
        _sweep(record["sweep"], pictures),
        _images(record),
    ]
    return "\n\n".join(parts)


def _published(sets: Sequence[str]) -> list[list[str]]:
    """Lines of the paper, for the sets it has; none if it has none of them."""
    shared = [name for name in sets if name in published.SETS]
    by_name = {row.method: row.scores for row in published.ROWS}
    rows = []
    for row in published.ROWS if shared else ():
        cells = [
            f"{row.scores[name].psnr:.2f} / {row.scores[name].ssim:.4f}" if name in shared else ""
            for name in sets
        ]
        differences = ""
        if row.minus is not None:
            base = by_name[row.minus]
            differences = _differences(
                [row.scores[name].psnr - base[name].psnr for name in shared], 2
            )
        rows.append([row.method, "published", row.bits, *cells, differences])
    return rows


def _measured(record: Record, condition: str) -> list[list[str]]:
    """Lines of every method under one condition."""
    found = qualities(record)
    floats = {item["model"]: item["name"] for item in record["methods"]
              if item["arithmetic"] == "float"}  # fmt: skip
    rows = []
    for item in record["methods"]:
        scores = [found[name, condition, item["name"]] for name in record["sets"]]
        differences = ""
        if item["model"] and item["arithmetic"] != "float":
            base = [found[name, condition, floats[item["model"]]] for name in record["sets"]]
            pairs = zip(scores, base, strict=True)
            differences = _differences([fixed.psnr - real.psnr for fixed, real in pairs], 3)
        title = f"`{item['model']}`" if item["model"] else item["name"]
        cells = [str(score) for score in scores]
        rows.append([title, "measured", item["arithmetic"], *cells, differences])
    return rows


def _comparison(sets: Iterable[str], rows: list[list[str]]) -> str:
    return markdown_table(("method", "figures", "arithmetic", *sets, "fixed - float, dB"), rows)


def _differences(values: Iterable[float], digits: int) -> str:
    return ", ".join(f"{value:+.{digits}f}" for value in values)


def qualities(record: Record) -> dict[tuple[str, str, str], Quality]:
    """Return PSNR and SSIM by set, condition and method."""
    return {
        (item["set"], item["condition"], item["method"]): Quality(item["psnr"], item["ssim"])
        for item in record["scores"]
    }


def _eight_bits(record: Record) -> str:
    return "\n\n".join(
        [
            "## Inputs of 8 bits",
            "The low-resolution luma is rounded to pixels, which is what a camera or a decoder "
            "delivers and what a hardware core receives. The models are the ones above; those "
            "above read the same weights and formats with more fraction bits at the input.",
            _comparison(record["sets"], _measured(record, EIGHT_BITS.name)),
        ]
    )


def _compressed(record: Record, pictures: str) -> str:
    found = qualities(record)
    conditions = record["degraded"]
    rows = [
        [
            name,
            f"`{item['model']}`, {item['arithmetic']}" if item["model"] else item["name"],
            *(str(score) for score in
              (found[name, condition, item["name"]] for condition in conditions)),
        ]
        for name in record["sets"]
        for item in record["methods"]
        if (name, conditions[0], item["name"]) in found
    ]  # fmt: skip
    return "\n\n".join(
        [
            "## Compressed inputs",
            "The picture is downscaled bicubically and rounded to 8 bits, and its luma goes "
            "through JPEG of the quality in the heading, or one drawn for each picture. "
            "*random* is the degradation of "
            "`fxp.models.sr.degradation`: blur, downscaling, JPEG and noise, drawn once for each "
            "picture.",
            markdown_table(("set", "method", *conditions), rows),
            f"![A compressed photograph, upscaled]({pictures}{COMPRESSED})",
            record["picture"],
        ]
    )


def _sweep(sweep: Record, pictures: str) -> str:
    front = pareto_front(sweep["points"])
    rows = [
        [
            f"{point['weight_bits']}/{point['activation_bits']}",
            f"{point['multiplier_bits']:,}",
            f"{point['psnr']:.3f}",
            f"{point['ssim']:.4f}",
            f"{point['psnr'] - sweep['float_psnr']:+.3f}",
        ]
        for point in front
    ]
    return "\n\n".join(
        [
            "## Bit widths",
            f"`{sweep['model']}` quantized to every pair of widths, {sweep['set']}, 8-bit inputs.",
            f"![PSNR by bits of weights and activations]({pictures}{HEATMAP})",
            "*Multiplier bits* are weight bits times operand bits, summed over all multiplications "
            "for one input pixel: the area of a core that has a multiplier for each. The first "
            "layer reads 8-bit pixels. These widths are the best for their cost:",
            f"![PSNR by multiplier bits]({pictures}{PARETO})",
            markdown_table(
                ("weights/activations", "multiplier bits", "PSNR dB", "SSIM", "fixed - float, dB"),
                rows,
            ),
        ]
    )


def pareto_front(points: Iterable[Record]) -> list[Record]:
    """Points that no cheaper or equally cheap one reaches in PSNR, cheapest first."""
    front: list[Record] = []
    for point in sorted(points, key=lambda item: (item["multiplier_bits"], -item["psnr"])):
        if not front or point["psnr"] > front[-1]["psnr"]:
            front.append(point)
    return front


def _images(record: Record) -> str:
    lines = []
    for name, images in record["sets"].items():
        notes = [
            f"{', '.join(image for image in images if images[image] == kind)} is {kind}"
            for kind in ("grey", "grey as RGB")
            if kind in images.values()
        ]
        names = f": {', '.join(images)}" if len(images) <= 20 else ""
        lines.append(f"* {name}, {len(images)} images{names}.{' ' if notes else ''}"
                     f"{'; '.join(notes)}{'.' if notes else ''}")  # fmt: skip
    return "\n\n".join(
        [
            "## Images",
            "Luma is that of BT.601 in the studio range, rounded to 8 bits; a grey file is taken "
            f"as it is. Pictures are cropped to multiples of {SCALE}.",
            "\n".join(lines),
        ]
    )
