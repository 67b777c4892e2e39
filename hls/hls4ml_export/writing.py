"""Builds the hls4ml model from layers, and writes its project with a simulator of our own."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fxp.hls.hls4ml_export import extension
from fxp.hls.hls4ml_export.layers import ExportError, Hls4mlLayer
from fxp.hls.hls4ml_export.lowering import Lowering
from fxp.support.lazy import lazy_import

hls4ml_model: Any = lazy_import("hls4ml.model", "hls")
hls4ml_config: Any = lazy_import("hls4ml.utils.config", "hls")

BUILD_SCRIPT: Final = "build.sh"
SIMULATOR: Final = "simulate"
PROJECT_NAME: Final = "network"
SHARED_ADDERS: Final = "distributed_arithmetic"
"""Strategy of shared adders instead of multipliers, of Vivado and Vitis alone."""

INCLUDES: Final = {
    "Vivado": ("firmware/ap_types",),
    "Vitis": ("firmware/ap_types",),
    "Catapult": ("firmware/ac_types/include", "firmware/ac_math/include",
                 "firmware/ac_simutils/include", "firmware/nnet_utils"),
    "Quartus": ("firmware/ac_types", "firmware/ap_types"),
}  # fmt: skip
"""Backends whose C simulation plain g++ compiles, and their folders of headers."""


_ONE_COPY: Final[dict[str, dict[str, bool]]] = {
    name: {"write_weights_txt": False} for name in ("Vivado", "Vitis")
}
"""Otherwise C simulation reads weights from text files, and synthesis reads headers."""


@dataclass(frozen=True)
class Hls4mlOptions:
    """How hls4ml makes hardware of the layers; none of it changes a result."""

    backend: str
    io_type: str
    part: str | None
    clock_period: float
    reuse_factor: int
    strategy: str


def write_project(made: Lowering, folder: Path, settings: Hls4mlOptions) -> None:
    """Write hls4ml's project and the files that compile and feed it with plain g++.

    Parameters
    ----------
    made
        The layers.
    folder
        Where to write; it exists.
    settings
        How hls4ml makes hardware of them.

    Raises
    ------
    ExportError
        If hls4ml fails, or gives a layer another type than the graph says.
    """
    extension.register(settings.backend)
    log = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            model = _build(made, folder, settings)
            _check_types(model, made.layers)
            model.write()
            if settings.backend == "Quartus" and settings.io_type == "io_stream":
                _repair_traces(model, folder / "firmware" / f"{PROJECT_NAME}.cpp")
    except ExportError:
        raise
    except Exception as error:
        # hls4ml raises bare exceptions of every kind, some with no more than the name of a key.
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
        raise ExportError(
            f"hls4ml could not build the project for {settings.backend}, {settings.io_type}, "
            f"strategy {settings.strategy}; it stopped with {reason}{_place(error)}. Choose "
            "another strategy or io_type"
        ) from error
    _forget_place(folder)
    traced = [layer for name, layer in _traced(made)]
    text = render_simulator(made, traced)
    (folder / f"{SIMULATOR}.cpp").write_text(text, encoding="utf-8")
    script = folder / BUILD_SCRIPT
    script.write_text(render_script(settings.backend), encoding="utf-8")
    script.chmod(0o755)


def _place(error: BaseException) -> str:
    """Say which file of hls4ml an error comes from."""
    package = Path(hls4ml_model.__file__).parents[1]
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    files = [path for path in files if path.is_relative_to(package)]
    return f" in its {files[-1].name}" if files else ""


def _build(made: Lowering, folder: Path, settings: Hls4mlOptions) -> Any:
    config = hls4ml_config.create_config(
        output_dir=str(folder),
        project_name=PROJECT_NAME,
        backend=settings.backend,
        io_type=settings.io_type,
        part=settings.part,
        clock_period=settings.clock_period,
        **_ONE_COPY.get(settings.backend, {}),
    )

    def common(kind: str) -> dict[str, Any]:
        # hls4ml stops at layers that distributed arithmetic does not suit.
        shared = settings.strategy == SHARED_ADDERS and kind not in ("Conv2D", "Dense")
        strategy = "latency" if shared else settings.strategy
        return {"Strategy": strategy, "ReuseFactor": settings.reuse_factor}

    traced = {layer.name for _, layer in _traced(made)}
    config["HLSConfig"] = {
        # Every layer has types of its own; a result in this one would be seen by _check_types.
        "Model": {"Precision": "ap_fixed<3,2>", **common("")},
        "LayerName": {
            layer.name: {
                "Precision": layer.types,
                "Trace": layer.name in traced,
                **common(layer.kind),
            }
            for layer in made.layers
        },
    }
    config["TraceOutput"] = True
    layers = [
        {
            "name": layer.name,
            "class_name": layer.kind,
            "inputs": list(layer.inputs),
            "shape": layer.channels_last,
            **layer.attributes,
        }
        for layer in made.layers
    ]
    graph = made.graph
    return hls4ml_model.ModelGraph.from_layer_list(
        config,
        layers,
        [made.names[value.name] for value in graph.inputs],
        [made.names[name] for name in graph.outputs],
    )


def _traced(made: Lowering) -> list[tuple[str, Hls4mlLayer]]:
    """Every node of the graph with the layer that computes it."""
    layers = {layer.name: layer for layer in made.layers}
    return [(node.name, layers[made.names[node.name]]) for node in made.graph.nodes]


def _check_types(model: Any, layers: Sequence[Hls4mlLayer]) -> None:
    """Compare the types that hls4ml will write with those of the graph."""
    for layer in layers:
        node = model.graph.get(layer.name)
        if node is None:
            raise ExportError(f"hls4ml removed the layer {layer.name!r}")
        found = {"result": node.get_output_variable().type.precision}
        found |= {
            kind: node.get_attr(f"{kind}_t").precision for kind in layer.types if kind in ("accum",)
        }
        found |= {
            kind: node.weights[kind].type.precision
            for kind in layer.types
            if kind in ("weight", "bias", "constant")
        }
        for kind, precision in found.items():
            wanted = model.config.backend.convert_precision_string(layer.types[kind])
            if str(precision) != str(wanted):
                raise ExportError(
                    f"hls4ml gives the layer {layer.name!r} the {kind} type {precision}, not "
                    f"{wanted}"
                )


def _repair_traces(model: Any, path: Path) -> None:
    """Trace the stream of every layer: hls4ml 1.3 traces the last one under all names."""

    def right(found: re.Match[str]) -> str:
        result = model.graph[found[2]].get_output_variable()
        return f'{found[1]}<{result.type.name}>({result.name}, "{found[2]}", {result.size_cpp()})'

    pattern = r'(save_layer_output)<\w+>\(\w+, "(\w+)", [^)]*\)'
    path.write_text(re.sub(pattern, right, path.read_text(encoding="utf-8")), encoding="utf-8")


def _forget_place(folder: Path) -> None:
    """Take the folder of the export out of hls4ml's notes, as the project may be moved."""
    for path in folder.iterdir():
        if path.suffix in (".yml", ".cpp", ".tcl", ".sh"):
            text = path.read_text(encoding="utf-8")
            for place in {str(folder), str(folder.resolve())}:
                text = text.replace(place, ".")
            path.write_text(text, encoding="utf-8")


