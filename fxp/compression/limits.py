"""Numbers that the commands need before PyTorch is imported."""

from __future__ import annotations

from typing import Final

SUFFIX: Final = ".fxpc"
"""Ending of compressed files."""
MAX_BITS: Final = 8
"""Codes are bytes in the compressed file."""
CONVOLUTION_BITS: Final = 8
LINEAR_BITS: Final = 5
"""Widths of the codes in the paper."""
