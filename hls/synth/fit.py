"""Choice of multipliers and their sharing for a device and a frame rate, before any synthesis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fxp.graph import Graph, ops
from fxp.hls.rtl.adder_graph import LEVELS_PER_REGISTER
from fxp.hls.rtl.core import Multipliers
from fxp.hls.rtl.emit import plan_graph
from fxp.hls.rtl.planning import CorePlan, Cost, ModuleInstance, StreamingError
from fxp.hls.rtl.streams import MultiplierWidthError
from fxp.hls.rtl.styles import MAX_FOLD, weighted_layers
from fxp.hls.synth.targets import RESOURCE_NAMES, TARGETS, Resources, SynthesisTarget
from fxp.hls.synth.tools import SynthesisError
from fxp.model.sources import ModelSource, graph_of
from fxp.support.errors import ArgumentError
from fxp.support.progress import Progress

FILL = 0.9
"""Part of look-up tables and registers that may be in use; fuller devices are hard to route."""
MOST_SHARED = 3
"""Signed digits of weights for each adder that sharing leaves; random weights reach 2.2."""
_MEMORY_SHAPES = ((2048, 9), (1024, 18), (512, 36))
"""Rows and bits of a block memory."""
_MULTIPLEXER = 0.9
"""Look-up tables for each bit of a choice of one out of many, per candidate."""
_CONSTANT = 0.15
"""The same for each bit of constants."""
_FEWEST_BITS = 2048
"""Constant bits for which yosys takes a block memory."""


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
        What the core is estimated to need; yosys mostly counts within fifteen percent of it.
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
    initial_size: tuple[int, int] | None = None,
    megahertz: float = 150,
    levels_per_register: int = LEVELS_PER_REGISTER,
    register_shared: bool = False,
    progress: Progress | None = None,
) -> Fit:
    """Choose between multipliers and shared adders for every layer, so that a core fits a device.

    As many weights share a multiplier as the frame rate leaves clocks for. One layer after another
    gets multipliers in place of adders, as long as that relieves what the device has least of.
    The largest layers get multipliers at once if the adders of all could never fit; these are not
    searched then.

    Parameters
    ----------
    model
        A quantized model, its integer graph, or the path of its ``.fxp`` file.
    target
        One of `fxp.hls.synth.TARGETS`.
    fps
        Frames per second.
    width, height
        Pixels of the largest frame of the input; the height is nine sixteenths of the width by
        default. A network of fixed size is rated at its own.
    initial_size
        ``(width, height)``, as for `fxp.hls.emit_rtl`: the only size if a result depends on a whole
        frame, and then what counts.
    megahertz
        Clock frequency that the core will have.
    levels_per_register, register_shared
        As for `fxp.hls.emit_rtl`.
    progress
        Called with layers done, layers in all, and the name of the next one.

    Raises
    ------
    SynthesisError
        If nothing fits; the message says what is lacking.
    StreamingError
        If the network cannot stream.
    ArgumentError
        If the target is not known, or a figure is not a finite one above zero.
    """
    if target not in TARGETS:
        raise ArgumentError(f"unknown target {target!r}; choose one of {', '.join(TARGETS)}")
    graph, device = graph_of(model), TARGETS[target]
    largest = (width, -(-width * 9 // 16) if height is None else height)
    figures = (fps, megahertz, *largest, *(initial_size or ()))
    if not all(0 < figure < math.inf for figure in figures):
        raise ArgumentError("frames per second, sizes and megahertz must be finite and above zero")
    rows, columns = graph.inputs[0].shape[1:]
    if isinstance(rows, int) and isinstance(columns, int):
        largest = initial_size = (columns, rows)
    base = _Planner(graph, largest, initial_size or largest, levels_per_register,
                    register_shared, progress)  # fmt: skip
    first, narrow = base.with_multipliers(1)
    if first.one_size:
        if initial_size is None and height is None:
            raise StreamingError(
                f"a result of {graph.name!r} depends on a whole frame: give the size of your "
                "frames as initial_size, or a height beside the width"
            )
        # No longer line ever comes.
        largest = base.size
        base = replace(base, largest=largest)
    clocks = _clocks(largest, fps, megahertz)
    usable = replace(device.available, luts=int(FILL * device.available.luts),
                     registers=int(FILL * device.available.registers))  # fmt: skip
    searched = _worth_a_search(graph, narrow, usable.luts)
    blocks, _ = base.with_multipliers(clocks)
    memories, with_blocks = _memories(blocks), _by_node(blocks)
    rest = [used for name, used in with_blocks.items() if name not in searched]
    # A search cannot help if the other layers alone are too large.
    _check_fit(graph, device, usable, sum(rest, memories), at_least=True)
    adders = base.plan(searched, clocks) if set(searched) > set(narrow) else blocks
    with_adders = _by_node(adders)
    chosen: dict[str, Multipliers] = {
        # Some layers have multipliers in either style.
        name: "shift_add" if name in searched and not with_adders[name].multipliers else "dsp"
        for name in weighted_layers(graph)
    }

    def needed(styles: Mapping[str, Multipliers]) -> Resources:
        total = memories
        for node in graph.nodes:
            here = with_adders if styles.get(node.name) == "shift_add" else with_blocks
            total += here.get(node.name, Resources())
        return total

    total = needed(chosen)
    while True:
        # One layer after another gets multipliers, as long as the scarcest kind gets less scarce.
        trials: list[dict[str, Multipliers]] = [
            {**chosen, name: "dsp"}
            for name, style in chosen.items()
            if style != "dsp" and name not in narrow
        ]
        best = min(trials, key=lambda styles: device.fullest(needed(styles)), default=chosen)
        if device.fullest(needed(best)) >= device.fullest(total):
            break
        chosen, total = best, needed(best)
    # A layer with as many multipliers whatever the clocks shares none.
    alike = _by_node(first)
    fold = {
        name: clocks
        for name, style in chosen.items()
        if style == "dsp" and with_blocks.get(name) != alike.get(name)
    }
    _check_fit(graph, device, usable, total)
    return Fit(target, clocks, chosen, fold, total)


def _check_fit(
    graph: Graph, device: SynthesisTarget, usable: Resources, total: Resources, *,
    at_least: bool = False,
) -> None:  # fmt: skip
    about = "at least" if at_least else "about"
    lacking = [
        f"{about} {getattr(total, name)} of {getattr(usable, name)} {name.replace('_', ' ')}"
        for name in RESOURCE_NAMES
        if 0 < getattr(usable, name) < getattr(total, name)
    ]
    if lacking:
        raise SynthesisError(
            f"{graph.name!r} does not fit {device.device}: {', '.join(lacking)}; take narrower "
            "formats, shorter lines, fewer frames per second or a larger device"
        )


def _clocks(size: tuple[int, int], fps: float, megahertz: float) -> int:
    """Return the clocks that there are for each pixel."""
    width, height = size
    rate = fps * width * height / 1e6
    if megahertz < rate:
        raise SynthesisError(
            f"{width}x{height} at {fps:g} frames per second are {rate:.1f} million pixels per "
            f"second, more than the {megahertz:g} MHz of a core that takes one per clock"
        )
    return int(min(megahertz / rate, MAX_FOLD))


@dataclass(frozen=True)
class _Planner:
    """Plans of one graph for frames of one size."""

    graph: Graph
    largest: tuple[int, int]
    size: tuple[int, int]
    levels_per_register: int
    register_shared: bool
    progress: Progress | None

    def plan(self, adders: Sequence[str], clocks: int) -> CorePlan:
        """Return the plan with adders in some layers, and shared multipliers in the others."""
        layers = weighted_layers(self.graph)
        styles: dict[str, Multipliers] = {
            name: "shift_add" if name in adders else "dsp" for name in layers
        }
        width, height = self.size
        return plan_graph(
            self.graph, max_width=self.largest[0], size=(height, width),
            multipliers=styles, fold=dict.fromkeys(set(layers) - set(adders), clocks),
            levels_per_register=self.levels_per_register, register_shared=self.register_shared,
            progress=self.progress,
        )[0]  # fmt: skip

    def with_multipliers(self, clocks: int) -> tuple[CorePlan, list[str]]:
        """Return a plan with multipliers where devices have ones, and the layers without."""
        narrow: list[str] = []
        while True:
            try:
                return self.plan(narrow, clocks), narrow
            except MultiplierWidthError as error:
                if error.node in narrow or error.node not in weighted_layers(self.graph):
                    raise
                narrow.append(error.node)


def _worth_a_search(graph: Graph, needed: Sequence[str], luts: int) -> list[str]:
    """Return the layers whose adders are worth a search, which takes minutes for large ones.

    Parameters
    ----------
    graph
        The network.
    needed
        Layers that must have adders.
    luts
        Look-up tables that there are.
    """
    bounds = {name: _fewest_luts(graph, name) for name in weighted_layers(graph)}
    found = list(needed)
    total = sum(bounds[name] for name in needed)
    for name in sorted(set(bounds) - set(needed), key=lambda name: (bounds[name], name)):
        total += bounds[name]
        if total > luts:
            break
        found.append(name)
    return found


def _fewest_luts(graph: Graph, name: str) -> float:
    """Return what shared adders of a layer will hardly go below, without a search for them."""
    node = next(node for node in graph.nodes if node.name == name)
    weight = graph.constants_by_name[node.inputs[1]].data
    rows = weight.swapaxes(0, 1) if isinstance(node.op, ops.ConvTranspose2d) else weight
    # Equal outputs need their adders once.
    sizes = np.abs(np.unique(rows.reshape(len(rows), -1), axis=0))
    # The canonical signed digits of a number.
    digits = int(np.bitwise_count(sizes ^ (3 * sizes)).sum())
    terms = digits - np.count_nonzero(sizes.any(axis=1))
    return max(terms, 0) / MOST_SHARED * (graph.operand(node.inputs[0]).format.width + 1)


def _by_node(plan: CorePlan) -> dict[str, Resources]:
    """Return what every node needs, apart from the memories of `_memories`."""
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
    """Return what a module needs, apart from the memories of `_memories`."""
    cost: Cost = item.cost
    luts, weights = float(cost.adder_bits), Resources()
    values = {name: int(text) for name, text in item.parameters.items() if text.isdecimal()}
    if item.module == "fxp_requantize":
        luts += values["Fields"] * (cost.adders > 0) * values["InWidth"]
        luts += values["Fields"] * 1.5 * values["OutWidth"]
    elif item.module in ("fxp_add", "fxp_clamp"):
        luts += values["Fields"] * values["Width"]
    elif item.module == "fxp_dot_folded":
        # Every phase has its operands, which all outputs of a group share, and its weights.
        operands = values["Groups"] * cost.multipliers // values["Outputs"]
        luts += _MULTIPLEXER * operands * values["DataWidth"] * values["Fold"]
        # Sums begin anew with a bias.
        luts += values["Outputs"] * values["SumWidth"]
        weights = _constants(cost.multipliers * values["WeightWidth"], values["Fold"])
    elif item.module == "fxp_dot_shared":
        # In every step an operand, a weight and a bias are chosen. All outputs of a layer that is
        # not grouped take the same operands.
        products = values["Taps"] * values["Channels"] // values["Groups"]
        steps = values["Share"] * products
        choices = products if values["Groups"] == 1 else steps * cost.multipliers
        luts += _MULTIPLEXER * values["DataWidth"] * choices
        luts += cost.multipliers * values["SumWidth"]
        weights = _constants(cost.multipliers * values["WeightWidth"], steps)
    return Resources(round(luts), cost.registers, 0, cost.multipliers, 0) + weights


def _constants(bits: int, rows: int) -> Resources:
    """Return what a table of constants needs: memories if each holds enough of them."""
    memories = _blocks(rows, bits)
    if bits * rows > _FEWEST_BITS * memories:
        return Resources(block_rams=memories)
    return Resources(luts=round(_CONSTANT * bits * rows))


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
    return Resources(1000, 1000, 0, 0, count + 4)


def _blocks(rows: int, bits: int) -> int:
    """Return the block memories that hold so many words."""
    return min(-(-rows // depth) * -(-bits // width) for depth, width in _MEMORY_SHAPES)
