"""The line codec: its layout, its error, and what a hardware line memory relies on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from fxp.executors.torch_forward import run
from fxp.formats import Format, Quantization
from fxp.graph import Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import GraphError, LineCodec
from fxp.graph.ops.base import Operand
from fxp.graph.ops.line_codec import GROUP, SHIFT_BITS, WIDTHS, CodeLayout
from fxp.model import FixedModel

FORMATS = [Format(width, 3, signed) for width in range(WIDTHS[0], WIDTHS[1] + 1)
           for signed in (True, False)]  # fmt: skip


def coded(form: Format, values: Sequence[int]) -> list[int]:
    """One line through the oracle."""
    image = np.array(values, np.int64).reshape(1, 1, -1)
    return LineCodec().oracle([Operand(image.shape, (form,))], image)[0, 0].tolist()


def code(form: Format, group: Sequence[int]) -> tuple[int, int, list[int]]:
    """Base, shift and deltas of a group, in Python's integers alone."""
    layout = CodeLayout.of(form)
    raw = [value - form.min_raw for value in group]
    base = min(raw) >> (layout.width - layout.base_bits)
    span = max(raw) - base * layout.base_step
    shift = max(span.bit_length() - layout.delta_bits, 0)
    deltas = []
    for value in raw:
        distance = value - base * layout.base_step
        rounded = (distance + ((1 << shift) >> 1)) >> shift
        deltas.append(min(rounded, layout.levels - 1))
    return base, shift, deltas


def decoded(form: Format, base: int, shift: int, delta: int) -> int:
    """One pixel from its group's base and shift and its own delta."""
    value = base * CodeLayout.of(form).base_step + (delta << shift)
    return min(value, form.max_raw - form.min_raw) + form.min_raw


def lines(form: Format, seed: int) -> list[list[int]]:
    """Groups of every size with spans of every magnitude."""
    random = np.random.default_rng(seed)
    found = []
    for magnitude in range(form.width + 1):
        for size in range(1, GROUP + 1):
            span = 1 << magnitude
            start = int(random.integers(form.min_raw, form.max_raw - span + 2))
            found.append(random.integers(start, start + span, size).tolist())
    ends = [form.min_raw, form.max_raw]
    return [*found, ends, ends[::-1], [form.max_raw] * GROUP, [form.max_raw - 1, form.max_raw]]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_a_pixel_follows_from_its_group_and_its_own_bits(form: Format) -> None:
    layout = CodeLayout.of(form)
    for group in lines(form, form.width):
        base, shift, deltas = code(form, group)
        assert 0 <= base < 1 << layout.base_bits
        assert 0 <= shift <= layout.largest_shift < 1 << SHIFT_BITS
        assert all(0 <= delta < layout.levels for delta in deltas)
        assert coded(form, group) == [decoded(form, base, shift, delta) for delta in deltas]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_codes_take_half_the_bits(form: Format) -> None:
    layout = CodeLayout.of(form)
    bits = SHIFT_BITS + layout.base_bits + GROUP * layout.delta_bits
    assert GROUP * form.width // 2 - 7 <= bits <= GROUP * form.width // 2
    assert layout.delta_bits >= 2


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_the_error_is_bounded_by_the_span(form: Format) -> None:
    layout = CodeLayout.of(form)
    for group in lines(form, 1):
        shift = code(form, group)[1]
        errors = np.abs(np.subtract(coded(form, group), group))
        # The last level takes in what would round up to the next one.
        assert errors.max() <= max((1 << shift) - 1, 0)
        span = max(group) - min(group)
        if span + layout.base_step <= layout.levels:
            assert not errors.any()


def test_groups_do_not_see_each_other() -> None:
    form = Format(14, 8)
    random = np.random.default_rng(0)
    line = random.integers(form.min_raw, form.max_raw, 3 * GROUP + 5, endpoint=True).tolist()
    whole = coded(form, line)
    for start in range(0, len(line), GROUP):
        assert whole[start : start + GROUP] == coded(form, line[start : start + GROUP])


def test_zeros_and_constant_lines_come_back() -> None:
    for form in (Format(14, 8), Format(14, 8, False), Format(8, 0, False)):
        assert coded(form, [0] * 11) == [0] * 11
        assert coded(form, [form.max_raw, 0, 0])[1:] == [0, 0]


def graph(form: Format) -> Graph:
    """Return a graph of the codec alone."""
    source = Value("x", (2, Extent("H"), Extent("W")), form)
    node = Node("stored", LineCodec(), ("x",), Quantization(form))
    return Graph("codec", (source,), (node,), ("stored",))


@pytest.mark.parametrize("form", [Format(5, 0), Format(25, 0), Format(1, 0, False)])
def test_other_formats_are_refused(form: Format) -> None:
    with pytest.raises(GraphError, match="takes formats of 6 to 24 bits, got"):
        graph(form)


def test_vectors_and_float_graphs_are_refused() -> None:
    with pytest.raises(GraphError, match="needs an image"):
        Graph("v", (Value("x", (3,), Format(8, 0)),),
              (Node("n", LineCodec(), ("x",), Quantization(Format(8, 0))),), ("n",))  # fmt: skip
    with pytest.raises(GraphError, match="no meaning in a float graph"):
        Graph("f", (Value("x", (1, 4, 4)),), (Node("n", LineCodec(), ("x",)),), ("n",))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (2, 8), (5, 9), (4, 23)])
def test_float32_is_exact_and_gradients_pass_straight_through(size: tuple[int, int]) -> None:
    form = Format(24, 20)
    model = FixedModel(graph(form))
    raw = np.random.default_rng(1).integers(form.min_raw, form.max_raw, (2, *size), endpoint=True)
    expected = model.run(raw).outputs[0]
    values = torch.tensor(np.ldexp(raw.astype(np.float32), -20))[None].requires_grad_()
    result = LineCodec().torch(model.graph.operands["stored"], values)
    assert result.dtype == torch.float32
    assert np.array_equal(np.ldexp(result[0].detach().numpy(), 20).astype(np.int64), expected)
    weights = torch.arange(values.numel(), dtype=torch.float32).reshape(values.shape)
    (result * weights).sum().backward()
    assert torch.equal(values.grad, weights)  # type: ignore[arg-type]


def test_the_quantized_forward_trains_through_the_codec() -> None:
    model = graph(Format(12, 6))
    values = torch.linspace(-3, 3, 2 * 3 * 11, dtype=torch.float64).reshape(1, 2, 3, 11)
    values.requires_grad_()
    run(model, [values]).outputs[0].sum().backward()
    assert torch.equal(values.grad, torch.ones_like(values))  # type: ignore[arg-type]
