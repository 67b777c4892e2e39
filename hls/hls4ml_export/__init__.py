"""Fixed-point models as hls4ml projects whose C simulation equals the engine."""

from hls.hls4ml_export.exporting import export
from hls.hls4ml_export.layers import ExportError
from hls.hls4ml_export.project import HlsError, HlsProject
from hls.hls4ml_export.verification import Difference, Verification, VerificationError, verify

__all__ = [
    "Difference",
    "ExportError",
    "HlsError",
    "HlsProject",
    "Verification",
    "VerificationError",
    "export",
    "verify",
]
