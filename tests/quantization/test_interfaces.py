"""Edges of `fxp.quantize` and `FixedModel`: dtypes, several inputs, states, shared weights."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from small_graphs import constant, graph, image, lowered, node, pointwise, random_image
from torch import nn

import fxp
from fxp.executors import oracle
from fxp.formats import Format, FormatError, Quantization
from fxp.graph import Graph
from fxp.graph.ops import Add, Conv2d, Requantize
from fxp.imaging.metrics import sqnr
from fxp.store import save_graph


def identity(source: Format, target: Format, channels: int = 1) -> fxp.FixedModel:
    """Return a model that moves values to another format."""
    x = replace(image(channels=channels), format=source)
    step = replace(node("y", Requantize(), "x"), quantization=Quantization(target))
    return fxp.FixedModel(Graph("identity", (x,), (step,), ("y",)))


@pytest.mark.parametrize(("target", "dtype"), [
    (Format(24, 0), np.float32),
    (Format(25, 0), np.float64),
    (Format(8, 149), np.float32),
    (Format(8, 150), np.float64),
    (Format(20, -108), np.float32),
    (Format(20, -109), np.float64),
    (Format(53, 20), np.float64),
])  # fmt: skip
def test_the_result_is_float32_only_if_nothing_is_lost(target, dtype):
    model = identity(target, target)
    raw = np.array([[target.min_raw, target.max_raw, 1, -1, 0]])
    exact = fxp.dequantize(raw, target)
    # Zeros are exact in every dtype.
    assert model(np.zeros((2, 2), np.float32)).dtype == dtype
    if dtype == np.float32:
        assert np.array_equal(model(exact.astype(np.float32)), exact)
    assert np.array_equal(model(exact), exact)


def test_bfloat16_and_gradients():
    model = identity(Format(9, 6), Format(9, 6))
    values = torch.tensor([[0.5, -1.25], [3.0, 0.015625]])
    for tensor in (values.bfloat16(), values.clone().requires_grad_()):
        result = model(tensor)
        assert result.dtype == torch.float32
        assert torch.equal(result, values)


def test_integers_and_booleans_are_numbers():
    model = identity(Format(9, 0), Format(9, 0))
    for dtype in (np.uint8, np.int8, np.int64, bool):
        values = np.array([[0, 1], [1, 0]], dtype)
        assert model(values).dtype == np.float32
        assert np.array_equal(model(values), values)
    assert np.array_equal(model(memoryview(np.eye(3))), np.eye(3))


def test_raw_integers_may_be_tensors():
    model = identity(Format(9, 0), Format(8, 1))
    raw = torch.tensor([[3, -4], [100, 0]])
    assert np.array_equal(model.run_raw(raw), [[6, -8], [127, 0]])


def test_errors_name_input_and_index():
    x, y = (replace(image(name), format=Format(5, 0)) for name in ("x", "y"))
    total = replace(node("total", Add(), "x", "y"), quantization=Quantization(Format(6, 0)))
    model = fxp.FixedModel(Graph("sum", (x, y), (total,), ("total",)))
    good, bad = np.zeros((2, 3), np.int64), np.zeros((2, 3), np.int64)
    bad[1, 2] = -17
    with pytest.raises(FormatError, match=r"'y': raw -17 at index \(0, 1, 2\) does not fit"):
        model.run_raw(good, bad)
    with pytest.raises(FormatError, match=r"input 'y': cannot quantize inf at index \(0, 1, 2\)"):
        model(good, np.where(bad, np.inf, 0.0))
    with pytest.raises(FormatError, match="input 'y'"):
        model.clipped(good, np.where(bad, np.nan, 0.0))


def test_the_clip_rate_of_an_input_by_hand():
    model = identity(Format(4, 0), Format(3, 0))
    # Rounding to 7 and -8 does not clip; 7.5 rounds half up to 8, -8.5 to -8, -8.51 to -9.
    values = np.array([[7.4, 7.5, -8.5, -8.51], [3.4, 3.5, -4.5, -5.0]])
    assert model.clipped(values) == {"x": 2 / 8, "y": 6 / 8}
    assert model.clipped(values.astype(np.int8)) == {"x": 0.0, "y": 5 / 8}


def test_shared_weights_count_once():
    nodes = [
        node("first", Conv2d(), "x", "weight"),
        node("second", Conv2d(), "first", "weight"),
    ]
    source = graph(image(channels=2), nodes, constants=[constant("weight", pointwise(np.eye(2)))])
    model = fxp.FixedModel(lowered(source, random_image(2)))
    assert model.parameters == 4
    assert model.summary().endswith("4 parameters; outputs second")


@pytest.mark.parametrize(
    "rates", [{"x": -0.1}, {"x": 1.5}, {"x": float("nan")}, {"x": 10**400}, {"x": True},
              {"x": None}, {"x": "0.5"}, "x", None, 3],
)  # fmt: skip
def test_clip_rates_of_a_file_are_shares(tmp_path: Path, rates):
    path = tmp_path / "model.fxp"
    text = json.dumps(rates)
    save_graph(identity(Format(4, 0), Format(3, 0)).graph, path,
               metadata={"fxp.calibration_clipping": text})  # fmt: skip
    with pytest.raises(FormatError, match="shares of clipped values are damaged"):
        fxp.load(path)


def test_a_file_without_clip_rates_has_none(tmp_path: Path):
    save_graph(identity(Format(4, 0), Format(3, 0)).graph, tmp_path / "model.fxp")
    model = fxp.load(tmp_path / "model.fxp")
    assert model.calibration_clipped == {}
    assert model.metadata == {}
    assert "%" not in model.summary()


class Mixed(nn.Module):
    """An image and a vector in, two vectors out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.linear = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, y: torch.Tensor):
        pooled = torch.flatten(nn.functional.adaptive_avg_pool2d(self.conv(x), 1), 1)
        return pooled + self.linear(y), torch.relu(pooled)


