"""Transposed convolutions of torch, with everything around them."""

import pytest
import torch
from frontend_checks import OneInput, TwoInputs, compare, converted
from torch import nn
from torch.nn import functional

from fxp.frontend import FrontendError, from_torch
from fxp.graph.extents import Extent
from fxp.graph.ops import Add, Concat, Conv2d, ConvTranspose2d, Relu

CLOSE = 1e-12
IMAGE = (1, 4, 12, 16)

OPTIONS = {
    "plain": {"kernel_size": 3},
    "doubling": {"kernel_size": 2, "stride": 2},
    "unet": {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    "fsrcnn": {"kernel_size": 9, "stride": 2, "padding": 4, "output_padding": 1},
    "odd_result": {"kernel_size": 4, "stride": (3, 2), "padding": (0, 2), "bias": False},
    "stride_past_kernel": {"kernel_size": (1, 2), "stride": (3, 4), "output_padding": (1, 0)},
    "groups": {"kernel_size": (2, 3), "stride": 2, "groups": 2},
    "depthwise": {"kernel_size": 4, "stride": 2, "padding": 1, "groups": 4, "bias": False},
    "dilated": {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": (3, 2)},
    "dilated_output_padding": {"kernel_size": 2, "dilation": 3, "output_padding": (2, 1)},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_layer(options):
    layer = nn.ConvTranspose2d(4, 8, **options)
    graph = converted(layer, IMAGE)
    (node,) = graph.nodes
    assert isinstance(node.op, ConvTranspose2d)
    assert set(graph.constants_by_name) == {*layer.state_dict()}
    groups, kernel = options.get("groups", 1), layer.weight.shape[2:]
    stored = torch.tensor(graph.constants_by_name["weight"].values)
    assert stored.shape == (8, 4 // groups, *kernel)
    # The weight from input channel 3 to the last output channel.
    assert torch.equal(stored[-1, -1], layer.weight[-1, -1].double())


def test_shape_with_free_sizes():
    layer = nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1)
    graph = converted(layer, IMAGE)
    assert graph.values[graph.outputs[0]].shape == (2, Extent("H") * 2, Extent("W") * 2)


def test_output_size_fixes_the_size():
    model = OneInput(
        lambda m, x: m.up(m.down(x), output_size=x.shape[2:]),
        down=nn.Conv2d(4, 3, 3, stride=2, padding=1),
        up=nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1),
    ).eval()
    with pytest.warns(UserWarning, match="output_padding is .* must be one or two fixed integers"):
        graph = from_torch(model, [torch.randn(1, 4, 8, 9)])
    assert graph.nodes[1].op == ConvTranspose2d((2, 2), (1, 1), (1, 0))
    compare(graph, model, [((2, 4, 8, 9),)])


@pytest.mark.parametrize("bias", [True, False])
def test_normalization_is_folded(bias):
    model = nn.Sequential(
        nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2, bias=bias),
        nn.BatchNorm2d(6),
        nn.ReLU(),
    )
    graph = converted(model, IMAGE, tolerance=CLOSE)
    assert [type(node.op) for node in graph.nodes] == [ConvTranspose2d, Relu]
    assert set(graph.constants_by_name) == {"0.weight.folded", "0.bias.folded"}


def test_layer_called_twice_has_one_constant():
    up = nn.ConvTranspose2d(4, 4, 2, stride=2)
    graph = converted(OneInput(lambda m, x: m.up(m.up(x)), up=up), IMAGE)
    assert set(graph.constants_by_name) == {"up.weight", "up.bias"}


def test_weight_that_a_convolution_shares():
    """An autoencoder with tied weights: the same parameter in two orders."""

    def function(m, x):
        return functional.conv_transpose2d(m.encode(x).relu(), m.encode.weight, stride=2)

    encode = nn.Conv2d(4, 4, 2, stride=2, bias=False)
    graph = converted(OneInput(function, encode=encode), IMAGE, others=(((1, 4, 8, 6),),))
    assert set(graph.constants_by_name) == {"encode.weight", "encode.weight_1"}


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1)
        self.last = nn.Conv2d(4, 1, 1)

    def forward(self, x):
        return self.last(torch.cat([self.up(functional.relu(self.down(x))), x], 1))


def test_skip_connection_needs_even_sizes():
    graph = converted(UNet(), (1, 2, 8, 12), others=(((1, 2, 6, 4),),))
    assert graph.inputs[0].shape == (2, Extent("H") * 2, Extent("W") * 2)
    assert [type(node.op) for node in graph.nodes] == [
        Conv2d, Relu, ConvTranspose2d, Concat, Conv2d,
    ]  # fmt: skip


def test_residual_around_a_stride_of_one():
    model = OneInput(lambda m, x: x + m.layer(x), layer=nn.ConvTranspose2d(4, 4, 3, padding=1))
    assert isinstance(converted(model, IMAGE).nodes[-1].op, Add)


def test_computed_weight_is_refused():
    model = TwoInputs(lambda m, x, y: functional.conv_transpose2d(x, y))
    with pytest.raises(FrontendError, match="'weight' is computed from the input"):
        from_torch(model.eval(), [torch.randn(1, 1, 8, 8), torch.randn(1, 4, 3, 3)])


@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
def test_one_dimensional_layer_is_refused():
    model = OneInput(
        lambda m, x: m.layer(x.squeeze(2)), layer=nn.ConvTranspose1d(4, 4, 2)
    ).eval()  # fmt: skip
    with pytest.raises(FrontendError, match=r"conv_transpose1d|reshapes"):
        from_torch(model, [torch.randn(1, 4, 1, 8)])
