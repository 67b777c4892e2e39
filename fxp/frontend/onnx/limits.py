"""Bounds on what an ONNX file may ask for, so that a hostile one is refused before it costs memory.

They lie far above any network that fixed-point hardware runs.
"""

from __future__ import annotations

from typing import Final

MAX_FILE_BYTES: Final = 1 << 31
"""Of a file; what protobuf can hold."""
MAX_NODES: Final = 100_000
"""Of a graph."""
MAX_FUNCTION_BYTES: Final = 1 << 26
"""Of the nodes of all functions that a file defines, once they are written out."""
MAX_FUNCTION_DEPTH: Final = 16
"""Functions within functions."""
MAX_RANK: Final = 16
"""Axes of a tensor."""
MAX_ELEMENTS: Final = 1 << 28
"""Of any tensor at the sizes of the file: 64 channels of 2048 x 2048 pixels."""
FREE_ELEMENTS: Final = 1 << 22
"""Of a computed tensor, whatever the file holds: 64 channels of 256 x 256 pixels."""
MAX_GROWTH: Final = 1024
"""Numbers in a computed tensor for each one in the inputs and weights.

64 channels of an image that is made four times as high and as wide have as many for each pixel.
"""
MAX_TOTAL_ELEMENTS: Final = 1 << 31
"""Of all computed tensors together."""
MAX_STATIC: Final = 1 << 16
"""Numbers in a tensor that is an argument of an operation, such as a list of axes or positions."""
