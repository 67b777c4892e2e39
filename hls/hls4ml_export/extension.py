"""What hls4ml is taught through its extension API: layers that move values, and pixel functions."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

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


@cache
def register(backend: str) -> None:
    """Teach hls4ml the layers for a backend, once in a process: hls4ml refuses a second time."""
    target = hls4ml_backend.get_backend(backend)
    move, pixel = _layer_classes()
    for template in (_config(move), _config(pixel), _move_call(move), _pixel_call(pixel)):
        target.register_template(template)
    target.register_source(HEADER)


@cache
def _layer_classes() -> tuple[type, type]:
    class FxpLayer(hls4ml_layers.Layer):
        """Base of both; the result has a shape of its own, and may have a constant array."""

        def initialize(self) -> None:
            """Declare the result and the constants."""
            self.add_output_variable(list(self.attributes["shape"]))
            if self.get_attr("constant_data") is not None:
                self.add_weights_variable("constant", var_name="constant{index}")

    move = type(MOVE, (FxpLayer,), {})
    pixel = type(PIXEL, (FxpLayer,), {})
    for item in (move, pixel):
        hls4ml_layers.register_layer(item.__name__, item)
    return move, pixel


def _config(layer: type) -> type:
    class Config(hls4ml_templates.LayerConfigTemplate):
        """Writes the struct that the layer's C++ reads."""

        def __init__(self) -> None:
            super().__init__(layer)

        def format(self, node: Any) -> str:
            """Return the struct."""
            return f"struct config{node.index} {{\n{node.get_attr('body')}\n}};\n"

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
            constants = node.weights["constant"].name if len(node.weights) else "0"
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


def _streams(node: Any) -> bool:
    return node.model.config.get_config_value("IOType") == "io_stream"
