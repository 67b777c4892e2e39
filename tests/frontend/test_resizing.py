"""Interpolation, pooling to a given size, and constant borders in every spelling."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from frontend_checks import Function, OneInput, compare, converted
from torch import nn
from torch.nn import functional

import fxp
from fxp import Extent
from fxp.executors.torch_forward import run
from fxp.frontend import FrontendError, from_torch
from fxp.graph.ops import (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    AveragePool,
    BilinearUpsample,
    ConstantPad,
    DilatedMaxPool,
    Interpolate,
    MaxPool,
    Nearest,
    Op,
    ReduceMax,
    ReduceMean,
    SumPool,
)

CLOSE = 1e-12
IMAGE = (1, 3, 12, 16)


def resized(**options):
    """Return a function that interpolates."""
    return lambda m, x: functional.interpolate(x, **options)


def ratio(mode: str, up: tuple[int, int], down: tuple[int, int], align: bool = False) -> Op:
    return Interpolate(mode, up, down, align_corners=align)


SPELLINGS = {
    "exact_whole": (resized(scale_factor=3, mode="nearest-exact"), Nearest(3)),
    "exact_fraction": (
        resized(scale_factor=1.5, mode="nearest-exact"),
        ratio("nearest_exact", (3, 3), (2, 2)),
    ),
    "nearest_pair": (resized(scale_factor=(2, 3)), ratio("nearest", (2, 3), (1, 1))),
    "nearest_fraction": (resized(scale_factor=2.5), ratio("nearest", (5, 5), (2, 2))),
    "nearest_third": (resized(scale_factor=1 / 3), ratio("nearest", (1, 1), (3, 3))),
    "nearest_size": (resized(size=(7, 20)), Interpolate("nearest", size=(7, 20))),
    "nearest_module": (nn.Upsample(scale_factor=(1.5, 2.0)), ratio("nearest", (3, 2), (2, 1))),
    "bilinear_3": (resized(scale_factor=3, mode="bilinear"), ratio("bilinear", (3, 3), (1, 1))),
    "bilinear_4": (resized(scale_factor=4, mode="bilinear"), ratio("bilinear", (4, 4), (1, 1))),
    "bilinear_pair": (
        resized(scale_factor=(2, 1.25), mode="bilinear"), ratio("bilinear", (2, 5), (1, 4))
    ),
    "bilinear_half": (resized(scale_factor=0.5, mode="bilinear"), AveragePool((2, 2), (2, 2))),
    "bilinear_quarter": (
        resized(scale_factor=0.25, mode="bilinear"), ratio("bilinear", (1, 1), (4, 4))
    ),
    "bilinear_size": (
        resized(size=(9, 30), mode="bilinear"), Interpolate("bilinear", size=(9, 30))
    ),
    "bilinear_whole_size": (
        lambda m, x: functional.interpolate(x, (3 * x.shape[2], 2 * x.shape[3]), mode="bilinear"),
        ratio("bilinear", (3, 2), (1, 1)),
    ),
    "bilinear_recomputed": (
        resized(scale_factor=2, mode="bilinear", recompute_scale_factor=True), BilinearUpsample()
    ),
    "aligned": (nn.UpsamplingBilinear2d(scale_factor=2), ratio("bilinear", (2, 2), (1, 1), True)),
    "aligned_size": (
        resized(size=(5, 1), mode="bilinear", align_corners=True),
        Interpolate("bilinear", size=(5, 1), align_corners=True),
    ),
    "bicubic_3": (resized(scale_factor=3, mode="bicubic"), ratio("bicubic", (3, 3), (1, 1))),
    "bicubic_half": (resized(scale_factor=0.5, mode="bicubic"), ratio("bicubic", (1, 1), (2, 2))),
    "bicubic_aligned": (
        resized(scale_factor=4, mode="bicubic", align_corners=True),
        ratio("bicubic", (4, 4), (1, 1), True),
    ),
    "area": (resized(size=(5, 7), mode="area"), AdaptiveAveragePool((5, 7))),
    "adaptive_average": (nn.AdaptiveAvgPool2d((5, 7)), AdaptiveAveragePool((5, 7))),
    "adaptive_max": (nn.AdaptiveMaxPool2d(5), AdaptiveMaxPool((5, 5))),
    "sum": (
        lambda m, x: functional.avg_pool2d(x, 3, 2, 1, divisor_override=1),
        SumPool((3, 3), (2, 2), (1, 1, 1, 1)),
    ),
    "divisor": (
        lambda m, x: functional.avg_pool2d(x, (2, 3), 2, ceil_mode=True, divisor_override=5),
        SumPool((2, 3), (2, 2), (0, 1, 0, 1), 5),
    ),
    "dilated": (
        nn.MaxPool2d(3, 1, 1, dilation=2),
        DilatedMaxPool((3, 3), (1, 1), (1, 1, 1, 1), (2, 2)),
    ),
    "dilated_ceil": (
        nn.MaxPool2d((3, 2), (2, 3), 1, dilation=(2, 3), ceil_mode=True),
        DilatedMaxPool((3, 2), (2, 3), (1, 2, 1, 3), (2, 3)),
    ),
    "padded_with_infinity": (
        lambda m, x: functional.max_pool2d(functional.pad(x, (0, 1, 1, 2), value=-math.inf), 3, 2),
        MaxPool((3, 3), (2, 2), (1, 2, 0, 1)),
    ),
    "constant": (nn.ConstantPad2d((1, 2, 3, 0), -0.7), ConstantPad((3, 0, 1, 2), -0.7)),
}  # fmt: skip


@pytest.mark.parametrize(("function", "op"), SPELLINGS.values(), ids=SPELLINGS)
def test_spelling(function, op):
    model = function if isinstance(function, nn.Module) else OneInput(function)
    graph = converted(model, IMAGE, tolerance=CLOSE)
    assert [node.op for node in graph.nodes] == [op]


def test_whole_rows_and_columns():
    for shape, rows in (((None, 1), False), ((1, None), True)):
        for layer, op in ((nn.AdaptiveAvgPool2d, ReduceMean), (nn.AdaptiveMaxPool2d, ReduceMax)):
            model = layer(shape).eval()
            graph = from_torch(model, [torch.randn(1, 2, 6, 10)])
            compare(graph, model, [((2, 2, 6, 10),)], CLOSE)
            free = [size for size in graph.inputs[0].shape if isinstance(size, Extent)]
            if len(free) == 2:
                assert graph.nodes[0].op == op(channels=False, rows=rows, columns=not rows)


def test_interpolation_to_its_own_size_is_nothing():
    graph = converted(OneInput(lambda m, x: functional.interpolate(x, x.shape[2:]) + 1), IMAGE)
    assert [node.op.name for node in graph.nodes] == ["add"]


def test_a_signed_magnitude_is_the_value():
    graph = converted(nn.LPPool2d(2, 2), IMAGE, tolerance=1e-9)
    assert [node.op.name for node in graph.nodes] == [
        "multiply", "average_pool", "multiply", "power",
    ]  # fmt: skip


class UNet(nn.Module):
    """Two levels that are enlarged to the size of what they join."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.options = options
        self.down = nn.ModuleList([nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)])
        self.up = nn.ModuleList([nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(6, 2, 3, padding=1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for layer in self.down:
            skips.append(x)
            x = functional.max_pool2d(torch.relu(layer(x)), 2)
        for layer in self.up:
            skip = skips.pop()
            x = functional.interpolate(x, size=skip.shape[2:], **self.options)
            x = layer(torch.cat([x, skip], 1))
        return x


@pytest.mark.parametrize(
    "options",
    [{}, {"mode": "nearest-exact"}, {"mode": "bilinear"},
     {"mode": "bilinear", "align_corners": True}, {"mode": "bicubic"}],
    ids=lambda options: "_".join(map(str, options.values())) or "nearest",
)  # fmt: skip
def test_sizes_of_skips_stay_free(options: dict):
    torch.manual_seed(1)
    model = UNet(**options).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        graph = from_torch(model, [torch.randn(1, 2, 16, 20)])
    assert graph.inputs[0].shape == (2, Extent("H"), Extent("W"))
    compare(graph, model, [((1, 2, h, w),) for h, w in ((16, 20), (13, 23), (7, 4))], CLOSE)
    quantized = fxp.quantize(model, [torch.rand(2, 2, 16, 20)], activation_bits=14)
    for height, width in ((16, 20), (15, 9), (5, 22)):
        image = torch.rand(1, 2, height, width)
        found = quantized(image)
        assert torch.equal(found, quantized.oracle(image))
        with torch.no_grad():
            assert (found - model(image)).abs().max() < 0.03


def test_a_size_that_nothing_has_is_refused_or_fixed():
    model = OneInput(lambda m, x: functional.interpolate(x, (x.shape[2] + 1, x.shape[3])))
    with pytest.warns(UserWarning, match=r"no whole multiple for every size; give a scale factor"):
        graph = from_torch(model.eval(), [torch.randn(1, 3, 8, 8)])
    assert graph.nodes[0].op == ratio("nearest", (9, 1), (8, 1))


@pytest.mark.parametrize("factor", [2, 4])
def test_parts_and_multiples_of_a_size_stay_free(factor: int):
    def function(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        small = functional.interpolate(
            x, (x.shape[2] // factor, x.shape[3] // factor), mode="bilinear", align_corners=True
        )
        size = [factor * side for side in x.shape[2:]]
        return functional.interpolate(small, size=size, mode="bilinear")

    graph = converted(OneInput(function), (1, 3, 13, 18), tolerance=CLOSE)
    assert [node.op.name for node in graph.nodes].count("slice") == 2


def test_positions_that_float32_decides_are_refused():
    # float32(1/41) is below 1/41: torch puts result 41 at pixel 0, and not at 1.
    assert functional.interpolate(torch.arange(4.0)[None, None], scale_factor=41)[0, 0, 41] == 0
    model = OneInput(resized(scale_factor=41)).eval()
    with pytest.raises(FrontendError, match=r"at a ratio of 41 the rounding of float32 decides"):
        from_torch(model, [torch.randn(1, 1, 4, 4)])
    exact = OneInput(resized(scale_factor=41, mode="nearest-exact")).eval()
    assert from_torch(exact, [torch.randn(1, 1, 4, 4)]).nodes[0].op == Nearest(41)


SIZES = ((8, 12), (9, 7), (1, 5))
ROUNDED = ("bilinear_3", "bilinear_pair", "bilinear_half", "bilinear_quarter", "bilinear_size",
           "aligned", "bicubic_3", "adaptive_average", "sum", "divisor", "constant")  # fmt: skip


@pytest.mark.parametrize("name", ROUNDED)
def test_fixed_point_is_within_a_step(name: str):
    """One op on quantized pixels differs from torch's by its own rounding alone."""
    function, _ = SPELLINGS[name]
    model = (function if isinstance(function, nn.Module) else OneInput(function)).eval()
    images = torch.rand(3, 3, 8, 12) * 2 - 1
    images[0], images[1] = 1, -1
    quantized = fxp.quantize(model, [images], activation_bits=14)
    scale = 2.0 ** quantized.graph.inputs[0].format.frac
    step = 2.0 ** -quantized.graph.nodes[-1].quantization.format.frac
    compared = 0
    for height, width in SIZES:
        image = (torch.rand(1, 3, height, width, dtype=torch.float64) * scale).floor() / scale
        try:
            wanted = model(image)
        except RuntimeError:
            continue
        if 0 in wanted.shape:
            continue
        found = quantized(image.float()).double()
        assert torch.equal(found.float(), quantized.oracle(image.float()))
        # Half a step of rounding, and 2**-16 of the range for weights or a constant's half step.
        assert float((found - wanted).abs().max()) <= step * 1.01
        compared += 1
    assert compared >= 2


def test_a_function_of_two_sizes():
    model = Function(
        lambda m, x, y: functional.interpolate(x, size=y.shape[-2:], mode="bilinear") * y
    ).eval()
    graph = from_torch(model, [torch.randn(1, 2, 6, 8), torch.randn(1, 2, 10, 9)])
    assert len({size.symbol for value in graph.inputs for size in value.shape[1:]}) == 4
    compare(graph, model, [((1, 2, 5, 5), (1, 2, 4, 11))], CLOSE)
    found = run(graph, [torch.ones(1, 2, 3, 3), torch.ones(1, 2, 2, 2)]).outputs[0]
    assert torch.equal(found, torch.ones(1, 2, 2, 2, dtype=torch.float64))
