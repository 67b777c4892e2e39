"""Programs: the stages of a graph, chosen once, whatever its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from fxp.engine.binary_stages import binary_stage
from fxp.engine.byte_values import store_bytes
from fxp.engine.chains import Chain, chains, single
from fxp.engine.direct import direct_stage
from fxp.engine.movement_stages import movement_stage
from fxp.engine.narrow_stages import quad_stage
from fxp.engine.padding_stages import separate_padding
from fxp.engine.pointwise_stages import pointwise_stage
from fxp.engine.routine_stages import routine_stage
from fxp.engine.stages import BandStage, CommandStage, Stage
from fxp.engine.winograd_four_stages import winograd_four_stage
from fxp.engine.winograd_stages import winograd_stage
from fxp.formats import Overflow, Rounding
from fxp.graph import Graph, Node
from fxp.kernels.host import Tiles, host_tiles

HEADS: Final = frozenset(
    {"conv2d", "conv_transpose2d", "linear"}
    | {"add", "subtract", "multiply", "relu", "clamp", "requantize"}
)
"""Ops that a chain of several nodes may begin with."""
NARROW_BITS: Final = 16
"""Most bits of the inputs and weights that fast kernels multiply."""
WIDE_BITS: Final = 32
"""Bits of a sum that only some of the kernels hold."""
BUILDERS: Final[tuple[Callable[[Graph, Chain, Tiles], CommandStage | None], ...]] = (
    binary_stage,
    winograd_four_stage,
    quad_stage,
    winograd_stage,
    direct_stage,
    pointwise_stage,
    movement_stage,
    routine_stage,
)
"""Each makes a fast stage of a chain, or tells by None that it cannot; the first one counts."""

WINOGRAD: Final = (winograd_four_stage, winograd_stage)


@dataclass(frozen=True)
class Options:
    """How to run a graph; the result never depends on it.

    Attributes
    ----------
    kernels
        ``"fast"``; ``"direct"``, without Winograd; or ``"portable"``, plain loops that the compiler
        vectorises as it can.
    fuse
        Whether nodes may be fused: chains of nodes, and segments over row bands.
    tiles
        Register tiles; those of the processor by default.
    workspace_bytes
        Buffers of one piece of a segment are made to fit this, about a second-level cache.
    band_rows
        Rows of a result that are computed in one step of a segment.
    band_bytes
        Accumulators of one band of a stage that runs alone.
    plan_bytes
        Memory of the plans that are kept for other sizes; those used least recently are forgotten.
    piece_work
        Multiply-accumulates of what a thread takes at a time, at least; half a million take a few
        microseconds, much longer than to take it.
    """

    kernels: Literal["fast", "direct", "portable"] = "fast"
    fuse: bool = True
    tiles: Tiles | None = None
    workspace_bytes: int = 1 << 20
    band_rows: int = 8
    band_bytes: int = 1 << 18
    plan_bytes: int = 1 << 30
    piece_work: int = 500_000


class Program:
    """The stages of an integer graph.

    Parameters
    ----------
    graph
        An integer graph.
    options
        How to run it.
    kept
        Values to keep in memory besides outputs and states.
    """

    def __init__(self, graph: Graph, options: Options, kept: frozenset[str] = frozenset()) -> None:
        fast = options.kernels != "portable"
        self.nodes = tuple(node.name for node in graph.nodes)
        """Nodes of the graph that is given, to which padding of its own is added."""
        graph = separate_padding(graph) if fast else graph
        self.graph, self.options = graph, options
        self.inputs = tuple(value.name for value in graph.inputs)
        """Values that are given."""
        self.kept = kept | set(graph.outputs) | {state.source for state in graph.states}
        self.dtypes = {
            name: value.format.dtype for name, value in graph.values.items() if value.format
        }
        stages = []
        for chain in chains(graph, heads=HEADS, fuse=options.fuse and fast):
            stages += self._stages(chain) if fast else [self._band_stage(chain.head)]
        self.stages: tuple[Stage, ...] = tuple(stages)
        store_bytes(self.stages, self.kept)
        self.dtypes |= {stage.result: stage.dtype for stage in self.stages}

    def _stages(self, chain: Chain) -> list[Stage]:
        tiles = self.options.tiles or host_tiles()
        for build in BUILDERS:
            if build in WINOGRAD and self.options.kernels == "direct":
                continue
            if (stage := build(self.graph, chain, tiles)) is not None:
                return [*stage.before, stage]
        if len(chain.nodes) > 1:
            return [
                stage for node in chain.nodes for stage in self._stages(single(self.graph, node))
            ]
        return [self._band_stage(chain.head)]

    def _band_stage(self, node: Node) -> BandStage:
        reason = "asked for" if self.options.kernels == "portable" else _reason(self.graph, node)
        return BandStage(self.graph, Chain((node,)), reason, self.options.band_bytes)


def _reason(graph: Graph, node: Node) -> str:
    """Why no command stage computes a node, in a few words."""
    accumulator, target = node.accumulator, node.quantization
    assert accumulator is not None
    assert target is not None
    widths = {
        "input" if operand.constant is None else "weights": max(
            form.width for form in operand.formats
        )
        for operand in graph.operands[node.name][:2]
    }
    for name, width in widths.items():
        if width > NARROW_BITS:
            return f"{name} of {width} bits"
    if target.rounding not in (Rounding.HALF_UP, Rounding.FLOOR):
        return f"rounds {target.rounding.value}"
    if target.overflow not in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
        return f"overflow {target.overflow.value}"
    if accumulator.bits > WIDE_BITS:
        return f"sums of {accumulator.bits} bits"
    return f"this shape of {node.op.name}"