def render_script(backend: str) -> str:
    """Shell script that compiles the simulator."""
    includes = " ".join(f"-I{shlex.quote(item)}" for item in INCLUDES[backend])
    return f"""#!/bin/sh
# Compiles the C simulation: ./{BUILD_SCRIPT}, then ./{SIMULATOR} IN OUT (see {SIMULATOR}.cpp).
set -e
cd "$(dirname "$0")"
g++ -std=c++17 ${{CXXFLAGS:--O1}} -w {includes} \\
    firmware/{PROJECT_NAME}.cpp {PROJECT_NAME}_bridge.cpp {SIMULATOR}.cpp -o {SIMULATOR}
"""


def render_simulator(made: Lowering, traced: Sequence[Hls4mlLayer]) -> str:
    """C++ of a program that feeds the network from files of raw integers."""
    graph = made.graph
    layers = {layer.name: layer for layer in made.layers}

    def entry(name: str) -> str:
        layer = layers[name]
        channels, *places = layer.shape
        width, integer = map(int, re.findall(r"-?\d+", layer.types["result"])[:2])
        pixels = 1
        for size in places:
            pixels *= size
        return f'{{"{name}", {channels}, {pixels}, {width - integer}}}'

    inputs = [made.names[value.name] for value in graph.inputs]
    outputs = [made.names[name] for name in graph.outputs]
    rows = {
        "inputs": [entry(name) for name in inputs],
        "outputs": [entry(name) for name in outputs],
        "traces": [entry(layer.name) for layer in traced],
    }
    tables = "\n".join(
        f"static const Port {kind}[] = {{\n    " + ",\n    ".join(entries) + ",\n};"
        for kind, entries in rows.items()
    )
    count = len(inputs) + len(outputs)
    arguments = ", ".join(
        [f"in[{i}].data()" for i in range(len(inputs))]
        + [f"out[{i}].data()" for i in range(len(outputs))]
    )
    return (
        _SIMULATOR.replace("@TABLES@", tables)
        .replace("@POINTERS@", ", ".join(["double *"] * count))
        .replace("@ARGUMENTS@", arguments)
        .replace("@NAME@", PROJECT_NAME)
    )


