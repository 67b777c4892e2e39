"""Measured records: one JSON file for each model of processor, in the folder ``speed``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT
from fxp.support.files import replace_file

Record = dict[str, Any]
DOCUMENTATION = Path("docs", "benchmarks")
LISTS = ("works", "libraries")
"""Keys whose values are lists of records with a name each; others have one value."""


def folder(out: Path | None) -> Path:
    """Return where the files are: below a given folder, or in the documentation."""
    return (ROOT / DOCUMENTATION if out is None else out) / "speed"


def processor_name(record: Record) -> str:
    """Return the processor's name and the core that LLVM takes it for: ``AMD EPYC, znver5``."""
    machine = record["machine"]
    name = re.sub(r"\((R|TM|tm|C)\)|\bProcessor\b|\bCPU\b|@.*", " ", machine["processor"])
    return f"{' '.join(name.split())}, {machine['core']}"


def path_of(record: Record, out: Path | None) -> Path:
    """Return the file of a record, such as ``speed/amd-epyc-znver5.json``.

    Parameters
    ----------
    record
        Has the ``machine``.
    out
        As for `folder`.
    """
    name = re.sub(r"[^a-z0-9]+", "-", processor_name(record).lower()).strip("-")
    return folder(out) / f"{name}.json"


def read(path: Path) -> Record:
    """Return what a file holds; nothing if there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def read_all(out: Path | None) -> list[Record]:
    """Return the records of all processors, by name."""
    return sorted(map(read, folder(out).glob("*.json")), key=processor_name)


def write(record: Record, out: Path | None) -> None:
    """Write a record to its file.

    Parameters
    ----------
    record
        What was measured on one processor.
    out
        As for `folder`.
    """
    path = path_of(record, out)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, f"{json.dumps(record, indent=1)}\n".encode())


def names(record: Record, threads: Iterable[int]) -> set[str]:
    """Return the names of everything that a record has whole: nothing that failed.

    Parameters
    ----------
    record
        What was measured on one processor.
    threads
        The numbers of threads that a network must have been timed with.
    """
    found = {item["name"] for item in record.get("libraries", ()) if "failed" not in item}
    for item in record.get("works", ()):
        timed = all(str(count) in item.get("seconds", {}) for count in threads)
        if timed or "refused" in item:
            found.add(item["name"])
    return found | {key for key in ("pixels", "startup", "large", "tiles") if record.get(key)}


def add(record: Record, key: str, item: Any) -> None:
    """Put one measurement into a record, in place of an earlier one.

    Parameters
    ----------
    record
        Is changed.
    key
        ``works`` or ``libraries``, whose items have a ``name``; any other has one value.
    item
        What was measured.
    """
    if key not in LISTS:
        record[key] = item
        return
    items = {other["name"]: other for other in record.get(key, ())}
    record[key] = list({**items, item["name"]: item}.values())
