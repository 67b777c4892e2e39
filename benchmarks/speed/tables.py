"""Markdown from the measured records, and the goals from the works; from nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from benchmarks.report import ROOT, Summary, markdown_table
from benchmarks.speed import details
from benchmarks.speed.cells import DASH, faster, figure, times_text, title
from benchmarks.speed.peers import INT8, TITLES
from benchmarks.speed.records import DOCUMENTATION, Record, processor_name
from benchmarks.speed.timing import load_text, threads_text
from benchmarks.speed.works import AGAINST, CALL_SECONDS, TWO_THREADS, WORKS

ONNX = "onnxruntime"
GOALS = {work.name: work.goal for work in WORKS}
ORDER = {name: number for number, name in enumerate(GOALS)}
METHOD = (
    "How many times as fast as the same network elsewhere the engine is. All programs compute the "
    "same network with the same number of threads, one image at a time; they take turns, and a "
    "turn begins when all threads of the one before have stopped. The best time counts. fxp takes "
    "and returns raw integers. Before anything is timed, the engine's integers are compared with "
    "the oracle's, and the results of the other programs with PyTorch's.\n\n"
    "Networks have 10-bit weights and 14-bit values, and where it says so 8 and 8 bits. ONNX "
    "Runtime's int8 network is the one that its own tools make, with QuantizeLinear and "
    "DequantizeLinear nodes and weights per channel, calibrated on the same photographs. "
    '`effort="fast"` leaves out refinements of the weights, which would not change the speed. '
    "Most networks are untrained, with weights scaled so that all values are in use."
)


def ours(peer: str) -> str:
    """Return which of fxp's contenders is compared with a peer."""
    return "fxp_8" if peer == INT8 else "fxp"


def works(record: Record) -> list[Record]:
    """Return the networks that were timed, in the order of the works."""
    timed = [item for item in record.get("works", ()) if item.get("seconds")]
    return sorted(timed, key=lambda item: ORDER.get(item["name"], len(ORDER)))


def thread_counts(record: Record) -> list[int]:
    """Return the numbers of threads that anything was timed with."""
    return sorted({int(count) for item in works(record) for count in item["seconds"]})


def summary(records: Sequence[Record]) -> Summary:
    """Return the rows of the README, each with all processors.

    Parameters
    ----------
    records
        One for each processor.
    """
    rows = []
    for peer, text in TITLES.items():
        label = f"8/8 bits: speed against {text}" if peer == INT8 else f"Speed against {text}"
        rows.append((f"{label}, 1 thread", _ranges(records, 1, peer, ours(peer))))
    rows.append(("Speed of 2 threads against 1", _ranges(records, 2, None, "fxp")))
    rows += details.summary(records)
    rows.append(("Stages that no fast kernel runs", "; ".join(_portable(records))))
    return [row for row in rows if row[1]]


def _ranges(records: Sequence[Record], threads: int, peer: str | None, contender: str) -> str:
    parts = []
    for record in records:
        items = works(record)
        found = [
            _speed_up(item) if peer is None else faster(item, threads, peer, contender)
            for item in items
        ]
        ratios = [ratio for ratio in found if ratio is not None]
        if ratios:
            low, high = times_text(min(ratios)), times_text(max(ratios))
            parts.append(f"{processor_name(record)}: {low} to {high}, {len(ratios)} networks")
    return "; ".join(parts)


def _speed_up(item: Record) -> float | None:
    one, two = (item["seconds"].get(count, {}).get("fxp") for count in ("1", "2"))
    return None if one is None or two is None else one / two


def _portable(records: Sequence[Record]) -> Iterator[str]:
    for record in records:
        counts = [item["portable"]["fxp"] for item in works(record) if "portable" in item]
        if counts:
            yield f"{processor_name(record)}: {sum(counts)} in {len(counts)} networks"
    path = ROOT / DOCUMENTATION / "zoo.json"
    zoo = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    counts = [item["portable_stages"] for item in zoo.values() if "portable_stages" in item]
    if counts:
        yield f"torchvision's: {sum(counts)} in {len(counts)} networks"


def page(records: Sequence[Record]) -> str:
    """Return the page: processors side by side, then each by itself.

    Parameters
    ----------
    records
        One for each processor.
    """
    parts = [METHOD, "## Against ONNX Runtime in float32", _side_by_side(records)]
    portable = "; ".join(_portable(records))
    if portable:
        parts.append(
            "Stages of the plans that no fast kernel runs, of which there should be none: "
            f"{portable}."
        )
    parts += [_processor(record) for record in records]
    return "\n\n".join(parts)


def _side_by_side(records: Sequence[Record]) -> str:
    titles: dict[str, str] = {}
    ratios: list[dict[str, str]] = []
    for record in records:
        titles |= {item["name"]: title(item) for item in works(record)}
        ratios.append({item["name"]: times_text(faster(item, 1, ONNX)) for item in works(record)})
    known = sorted(titles, key=lambda name: ORDER.get(name, len(ORDER)))
    rows = []
    for name in known:
        goal = GOALS.get(name)
        goals = ["", ""] if goal is None else [f"{goal.least:g}×", f"{goal.aim:g}×"]
        rows.append([titles[name], *goals, *(found.get(name, DASH) for found in ratios)])
    header = ("network", "at least", "aim", *map(processor_name, records))
    return "One thread.\n\n" + markdown_table(header, rows)


