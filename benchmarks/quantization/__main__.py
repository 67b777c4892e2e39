"""The command: measure, and publish with what was measured before."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import report
from benchmarks.quantization import kimsr, released, times
from benchmarks.quantization.tasks import TASKS
from fxp.cli.messages import one_line
from fxp.models.common.data import data_folder

KIMSR, TIMES, RELEASED = "KimSR", "times", "released"
NAME = "quantization"


def measure(name: str, data: Path | None) -> dict[str, Any]:
    """Return what the record gets: one part, measured anew.

    Parameters
    ----------
    name
        A part, or a released network.
    data
        Folder of data, for released networks.
    """
    if name == KIMSR:
        return {KIMSR: kimsr.measured()}
    if name == TIMES:
        return {TIMES: times.measured()}
    task = TASKS[name](data_folder(data))
    return {RELEASED: {name: released.measured(task, dict(released.VARIANTS))}}


def publish(record: dict[str, Any]) -> Path:
    """Write the page of a record, and return its path."""
    networks = {name: record[RELEASED][name] for name in TASKS if name in record.get(RELEASED, {})}
    parts, summary = [], []
    if networks:
        parts.append(f"## Released networks\n\n{released.body(networks)}")
        summary += released.summary(networks)
    if KIMSR in record:
        parts.append(f"## {KIMSR}\n\n{kimsr.body(record[KIMSR])}")
        summary += kimsr.summary(record[KIMSR]["rules"])
    if TIMES in record:
        parts.append(f"## Time\n\n{times.body(record[TIMES])}")
    parts.append(report.environment("fxp", "torch", "numpy"))
    return report.publish(
        NAME,
        "What fixed point costs",
        "\n\n".join(parts),
        summary=summary,
        headlines=2,
        data=record,
    )


def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder of released weights and images, or FXP_DATA.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"One of {', '.join((KIMSR, *TASKS, TIMES))}; repeatable."),
    ] = None,
) -> None:
    """Measure, and write docs/benchmarks/quantization.md and its record.

    Parts that --only leaves out stay as they were measured before. Without a folder of data,
    released networks are left out too.
    """
    report.check_readme()  # now rather than at the end
    known = (KIMSR, *TASKS, TIMES)
    has_data = data is not None or "FXP_DATA" in os.environ
    names = only or (known if has_data else (KIMSR, TIMES))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"--only {unknown[0]} is none of {', '.join(known)}")
    path = report.ROOT / "docs" / "benchmarks" / f"{NAME}.json"
    for name in names:
        measured = measure(name, data)
        # Only now, as another run may have written its part meanwhile.
        record = json.loads(path.read_text()) if path.exists() else {}
        for part, found in measured.items():
            record[part] = {**record.get(part, {}), **found} if part == RELEASED else found
        print(f"{name}: wrote {publish(record)}", flush=True)


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {one_line(error)}")
