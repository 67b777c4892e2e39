"""FixedModel: kinds of input, batches, raw integers, clip rates, files, threads, imports."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from small_graphs import BYTE
from torch import nn

import fxp
from fxp.formats import Format, FormatError, Overflow, Quantization
from fxp.graph.ops import Clamp, Relu
from fxp.support.distribution import install_advice


@pytest.fixture(scope="module")
def model() -> fxp.FixedModel:
    """Doubling network of one channel."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.PixelShuffle(2)).eval()
    return fxp.quantize(network, [torch.rand(2, 1, 9, 8)])


@pytest.fixture(scope="module")
def pair() -> fxp.FixedModel:
    """Two inputs, two outputs."""

    class Pair(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor):
            return torch.relu(x - y), x + y

    return fxp.quantize(Pair().eval(), [(torch.rand(1, 3, 5, 5), torch.rand(1, 3, 5, 5))])


def test_kinds_in_are_kinds_out(model: fxp.FixedModel):
    values = np.random.default_rng(0).integers(0, 65, (6, 7)) / 64
    wanted = model(values)
    assert wanted.dtype == np.float64
    assert wanted.shape == (12, 14)
    assert np.array_equal(wanted, model.oracle(values))
    for dtype in (np.float32, np.float16):
        result = model(values.astype(dtype))
        assert isinstance(result, np.ndarray)
        assert result.dtype == np.float32
        assert np.array_equal(result, wanted)
    for kind in (torch.float16, torch.float32, torch.float64):
        tensor = model(torch.from_numpy(values).to(kind))
        assert isinstance(tensor, torch.Tensor)
        assert tensor.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
        assert np.array_equal(tensor.numpy(), wanted)
    assert np.array_equal(model(values.tolist()), wanted)
    assert np.array_equal(model((values > 0.5).astype(np.uint8)), model((values > 0.5) * 1.0))


def test_memory_layouts(model: fxp.FixedModel):
    values = np.random.default_rng(0).random((12, 14))
    wanted = model(np.ascontiguousarray(values[::2, ::-2]))
    assert np.array_equal(model(values[::2, ::-2]), wanted)
    assert np.array_equal(model(np.asfortranarray(values[::2, ::-2])), wanted)
    frozen = values[::2, ::-2].copy()
    frozen.setflags(write=False)
    assert np.array_equal(model(frozen), wanted)


def test_axes_and_batches(model: fxp.FixedModel):
    batch = np.random.default_rng(0).random((3, 1, 5, 6))
    wanted = model(batch)
    assert wanted.shape == (3, 1, 10, 12)
    for index in range(3):
        assert np.array_equal(model(batch[index]), wanted[index])
        assert np.array_equal(model(batch[index, 0]), wanted[index, 0])


def test_several_inputs_and_outputs(pair: fxp.FixedModel):
    x, y = np.random.default_rng(0).random((2, 3, 4, 6))
    difference, total = pair(x, y)
    assert difference.shape == total.shape == (3, 4, 6)
    assert np.abs(total - (x + y)).max() < 1e-3
    with pytest.raises(fxp.GraphError, match="takes 2 inputs"):
        pair(x)
    with pytest.raises(fxp.GraphError, match="batch sizes"):
        pair(np.stack([x, x]), y[None])


@pytest.mark.parametrize("shape", [(0, 5), (2, 5, 5), (1, 1, 1, 5, 5), (5,), (1, 0, 5)])
def test_wrong_shapes(model: fxp.FixedModel, shape: tuple[int, ...]):
    with pytest.raises(fxp.GraphError, match=r"luma|input|empty"):
        model(np.zeros(shape))


