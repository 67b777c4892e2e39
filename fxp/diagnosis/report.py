"""The report: findings that can be looked at and written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path

from fxp.diagnosis.findings import Findings
from fxp.diagnosis.page import page
from fxp.support.errors import ArgumentError
from fxp.support.files import replace_file


@dataclass(frozen=True)
class Report(Findings):
    """Where a fixed-point model loses precision, why, and what to change.

    `print` shows it as a table, a notebook as a page; `save` writes the page, or the JSON. Its
    attributes are those of `fxp.diagnosis.findings.Findings`.

    Examples
    --------
    >>> report = model.report(images)      # doctest: +SKIP
    >>> report.save("report.html")         # doctest: +SKIP
    """

    def to_html(self) -> str:
        """Return one HTML page that needs no other file; needs the extra ``report``."""
        return page(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page, ``.html``, or the figures, ``.json``.

        An existing file is replaced only when the new one is complete.

        Raises
        ------
        ArgumentError
            If the name has another ending, so that no model or image is ever overwritten.
        OSError
            If the file cannot be written.
        """
        target = Path(path)
        writers: dict[str, Callable[[], str]] = {".html": self.to_html, ".json": self.to_json}
        if target.suffix.lower() not in writers:
            raise ArgumentError(f"a report is written to a name in .html or .json, not {target}")
        replace_file(target, writers[target.suffix.lower()]().encode())

    def _repr_html_(self) -> str:
        try:
            text = self.to_html()
        except ModuleNotFoundError:
            return f"<pre>{escape(str(self))}</pre>"
        return (
            f'<iframe srcdoc="{escape(text)}" sandbox style="width:100%;height:640px;border:0">'
            "</iframe>"
        )
