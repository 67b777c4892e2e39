"""Markdown from the measured record, and from nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchmarks.report import Summary, markdown_table
from benchmarks.speed.timing import threads_text

Record = dict[str, Any]
DASH = "—"
TOOLS = {"onnxruntime": "ONNX Runtime", "torch": "PyTorch"}


def summary(record: Record) -> Summary:
    """Return the rows of the README: speed against float32 and against other fixed-point tools."""
    threads = str(record["settings"]["threads"][0])
    rows = []
    for name in ("onnxruntime", "torch"):
        ratios = [
            work["seconds"][threads][name] / work["seconds"][threads]["fxp"]
            for work in record["works"]
            if "refused" not in work
        ]
        if ratios:
            rows.append(
                (
                    f"Speed against float32 in {TOOLS[name]}, {len(ratios)} networks, "
                    f"{threads_text(int(threads))}",
                    f"{_times_text(min(ratios), 1)} to {_times_text(max(ratios), 1)}",
                )
            )
    for item in record["libraries"]:
        if item["name"] == "hls4ml" and "reason" not in item:
            other = item["seconds"]["other"] / (item["height"] * item["width"])
            fxp = item["seconds"][f"fxp_{threads}"] / math.prod(item["fxp_shape"])
            rows.append(
                (
                    f"Speed against {_tool(record, item['name'])}, {threads_text(int(threads))}",
                    _times_text(other, fxp),
                )
            )
    return rows


def overview(record: Record) -> str:
    """Return the first half of the page: speed-ups against float32 and other tools."""
    parts = []
    if record["works"]:
        parts.append(_versus(record))
    if record["libraries"]:
        parts.append(_libraries(record))
    if record["left_out"]:
        parts.append(f"Not measured in this run: {', '.join(record['left_out'])}.")
    parts.append(_environment(record))
    return "\n\n".join(parts)


def details(record: Record) -> str:
    """Return the second half of the page."""
    parts = []
    if record["works"]:
        parts.append("## Times\n\n" + _times(record))
    if record["pixels"]:
        parts.append("## Pixels and memory\n\n" + _pixels(record["pixels"]))
    if record["threads"]:
        parts.append("## Threads\n\n" + _threads(record["threads"]))
    if record["startup"]:
        parts.append("## Start-up\n\n" + _startup(record["startup"]))
    return "\n\n".join(parts)


def _versus(record: Record) -> str:
    threads = record["settings"]["threads"]
    header = ["network", "target", *_by_threads("ONNX Runtime", threads),
              *_by_threads("PyTorch", threads)]  # fmt: skip
    rows = []
    for work in record["works"]:
        if "refused" in work:
            rows.append([_title(work), _target(work), *[DASH] * (len(header) - 2)])
            continue
        seconds = [work["seconds"][str(count)] for count in threads]
        rows.append(
            [
                _title(work),
                _target(work),
                *(_times_text(item["onnxruntime"], item["fxp"]) for item in seconds),
                *(_times_text(item["torch"], item["fxp"]) for item in seconds),
            ]
        )
    text = (
        "How many times as fast as the same network in float32 the engine is, with 10-bit weights "
        "and 14-bit activations; the targets are against ONNX Runtime. Best of "
        f"{record['settings']['rounds']} rounds in which all take turns, raw integers in and out, "
        "after the result has been found equal to the oracle's.\n\n" + markdown_table(header, rows)
    )
    refused = [work for work in record["works"] if "refused" in work]
    return text + "".join(f"\n\n{_title(work)}: {work['refused']}" for work in refused)


def _libraries(record: Record) -> str:
    header = ("tool", "what it runs", "frame", "µs per pixel", "fxp µs per pixel", "fxp is faster",
              "target")  # fmt: skip
    rows = []
    for item in record["libraries"]:
        pixels = item["height"] * item["width"]
        row = [_tool(record, item["name"]), item["what"], f"{item['width']}×{item['height']}"]
        if "reason" in item:
            row += [DASH, DASH, DASH]
        else:
            ours = math.prod(item.get("fxp_shape", (pixels,)))
            other, fxp = (
                item["seconds"][name] / count for name, count in (("other", pixels), ("fxp", ours))
            )
            row += [_figure(1e6 * other), _figure(1e6 * fxp), _times_text(other, fxp)]
        rows.append([*row, _target(item)])
    reasons = [
        f"\n\n{_tool(record, item['name'])} was not timed: {item['reason']}."
        for item in record["libraries"]
        if "reason" in item
    ]
    frames = [
        f"\n\n{_tool(record, item['name'])} is compared with all of KimSR on "
        f"{item['fxp_shape'][1]}×{item['fxp_shape'][0]}, where fxp has room for its bands; "
        + ", ".join(
            f"{threads_text(count)}: "
            + _times_text(
                item["seconds"]["other"] / (item["height"] * item["width"]),
                item["seconds"][f"fxp_{count}"] / math.prod(item["fxp_shape"]),
            )
            for count in record["settings"]["threads"]
        )
        + "."
        for item in record["libraries"]
        if "fxp_shape" in item
    ]
    return (
        "Other fixed-point tools, one thread, same integers:\n\n"
        + markdown_table(header, rows)
        + "".join(frames + reasons)
    )


def _times(record: Record) -> str:
    threads = record["settings"]["threads"]
    header = (
        "network",
        "threads",
        "fxp ms",
        "fxp, real values in and out, ms",
        "ONNX Runtime float32 ms",
        "PyTorch float32 ms",
        "fxp GMAC/s",
        "of the peak",
    )
    rows = []
    for work in record["works"]:
        for count in threads if "refused" not in work else ():
            seconds = work["seconds"][str(count)]
            rate = work["macs"] / seconds["fxp"] / 1e9
            peak = record["peak"].get(str(count))
            rows.append(
                [
                    _title(work),
                    str(count),
                    *(
                        _figure(1e3 * seconds[name])
                        for name in ("fxp", "fxp_real", "onnxruntime", "torch")
                    ),
                    _figure(rate),
                    DASH if peak is None else f"{rate / peak:.0%}",
                ]
            )
    peaks = ", ".join(
        f"{_figure(rate)} GMAC/s with {threads_text(int(count))}"
        for count, rate in record["peak"].items()
    )
    values = sum(work.get("equal_values", 0) for work in record["works"])
    return (
        f"{values:,} values of these frames were compared with the oracle, and are equal. "
        "Multiply-accumulates are counted from the graph. *Of the peak*: share of the rate at "
        "which this machine multiplies pairs of int16 and adds to int32, measured as "
        f"{peaks or 'nothing yet'}.\n\n" + markdown_table(header, rows)
    )


def _pixels(items: Sequence[Record]) -> str:
    header = ("frame in", "ms", "ns per pixel in", "peak memory MiB", "of which for the run MiB")
    rows = []
    for item in items:
        pixels = item["height"] * item["width"]
        rows.append(
            [
                f"{item['width']}×{item['height']}",
                _figure(1e3 * item["run"]),
                _figure(1e9 * item["run"] / pixels),
                _figure(item["bytes_peak"] / 2**20),
                _figure((item["bytes_peak"] - item["bytes_before"]) / 2**20),
            ]
        )
    first, last = items[0], items[-1]
    growth = math.log(last["run"] / first["run"]) / math.log(
        last["height"] * last["width"] / (first["height"] * first["width"])
    )
    return (
        f"KimSR ×2, {threads_text(last['threads'])}, each frame in a process of its own; the "
        f"largest gives {2 * last['width']}×{2 * last['height']}. Time grows with pixels to the "
        f"power of {growth:.2f}; 1 is linear.\n\n" + markdown_table(header, rows)
    )


def _threads(items: Sequence[Record]) -> str:
    counts = list(items[0]["seconds"])
    header = ["network", *(f"{threads_text(int(count))}, ms" for count in counts), "speed-up"]
    rows = [
        [
            _title(item),
            *(_figure(1e3 * item["seconds"][count]) for count in counts),
            _times_text(item["seconds"][counts[0]], item["seconds"][counts[-1]]),
        ]
        for item in items
    ]
    return markdown_table(header, rows)


def _startup(item: Record) -> str:
    rows = [
        ["`import fxp`", _figure(item["import_fxp"]), "0.5"],
        ["further imports of `fxp.load`, Numba above all", _figure(item["import_rest"]), ""],
        ["load the model", _figure(item["load"]), ""],
        ["first run", _figure(item["first_run"]), ""],
        ["load and first run", _figure(item["load"] + item["first_run"]), "1.5"],
        ["later run", _figure(item["run"]), ""],
    ]
    torch = "is imported" if item["torch_imported"] else "is not imported"
    return (
        f"KimSR ×2 on {item['width']}×{item['height']}, {threads_text(item['threads'])}, in a new "
        f"process with Numba's cache filled by an earlier one; torch {torch}.\n\n"
        + markdown_table(("step", "seconds", "at most"), rows)
    )


def _environment(record: Record) -> str:
    machine = record["machine"]
    versions = ", ".join(
        f"{package} {number}" for package, number in machine["versions"].items() if number
    )
    return (
        f"{machine['processor']} ({machine['core']}, {machine['processors']} processors, "
        f"{' '.join(machine['instructions'])}), {machine['system']}, Python {machine['python']}, "
        f"{versions}{', ' + machine['compiler'] if machine['compiler'] else ''}."
    )


def _by_threads(name: str, threads: Sequence[int]) -> list[str]:
    return [f"{name}, {threads_text(count)}" for count in threads]


def _title(item: Record) -> str:
    sizes = [f"{shape[2]}×{shape[1]}" for shape in (item["input"], item.get("output")) if shape]
    return f"{item['title']}, {' → '.join(dict.fromkeys(sizes))}"


def _target(item: Record) -> str:
    if item.get("target") is None:
        return ""
    aim = f" (aim {item['aim']:g}×)" if item.get("aim") else ""
    return f"{item['target']:,.10g}×{aim}"


def _tool(record: Record, name: str) -> str:
    number = record["machine"]["versions"].get(name)
    text = f"{name} {number}" if number else name
    return f"{text}, C simulation" if name == "hls4ml" else text


def _times_text(slow: float, fast: float) -> str:
    ratio = slow / fast
    return f"{ratio:.2f}×" if not ratio >= 99.5 else f"{ratio:,.0f}×"


def _figure(number: float) -> str:
    """Three significant digits, more of a large number."""
    if not number < 100:
        return f"{number:,.0f}"
    return f"{number:#.3g}".rstrip(".")
