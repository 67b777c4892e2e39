"""Every spelling of a movement gives the graph that it means, and the values that torch gives."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from frontend_checks import OneInput, compare, prepared
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from fxp.frontend import FrontendError, from_torch
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    Add,
    Concat,
    Conv2d,
    Flatten,
    Flip,
    GatherChannels,
    GlobalAveragePool,
    Interpolate,
    Linear,
    Multiply,
    Nearest,
    Pad,
    Part,
    PixelShuffle,
    PixelUnshuffle,
    Relu,
    Sigmoid,
    Slice,
    SpatialConcat,
    Transpose,
    Unflatten,
)

IMAGE = (1, 4, 8, 12)
SPREAD = Interpolate("nearest")


def pixel_shuffle(m, x):
    b, c, h, w = x.shape
    return x.view(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(b, c // 4, h * 2, w * 2)


def pixel_unshuffle(m, x):
    b, c, h, w = x.shape
    split = x.view(b, c, h // 2, 2, w // 2, 2)
    return split.permute(0, 1, 3, 5, 2, 4).reshape(b, c * 4, h // 2, w // 2)


def channel_shuffle(m, x):
    b, c, h, w = x.shape
    return x.view(b, 2, c // 2, h, w).transpose(1, 2).contiguous().view(b, -1, h, w)


def halves_in_turn(m, x):
    half = x.shape[2] // 2
    return torch.cat([x[:, :, half:], x[:, :, :half]], 2)


def channels_to_rows(m, x):
    """Two halves of the channels, one below the other."""
    b, c, h, w = x.shape
    return x.view(b, 2, c // 2, h, w).permute(0, 2, 1, 3, 4).reshape(b, c // 2, h * 2, w)


def channels_to_columns(m, x):
    """Neighbouring channels become neighbouring columns."""
    b, c, h, w = x.shape
    return x.view(b, c // 2, 2, h, w).permute(0, 1, 3, 4, 2).reshape(b, c // 2, h, w * 2)


def every_second(x):
    return x[:, :, ::2, ::2]


def with_zeros(m, x):
    x = every_second(x)
    zeros = x.new_zeros(1, 2, *x.shape[2:])
    return torch.cat([zeros, x, zeros], 1)


def with_torch_zeros(m, x):
    x = every_second(x)
    zeros = torch.zeros(x.shape[0], 2, x.shape[2], x.shape[3], device=x.device, dtype=x.dtype)
    return torch.cat((zeros, x, zeros), dim=1)


THINNED = [Slice("row", 0, None, 2), Slice("column", 0, None, 2)]
OPTION_A = [*THINNED, GatherChannels((-1, -1, 0, 1, 2, 3, -1, -1))]
ZEROS_BEHIND = [*THINNED, GatherChannels((0, 1, 2, 3, -1, -1, -1, -1))]

SPELLINGS = {
    "pixel shuffle": (pixel_shuffle, [PixelShuffle(2)]),
    "channel shuffle": (channel_shuffle, [GatherChannels((0, 2, 1, 3))]),
    "nn.ChannelShuffle": (nn.ChannelShuffle(2), [GatherChannels((0, 2, 1, 3))]),
    "F.channel_shuffle": (
        lambda m, x: functional.channel_shuffle(x, 2), [GatherChannels((0, 2, 1, 3))],
    ),
    "unflatten": (
        lambda m, x: x.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2),
        [GatherChannels((0, 2, 1, 3))],
    ),
    "channels to rows": (
        channels_to_rows, [Slice("channel", 0, 2), Slice("channel", 2), SpatialConcat("row")],
    ),
    "channels to columns": (
        channels_to_columns,
        [GatherChannels((0, 1, 0, 1, 2, 3, 2, 3)), PixelShuffle(2), Slice("row", 0, None, 2)],
    ),
    "padded channels": (
        lambda m, x: functional.pad(every_second(x), (0, 0, 0, 0, 2, 2)), OPTION_A,
    ),
    "zeros around": (with_zeros, OPTION_A),
    "torch.zeros around": (with_torch_zeros, OPTION_A),
    "zeros_like behind": (
        lambda m, x: torch.cat([every_second(x), torch.zeros_like(every_second(x))], 1),
        ZEROS_BEHIND,
    ),
    "zeros_like without batch size": (
        lambda m, x: torch.cat([x, torch.zeros_like(x[:, :1])], 1),
        [GatherChannels((0, 1, 2, 3, -1))],
    ),
    "dropped and padded channels": (
        lambda m, x: functional.pad(x, (0, 0, 0, 0, -1, 2)),
        [Slice("channel", 1), GatherChannels((0, 1, 2, -1, -1))],
    ),
    "rows of zeros": (
        lambda m, x: torch.cat([x.new_zeros(1, 4, 1, x.shape[3]), x], 2), [Pad((1, 0, 0, 0))],
    ),
    "columns of zeros": (
        lambda m, x: torch.cat([x, x.new_zeros(1, 4, x.shape[2], 3)], 3), [Pad((0, 0, 0, 3))],
    ),
    "constants of one number": (
        lambda m, x: x + torch.zeros_like(x) + 2 * torch.ones_like(x), [Add(), Add()],
    ),
    "flipped channels": (lambda m, x: x.flip(1), [GatherChannels((3, 2, 1, 0))]),
    "flipped rows": (lambda m, x: x.flip(2), [Flip("row")]),
    "flipped both": (lambda m, x: torch.flip(x, (-1, -2)), [Flip("row"), Flip("column")]),
    "rot90": (lambda m, x: torch.rot90(x, 1, (2, 3)), [Flip("column"), Transpose()]),
    "rot180": (lambda m, x: torch.rot90(x, 2, (2, 3)), [Flip("row"), Flip("column")]),
    "transposed": (lambda m, x: x.transpose(2, 3), [Transpose()]),
    "transposed and back": (lambda m, x: x.mT.relu().mT, [Relu()]),
    "channels last": (lambda m, x: x.permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2), [Relu()]),
    "scaled channels last": (
        lambda m, x: (x.movedim(1, -1) * torch.tensor([1.0, 2, 3, 4])).movedim(-1, 1),
        [Multiply()],
    ),
    "tokens": (
        lambda m, x: (x.flatten(2).transpose(1, 2).relu() + torch.tensor([1.0, 2, 3, 4]))
        .transpose(1, 2).view(x.shape),
        [Relu(), Add()],
    ),
    "scaled groups": (
        lambda m, x: (x.view(1, 2, 2, *x.shape[2:]) * torch.tensor([2.0, 3]).view(1, 2, 1, 1, 1))
        .view(x.shape),
        [Multiply()],
    ),
    "single channels": (
        lambda m, x: torch.stack([x[:, 2], x[:, 0]], 1),
        [Slice("channel", 2, 3), Slice("channel", 0, 1), Concat()],
    ),
    "interleaved by stack": (
        lambda m, x: torch.stack([x, x.relu()], 2).flatten(1, 2),
        [Relu(), Concat(), GatherChannels((0, 4, 1, 5, 2, 6, 3, 7))],
    ),
    "joined by stack": (
        lambda m, x: torch.stack([x, x.relu()], 1).flatten(1, 2), [Relu(), Concat()],
    ),
    "list of channels": (lambda m, x: x[:, [2, 1, 0]], [GatherChannels((2, 1, 0))]),
    "index_select": (
        lambda m, x: torch.index_select(x, 1, torch.tensor([3, 0])), [GatherChannels((3, 0))],
    ),
    "rolled channels": (lambda m, x: x.roll(1, 1), [GatherChannels((3, 0, 1, 2))]),
    "repeated channels": (
        lambda m, x: x[:, :2].repeat(1, 2, 1, 1),
        [Slice("channel", 0, 2), GatherChannels((0, 1, 0, 1))],
    ),
    "one channel as three": (
        lambda m, x: x[:, :1].expand(-1, 3, -1, -1).relu(),
        [Slice("channel", 0, 1), GatherChannels((0, 0, 0)), Relu()],
    ),
    "expanded operand": (
        lambda m, x: x * functional.adaptive_avg_pool2d(x, 1).expand_as(x),
        [GlobalAveragePool(), Multiply()],
    ),
    "one pixel spread and joined": (
        lambda m, x: torch.cat(
            [x, functional.adaptive_avg_pool2d(x, 1).expand(-1, -1, *x.shape[2:])], 1
        ),
        [GlobalAveragePool(), SPREAD, Concat()],
    ),
    "one pixel repeated and joined": (
        lambda m, x: torch.cat(
            [x, functional.adaptive_avg_pool2d(x, 1).repeat(1, 1, *x.shape[2:])], 1
        ),
        [GlobalAveragePool(), SPREAD, Concat()],
    ),
    "nearest by repeat_interleave": (
        lambda m, x: x.repeat_interleave(2, 2).repeat_interleave(2, 3), [Nearest(2)],
    ),
    "nearest by expand": (
        lambda m, x: x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2)
        .reshape(1, 4, x.shape[2] * 2, x.shape[3] * 2),
        [Nearest(2)],
    ),
    "halves of a view": (
        lambda m, x: x.view(1, 2, 2, *x.shape[2:])[:, 0] + x.view(1, 2, 2, *x.shape[2:])[:, 1],
        [Slice("channel", 0, 2), Slice("channel", 2), Add()],
    ),
    "cut channels last": (
        lambda m, x: x.permute(0, 2, 3, 1)[:, 1:, ::2, :3].permute(0, 3, 1, 2),
        [Slice("row", 1), Slice("column", 0, None, 2), Slice("channel", 0, 3)],
    ),
    "joined channels last": (
        lambda m, x: torch.cat([x.movedim(1, 3), x.movedim(1, 3).relu()], -1).movedim(3, 1),
        [Relu(), Concat()],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "ops"), SPELLINGS.values(), ids=SPELLINGS)
def test_spelling(function, ops):
    """At any size, exactly, and by no more ops than it takes."""
    model = function if isinstance(function, nn.Module) else OneInput(function)
    graph = from_torch(model.eval(), [torch.randn(IMAGE)])
    assert graph.inputs[0].shape == (4, Extent("H"), Extent("W"))
    assert [node.op for node in graph.nodes] == ops
    compare(graph, model, [(IMAGE,), ((1, 4, 5, 6),), ((1, 4, 7, 3),)], 0)


MULTIPLES = {
    "pixel unshuffle": (pixel_unshuffle, [PixelUnshuffle(2)]),
    "halves in turn": (
        halves_in_turn, [Part("row", 1, 2), Part("row", 0, 1), SpatialConcat("row")],
    ),
    "chunks in turn": (
        lambda m, x: torch.cat(x.chunk(2, 3)[::-1], 3),
        [Part("column", 0, 1), Part("column", 1, 2), SpatialConcat("column")],
    ),
    "split by a quarter": (
        lambda m, x: torch.split(x, x.shape[3] // 4, 3)[2].relu(),
        [Part("column", 2, 3, 4), Relu()],
    ),
    "three quarters": (
        lambda m, x: x[..., x.shape[3] // 4 :].relu(), [Part("column", 1, 4, 4), Relu()],
    ),
    "narrow": (
        lambda m, x: x.narrow(2, x.shape[2] // 2, x.shape[2] // 2).relu(),
        [Part("row", 1, 2), Relu()],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "ops"), MULTIPLES.values(), ids=MULTIPLES)
def test_parts_of_the_size(function, ops):
    """Sizes stay free; they must be multiples."""
    model = OneInput(function).eval()
    graph = from_torch(model, [torch.randn(IMAGE)])
    assert all(isinstance(size, Extent) for size in graph.inputs[0].shape[1:])
    assert [node.op for node in graph.nodes] == ops
    compare(graph, model, [(IMAGE,), ((1, 4, 4, 8),), ((1, 4, 12, 16),)], 0)


FIXED = {
    "channels last, flattened": (
        lambda m, x: m.linear(x.permute(0, 2, 3, 1).flatten(1)),
        [Flatten(), GatherChannels, Linear()],
    ),
    "last column": (lambda m, x: x[..., -1:].relu(), [Slice("column", 11), Relu()]),
    "rolled rows": (
        lambda m, x: x.roll(3, 2), [Slice("row", 5), Slice("row", 0, 5), SpatialConcat("row")],
    ),
    "listed rows": (lambda m, x: x[:, :, [0, 3, 2]].relu(), None),
    "overlapping halves": (
        lambda m, x: torch.cat([x[:, :, : x.shape[2] // 2 + 1], x[:, :, x.shape[2] // 2 :]], 2),
        [Slice("row", 0, 5), Slice("row", 4), SpatialConcat("row")],
    ),
    "mixed rows": (lambda m, x: m.mixer(x), None),
    "circular": (
        lambda m, x: nn.functional.pad(x, (1, 2, 0, 3), "circular"),
        [Slice("row", 0, 3), SpatialConcat("row"), Slice("column", 11), Slice("column", 0, 2),
         SpatialConcat("column")],
    ),
    "circular layer": (lambda m, x: m.circular(x), None),
    "coordinates": (
        lambda m, x: torch.cat(
            [torch.linspace(-1, 1, x.shape[3]).expand(1, 1, x.shape[2], -1), x], 1
        ),
        [GatherChannels((-1, 0, 1, 2, 3)), Add()],
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
@pytest.mark.parametrize(("function", "ops"), FIXED.values(), ids=FIXED)
def test_fixed_sizes(function, ops):
    model = OneInput(function, linear=nn.Linear(384, 3), mixer=nn.Linear(12, 5),
                     circular=nn.Conv2d(4, 4, (3, 5), padding=(1, 2), padding_mode="circular"),
                     ).eval()  # fmt: skip
    graph = from_torch(model, [torch.randn(IMAGE)])
    assert graph.inputs[0].shape == IMAGE[1:]
    if ops is not None:
        found = [node.op for node in graph.nodes]
        assert len(found) == len(ops)
        for op, wanted in zip(found, ops, strict=True):
            assert op == wanted or (isinstance(wanted, type) and isinstance(op, wanted))
    compare(graph, model, [(IMAGE,)], 1e-5)


LAYERS = {
    "linear channels last": (
        lambda m, x: m.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), [Conv2d()],
    ),
    "linear on tokens": (
        lambda m, x: m.linear(x.flatten(2).transpose(1, 2)).transpose(1, 2)
        .unflatten(2, x.shape[2:]),
        [Conv2d()],
    ),
    "matrix channels last": (
        lambda m, x: (x.movedim(1, 3) @ m.linear.weight.t()).movedim(3, 1), [Conv2d()],
    ),
    "convolution over channels": (
        lambda m, x: x * m.conv(functional.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(1, 2))
        .sigmoid().transpose(1, 2).unsqueeze(-1).expand_as(x),
        [GlobalAveragePool(), Flatten(), Unflatten(1, 4), Conv2d(padding=(0, 0, 1, 1)), Sigmoid(),
         Flatten(), Unflatten(), Multiply()],
    ),
    "vector as an image": (
        lambda m, x: x * m.back(m.linear(x.mean((2, 3)))).view(1, -1, 1, 1),
        [GlobalAveragePool(), Flatten(), Linear(), Linear(), Unflatten(), Multiply()],
    ),
    "decoder": (
        lambda m, x: m.decoder(x.mean((2, 3))).view(-1, 6, 2, 2),
        [GlobalAveragePool(), Flatten(), Linear(), Unflatten(2, 2)],
    ),
    "slopes on tokens": (lambda m, x: m.slopes(x.flatten(2)).view(x.shape), None),
    "normalized tokens": (lambda m, x: m.norm(x.flatten(2)).view(x.shape), None),
}  # fmt: skip


@pytest.mark.parametrize(("function", "ops"), LAYERS.values(), ids=LAYERS)
def test_layers_on_views(function, ops):
    model = prepared(
        OneInput(
            function, linear=nn.Linear(4, 6), back=nn.Linear(6, 4), decoder=nn.Linear(4, 24),
            conv=nn.Conv1d(1, 1, 3, padding=1, bias=False), slopes=nn.PReLU(4),
            norm=nn.BatchNorm1d(4),
        )
    )  # fmt: skip
    graph = from_torch(model, [torch.randn(IMAGE)])
    assert graph.inputs[0].shape == (4, Extent("H"), Extent("W"))
    if ops is not None:
        assert [node.op for node in graph.nodes] == ops
    compare(graph, model, [(IMAGE,), ((1, 4, 5, 6),)], 1e-5)


@st.composite
def chains(draw: st.DrawFn) -> list[tuple[str, tuple[int, ...]]]:
    """Views and permutations of a (1, 4, 6, 8) tensor that end with an image."""
    shape = [1, 4, 6, 8]
    steps: list[tuple[str, tuple[int, ...]]] = []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["split", "merge", "permute", "flip"]))
        axis = draw(st.integers(1, len(shape) - 1))
        if kind == "split":
            factors = [n for n in range(1, shape[axis] + 1) if shape[axis] % n == 0]
            factor = draw(st.sampled_from(factors))
            shape[axis : axis + 1] = [factor, shape[axis] // factor]
        elif kind == "merge" and axis + 1 < len(shape):
            shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
        elif kind == "flip":
            steps.append(("flip", (axis,)))
            continue
        else:
            order = (0, *draw(st.permutations(range(1, len(shape)))))
            shape = [shape[place] for place in order]
            steps.append(("permute", order))
            continue
        steps.append(("reshape", tuple(shape)))
    total = math.prod(shape)
    channels = draw(st.sampled_from([n for n in range(1, total + 1) if total % n == 0]))
    rows = draw(st.sampled_from([n for n in range(1, 49) if total // channels % n == 0]))
    steps.append(("reshape", (1, channels, rows, total // channels // rows)))
    return steps


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chains())
def test_any_chain_of_views(steps):
    """With fixed sizes every order of values can be had, and it is torch's."""

    def function(m, x):
        for name, numbers in steps:
            x = getattr(x, name)(*numbers) if name != "reshape" else x.reshape(numbers)
        return x

    model = OneInput(function).eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the image sizes are fixed")
        graph = from_torch(model, [torch.randn(1, 4, 6, 8)])
    compare(graph, model, [((1, 4, 6, 8),)], 0)


