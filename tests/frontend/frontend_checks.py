"""Shared by the front-end tests: a converted graph against the model in float64."""

import copy
import warnings

import torch
from torch import nn

from fxp.executors.torch_forward import run
from fxp.frontend import from_torch
from fxp.graph import Graph
from fxp.graph.extents import Extent


class Function(nn.Module):
    """A module made of a function and the layers it uses."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs):
        return self.function(self, *inputs)


class OneInput(Function):
    def forward(self, x):
        return self.function(self, x)


class TwoInputs(Function):
    def forward(self, x, y):
        return self.function(self, x, y)


def prepared(model: nn.Module) -> nn.Module:
    """Random statistics and slopes, eval mode."""
    generator = torch.Generator().manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if module.track_running_stats:
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
            if module.affine:
                nn.init.normal_(module.weight, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    return model.eval()


def converted(
    model: nn.Module,
    *shapes: tuple[int, ...],
    others: tuple[tuple[tuple[int, ...], ...], ...] = (),
    tolerance: float = 0.0,
) -> Graph:
    """Convert, compare at the example's and at other shapes, and return the graph.

    A model of one 4-D input is also run at two more sizes if its graph is free.
    """
    prepared(model)
    torch.manual_seed(0)
    before = copy.deepcopy(model.state_dict())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the image sizes are fixed")
        graph = from_torch(model, [torch.randn(shape) for shape in shapes])
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key])
    if len(shapes) == 1 and len(shapes[0]) == 4 and not others:
        batch, channels, height, width = shapes[0]
        assert graph.inputs[0].shape == (channels, Extent("H"), Extent("W"))
        others = tuple(
            ((batch, channels, height + dy, width + dx),) for dy, dx in ((4, 12), (12, 8))
        )
    compare(graph, model, (shapes, *others), tolerance)
    return graph


def compare(graph: Graph, model: nn.Module, all_shapes, tolerance: float = 0.0) -> None:
    exact = copy.deepcopy(model).double()
    for shapes in all_shapes:
        inputs = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
        with torch.no_grad():
            wanted = exact(*[tensor.clone() for tensor in inputs])
        flat = torch.utils._pytree.tree_leaves(wanted)
        found = run(graph, inputs).outputs
        assert len(found) == len(flat)
        for a, b in zip(found, flat, strict=True):
            assert a.shape == b.shape
            if tolerance == 0:
                assert torch.equal(a, b)
            else:
                assert (a - b).abs().max() <= tolerance * max(1.0, float(b.abs().max()))
