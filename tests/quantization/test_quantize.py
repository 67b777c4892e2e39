"""fxp.quantize on random and trained networks: executors agree, quality follows the bits."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fxp
from fxp.engine import Engine
from fxp.executors import oracle, torch_forward
from fxp.formats import Format, FormatError, Overflow, Rounding, dequantize, quantize
from fxp.imaging.colour import luma
from fxp.imaging.metrics import sqnr
from fxp.imaging.quality import compare, to_codes
from fxp.imaging.resize import imresize
from fxp.models import sr


class RandomNetwork(nn.Module):
    """A few layers drawn by a seed: convolutions, activations, branches, and a head."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        draw = np.random.default_rng(seed)
        self.channels = int(draw.integers(1, 4))
        width = int(draw.integers(2, 7))
        self.first = nn.Conv2d(self.channels, width, 3, padding=1, padding_mode="replicate")
        self.depthwise = nn.Conv2d(width, width, (1, 5), padding=(0, 2), groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, width, 1, bias=bool(draw.integers(2)))
        self.norm = nn.BatchNorm2d(width)
        self.activations = nn.ModuleList(
            [nn.ReLU(), nn.LeakyReLU(0.1), nn.PReLU(width), nn.ReLU6(), nn.Tanh(), nn.Sigmoid()]
        )
        self.chosen = draw.integers(0, len(self.activations), 3).tolist()
        self.branch = int(draw.integers(4))
        self.head = int(draw.integers(3))
        self.tail = nn.Conv2d(2 * width if self.branch == 1 else width, 4, 3, padding=1)
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.activations[self.chosen[0]](self.first(x))
        y = self.norm(self.pointwise(self.depthwise(first)))
        y = self.activations[self.chosen[1]](y)
        match self.branch:
            case 0:
                y = torch.relu(y + first)
            case 1:
                y = torch.cat([y, first], dim=1)
            case 2:
                y = y * first
            case 3:
                y = nn.functional.avg_pool2d(y - first, 2)
        y = self.tail(y)
        match self.head:
            case 0:
                return nn.functional.pixel_shuffle(y, 2)
            case 1:
                pooled = nn.functional.adaptive_avg_pool2d(
                    self.activations[self.chosen[2] % 2](y), 1
                )
                return self.linear(torch.flatten(pooled, 1))
        return nn.functional.interpolate(nn.functional.max_pool2d(y, 2), scale_factor=2)


def agree(model: fxp.FixedModel, values: np.ndarray) -> None:
    """Check that oracle, engine and torch give equal integers for every value."""
    graph = model.graph
    raws = [quantize(values, graph.inputs[0].format)]
    wanted = oracle.run(graph, raws)
    for threads in (1, 3):
        found = Engine(graph).run(raws, threads=threads, keep_values=True)
        assert found.values.keys() == wanted.values.keys()
        assert all(np.array_equal(found.values[n], wanted.values[n]) for n in wanted.values)
        assert found.clipped == wanted.clipped
    forward = torch_forward.run(graph, [torch.from_numpy(values)[None]])
    for name, tensor in forward.values.items():
        form = graph.values[name].format
        assert np.array_equal(dequantize(wanted.values[name], form), tensor[0].numpy())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    weight_bits=st.integers(2, 12),
    activation_bits=st.integers(4, 14),
    per_channel=st.booleans(),
    wide_bits=st.sampled_from([0, 20, 32]),
    method=st.sampled_from(["minmax", "percentile", "mse"]),
    rounding=st.sampled_from(Rounding),
    overflow=st.sampled_from([Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC, Overflow.WRAP]),
)
def test_executors_agree_on_random_networks(seed, **options):
    network = RandomNetwork(seed).eval()
    draw = np.random.default_rng(seed)
    images = draw.normal(0, 1, (2, network.channels, 12, 12))
    model = fxp.quantize(network, [images], **options)
    for node in model.graph.nodes:
        narrow = node.quantization.format.width <= options["activation_bits"]
        assert narrow or node.quantization.format.width <= options["wide_bits"]
    agree(model, draw.normal(0, 2, (network.channels, 10, 14)))


@pytest.mark.parametrize("seed", range(4))
def test_more_bits_come_closer_to_the_float_network(seed: int):
    network = RandomNetwork(seed).eval()
    image = np.random.default_rng(seed).normal(0, 1, (1, network.channels, 12, 12))
    wanted = network.double()(torch.from_numpy(image)).detach().numpy()
    network.float()
    noise = [
        sqnr(wanted, fxp.quantize(network, [image], weight_bits=w, activation_bits=a)(image))
        for w, a in ((4, 6), (8, 10), (14, 16))
    ]
    assert noise[0] < noise[1] < noise[2]
    assert noise[2] > 45


def test_kimsr_loses_less_than_a_tenth_of_a_decibel():
    photograph = luma(skimage.data.astronaut())
    small = to_codes(imresize(photograph, 0.5))
    network = sr.load_float("kimsr_x2_bicubic")
    calibration = [luma(getattr(skimage.data, name)())[None, None] / 256.0 for name in
                   ("chelsea", "coffee")]  # fmt: skip
    model = fxp.quantize(network, calibration, input_format=sr.PIXEL, output_format=sr.PIXEL)
    with torch.inference_mode():
        tensor = torch.from_numpy(small[None, None] / 255.0).float()
        floating = to_codes(network(tensor)[0, 0].numpy() * 255)
    fixed = model.run_raw(small).astype(np.uint8)
    loss = compare(photograph, floating, border=2).psnr - compare(photograph, fixed, border=2).psnr
    assert loss < 0.1
    assert compare(photograph, fixed, border=2).psnr > 34
    crop = small[100:130, 90:131] / 256.0
    assert np.array_equal(model(crop), model.oracle(crop))
    assert model.parameters == 2560
    widths = {form.width for constant in model.graph.constants for form in constant.formats}
    assert widths == {10}