def _processor(record: Record) -> str:
    loads = [item["load"] for item in works(record) if "load" in item]
    measured = f"Times are of {record['settings']['rounds']} rounds. "
    parts = [
        f"## {processor_name(record)}",
        details.environment(record),
        measured + (load_text(loads) if loads else ""),
    ]
    if works(record):
        parts += [
            f"### {processor_name(record)}: ratios", _ratios(record), _goals(record),
            f"### {processor_name(record)}: times", _times(record),
        ]  # fmt: skip
    parts += details.sections(record, processor_name(record))
    lost = [item for item in record.get("works", ()) if "refused" in item or "failed" in item]
    parts += [f"{item['name']}: {item.get('refused') or item['failed']}" for item in lost]
    for item in works(record):
        reasons = item.get("missing", {}).items()
        parts += [f"{title(item)}, {TITLES[name]}: {reason}." for name, reason in reasons]
    return "\n\n".join(filter(None, parts))


def _ratios(record: Record) -> str:
    counts = thread_counts(record)
    header = ["network"]
    for peer, text in TITLES.items():
        label = f"8/8: {text}" if peer == INT8 else text
        header += [f"{label}, {threads_text(count)}" for count in counts]
    header.append("2 threads against 1")
    rows = [
        [
            title(item),
            *(
                times_text(faster(item, count, peer, ours(peer)))
                for peer in TITLES
                for count in counts
            ),
            times_text(_speed_up(item)),
        ]
        for item in works(record)
    ]
    return markdown_table(header, rows)


def _goals(record: Record) -> str:
    """Say which goals are reached, and name every network that does not reach one."""
    lines = [_goal_line(record, ONNX, f"{TITLES[ONNX]}, 1 thread, as in the table above")]
    for peer, goal in AGAINST.items():
        what = f"{TITLES[peer]}{', 8/8 bits' if peer == INT8 else ''}, 1 thread"
        lines.append(_goal_line(record, peer, f"{what}, {goal.least:g}×"))
    lines.append(_goal_line(record, None, f"2 threads against 1, {TWO_THREADS.least:g}×"))
    for item in works(record):
        seconds = item["seconds"].get("1", {}).get("fxp")
        if item["name"] == "tiny" and seconds is not None:
            lines.append(
                f"One call of {title(item)} takes {figure(seconds, 1e-6)} µs; the goal is "
                f"{figure(CALL_SECONDS, 1e-6)} µs."
            )
    return "Goals reached:\n\n" + "\n".join(f"* {line}" for line in lines if line)


def _goal_line(record: Record, peer: str | None, what: str) -> str:
    reached, lacking = 0, []
    for item in works(record):
        if peer is None:
            ratio, least = _speed_up(item), TWO_THREADS.least
        else:
            ratio = faster(item, 1, peer, ours(peer))
            goal = AGAINST.get(peer) or GOALS.get(item["name"])
            if goal is None:
                continue
            least = goal.least
        if ratio is None or (item["name"] == "tiny" and peer is None):
            continue
        if ratio >= least:
            reached += 1
        else:
            lacking.append(item["name"])
    if not reached and not lacking:
        return ""
    rest = f"; not {', '.join(lacking)}" if lacking else ""
    return f"{what}: {reached} of {reached + len(lacking)} networks{rest}."


def _times(record: Record) -> str:
    header = [
        "network", "threads", "fxp ms", "fxp, real values in and out, ms", "fxp 8/8 ms",
        *(f"{text} ms" for text in TITLES.values()), "fxp GMAC/s", "of the peak", "SQNR 10/14 dB",
        "SQNR 8/8 dB", "SQNR int8 dB",
    ]  # fmt: skip
    rows = []
    for item in works(record):
        for count, seconds in item["seconds"].items():
            rate = item["macs"] / seconds["fxp"] / 1e9
            peak = record["peak"].get(count)
            names = ("fxp", "fxp_real", "fxp_8", *TITLES)
            rows.append(
                [
                    title(item),
                    count,
                    *(figure(seconds.get(name), 1e-3) for name in names),
                    figure(rate),
                    DASH if peak is None else f"{rate / peak:.0%}",
                    *(figure(item.get("sqnr", {}).get(name)) for name in ("fxp", "fxp_8", INT8)),
                ]
            )
    peaks = ", ".join(
        f"{figure(rate)} GMAC/s with {threads_text(int(count))}"
        for count, rate in record["peak"].items()
    )
    values = sum(item.get("equal_values", 0) for item in works(record))
    return (
        f"{values:,} values were compared with the oracle's, and are equal. Multiply-accumulates "
        "are counted from the graph. *Of the peak*: share of the rate at which this machine "
        "multiplies pairs of int16 and adds to int32, measured as "
        f"{peaks or 'nothing yet'}; Winograd's transform needs fewer multiplications, so the share "
        "can pass 100%. *SQNR*: of the first output against the float network, on the frame that "
        f"is timed.\n\n{markdown_table(header, rows)}"
    )
