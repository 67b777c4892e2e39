"""Hardware of a quantized model that computes the same integers as the engine.

`emit_rtl` writes a streaming core in SystemVerilog, `export` a verified hls4ml project. Both take a
model, its graph or the path of its ``.fxp`` file. The names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxp.hls.hls4ml_export import (
        ExportError,
        HlsError,
        HlsProject,
        Verification,
        VerificationError,
        export,
        verify,
    )
    from fxp.hls.line_compression import compress_lines
    from fxp.hls.rtl.core import Core, StreamPort, Tap
    from fxp.hls.rtl.costs import LineMemoryCost, ShiftAddCost
    from fxp.hls.rtl.emit import emit_rtl
    from fxp.hls.rtl.planning import StreamingError
    from fxp.hls.synth.fit import Fit, fit

_HOMES = {
    "Core": "fxp.hls.rtl.core",
    "ExportError": "fxp.hls.hls4ml_export",
    "Fit": "fxp.hls.synth.fit",
    "HlsError": "fxp.hls.hls4ml_export",
    "HlsProject": "fxp.hls.hls4ml_export",
    "LineMemoryCost": "fxp.hls.rtl.costs",
    "ShiftAddCost": "fxp.hls.rtl.costs",
    "StreamPort": "fxp.hls.rtl.core",
    "StreamingError": "fxp.hls.rtl.planning",
    "Tap": "fxp.hls.rtl.core",
    "Verification": "fxp.hls.hls4ml_export",
    "VerificationError": "fxp.hls.hls4ml_export",
    "compress_lines": "fxp.hls.line_compression",
    "emit_rtl": "fxp.hls.rtl.emit",
    "export": "fxp.hls.hls4ml_export",
    "fit": "fxp.hls.synth.fit",
    "verify": "fxp.hls.hls4ml_export",
}

__all__ = [
    "Core",
    "ExportError",
    "Fit",
    "HlsError",
    "HlsProject",
    "LineMemoryCost",
    "ShiftAddCost",
    "StreamPort",
    "StreamingError",
    "Tap",
    "Verification",
    "VerificationError",
    "compress_lines",
    "emit_rtl",
    "export",
    "fit",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import the module that defines a public name (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fxp.hls' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
