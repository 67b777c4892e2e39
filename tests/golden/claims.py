"""Which section and sentence of docs/number-semantics.md a test is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

SECTIONS: Final[set[str]] = set()
"""Sections that some test is about; `test_claims.py` compares them with those of the page."""

Test = TypeVar("Test", bound=Callable[..., None])


def claim(section: str, sentence: str) -> Callable[[Test], Test]:
    """Mark a test as the proof of a sentence.

    Parameters
    ----------
    section
        Heading of the page under which the sentence stands, or the word in bold that begins its
        paragraph.
    sentence
        What it says, in the words of the page as far as one line holds them.
    """
    SECTIONS.add(section)

    def mark(test: Test) -> Test:
        test.__doc__ = f"{section}: {sentence}"
        return test

    return mark
