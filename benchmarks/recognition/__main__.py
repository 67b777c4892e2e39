"""Measures classifiers: ``python -m benchmarks.recognition``.

Writes docs/benchmarks/recognition.md after every network, so that a long run can be stopped and
continued with ``--missing``. Compression, binary networks and adaptive computation have pages of
their own, and commands of their own with further options.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import report
from benchmarks.recognition import adaptive, binary, compression, released, zoo
from fxp.cli.messages import one_line
from fxp.models.common.data import data_folder
from fxp.models.recognition.zoo import ZOO
from fxp.quantization.options import Effort

NAME, TITLE = "recognition", "Classifiers in fixed point"
RELEASED, NETWORKS = "released", "zoo"
COMPRESSION, BINARY, ADAPTIVE = "compression", "binary", "adaptive"
PAGES = (COMPRESSION, BINARY, ADAPTIVE)
"""Parts that have pages of their own."""
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
    return report.publish(NAME, TITLE, page(record), summary=summary, headlines=2, data=record)


def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder of released weights and pictures, or FXP_DATA.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help=f"{RELEASED}, {NETWORKS}, {', '.join(PAGES)}, or one network; repeatable."
        ),
    ] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only networks and pages that are not there.")
    ] = False,
    side: Annotated[
        int | None, typer.Option(min=75, help="Side of the pictures of the zoo; default 224.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each program has its turn.")] = 5,
    effort: Annotated[Effort, typer.Option(help="Of quantizing the zoo.")] = "balanced",
    out: Annotated[Path | None, typer.Option(help="Folder for page and JSON.")] = None,
) -> None:
    """Measure networks, and merge what is found with what the JSON holds.

    Without a folder of data, what needs one is left out.
    """
    if out is None:
        report.check_readme()  # now rather than at the end
    has_data = data is not None or "FXP_DATA" in os.environ
    known = dict.fromkeys(released.NETWORKS, RELEASED) | dict.fromkeys(ZOO, NETWORKS)
    with_data = [RELEASED, COMPRESSION] if has_data else []
    chosen = only or [*with_data, NETWORKS, BINARY, ADAPTIVE]
    if not only and out is not None:
        chosen = [name for name in chosen if name not in PAGES]
    unknown = [name for name in chosen if name not in (*known, RELEASED, NETWORKS, *PAGES)]
    if unknown:
        raise ValueError(
            f"--only {unknown[0]} is none of {RELEASED}, {NETWORKS}, {', '.join((*PAGES, *known))}"
        )
    own_pages = [name for name in PAGES if name in chosen]
    if own_pages and out is not None:
        raise ValueError(f"--out does not apply to {own_pages[0]}, whose page is in docs")
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
            else zoo.measured(name, side=side, rounds=rounds, effort=effort)
        )
        record = json.loads(store.read_text("utf-8")) if store.exists() else {}
        merged = record.get(part, {}) | {name: found}
        order = [item for item in known if item in merged]
        record[part] = {item: merged[item] for item in order}
        print(f"{name}: wrote {write(record, out)}", flush=True)
    for name in own_pages:
        if not (missing and (store.parent / f"{NAME}.{name}.md").exists()):
            _write_page(name, data)


def _write_page(part: str, data: Path | None) -> None:
    """Measure what has a page of its own."""
    given = [] if data is None else ["--data", str(data)]
    if part == COMPRESSION:
        compression.main([*given, "--publish"])
    elif part == BINARY:
        binary.main()
    else:
        adaptive.main(given)


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {one_line(error)}")
