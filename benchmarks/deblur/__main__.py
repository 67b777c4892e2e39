"""Deblurring: the tables of the paper in shape, and the published network's time and memory.

``python -m benchmarks.deblur --data DIR`` trains networks of one, two and three scales at one
budget, measures them in float and fixed point, times the published network, and writes
docs/benchmarks/deblur.md. DIR holds BSD200, T91, deblur/gopro_pairs and video. Trainings are kept
in the folder --work: one that was interrupted goes on there.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.deblur.quality import (
    CONVOLUTIONS,
    RUNS,
    STEPS,
    WIDTH,
    Row,
    blurred_row,
    gopro,
    rows_of,
    synthesized,
    trained,
)
from benchmarks.deblur.speed import paper_rows
from benchmarks.report import Summary, environment, markdown_table, publish
from benchmarks.speed.timing import load_per_processor, load_text
from fxp.models.common.data import data_folder
from fxp.models.deblur.networks import load_float

HEADER = ("network", "arithmetic", "GOPRO PSNR", "SSIM", "films PSNR", "SSIM", "seconds")
SPEED_HEADER = ("", "size", "threads", "seconds", "times as fast", "peak memory MB")


@dataclass
class Page:
    """What the page says."""

    parts: list[str] = field(default_factory=list)
    summary: list[tuple[str, str]] = field(default_factory=list)

    def quality(self, rows: list[Row], shipped: list[Row]) -> None:
        """Add the tables of quality.

        Parameters
        ----------
        rows
            Of the blurred photographs and the networks trained here.
        shipped
            Of the network that ships with the package.
        """
        table = markdown_table(HEADER, [row.cells() for row in [rows[0], *shipped, *rows[1:]]])
        self.parts += [
            f"## Quality\n\n`small` ships with the package. K = 1 to 3 have {CONVOLUTIONS} "
            f"convolutions of {WIDTH} feature maps in all and are trained with the same number of "
            "multiply-accumulates, on pictures before a moving camera. They can be compared with "
            "each other and not with the paper, which trained for weeks on GOPRO. The six "
            "photographs of GOPRO, 1280x720, are true pairs; those of films are averages of "
            "frames. PSNR and SSIM of RGB; seconds for a photograph of GOPRO.",
            table,
        ]
        gain = shipped[0].gopro.psnr - rows[0].gopro.psnr
        self.summary.append(("dB above the blurred photograph on GOPRO, small", f"{gain:+.2f}"))
        for row in shipped[1:]:
            loss = f"{row.gopro.psnr - shipped[0].gopro.psnr:+.3f}"
            self.summary.append((f"dB of deblurring, {row.arithmetic}, minus float", loss))

    def speed(self, rows: list[list[str]], load: float) -> None:
        """Add the table of time and memory.

        Parameters
        ----------
        rows
            Of `paper_rows`.
        load
            Processes that shared a processor.
        """
        self.parts += [
            "## The published network\n\nThree scales, 120 convolutions, 64 feature maps. Memory "
            f"is that of the whole process at most. {load_text([load])}",
            markdown_table(SPEED_HEADER, rows),
        ]
        ratios = [row[4] for row in rows if row[4]]
        self.summary.append(
            ("times as fast as ONNX Runtime float32, DeepDeblur", ", ".join(ratios))
        )


def main() -> None:
    """Measure, print and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deblur", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("deblur_trainings"))
    parser.add_argument("--steps", type=int, default=STEPS, help="of the network of three scales")
    parser.add_argument("--crop", type=int, help="measure the middle of photographs alone")
    parser.add_argument("--only", choices=("quality", "speed"), help="no page then")
    parser.add_argument("--network", default="paper", help="preset to time")
    parser.add_argument("--size", type=int, nargs=2, default=(720, 1280), help="height and width")
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--runs", type=int, default=2, help="of each timing")
    arguments = parser.parse_args()
    page = Page()
    if arguments.only != "speed":
        torch.set_num_threads(max(arguments.threads))
        data = data_folder(arguments.data)
        sets = [make(data, arguments.crop) for make in (gopro, synthesized)]
        rows = [blurred_row(sets)]
        networks = [(run.title, trained(run, data, arguments.work, arguments.steps))
                    for run in RUNS]  # fmt: skip
        shipped: list[Row] = []
        for title, network in [("small", load_float("small")), *networks]:
            for row in rows_of(title, network, sets, max(arguments.threads)):
                (shipped if title == "small" else rows).append(row)
                print(*row.cells(), sep=" | ", flush=True)
        page.quality(rows, shipped)
    if arguments.only != "quality":
        found = paper_rows(
            tuple(arguments.size),
            tuple(arguments.threads),
            arguments.runs,
            larger=arguments.only is None,
            network=arguments.network,
        )
        page.speed(found, load_per_processor())
    body = "\n\n".join([*page.parts, environment("fxp", "torch", "onnxruntime", "numpy")])
    print(body)
    if arguments.only is None:
        summary: Summary = page.summary
        print(f"wrote {publish('deblur', 'Deblurring', body, summary=summary)}")


if __name__ == "__main__":
    main()
