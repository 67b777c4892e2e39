"""What hls4ml is taught through its extension API: moved values, pixel functions and reductions."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

from fxp.support.lazy import lazy_import

hls4ml_layers: Any = lazy_import("hls4ml.model.layers", "hls")
hls4ml_templates: Any = lazy_import("hls4ml.backends.template", "hls")
hls4ml_backend: Any = lazy_import("hls4ml.backends", "hls")

HEADER: Final = Path(__file__).with_name("fxp_layers.h")
INCLUDE: Final = [f"nnet_utils/{HEADER.name}"]

MOVE: Final = "FxpMove"
"""Result values are input values of other places; the attribute `body` is C++ of the places."""
PIXEL: Final = "FxpPixel"
"""A function of one or two pixels at the same place; the attribute `body` is its C++."""
REDUCTION: Final = "FxpReduction"
"""Sums or maxima of windows that tile the image; the attribute `body` is C++ of both steps."""


@cache
def register(backend: str) -> None:
    """Teach hls4ml the layers for a backend, once in a process: hls4ml refuses a second time."""
    target = hls4ml_backend.get_backend(backend)
    calls = (_move_call, _pixel_call, _reduction_call)
    for layer, call in zip(_layer_classes(), calls, strict=True):
        target.register_template(_config(layer))
        target.register_template(call(layer))
    target.register_source(HEADER)


@cache
def _layer_classes() -> tuple[type, ...]:
    class FxpLayer(hls4ml_layers.Layer):
        """Base of all; the result has a shape of its own, and may have a constant array."""

        def initialize(self) -> None:
            """Declare the result and the constants."""
            self.add_output_variable(list(self.attributes["shape"]))
            if self.get_attr("constant_data") is not None:
                self.add_weights_variable("constant", var_name="constant{index}")

    class Totals(FxpLayer):
        """A layer with an accumulator."""

        _expected_attributes: ClassVar = [hls4ml_layers.TypeAttribute("accum")]

    bases = ((MOVE, FxpLayer), (PIXEL, FxpLayer), (REDUCTION, Totals))
    layers = tuple(type(name, (base,), {}) for name, base in bases)
    for item in layers:
        hls4ml_layers.register_layer(item.__name__, item)
    return layers


def _config(layer: type) -> type:
    class Config(hls4ml_templates.LayerConfigTemplate):
        """Writes the struct that the layer's C++ reads."""

        def __init__(self) -> None:
            super().__init__(layer)

        def format(self, node: Any) -> str:
            """Return the struct."""
            accum = node.get_attr("accum_t")
            head = f"    typedef {accum.name} accum_t;\n" if accum is not None else ""
            return f"struct config{node.index} {{\n{head}{node.get_attr('body')}\n}};\n"

    return Config


def _move_call(layer: type) -> type:
    class Call(hls4ml_templates.FunctionCallTemplate):
        """Writes the call of a layer that moves values."""

        def __init__(self) -> None:
            super().__init__(layer, include_header=INCLUDE)

        def format(self, node: Any) -> str:
            """Return the call."""
            names = self._default_function_params(node)
            kind = "stream" if _streams(node) else "parallel"
            return "fxp::move_{kind}<{input_t}, {output_t}, {config}>({input}, {output});".format(
                kind=kind, **names
            )

    return Call


def _pixel_call(layer: type) -> type:
    class Call(hls4ml_templates.FunctionCallTemplate):
        """Writes the call of a function of pixels."""

        def __init__(self) -> None:
            super().__init__(layer, include_header=INCLUDE)

        def format(self, node: Any) -> str:
            """Return the call, or the loop of calls where values are arrays."""
            names = self._default_function_params(node)
            result = node.get_output_variable()
            operands = [node.get_input_variable(name) for name in node.inputs]
            constants = _constants(node)
            if _streams(node):
                arguments = ", ".join([result.name, constants, *(item.name for item in operands)])
                return f"fxp::each_pixel<{names['output_t']}, {names['config']}>({arguments});"
            places = [f"{item.name} + i * {item.shape[-1]}" for item in (result, *operands)]
            arguments = ", ".join([places[0], constants, *places[1:]])
            return (
                f"for (int i = 0; i < {names['config']}::pixels; i++) "
                f"{names['config']}::pixel({arguments});"
            )

    return Call


def _reduction_call(layer: type) -> type:
    class Call(hls4ml_templates.FunctionCallTemplate):
        """Writes the call of a reduction."""

        def __init__(self) -> None:
            super().__init__(layer, include_header=INCLUDE)

        def format(self, node: Any) -> str:
            """Return the call."""
            names = self._default_function_params(node)
            kind = "stream<{output_t}, {config}>" if _streams(node) else "parallel<{config}>"
            call = f"fxp::reduce_{kind}({{output}}, {_constants(node)}, {{input}});"
            return call.format(**names)

    return Call


def _constants(node: Any) -> str:
    """C++ of the array of constants; zero if there is none."""
    return node.weights["constant"].name if len(node.weights) else "0"


def _streams(node: Any) -> bool:
    return node.model.config.get_config_value("IOType") == "io_stream"
