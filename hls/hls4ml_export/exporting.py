"""The one entry: a fixed-point model becomes a verified hls4ml project."""

from __future__ import annotations

import math
import operator
import re
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np

from fxp.formats import dequantize
from fxp.graph import Graph, Value
from fxp.graph.extents import Extent, evaluate_shape, fit_sizes
from fxp.graph.ops.base import GraphError
from fxp.hls.hls4ml_export.layers import ExportError
from fxp.hls.hls4ml_export.lowering import Lowering, lower_to_layers
from fxp.hls.hls4ml_export.project import FORMAT, MODEL, NOTES, HlsProject, write_notes
from fxp.hls.hls4ml_export.verification import VerificationError, compare
from fxp.hls.hls4ml_export.writing import INCLUDES, SHARED_ADDERS, Hls4mlOptions, write_project
from fxp.hls.refusals import instead_of_project
from fxp.model import FixedModel
from fxp.model.sources import ModelSource, model_of
from fxp.store import save_graph
from fxp.support.files import replacing_folder
from fxp.support.progress import Progress

Backend = Literal["Vitis", "Vivado", "Catapult", "Quartus"]
IoType = Literal["io_stream", "io_parallel"]
Strategy = Literal["latency", "resource", "resource_unrolled", "distributed_arithmetic"]

LARGEST_VERIFIED: Final = 128 * 128
"""Pixels of a frame up to which the project itself is verified, and not a smaller twin."""
DEFAULT_SIZE: Final = (32, 32)
TWIN: Final = (16, 12)
"""Size of the twin: the next one from here on that the graph takes."""
LARGEST_SIDE: Final = 2**16
LARGEST_VALUE: Final = 2**31 - 1
"""Numbers of one value: hls4ml's C++ counts with int."""


