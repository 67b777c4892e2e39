"""Recognition by features: errors and times of the sequential decision and of other methods.

``python -m benchmarks.sequential --data DIR`` prints the tables and writes
docs/benchmarks/sequential.md; each set is kept as soon as it is measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.sequential import growth
from benchmarks.sequential.methods import errors, float_methods, integer_methods, unit
from benchmarks.sequential.sets import SETS, WIDTHS, FeatureSet, feature_sets
from benchmarks.speed.machine import describe
from benchmarks.speed.timing import Settings, best_times, load_per_processor, load_text
from fxp.cli.messages import one_line
from fxp.models.common.data import data_folder
from fxp.models.recognition.sequential import Search, build_gallery
from fxp.support.parallel import workers

NAME, TITLE = "sequential", "Recognition by features"
GROWTH = "growth"
PACKAGES = ("numpy", "numba", "scikit-learn", "faiss-cpu", "pynndescent", "opencv-python-headless",
            "nmslib")  # fmt: skip
TIMED = 20
"""Queries that are timed, one by one."""
KNOWN = (*SETS, "CIFAR-10", GROWTH)
METHOD = (
    "Error in percent, and milliseconds for a query whose features are there already, one by one, "
    "in one thread, with its normalization and projection. *NN*, *TWD* and *proposed* are in "
    "integers; *NN all* compares all features, *NN 256* and *NN 64 PCA* so many principal "
    "components, and the decisions add 32 or 64 of 256 at a time. Thresholds are chosen on the "
    "gallery alone: half of it is asked for by the other half, and the quickest threshold is taken "
    "that is no worse than a full search. The others are libraries with float32. Features are "
    "those of MobileNetV1 x0.25 at 96x96 pixels, quantized with the defaults but without "
    "equalization, and for CIFAR-10 those of the shipped ResNet-20, "
    "which was trained on the pictures of the gallery. The gallery holds 5 of 10 faces of a "
    "person, 10 of 20 drawings of a character, every sixth of the 72 views of an object, and "
    "20,000 pictures of CIFAR-10."
)
GROWTH_METHOD = (
    "Classes of 10 rows each, drawn at random with variances that fall as those of principal "
    f"components do. The proposed rule adds 32 components at a time and drops classes above "
    f"{growth.THRESHOLD} times the least distance. *Read* is the share of the gallery that it "
    "reads. Both searches in integers are compared with faiss, one query at a time."
)


def measured(features: FeatureSet, settings: Settings) -> dict[str, Any]:
    """Return the figures of a set.

    Parameters
    ----------
    features
        The set.
    settings
        How long to measure.
    """
    known, asked = ~features.query, features.query
    labels, wanted = features.labels[known], features.labels[asked]
    rows: dict[str, dict[str, float]] = {}
    calls: dict[str, Any] = {}
    fixed = next(iter(features.fixed.values()))
    first = fixed[asked][:TIMED]
    for name, (gallery, answer) in integer_methods(fixed[known], labels).items():
        prepared = gallery.transformed(fixed[asked])
        rows[name] = {"error": errors([answer(query) for query in prepared], wanted)}
        calls[name] = lambda gallery=gallery, answer=answer: [
            answer(gallery.transformed(query)[0]) for query in first
        ]
    queries = unit(fixed[asked])
    for name, answer in float_methods(fixed[known], labels).items():
        rows[name] = {"error": errors([answer(query) for query in queries], wanted)}
        calls[name] = lambda answer=answer: [answer(query) for query in unit(first)]
    for name, seconds in best_times(calls, settings).items():
        rows[name]["ms"] = seconds / len(first) * 1e3
    found: dict[str, Any] = {
        "gallery": int(known.sum()),
        "queries": int(asked.sum()),
        "classes": len(np.unique(labels)),
        "features": fixed.shape[1],
        "load": load_per_processor(),
        "methods": rows,
    }
    if features.real is not None:
        found["differ"] = {
            bits: _differing(integers, features.real, labels, known, asked)
            for bits, integers in features.fixed.items()
        }
    return found


def _differing(fixed: NDArray, real: NDArray, labels: NDArray, known: Any, asked: Any) -> float:
    """Percent of queries whose nearest row has another class in integers than in float."""
    from sklearn.neighbors import KNeighborsClassifier

    gallery = build_gallery(fixed[known], labels, components=min(256, *fixed[known].shape))
    answers = gallery.labels[Search(gallery).nearest(gallery.transformed(fixed[asked]))]
    nearest = KNeighborsClassifier(1, algorithm="brute", n_jobs=1).fit(unit(real[known]), labels)
    return 100.0 * float(np.mean(answers != nearest.predict(unit(real[asked]))))


def page(record: dict[str, Any]) -> str:
    """Return the body of the page.

    Parameters
    ----------
    record
        Figures by set.
    """
    sets = {name: item for name, item in record.items() if name != GROWTH}
    parts = []
    if sets:
        names = list(dict.fromkeys(name for item in sets.values() for name in item["methods"]))
        table = [
            [
                name,
                *(
                    f"{item['methods'][name]['error']:.2f} / {item['methods'][name]['ms']:.3f}"
                    for item in sets.values()
                ),
            ]
            for name in names
        ]
        sizes = [
            [name, *(f"{item[key]:,}" for key in ("classes", "gallery", "queries", "features")),
             *(f"{item['differ'][width]:.2f}" if width in item["differ"] else "-"
               for width in WIDTHS)]
            for name, item in sets.items()
        ]  # fmt: skip
        parts += [
            "## Methods",
            METHOD,
            report.markdown_table(("error % / ms", *sets), table),
            load_text([item["load"] for item in sets.values()]),
            "*Differ* says for how many queries in a hundred the class of the nearest row is "
            "another one in integers, with features of the network in integers and all principal "
            "components, than in float, with features of the network in float. The bits are those "
            "of weights and values of MobileNetV1, of which the methods above take the fewest; on "
            "CIFAR-10 they are those of the shipped model.",
            report.markdown_table(
                ("set", "classes", "gallery", "queries", "features",
                 *(f"differ % {width}" for width in WIDTHS)),
                sizes,
            ),
        ]  # fmt: skip
    if record.get(GROWTH):
        items = record[GROWTH]["sizes"]
        table = [
            [
                f"{item['classes']:,}", f"{item['rows']:,}", str(item["components"]),
                *(f"{item['ms'][name]:.3f}" for name in ("proposed", "brute force", "faiss flat")),
                f"{item['share']:.1%}",
                f"{item['ms']['brute force'] / item['ms']['proposed']:.1f}×",
                f"{item['ms']['faiss flat'] / item['ms']['brute force']:.1f}×",
                str(item["differ"]["proposed"]),
            ]
            for item in items
        ]  # fmt: skip
        parts += [
            "## Growth",
            GROWTH_METHOD,
            report.markdown_table(
                ("classes", "rows", "components", "proposed ms", "brute force ms",
                 "faiss flat ms", "read", "proposed faster", "brute force faster than faiss",
                 f"other answers of {growth.QUERIES}"),
                table,
            ),
            load_text([record[GROWTH]["load"]]),
        ]  # fmt: skip
    parts.append(f"{describe(PACKAGES)['processor']}. {report.environment(*PACKAGES)}")
    return "\n\n".join(parts)


def summary(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows for the README.

    Parameters
    ----------
    record
        Figures by set.
    """
    sets = [item for name, item in record.items() if name != GROWTH]
    rows = []
    if sets:
        gaps = [item["methods"]["proposed m = 32"]["error"] - item["methods"]["NN 256"]["error"]
                for item in sets]  # fmt: skip
        rows.append(("error of the sequential decision less that of a full search, worst of "
                     f"{len(sets)} sets", f"{max(gaps):+.2f} points"))  # fmt: skip
    if record.get(GROWTH):
        last = record[GROWTH]["sizes"][-1]
        factor = last["ms"]["brute force"] / last["ms"]["proposed"]
        rows.append((f"sequential decision among {last['rows']:,} random rows against a full "
                     "search, both in integers", f"{factor:.1f} times as fast"))  # fmt: skip
    return rows


