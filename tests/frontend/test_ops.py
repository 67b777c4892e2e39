"""Every aten op that the front end takes."""

import warnings

import pytest
import torch
from frontend_checks import OneInput, TwoInputs, compare, converted
from torch import nn
from torch.nn import functional

from fxp.frontend import from_torch
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    AdaptiveAveragePool,
    AveragePool,
    Clamp,
    Conv2d,
    Pad,
    Prelu,
    Relu,
    Slice,
    Subtract,
)

CLOSE = 1e-12
IMAGE = (1, 4, 12, 16)

CONVOLUTIONS = {
    "plain": {"kernel_size": 3},
    "stride": {"kernel_size": 3, "stride": 2, "padding": 1},
    "tuple": {"kernel_size": (1, 5), "padding": (0, 2), "bias": False},
    "same": {"kernel_size": (4, 3), "padding": "same"},
    "same_dilated": {"kernel_size": (2, 3), "padding": "same", "dilation": 3},
    "valid": {"kernel_size": 3, "padding": "valid"},
    "reflect": {"kernel_size": 5, "padding": 2, "padding_mode": "reflect"},
    "replicate": {"kernel_size": 3, "padding": (2, 1), "padding_mode": "replicate"},
    "same_reflect": {"kernel_size": 4, "padding": "same", "padding_mode": "reflect"},
    "depthwise": {"kernel_size": 3, "groups": 4},
    "groups_stride": {"kernel_size": (2, 3), "groups": 2, "stride": (3, 1)},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution(options):
    graph = converted(nn.Conv2d(4, 8, **options), IMAGE)
    assert [type(node.op) for node in graph.nodes] == [Conv2d]
    assert "weight" in graph.constants_by_name


FUNCTIONS = {
    "relu": lambda m, x: functional.relu(x),
    "relu_in_place": lambda m, x: functional.relu(x + 1, inplace=True),
    "relu6": lambda m, x: functional.relu6(x),
    "hardtanh": lambda m, x: functional.hardtanh(x, -0.5, 0.75),
    "clamp": lambda m, x: x.clamp(-0.25, 0.5),
    "clamp_low": lambda m, x: x.clamp(min=-0.25),
    "clamp_high": lambda m, x: torch.clip(x, max=0.5),
    "clamp_min": lambda m, x: torch.clamp_min(x, 0.5),
    "leaky_relu": lambda m, x: functional.leaky_relu(x, 0.1),
    "sigmoid": lambda m, x: torch.sigmoid(x),
    "tanh": lambda m, x: torch.tanh(x),
    "add": lambda m, x: x + x,
    "add_scalar": lambda m, x: x + 0.1,
    "add_alpha": lambda m, x: torch.add(x, x.relu(), alpha=3),
    "add_negative_alpha": lambda m, x: torch.add(x, x.relu(), alpha=-2),
    "add_constant_alpha": lambda m, x: torch.add(x, 2.5, alpha=3),
    "subtract": lambda m, x: x.relu() - x,
    "subtract_scalar": lambda m, x: x - 0.1,
    "reverse_subtract": lambda m, x: 1 - x,
    "rsub_alpha": lambda m, x: torch.rsub(x, 3, alpha=2),
    "multiply": lambda m, x: x * x.sigmoid(),
    "multiply_scalar": lambda m, x: 0.3 * x,
    "negate": lambda m, x: -x,
    "square": lambda m, x: x**2,
    "divide_power": lambda m, x: x / 8,
    "in_place": lambda m, x: x.mul(2).add_(1).mul_(x),
    "cat": lambda m, x: torch.cat([x, x.relu(), x], dim=1),
    "cat_negative_dim": lambda m, x: torch.cat((x, x), dim=-3),
    "pixel_shuffle": lambda m, x: functional.pixel_shuffle(x, 2),
    "nearest_2": lambda m, x: functional.interpolate(x, scale_factor=2),
    "nearest_3": lambda m, x: functional.interpolate(x, scale_factor=3.0, mode="nearest"),
    "nearest_size": lambda m, x: functional.interpolate(x, (x.shape[2] * 3, x.shape[3] * 3)),
    "max_pool": lambda m, x: functional.max_pool2d(x, 2),
    "max_pool_padded": lambda m, x: functional.max_pool2d(x, 3, 2, padding=1),
    "max_pool_rectangle": lambda m, x: functional.max_pool2d(x, (1, 3), (2, 1), (0, 1)),
    "amax": lambda m, x: x.amax((2, 3), keepdim=True),
    "amax_flat": lambda m, x: x.amax((-1, -2)),
    "adaptive_max": lambda m, x: functional.adaptive_max_pool2d(x, 1),
    "slice": lambda m, x: x[:, 1:3, 2:-1, 1:],
    "slice_step": lambda m, x: x[:, ::2, 1::2, :-1:3],
    "slice_to_size": lambda m, x: x[:, :, : x.shape[2] - 1, 2 : x.shape[3]],
    "narrow": lambda m, x: x.narrow(1, 1, 2),
    "split": lambda m, x: x.split(3, 1)[1] + x.split(3, 1)[0][:, :1],
    "split_sizes": lambda m, x: x.split([1, 2, 1], 1)[1],
    "chunk": lambda m, x: x.chunk(2, 1)[0] * x.chunk(2, 1)[1],
    "chunk_uneven": lambda m, x: x.chunk(3, 1),
    "pad": lambda m, x: functional.pad(x, (1, 2, 3, 4)),
    "pad_columns": lambda m, x: functional.pad(x, (1, 2)),
    "pad_reflect": lambda m, x: functional.pad(x, (1, 2, 3, 4), mode="reflect"),
    "pad_replicate": lambda m, x: functional.pad(x, (1, 2, 3, 4), mode="replicate"),
    "pad_crop": lambda m, x: functional.pad(x, (-1, 2, 1, -3)),
    "crop": lambda m, x: functional.pad(x, (-1, -2, 0, -3)),
    "no_ops": lambda m, x: functional.dropout(x, 0.3, m.training).contiguous().clone().detach() + 0,
    "to_same_type": lambda m, x: x.to(x.dtype).to("cpu") * 2,
    "view_same": lambda m, x: x.view(x.shape) + 1,
    "squeeze_none": lambda m, x: x.squeeze(-1).relu(),
    "expand_same": lambda m, x: x.expand(1, 4, -1, -1).relu(),
    "constant_arithmetic": lambda m, x: x * (torch.ones(4, 1, 1) * 3).sum(),
    "literal_tensor": lambda m, x: x + torch.tensor([1.0, -2.0, 3.0, 0.1]).view(1, 4, 1, 1),
    "no_grad": lambda m, x: _without_gradient(x),
}


def _without_gradient(x):
    with torch.no_grad():
        return x + 1


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_function_is_exact(function):
    converted(OneInput(function), IMAGE)


ROUNDED = {
    "divide": lambda m, x: x / 3,
    "divide_tensor": lambda m, x: x / torch.tensor([3.0, 5.0, 7.0, 0.3]).view(4, 1, 1),
    "bilinear": lambda m, x: functional.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear_size": lambda m, x: functional.interpolate(
        x, (2 * x.shape[2], 2 * x.shape[3]), mode="bilinear", align_corners=False
    ),
    "bicubic": lambda m, x: functional.interpolate(x, scale_factor=2, mode="bicubic"),
    "average_pool": lambda m, x: functional.avg_pool2d(x, 3),
    "average_pool_zeros": lambda m, x: functional.avg_pool2d(x, 3, 1, 1),
    "average_pool_no_zeros": lambda m, x: functional.avg_pool2d(
        x, (3, 2), 2, 1, count_include_pad=False
    ),
    "adaptive_average": lambda m, x: functional.adaptive_avg_pool2d(x, (1, 1)),
    "mean": lambda m, x: x.mean((2, 3)),
    "mean_keep": lambda m, x: x.mean([-1, -2], keepdim=True) * x,
}


