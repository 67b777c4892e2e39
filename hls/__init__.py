"""Emitting hardware: hls4ml projects and SystemVerilog cores."""

from hls.hls4ml_export import HlsProject, export, verify
from hls.rtl.core import Core, Port, Tap
from hls.rtl.emit import emit_rtl
from hls.rtl.planning import StreamingError

__all__ = [
    "Core",
    "HlsProject",
    "Port",
    "StreamingError",
    "Tap",
    "emit_rtl",
    "export",
    "verify",
]
