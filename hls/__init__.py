"""Emitting hardware: hls4ml projects and SystemVerilog cores."""

from hls.rtl.core import Core, Port, Tap
from hls.rtl.emit import emit_rtl
from hls.rtl.planning import StreamingError

__all__ = ["Core", "Port", "StreamingError", "Tap", "emit_rtl"]
