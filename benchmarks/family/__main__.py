"""The command: measure, and write docs/benchmarks/family.md after every figure."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks import orderly
from benchmarks.family import inputs, members, page
from fxp.cli.messages import one_line
from fxp.models.common.data import data_folder, read_benchmark

SETS: Final = ("Set5", "Set14", "B100")
SCALES: Final = (2, 3, 4)
SYNTHESIZED: Final = tuple(
    member
    for member in members.MEMBERS
    if (member.weight_bits, member.activation_bits) == (8, 10) and member.network[:5] == "KimSR"
)
"""Members whose cores are synthesized as a whole."""

Record = dict[str, Any]


class Part(StrEnum):
    """The parts of the benchmark."""

    MEMBERS = "members"
    CORES = "cores"
    FACTORS = "factors"
    QUALITIES = "qualities"
    FLICKER = "flicker"


def works(part: Part, images: members.Images) -> dict[str, Callable[[], Record]]:
    """Return what is to be measured in a part, by name.

    Parameters
    ----------
    part
        Which.
    images
        Luma by set.
    """
    if part == Part.MEMBERS:
        return {item.name: partial(members.measured, item, images) for item in members.MEMBERS}
    if part == Part.CORES:
        return {item.name: partial(members.synthesized, item) for item in SYNTHESIZED}
    if part == Part.FACTORS:
        return {str(scale): partial(members.factor, scale, images) for scale in SCALES}
    if part == Part.FLICKER:
        return {str(noise): partial(inputs.still_scene, noise) for noise in inputs.NOISES}
    return {
        f"{name} {quality}": partial(inputs.by_quality, pictures, quality)
        for name, pictures in images.items()
        for quality in inputs.QUALITIES
    }


def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder with the data sets; FXP_DATA by default.")
    ] = None,
    part: Annotated[list[Part] | None, typer.Option(help="Parts; all by default.")] = None,
    only: Annotated[str, typer.Option(help="Only what has this text in its name.")] = "",
    missing: Annotated[
        bool, typer.Option("--missing", help="Only what the record does not hold yet.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of page and figures.")] = page.FOLDER,
) -> None:
    """Measure the family on one thread, and write page, figures and picture.

    What is not measured keeps its figures.
    """
    folder = data_folder(data)
    images = {name: list(read_benchmark(folder, name).values()) for name in SETS}
    path = out / "family.json"
    record: dict[str, dict[str, Record]] = json.loads(path.read_text()) if path.exists() else {}
    for chosen in part or list(Part):
        known = record.setdefault(chosen, {})
        todo = works(chosen, images)
        for name, work in todo.items():
            if only not in name or (missing and name in known):
                continue
            begin = time.perf_counter()
            known[name] = work()
            print(f"{chosen} {name}: {time.perf_counter() - begin:.0f} s", flush=True)
            record[chosen] = {key: known[key] for key in todo if key in known}
            known = record[chosen]
            page.write(record, out)
    print(f"wrote {page.write(record, out)}")


if __name__ == "__main__":
    try:
        orderly.run(partial(typer.run, main))
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"error: {one_line(error)}")
