"""The report as one HTML page that needs no other file."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

from fxp.diagnosis import charts
from fxp.diagnosis.findings import HEADER, Findings, cells, gain_text, level_text
from fxp.diagnosis.panels import HEIGHT, WIDTH, panels, sparkline
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import jinja2
else:
    jinja2 = lazy_import("jinja2", "report")

MAX_PANELS: Final = 400
"""Values with charts, those that lose most; others have their figures and a histogram of text."""


def page(findings: Findings) -> str:
    """Return the page; needs the extra ``report``.

    Parameters
    ----------
    findings
        What was found.
    """
    steps = findings.steps_db
    source = files("fxp.diagnosis").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string(source).render(
        report=findings,
        header=HEADER,
        cells=cells,
        level=level_text,
        gain=gain_text,
        sparkline=sparkline,
        levels_chart=charts.svg(charts.levels_figure(findings.values)),
        steps_chart=charts.svg(charts.steps_figure(steps)) if steps else None,
        crops=charts.crop_images(findings.crop) if findings.crop is not None else {},
        panels={item.name: panels(item) for item in findings.by_loss[:MAX_PANELS]},
        width=WIDTH,
        height=HEIGHT,
        totals=findings.to_dict()["totals"],
    )
