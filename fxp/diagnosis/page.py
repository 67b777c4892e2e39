"""The report as one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from fxp.diagnosis import charts
from fxp.diagnosis.findings import HEADER, Findings, ValueReport, cells, gain_text, level_text
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import jinja2
else:
    jinja2 = lazy_import("jinja2", "report")

MAX_CHARTS: Final = 6_000_000
"""Bytes of charts of single values; what is beyond keeps its figures and its small histogram."""


def page(findings: Findings) -> str:
    """Return the page; needs the extra ``report``.

    Parameters
    ----------
    findings
        What was found.
    """
    source = files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(source).render(
        report=findings,
        header=HEADER,
        cells=cells,
        level=level_text,
        gain=gain_text,
        sparkline=charts.sparkline,
        levels_chart=charts.levels_chart(findings.values),
        steps_chart=charts.steps_chart(findings.steps_db) if findings.steps_db else None,
        crops=charts.crop_images(findings.crop) if findings.crop is not None else {},
        charts=_value_charts(findings.by_loss),
        totals=findings.to_dict()["totals"],
    )


def _value_charts(values: Iterable[ValueReport]) -> dict[str, str]:
    """Draw the values that lose most first, as long as the page stays small."""
    drawn: dict[str, str] = {}
    size = 0
    for item in values:
        if size > MAX_CHARTS:
            break
        drawn[item.name] = charts.value_chart(item)
        size += len(drawn[item.name])
    return drawn