def test_equal_views_are_written_once():
    """Two readers of one view share its node."""
    model = OneInput(lambda m, x: m.a(y := channel_shuffle(m, x)) + m.b(y),
                     a=nn.Conv2d(4, 4, 1), b=nn.Conv2d(4, 4, 1)).eval()  # fmt: skip
    graph = from_torch(model, [torch.randn(IMAGE)])
    assert [node.op.name for node in graph.nodes].count("gather_channels") == 1


REFUSALS = {
    "batch": (lambda m, x: x.view(4, 1, *x.shape[2:]).relu(), r"moves values to the batch axis"),
    "batch joined": (lambda m, x: torch.cat([x, x], 0), r"joins along axis 0, the batch"),
    "batch dropped": (lambda m, x: x[0], r"drops the batch axis; keep it: x\[:1\]"),
    "three axes": (lambda m, x: x.flatten(2), r"reads a tensor of shape .*batch axis included"),
    "cat constant": (
        lambda m, x: torch.cat([x, torch.ones_like(x)], 2),
        r"joins a constant that is not zero along another axis than the channels",
    ),
    "two lists": (
        lambda m, x: x[:, torch.tensor([0, 1]), torch.tensor([0, 1])], r"by more than one list",
    ),
    "attention": (
        lambda m, x: x.flatten(2) @ x.flatten(2).transpose(1, 2),
        r"both computed from the input; attention is not supported",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
@pytest.mark.parametrize(("function", "message"), REFUSALS.values(), ids=REFUSALS)
def test_refusal(function, message):
    with pytest.raises(FrontendError, match=message):
        from_torch(OneInput(function).eval(), [torch.randn(IMAGE)])


@pytest.mark.parametrize("amounts", [(-13, 20), (20, -13), (0, 0, -9, 12)])
def test_padding_refuses_what_torch_refuses(amounts):
    """A crop of more than there is, even if more is padded at the other end."""
    model = OneInput(lambda m, x: functional.pad(x, amounts)).eval()
    graph = from_torch(model, [torch.randn(1, 4, 16, 16)])
    compare(graph, model, [((1, 4, 16, 16),)], 0)
    with pytest.raises(RuntimeError):
        model(torch.randn(IMAGE))
    with pytest.raises(ValueError, match="slice"):
        graph.concrete_shapes(graph.bind([IMAGE[1:]]))