def export(
    model: ModelSource,
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
        A quantized model, its integer graph, or the path of its ``.fxp`` file.
    out_dir
        Folder to write.
    size
        ``(height, width)`` of the inputs, which C++ fixes; 32 by 32 by default. Sizes that the
        graph fixes need none, and no other may be given.
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
        Compile the C simulation and compare every layer with the engine. Where an input has more
        than 128 × 128 pixels, a twin of about 16 by 12 is verified in its place, if the sizes are
        free.
    progress
        Told before each of the steps: writing, compilation, comparison.

    Returns
    -------
    HlsProject
        The project.

    Raises
    ------
    ExportError
        A `ValueError`, if hls4ml cannot take the graph or an argument does not suit.
    ArgumentTypeError
        If `model` is none of these.
    VerificationError
        If the C simulation is not exact; nothing is written then.
    FileExistsError
        If the folder exists and `overwrite` is not set, or holds something else.
    HlsError
        If g++ fails.
    """
    fixed = model_of(model)
    graph = fixed.graph
    target = Path(out_dir)
    _check_target(target, overwrite)
    settings = Hls4mlOptions(backend, io_type, part, clock_period, reuse_factor, strategy)
    _check_settings(settings)
    shapes = _concrete(graph, size)
    depthwise = _has_depthwise(settings)
    made = lower_to_layers(graph, shapes, depthwise=depthwise)
    say = progress or (lambda done, total, text: None)
    steps = 3 if verify else 1
    with replacing_folder(target) as folder:
        say(0, steps, "hls4ml writes the project")
        project = _write(made, folder, settings)
        if verify:
            smaller = _twin(graph, shapes)
            if smaller is None:
                _verify(project, fixed, say)
            else:
                with tempfile.TemporaryDirectory() as scratch:
                    twin = lower_to_layers(graph, smaller, depthwise=depthwise)
                    _verify(_write(twin, Path(scratch), settings), fixed, say)
            project.note_verified(smaller or shapes)
    return HlsProject(target)


def _write(made: Lowering, folder: Path, settings: Hls4mlOptions) -> HlsProject:
    write_project(made, folder, settings)
    save_graph(made.graph, folder / MODEL)
    notes = {
        "format": FORMAT,
        "backend": settings.backend,
        "io_type": settings.io_type,
        "strategy": settings.strategy,
        "reuse_factor": int(settings.reuse_factor),
        "shapes": {name: list(made.shapes[name]) for name in made.names},
        "layers": made.names,
        "verified": None,
    }
    write_notes(folder, notes)
    return HlsProject(folder)


def _verify(project: HlsProject, model: FixedModel, say: Progress) -> None:
    """Compile and compare on an image of random codes, and of the extremes of every format."""
    say(1, 3, "g++ compiles the C simulation")
    project.compile()
    say(2, 3, "every layer is compared with the engine")
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
        advice = instead_of_project(model.graph, project.shapes[model.graph.inputs[0].name])
        raise VerificationError(
            f"the C simulation of backend {project.backend}, {project.notes['io_type']}, strategy "
            f"{project.notes['strategy']} is not exact: {found}; {advice}"
        )


def _check_settings(settings: Hls4mlOptions) -> None:
    for word, options in (
        ("backend", tuple(INCLUDES)),
        ("io_type", get_args(IoType)),
        ("strategy", get_args(Strategy)),
    ):
        given = getattr(settings, word)
        if given not in options:
            why = "; its C simulation needs icpx" if given == "oneAPI" else ""
            raise ExportError(f"{word} must be one of {', '.join(options)}, not {given!r}{why}")
    factor, period, part = settings.reuse_factor, settings.clock_period, settings.part
    if not isinstance(factor, Integral) or factor < 1:
        raise ExportError(f"reuse_factor must be an integer above zero, not {factor!r}")
    if not isinstance(period, Real) or not math.isfinite(period) or period <= 0:
        raise ExportError(f"clock_period must be a number above zero, not {period!r}")
    # It goes into scripts of the vendors' tools as it is.
    if part is not None and not (isinstance(part, str) and re.fullmatch(r"[\w.-]+", part)):
        raise ExportError(f"part must be the name of a device, not {part!r}")
    if settings.strategy == SHARED_ADDERS:
        if settings.backend not in ("Vivado", "Vitis") or settings.reuse_factor > 1:
            raise ExportError(f"strategy {SHARED_ADDERS} needs Vivado or Vitis and reuse_factor 1")
        if find_spec("da4ml") is None:
            raise ExportError(f"strategy {SHARED_ADDERS} needs da4ml; pip install da4ml")


def _has_depthwise(settings: Hls4mlOptions) -> bool:
    """Whether depthwise convolutions of hls4ml 1.3 can be used.

    For Quartus it leaves them out without a word; with arrays, Catapult rounds after every tap and
    forgets the padding, and the others know the latency strategy alone. With streams, Catapult does
    not know the resource strategy.
    """
    if settings.io_type == "io_stream":
        unknown = (settings.backend, settings.strategy) == ("Catapult", "resource")
        return settings.backend != "Quartus" and not unknown
    return settings.backend in ("Vivado", "Vitis") and settings.strategy == "latency"


def check_export(graph: Graph) -> None:
    """Raise unless a graph can be written, for images of 32 by 32 if it takes several sizes.

    Raises
    ------
    ExportError
        If it cannot.
    """
    lower_to_layers(graph, _concrete(graph, None), advise=False)


def _free_inputs(graph: Graph) -> list[Value]:
    """Return the inputs with sizes that the graph leaves open."""
    return [value for value in graph.inputs if any(isinstance(own, Extent) for own in value.shape)]


def _concrete(graph: Graph, size: tuple[int, int] | None) -> Mapping[str, tuple[int, ...]]:
    """Shape of every value; the first input with a free size has the given one."""
    free = _free_inputs(graph)
    try:
        wanted = tuple(operator.index(side) for side in (DEFAULT_SIZE if size is None else size))
    except TypeError:
        wanted = ()
    if len(wanted) != 2 or not 1 <= min(wanted) <= max(wanted) <= LARGEST_SIDE:
        raise ExportError(
            f"size must be a height and a width, each of at most {LARGEST_SIDE:,}, not {size!r}"
        )
    own = {value.shape[1:] for value in graph.inputs}
    if size is not None and not free and own != {wanted}:
        found = " and ".join(" by ".join(map(str, shape)) for shape in sorted(own, key=str))
        raise ExportError(
            f"graph {graph.name!r} takes images of {found} alone; give that size, or leave it out"
        )
    try:
        sizes: Mapping[str, int] = {}
        if free:
            shape = (int(free[0].shape[0]), *wanted)  # type: ignore[arg-type]
            sizes = fit_sizes([(free[0].shape, shape)])
            if evaluate_shape(free[0].shape, sizes) != shape:
                raise ExportError(f"input {free[0].name!r} cannot have the size {wanted}")
        shapes = graph.concrete_shapes(sizes)
    except KeyError as error:
        raise ExportError(
            f"the size of input {free[0].name!r} leaves {error.args[0]} of another input open; "
            "hls4ml projects take inputs whose sizes follow from the first one's"
        ) from None
    except GraphError as error:
        raise ExportError(f"the size {wanted} does not suit: {error}") from None
    for name, shape in shapes.items():
        if math.prod(shape) > LARGEST_VALUE:
            raise ExportError(f"value {name!r} of shape {shape} is too large for C++'s int")
    return shapes


def _twin(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]]
) -> Mapping[str, tuple[int, ...]] | None:
    """Shapes to verify in place of those of a large frame, None if these are to be verified."""
    pixels = max(math.prod(shapes[value.name][1:]) for value in graph.inputs)
    free = _free_inputs(graph)
    if pixels <= LARGEST_VERIFIED or not free:
        return None
    _, height, width = shapes[free[0].name]

    def suits(size: tuple[int, int]) -> bool:
        try:
            _concrete(graph, size)
        except ExportError:
            return False
        return True

    # One side after the other: the sizes of an image do not depend on each other.
    heights = range(min(height, TWIN[0]), height + 1)
    rows = next(item for item in heights if suits((item, width)))
    columns = next(item for item in range(min(width, TWIN[1]), width + 1) if suits((rows, item)))
    return _concrete(graph, (rows, columns))


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
