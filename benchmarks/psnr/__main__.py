"""The command: measure, print, and publish if the run was whole."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from benchmarks import report
from benchmarks.psnr import methods, pictures, plots, published, tables, tasks
from fxp.cli.batch import BackendOption, SchedulerOption
from fxp.cli.messages import one_line
from fxp.imaging.quality import Quality, mean_quality
from fxp.models.common.compare import ComparedMethod, Comparison, Picture, score_tasks
from fxp.models.common.data import data_folder
from fxp.support import parallel

TITLE = "How good the upscaled images are"
WEIGHT_BITS, ACTIVATION_BITS = range(4, 13), range(6, 17)
QUICK_BITS = (6, 10), (14,)


def plan(compared: Sequence[ComparedMethod]) -> tuple[Comparison, ...]:
    """Return which methods run under which conditions."""
    whole = tuple(compared)
    # Compressed inputs have 8 bits, and are for the models as they are used.
    used = tuple(item for item in whole if item.arithmetic in ("", methods.SHIPPED_FILE))
    return (
        Comparison(pictures.REAL, tuple(methods.for_real_input(item) for item in whole)),
        Comparison(pictures.EIGHT_BITS, whole),
        *(Comparison(condition, used) for condition in pictures.DEGRADED),
    )


def measure(
    sets: dict[str, list[Picture]],
    sweep_set: str,
    bits: tuple[Sequence[int], Sequence[int]],
) -> dict[str, Any]:
    """Return the record that holds everything the tables show.

    joblib's own setting decides where the work is done, see `fxp.support.parallel.workers`.

    Parameters
    ----------
    sets
        Pictures by the name of their set.
    sweep_set
        The set on which bit widths are compared.
    bits
        Weight bits and activation bits to compare, in every combination.
    """
    names = methods.shipped_names()
    if not names:
        raise ValueError(f"no model of factor {pictures.SCALE} is shipped")
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    count = len(names) + sum(map(len, sets.values())) + len(bits[0]) * len(bits[1])
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=count)

        def run(work: list[parallel.Task]) -> list[Any]:
            results = []
            for result in parallel.run_tasks(work):
                results.append(result)
                progress.advance(bar)
            return results

        compared = [ComparedMethod("bicubic", "", "", methods.bicubic)]
        for shipped in run(tasks.method_tasks(names)):
            compared += shipped
        comparisons = plan(compared)
        work = [
            task
            for images in sets.values()
            for task in score_tasks(images, comparisons, pictures.SCALE)
        ]
        found = iter(run(work + tasks.sweep_tasks(names[0], *bits, sets[sweep_set])))
    scores = []
    for name, images in sets.items():
        by_picture: list[dict[tuple[str, str], Quality]] = [next(found) for _ in images]
        for condition, method in by_picture[0]:
            mean = mean_quality(item[condition, method] for item in by_picture)
            scores.append({"set": name, "condition": condition, "method": method}
                          | mean._asdict())  # fmt: skip
    plain = {(item["set"], item["condition"], item["method"]): item["psnr"] for item in scores}
    return {
        "environment": report.environment("fxp", "torch", "numpy", "scikit-image", "pillow"),
        "input_bits": methods.REAL_INPUT.width,
        "sets": {
            name: {picture.name: picture.colours for picture in images}
            for name, images in sets.items()
        },
        "methods": [
            {"name": item.name, "model": item.model, "arithmetic": item.arithmetic}
            for item in compared
        ],
        "degraded": [condition.name for condition in pictures.DEGRADED],
        "picture": plots.CAPTION,
        "scores": scores,
        "sweep": {
            "set": sweep_set,
            "model": names[0],
            "float_psnr": plain[sweep_set, pictures.EIGHT_BITS.name, compared[1].name],
            "bicubic_psnr": plain[sweep_set, pictures.EIGHT_BITS.name, compared[0].name],
            "points": [asdict(point) for point in found],
        },
    }


def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder with the data sets; FXP_DATA by default.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Pieces of shipped photographs, few widths.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Data sets; {', '.join(published.SETS)} by default.")
    ] = None,
    sweep_set: Annotated[str | None, typer.Option(help="Data set for the bit widths.")] = None,
    jobs: Annotated[int, typer.Option(help="Tasks at a time; -1: one on every processor.")] = -1,
    backend: BackendOption = "loky",
    scheduler: SchedulerOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the page, figures, plots.")] = None,
) -> None:
    """Measure PSNR and SSIM; a whole run writes docs/benchmarks/psnr.md.

    With --out the results go to that folder instead. With --quick or --only, and no --out, they
    are only printed.
    """
    whole = not quick and not only
    if out is not None and out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is no folder")  # now rather than at the end
    published_here = out is None and whole
    if published_here:
        report.check_readme()  # now rather than at the end
    if quick:
        sets, bits = pictures.quick_sets(), QUICK_BITS
    else:
        sets = pictures.read_sets(data_folder(data), only or published.SETS)
        bits = WEIGHT_BITS, ACTIVATION_BITS
    sweep_set = sweep_set or next(iter(sets))
    if sweep_set not in sets:
        raise ValueError(f"--sweep-set {sweep_set} is none of {', '.join(sets)}")
    with parallel.workers(backend, jobs, scheduler):
        record = measure(sets, sweep_set, bits)
    folder = report.ROOT / "docs" / "pictures" if out is None else out
    body, details = (
        tables.overview(record),
        tables.details(record, "../pictures/" if out is None else ""),
    )
    print(f"{body}\n\n{details}")
    if out is None and not published_here:
        return
    plots.draw(record, folder)
    if out is not None:
        page = report.write_page(out, "psnr", TITLE, f"{body}\n\n{details}", record)
    else:
        page = report.publish(
            "psnr", TITLE, body, summary=tables.summary(record), headlines=3, details=details,
            data=record,
        )  # fmt: skip
    print(f"wrote {page}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        sys.exit(f"error: {one_line(error)}")
