"""Measures classifiers: ``python -m benchmarks.recognition``.

Writes docs/benchmarks/recognition.md after every network, so that a long run can be stopped and
continued with ``--missing``. Compression has a page and a command of its own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import report
from benchmarks.recognition import released, zoo
from fxp.cli.messages import one_line
from fxp.models.common.data import data_folder
from fxp.models.recognition.zoo import ZOO

NAME, TITLE = "recognition", "Classifiers in fixed point"
RELEASED, NETWORKS = "released", "zoo"
Record = dict[str, dict[str, Any]]


def page(record: Record) -> str:
    """Return the body of the page.

    Parameters
    ----------
    record
        Figures by part and by network.
    """
    parts = []
    if record.get(RELEASED):
        parts.append(f"## Accuracy\n\n{released.body(record[RELEASED])}")
    if record.get(NETWORKS):
        parts.append(f"## The zoo\n\n{zoo.body(record[NETWORKS])}")
    parts.append(report.environment(*zoo.PACKAGES))
    return "\n\n".join(parts)


def write(record: Record, out: Path | None) -> Path:
    """Write page and JSON, to the documentation and the README if no folder is given."""
    if out is not None:
        return report.write_page(out, NAME, TITLE, page(record), record)
    summary = [
        *released.summary(record.get(RELEASED, {})),
        *zoo.summary(record.get(NETWORKS, {})),
    ]
    return report.publish(NAME, TITLE, page(record), summary=summary, data=record)


def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder of released weights and pictures, or FXP_DATA.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"{RELEASED}, {NETWORKS}, or one network; repeatable."),
    ] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only networks that the JSON does not have.")
    ] = False,
    side: Annotated[
        int | None, typer.Option(min=75, help="Side of the pictures of the zoo; default 224.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each program has its turn.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Folder for page and JSON.")] = None,
) -> None:
    """Measure networks, and merge what is found with what the JSON holds.

    Without a folder of data, the accuracy is left out.
    """
    if out is None:
        report.check_readme()  # now rather than at the end
    has_data = data is not None or "FXP_DATA" in os.environ
    known = dict.fromkeys(released.NETWORKS, RELEASED) | dict.fromkeys(ZOO, NETWORKS)
    chosen = only or ([RELEASED, NETWORKS] if has_data else [NETWORKS])
    unknown = [name for name in chosen if name not in (*known, RELEASED, NETWORKS)]
    if unknown:
        raise ValueError(
            f"--only {unknown[0]} is none of {RELEASED}, {NETWORKS}, {', '.join(known)}"
        )
    store = (out or report.ROOT / "docs" / "benchmarks") / f"{NAME}.json"
    for name, part in known.items():
        if name not in chosen and part not in chosen:
            continue
        # Read again, as another run may have written its part meanwhile.
        record: Record = json.loads(store.read_text("utf-8")) if store.exists() else {}
        if missing and name in record.get(part, {}):
            continue
        found = (
            released.measured(name, data_folder(data))
            if part == RELEASED
            else zoo.measured(name, side=side, rounds=rounds)
        )
        record = json.loads(store.read_text("utf-8")) if store.exists() else {}
        merged = record.get(part, {}) | {name: found}
        order = [item for item in known if item in merged]
        record[part] = {item: merged[item] for item in order}
        print(f"{name}: wrote {write(record, out)}", flush=True)


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {one_line(error)}")
