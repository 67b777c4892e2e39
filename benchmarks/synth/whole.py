"""The whole KimSR by synthesis, and the adders of its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.family.members import BY_NAME, HARDWARE
from benchmarks.synth.stages import LONGEST_LINE, MODEL, Record
from fxp.graph import ops
from fxp.hls.rtl.adder_graph import adder_graph
from fxp.hls.rtl.core import Multipliers
from fxp.hls.rtl.emit import emit_rtl
from fxp.hls.synth import TARGETS, synthesize
from fxp.model import FixedModel
from fxp.models import sr

RANDOM_SIZES = ((9, 32), (32, 16), (16, 32), (144, 4))
NARROWER = "KimSR, fewer digits 9/13"
MODELS: dict[str, Callable[[], FixedModel]] = {
    MODEL: partial(sr.load, MODEL),
    HARDWARE: partial(sr.load, HARDWARE),
    f"{HARDWARE}, 9/13 bits": BY_NAME[NARROWER].model,
}
"""Models by what the page calls them."""
CORES: tuple[tuple[str, str, Multipliers], ...] = (
    ("KimSR", MODEL, "dsp"),
    ("KimSR", MODEL, "shift_add"),
    ("KimSR, fewer digits", HARDWARE, "shift_add"),
    (NARROWER, f"{HARDWARE}, 9/13 bits", "shift_add"),
)
WHOLE: dict[str, tuple[str, str, Multipliers]] = {
    f"{title}, {style}, {target}": (model, target, style)
    for title, model, style in CORES
    for target in ("ecp5-85k", "xilinx-us")
}
"""Model, device and style, by name."""


def synthesize_whole(name: str, folder: Path, timeout_s: float) -> Record:
    """Synthesize the whole network.

    Parameters
    ----------
    name
        Which core, a key of `WHOLE`.
    folder
        Where sources and results go.
    timeout_s
        Seconds for each tool.
    """
    model, target_name, style = WHOLE[name]
    target = TARGETS[target_name]
    core = emit_rtl(MODELS[model](), folder, max_width=LONGEST_LINE, multipliers=style)
    result = synthesize(folder, core.sources, core.top, target, timeout_s=timeout_s)
    return {"synthesis": asdict(result), "device": target.device,
            "lacking": target.lacking(result.total)}  # fmt: skip


def count_adders() -> Record:
    """Count the shared adders of the layers of KimSR, and of random matrices of other sizes."""
    graph = sr.load(MODEL).graph
    matrices = []
    for node in graph.nodes:
        if isinstance(node.op, ops.Conv2d):
            form = graph.operand(node.inputs[0]).formats[0]
            weight = graph.constants_by_name[node.inputs[1]].data
            groups = np.split(weight.reshape(len(weight), -1), node.op.groups)
            matrices.append((node.name, groups, (form.min_raw, form.max_raw)))
    generator = np.random.default_rng(1)
    for inputs, outputs in RANDOM_SIZES:
        weight = np.clip(generator.normal(0, 130, (outputs, inputs)).round(), -512, 511)
        matrices.append((f"random {inputs}→{outputs}", [weight.astype(np.int64)], (-8192, 8191)))
    return {"layers": [_counted(*matrix) for matrix in matrices]}


def _counted(name: str, groups: list[np.ndarray], interval: tuple[int, int]) -> Record:
    graphs = [adder_graph(group, interval) for group in groups]
    totals = np.sum([list(asdict(item.counts).values()) for item in graphs], axis=0)
    adders, registers, luts = totals.tolist()
    return {
        "layer": name,
        "matrices": [len(groups), *groups[0].shape],
        "adders": adders,
        "registers": registers,
        "luts": luts,
        "latency": max(item.latency for item in graphs),
        "da4ml": _da4ml(groups, interval, 1),
        "da4ml_any_depth": _da4ml(groups, interval, -1),
    }


def _da4ml(groups: list[np.ndarray], interval: tuple[int, int], levels: int) -> int | None:
    """Count the adders that da4ml needs, if it is installed: a library of the same purpose."""
    if find_spec("da4ml") is None:
        return None
    from da4ml.cmvm import solve  # pyright: ignore[reportMissingImports]

    count = 0
    for group in groups:
        ranges = [(float(interval[0]), float(interval[1]), 1.0)] * group.shape[1]
        solution = solve(group.T.astype(np.float32).copy(), hard_dc=levels, qintervals=ranges)
        count += sum(op.opcode in (0, 1) for part in solution.solutions for op in part.ops)
    return count
