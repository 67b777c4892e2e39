"""Emitting hardware: hls4ml projects and SystemVerilog cores."""

from hls.rtl.core import Core, Port, Tap
from hls.rtl.emit import emit_rtl

__all__ = ["Core", "Port", "Tap", "emit_rtl"]
