"""The page and the picture of the family, from the record and from nothing else."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from benchmarks.family.members import HARDWARE, LOSS, MEMBERS, PLAIN
from benchmarks.report import ROOT, environment, markdown_table, write_page
from fxp.support.files import replace_file

FOLDER: Final = ROOT / "docs" / "benchmarks"
PICTURE: Final = "family_pareto.png"
TITLE: Final = "A super-resolution network for every device"
COSTS: Final = (
    ("multiplier_bits", "thousand multiplier bits", 1e3),
    ("luts", "thousand LUTs of shared adders", 1e3),
    ("line_memory", "line memory, kilobits", 1e3),
)
MARKS: Final = ("o", "s", "^", "D", "*", "P", "X")
PLOTTED: Final = "Set5"

Record = dict[str, dict[str, Any]]


def write(record: Record, folder: Path) -> Path:
    """Write page, record and picture, and return the page.

    Parameters
    ----------
    record
        What was measured: by part, and by name.
    folder
        Where to write; the picture goes to ``pictures`` beside it.
    """
    pictures = folder.parent / "pictures"
    parts = []
    if rows := record.get("members"):
        pictures.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        pareto(rows).savefig(stream, format="png", metadata={"Software": None})
        replace_file(pictures / PICTURE, stream.getvalue())
        parts.append(_members(rows, record.get("cores", {})))
    for part, section in (("factors", _factors), ("qualities", _qualities), ("flicker", _flicker)):
        if record.get(part):
            parts.append(section(record[part]))
    parts.append(environment("fxp", "torch", "numpy", "scikit-image", "pillow"))
    return write_page(folder, "family", TITLE, "\n\n".join(parts), record)


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points of cost and quality that no cheaper one reaches, by cost."""
    best: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or quality > best[-1][1]:
            best.append((cost, quality))
    return best


def pareto(rows: dict[str, Any]) -> Figure:
    """PSNR over each cost, every network with a mark of its own."""
    figure = Figure(figsize=(12, 4.4), dpi=110)
    networks = list(dict.fromkeys(item["network"] for item in rows.values()))
    for axes, (key, label, unit) in zip(figure.subplots(1, len(COSTS), sharey=True), COSTS,
                                        strict=True):  # fmt: skip
        points = [(item[key] / unit, item["psnr"][PLOTTED]) for item in rows.values()]
        axes.step(*zip(*front(points), strict=True), where="post", color="0.75", linewidth=1)
        for number, network in enumerate(networks):
            own = [item for item in rows.values() if item["network"] == network]
            axes.plot(
                [item[key] / unit for item in own], [item["psnr"][PLOTTED] for item in own],
                MARKS[number % len(MARKS)], label=network,
            )  # fmt: skip
            for item in own:
                axes.annotate(
                    item["bits"], (item[key] / unit, item["psnr"][PLOTTED]),
                    xytext=(3, -9), textcoords="offset points", fontsize=6,
                )  # fmt: skip
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
        axes.set_xlim(left=0)
    figure.axes[0].set_ylabel(f"PSNR dB on {PLOTTED}, x2, fixed point")
    figure.axes[0].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    return figure


def _members(rows: dict[str, Any], cores: dict[str, Any]) -> str:
    sets = list(next(iter(rows.values()))["psnr"])
    header = ["network", "bits", "parameters", *(f"{name} dB" for name in sets),
              "multiplier bits", "adders", "LUTs, counted", "LUTs, yosys",
              "line memory, kbit"]  # fmt: skip
    lines = []
    for name, item in rows.items():
        core = cores.get(name)
        lines.append([
            item["network"], item["bits"], f"{item['parameters']:,}",
            *(f"{item['psnr'][key]:.3f}" for key in sets),
            f"{item['multiplier_bits']:,}", f"{item['adders']:,.0f}", f"{item['luts']:,.0f}",
            f"{core['luts']:,}" if core else "", f"{item['line_memory'] / 1000:,.0f}",
        ])  # fmt: skip
    saved = _saved(rows)
    return "\n\n".join([
        f"![PSNR by what a core needs](../pictures/{PICTURE})",
        "KimSR ×2 of 8 to 32 feature maps, and ECBSR and ABPN, chains of 3×3 convolutions for "
        "mobile processors, trained by the same recipe. Luma, inputs of 8 bits, fixed point; bits "
        "are those of weights and activations. KimSR of 8, 24 and 32 maps was trained with the "
        "roundings of 8/10 bits; at 16 maps that gained nothing. ECBSR and ABPN were trained in "
        "floating point alone. *Fewer digits* is `kimsr_x2_hardware`; *widths searched* has its "
        "weights, and the fewest bits of each activation that `fxp.quantize_mixed` finds, at "
        f"{LOSS} dB less SQNR against the float network.",
        "*Multiplier bits*: weight bits times operand bits, summed over all multiplications for "
        "one input pixel. *Adders* and *LUTs, counted*: the weights as graphs of shared adders. "
        "*LUTs, yosys*: the whole core on UltraScale+, for lines of 1920 pixels. *Line memory*: "
        "what the windows store of such lines.",
        markdown_table(header, lines),
        *saved,
    ])  # fmt: skip


