"""ONNX files as torch modules, which the front end then converts like any other network."""

from fxp.frontend.onnx.load import load_onnx

__all__ = ["load_onnx"]
