"""KimSR in the C simulation of hls4ml, per pixel.

The layers go to hls4ml as they stand in the integer graph, formats included, so that both compute
the same integers. Its front end for PyTorch refuses depthwise convolutions; its own list of layers
takes them. The pixel shuffle, which hls4ml does not have, and what follows are left out.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.libraries import small_kimsr
from benchmarks.speed.timing import Settings, best_times
from benchmarks.speed.versus import Say, fastest, fixed_model, raw_input
from benchmarks.speed.works import WORKS
from fxp.graph import Graph, Node
from fxp.graph.ops import Add, Conv2d, Relu
from fxp.support.distribution import install_advice

LAST = "tail.pointwise"
WHAT = "KimSR up to its pixel shuffle"


def measure(settings: Settings, say: Say) -> dict[str, Any]:
    """Compile the C simulation, check that it gives fxp's integers, and time both."""
    side = 8 if settings.quick else 128
    record: dict[str, Any] = {
        "name": "hls4ml", "what": WHAT, "height": side, "width": side, "target": 1000.0,
    }  # fmt: skip
    if find_spec("hls4ml") is None:
        return record | {"reason": f"not installed; {install_advice('hls')}"}
    if shutil.which("g++") is None:
        return record | {"reason": "no g++"}
    model, raw = small_kimsr(side, LAST)
    result = model.graph.values[LAST].format
    pixel = model.graph.inputs[0].format
    assert result is not None
    assert pixel is not None
    image = np.ascontiguousarray(np.ldexp(raw.astype(np.float32), -pixel.frac).transpose(1, 2, 0))
    with tempfile.TemporaryDirectory() as folder:
        say("hls4ml: g++ compiles the C simulation")
        started = time.perf_counter()
        simulation = _compile(model.graph, raw.shape, Path(folder))
        record["compile_seconds"] = time.perf_counter() - started
        say("hls4ml: C simulation")

        def simulate() -> NDArray:
            with contextlib.redirect_stdout(io.StringIO()):
                return simulation.predict(image[None])

        found = np.ldexp(simulate().astype(np.float64), result.frac).reshape(side, side, -1)
        if not np.array_equal(found.transpose(2, 0, 1), model.run(raw).outputs[0]):
            return record | {"reason": "its integers differ"}
        work = next(work for work in WORKS if work.name == "kimsr-1080")
        work = work.tiny() if settings.quick else work
        whole = fixed_model(work, work.network())
        frame = raw_input(whole, work.frame())
        calls = {"other": simulate, "fxp": fastest(whole, frame, 1)}
        calls |= {f"fxp_{count}": fastest(whole, frame, count) for count in settings.threads}
        return record | {"seconds": best_times(calls, settings), "fxp_shape": list(work.shape[1:])}


def _compile(graph: Graph, shape: tuple[int, ...], folder: Path) -> Any:
    """Hand the graph to hls4ml, layer by layer, and compile its C simulation."""
    shapes = graph.concrete_shapes(graph.bind([shape]))
    (source,) = graph.inputs
    (output,) = graph.outputs
    layers: list[dict[str, Any]] = [
        {
            "name": _name(source.name),
            "class_name": "InputLayer",
            "data_format": "channels_last",
            "input_shape": [*shape[1:], shape[0]],
        }
    ]
    types = {_name(source.name): {"result": str(source.format)}}
    for node in graph.nodes:
        inputs = [_name(name) for name in node.inputs if name in shapes]
        layers.append({"name": _name(node.name), "inputs": inputs, **_layer(graph, node, shapes)})
        types[_name(node.name)] = _types(graph, node)
    from hls4ml.model import ModelGraph
    from hls4ml.utils.config import create_config

    common = {"Strategy": "Latency", "ReuseFactor": 1}
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = create_config(output_dir=str(folder), backend="Vitis", io_type="io_stream")
        config["HLSConfig"] = {
            "Model": {"Precision": "ap_fixed<32,16>", **common},
            "LayerName": {name: {"Precision": item, **common} for name, item in types.items()},
        }
        simulation = ModelGraph.from_layer_list(
            config, layers, [_name(source.name)], [_name(output)]
        )
        simulation.compile()
    return simulation


def _layer(graph: Graph, node: Node, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    channels, height, width = shapes[node.name]
    if isinstance(node.op, Relu):
        count = channels * height * width
        return {"class_name": "Activation", "activation": "relu", "n_in": count}
    if isinstance(node.op, Add):
        return {"class_name": "Merge", "op": "add"}
    assert isinstance(node.op, Conv2d)
    constant = graph.constants_by_name[node.inputs[1]]
    kernel = np.ldexp(constant.data.astype(np.float64), -constant.formats[0].frac)
    sides = zip(("top", "bottom", "left", "right"), node.op.padding, strict=True)
    inputs, in_height, in_width = shapes[node.inputs[0]]
    layer: dict[str, Any] = {
        "data_format": "channels_last",
        "in_height": in_height,
        "in_width": in_width,
        "n_chan": inputs,
        "n_filt": channels,
        "out_height": height,
        "out_width": width,
        "filt_height": kernel.shape[2],
        "filt_width": kernel.shape[3],
        "stride_height": 1,
        "stride_width": 1,
        "bias_data": np.zeros(channels),
        **{f"pad_{name}": size for name, size in sides},
    }
    if node.op.groups == 1:
        return layer | {"class_name": "Conv2D", "weight_data": kernel.transpose(2, 3, 1, 0)}
    return layer | {
        "class_name": "DepthwiseConv2D",
        "depth_multiplier": 1,
        "depthwise_data": kernel.transpose(2, 3, 0, 1),
    }


def _types(graph: Graph, node: Node) -> dict[str, str]:
    """Return the C++ types of a layer, which print as the formats do."""
    types = {"result": str(node.quantization)}
    if isinstance(node.op, Conv2d):
        weight = str(graph.constants_by_name[node.inputs[1]].formats[0])
        assert node.accumulator is not None
        types |= {"weight": weight, "depthwise": weight, "bias": "ap_fixed<2,2>"}
        types["accum"] = str(node.accumulator.exact_format)
    return types


def _name(name: str) -> str:
    return name.replace(".", "_")
