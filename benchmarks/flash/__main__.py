"""Flash to ambient by cross-validation, in the shape of the paper's tables, and its speed.

``python -m benchmarks.flash --data DIR`` trains every network for every fold, measures on the pairs
left out, and writes docs/benchmarks/flash.md. Trainings are kept in the folder of ``--work``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.progress import track

import fxp
from benchmarks.flash.methods import CONDITIONS, DEEPFLASH, OURS, PAPER, SHIPPED, Trained
from benchmarks.report import environment, markdown_table, publish
from benchmarks.speed.timing import Settings, load_text
from benchmarks.speed.versus import measure
from benchmarks.speed.works import WORKS
from fxp.imaging.quality import Quality
from fxp.models.common.data import data_folder
from fxp.models.common.photographs import photograph_method
from fxp.models.common.pixels import Pixels
from fxp.models.flash.classical import lime, srie
from fxp.models.flash.data import FlashPair, divided, training_pairs
from fxp.models.flash.fixed import quantize_options
from fxp.models.flash.measure import quality

FOLDS: Final = 4
FIXED: Final = (
    ("light field, 10/14 bits, PTQ", {"effort": "fast"}),
    ("light field, 10/14 bits, refined", {}),
)
"""Fixed-point rows, and their options of `fxp.quantize`."""

Scores = dict[str, Quality]
"""Quality by the name of the pair."""


def mean(scores: Scores) -> Quality:
    """Return the mean over all pairs."""
    return Quality(*np.mean(list(scores.values()), axis=0).tolist())


def scores_of(pairs: Sequence[FlashPair], method: Callable[[Pixels], Pixels]) -> Scores:
    """Measure a method on pairs."""
    return {pair.name: quality(pair.ambient, method(pair.flash)) for pair in pairs}


def cross_validated(
    method: Trained,
    pairs: list[FlashPair],
    folder: Path,
    made: Callable[[Any, list[FlashPair]], Any] = lambda network, training: network,
) -> Scores:
    """Measure a method on every pair, by the network that was trained without it.

    Parameters
    ----------
    method
        What is trained.
    pairs
        All pairs.
    folder
        Of the trainings.
    made
        What to make of a network, given the pairs it was trained on.
    """
    scores: Scores = {}
    for fold in track(range(FOLDS), method.title):
        network = method.network(pairs, fold, folder)
        training, left_out = divided(pairs, fold, FOLDS)
        scores |= scores_of(left_out, photograph_method(made(network, training)))
    return scores


def fixed(options: dict[str, Any]) -> Callable[[Any, list[FlashPair]], fxp.FixedModel]:
    """Return how a network becomes a fixed-point model of 10/14 bits."""
    return lambda network, training: fxp.quantize(
        network, **quantize_options(training, network.multiple), **options
    )


def row(title: str, scores: Scores, unchanged: Scores, paper: Quality | None) -> list[str]:
    """Return a row of a table.

    Parameters
    ----------
    title
        Of the method.
    scores, unchanged
        Its quality, and that of the flash photographs themselves.
    paper
        What the paper reports.
    """
    found = mean(scores)
    gains = [scores[name].psnr - unchanged[name].psnr for name in scores]
    error = np.std(gains, ddof=1) / len(gains) ** 0.5
    gain = f"{np.mean(gains):+.2f} ± {error:.2f}" if any(gains) else ""
    reported = f"{paper.psnr:.2f} / {paper.ssim:.3f}" if paper else ""
    return [title, f"{found.psnr:.2f}", f"{found.ssim:.3f}", gain, reported]


def speed() -> tuple[str, str]:
    """Return the speed of the full generator against ONNX Runtime: a table, and a summary."""
    (work,) = (item for item in WORKS if item.name == "flash")
    record = measure(work, Settings(), print)
    rows, ratios = [], []
    for threads, seconds in record["seconds"].items():
        theirs, ours = seconds["onnxruntime"], seconds["fxp"]
        ratios.append(f"{theirs / ours:.2f}×")
        rows.append([threads, f"{ours * 1e3:.0f}", f"{theirs * 1e3:.0f}", ratios[-1]])
    table = markdown_table(("threads", "fxp, ms", "ONNX Runtime float32, ms", "faster"), rows)
    return (
        f"{table}\n\n{record['equal_values']} values equal those of the oracle; "
        f"{sum(record['portable'].values())} portable stages. {load_text([record['load']])}",
        " and ".join(ratios),
    )


HEADER: Final = ("method", "PSNR dB", "SSIM", "dB more than the flash", "in the paper")


def tables(
    pairs: list[FlashPair], folder: Path, adversarial: bool
) -> tuple[str, list[tuple[str, str]]]:
    """Return Tables 1 and 2 as Markdown, and rows of the summary.

    Parameters
    ----------
    pairs
        All pairs.
    folder
        Of the trainings.
    adversarial
        Whether to train the networks of the paper too, which takes long.
    """
    unchanged = scores_of(pairs, lambda picture: picture)
    first = [row("the flash photograph itself", unchanged, unchanged, None)]
    for title, method in (("LIME", lime), ("SRIE", srie)):
        first.append(row(title, scores_of(pairs, method), unchanged, PAPER[title]))
    for method in (DEEPFLASH, OURS) if adversarial else ():
        scores = cross_validated(method, pairs, folder)
        first.append(row(method.title, scores, unchanged, method.paper))
    real = cross_validated(SHIPPED, pairs, folder)
    first.append(row(SHIPPED.title, real, unchanged, None))
    differences = []
    for title, options in FIXED:
        scores = cross_validated(SHIPPED, pairs, folder, fixed(options))
        first.append(row(title, scores, unchanged, None))
        differences.append(f"{mean(scores).psnr - mean(real).psnr:+.3f}")
    gain = mean(real).psnr - mean(unchanged).psnr
    summary = [
        (f"dB more than the flash photograph, {len(pairs)} pairs left out in turn", f"{gain:+.2f}"),
        ("dB of fixed point minus float there, PTQ and refined", " and ".join(differences)),
    ]
    text = f"## Methods (Table 1)\n\n{markdown_table(HEADER, first)}"
    if adversarial:
        second = [
            row(item.title, cross_validated(item, pairs, folder), unchanged, item.paper)
            for item in CONDITIONS
        ]
        text += f"\n\n## Conditions (Table 2)\n\n{markdown_table(HEADER, second)}"
    return text, summary


def main() -> None:
    """Measure, print and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flash", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("flash-trainings"))
    parser.add_argument(
        "--no-training", action="store_true", help="leave the networks of the paper out"
    )
    parser.add_argument("--no-speed", action="store_true", help="leave the speed out")
    given = parser.parse_args()
    pairs = training_pairs(data_folder(given.data))
    given.work.mkdir(parents=True, exist_ok=True)
    text, summary = tables(pairs, given.work, not given.no_training)
    print(text)
    body = (
        f"{len(pairs)} real pairs of at most 320 pixels, each measured by the network of the one "
        f"of {FOLDS} folds that was trained without it; ± is the standard error over the pairs. "
        "PSNR is over RGB of 8 bits, SSIM over grey. The figures of the paper are those of its "
        "networks, eight times as wide, trained on 969 pairs and tested on 116 others: the two "
        "are not comparable."
    )
    if not given.no_training:
        body += (
            " The networks of the paper and its conditions are trained here for minutes on a "
            "processor, with an eighth of the channels and without ImageNet's weights."
        )
    body = f"{body}\n\n{text}"
    if not given.no_speed:
        table, ratios = speed()
        title = "## Speed of the full generator, 320×240, 10/14 bits"
        body = f"{body}\n\n{title}\n\n{table}"
        summary.append(("flash generator against ONNX Runtime float32, 1 and 2 threads", ratios))
    body = f"{body}\n\n{environment('fxp', 'torch', 'numpy')}"
    print(f"wrote {publish('flash', 'Flash to ambient', body, summary=summary)}")


if __name__ == "__main__":
    main()