_SIMULATOR: Final = r"""// C simulation of the network on files.
//
//     ./simulate IN OUT [trace]
//
// The folder IN holds one file NAME.bin per input: little-endian 64 bit raw integers, channel by
// channel, row by row, frames one after the other. The folder OUT gets a file of the same kind per
// output, or per layer with "trace".
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

struct Port {
    const char *name;
    size_t channels, pixels;
    int frac;
};

@TABLES@

struct trace_data {
    const char *name;
    void *data;
};
extern "C" {
void @NAME@_double(@POINTERS@);
void allocate_trace_storage(size_t);
void collect_trace_output(trace_data *);
}

template <size_t N> static size_t length(const Port (&)[N]) { return N; }

static bool write(std::ofstream &file, const Port &port, const double *values) {
    std::vector<int64_t> raw;
    for (size_t c = 0; c < port.channels; c++)
        for (size_t i = 0; i < port.pixels; i++)
            raw.push_back((int64_t)std::ldexp(values[i * port.channels + c], port.frac));
    file.write((const char *)raw.data(), raw.size() * 8);
    return file.good();
}

int main(int count, char **arguments) {
    bool trace = count == 4 && !std::strcmp(arguments[3], "trace");
    if (count != 3 && !trace) {
        std::fprintf(stderr, "usage: %s IN OUT [trace]\n", arguments[0]);
        return 2;
    }
    std::string from = std::string(arguments[1]) + "/", to = std::string(arguments[2]) + "/";
    std::vector<std::ifstream> sources;
    for (const Port &port : inputs) {
        sources.emplace_back(from + port.name + ".bin", std::ios::binary);
        if (!sources.back()) {
            std::fprintf(stderr, "cannot read %s%s.bin\n", from.c_str(), port.name);
            return 1;
        }
    }
    std::vector<const Port *> ports;
    for (size_t i = 0; i < (trace ? length(traces) : length(outputs)); i++)
        ports.push_back(trace ? &traces[i] : &outputs[i]);
    std::vector<std::ofstream> results;
    for (const Port *port : ports) {
        results.emplace_back(to + port->name + ".bin", std::ios::binary);
        if (!results.back()) {
            std::fprintf(stderr, "cannot write %s%s.bin\n", to.c_str(), port->name);
            return 1;
        }
    }
    std::vector<trace_data> stored(length(traces));
    if (trace) {
        allocate_trace_storage(sizeof(double));
        collect_trace_output(stored.data());
    }
    std::vector<std::vector<double>> in, out;
    for (const Port &port : inputs)
        in.emplace_back(port.channels * port.pixels);
    for (const Port &port : outputs)
        out.emplace_back(port.channels * port.pixels);
    while (true) {
        for (size_t i = 0; i < in.size(); i++) {
            const Port &port = inputs[i];
            std::vector<int64_t> raw(in[i].size());
            sources[i].read((char *)raw.data(), raw.size() * 8);
            if (i == 0 && sources[i].gcount() == 0)
                return 0;
            if (sources[i].gcount() != (std::streamsize)(raw.size() * 8)) {
                std::fprintf(stderr, "%s%s.bin ends within a frame\n", from.c_str(), port.name);
                return 1;
            }
            for (size_t c = 0; c < port.channels; c++)
                for (size_t p = 0; p < port.pixels; p++)
                    in[i][p * port.channels + c] =
                        std::ldexp((double)raw[c * port.pixels + p], -port.frac);
        }
        @NAME@_double(@ARGUMENTS@);
        for (size_t i = 0; i < ports.size(); i++) {
            const double *values = trace ? NULL : out[i].data();
            for (size_t j = 0; trace && j < stored.size(); j++)
                if (!std::strcmp(stored[j].name, ports[i]->name))
                    values = (const double *)stored[j].data;
            if (!values || !write(results[i], *ports[i], values)) {
                std::fprintf(stderr, "cannot write %s%s.bin\n", to.c_str(), ports[i]->name);
                return 1;
            }
        }
    }
}
"""
