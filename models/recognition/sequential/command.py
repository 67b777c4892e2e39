"""The ``fxp identify`` command: whose picture is it, by the nearest pictures of a gallery."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from reprlib import repr as shortened
from typing import Annotated, Any, TypeVar

import numpy as np
import typer
from numpy.typing import NDArray

from fxp.cli.batch import (
    BACKEND,
    JOBS,
    BackendOption,
    FileOutcome,
    JobsOption,
    SchedulerOption,
    over_files,
    refuse_failures,
)
from fxp.cli.console import JsonOption, ThreadsOption, note, print_json, progress_bar
from fxp.cli.targets import check_target
from fxp.imaging.files import image_paths, read_image
from fxp.models.recognition.command import DEFAULT_MODEL
from fxp.models.recognition.fixed import load
from fxp.models.recognition.sequential.definition import FRAC, RULES, Rule, check_granule
from fxp.models.recognition.sequential.features import FeatureExtractor
from fxp.models.recognition.sequential.gallery import (
    METRICS,
    SUFFIX,
    Decision,
    Gallery,
    GalleryError,
    Search,
    pooled,
)
from fxp.support.errors import ArgumentError
from fxp.support.parallel import check_workers, workers

Number = TypeVar("Number", int, float)

TOGETHER = 16
"""Pictures that the network takes at a time while a gallery is built."""
FRAMES = ("map", "pool")


def identify(
    gallery: Annotated[
        Path, typer.Argument(metavar="GALLERY", help=f"The gallery file, {SUFFIX}.")
    ],
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IN", help="Images and folders of images to recognize."),
    ] = None,
    build: Annotated[
        Path | None,
        typer.Option(help="Build the gallery from this folder, which has one for each class."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help=f"Shipped model or .fxp file; default the gallery's, {DEFAULT_MODEL}."),
    ] = None,
    value: Annotated[
        str | None,
        typer.Option(help="Value of the network; default what its last layer takes."),
    ] = None,
    side: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Side of the pictures; default the model's.")
    ] = None,
    share: Annotated[
        float | None, typer.Option(min=0.01, max=1.0, help="Share of the shorter side; default 1.")
    ] = None,
    components: Annotated[
        int | None,
        typer.Option(min=1, help="Principal components of a new gallery; default as many as can."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help=f"Of a new gallery: {' or '.join(METRICS)}; default {METRICS[0]}."),
    ] = None,
    rule: Annotated[str, typer.Option(help=f"When to stop: {', '.join(RULES)}.")] = "classes",
    threshold: Annotated[float, typer.Option(help="Of the rule; inf for a full search.")] = 1.4,
    sharpness: Annotated[float, typer.Option(help="Factor of distances in posteriors.")] = 100.0,
    granule: Annotated[int, typer.Option(help="Components at a time, a multiple of 8.")] = 32,
    frames: Annotated[
        str | None,
        typer.Option(help="Folders are frames of one thing each: map sums posteriors, pool means."),
    ] = None,
    threads: ThreadsOption = None,
    jobs: JobsOption = JOBS,
    backend: BackendOption = BACKEND,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recognize pictures by the nearest ones of a gallery, in integers.

    A gallery is built from a folder that holds a folder of pictures for each
    class. A network in integers makes the features, and their principal
    components are compared: a few first, and more only for classes that are
    not much farther than the nearest. A gallery is recognized with the
    network that it was built with.

    Example: fxp identify people.gallery --build people

    Example: fxp identify people.gallery photo.jpg album --json

    Example: fxp identify people.gallery video1 video2 --frames map
    """
    check_workers(backend, jobs, scheduler)
    if frames is not None and frames not in FRAMES:
        raise ArgumentError(f"--frames {frames!r} is none of {', '.join(FRAMES)}")
    check_granule(granule)
    limits = Rule(rule, threshold, sharpness)
    if build is None and not sources:
        raise ArgumentError("nothing to do: name pictures to recognize, or give --build DIR")
    if build is None and (components is not None or metric is not None):
        raise ArgumentError(
            "--components and --metric are of a new gallery; give --build DIR, or leave them out"
        )
    figures: dict[str, Any] = {"gallery": str(gallery)}
    if build is not None:
        made = _built(
            build, gallery, model, (value, side, share), components, metric or METRICS[0], threads
        )
        figures |= {
            "built": True,
            "classes": len(made.classes),
            "images": len(made.components),
            "components": made.components.shape[1],
        }
        note(
            f"wrote {gallery}: {len(made.components)} pictures of {len(made.classes)} classes, "
            f"{made.components.shape[1]} components"
        )
    if sources:
        outcomes = _recognized(
            gallery, sources, (model, value, side, share), (limits, granule), frames, threads,
            (backend, jobs, scheduler), as_json,
        )  # fmt: skip
        figures["images"] = [
            {"input": item.input, "seconds": item.seconds, **item.result}
            for item in outcomes
            if item.error is None
        ]
        figures["failed"] = [
            {"input": item.input, "error": item.error}
            for item in outcomes
            if item.error is not None
        ]
    else:
        outcomes = []
    if as_json:
        print_json(figures)
    refuse_failures(outcomes, "recognized")


