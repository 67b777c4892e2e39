"""Bounds on what an ONNX file may ask for, so that a hostile one is refused before it costs memory.

They lie far above any network that fixed-point hardware runs.
"""

from __future__ import annotations

from typing import Final

MAX_FILE_BYTES: Final = 1 << 31
"""Of a file; what protobuf can hold."""
MAX_NODES: Final = 100_000
"""Of a graph."""
MAX_RANK: Final = 16
"""Axes of a tensor."""
MAX_ELEMENTS: Final = 1 << 28
"""Of a computed tensor at the sizes of the file: 64 channels of 2048 x 2048 pixels."""
MAX_TOTAL_ELEMENTS: Final = 1 << 31
"""Of all computed tensors together."""
MAX_STATIC: Final = 1 << 16
"""Numbers in a tensor that is an argument of an operation, such as a list of axes or positions."""
