"""Whole networks, shared layers, states, folding, names and outputs."""

import copy

import pytest
import torch
from frontend_checks import Function, OneInput, TwoInputs, compare, converted, prepared
from torch import nn
from torch.nn import functional

from fxp.executors.torch_forward import run
from fxp.frontend import FrontendError, from_torch
from fxp.graph.extents import Extent
from fxp.graph.ops import Add, Conv2d, Flatten, GraphError, Multiply, Requantize, Slice

CLOSE = 1e-12


def convolution_block(channels_in, channels_out, stride=1, groups=1, kernel=3):
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups,
                  bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU6(inplace=True),
    )  # fmt: skip


class Separable(nn.Module):
    def __init__(self, channels_in, channels_out, kernel):
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.depthwise = nn.Conv2d(
            channels_in, channels_in, kernel, padding=padding, groups=channels_in, bias=False
        )
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class SuperResolution(nn.Module):
    """A small network of the KimSR kind."""

    def __init__(self, scale=2):
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.body = nn.Sequential(
            Separable(8, 4, (1, 5)), nn.ReLU(inplace=True), Separable(4, 8, (1, 5))
        )
        self.tail = Separable(8, scale**2, (3, 3))

    def forward(self, x):
        first = functional.relu(self.head(x))
        features = functional.relu(self.body(first) + first)
        detail = functional.pixel_shuffle(self.tail(features), self.scale)
        return (detail + functional.interpolate(x, scale_factor=self.scale)).clamp(0, 1)


@pytest.mark.parametrize("scale", [2, 3])
def test_super_resolution_is_exact(scale):
    model = SuperResolution(scale)
    graph = converted(model, (2, 1, 10, 12))
    assert graph.name == "SuperResolution"
    assert set(graph.constants_by_name) == set(model.state_dict())
    assert [node.name for node in graph.nodes] == [
        "head", "relu", "body.0.depthwise", "body.0.pointwise", "body.1", "body.2.depthwise",
        "body.2.pointwise", "add", "relu_1", "tail.depthwise", "tail.pointwise", "pixel_shuffle",
        "nearest", "add_1", "clamp",
    ]  # fmt: skip
    assert graph.node("body.0.depthwise").origin == "body.0.depthwise"


class InvertedResidual(nn.Module):
    def __init__(self, channels, hidden):
        super().__init__()
        self.expand = convolution_block(channels, hidden, kernel=1)
        self.filter = convolution_block(hidden, hidden, groups=hidden)
        self.project = nn.Sequential(nn.Conv2d(hidden, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x):
        return x + self.project(self.filter(self.expand(x)))


def test_inverted_residual():
    model = nn.Sequential(
        convolution_block(3, 8, stride=2), InvertedResidual(8, 16), InvertedResidual(8, 12),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 5),
    )  # fmt: skip
    graph = converted(model, (1, 3, 17, 16), tolerance=CLOSE)
    assert not [node for node in graph.nodes if "batch" in node.op.name]
    assert {"0.0.weight.folded", "0.0.bias.folded", "6.weight"} <= set(graph.constants_by_name)


def test_classifier_of_any_size():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(3),
        nn.Flatten(), nn.Dropout(), nn.Linear(72, 16), nn.ReLU(), nn.Linear(16, 4),
    ).eval()  # fmt: skip
    graph = from_torch(model, [torch.randn(1, 3, 28, 28)])
    assert [str(size) for size in graph.inputs[0].shape] == ["3", "H", "W"]
    assert [type(node.op) for node in graph.nodes].count(Flatten) == 1
    compare(graph, model, [((3, 3, 28, 28),), ((2, 3, 41, 36),)], CLOSE)


class Fire(nn.Module):
    def __init__(self, channels_in, squeezed, expanded):
        super().__init__()
        self.squeeze = nn.Conv2d(channels_in, squeezed, 1)
        self.expand1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x):
        x = functional.relu(self.squeeze(x))
        return torch.cat([self.expand1(x).relu(), self.expand3(x).relu()], 1)


def test_fire_modules():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2), Fire(8, 4, 6), Fire(12, 4, 6),
        nn.Conv2d(12, 5, 1), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
    )  # fmt: skip
    converted(model, (1, 3, 23, 24), tolerance=CLOSE)