def test_an_image_and_a_vector():
    torch.manual_seed(1)
    calls = [(torch.randn(3, 2, 6, 7), torch.randn(3, 4)) for _ in range(2)]
    network = Mixed().eval()
    model = fxp.quantize(network, calls, effort="fast")
    arrays = [tuple(tensor.numpy() for tensor in call) for call in calls]
    assert fxp.quantize(network, arrays, effort="fast").graph == model.graph
    x, y = calls[0]
    with torch.no_grad():
        wanted = network(x, y)
    for found, reference in zip(model(x, y), wanted, strict=True):
        assert found.shape == (3, 3)
        assert torch.allclose(found, reference, rtol=0, atol=0.01)
    for found, slow in zip(model(x, y), model.oracle(x, y), strict=True):
        assert torch.equal(found, slow)
    single = model(x[1], y[1])
    for found, batch in zip(single, model(x, y), strict=True):
        assert torch.equal(found, batch[1])


def test_calibration_items_must_fit_together():
    network = Mixed().eval()
    with pytest.raises(ValueError, match=r"item 1 .*\(2, 2, 6, 7\) and \(3, 4\); .*the same size"):
        fxp.quantize(network, [(torch.zeros(3, 2, 6, 7), torch.zeros(3, 4)),
                               (torch.zeros(2, 2, 6, 7), torch.zeros(3, 4))])  # fmt: skip
    with pytest.raises(ValueError, match=r"item 0 .*the same size, 1 or more"):
        fxp.quantize(network, [(torch.zeros(0, 2, 6, 7), torch.zeros(0, 4))])
    with pytest.raises(ValueError, match=r"item 0 holds a single number"):
        fxp.quantize(network, [[0.5, 0.5]])


