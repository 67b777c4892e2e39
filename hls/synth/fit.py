"""Choice of multipliers and their sharing for a device and a frame rate, before any synthesis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fxp.graph import Graph
from fxp.hls.rtl.adder_graph import LEVELS_PER_REGISTER
from fxp.hls.rtl.core import Multipliers
from fxp.hls.rtl.emit import plan_graph
from fxp.hls.rtl.planning import CorePlan, Cost, ModuleInstance, StreamingError
from fxp.hls.rtl.styles import MAX_FOLD, weighted_layers
from fxp.hls.synth.targets import RESOURCE_NAMES, TARGETS, Resources
from fxp.hls.synth.tools import SynthesisError
from fxp.model.sources import ModelSource, graph_of
from fxp.support.errors import ArgumentError

FILL = 0.9
"""Part of look-up tables and registers that may be in use; fuller devices are hard to route."""
_MEMORY_SHAPES = ((2048, 9), (1024, 18), (512, 36))
"""Rows and bits of a block memory."""
_MULTIPLEXER = 0.5
"""Look-up tables for each bit of a choice of one out of many, per candidate."""
_LONG_MULTIPLEXER = 0.65
"""The same in ``fxp_dot_shared``, where yosys needs more for the many candidates."""


@dataclass(frozen=True)
class Fit:
    """How a core fits a device.

    Attributes
    ----------
    target
        Name of the device.
    clocks
        Clocks that there are for each pixel.
    multipliers, fold
        Of every layer with weights, as `fxp.hls.emit_rtl` takes them.
    estimate
        What the core is estimated to need, ten percent more or less.
    """

    target: str
    clocks: int
    multipliers: Mapping[str, Multipliers]
    fold: Mapping[str, int]
    estimate: Resources

    def __str__(self) -> str:
        device = TARGETS[self.target]
        parts = [
            f"{getattr(self.estimate, name)} of {getattr(device.available, name)} "
            f"{name.replace('_', ' ')}"
            for name in RESOURCE_NAMES
            if getattr(device.available, name)
        ]
        layers = [
            f"{name} {style}"
            + (f", {self.fold[name]} weights for a multiplier" if name in self.fold else "")
            for name, style in self.multipliers.items()
        ]
        return (
            f"{device.device}, {self.clocks} clocks per pixel: about {', '.join(parts)}\n"
            + "\n".join(f"  {layer}" for layer in layers)
        )


def fit(
    model: ModelSource,
    target: str = "ecp5-85k",
    *,
    fps: float = 60,
    width: int = 1920,
    height: int | None = None,
    megahertz: float = 150,
    levels_per_register: int = LEVELS_PER_REGISTER,
    register_shared: bool = False,
) -> Fit:
    """Choose between multipliers and shared adders for every layer, so that a core fits a device.

    As many weights share a multiplier as the frame rate leaves clocks for. One layer after another
    gets multipliers in place of adders, as long as that relieves what the device has least of.

    Parameters
    ----------
    model
        A quantized model, its integer graph, or the path of its ``.fxp`` file.
    target
        One of `fxp.hls.synth.TARGETS`.
    fps
        Frames per second.
    width, height
        Pixels of a frame of the input; the height is nine sixteenths of the width by default.
    megahertz
        Clock frequency that the core will have.
    levels_per_register, register_shared
        As for `fxp.hls.emit_rtl`.

    Raises
    ------
    SynthesisError
        If nothing fits; the message says what is lacking.
    StreamingError
        If the network cannot stream.
    ArgumentError
        If the target is not known, or a figure is not above zero.
    """
    if target not in TARGETS:
        raise ArgumentError(f"unknown target {target!r}; choose one of {', '.join(TARGETS)}")
    height = -(-width * 9 // 16) if height is None else height
    if min(fps, width, height, megahertz) <= 0:
        raise ArgumentError("frames per second, sizes and megahertz must be above zero")
    graph, device = graph_of(model), TARGETS[target]
    rate = fps * width * height / 1e6
    clocks = min(int(megahertz / rate), MAX_FOLD)
    if clocks < 1:
        raise SynthesisError(
            f"{width}x{height} at {fps:g} frames per second are {rate:.1f} million pixels per "
            f"second, more than the {megahertz:g} MHz of a core that takes one per clock"
        )
    options = {"max_width": width, "levels_per_register": levels_per_register,
               "register_shared": register_shared}  # fmt: skip
    adders = _planned(graph, multipliers="shift_add", **options)
    blocks = _planned(graph, multipliers="dsp", fold=clocks, **options)
    plan = adders or blocks
    if plan is None:
        plan_graph(graph, multipliers="shift_add", max_width=width)  # which says why
    assert plan is not None
    base = _memories(plan)
    with_adders, with_blocks = (_by_node(item) if item else {} for item in (adders, blocks))
    layers = weighted_layers(graph)
    chosen: dict[str, Multipliers] = dict.fromkeys(layers, "shift_add" if adders else "dsp")

    def needed(styles: Mapping[str, Multipliers]) -> Resources:
        total = base
        for node in graph.nodes:
            here = with_adders if styles.get(node.name, first) == "shift_add" else with_blocks
            total += here.get(node.name, Resources())
        return total

    first = "shift_add" if adders else "dsp"
    total = needed(chosen)
    while adders and blocks:
        # One layer after another gets multipliers, as long as the scarcest kind gets less scarce.
        trials: list[dict[str, Multipliers]] = [
            {**chosen, name: "dsp"} for name in layers if chosen[name] != "dsp"
        ]
        best = min(trials, key=lambda styles: device.fullest(needed(styles)), default=chosen)
        if device.fullest(needed(best)) >= device.fullest(total):
            break
        chosen, total = best, needed(best)
    fold = {name: clocks for name, style in chosen.items() if style == "dsp" and clocks > 1}
    result = Fit(target, clocks, chosen, fold, total)
    usable = replace(device.available, luts=int(FILL * device.available.luts),
                     registers=int(FILL * device.available.registers))  # fmt: skip
    lacking = [
        f"about {getattr(total, name)} of {getattr(usable, name)} {name.replace('_', ' ')}"
        for name in RESOURCE_NAMES
        if 0 < getattr(usable, name) < getattr(total, name)
    ]
    if lacking:
        raise SynthesisError(
            f"{graph.name!r} does not fit {device.device}: {', '.join(lacking)}; take narrower "
            "formats, shorter lines, fewer frames per second or a larger device"
        )
    return result


def _planned(graph: Graph, **options: object) -> CorePlan | None:
    """Return a plan, or None if the network cannot have it."""
    try:
        return plan_graph(graph, **options)[0]  # type: ignore[arg-type]
    except StreamingError:
        return None


def _by_node(plan: CorePlan) -> dict[str, Resources]:
    """Return what every node needs, apart from memories."""
    found: dict[str, Resources] = {}
    name = ""
    for item in plan.items:
        if isinstance(item, str):
            name = item.partition(":")[0]
        elif isinstance(item, ModuleInstance):
            used = _module(item)
            found[name] = found.get(name, Resources()) + used
    return found


def _module(item: ModuleInstance) -> Resources:
    """Return what a module needs, apart from memories."""
    cost: Cost = item.cost
    luts = float(cost.adder_bits)
    values = {name: int(text) for name, text in item.parameters.items() if text.isdecimal()}
    if item.module == "fxp_requantize":
        luts += values["Fields"] * (cost.adders > 0) * values["InWidth"]
        luts += values["Fields"] * 1.5 * values["OutWidth"]
    elif item.module in ("fxp_add", "fxp_clamp"):
        luts += values["Fields"] * values["Width"]
    elif item.module == "fxp_dot_folded":
        # Which weight, and which value.
        chosen = cost.multipliers * (values["WeightWidth"] + values["DataWidth"])
        luts += _MULTIPLEXER * chosen * values["Fold"]
    elif item.module == "fxp_dot_shared":
        # In every step an operand, a weight and a bias are chosen, among a power of two. All
        # outputs of a layer that is not grouped take the same operands.
        products = values["Taps"] * values["Channels"] // values["Groups"]
        steps = _power_of_two(values["Share"] * products)
        alike = values["Groups"] == 1
        choices = _power_of_two(products) if alike else steps * cost.multipliers
        luts += _LONG_MULTIPLEXER * values["DataWidth"] * choices
        luts += cost.multipliers * (values["WeightWidth"] * steps / 8 + values["SumWidth"])
    return Resources(round(luts), cost.registers, 0, cost.multipliers, 0)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _memories(plan: CorePlan) -> Resources:
    """Return the block memories of all windows and waiting values."""
    count = 0
    for item in plan.items:
        if isinstance(item, ModuleInstance) and item.cost.memory_bits:
            values = {name: int(text) for name, text in item.parameters.items() if text.isdecimal()}
            if item.module == "fxp_lag_buffer":
                count += _blocks(values["Depth"], values["Width"])
            elif item.module == "fxp_window" and not values.get("DeltaBits"):
                lines = values["DilationRows"] * (values["KernelRows"] - 1)
                bits = values["Channels"] * values["Width"]
                count += lines * _blocks(values["MaxWidth"], bits)
            else:
                count += -(-item.cost.memory_bits // (16 * 1024))
    # Sequencer, registers and output.
    return Resources(800, 700, 0, 0, count + 4)


def _blocks(rows: int, bits: int) -> int:
    """Return the block memories that hold so many words."""
    return min(-(-rows // depth) * -(-bits // width) for depth, width in _MEMORY_SHAPES)
