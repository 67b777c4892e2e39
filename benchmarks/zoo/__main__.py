"""Quantizes torchvision's classification networks and times them: ``python -m benchmarks.zoo``.

Writes docs/benchmarks/zoo.md after every network, so that a long run can be stopped and continued
with ``--missing``.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.report import ROOT, Summary, markdown_table, publish, write_page
from benchmarks.speed.machine import describe
from benchmarks.speed.timing import Settings, load_text, threads_text
from benchmarks.zoo import networks
from benchmarks.zoo.measure import Record, measure
from fxp.cli.messages import one_line
from fxp.quantization.options import Effort

TITLE = "torchvision's classification networks"
SIDE = 224
PACKAGES = ("fxp", "numpy", "numba", "torch", "torchvision", "onnxruntime")
Records = dict[str, Record]

METHOD = (
    "`fxp.quantize` with 10-bit weights and 14-bit values on crops of "
    f"{len(networks.CALIBRATION)} photographs that scikit-image ships. *Effort* `balanced` is the "
    "default, `fast` skips the refinements and was taken for most; *s* is the time it took beside "
    "other work. *SQNR*: of the output, against the float network, on crops of "
    f"{len(networks.LEFT_OUT)} other photographs; *calibration*: the same on those that "
    "calibrated. Every value of every layer was compared with the oracle's on one image, and is "
    "equal; *compared* says how many."
    " *Portable*: stages that no fast kernel computes.\n\n"
    "The networks are **not trained**, as their weights could not be downloaded. The weights of "
    "each layer are drawn at random and scaled until its results have deviation 1, batch "
    "normalization has random gains and offsets and the statistics of "
    f"{networks.CROPS} random crops of all these photographs, as training shows a network pictures "
    f"of every kind, and ConvNeXt's layer scales are {networks.LAYER_SCALE}; "
    "`benchmarks/zoo/networks.py` does it. So "
    "the table shows which networks are accepted, that the engine computes what the oracle does, "
    "and how fast. Pictures that differ lie far apart in a network that has learnt nothing, most "
    "of all in EfficientNet: values of other photographs are several times those that calibrated, "
    "and are clipped. Where the two columns of SQNR differ, it is for this. With trained weights "
    "the SQNR may be higher or lower, and no accuracy is given."
)
"""How the figures were taken."""


def page(records: Records) -> str:
    """Return the body of the page.

    Parameters
    ----------
    records
        What `benchmarks.zoo.measure.measure` found, by name; or why that ``failed``.
    """
    threads = sorted({count for record in records.values() for count in record.get("seconds", {})})
    header = [
        "network",
        "parameters",
        "effort",
        "s",
        "SQNR",
        "calibration",
        "compared",
        "on",
        "portable",
        "GMAC",
    ]
    for count in threads:
        text = threads_text(int(count))
        header += [f"fxp, {text}", "ONNX Runtime float32", "PyTorch float32", "faster than ONNX"]
    header += ["image", "machine"]
    machines = list(dict.fromkeys(record["machine"] for record in records.values()))
    rows = []
    for name, record in records.items():
        if "sqnr" not in record:
            continue
        side = record["oracle_side"]
        row = [
            name, f"{record['parameters'] / 1e6:.1f} M", record.get("effort", "balanced"),
            f"{record['quantize_seconds']:.0f}", f"{record['sqnr']:.1f} dB",
            _decibels(record.get("sqnr_of_calibration")),
            f"{record['equal_values']:,}", f"{side}×{side}",
            str(record.get("portable_stages", "")), f"{record['macs'] / 1e9:.2f}",
        ]  # fmt: skip
        for count in threads:
            row += _times(record["seconds"].get(count))
        side = record["side"]
        rows.append([*row, f"{side}×{side}", str(machines.index(record["machine"]) + 1)])
    parts = [METHOD]
    if rows:
        loads = [record["load"] for record in records.values() if "load" in record]
        parts += [
            "Times are of one image, raw integers in and out, the best of several turns that all "
            f"take. {load_text(loads)}",
            markdown_table(header, rows),
        ]
    refused = [[name, record["refused"]] for name, record in records.items() if "refused" in record]
    if refused:
        parts += ["## Refused", markdown_table(("network", "reason"), refused)]
    failed = [[name, record["failed"]] for name, record in records.items() if "failed" in record]
    if failed:
        parts += ["## Failed", markdown_table(("network", "error"), failed)]
    parts += [f"Machine {number}: {text}" for number, text in enumerate(machines, 1)]
    return "\n\n".join(parts)


def _decibels(level: float | None) -> str:
    return "" if level is None else f"{level:.1f} dB"


def _times(seconds: dict[str, float] | None) -> list[str]:
    if seconds is None:
        return [""] * 4
    found = [seconds[name] for name in ("fxp", "onnxruntime", "torch")]
    return [*(f"{value * 1e3:.1f} ms" for value in found), f"{found[1] / found[0]:.2f}×"]


def summary(records: Records) -> Summary:
    """Return the rows of the README.

    Parameters
    ----------
    records
        As for `page`.
    """
    accepted = [record for record in records.values() if "sqnr" in record]
    if not accepted:
        return []
    refused = sum("refused" in record for record in records.values())
    worst, best = (choose(record["sqnr"] for record in accepted) for choose in (min, max))
    return [
        (
            "torchvision's classification networks, of those tried",
            f"{len(accepted)} accepted, {refused} with attention refused",
        ),
        ("their output with 10/14 bits, untrained weights", f"{worst:.0f} to {best:.0f} dB SQNR"),
    ]


def machine() -> str:
    """Return a line on processor and versions."""
    found = describe(PACKAGES)
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"{found['processor']} ({found['core']}, {found['processors']} processors), "
        f"{found['system']}, Python {found['python']}, {versions}."
    )


def write(records: Records, out: Path | None) -> Path:
    """Write page and JSON, to the documentation and the README if no folder is given."""
    known = [name for name in networks.names() if name in records]
    ordered = {name: records[name] for name in known}
    body = page(ordered)
    if out is not None:
        return write_page(out, "zoo", TITLE, body, ordered)
    return publish("zoo", TITLE, body, summary=summary(ordered), data=ordered)


def main(
    only: Annotated[list[str] | None, typer.Option(help="A network; may be repeated.")] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only networks that the JSON does not have.")
    ] = False,
    threads: Annotated[list[int] | None, typer.Option(help="Threads; may be repeated.")] = None,
    side: Annotated[int, typer.Option(help="Height and width of the photographs.")] = SIDE,
    effort: Annotated[Effort, typer.Option(help="Of the quantization.")] = "balanced",
    rounds: Annotated[int, typer.Option(help="How often each contender has its turn.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Folder for page and JSON.")] = None,
) -> None:
    """Measure networks, and merge what is found with what the JSON holds."""
    every = networks.names()
    unknown = [name for name in only or () if name not in every]
    if unknown:
        raise ValueError(f"unknown {', '.join(unknown)}; choose from {', '.join(every)}")
    store = (out or ROOT / "docs" / "benchmarks") / "zoo.json"
    records: Records = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
    chosen = [name for name in only or every if not (missing and name in records)]
    # Small ones first: a run that is stopped has found out about as many as it could.
    chosen.sort(key=networks.parameters)
    settings = Settings(rounds=rounds, threads=tuple(threads or (1,)))
    failed = []
    for name in chosen:
        record: dict[str, Any]
        try:
            say = partial(print, f"{name}:", flush=True)
            record = measure(name, side, settings, say, effort)
        except Exception as error:
            # One network must not end a run of hours; the page lists it, and so does the end.
            record = {"failed": f"{type(error).__name__}: {one_line(error)}"}
            failed.append(f"{name}: {record['failed']}")
        records[name] = record | {"machine": machine()}
        print(f"{name}: {record}", flush=True)
        write(records, out)
    print(f"wrote {write(records, out)}")
    if failed:
        raise ValueError("; ".join(failed))


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {one_line(error)}")