def test_bad_values(model: fxp.FixedModel):
    with pytest.raises(FormatError, match=r"input .* cannot quantize nan at index \(0, 1, 0\)"):
        model(np.array([[0.0, 0.0], [np.nan, 0.0]]))
    top = model.graph.inputs[0].format.max_raw
    with pytest.raises(FormatError, match=r"raw \d+ at index \(0, 0, 1\) does not fit"):
        model.run_raw(np.array([[0, top + 1]]))
    with pytest.raises(TypeError, match="integers"):
        model.run_raw(np.array([[0.0, 1.0]]))
    for threads in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="threads"):
            model(np.zeros((3, 3)), threads=threads)  # type: ignore[arg-type]


def test_run_raw_is_the_integer_side(model: fxp.FixedModel):
    form = model.graph.inputs[0].format
    raw = np.random.default_rng(0).integers(form.min_raw, form.max_raw + 1, (5, 4))
    result = model.run_raw(raw)
    assert result.dtype == np.int64
    step = model.graph.values[model.graph.outputs[0]].format.step
    assert np.array_equal(result * step, model(raw * form.step))
    assert np.array_equal(model.run_raw(raw, threads=1), model.run_raw(raw, threads=3))


def test_concurrent_calls(model: fxp.FixedModel):
    images = np.random.default_rng(0).random((16, 20, 30))
    wanted = [model(image, threads=1) for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(np.array_equal, pool.map(model, images), wanted))


def clipping_model() -> fxp.FixedModel:
    """One ReLU into a format that holds 0 to 7/8 in eighths."""
    x = fxp.Value("x", (1, fxp.Extent("H"), fxp.Extent("W")), Format(5, 3))
    node = fxp.Node("y", Relu(), ("x",), Quantization(Format(3, 3, signed=False)))
    return fxp.FixedModel(fxp.Graph("clip", (x,), (node,), ("y",)))


def test_clip_rates_by_hand():
    model = clipping_model()
    # -2 fits, -3 does not; 1.5 fits the input but not the result; 1.99 rounds to 2, out of range.
    values = np.array([[-2.0, -3.0], [1.5, 1.99]])
    assert model.clipped(values) == {"x": 0.5, "y": 0.5}
    assert model.clipped(np.zeros((2, 2))) == {"x": 0.0, "y": 0.0}
    assert model.clipped(np.stack([values, np.zeros((2, 2))])[:, None]) == {"x": 0.25, "y": 0.25}


def test_clipping_by_one_step_is_told_apart_in_inputs():
    model = clipping_model()
    low, high = model.graph.inputs[0].format.min_raw, model.graph.inputs[0].format.max_raw
    step = model.graph.inputs[0].format.step
    # In steps: the ends themselves, one beyond, half a step less than two beyond, and two beyond.
    steps = np.array([[low, high, high + 1, low - 1], [high + 1.49, high + 1.5, low - 2, high + 2]])
    assert model.clipped(steps * step)["x"] == 6 / 8
    assert model.clipped_by_one_step(steps * step)["x"] == 3 / 8
    # The ReLU can give 1.75 where its format ends at 0.875: no proof, so nothing is said.
    assert "y" not in model.clipped_by_one_step(steps * step)


@pytest.mark.parametrize(
    ("top", "overflow", "proved"),
    [
        (1.0, Overflow.SATURATE, True),
        (1.0, Overflow.SATURATE_SYMMETRIC, True),
        (1.0, Overflow.WRAP, False),
        (1.125, Overflow.SATURATE, False),
    ],
)
def test_a_clamp_to_one_clips_by_one_step(top: float, overflow: Overflow, proved: bool):
    x = fxp.Value("x", (1, 1, 4), Format(8, 3))
    form = Format(3, 3, signed=False)
    node = fxp.Node("y", Clamp(low=0.0, high=top), ("x",),
                    Quantization(form, overflow=overflow))  # fmt: skip
    model = fxp.FixedModel(fxp.Graph("one", (x,), (node,), ("y",)))
    values = np.array([[-1.0, 0.5, 1.0, 2.0]])
    assert model.clipped(values)["y"] == 0.5
    assert model.clipped_by_one_step(values) == ({"x": 0, "y": 0.5} if proved else {"x": 0})
    model.record_clipped([[values[None]]])
    assert ("50.0000% by one step" in model.summary()) is proved
    assert ("ap_ufixed<3,0> ends at 0.875, and one step is 0.125" in model.summary()) is proved


