"""Puts small faults into the source, one at a time, and counts how many the tests notice.

The faults are drawn at random, the same in every run with the same seed. Each runs the tests of
its room in a copy of the repository; the checkout is only read. A fault that no test notices
*survives*: either a test is missing, or the fault changes nothing that anybody can see.
"""

from __future__ import annotations

import json
import queue
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import orderly
from benchmarks.mutation.mutants import Mutant, mutants
from benchmarks.mutation.rooms import ROOMS, Room
from benchmarks.mutation.runner import Checkout, MutationError, Verdict
from benchmarks.report import ROOT, environment, markdown_table, write_page
from fxp.support.processes import ChildProcesses

Record = dict[str, dict[str, Any]]


def drawn(room: Room, root: Path, sample: int, seed: int) -> list[tuple[Path, Mutant]]:
    """Faults to try, drawn without repetition.

    Parameters
    ----------
    room
        The room.
    root
        The repository.
    sample
        How many; 0 for all.
    seed
        Of the random choice.
    """
    every = [
        (file, mutant)
        for file in room.sources(root)
        for mutant in mutants((root / file).read_bytes())
    ]
    if sample and sample < len(every):
        chosen = random.Random(seed).sample(range(len(every)), sample)
        every = [every[index] for index in sorted(chosen)]
    return every


def survivors(verdicts: list[dict[str, Any]], root: Path) -> list[tuple[Path, Mutant]]:
    """Faults that no test noticed, as far as they are still there.

    Parameters
    ----------
    verdicts
        Of an earlier run, as they are stored.
    root
        The repository.
    """
    faults = [
        (Path(verdict["file"]), Mutant(**verdict["mutant"]))
        for verdict in verdicts
        if verdict["outcome"] == "survived"
    ]
    return [
        (file, mutant) for file, mutant in faults if mutant in mutants((root / file).read_bytes())
    ]


def measure(room: Room, faults: list[tuple[Path, Mutant]], jobs: int) -> list[Verdict]:
    """Judge faults on several copies at a time, in order.

    Parameters
    ----------
    room
        The room of the faults.
    faults
        File and fault of each.
    jobs
        Number of copies.

    Raises
    ------
    MutationError
        If the tests fail without a fault.
    """
    # However this ends, the tests end first, then the threads that wait for them, and then the
    # copies are removed.
    with (
        ExitStack() as stack,
        ThreadPoolExecutor(max(1, jobs)) as pool,
        ChildProcesses() as children,
    ):
        copies: queue.SimpleQueue[tuple[Checkout, float]] = queue.SimpleQueue()
        for _ in range(min(jobs, len(faults))):
            checkout = stack.enter_context(Checkout(ROOT, children))
            copies.put((checkout, checkout.sound(room, 3600)))

        def judge(fault: tuple[Path, Mutant]) -> Verdict:
            checkout, usual = copies.get()
            try:
                verdict = checkout.judge(room, *fault, usual)
            finally:
                copies.put((checkout, usual))
            print(_line(verdict), flush=True)
            return verdict

        try:
            return list(pool.map(judge, faults))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _line(verdict: Verdict) -> str:
    place = f"{verdict.file}:{verdict.mutant.line}"
    fault = f"{verdict.mutant.before!r} -> {verdict.mutant.after!r}"
    noticed = f" by {verdict.test}" if verdict.test else ""
    return f"{verdict.outcome}{noticed}: {place}: {fault} ({verdict.seconds:.0f} s)"


def page(record: Record) -> str:
    """Markdown of what was measured."""
    rows = []
    for name, item in record.items():
        counts = Counter(verdict["outcome"] for verdict in item["verdicts"])
        total = len(item["verdicts"])
        noticed = total - counts["survived"]
        figures = map(str, (item["possible"], total, noticed, counts["survived"]))
        rows.append([name, *figures, f"{100 * noticed / total:.0f} %"])
    header = ("part", "possible faults", "tried", "noticed", "survived", "noticed, share")
    parts = [
        "Each row puts small faults into one part of the source, one at a time: another comparison "
        "or arithmetic operator, a constant one larger or smaller, a condition or a result "
        "exchanged. A fault is noticed if one of the tests of that part fails or hangs. The faults "
        "are a random sample, the same for the same seed.",
        markdown_table(header, rows),
        "`benchmarks/mutation/rooms.py` lists the tests of each part; they are fewer than the "
        "whole suite, which may notice more. A survivor is a missing test, or a fault that changes "
        "nothing but speed, memory or the words of a message. Tests were written for survivors, "
        "which `--again` then tried again: of an unseen sample (another `--seed`) more survive.",
    ]
    for name, item in record.items():
        survivors = [v for v in item["verdicts"] if v["outcome"] == "survived"]
        if survivors:
            lines = [
                f"* `{v['file']}`, line {v['mutant']['line']}: "
                f"`{_inline(v['mutant']['before'])}` → `{_inline(v['mutant']['after'])}`"
                for v in survivors
            ]
            parts.append(f"## Survivors in {name}\n\n" + "\n".join(lines))
    parts.append(environment("fxp", "pytest", "numba"))
    return "\n\n".join(parts)


def _inline(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 70 else f"{flat[:67]}..."


def main(
    only: Annotated[list[str] | None, typer.Option(help="Measure these, keep the others.")] = None,
    sample: Annotated[int, typer.Option(min=0, help="Faults of each part; 0 for all.")] = 25,
    seed: Annotated[int, typer.Option(help="Of the random sample.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Copies that run at a time.")] = 1,
    again: Annotated[bool, typer.Option(help="Try only what survived last time.")] = False,
    folder: Annotated[Path, typer.Option(help="Where the page goes.")] = ROOT / "docs/benchmarks",
) -> None:
    """Measure, and write ``mutation.md`` and ``mutation.json``."""
    unknown = sorted(set(only or ()) - set(ROOMS))
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(ROOMS)}")
    orderly.run(partial(_measure_rooms, only or list(ROOMS), sample, seed, jobs, again, folder))


def _measure_rooms(
    names: list[str], sample: int, seed: int, jobs: int, again: bool, folder: Path
) -> None:
    path = folder / "mutation.json"
    record: Record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in names:
        room = ROOMS[name]
        known = record.get(name, {}).get("verdicts", []) if again else []
        faults = survivors(known, ROOT) if again else drawn(room, ROOT, sample, seed)
        tried = {(str(file), mutant) for file, mutant in faults}
        # Of a file that has changed since, the old verdict stands.
        kept_verdicts = [v for v in known if (v["file"], Mutant(**v["mutant"])) not in tried]
        try:
            verdicts = [asdict(verdict) for verdict in measure(room, faults, jobs)]
        except MutationError as error:
            raise typer.BadParameter(f"{name}: {error}") from None
        verdicts = sorted(kept_verdicts + verdicts, key=lambda v: (v["file"], v["mutant"]["start"]))
        possible = len(drawn(room, ROOT, 0, seed))
        record[name] = {"possible": possible, "seed": seed, "verdicts": verdicts}
        # Written after each part, so that nothing is lost if a later one is stopped.
        kept = {room_name: record[room_name] for room_name in ROOMS if room_name in record}
        write_page(folder, "mutation", "Faults that the tests notice", page(kept), kept)
        survived = sum(verdict["outcome"] == "survived" for verdict in verdicts)
        print(f"{name}: {len(verdicts) - survived} of {len(verdicts)} noticed", flush=True)


if __name__ == "__main__":
    typer.run(main)