class Recurrent(nn.Module):
    """A convolutional LSTM on features of half the size."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(2, 3, 3, stride=2, padding=1, padding_mode="reflect")
        self.gates = nn.Conv2d(7, 16, 3, padding=1)
        self.up = nn.Conv2d(4, 4, 1)

    def forward(self, frame, hidden, cell):
        gates = self.gates(torch.cat([self.down(frame), hidden], 1))
        remember, write, candidate, show = gates.chunk(4, 1)
        cell = remember.sigmoid() * cell + write.sigmoid() * candidate.tanh()
        hidden = show.sigmoid() * cell.tanh()
        return functional.pixel_shuffle(self.up(hidden), 2), hidden, cell


@pytest.mark.parametrize("size", [(8, 12), (9, 7)])
def test_states(size):
    model = Recurrent().eval()
    half = (1, 4, 4, 5)
    graph = from_torch(
        model, [torch.randn(1, 2, 8, 10), torch.zeros(half), torch.zeros(half)],
        states=[(1, 1), (2, 2)],
    )  # fmt: skip
    assert [value.name for value in graph.inputs] == ["frame"]
    assert [state.value.name for state in graph.states] == ["hidden", "cell"]
    assert graph.states[0].value.shape == (4, (Extent("H") + 1) // 2, (Extent("W") + 1) // 2)
    assert len(graph.outputs) == 1
    exact = copy.deepcopy(model).double()
    hidden = cell = torch.zeros((1, 4, *((n + 1) // 2 for n in size)), dtype=torch.float64)
    states = None
    for _ in range(3):
        frame = torch.randn((1, 2, *size), dtype=torch.float64)
        with torch.no_grad():
            wanted, hidden, cell = exact(frame, hidden, cell)
        result = run(graph, [frame], states)
        states = result.states
        assert torch.equal(result.outputs[0], wanted)
        assert torch.equal(states["hidden"], hidden)
        assert torch.equal(states["cell"], cell)


def test_state_before_the_input():
    model = TwoInputs(lambda m, previous, x: (x, x - previous)).eval()
    graph = from_torch(model, [torch.randn(1, 2, 6, 8)] * 2, states=[(0, 0)])
    assert graph.inputs[0].shape == graph.states[0].value.shape == (2, Extent("H"), Extent("W"))
    first, second = torch.randn(2, 1, 2, 5, 4, dtype=torch.float64)
    states = run(graph, [first]).states
    assert torch.equal(run(graph, [second], states).outputs[0], second - first)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, padding=1)
        self.deep = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x):
        skip = self.down(x).relu()
        deep = self.deep(functional.max_pool2d(skip, 2)).relu()
        deep = functional.interpolate(deep, scale_factor=2, mode="bilinear")
        return self.last(torch.cat([skip, deep], 1)) + x


def test_encoder_and_decoder():
    model = UNet()
    others = (((2, 2, 6, 14),), ((1, 2, 2, 2),))
    graph = converted(model, (1, 2, 8, 12), others=others, tolerance=CLOSE)
    assert graph.inputs[0].shape == (2, Extent("H") * 2, Extent("W") * 2)
    with pytest.raises(GraphError, match="needs shape"):
        run(graph, [torch.randn(1, 2, 7, 8)])


class DeepUNet(nn.Module):
    def __init__(self, depth, channels=3):
        super().__init__()
        self.down = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.inner = DeepUNet(depth - 1, channels) if depth > 1 else nn.ReLU()
        self.join = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, x):
        inner = functional.interpolate(self.inner(self.down(x)), scale_factor=2)
        return self.join(torch.cat([x, inner], 1))


def test_deep_encoder_and_decoder():
    others = (((1, 3, 8, 40),),)
    graph = converted(DeepUNet(3), (1, 3, 16, 24), others=others)
    assert graph.inputs[0].shape == (3, Extent("H") * 8, Extent("W") * 8)


def test_encoder_and_decoder_with_a_state():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = DeepUNet(2, 4)

        def forward(self, x, previous):
            y = functional.interpolate(self.inner(torch.cat([x, x], 1) - previous), scale_factor=2)
            return y, functional.avg_pool2d(y, 2)

    model = Model().eval()
    graph = from_torch(model, [torch.randn(1, 2, 8, 12), torch.randn(1, 4, 8, 12)], states=[(1, 1)])
    assert graph.inputs[0].shape == (2, Extent("H") * 4, Extent("W") * 4)
    assert graph.states[0].value.shape == (4, Extent("H") * 4, Extent("W") * 4)


def test_layer_called_twice_has_one_constant():
    def function(m, x):
        return m.layer(m.layer(x).relu())

    model = OneInput(function, layer=nn.Conv2d(3, 3, 3, padding=1))
    graph = converted(model, (1, 3, 8, 8))
    assert [node.name for node in graph.nodes] == ["layer", "relu", "layer_1"]
    assert set(graph.constants_by_name) == {"layer.weight", "layer.bias"}


def test_layer_under_two_names_has_one_constant():
    layer = nn.Conv2d(3, 3, 1)
    graph = converted(nn.Sequential(layer, nn.ReLU(), layer), (1, 3, 8, 8))
    assert len(graph.constants) == 2


def test_normalization_first():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
    graph = converted(model, (1, 3, 8, 8), tolerance=CLOSE)
    assert graph.node("0").op == Conv2d(groups=3)
    assert graph.constants_by_name["0.scale"].data.shape == (3, 1, 1, 1)


def test_normalization_after_concat():
    def function(m, x):
        return m.norm(torch.cat([m.conv(x), x], 1))

    model = OneInput(function, conv=nn.Conv2d(3, 4, 3, padding=1), norm=nn.BatchNorm2d(7))
    graph = converted(model, (1, 3, 8, 8), tolerance=CLOSE)
    assert [node.op.name for node in graph.nodes] == ["conv2d", "concat", "conv2d"]


def test_normalization_of_a_value_read_twice():
    def function(m, x):
        value = m.conv(x)
        return m.norm(value) + value

    model = OneInput(function, conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4, affine=False))
    graph = converted(model, (1, 3, 8, 8), tolerance=CLOSE)
    assert [node.op.name for node in graph.nodes] == ["conv2d", "conv2d", "add"]


def test_normalization_of_an_output():
    model = OneInput(
        lambda m, x: (m.conv(x), m.norm(m.conv(x))), conv=nn.Conv2d(3, 4, 3),
        norm=nn.BatchNorm2d(4),
    )  # fmt: skip
    converted(model, (1, 3, 8, 8), tolerance=CLOSE)


def test_shared_layer_with_two_normalizations():
    def function(m, x):
        return m.first(m.conv(x)), m.second(m.conv(x)), m.first(m.conv(x.relu()))

    model = OneInput(
        function, conv=nn.Conv2d(3, 4, 3), first=nn.BatchNorm2d(4), second=nn.BatchNorm2d(4)
    )
    graph = converted(model, (1, 3, 8, 8), tolerance=CLOSE)
    assert set(graph.constants_by_name) == {
        "conv.weight.folded", "conv.weight.folded_1", "conv.bias.folded", "conv.bias.folded_1",
    }  # fmt: skip


def test_normalization_of_vectors():
    model = nn.Sequential(
        nn.BatchNorm1d(6), nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5), nn.ReLU()
    )
    graph = converted(model, (1, 6), tolerance=CLOSE)
    assert [type(node.op) for node in graph.nodes[:2]] == [Multiply, Add]
    assert [node.name for node in graph.nodes] == ["0.scaled", "0", "1", "3"]


def test_weight_normalization_is_computed():
    model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)))
    converted(model, (1, 3, 8, 8), tolerance=CLOSE)


def test_padding_module_merges_into_the_layer():
    model = nn.Sequential(nn.ReflectionPad2d(2), nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4))
    graph = converted(model, (1, 3, 8, 8), tolerance=CLOSE)
    assert [node.op for node in graph.nodes] == [Conv2d(padding=(2,) * 4, padding_mode="reflect")]
    model = nn.Sequential(nn.ZeroPad2d((0, 1, 2, 3)), nn.Conv2d(3, 4, 3, padding=1))
    graph = converted(model, (1, 3, 8, 8))
    assert [node.op for node in graph.nodes] == [Conv2d(padding=(3, 4, 1, 2))]


def test_padding_read_by_others_stays():
    def function(m, x):
        padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        return m.conv(padded), padded.relu(), m.outer(padded)

    model = OneInput(function, conv=nn.Conv2d(3, 4, 3), outer=nn.Conv2d(3, 4, 3, padding=1))
    graph = converted(model, (1, 3, 8, 8))
    assert [node.op.name for node in graph.nodes] == ["pad", "conv2d", "relu", "conv2d"]


def test_outputs_of_every_kind():
    model = OneInput(lambda m, x: [x, (x.relu(), x), {"a": x[:, :]}, x.relu()])
    graph = converted(model, (1, 3, 8, 8))
    assert [type(node.op) for node in graph.nodes].count(Requantize) == 1


def test_identity_model():
    graph = converted(nn.Identity(), (1, 3, 8, 8))
    assert [type(node.op) for node in graph.nodes] == [Requantize]
    graph = converted(OneInput(lambda m, x: x[:, 0:3]), (1, 3, 8, 8))
    assert [type(node.op) for node in graph.nodes] == [Requantize]


def test_same_output_twice():
    def function(m, x):
        y = x.relu()
        return y, y

    graph = converted(OneInput(function), (1, 3, 8, 8))
    assert graph.outputs == ("relu", "relu")


def test_unused_input_stays():
    others = (((1, 2, 5, 6), (1, 3, 7, 4)),)
    graph = converted(TwoInputs(lambda m, x, y: x + 1), (1, 2, 4, 4), (1, 3, 6, 6), others=others)
    assert len(graph.inputs) == 2


def test_unused_parts_are_dropped():
    graph = converted(OneInput(lambda m, x: x.split(1, 1)[1]), (1, 3, 8, 8))
    assert [node.op for node in graph.nodes] == [Slice("channel", 1, 2)]


def test_names_never_clash():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()
            self.add = nn.Parameter(torch.ones(1))
            self.odd = nn.ModuleDict({"a-b": nn.Conv2d(3, 3, 1), "a_b": nn.Conv2d(3, 3, 1)})

        def forward(self, x):
            x = torch.relu(self.relu(x) - 1) + self.add
            return self.odd["a_b"](self.odd["a-b"](x))

    graph = converted(Model(), (1, 3, 8, 8))
    assert {"relu", "relu_1", "add", "add_1", "odd.a_b.weight"} <= {
        *graph.values, *graph.constants_by_name
    }  # fmt: skip


def test_arguments_given_as_a_list():
    model = prepared(Function(lambda m, x, y: x + y))
    graph = from_torch(model, [torch.randn(1, 2, 6, 8)] * 2, name="sum of two")
    assert graph.name == "sum_of_two"
    compare(graph, model, [((1, 2, 5, 5),) * 2])


def test_branch_on_the_size_fixes_it():
    def function(m, x):
        if x.shape[2] % 2:
            x = functional.pad(x, (0, 0, 0, 1))
        return x * 2 if x.shape[3] > 6 else x * 3

    with pytest.warns(UserWarning, match="branch on the image size"):
        graph = from_torch(OneInput(function).eval(), [torch.randn(1, 2, 8, 8)])
    assert graph.inputs[0].shape == (2, 8, 8)


def test_pad_to_a_multiple_fixes_the_size():
    def function(m, x):
        return functional.pad(x, (0, -x.shape[3] % 8, 0, -x.shape[2] % 8)).relu()

    with pytest.warns(UserWarning, match="move with the image size"):
        graph = from_torch(OneInput(function).eval(), [torch.randn(1, 2, 6, 8)])
    assert graph.values["relu"].shape == (2, 8, 8)


def test_model_is_left_alone():
    model = prepared(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()))
    from_torch(model, [torch.randn(1, 3, 8, 8)])
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.training
    model[0].weight.data.add_(1)
    with pytest.raises(FrontendError, match="training mode"):
        from_torch(model.train(), [torch.randn(1, 3, 8, 8)])
