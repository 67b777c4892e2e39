"""Text for the terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape control characters, so that text from a file cannot steer the terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def one_line(error: BaseException) -> str:
    """Return an error's message as one printable line, or its type if it has none."""
    return printable(" ".join(str(error).split())) or type(error).__name__
