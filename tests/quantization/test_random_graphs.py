"""Random float graphs of every kind of op, quantized in every way: the executors agree exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from cases import assert_same
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import constant, graph, image, node

from fxp.engine import Engine
from fxp.executors import oracle, torch_forward
from fxp.executors.execution import Result
from fxp.formats import Overflow, Rounding, dequantize, quantize
from fxp.graph import Constant, Graph, Node, State, Value
from fxp.graph.ops import (
    Add,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Clamp,
    Concat,
    Conv2d,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    Linear,
    MaxPool,
    Multiply,
    Nearest,
    Op,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Prelu,
    Relu,
    Sigmoid,
    Slice,
    Subtract,
    Tanh,
)
from fxp.quantization.calibrate import METHODS, observe
from fxp.quantization.lowering import lower
from fxp.quantization.settings import LoweringSettings

SIZE = 8
PLAIN: Sequence[Op] = (
    Relu(),
    Clamp(0.0, 1.0),
    Clamp(high=0.7),
    Sigmoid(),
    Tanh(),
    MaxPool((3, 3), (1, 1), (1, 1, 1, 1)),
    AveragePool((3, 3), (1, 1), (1, 1, 1, 1), False),
)
"""Ops of one input that keep the size."""
RESIZING: Sequence[tuple[Op, Op]] = (
    (Nearest(), MaxPool()),
    (PixelUnshuffle(), PixelShuffle()),
    (BilinearUpsample(), AveragePool()),
    (BicubicUpsample(), Conv2d(stride=(2, 2))),
)
"""Pairs of ops that together keep the size."""
STEPS = ("conv", "depthwise", "pointwise", "prelu", "plain", "resize", "residual", "subtract",
         "concat", "gate", "scale", "offset", "slice", "state")  # fmt: skip


@dataclass
class Builder:
    """Collects a graph step by step; `here` is the newest value."""

    generator: np.random.Generator
    channels: int
    here: str = "x"
    nodes: list[Node] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    def add(self, op: Op, *inputs: str) -> str:
        """Append a node; returns its name."""
        name = f"{op.name}{len(self.nodes)}"
        self.nodes.append(node(name, op, *inputs))
        return name

    def weight(self, *shape: int, scale: float = 1.0) -> str:
        """Append a constant of random numbers; one of several rows may almost vanish."""
        data = self.generator.normal(0, scale, shape)
        if shape[0] > 1 and self.generator.random() < 0.2:
            data[0] *= 1e-6
        name = f"constant{len(self.constants)}"
        self.constants.append(constant(name, data))
        return name

    def convolved(self, source: str, to: int, size: int = 3, groups: int = 1, stride: int = 1):
        """Append a convolution that keeps the size, or halves it."""
        side = (size // 2,) * 4
        mode = self.generator.choice(["zero", "reflect", "replicate"])
        op = Conv2d((stride, stride), side, str(mode), (1, 1), groups)  # type: ignore[arg-type]
        taps = self.channels // groups * size * size
        inputs = [source, self.weight(to, self.channels // groups, size, size, scale=taps**-0.5)]
        if self.generator.random() < 0.5:
            inputs.append(self.weight(to, scale=0.2))
        return self.add(op, *inputs)

    def step(self, kind: str) -> None:
        """Append one step, which may be several nodes."""
        here, draw = self.here, self.generator
        match kind:
            case "conv":
                to = int(draw.integers(1, 5))
                self.here, self.channels = self.convolved(here, to), to
            case "depthwise":
                self.here = self.convolved(here, self.channels, groups=self.channels)
            case "pointwise":
                self.here = self.convolved(here, self.channels, size=1)
            case "prelu":
                slopes = int(draw.choice([1, self.channels]))
                self.here = self.add(Prelu(), here, self.weight(slopes, scale=0.3))
            case "plain":
                self.here = self.add(PLAIN[draw.integers(len(PLAIN))], here)
            case "resize":
                first, second = RESIZING[draw.integers(len(RESIZING))]
                inner = self.add(first, here)
                if isinstance(second, Conv2d):
                    self.here = self.convolved(inner, self.channels, stride=2)
                else:
                    self.here = self.add(second, inner)
            case "residual" | "subtract":
                branch = self.convolved(here, self.channels)
                self.here = self.add(Add() if kind == "residual" else Subtract(), branch, here)
            case "concat":
                branch = self.convolved(here, 2)
                self.here, self.channels = self.add(Concat(), here, branch), self.channels + 2
            case "gate":
                gate = self.add(Sigmoid(), self.convolved(here, self.channels))
                self.here = self.add(Multiply(), here, gate)
            case "scale":
                self.here = self.add(Multiply(), here, self.weight(self.channels, 1, 1, scale=9.0))
            case "offset":
                self.here = self.add(Add(), self.weight(1, 1, 1), here)
            case "slice":
                padded = self.add(Pad((1, 0, 0, 1), "replicate"), here)
                rows = self.add(Slice("row", 1, None), padded)
                self.here = self.add(Slice("column", 0, -1), rows)
            case "state" if not self.states:
                shape = (self.channels, SIZE, SIZE)
                mixed = self.add(Add(), here, self.add(Multiply(), "state", self.half()))
                self.here = self.add(Tanh(), mixed)
                self.states.append(State(Value("state", shape), self.here))

    def half(self) -> str:
        """Append the constant one half."""
        self.constants.append(constant(f"constant{len(self.constants)}", [[[0.5]]]))
        return self.constants[-1].name

    def head(self, kind: str) -> None:
        """Append what makes the output."""
        if kind == "linear":
            pool = (GlobalAveragePool(), GlobalMaxPool())[self.generator.integers(2)]
            flat = self.add(Flatten(), self.add(pool, self.here))
            weight, bias = self.weight(3, self.channels), self.weight(3)
            self.here = self.add(Linear(), flat, weight, bias)
        elif kind == "shuffle":
            self.here = self.add(PixelShuffle(), self.convolved(self.here, 4))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Float graphs of one to seven steps, a head, and perhaps a second output."""
    channels = draw(st.integers(1, 3))
    builder = Builder(np.random.default_rng(draw(st.integers(0, 1 << 32))), channels)
    for kind in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=7)):
        builder.step(kind)
    second = builder.here
    builder.head(draw(st.sampled_from(["none", "linear", "shuffle"])))
    outputs = dict.fromkeys([builder.here, second] if draw(st.booleans()) else [builder.here])
    source = Value("x", (channels, SIZE, SIZE)) if builder.states else image("x", channels)
    if not builder.nodes:
        builder.here = builder.add(Relu(), "x")
        outputs = {builder.here: None}
    return graph(source, builder.nodes, list(outputs), builder.constants, builder.states)


