"""Small integer graphs that stream, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph import Constant, Graph, Node, State, Value, ops
from fxp.graph.extents import Extent
from fxp.graph.ops import Op


class GraphBuilder:
    """Adds nodes one by one; a result without a quantization keeps its exact accumulator."""

    def __init__(
        self,
        name: str,
        channels: int = 1,
        form: Format | None = None,
        seed: int = 0,
        size: tuple[int | Extent, int | Extent] = (Extent("H"), Extent("W")),
    ):
        self.name = name
        self.random = np.random.default_rng(seed)
        source = Value("image", (channels, *size), form or Format(8, 8, False))
        self.source = source
        self.nodes: list[Node] = []
        self.constants: list[Constant] = []
        self.states: list[State] = []
        self.last = "image"

    def constant(self, name: str, data: np.ndarray, *formats: Format) -> str:
        self.constants.append(Constant(name, np.asarray(data, np.int64), tuple(formats)))
        return name

    def add(
        self,
        op: Op,
        *inputs: str,
        name: str = "",
        target: Quantization | Format | None = None,
    ) -> str:
        name = name or f"{op.name}{len(self.nodes)}"
        names = inputs or (self.last,)
        wide = Quantization(Format(63, 0))
        graph = self.graph((*self.nodes, Node(name, op, names, wide)), (name,), check=False)
        if target is None:
            accumulator = graph.nodes[-1].accumulator
            assert accumulator is not None
            target = accumulator.exact_format
        quantization = target if isinstance(target, Quantization) else Quantization(target)
        self.nodes.append(Node(name, op, names, quantization))
        self.last = name
        return name

    def state(
        self,
        name: str,
        channels: int,
        form: Format,
        scale: int = 1,
        reset: int = 0,
        size: tuple[int, int] | None = None,
    ) -> str:
        """Add a state, which becomes itself until `keep` says what it becomes."""
        _, rows, columns = self.source.shape
        value = Value(name, (channels, *(size or (rows * scale, columns * scale))), form)
        self.states.append(State(value, name, reset))
        return name

    def keep(self, name: str, source: str = "") -> None:
        """Let a state become a value, by default the last one."""
        self.states = [
            replace(state, source=source or self.last) if state.value.name == name else state
            for state in self.states
        ]

    def conv(
        self,
        outputs: int,
        kernel: tuple[int, int] = (3, 3),
        *,
        source: str = "",
        target: Quantization | Format | None = None,
        groups: int = 1,
        dilation: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] | None = None,
        bias: bool = False,
        fracs: Sequence[int] = (7,),
        bits: int = 6,
        name: str = "",
    ) -> str:
        source = source or self.last
        name = name or f"conv{len(self.nodes)}"
        inputs = self.channels(source)
        limit = 1 << (bits - 1)
        data = self.random.integers(-limit, limit, (outputs, inputs // groups, *kernel))
        formats = tuple(Format(bits, frac) for frac in fracs)
        names = [source, self.constant(f"{name}.weight", data, *formats)]
        if bias:
            frac = self.format(source).frac
            bias_formats = tuple(Format(20, form.frac + frac) for form in formats)
            offsets = self.random.integers(-2000, 2000, outputs)
            names.append(self.constant(f"{name}.bias", offsets, *bias_formats))
        if padding is None:
            rows, columns = ((k - 1) * d for k, d in zip(kernel, dilation, strict=True))
            padding = (rows // 2, rows - rows // 2, columns // 2, columns - columns // 2)
        op = ops.Conv2d(padding=padding, dilation=dilation, groups=groups)
        return self.add(op, *names, name=name, target=target)

    def graph(
        self,
        nodes: Sequence[Node] | None = None,
        outputs: Sequence[str] | None = None,
        *,
        check: bool = True,
    ) -> Graph:
        nodes = tuple(self.nodes if nodes is None else nodes)
        outputs = tuple((self.last,) if outputs is None else outputs)
        if not check:  # values that nothing reads yet are outputs, for now
            read = {name for node in nodes for name in node.inputs}
            outputs = tuple(node.name for node in nodes if node.name not in read)
        used = {name for node in nodes for name in node.inputs}
        constants = tuple(item for item in self.constants if item.name in used)
        states = tuple(s for s in self.states if s.value.name in used)
        return Graph(self.name, (self.source,), nodes, outputs, constants, states)

    def channels(self, name: str) -> int:
        if name == "image":
            return int(self.source.shape[0])  # type: ignore[arg-type]
        return int(self.graph(check=False).values[name].shape[0])  # type: ignore[arg-type]

    def format(self, name: str) -> Format:
        form = (
            self.source.format if name == "image" else self.graph(check=False).values[name].format
        )
        assert form is not None
        return form


def kimsr_shaped(width: int = 4, seed: int = 0) -> Graph:
    """The structure of KimSR with few channels: chains, residuals, pixel shuffle, nearest."""
    b = GraphBuilder("kimsr_shaped", seed=seed)
    act = Format(10, 8, False)
    b.conv(width)
    first = b.add(ops.Relu(), target=act)
    b.conv(width, (1, 5), groups=width, target=Format(10, 7))
    b.conv(width // 2, (1, 1))
    b.add(ops.Relu(), target=act)
    b.conv(width // 2, (1, 5), groups=width // 2, target=Format(10, 7))
    b.conv(width, (1, 1))
    b.add(ops.Add(), b.last, first)
    b.add(ops.Relu(), target=act)
    b.conv(width, groups=width, target=Format(10, 7))
    b.conv(width // 2, (1, 1))
    b.add(ops.Relu(), target=act)
    b.conv(width // 2, groups=width // 2, target=Format(10, 7))
    b.conv(4, (1, 1))
    enlarged = b.add(ops.PixelShuffle(2))
    b.add(ops.Nearest(2), "image", name="nearest")
    b.add(ops.Add(), enlarged, "nearest")
    b.add(ops.Clamp(0.0, 1.0), target=Format(8, 8, False))
    return b.graph()


def espcn_shaped() -> Graph:
    """5x5 convolution with biases, formats per channel, factor 3."""
    b = GraphBuilder("espcn_shaped", seed=1)
    b.conv(3, (5, 5), bias=True, fracs=(7, 8, 9), target=Format(12, 9))
    b.conv(2, (3, 3), bias=True, target=Quantization(Format(12, 9), Rounding.HALF_EVEN))
    b.add(ops.Relu())
    b.conv(9, (3, 3), bias=True, fracs=tuple(range(5, 14)))
    b.add(ops.PixelShuffle(3), target=Quantization(Format(9, 8), Rounding.TO_ZERO))
    return b.graph()


def srcnn_shaped() -> Graph:
    """Three channels in and out, a large kernel, no enlargement."""
    b = GraphBuilder("srcnn_shaped", 3, Format(9, 8), seed=2)
    b.conv(2, (7, 7), bias=True, fracs=(8,), bits=5)
    b.add(ops.Relu(), target=Format(10, 8, False))
    b.conv(2, (1, 1), bias=True)
    b.add(ops.Clamp(high=0.75), target=Format(9, 7))
    b.conv(3, (5, 5), target=Quantization(Format(9, 6), Rounding.FLOOR, Overflow.WRAP))
    return b.graph()


def fsrcnn_shaped(stride: int = 2, kernel: int = 5) -> Graph:
    """PReLU and a transposed convolution."""
    b = GraphBuilder("fsrcnn_shaped", seed=3)
    b.conv(3, (3, 3), bias=True)
    slopes = b.constant("slopes", np.array([20, -30, 200]), Format(10, 7))
    b.add(ops.Prelu(), b.last, slopes, target=Format(12, 9))
    b.conv(2, (1, 1))
    slope = b.constant("slope", np.array([13]), Format(8, 6))
    b.add(ops.Prelu(), b.last, slope, target=Format(12, 9))
    weight = b.constant(
        "up.weight", b.random.integers(-30, 31, (1, 2, kernel, kernel)), Format(6, 6)
    )
    bias = b.constant("up.bias", np.array([777]), Format(20, 15))
    # The size grows exactly by the stride.
    excess = kernel - stride
    padding = (excess + 1) // 2
    extra = 2 * padding - excess
    op = ops.ConvTranspose2d((stride, stride), (padding, padding), (extra, extra))
    b.add(op, b.last, weight, bias, target=Format(10, 8))
    return b.graph()


def branches() -> Graph:
    """Concat, slice, constants, dilation; joins whose order of lags depends on the width."""
    b = GraphBuilder("branches", 2, Format(7, 4), seed=4)
    tall = b.conv(2, (5, 1), target=Format(9, 5), name="tall", source="image")
    wide = b.conv(2, (1, 7), target=Format(9, 4), name="wide", source="image")
    b.add(ops.Subtract(), tall, wide, name="difference")
    dilated = b.conv(
        4, (3, 3), groups=2, dilation=(2, 3), source="difference", target=Format(10, 5)
    )
    joined = b.add(ops.Concat(), dilated, "image", tall, name="joined")
    b.add(ops.Slice("channel", 1, None, 2), joined, name="sliced")
    offset = b.constant("offset", np.array([[[-7]], [[9]], [[100]], [[3]]]), Format(9, 2))
    b.add(ops.Add(), "sliced", offset, name="offset_sum")
    uneven = b.conv(2, (2, 4), padding=(1, 0, 0, 3), source="offset_sum", target=Format(10, 3))
    b.add(ops.Add(), uneven, wide, target=Quantization(Format(8, 2), Rounding.HALF_AWAY))
    return b.graph()


def shuffled() -> Graph:
    """No window at all, so no lag; PReLU on the enlarged raster."""
    b = GraphBuilder("shuffled", 4, Format(9, 4), seed=5)
    b.add(ops.GatherChannels((2, 0, 3, 1)))
    b.add(ops.PixelShuffle(2))
    slope = b.constant("slope", np.array([-11]), Format(6, 3))
    b.add(ops.Prelu(), b.last, slope)
    return b.graph()


ACTIVATION = Quantization(Format(8, 6, signed=False))


def residual(target: Quantization = ACTIVATION) -> Graph:
    """A convolution, its shortcut around two others, and a ReLU that rounds."""
    b = GraphBuilder("residual")
    b.conv(2, name="head", target=Format(12, 8))
    b.conv(2, (1, 1), name="wide")
    b.add(ops.Add(), "wide", "head", name="sum")
    b.add(ops.Relu(), name="relu", target=target)
    return b.graph()


def clipped_shuffle() -> Graph:
    b = GraphBuilder("clipped_shuffle")
    b.conv(4, name="conv")
    b.add(ops.PixelShuffle(2), name="shuffle")
    b.add(ops.Clamp(0.0, 1.0), name="clamp", target=Quantization(Format(8, 8, signed=False)))
    return b.graph()
