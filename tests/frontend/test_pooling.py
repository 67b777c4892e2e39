"""Poolings with ceil_mode, max pooling with indices, and max unpooling, against torch."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from frontend_checks import Function, OneInput, compare, converted
from torch import nn
from torch.nn import functional

import fxp
from fxp import Extent
from fxp.executors.torch_forward import run
from fxp.formats import Format
from fxp.frontend import from_torch
from fxp.graph import Graph
from fxp.graph.ops import AveragePool, MaxPool, MaxPoolIndices
from fxp.graph.ops.base import Operand

GEOMETRIES = [
    (window, stride, padding)
    for window, stride in itertools.product((1, 2, 3, 5), (1, 2, 3, 7))
    for padding in range(window // 2 + 1)
]


def pooling(kind: str, *geometry: int) -> nn.Module:
    """Pooling with ceil_mode."""
    if kind == "max":
        return nn.MaxPool2d(*geometry, ceil_mode=True)
    return nn.AvgPool2d(*geometry, ceil_mode=True, count_include_pad=kind == "counted")


@pytest.mark.parametrize("kind", ["max", "counted", "not counted"])
def test_ceil_mode_at_every_size(kind: str):
    """Every small geometry at every small size; a size that torch refuses is refused."""
    compared = refused = 0
    for geometry in GEOMETRIES:
        layer = pooling(kind, *geometry).eval()
        graph = from_torch(layer, [torch.randn(1, 2, 12, 12)])
        assert graph.inputs[0].shape == (2, Extent("H"), Extent("W"))
        for height, width in [(size, 9) for size in range(1, 12)] + [(8, 1), (3, 2)]:
            image = torch.randn(1, 2, height, width, dtype=torch.float64) - 4
            try:
                wanted = layer(image)
            except RuntimeError:
                with pytest.raises(fxp.GraphError):
                    run(graph, [image])
                refused += 1
                continue
            found = run(graph, [image]).outputs[0]
            assert found.shape == wanted.shape
            assert torch.allclose(found, wanted, rtol=0, atol=1e-15 if kind == "max" else 1e-14)
            compared += 1
    assert compared > 250
    assert refused > 0


def test_ceil_mode_adds_windows_only_where_they_begin_in_the_image():
    # 5 rows, stride 2: a third window of rows 4…6. 4 rows: the window of rows 4…6 is not made.
    layer = nn.MaxPool2d(2, 2, ceil_mode=True)
    graph = from_torch(layer.eval(), [torch.randn(1, 1, 6, 6)])
    (node,) = graph.nodes
    assert node.op == MaxPool(padding=(0, 1, 0, 1))
    for size, windows in ((4, 2), (5, 3), (1, 1)):
        assert graph.concrete_shapes({"H": size, "W": size})[node.name] == (1, windows, windows)


def test_ceil_mode_counts_padding_but_not_what_it_adds():
    layer = nn.AvgPool2d(3, 2, 1, ceil_mode=True).eval()
    graph = from_torch(layer, [torch.randn(1, 1, 6, 6)])
    assert [node.op.name for node in graph.nodes] == ["pad", "average_pool"]
    pool = graph.nodes[1].op
    assert isinstance(pool, AveragePool)
    assert (pool.padding, pool.count_padding) == ((0, 1, 0, 1), False)
    # The last window of 6 ones holds one pixel and one padding row.
    found = run(graph, [torch.ones(1, 1, 6, 6)]).outputs[0]
    assert found[0, 0, -1, 1] == 3 / 6


class Unpooled(nn.Module):
    """Pools, changes the maxima, and puts them back."""

    def __init__(self, *geometry: int, ceil_mode: bool = False, size: bool = True) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(*geometry, return_indices=True, ceil_mode=ceil_mode)
        self.scale = nn.Conv2d(3, 3, 1)
        self.unpool = nn.MaxUnpool2d(*geometry)
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        largest, indices = self.pool(x)
        size = x.size() if self.size else None
        return self.unpool(self.scale(largest), indices, output_size=size)


@pytest.mark.parametrize("size", [False, True])
def test_unpooling_of_any_even_size(size: bool):
    model = Unpooled(2, size=size)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        graph = from_torch(model.eval(), [torch.randn(1, 3, 8, 10)])
    assert graph.inputs[0].shape == (3, 2 * Extent("H"), 2 * Extent("W"))
    assert [node.name for node in graph.nodes] == ["pool", "pool.indices", "scale", "unpool"]
    compare(graph, model, [[(2, 3, 8, 10)], [(1, 3, 2, 16)]])


@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
@pytest.mark.parametrize(
    ("geometry", "ceil_mode", "size"),
    [((2,), False, (7, 9)), ((2,), True, (7, 9)), ((3, 3, 1), False, (9, 10)),
     ((2, 3), False, (8, 10)), ((3,), True, (7, 8)), ((3, 4, 1), False, (11, 9))],
)  # fmt: skip
def test_unpooling_of_a_fixed_size(geometry: tuple, ceil_mode: bool, size: tuple[int, int]):
    model = Unpooled(*geometry, ceil_mode=ceil_mode)
    graph = from_torch(model.eval(), [torch.randn(1, 3, *size)])
    compare(graph, model, [[(2, 3, *size)]])


def test_the_first_of_equal_maxima_counts():
    image = torch.randint(0, 2, (2, 3, 6, 8)).double()
    model = Unpooled(2)
    compared = from_torch(model.eval(), [torch.randn(1, 3, 8, 8)])
    with torch.no_grad():
        wanted = model.double()(image)
    assert torch.equal(run(compared, [image]).outputs[0], wanted)
    flat = functional.max_pool2d(image, 3, 2, 1, return_indices=True)[1].numpy()
    op = MaxPoolIndices((3, 3), (2, 2), (1, 1, 1, 1))
    taps = op.oracle([Operand((3, 6, 8), (Format(4, 0),))], image[0].numpy().astype(np.int64))
    rows = taps // 3 + 2 * np.arange(3)[:, None] - 1
    columns = taps % 3 + 2 * np.arange(4) - 1
    assert np.array_equal(rows * 8 + columns, flat[0])


def test_unused_indices_leave_no_node():
    graph = converted(
        OneInput(lambda m, x: functional.max_pool2d(x, 2, return_indices=True)[0]), (1, 3, 8, 8)
    )
    assert [node.op.name for node in graph.nodes] == ["max_pool"]


def test_one_pooling_may_serve_two_unpoolings():
    def twice(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        largest, indices = functional.max_pool2d(x, 2, return_indices=True)
        plain = functional.max_unpool2d(largest, indices, 2)
        return plain - functional.max_unpool2d(largest * 0.5, indices, 2)

    graph = from_torch(Function(twice).eval(), [torch.randn(1, 2, 8, 8)])
    assert [node.op.name for node in graph.nodes].count("max_pool_indices") == 1
    compare(graph, Function(twice), [[(1, 2, 4, 6)]])


def segmenter() -> nn.Module:
    """Return a small encoder and decoder as in SegNet, with two levels."""

    class SegNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList(
                [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)]
            )
            self.up = nn.ModuleList([nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)])
            self.pool = nn.MaxPool2d(2, return_indices=True)
            self.unpool = nn.MaxUnpool2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            places = []
            for layer in self.down:
                x, indices = self.pool(torch.relu(layer(x)))
                places.append(indices)
            for layer in self.up:
                x = layer(self.unpool(x, places.pop()))
            return x

    torch.manual_seed(2)
    return SegNet().eval()


@pytest.mark.parametrize("bits", [3, 14])
def test_a_segmentation_network_in_fixed_point(bits: int):
    network, images = segmenter(), torch.rand(2, 1, 16, 12)
    model = fxp.quantize(network, [images], activation_bits=bits)
    indices = [node for node in model.graph.nodes if node.op.name == "max_pool_indices"]
    assert [node.quantization.format for node in indices] == [Format(2, 0, signed=False)] * 2
    assert model.graph.inputs[0].shape == (1, 4 * Extent("H"), 4 * Extent("W"))
    found = model(images)
    assert torch.equal(found, model.oracle(images))
    if bits == 14:
        with torch.no_grad():
            assert torch.allclose(found, network(images), rtol=0, atol=0.02)


def test_indices_are_never_rounded():
    layer = nn.MaxPool2d(7, 7, return_indices=True)

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            largest, indices = layer(x)
            return functional.max_unpool2d(largest, indices, 7)

    model = fxp.quantize(Model().eval(), [torch.rand(1, 1, 14, 14)], activation_bits=2)
    (node,) = [node for node in model.graph.nodes if node.op.name == "max_pool_indices"]
    assert node.quantization.format == Format(6, 0, signed=False)
    image = torch.rand(1, 1, 14, 21)
    assert torch.equal(model(image), model.oracle(image))


def test_indices_with_fraction_bits_are_refused():
    nodes = (fxp.Node("y", fxp.graph.ops.MaxUnpool(), ("x", "i"), fxp.Quantization(Format(4, 0))),)
    inputs = [fxp.Value(name, (1, 2, 2), Format(4, frac)) for name, frac in (("x", 2), ("i", 1))]
    with pytest.raises(fxp.GraphError, match="without fraction bits"):
        Graph("g", tuple(inputs), nodes, ("y",))