def _saved(rows: dict[str, Any]) -> list[str]:
    """Compare the members for cores of shared adders with the network that they come from."""
    hardware = {member.name for member in MEMBERS if member.weights == HARDWARE}
    plain = rows.get(PLAIN.name)
    return [
        f"`{item['network']}`, {item['bits']}, needs {1 - item['luts'] / plain['luts']:.1%} fewer "
        f"adder bits, which are the counted LUTs, than `{plain['network']}`, {plain['bits']}, and "
        f"{1 - item['adders'] / plain['adders']:.1%} fewer adders, and changes the PSNR by "
        + ", ".join(f"{item['psnr'][key] - plain['psnr'][key]:+.3f}" for key in plain["psnr"])
        + " dB."
        for name, item in rows.items()
        if plain and name in hardware
    ]


def _factors(rows: dict[str, Any]) -> str:
    sets = list(next(iter(rows.values()))["fixed"])
    lines = [
        [f"×{scale}, {method}", *(f"{item[method][key]:.3f}" for key in sets),
         "" if method == "bicubic" else
         ", ".join(f"{item[method][key] - item['bicubic'][key]:+.2f}" for key in sets)]
        for scale, item in rows.items()
        for method in ("bicubic", "float", "fixed")
    ]  # fmt: skip
    return (
        "## Factors\n\nThe shipped KimSR of 32 feature maps at 10/14 bits. Luma, inputs of 8 bits, "
        "borders of as many pixels as the factor left out.\n\n"
        + markdown_table(["", *(f"{key} dB" for key in sets), "above bicubic, dB"], lines)
    )


def _qualities(rows: dict[str, Any]) -> str:
    methods = list(next(iter(rows.values())))
    sets: dict[str, dict[str, Any]] = {}
    for name, item in rows.items():
        key, quality = name.split()
        sets.setdefault(key, {})[quality] = item
    lines = [
        [f"{key}, `{method}`" if method != "bicubic" else f"{key}, bicubic",
         *(f"{found[quality][method]:.3f}" for quality in found)]
        for key, found in sets.items()
        for method in methods
    ]  # fmt: skip
    return (
        "## Compressed inputs\n\nPSNR in dB at ×2 by the JPEG quality of the input: bicubic "
        "downscaling, rounded to 8 bits, and its luma through JPEG. `kimsr_x2_compressed` "
        "estimates the quality from the pixels.\n\n"
        + markdown_table(["", *next(iter(sets.values()))], lines)
    )


def _flicker(rows: dict[str, Any]) -> str:
    methods = list(next(iter(rows.values())))
    lines = [
        [method if method in ("input", "bicubic") else f"`{method}`",
         *(f"{item[method]:.2f}" for item in rows.values())]
        for method in methods
    ]  # fmt: skip
    return (
        "## Flicker\n\nA still scene, the photograph *astronaut* of scikit-image downscaled by 2, "
        "with white noise drawn anew for each of 12 frames. *Flicker* is the standard deviation of "
        "a pixel over time, its root mean square over the picture, in codes of 8 bits; the columns "
        "are the standard deviation of the noise.\n\n" + markdown_table(["", *rows], lines)
    )