class Residual(nn.Module):
    """Convolution, PReLU, residual block, global skip, enlargement."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.PReLU(6))
        self.body = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(6, 6, 1))
        self.tail = nn.Sequential(nn.Conv2d(6, 4, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.head(x)
        features = torch.relu(features + self.body(features))
        return self.tail(features) + nn.functional.interpolate(x, scale_factor=2)


@pytest.mark.parametrize("per_channel", [False, True])
def test_quality_grows_with_the_bits(per_channel):
    torch.manual_seed(4)
    network = Residual().eval()
    image_batch = torch.rand(1, 1, 12, 12)
    with torch.no_grad():
        wanted = Residual.forward(network.double(), image_batch.double()).numpy()
    network.float()
    quality = []
    for bits in (6, 8, 12, 16, 20, 24):
        model = fxp.quantize(
            network,
            [image_batch],
            weight_bits=bits,
            activation_bits=bits,
            per_channel=per_channel,
            effort="fast",
        )
        quality.append(sqnr(wanted, model(image_batch.double().numpy())))
        assert np.array_equal(model(image_batch.numpy()), model.oracle(image_batch.numpy()))
    assert all(fine > coarse + 8 for coarse, fine in pairwise(quality)), quality
    assert quality[3] > 70
    assert quality[5] > 118


def test_calibration_bytes_are_numbers():
    torch.manual_seed(2)
    network = nn.Conv2d(1, 2, 3).eval()
    values = np.random.default_rng(0).integers(0, 256, (1, 1, 8, 10)).astype(np.uint8)
    wanted = fxp.quantize(network, [values.astype(np.float32)], effort="fast").graph
    assert fxp.quantize(network, [values], effort="fast").graph == wanted


def test_calibration_arrays_of_any_layout():
    torch.manual_seed(2)
    network = nn.Conv2d(1, 2, 3).eval()
    values = np.random.default_rng(0).random((1, 1, 8, 10))
    wanted = fxp.quantize(network, [values], effort="fast").graph
    mirrored = np.ascontiguousarray(values[..., ::-1])[..., ::-1]
    frozen = np.asfortranarray(values)
    frozen.setflags(write=False)
    needs_gradient = torch.from_numpy(values.copy()).requires_grad_()
    for data in (mirrored, frozen, needs_gradient):
        assert fxp.quantize(network, [data], effort="fast").graph == wanted


class GatedUnit(nn.Module):
    """Convolutional gated recurrent unit with a skip connection."""

    def __init__(self, hidden: int = 2) -> None:
        super().__init__()
        self.gates = nn.Conv2d(1 + hidden, 2 * hidden, 3, padding=1)
        self.proposal = nn.Conv2d(1 + hidden, hidden, 3, padding=1)
        self.tail = nn.Conv2d(hidden, 1, 1)

    def forward(self, x: torch.Tensor, h: torch.Tensor):
        update, reset = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
        proposal = torch.tanh(self.proposal(torch.cat([x, reset * h], 1)))
        h = (1 - update) * h + update * proposal
        return self.tail(h) + x, h


def test_a_gated_recurrent_unit():
    torch.manual_seed(3)
    network = GatedUnit().eval()
    frames = torch.rand(6, 1, 7, 6)
    start = torch.zeros(1, 2, 7, 6)
    model = fxp.quantize(network, [frames], states=[(1, 1)], initial_states=[start], effort="fast")
    (state,) = model.graph.states
    assert state.value.format == model.graph.values[state.source].format
    hidden, wanted = start, []
    with torch.no_grad():
        for frame in frames:
            output, hidden = network(frame[None], hidden)
            wanted.append(output[0])
    found = model(frames)
    assert torch.allclose(found, torch.stack(wanted), rtol=0, atol=0.01)
    assert torch.equal(found, model.oracle(frames))
    states = None
    for index, frame in enumerate(frames):
        form = model.graph.inputs[0].format
        assert form is not None
        raw = fxp.formats.quantize(frame.numpy(), form)
        result = model.run(raw, states=states, threads=1)
        slow = oracle.run(model.graph, [raw], states)
        assert np.array_equal(result.outputs[0], slow.outputs[0])
        assert np.array_equal(result.outputs[0], model.run_raw(
            fxp.formats.quantize(frames.numpy(), form))[index])  # fmt: skip
        states = result.states
    assert set(model.clipped(frames)) == {"x", *(item.name for item in model.graph.nodes)}


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([(2, 1)], "the states take input positions"),
        (
            [(-1, 1)],
            r"pairs \(input position, output position\) .*counted from 0.* got \[\(-1, 1\)\]",
        ),
    ],
)
def test_state_positions_are_checked(positions, message):
    with pytest.raises(ValueError, match=message):
        fxp.quantize(GatedUnit().eval(), [torch.rand(1, 1, 5, 5)], states=positions,
                     initial_states=[torch.zeros(1, 2, 5, 5)])  # fmt: skip


def test_states_start_from_zero():
    with pytest.raises(ValueError, match="must be all zeros"):
        fxp.quantize(GatedUnit().eval(), [torch.rand(1, 1, 5, 5)], states=[(1, 1)],
                     initial_states=[torch.ones(1, 2, 5, 5)])  # fmt: skip


def test_float_graphs_are_taken_and_integer_graphs_refused():
    source = graph(image(), [node("sum", Add(), "x", "x")])
    model = fxp.quantize(source, [random_image()], effort="fast")
    assert model(np.full((2, 2), 0.25)).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    with pytest.raises(fxp.GraphError, match="integer graph already"):
        fxp.quantize(model.graph, [random_image()])
    with pytest.raises(fxp.GraphError, match="float graph"):
        fxp.FixedModel(source)
