"""Some of the beats of a stream: strides, crops and poolings behind windows over all positions."""

from __future__ import annotations

from dataclasses import replace

from fxp.hls.rtl.planning import RESET, CorePlan
from fxp.hls.rtl.streams import Cost, Kept, Lag, Path, StreamingError, ValueBus


def selected(plan: CorePlan, stream: ValueBus, rows: Kept, columns: Kept) -> ValueBus:
    """Return the stream with some of its beats only.

    Rows that are chosen first and columns that are chosen from them right afterwards are one
    choice, so that a slice of both meets a convolution with strides.

    Parameters
    ----------
    plan
        The plan.
    stream
        The stream.
    rows, columns
        What remains.

    Raises
    ------
    StreamingError
        If the size of what remains cannot be told without a division.
    """
    if rows == columns == Kept():
        return stream
    path = stream.path
    if path.chosen_from is not None:
        before = path.raster.steps[-1]
        if all(Kept() in pair for pair in zip(before, (rows, columns), strict=True)):
            rows, columns = before[0].then(rows), before[1].then(columns)
            path = path.chosen_from
    key = (path.name, rows, columns)
    if key not in plan.selections:
        plan.selections[key] = _selection(plan, path, rows, columns)
    chosen = plan.selections[key]
    ready = plan.delayed(stream, max(stream.latency, chosen.latency))
    return replace(ready, path=chosen)


def _selection(plan: CorePlan, path: Path, rows: Kept, columns: Kept) -> Path:
    for before in (step for pair in path.raster.steps for step in pair):
        if before.step & (before.step - 1):
            raise StreamingError(
                f"behind a step of {before.step} no further rows or columns can be left out: "
                "the size would take a division"
            )
    wire = plan.wire("selected_tags", 6)
    size = plan.wire("columns", 16), plan.wire("rows", 16)
    plan.instance(
        "fxp_select",
        wire,
        {
            "FirstRow": rows.first, "RowStep": rows.step, "RowTail": rows.tail,
            "FirstColumn": columns.first, "ColumnStep": columns.step,
            "ColumnTail": columns.tail,
        },
        {
            "clk_i": "aclk",
            "rst_ni": RESET,
            "columns_i": path.size[0],
            "rows_i": path.size[1],
            "tags_i": plan.tags(path, path.latency),
            "tags_o": wire,
            "columns_o": size[0],
            "rows_o": size[1],
        },
        Cost(registers=6 + 2 * 16 + 2 * 17, adders=6),
    )  # fmt: skip
    raster = path.raster.reached((rows, columns))
    plan.need(raster, 1, 1)
    chosen = plan.new_path((*path.lags, Lag()), path.latency + 1, wire, raster=raster, size=size)
    chosen.chosen_from = path
    return chosen