@pytest.mark.parametrize("function", ROUNDED.values(), ids=ROUNDED)
def test_function_is_close(function):
    converted(OneInput(function), IMAGE, tolerance=CLOSE)


def test_pixel_unshuffle_needs_multiples():
    graph = converted(nn.PixelUnshuffle(2), IMAGE, others=(((1, 4, 6, 22),),))
    compare(graph, nn.PixelUnshuffle(2), [((1, 4, 8, 8),)])


LAYERS = {
    "prelu_one": nn.PReLU(init=0.3),
    "prelu": nn.PReLU(4, init=0.1),
    "leaky": nn.LeakyReLU(0.2),
    "relu6": nn.Sequential(nn.Upsample(scale_factor=2), nn.ReLU6(inplace=True)),
    "upsample": nn.Upsample(scale_factor=2),
    "zero_pad": nn.ZeroPad2d((1, 0, 2, 3)),
    "reflection_pad": nn.ReflectionPad2d(3),
    "replication_pad": nn.ReplicationPad2d(2),
    "dropout": nn.Sequential(nn.Dropout2d(), nn.Dropout(), nn.Identity(), nn.ReLU()),
    "global_max": nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_layer_is_exact(layer):
    converted(layer, IMAGE)


HEADS = {
    "flatten": lambda m, x: m.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1)),
    "view": lambda m, x: m.linear(functional.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)),
    "reshape": lambda m, x: m.linear(functional.adaptive_avg_pool2d(x, 1).reshape(1, 4)),
    "mean": lambda m, x: m.linear(x.mean((2, 3))),
    "squeeze": lambda m, x: m.linear(x.mean((2, 3), keepdim=True).squeeze(-1).squeeze(-1)),
    "squeeze_dims": lambda m, x: m.linear(x.mean((2, 3), keepdim=True).squeeze((2, 3))),
    "back": lambda m, x: x * x.mean((2, 3)).unsqueeze(-1).unsqueeze(-1),
    "view_back": lambda m, x: x * x.mean((2, 3)).view(1, -1, 1, 1).sigmoid(),
    "indexed_back": lambda m, x: x + x.amax((2, 3))[:, :, None, None],
    "vectors": lambda m, x: torch.cat([x.mean((2, 3)), m.linear(x.amax((2, 3)))], 1)[:, 1:] * 2,
    "matrix": lambda m, x: x.mean((2, 3)) @ m.linear.weight.t(),
    "addmm": lambda m, x: torch.addmm(m.linear.bias, x.mean((2, 3)), m.linear.weight.t()),
}