def test_search_is_never_worse_than_its_start():
    network = sr.load_float("kimsr_x2_bicubic")
    image = skimage.data.camera()[100:132, 200:240][None, None] / 256.0
    wanted = network.double()(torch.from_numpy(image)).detach().numpy()
    network.float()
    calls: list[tuple[int, int]] = []
    quality = {}
    for method in ("mse", "search"):
        model = fxp.quantize(
            network, [image], weight_bits=5, activation_bits=7, method=method, per_channel=False,
            progress=lambda done, total, name: calls.append((done, total)),
        )  # fmt: skip
        quality[method] = sqnr(wanted, model(image))
    assert quality["search"] >= quality["mse"] + 0.5
    assert calls
    assert all(done <= total for done, total in calls)


class Cell(nn.Module):
    """A leaky integrator: the state remembers half of what it was."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = 0.5 * h + 0.5 * torch.tanh(self.gate(torch.cat([x, h], dim=1)))
        return torch.relu(h + x), h


def test_states_are_fed_back():
    torch.manual_seed(0)
    frames = torch.randn(5, 1, 1, 8, 9)
    model = fxp.quantize(
        Cell().eval(), list(frames), states=[(1, 1)], initial_states=[torch.zeros(1, 1, 8, 9)]
    )
    (state,) = model.graph.states
    assert state.value.format == model.graph.values[state.source].format
    together = model(frames[:, 0])
    raws = [quantize(frame[0].numpy(), model.graph.inputs[0].format) for frame in frames]
    states = None
    for index, raw in enumerate(raws):
        result = model.run(raw, states=states)
        slow = oracle.run(model.graph, [raw], states)
        assert np.array_equal(result.outputs[0], slow.outputs[0])
        assert np.array_equal(result.states[state.value.name], slow.states[state.value.name])
        form = model.graph.values[model.graph.outputs[0]].format
        assert np.array_equal(dequantize(result.outputs[0], form), together[index].numpy())
        states = result.states
    assert not np.array_equal(together[4], model(frames[4:5, 0])[0])


CALIBRATIONS = {
    "generator": lambda x: (item for item in x),
    "arrays": lambda x: [item.numpy() for item in x],
    "without batch": lambda x: [item[0] for item in x],
    "tuples": lambda x: [(item,) for item in x],
}


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_kinds_of_calibration_data_give_one_model(kind: str):
    torch.manual_seed(0)
    data = [torch.rand(1, 1, 6, 7) for _ in range(3)]
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval()
    wanted = fxp.quantize(network, data).graph
    assert fxp.quantize(network, CALIBRATIONS[kind](data)).graph == wanted


def test_errors_say_what_to_do():
    network = nn.Conv2d(1, 1, 1).eval()
    image = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="empty"):
        fxp.quantize(network, [])
    with pytest.raises(TypeError, match=r"fxp\.formats\.quantize"):
        fxp.quantize(np.zeros(3), [image])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"model\.eval\(\)"):
        fxp.quantize(nn.Conv2d(1, 1, 1), [image])
    with pytest.raises(ValueError, match="NaN"):
        fxp.quantize(network, [image + float("nan")])
    with pytest.raises(ValueError, match=r"channels|trace"):
        fxp.quantize(network, [torch.zeros(1, 2, 4, 4)])
    with pytest.raises(FormatError, match="weight_bits"):
        fxp.quantize(network, [image], weight_bits=1)
    with pytest.raises(ValueError, match="unknown calibration method"):
        fxp.quantize(network, [image], method="guess")  # type: ignore[arg-type]
    with pytest.raises(fxp.GraphError, match="output 'y'"):
        fxp.quantize(network, [image], output_format={"y": Format(8, 8)})
    with pytest.raises(ValueError, match="as many initial states"):
        fxp.quantize(network, [image], states=[(1, 1)])


def test_an_accumulator_beyond_63_bits_is_refused_with_the_numbers():
    class Powers(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x

    image = torch.rand(1, 1, 4, 4)
    with pytest.raises(fxp.GraphError, match=r"needs 66 bits.*at most 63"):
        fxp.quantize(Powers().eval(), [image], input_format=Format(33, 30))


def test_the_smallest_widths_that_reach_a_quality():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3)).eval()
    image = torch.rand(1, 1, 12, 12)
    wanted = network.double()(image.double()).detach().numpy()
    network.float()

    def quality(weights: int, activations: int) -> float:
        options = {"weight_bits": weights, "activation_bits": activations}
        return sqnr(wanted, fxp.quantize(network, [image], **options)(image.double().numpy()))

    model = fxp.quantize(
        network, [image], weight_bits=range(3, 9), activation_bits=[6, 8, 10], min_sqnr=30
    )
    weights = model.graph.constants_by_name["0.weight"].formats[0].width
    activations = model.graph.inputs[0].format.width
    assert quality(weights, activations) >= 30
    for w in range(3, 9):
        for a in (6, 8, 10):
            assert w * a >= weights * activations or quality(w, a) < 30
    with pytest.raises(ValueError, match=r"no widths reach 90 dB; the best, \d bit weights"):
        fxp.quantize(network, [image], weight_bits=[4, 5], min_sqnr=90)
    with pytest.raises(ValueError, match="several widths need min_sqnr"):
        fxp.quantize(network, [image], weight_bits=[4, 5])
    with pytest.raises(ValueError, match="none at all"):
        fxp.quantize(network, [image], weight_bits=[], min_sqnr=3)
