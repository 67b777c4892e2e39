"""Reductions of stacked tensors, `einsum`, and area interpolation of images of any size."""

from collections import Counter

import pytest
import torch
from frontend_checks import OneInput, compare, converted
from torch import nn
from torch.nn import functional

from fxp.frontend import FrontendError, from_torch
from fxp.graph.extents import Extent
from fxp.graph.ops import AveragePool, Nearest

CLOSE = 1e-9
IMAGE = (1, 6, 12, 16)
MIXING = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def three(x: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.stack([x, 2 * x - 1, -x], dim)


TAKEN = {
    "max_of_batch_axis": (lambda m, x: three(x, 0).max(0)[0], {"relu": 2}),
    "max_values": (lambda m, x: three(x, 1).max(dim=1).values, {"relu": 2}),
    "amax": (lambda m, x: three(x, 2).amax(2), {"relu": 2}),
    "min": (lambda m, x: three(x, -1).min(-1)[0], {"relu": 2}),
    "amin_kept": (lambda m, x: three(x, 1).amin(1, keepdim=True).squeeze(1), {"relu": 2}),
    "mean": (lambda m, x: three(x, 0).mean(0), {}),
    "sum": (lambda m, x: three(x, 4).sum(-1), {}),
    "maxout": (lambda m, x: x.view(1, 3, 2, *x.shape[2:]).max(2)[0], {"relu": 1}),
    "halves": (lambda m, x: x.view(1, 2, 3, *x.shape[2:]).sum(1), {}),
    "gate": (
        lambda m, x: torch.einsum("nchw,nc->nchw", x, x.mean((2, 3)).sigmoid()), {"sigmoid": 1},
    ),
    "gate_first": (
        lambda m, x: torch.einsum("bc, bchw -> bchw", x.mean((2, 3)), x), {"multiply": 1},
    ),
    "map": (
        lambda m, x: torch.einsum("bchw,bhw->bchw", x, x.mean(1)), {"multiply": 1},
    ),
    "squares": (lambda m, x: torch.einsum("nchw,nchw->nc", x, x), {"reduce_sum": 1}),
    "total": (lambda m, x: torch.einsum("nchw->nc", x), {"reduce_sum": 1}),
    "mixed_channels": (
        lambda m, x: torch.einsum("nchw,dc->ndhw", x, MIXING.to(x)), {"conv2d": 1},
    ),
    "mixed_features": (
        lambda m, x: torch.einsum("cd,nc->nd", MIXING.T.to(x), x.mean((2, 3))), {"linear": 1},
    ),
    "channels_mixed_from_the_left": (
        lambda m, x: (MIXING.to(x) @ x.flatten(2)).view(1, -1, *x.shape[2:]), {"conv2d": 1},
    ),
    "glu": (lambda m, x: functional.glu(x, 1), {"sigmoid": 1, "multiply": 1}),
    "addcmul": (lambda m, x: torch.addcmul(x, x, x.relu(), value=0.5), {"multiply": 2}),
    "addcdiv": (lambda m, x: torch.addcdiv(x, x, 1 + x.abs(), value=0.5), {"power": 1}),
    "lerp": (lambda m, x: torch.lerp(x, x.relu(), 0.25), {"subtract": 1, "add": 1}),
    "lerp_of_tensors": (lambda m, x: x.lerp(x.relu(), x.sigmoid()), {"multiply": 1}),
    "hardshrink": (lambda m, x: functional.hardshrink(x, 0.3), {"sign": 1}),
    "threshold": (lambda m, x: functional.threshold(x, 0.1, 0.5), {"sign": 1}),
    "masked_fill": (lambda m, x: x.masked_fill(x < 0.25, -1.0), {"sign": 1}),
    "rrelu": (lambda m, x: functional.rrelu(x, 0.1, 0.3), {"prelu": 1}),
    "aminmax": (lambda m, x: sum(torch.aminmax(x, dim=1, keepdim=True)), {"reduce_max": 2}),
    "diff": (lambda m, x: x.diff(dim=3), {"subtract": 1}),
    "log1p": (lambda m, x: x.abs().log1p(), {"log": 1}),
    "log2": (lambda m, x: (1 + x.abs()).log2(), {"log": 1}),
    "log10": (lambda m, x: (1 + x.abs()).log10(), {"log": 1}),
    "exp2": (lambda m, x: x.exp2(), {"exp": 1}),
    "expm1": (lambda m, x: x.expm1(), {"exp": 1}),
    "clamp_between_tensors": (
        lambda m, x: x.clamp(-x.mean(1, keepdim=True).abs(), x.new_ones(1)), {"relu": 1},
    ),
    "type_as": (lambda m, x: x * (x > 0.5).type_as(x), {"sign": 1}),
}  # fmt: skip


@pytest.mark.parametrize(("function", "counts"), TAKEN.values(), ids=TAKEN)
def test_taken(function, counts):
    graph = converted(OneInput(function), IMAGE, tolerance=CLOSE)
    names = [node.op.name for node in graph.nodes]
    assert {name: names.count(name) for name in counts} == counts
    # Nothing was joined to be taken apart again.
    assert "concat" not in names


def test_patches_are_windows_joined_along_the_channels():
    layer = nn.Unfold((3, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1))
    graph = converted(OneInput(lambda m, x: layer(x).mean(2)), IMAGE, tolerance=CLOSE)
    # Three for the rows of the kernel, then two columns of each; and the order of torch's channels.
    assert Counter(node.op.name for node in graph.nodes) == {
        "pad": 1, "slice": 9, "concat": 1, "gather_channels": 1, "global_average_pool": 1,
        "flatten": 1,
    }  # fmt: skip


def test_joined_along_the_channels():
    graph = converted(OneInput(lambda m, x: torch.hstack([x, x.relu()])), IMAGE)
    assert [node.op.name for node in graph.nodes] == ["relu", "concat"]


def test_zeros_by_a_product_are_zeros():
    graph = converted(OneInput(lambda m, x: torch.cat([x, x * 0], 1)), IMAGE)
    assert [node.op.name for node in graph.nodes] == ["gather_channels"]
    graph = converted(OneInput(lambda m, x: x * 0 + x), IMAGE)
    assert [node.op.name for node in graph.nodes] == ["multiply", "add"]


REFUSED = {
    "position": (lambda m, x: three(x, 1).max(1)[1].float(), r"aten\.max"),
    "product": (lambda m, x: three(x, 1).prod(1), r"write the product out: a \* b"),
    "matrices": (
        lambda m, x: torch.einsum("nchw,ndhw->ncd", x, x).mean(2), "attention is not supported",
    ),
    "trace": (lambda m, x: torch.einsum("nccw->nw", x[:, :, :6]), r"write it with nn\.Conv2d"),
    "rows_mixed": (
        lambda m, x: torch.einsum("nchw,dcw->ndh", x, torch.ones(2, 6, 16)), r"aten\.einsum",
    ),
    "flipud": (lambda m, x: torch.flipud(x), r"reverses the batch axis; .*rows with flip\(2\)"),
    "flip": (lambda m, x: x.flip(0, 2), r"reverses the batch axis"),
}  # fmt: skip


@pytest.mark.parametrize(("function", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(function, message):
    with pytest.raises(FrontendError, match=message):
        from_torch(OneInput(function).eval(), [torch.rand(IMAGE)])


AREA = {
    "half": (lambda m, x: functional.interpolate(x, scale_factor=0.5, mode="area"), 2,
             AveragePool((2, 2), (2, 2))),
    "quarter": (
        lambda m, x: functional.interpolate(x, [s // 4 for s in x.shape[2:]], mode="area"), 4,
        AveragePool((4, 4), (4, 4)),
    ),
    "of_a_skip": (
        lambda m, x: functional.interpolate(
            functional.max_pool2d(x, 2), size=x.shape[2:], mode="area"), 2, Nearest(2),
    ),
    "twice": (lambda m, x: functional.interpolate(x, scale_factor=2, mode="area"), 1, Nearest(2)),
}  # fmt: skip


@pytest.mark.parametrize(("function", "multiple", "last"), AREA.values(), ids=AREA)
def test_area_keeps_sizes_free(function, multiple, last):
    model = OneInput(function).eval()
    graph = from_torch(model, [torch.rand(1, 2, 12, 16)])
    compare(graph, model, [((2, 2, 12, 16),), ((1, 2, 20, 8),)], CLOSE)
    assert graph.inputs[0].shape[1:] == (Extent("H") * multiple, Extent("W") * multiple)
    assert graph.nodes[-1].op == last
