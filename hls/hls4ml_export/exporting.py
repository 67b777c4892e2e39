"""The one entry: a fixed-point model becomes a verified hls4ml project."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np

from fxp.extents import Extent, evaluate_shape, fit_sizes
from fxp.formats import dequantize
from fxp.graph import Graph
from fxp.model import FixedModel
from fxp.ops.base import GraphError
from fxp.store import save_graph
from hls.hls4ml_export.layers import ExportError
from hls.hls4ml_export.lowering import Lowering, lower
from hls.hls4ml_export.project import FORMAT, MODEL, NOTES, HlsProject, Progress
from hls.hls4ml_export.verification import VerificationError, compare
from hls.hls4ml_export.writing import INCLUDES, SHARED_ADDERS, Settings, write_project

Backend = Literal["Vitis", "Vivado", "Catapult", "Quartus"]
IoType = Literal["io_stream", "io_parallel"]
Strategy = Literal["latency", "resource", "resource_unrolled", "distributed_arithmetic"]

LARGEST_VERIFIED: Final = 128 * 128
"""Pixels of a frame up to which the project itself is verified, and not a smaller twin."""
DEFAULT_SIZE: Final = (32, 32)
TWIN: Final = (16, 12)
"""Size of the twin, or less if the image is smaller."""


def export(
    model: FixedModel | Graph,
    out_dir: str | PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    backend: Backend = "Vitis",
    io_type: IoType = "io_stream",
    part: str | None = None,
    clock_period: float = 5,
    reuse_factor: int = 1,
    strategy: Strategy = "latency",
    overwrite: bool = False,
    verify: bool = True,
    progress: Progress | None = None,
) -> HlsProject:
    """Write an hls4ml project whose C simulation gives the integers of the engine.

    Parameters
    ----------
    model
        A quantized model, or its integer graph.
    out_dir
        Folder to write.
    size
        ``(height, width)`` of the inputs, which C++ fixes; 32 by 32 by default. Sizes that the
        graph fixes need none.
    backend
        Backend of hls4ml.
    io_type
        ``"io_stream"``, or ``"io_parallel"`` for very small images.
    part
        Device, by default the backend's.
    clock_period
        In ns.
    reuse_factor
        How many products share a multiplier.
    strategy
        How hls4ml computes products; the vendor's tool makes other hardware of it, C simulation
        the same integers.
    overwrite
        Whether an earlier project in that folder is replaced.
    verify
        Compile the C simulation and compare every layer with the engine. Frames of more than
        128 × 128 pixels are verified on a twin of at most 16 by 12.
    progress
        Called while g++ runs.

    Returns
    -------
    HlsProject
        The project.

    Raises
    ------
    ExportError
        A `ValueError`, if hls4ml cannot take the graph or an argument does not suit.
    VerificationError
        If the C simulation is not exact; nothing is written then.
    FileExistsError
        If the folder exists and `overwrite` is not set, or holds something else.
    HlsError
        If g++ fails.
    """
    fixed = model if isinstance(model, FixedModel) else FixedModel(model)
    graph = fixed.graph
    target = Path(out_dir)
    _check_target(target, overwrite)
    settings = Settings(backend, io_type, part, clock_period, reuse_factor, strategy)
    _check_settings(settings)
    shapes = _concrete(graph, size)
    depthwise = _has_depthwise(settings)
    made = lower(graph, shapes, depthwise=depthwise)
    with _replacing(target) as folder:
        project = _write(made, folder, settings)
        if verify:
            pixels = max(int(np.prod(shapes[value.name][1:])) for value in graph.inputs)
            if pixels <= LARGEST_VERIFIED:
                _verify(project, fixed, progress)
            else:
                with tempfile.TemporaryDirectory() as scratch:
                    shapes = _concrete(graph, _smaller(size))
                    twin = lower(graph, shapes, depthwise=depthwise)
                    _verify(_write(twin, Path(scratch), settings), fixed, progress)
    return HlsProject(target)


def _write(made: Lowering, folder: Path, settings: Settings) -> HlsProject:
    write_project(made, folder, settings)
    save_graph(made.graph, folder / MODEL)
    notes = {
        "format": FORMAT,
        "backend": settings.backend,
        "io_type": settings.io_type,
        "strategy": settings.strategy,
        "reuse_factor": settings.reuse_factor,
        "shapes": {name: list(made.shapes[name]) for name in made.names},
        "layers": made.names,
    }
    (folder / NOTES).write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")
    return HlsProject(folder)


def _verify(project: HlsProject, model: FixedModel, progress: Progress | None) -> None:
    """Compile and compare on an image of random codes, and of the extremes of every format."""
    project.compile(progress=progress)
    generator = np.random.default_rng(0)
    batches = []
    for value in model.graph.inputs:
        form, shape = value.format, project.shapes[value.name]
        assert form is not None
        high = form.max_raw + 1
        random = generator.integers(form.min_raw, high, shape)
        extreme = np.where(generator.random(shape) < 0.5, form.min_raw, form.max_raw)
        batches.append(dequantize(np.stack([random, extreme]), form))
    found = compare(project, model, tuple(batches))
    if not found:
        raise VerificationError(
            f"the C simulation of backend {project.backend}, {project.notes['io_type']}, strategy "
            f"{project.notes['strategy']} is not exact: {found}; hls.emit_rtl may take the network"
        )


def _check_settings(settings: Settings) -> None:
    for word, options in (
        ("backend", tuple(INCLUDES)),
        ("io_type", get_args(IoType)),
        ("strategy", get_args(Strategy)),
    ):
        given = getattr(settings, word)
        if given not in options:
            why = "; its C simulation needs icpx" if given == "oneAPI" else ""
            raise ExportError(f"{word} must be one of {', '.join(options)}, not {given!r}{why}")
    if settings.reuse_factor < 1 or settings.clock_period <= 0:
        raise ExportError("reuse_factor and clock_period must be above zero")
    if settings.strategy == SHARED_ADDERS:
        if settings.backend not in ("Vivado", "Vitis") or settings.reuse_factor > 1:
            raise ExportError(f"strategy {SHARED_ADDERS} needs Vivado or Vitis and reuse_factor 1")
        if find_spec("da4ml") is None:
            raise ExportError(f"strategy {SHARED_ADDERS} needs da4ml; pip install da4ml")


def _has_depthwise(settings: Settings) -> bool:
    """Whether depthwise convolutions of hls4ml 1.3 can be used.

    For Quartus it leaves them out without a word; with arrays, Catapult rounds after every tap and
    forgets the padding, and the others know the latency strategy alone. With streams, Catapult does
    not know the resource strategy.
    """
    if settings.io_type == "io_stream":
        unknown = (settings.backend, settings.strategy) == ("Catapult", "resource")
        return settings.backend != "Quartus" and not unknown
    return settings.backend in ("Vivado", "Vitis") and settings.strategy == "latency"


def _concrete(graph: Graph, size: tuple[int, int] | None) -> Mapping[str, tuple[int, ...]]:
    """Shape of every value; the first input with a free size has the given one."""
    free = [value for value in graph.inputs if any(isinstance(own, Extent) for own in value.shape)]
    if size is not None and not free:
        raise ExportError(f"graph {graph.name!r} has sizes of its own; leave size out")
    wanted = tuple(size or DEFAULT_SIZE)
    if len(wanted) != 2 or min(wanted) < 1:
        raise ExportError(f"size must be a height and a width, not {wanted}")
    try:
        sizes: Mapping[str, int] = {}
        if free:
            shape = (int(free[0].shape[0]), *wanted)  # type: ignore[arg-type]
            sizes = fit_sizes([(free[0].shape, shape)])
            if evaluate_shape(free[0].shape, sizes) != shape:
                raise ExportError(f"input {free[0].name!r} cannot have the size {wanted}")
        return graph.concrete_shapes(sizes)
    except (GraphError, KeyError) as error:
        raise ExportError(f"the size {wanted} does not suit: {error}") from None


def _smaller(size: tuple[int, int] | None) -> tuple[int, int]:
    assert size is not None
    return min(size[0], TWIN[0]), min(size[1], TWIN[1])


def _check_target(target: Path, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no folder {target.parent} to write {target.name} to")
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise FileExistsError(f"{target} exists and is no folder")
    if not any(target.iterdir()):
        return
    if not (target / NOTES).is_file():
        raise FileExistsError(f"{target} holds something else than an hls4ml project of fxp")
    if not overwrite:
        raise FileExistsError(f"{target} exists; pass overwrite=True to replace the project there")


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Give a new folder that takes the target's place at the end, or vanishes after an error."""
    new = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    old = new.with_name(f"{new.name}.old")
    try:
        yield new
        new.chmod(0o755)
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(new, target)
        except OSError:
            if old.exists():
                os.replace(old, target)
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