SETTINGS = st.builds(
    LoweringSettings,
    weight_bits=st.integers(2, 12),
    activation_bits=st.integers(4, 16),
    method=st.sampled_from(METHODS),
    percentile=st.sampled_from([90.0, 99.0, 99.99]),
    per_channel=st.booleans(),
    rounding=st.sampled_from(Rounding),
    overflow=st.sampled_from(
        [Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC, Overflow.SATURATE_TO_ZERO]
    ),
    wide_bits=st.sampled_from([0, 20, 32]),
)


def check_agreement(integer: Graph, frames: Sequence[np.ndarray]) -> None:
    """Compare every value of every frame; states go from one to the next."""
    expected: Result | None = None
    engine = Engine(integer)
    tensors: dict[str, torch.Tensor] = {}
    for frame in frames:
        form = integer.inputs[0].format
        assert form is not None
        raw = [quantize(frame, form)]
        states = expected.states if expected else None
        expected = oracle.run(integer, raw, states)
        actual = engine.run(raw, states, threads=2, keep_values=True)
        forward = torch_forward.run(integer, [torch.from_numpy(frame)[None]], tensors)
        tensors = forward.states
        assert actual.clipped == expected.clipped
        for name, want in expected.values.items():
            assert_same("engine", name, want, actual.values[name])
            value_format = integer.values[name].format
            assert value_format is not None
            assert_same("torch", name, dequantize(want, value_format),
                        forward.values[name][0].numpy())  # fmt: skip


@settings(max_examples=120)
@given(graphs(), st.lists(SETTINGS, min_size=2, max_size=2), st.integers(0, 1000))
def test_executors_agree(source, all_settings, seed):
    generator = np.random.default_rng(seed)
    channels = source.inputs[0].shape[0]
    calls = [generator.uniform(-0.2, 1, (1, channels, SIZE, SIZE)) for _ in range(2)]
    statistics = observe(source, [[torch.from_numpy(call)] for call in calls])
    # Half as far again as the calibration data, so that values clip.
    frames = [1.5 * call[0] - 0.2 for call in calls]
    for chosen in all_settings:
        integer = lower(source, statistics, chosen)
        for item in integer.nodes:
            assert item.quantization is not None
            limit = max(chosen.activation_bits, chosen.wide_bits)
            assert item.quantization.format.width <= limit
        check_agreement(integer, frames)


@settings(max_examples=25)
@given(graphs(), st.integers(0, 1000))
def test_more_bits_come_closer_to_the_float_graph(source, seed):
    generator = np.random.default_rng(seed)
    channels = source.inputs[0].shape[0]
    call = torch.from_numpy(generator.uniform(0, 1, (1, channels, SIZE, SIZE)))
    statistics = observe(source, [[call]])
    wanted = torch_forward.run(source, [call])
    power = sum(float((tensor**2).sum()) for tensor in wanted.outputs)
    noises = []
    for bits in (6, 9, 12, 16):
        integer = lower(source, statistics, LoweringSettings(bits, bits, method="minmax"))
        found = torch_forward.run(integer, [call])
        errors = [a - b for a, b in zip(found.outputs, wanted.outputs, strict=True)]
        noises.append(sum(float((error**2).sum()) for error in errors))
    assert noises[3] <= 1e-6 * power or noises[3] <= noises[0] / 1e4
    # Few outputs may be lucky once, but not over six bits.
    for coarse, fine in zip(noises, noises[2:], strict=False):
        assert fine <= coarse / 2 or fine <= 1e-7 * power