@pytest.mark.parametrize("function", HEADS.values(), ids=HEADS)
def test_vectors(function):
    converted(OneInput(function, linear=nn.Linear(4, 5)), IMAGE, tolerance=CLOSE)


def test_vector_model():
    graph = converted(
        nn.Sequential(nn.Linear(6, 5), nn.PReLU(5), nn.Linear(5, 2, bias=False)), (1, 6)
    )
    assert graph.inputs[0].shape == (6,)
    assert [node.name for node in graph.nodes] == ["0", "1", "2"]
    assert set(graph.constants_by_name) == {"0.weight", "0.bias", "1.weight", "2.weight"}


def test_flattened_image_fixes_the_size():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 4 * 6, 5))
    with pytest.warns(UserWarning, match=r"fixed to .*\(3, 6, 8\)"):
        graph = from_torch(model.eval(), [torch.randn(1, 3, 6, 8)])
    assert graph.inputs[0].shape == (3, 6, 8)
    compare(graph, model, [((2, 3, 6, 8),)])


def test_one_free_axis():
    model = OneInput(lambda m, x: x + m.row, row=nn.Parameter(torch.randn(1, 1, 1, 16)))
    graph = converted(model, (1, 4, 12, 16), others=(((1, 4, 3, 16),),))
    assert graph.inputs[0].shape == (4, Extent("H"), 16)


class Buffers(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.rand(1, 3, 1, 1))
        self.register_buffer("scale", torch.rand(1), persistent=False)
        self.offset = nn.Parameter(torch.rand(3, 1, 1))

    def forward(self, x):
        return (x - self.mean) * self.scale + self.offset - self.mean


