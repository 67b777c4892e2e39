"""Models, graphs, plans and training modules can be copied, pickled, compared and shown."""

from __future__ import annotations

import copy
import json
import math
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from rich.progress import Progress
from small_graphs import graph, image, node
from torch import nn
from torch.nn.utils import parametrizations

import fxp
from fxp.frontend import from_torch
from fxp.frontend.derivation import evaluate
from fxp.graph import Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Clamp

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda item: pickle.loads(pickle.dumps(item)),
}
IMAGES = torch.rand(1, 1, 8, 9, generator=torch.Generator().manual_seed(0))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3)
    ).eval()


@pytest.fixture(scope="module")
def model() -> fxp.FixedModel:
    return fxp.quantize(network(), [IMAGES], effort="fast")


@pytest.mark.parametrize("how", COPIES)
def test_models(how: str, model: fxp.FixedModel):
    found = COPIES[how](model)
    assert found is not model
    assert found == model
    assert hash(found) == hash(model)
    assert found.calibration_clipped_by_one_step == model.calibration_clipped_by_one_step
    assert torch.equal(found(IMAGES), model(IMAGES))
    found.metadata["note"] = "changed"
    assert "note" not in model.metadata
    assert found != model


@pytest.mark.parametrize("how", COPIES)
def test_graphs(how: str, model: fxp.FixedModel):
    for wanted in (model.graph, from_torch(network(), [IMAGES])):
        found = COPIES[how](wanted)
        assert found == wanted
        assert str(found) == str(wanted)
        assert not found.constants[0].data.flags.writeable


@pytest.mark.parametrize("how", COPIES)
def test_plans(how: str, model: fxp.FixedModel):
    plan = model.plan(8, 9, threads=2)
    found = COPIES[how](plan)
    assert found.describe() == plan.describe()
    assert found.shapes == plan.shapes
    assert found.counted is plan.counted


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_training_modules(how: str):
    training = fxp.prepare_qat(network(), [IMAGES])
    found = COPIES[how](training)
    assert fxp.convert(found) == fxp.convert(training)
    found.requantize()
    assert fxp.convert(found) == fxp.convert(training)


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_graphs_of_parametrized_weights(norm: Callable[[nn.Module], nn.Module]):
    """Whose modules PyTorch itself does not pickle."""
    layers = nn.Sequential(norm(nn.Conv2d(1, 2, 3)), nn.ReLU()).eval()
    for how in COPIES.values():
        graph = how(from_torch(layers, [IMAGES]))
        assert graph == from_torch(layers, [IMAGES])
        (weight, _) = graph.constants
        weights = evaluate(weight.derivation, {}, torch.device("cpu"))
        assert weights.tolist() == weight.data.tolist()


def test_a_copy_keeps_the_state_of_a_recurrent_network():
    class Sum(nn.Module):
        def forward(self, x: torch.Tensor, total: torch.Tensor):
            total = 0.5 * total + x
            return total, total * 2

    zeros = torch.zeros(1, 1, 2, 3)
    frames = torch.rand(4, 1, 2, 3)
    model = fxp.quantize(
        Sum().eval(), [frames], states=[(1, 0)], initial_states=[zeros], effort="fast"
    )
    model.step(frames[0])
    found = copy.deepcopy(model)
    assert torch.equal(found.step(frames[1]), model.step(frames[1]))


def test_texts(model: fxp.FixedModel):
    nodes = len(model.graph.nodes)
    assert repr(model.graph) == (
        f"<Graph 'Sequential' (integer): input: (1, H, W) ap_ufixed<14,0> -> 3; {nodes} nodes>"
    )
    assert repr(model.plan(8, 9, threads=2)).startswith("<Plan of 'Sequential' for input 8x9x1: ")
    html = model._repr_html_()
    assert html.count("<tr>") == 1 + len(model.graph.values)
    assert "ap_ufixed&lt;14,0&gt;" in html
    assert "<14" not in html
    assert "&lt;14,0&gt;" in model.graph._repr_html_()
    assert model.plan(8, 9)._repr_html_().startswith("<pre>step")


