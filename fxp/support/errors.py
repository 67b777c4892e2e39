"""The root of every error that a user can cause, and the warning of what quantization loses."""

from __future__ import annotations


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
