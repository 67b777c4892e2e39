"""The root of every error that a user can cause, and the warning of what quantization loses."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable


class FxpError(Exception):
    """Something that was asked for cannot be done; the message says what, where and what helps.

    Every exception class of this package derives from it, and from the built-in one that says its
    kind (ValueError, RuntimeError), so that both can be caught. The ``fxp`` command prints these
    in one line; anything else that reaches it is a defect of the program.
    """


class ArgumentError(FxpError, ValueError):
    """An argument, an option or given data has a value that cannot be used."""


class ArgumentTypeError(FxpError, TypeError):
    """An argument is of a type that cannot be used."""


class PrecisionWarning(UserWarning):
    """A quantized network loses more precision than a user is likely to want."""


def warn_of_precision(texts: Iterable[str]) -> None:
    """Give warnings of lost precision in the name of the line that called this package.

    Parameters
    ----------
    texts
        One warning each.
    """
    package = __name__.partition(".")[0]
    # Frames of other packages, such as decorators, may lie between those of this one.
    frame, depth, level = inspect.currentframe(), 1, 1
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == package:
            level = depth + 1
        frame, depth = frame.f_back, depth + 1
    for text in texts:
        warnings.warn(text, PrecisionWarning, stacklevel=level)