def test_rows_of_the_summary_are_data(model: fxp.FixedModel):
    rows = json.loads(json.dumps(model.summary_rows()))
    assert [row["value"] for row in rows] == list(model.graph.values)
    assert rows[0] == {
        "value": "input", "op": "input", "shape": [1, "H", "W"], "format": "ap_ufixed<14,0>",
        "accumulator_bits": None, "weights": None, "parameters": 0, "clipped": 0.0,
        "clipped_by_one_step": 0.0, "sqnr": rows[0]["sqnr"],
    }  # fmt: skip
    # A step of 2**-14 has a mean squared error of 2**-28 / 12, and numbers from 0 to 1 have 1 / 3.
    assert rows[0]["sqnr"] == pytest.approx(10 * math.log10(4 * 2**28), abs=1)
    assert rows[1]["op"] == "conv2d"
    assert rows[1]["parameters"] == 4 * 9 + 4


def test_plans_for_inputs_of_different_sizes():
    nodes = [node("small", Clamp(low=0.0), "y"), node("large", Clamp(low=0.0), "x")]
    other = Value("y", (1, Extent("H2"), Extent("W2")))
    source = graph([image("x"), other], nodes, outputs=("large", "small"))
    data = (torch.rand(1, 1, 8, 10), torch.rand(1, 1, 4, 5))
    model = fxp.quantize(source, [data], effort="fast")
    plan = model.plan((8, 10), (1, 4, 5))
    assert (plan.shapes["x"], plan.shapes["y"]) == ((8, 10, 1), (4, 5, 1))
    assert model.plan(8, 10).shapes["y"] == (8, 10, 1)
    with pytest.raises(fxp.GraphError, match="takes 2 inputs"):
        model.plan((8, 10))
    with pytest.raises(fxp.GraphError, match=r"input x: .* needs a size \(H, W\).*, got \(8,\)"):
        model.plan((8,), (4, 5))
    for size in (8.5, True, "8", None):
        with pytest.raises(TypeError, match="whole numbers such as 540, 960"):
            model.plan((8, size), (4, 5))
    with pytest.raises(ValueError, match="threads must be an integer from 1 to 1024"):
        model.plan(8, 10, threads=1025)
    with pytest.raises(TypeError, match=r"limits must be fxp\.Limits"):
        fxp.FixedModel(model.graph, limits=5)  # type: ignore[arg-type]


def test_four_threads_quantize_at_once():
    networks = [network(seed) for seed in range(4)]

    def make(item: nn.Module) -> fxp.FixedModel:
        return fxp.quantize(item, [IMAGES], effort="fast")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(make, networks))
    assert found == [make(item) for item in networks]
    assert len({model.graph for model in found}) == 4


def test_threads_prepare_one_network_at_once():
    shared = network()

    def make(_: int) -> fxp.QatModel:
        return fxp.prepare_qat(shared, [IMAGES])

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(make, range(8)))
    wanted = make(0)
    assert all(item.graph == wanted.graph for item in found)
    assert all(torch.equal(item(IMAGES), wanted(IMAGES)) for item in found)


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_a_failed_trace_names_other_threads():
    done = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="server") as pool:
        pool.submit(done.wait)
        try:
            with pytest.raises(fxp.FxpError, match=r"thread \(.*server_0.*\) .* let it wait until"):
                fxp.quantize(Branch().eval(), [IMAGES])
        finally:
            done.set()


def test_a_failed_trace_names_neither_progress_bars_nor_the_engine(model: fxp.FixedModel):
    model(torch.rand(1, 1, 512, 512), threads=3)
    with Progress() as bar:
        bar.add_task("quantizing")
        alive = threading.enumerate()
        (drawing,) = [thread for thread in alive if type(thread).__module__ == "rich.live"]
        drawing.name = "drawing"
        assert any(thread.name.startswith("fxp_") for thread in alive)
        with pytest.raises(fxp.FxpError, match="cannot trace the model") as caught:
            fxp.quantize(Branch().eval(), [IMAGES])
    assert "drawing" not in str(caught.value)
    assert "fxp_" not in str(caught.value)


def test_the_package_says_its_version_and_finds_its_parts():
    assert fxp.__version__.startswith("0.")
    assert fxp.export.onnx.to_onnx.__module__ == "fxp.export.onnx"