def _built(
    folder: Path,
    target: Path,
    model: str | None,
    what: tuple[str | None, int | None, float | None],
    components: int | None,
    metric: str,
    threads: int | None,
) -> Gallery:
    """Build a gallery and write it."""
    # Late: recognizing needs no scikit-learn.
    from fxp.models.recognition.sequential.classifier import build_gallery

    if not folder.is_dir():
        raise ArgumentError(
            f"{folder} is no folder; it must hold a folder of pictures for each class"
        )
    kept = sorted(
        item for item in folder.iterdir() if item.is_dir() and not item.name.startswith(".")
    )
    if len(kept) < 2:
        raise GalleryError(
            f"{folder} holds {len(kept)} folders; a gallery needs one for each class, and two "
            "classes or more"
        )
    paths = [(path, number) for number, item in enumerate(kept) for path in image_paths(item)]
    check_target(target, reads=[path for path, _ in paths], suffixes=(SUFFIX,))
    value, side, share = what
    name = model or DEFAULT_MODEL
    extractor = FeatureExtractor(load(name), value, side=side, share=share or 1.0)
    features = []
    with progress_bar("reading") as progress:
        for start in range(0, len(paths), TOGETHER):
            part = [read_image(path) for path, _ in paths[start : start + TOGETHER]]
            features.append(extractor(part, threads=threads))
            progress(start + len(part), len(paths), "")
    rows = np.concatenate(features)
    if components is None and metric == "l2":
        components = min(rows.shape)
    made = build_gallery(
        rows,
        np.array([number for _, number in paths]),
        components=components,
        metric=metric,
        classes=[item.name for item in kept],
        source={**extractor.source, "model": name},
        feature_format=extractor.feature_format,
    )
    made.save(target)
    return made


def _number(source: Mapping[str, str], key: str, kind: Callable[[str], Number]) -> Number:
    """Return a number that a gallery tells of its features."""
    try:
        return kind(source[key])
    except ValueError:
        raise GalleryError(
            f"the gallery's {key} {shortened(source[key])} is no number; build it again"
        ) from None


class Identifier:
    """A gallery with its network, as a function of pictures in files.

    Parameters
    ----------
    gallery
        The gallery.
    model, value, side, share
        As the options of the command; by default what the gallery was built with.
    rule, granule
        As for `Search`.

    Raises
    ------
    GalleryError
        If the network is not that of the gallery.
    """

    def __init__(
        self,
        gallery: Gallery,
        model: str | None = None,
        value: str | None = None,
        side: int | None = None,
        share: float | None = None,
        *,
        rule: Rule,
        granule: int = 32,
    ) -> None:
        source = gallery.source
        if not {"model", "value", "side", "share"} <= set(source):
            raise GalleryError("the gallery was not built by fxp identify: it names no network")
        self.extractor = FeatureExtractor(
            load(model or source["model"]),
            value or source["value"],
            side=side or _number(source, "side", int),
            share=share or _number(source, "share", float),
        )
        gallery.check_source(self.extractor.source)
        gallery.transformation.checked_format(
            self.extractor.model.graph.name, self.extractor.feature_format
        )
        self.gallery = gallery
        self.search = Search(gallery, rule, granule=granule)

    def files(
        self, paths: Sequence[Path], *, pool: bool = False, threads: int | None = None
    ) -> dict[str, Any]:
        """Return what pictures of one thing show.

        Parameters
        ----------
        paths
            One picture, or the frames of a video.
        pool
            Whether frames are compared by their mean, rather than one by one.
        threads
            Threads of the engine.
        """
        features = np.concatenate(
            [self.extractor([read_image(path)], threads=threads) for path in paths]
        )
        return self.decided(pooled(features) if pool else features)

    def decided(self, features: NDArray) -> dict[str, Any]:
        """Return the figures of a decision by feature vectors of one thing."""
        found = self.search.decide(self.gallery.transformed(features))
        return _figures(self.gallery, found, self.search.granules, len(features))


def _figures(gallery: Gallery, found: Decision, granules: int, frames: int) -> dict[str, Any]:
    distance = int(found.distances[found.number]) / 2.0 ** (2 * FRAC) / frames
    return {
        "class": gallery.classes[found.number],
        "distance": distance,
        "granules": found.granules,
        "of_granules": granules,
        "classes_left": int((found.distances >= 0).sum()),
    }


def _recognized(
    gallery: Path,
    sources: Sequence[Path],
    what: tuple[str | None, str | None, int | None, float | None],
    how: tuple[Rule, int],
    frames: str | None,
    threads: int | None,
    where: tuple[str, int, str | None],
    as_json: bool,
) -> list[FileOutcome]:
    """Recognize pictures, and print what they show."""
    identifier = Identifier(Gallery.load(gallery), *what, rule=how[0], granule=how[1])
    groups = [
        (source, image_paths(source)) if frames is not None else (path, [path])
        for source in sources
        for path in ([source] if frames is not None else image_paths(source))
    ]
    work = {
        path: partial(
            identifier.files, [item.absolute() for item in files], pool=frames == "pool",
            threads=threads,
        )
        for path, files in groups
    }  # fmt: skip
    outcomes: list[FileOutcome] = []
    with workers(*where):
        found = over_files(list(work.items()), "recognizing")
        if len(sources) == 1 and not sources[0].is_dir():
            # The error of the only image is that of the command.
            started = time.perf_counter()
            result = work[sources[0]]()
            found = iter([FileOutcome(str(sources[0]), time.perf_counter() - started, result)])
        for outcome in found:
            outcomes.append(outcome)
            if outcome.error is None and not as_json:
                shown = outcome.result
                typer.echo(
                    f"{outcome.input}: {shown['class']} (distance {shown['distance']:.3f}, "
                    f"{shown['granules']} of {shown['of_granules']} granules)"
                )
    return outcomes
