"""Deblurring: the tables of the paper in shape, and the published network's time and memory.

``python -m benchmarks.deblur --data DIR`` measures the shipped network, trains networks of one, two
and three scales at one budget, times the published network, and writes docs/benchmarks/deblur.md
after every part, so that a long run can be stopped and continued with ``--missing``. DIR holds
BSD200, T91, deblur/gopro_pairs and video. Trainings are kept in the folder ``--work``: one that was
interrupted goes on there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks import report
from benchmarks.deblur.quality import (
    CONVOLUTIONS,
    RUNS,
    STEPS,
    WIDTH,
    blurred_row,
    cells,
    gopro,
    rows_of,
    synthesized,
)
from benchmarks.deblur.speed import paper_rows
from benchmarks.speed.timing import load_per_processor, load_text
from benchmarks.trainings import trained
from fxp.cli.messages import one_line
from fxp.models.common.data import data_folder
from fxp.models.deblur.networks import load_float
from fxp.models.deblur.train import recipe

NAME, TITLE = "deblur", "Deblurring"
BLURRED, SHIPPED, SPEED = "blurred photograph", "small", "speed"
TRAINED = {run.name: run for run in RUNS}
PARTS = (BLURRED, SHIPPED, *TRAINED, SPEED)
HEADER = ("network", "arithmetic", "GOPRO PSNR", "SSIM", "films PSNR", "SSIM", "seconds")
SPEED_HEADER = ("", "size", "threads", "seconds", "times as fast", "peak memory MB")
Record = dict[str, Any]


def page(record: Record) -> str:
    """Return the body of the page.

    Parameters
    ----------
    record
        Figures by part; what was not measured is left out.
    """
    parts = []
    measured = [name for name in PARTS if name in record and name != SPEED]
    if measured:
        crop = record["crop"]
        pixels = f"the middle {crop}x{crop} pixels of each" if crop else "whole photographs"
        text = (
            f"PSNR and SSIM of RGB on {pixels}. The six photographs of GOPRO, 1280x720, are true "
            "pairs; those of films are averages of frames. Seconds are for a photograph of GOPRO."
        )
        if SHIPPED in measured:
            text += " `small` ships with the package."
        if any(name in TRAINED for name in measured):
            text += (
                f" K = 1 to 3 have {CONVOLUTIONS} convolutions of {WIDTH} feature maps in all and "
                "are trained with the same number of multiply-accumulates, "
                f"{record['steps']} steps with three scales, on pictures before a moving camera. "
                "The adversarial loss is of a discriminator with a quarter of the published "
                "feature maps. They can be compared with each other and not with the paper, which "
                "trained for weeks on GOPRO."
            )
        lines = [
            cells(TRAINED[name].title if name in TRAINED else name, row)
            for name in measured
            for row in record[name]
        ]
        parts.append(f"## Quality\n\n{text}\n\n{report.markdown_table(HEADER, lines)}")
    if SPEED in record:
        found = record[SPEED]
        parts.append(
            "## Time and memory\n\n"
            f"The preset `{found['network']}`, the published network if it is `paper`, with random "
            "weights. Memory is that of the whole process at most. "
            f"{load_text([found['load']])}\n\n" + report.markdown_table(SPEED_HEADER, found["rows"])
        )
    missing = [name for name in PARTS if name not in record]
    if missing:
        parts.append(f"Not measured yet: {', '.join(missing)}.")
    parts.append(report.environment("fxp", "torch", "onnxruntime", "numpy"))
    return "\n\n".join(parts)


def summary(record: Record) -> list[tuple[str, str]]:
    """Return the rows of the README's table; takes what `page` does."""
    rows = []
    if BLURRED in record and SHIPPED in record:
        (before,), (real, *others) = record[BLURRED], record[SHIPPED]
        gain = real["gopro"][0] - before["gopro"][0]
        rows.append((f"dB above the blurred photograph on GOPRO, {SHIPPED}", f"{gain:+.2f}"))
        rows += [
            (
                f"dB of deblurring, {row['arithmetic']}, minus float",
                f"{row['gopro'][0] - real['gopro'][0]:+.3f}",
            )
            for row in others
        ]
    ratios = [row[4] for row in record.get(SPEED, {}).get("rows", ()) if row[4]]
    if ratios:
        rows.append(("times as fast as ONNX Runtime float32, DeepDeblur", ", ".join(ratios)))
    return rows


def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder of the pictures; default: $FXP_DATA.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Part to measure, repeatable: {', '.join(PARTS)}.")
    ] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only parts that the JSON does not have.")
    ] = False,
    work: Annotated[Path, typer.Option(help="Folder of the trainings.")] = Path("deblur_trainings"),
    steps: Annotated[int, typer.Option(min=1, help="Of the network of three scales.")] = STEPS,
    crop: Annotated[int, typer.Option(min=0, help="Side of the middle; 0 = whole.")] = 0,
    network: Annotated[str, typer.Option(help="Preset to time.")] = "paper",
    size: Annotated[tuple[int, int], typer.Option(help="Its photographs.")] = (720, 1280),
    threads: Annotated[list[int] | None, typer.Option(min=1, help="Default: 1 and 2.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Of each timing.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder for page and JSON.")] = None,
) -> None:
    """Measure parts, and merge what is found with what the JSON holds."""
    if out is None:
        report.check_readme()  # now rather than at the end
    for name in only or ():
        if name not in PARTS:
            raise ValueError(f"--only {name} is none of {', '.join(PARTS)}")
    counts = tuple(threads or (1, 2))
    store = (out or report.ROOT / "docs" / "benchmarks") / f"{NAME}.json"
    record: Record = json.loads(store.read_text("utf-8")) if store.exists() else {}
    chosen = [name for name in only or PARTS if not (missing and name in record)]
    own = {"crop": crop, "steps": steps}
    others = [name for name in PARTS if name in record and name not in (*chosen, SPEED)]
    if others and own != {name: record[name] for name in own}:
        raise ValueError(
            f"{store} was measured with --crop {record['crop']} --steps {record['steps']}; give "
            "the same, measure all parts, or give another folder as --out"
        )
    record |= own
    torch.set_num_threads(max(counts))
    sets: list[Any] = []
    if any(name != SPEED for name in chosen):
        folder = data_folder(data)
        sets = [make(folder, crop or None) for make in (gopro, synthesized)]
    for name in chosen:
        if name == SPEED:
            rows = paper_rows(size, counts, runs, larger=network == "paper", network=network)
            record[name] = {"network": network, "rows": rows, "load": load_per_processor()}
        elif name == BLURRED:
            record[name] = [blurred_row(sets)]
        else:
            weights: str | Path = SHIPPED
            if name in TRAINED:
                made = recipe(TRAINED[name].settings(steps), data_folder(data))
                weights = trained(made, work, name)
            record[name] = list(rows_of(name, load_float(weights), sets, max(counts)))
        if out is None:
            target = report.publish(NAME, TITLE, page(record), summary=summary(record), data=record)
        else:
            target = report.write_page(out, NAME, TITLE, page(record), record)
        print(f"{name}: wrote {target}", flush=True)


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {one_line(error)}")