def write(record: dict[str, Any], out: Path | None) -> Path:
    """Write page and JSON, to the documentation and the README if no folder is given."""
    if out is not None:
        return report.write_page(out, NAME, TITLE, page(record), record)
    return report.publish(NAME, TITLE, page(record), summary=summary(record), data=record)


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of the data, or FXP_DATA.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(KNOWN)}; repeatable.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small galleries, short times.")] = False,
    jobs: Annotated[int, typer.Option(help="Thresholds that are tried at a time.")] = 1,
    backend: Annotated[str, typer.Option(help="Of joblib.")] = "threading",
    scheduler: Annotated[str | None, typer.Option(help="Address of the Dask or Ray head.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for page and JSON.")] = None,
) -> None:
    """Measure sets, and merge what is found with what the JSON holds."""
    if out is None:
        report.check_readme()
    unknown = [name for name in only or () if name not in KNOWN]
    if unknown:
        raise ValueError(f"--only {unknown[0]} is none of {', '.join(KNOWN)}")
    chosen = only or KNOWN
    settings = Settings(rounds=2, turn_seconds=0.05) if quick else Settings()
    store = (out or report.ROOT / "docs" / "benchmarks") / f"{NAME}.json"
    record: dict[str, Any] = json.loads(store.read_text("utf-8")) if store.exists() else {}

    def keep(name: str, found: dict[str, Any]) -> None:
        merged = record | {name: found}
        record.clear()
        record.update({item: merged[item] for item in KNOWN if item in merged})
        print(f"{name}: wrote {write(record, out)}", flush=True)

    with workers(backend, jobs, scheduler):
        if any(name != GROWTH for name in chosen):
            for features in feature_sets(data_folder(data), lambda name: name in chosen):
                keep(features.name, measured(features, settings))
        if GROWTH in chosen:
            load = load_per_processor()
            sizes = growth.QUICK if quick else growth.SIZES
            keep(GROWTH, {"load": load, "sizes": list(growth.measured(sizes, settings))})


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {one_line(error)}")