def test_a_file_keeps_what_its_inputs_clip_by_one_step(tmp_path: Path):
    model = clipping_model()
    limit = model.graph.inputs[0].format.max
    values = np.array([[[limit + model.graph.inputs[0].format.step, 0.0]]])
    model.record_clipped([[values]])
    assert model.calibration_clipped_by_one_step == {"x": 0.5}
    model.save(tmp_path / "model.fxp")
    loaded = fxp.load(tmp_path / "model.fxp")
    assert loaded.calibration_clipped_by_one_step == {"x": 0.5}
    assert loaded == model


def test_summary_tells_the_effective_formats(model: fxp.FixedModel):
    summary = model.summary()
    for node in model.graph.nodes:
        (line,) = [line for line in summary.splitlines() if line.startswith(f"{node.name} ")]
        assert str(node.quantization) in line
        assert f"{node.accumulator.bits} bit" in line
        assert f"{model.calibration_clipped[node.name]:.4%}" in line
    assert "40 parameters" in summary
    assert model.parameters == 4 * 9 + 4
    assert "2 nodes" not in repr(model)
    assert f"{len(model.graph.nodes)} nodes, 40 parameters" in repr(model)


def test_save_and_load(model: fxp.FixedModel, tmp_path: Path):
    path = tmp_path / "model.fxp"
    model.metadata["licence"] = "Apache-2.0"
    model.save(path)
    loaded = fxp.load(path)
    assert loaded.graph == model.graph
    assert loaded.metadata == model.metadata
    assert loaded.calibration_clipped == model.calibration_clipped
    values = np.random.default_rng(0).random((7, 6))
    assert np.array_equal(loaded(values), model(values))
    with pytest.raises(FormatError, match=r"none\.fxp"):
        fxp.load(tmp_path / "none.fxp")


@pytest.mark.parametrize("text", ["[]", "{", '{"x": "much"}', "[" * 100_000])
def test_damaged_clip_rates(text: str, tmp_path: Path):
    from fxp.store import save_graph

    graph = clipping_model().graph
    save_graph(graph, tmp_path / "model.fxp", metadata={"fxp.calibration_clipping": text})
    with pytest.raises(FormatError, match=r"model\.fxp: the shares of clipped values are damaged"):
        fxp.load(tmp_path / "model.fxp")


def test_a_saved_model_runs_on_numpy_and_numba_alone(model: fxp.FixedModel, tmp_path: Path):
    model.save(tmp_path / "model.fxp")
    blocked = ["torch", "onnx", "onnxruntime", "typer", "rich", "skimage", "PIL", "safetensors"]
    code = (
        f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
        "import numpy as np, fxp\n"
        f"print(fxp.load({str(tmp_path / 'model.fxp')!r})(np.ones((4, 5))).sum())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == model(np.ones((4, 5))).sum()


@pytest.mark.parametrize("name", ["quantize", "prepare_qat", "convert", "frontend.from_torch"])
def test_without_torch_the_extra_is_named(name: str):
    code = f"import sys\nsys.modules['torch'] = None\nimport fxp\nfxp.{name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert (
        last == f"ModuleNotFoundError: this needs torch; install it with: {install_advice('torch')}"
    )


def test_import_is_quick_and_light():
    code = (
        "import sys, time; import numpy; start = time.perf_counter(); import fxp;"
        "print(time.perf_counter() - start);"
        "assert not {'torch', 'numba', 'onnx'} & set(sys.modules)"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        seconds.append(float(done.stdout))
        time.sleep(0.05)
    assert min(seconds) < 0.5


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fxp.nonsense
    assert all(getattr(fxp, name) is not None for name in dir(fxp))
    assert BYTE.max_raw == 255
