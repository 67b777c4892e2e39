"""Fixed-point models as hls4ml projects whose C simulation equals the engine."""

from fxp.hls.hls4ml_export.exporting import export
from fxp.hls.hls4ml_export.layers import ExportError
from fxp.hls.hls4ml_export.project import HlsError, HlsProject
from fxp.hls.hls4ml_export.verification import (
    LayerDifference,
    Verification,
    VerificationError,
    verify,
)

__all__ = [
    "ExportError",
    "HlsError",
    "HlsProject",
    "LayerDifference",
    "Verification",
    "VerificationError",
    "export",
    "verify",
]
