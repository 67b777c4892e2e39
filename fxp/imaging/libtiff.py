"""libtiff, with which Pillow decodes compressed TIFF files, kept from writing to the terminal."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    from PIL import Image
else:
    Image = lazy_import("PIL.Image", "cli")

_ONE_AT_A_TIME = Lock()
"""The handler is one for the whole process."""


@contextmanager
def silenced() -> Iterator[None]:
    """Let libtiff report the faults of a file to Pillow alone, which raises an error.

    By default it writes them to standard error as well, below Python, where no filter of warnings
    reaches them. Where Pillow is built with libtiff inside, as on Windows, nothing is changed.
    """
    with _ONE_AT_A_TIME:
        try:
            # A symbol is also looked for in the libraries that this one was linked with.
            set_handler = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler
        except (AttributeError, OSError):
            yield
            return
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        earlier = set_handler(None)
        try:
            yield
        finally:
            set_handler(earlier)