def test_buffers_keep_their_keys():
    graph = converted(Buffers(), (1, 3, 8, 8))
    shapes = {item.name: item.data.shape for item in graph.constants}
    assert shapes == {"mean": (3, 1, 1), "scale": (1, 1, 1), "offset": (3, 1, 1)}


def test_weights_are_exact():
    layer = nn.Conv2d(1, 1, 3)
    graph = converted(layer, (1, 1, 8, 8))
    stored = torch.tensor(graph.constants_by_name["weight"].values)
    assert torch.equal(stored.float(), layer.weight.detach())
    assert torch.equal(stored, layer.weight.detach().double())


def test_ops_are_the_simplest():
    model = OneInput(lambda m, x: 1 - functional.leaky_relu(functional.relu6(x.clamp(min=0)), 0.1))
    graph = converted(model, IMAGE)
    relu, relu6, leaky, reverse = (node.op for node in graph.nodes)
    assert isinstance(relu, Relu)
    assert relu6 == Clamp(0.0, 6.0)
    assert isinstance(leaky, Prelu)
    assert isinstance(reverse, Subtract)


def test_negative_padding_is_a_slice():
    graph = converted(OneInput(lambda m, x: functional.pad(x, (-1, 0, 0, -2))), IMAGE)
    assert [node.op for node in graph.nodes] == [Slice("row", 0, -2), Slice("column", 1)]
    graph = converted(OneInput(lambda m, x: functional.pad(x, (-1, 2))), IMAGE)
    # Cropped first: torch refuses to crop more than there is, whatever is padded.
    assert [node.op for node in graph.nodes] == [Slice("column", 1), Pad((0, 0, 0, 2))]


def test_adaptive_pooling_to_a_fixed_size():
    model = OneInput(
        lambda m, x: m.linear(functional.adaptive_avg_pool2d(m.conv(x), (2, 3)).flatten(1)),
        conv=nn.Conv2d(4, 2, 3), linear=nn.Linear(12, 3),
    ).eval()  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the image sizes are fixed")
        graph = from_torch(model, [torch.randn(1, 4, 6, 8)])
    assert graph.nodes[1].op == AdaptiveAveragePool((2, 3))
    compare(graph, model, [((2, 4, 6, 8),), ((1, 4, 9, 12),)], CLOSE)


def test_adaptive_pooling_of_a_fixed_multiple_has_windows_of_one_size():
    model = OneInput(
        lambda m, x: functional.adaptive_avg_pool2d(x + m.base, (2, 3)),
        base=nn.Parameter(torch.randn(1, 4, 4, 6)),
    )
    graph = converted(model, (1, 4, 4, 6), others=(((2, 4, 4, 6),),), tolerance=CLOSE)
    assert graph.nodes[1].op == AveragePool((2, 2), (2, 2))


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x, y: torch.cat([x, y], 1),
        lambda m, x, y: x * y - functional.relu(y),
        lambda m, x, y: x - functional.max_pool2d(y, 3, 1, 1),
    ],
)
def test_two_inputs_of_one_size(function):
    others = (((2, 4, 6, 9), (2, 4, 6, 9)),)
    graph = converted(TwoInputs(function), IMAGE, IMAGE, others=others)
    assert graph.inputs[0].shape == graph.inputs[1].shape == (4, Extent("H"), Extent("W"))


def test_two_inputs_of_their_own_sizes():
    model = TwoInputs(lambda m, x, y: (x + 1, y.relu()))
    graph = converted(model, (1, 4, 6, 7), (1, 2, 9, 5), others=(((1, 4, 3, 4), (1, 2, 5, 6)),))
    assert graph.inputs[1].shape == (2, Extent("H2"), Extent("W2"))


def test_second_input_of_half_the_size():
    model = TwoInputs(lambda m, x, y: m.conv(x) + y, conv=nn.Conv2d(4, 2, 3, stride=2, padding=1))
    others = (((1, 4, 9, 8), (1, 2, 5, 4)),)
    graph = converted(model, (1, 4, 8, 8), (1, 2, 4, 4), others=others)
    assert graph.inputs[1].shape == (2, (Extent("H") + 1) // 2, (Extent("W") + 1) // 2)
