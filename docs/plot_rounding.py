"""Draw the transfer curve of every rounding mode into ``pictures/rounding.png``."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from fxp import Format, Rounding, requantize

SOURCE_FRAC = 6
TARGET = Format(8, 0)
TIES = {
    Rounding.FLOOR: "toward -∞",
    Rounding.TO_ZERO: "toward zero",
    Rounding.HALF_UP: "nearest, ties toward +∞",
    Rounding.HALF_DOWN: "nearest, ties toward -∞",
    Rounding.HALF_AWAY: "nearest, ties away from zero",
    Rounding.HALF_TO_ZERO: "nearest, ties toward zero",
    Rounding.HALF_EVEN: "nearest, ties to even",
}
TREADS, MARKS = "#1f5a99", "#c2410c"


def draw(axes: plt.Axes, rounding: Rounding) -> None:
    """Draw the steps of one mode, and a dot where each tie goes."""
    raw = np.arange(-3 << SOURCE_FRAC, (3 << SOURCE_FRAC) + 1)
    result = requantize(raw, SOURCE_FRAC, TARGET, rounding)
    values = raw / (1 << SOURCE_FRAC)
    axes.plot([-3, 3], [-3, 3], color="0.75", linewidth=0.8, linestyle="--")
    for level in np.unique(result):
        inside = values[result == level]
        axes.plot([inside.min(), inside.max()], [level, level], color=TREADS, linewidth=2.5,
                  solid_capstyle="butt")  # fmt: skip
    halves = np.arange(-5, 6, 2)
    axes.plot(halves / 2, requantize(halves, 1, TARGET, rounding), "o", color=MARKS, markersize=5)
    bias = (result[1:] - values[1:]).mean()
    axes.set_title(f"{rounding.name}  ({rounding.value})\n{TIES[rounding]}", fontsize=10)
    note = f"mean error {bias:+.3f} ({SOURCE_FRAC} bits dropped)"
    axes.text(2.9, -2.85, note, ha="right", fontsize=8.5, color="0.25")
    axes.set_xticks(range(-3, 4))
    axes.set_yticks(range(-3, 4))
    axes.set_aspect("equal")
    axes.grid(color="0.92", linewidth=0.6)


def main() -> None:
    """Write the picture."""
    figure, grid = plt.subplots(2, 4, figsize=(13, 7.4), layout="constrained")
    figure.get_layout_engine().set(hspace=0.06)
    for axes, rounding in zip(grid.flat, Rounding, strict=False):
        draw(axes, rounding)
    key = grid.flat[-1]
    key.axis("off")
    key.plot([], [], color=TREADS, linewidth=2.5, label="result, in units of the last kept bit")
    key.plot([], [], "o", color=MARKS, markersize=5, label="where a tie (…½) goes")
    key.plot([], [], color="0.75", linewidth=0.8, linestyle="--", label="exact value")
    key.legend(loc="center", frameon=False, fontsize=10)
    figure.supxlabel("exact value, in units of the last kept bit", fontsize=10)
    figure.supylabel("rounded", fontsize=10)
    folder = Path(__file__).parent / "pictures"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "rounding.png", dpi=110)


if __name__ == "__main__":
    main()
