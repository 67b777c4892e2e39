"""The other parts of the page: further fixed-point tools, pixels and memory, start-up, machine."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.report import Summary, markdown_table
from benchmarks.speed.cells import DASH, figure, times_text
from benchmarks.speed.records import Record, processor_name
from benchmarks.speed.timing import threads_text


def summary(records: Sequence[Record]) -> Summary:
    """Return the README's row on hls4ml.

    Parameters
    ----------
    records
        One for each processor.
    """
    parts = []
    for record in records:
        for item in record.get("libraries", ()):
            if item["name"] == "hls4ml" and "seconds" in item:
                speed = times_text(_whole_frame(item, 1))
                parts.append(f"{processor_name(record)}: {speed}")
    return [("Speed against hls4ml's C simulation, 1 thread, per pixel", "; ".join(parts))]


def sections(record: Record, name: str) -> list[str]:
    """Return headings and tables of what a record has.

    Parameters
    ----------
    record
        What was measured on one processor.
    name
        Name of the processor, for the headings.
    """
    parts = []
    if record.get("libraries"):
        parts += [f"### {name}: other fixed-point tools", _libraries(record)]
    if record.get("pixels"):
        parts += [f"### {name}: pixels and memory", _pixels(record["pixels"])]
    if record.get("startup"):
        parts += [f"### {name}: start-up", _startup(record["startup"])]
    if record.get("large"):
        parts += [f"### {name}: large networks", _large(record["large"])]
    if record.get("tiles"):
        parts += [f"### {name}: register tiles", _tiles(record["tiles"])]
    return parts


def environment(record: Record) -> str:
    """Return a line on the machine and the versions.

    Parameters
    ----------
    record
        Has the ``machine``.
    """
    machine = record["machine"]
    versions = ", ".join(
        f"{package} {number}" for package, number in machine["versions"].items() if number
    )
    return (
        f"{machine['processor']} ({machine['core']}, {machine['processors']} processors, "
        f"{' '.join(machine['instructions'])}), {machine['system']}, Python {machine['python']}, "
        f"{versions}{', ' + machine['compiler'] if machine['compiler'] else ''}."
    )


def _whole_frame(item: Record, threads: int) -> float | None:
    """Return the ratio of times per pixel with the frame of fxp's own size."""
    ours = item["seconds"].get(f"fxp_{threads}")
    if ours is None:
        return None
    other = item["seconds"]["other"] / (item["height"] * item["width"])
    return other / (ours / math.prod(item["fxp_shape"]))


def _libraries(record: Record) -> str:
    header = ("tool", "what it runs", "frame", "µs per pixel", "fxp µs per pixel", "fxp is faster",
              "target")  # fmt: skip
    rows, notes = [], []
    for item in record["libraries"]:
        name = _tool(record, item["name"])
        if "failed" in item:
            notes.append(f"{name} failed: {item['failed']}.")
            continue
        pixels = item["height"] * item["width"]
        row = [name, item["what"], f"{item['width']}×{item['height']}"]
        if "reason" in item:
            row += [DASH, DASH, DASH]
            notes.append(f"{name} was not timed: {item['reason']}.")
        else:
            frame = math.prod(item.get("fxp_shape", (pixels,)))
            other, fxp = item["seconds"]["other"] / pixels, item["seconds"]["fxp"] / frame
            row += [figure(other, 1e-6), figure(fxp, 1e-6), times_text(other / fxp)]
        target = item.get("target")
        rows.append([*row, "" if target is None else f"{target:,.10g}×"])
        if "fxp_shape" in item:
            notes.append(_frames(record, item))
    text = "One thread, same integers.\n\n" + markdown_table(header, rows)
    return "\n\n".join([text, *notes])


def _frames(record: Record, item: Record) -> str:
    height, width = item["fxp_shape"]
    counts = [int(name.removeprefix("fxp_")) for name in item["seconds"] if name[:4] == "fxp_"]
    speeds = (f"{threads_text(count)}: {times_text(_whole_frame(item, count))}" for count in counts)
    return (
        f"{_tool(record, item['name'])} is compared with all of KimSR on {width}×{height}, where "
        f"fxp has room for its bands; {', '.join(speeds)}."
    )


def _tool(record: Record, name: str) -> str:
    number = record["machine"]["versions"].get(name)
    text = f"{name} {number}" if number else name
    return f"{text}, C simulation" if name == "hls4ml" else text


def _pixels(items: Sequence[Record]) -> str:
    header = ("frame in", "ms", "ns per pixel in", "peak memory MiB", "of which for the run MiB")
    rows = []
    for item in items:
        pixels = item["height"] * item["width"]
        rows.append(
            [
                f"{item['width']}×{item['height']}",
                figure(item["run"], 1e-3),
                figure(item["run"] / pixels, 1e-9),
                figure(item["bytes_peak"], 2**20),
                figure(item["bytes_peak"] - item["bytes_before"], 2**20),
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


def _startup(item: Record) -> str:
    rows = [
        ["`import fxp`", figure(item["import_fxp"]), "0.5"],
        ["further imports of `fxp.load`, Numba above all", figure(item["import_rest"]), ""],
        ["load the model", figure(item["load"]), ""],
        ["first run", figure(item["first_run"]), ""],
        ["load and first run", figure(item["load"] + item["first_run"]), "1.5"],
        ["later run", figure(item["run"]), ""],
    ]
    torch = "is imported" if item["torch_imported"] else "is not imported"
    return (
        f"KimSR ×2 on {item['width']}×{item['height']}, {threads_text(item['threads'])}, in a new "
        f"process with Numba's cache filled by an earlier one; torch {torch}.\n\n"
        + markdown_table(("step", "seconds", "at most"), rows)
    )


def _large(items: Sequence[Record]) -> str:
    header = ("network", "quantize, s", "plan, s", "first run, s", "together, s (180)",
              "peak memory, GiB (6)", "file, MiB", "load from the file, s", "first run then, s",
              "together, s (2)")  # fmt: skip
    rows = []
    for item in items:
        first, later = item["first"], item["later"]
        parts = [first[name] for name in ("quantize", "plan", "first_run")]
        again = [later[name] for name in ("load", "first_run")]
        rows.append(
            [
                item["title"],
                *map(figure, (*parts, sum(parts))),
                figure(first["bytes_peak"], 2**30),
                figure(item["bytes_file"], 2**20),
                *map(figure, (*again, sum(again))),
            ]
        )
    return (
        'One thread, a photograph of the size above, `effort="fast"`. The first process finds no '
        "compiled kernel; the second starts from the file, with the kernels that the first has "
        "compiled, and imports come before what is timed. In brackets: at most.\n\n"
        + markdown_table(header, rows)
    )


def _tiles(items: Sequence[Record]) -> str:
    header = (
        "tiles",
        *(f"{item['title']}, {item['input'][2]}×{item['input'][1]}" for item in items),
    )
    # The first are those that the engine takes.
    names = list(items[0]["seconds"])
    rows = [
        [name, *(times_text(item["seconds"][names[0]] / item["seconds"][name]) for item in items)]
        for name in names
    ]
    return (
        "How many times as fast the engine is with other register tiles than with those built in "
        "for this kind of processor, 10/14 bits, one thread; all integers are equal. *16 registers "
        "of 256 bits* is the code for AVX2, on this processor.\n\n" + markdown_table(header, rows)
    )
