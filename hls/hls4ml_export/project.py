"""An exported hls4ml project: compiles and runs its C simulation, and calls the vendor's tool."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.executors.execution import Result, start
from fxp.formats import IntArray
from fxp.graph import Graph
from fxp.graph.ops.base import GraphError
from fxp.hls.hls4ml_export.writing import BUILD_SCRIPT, PROJECT_NAME, SIMULATOR
from fxp.model.arguments import Arguments, stacked
from fxp.store import load_graph
from fxp.store.container import FileError, object_values, parse_json, text_of
from fxp.support.errors import FxpError
from fxp.support.files import replace_file
from fxp.support.lazy import lazy_import
from fxp.support.processes import ProcessError, run_process

hls4ml_report: Any = lazy_import("hls4ml.report", "hls")

NOTES: Final = "fxp_project.json"
"""What was exported; a folder without it is no project of ours and is never replaced."""
MODEL: Final = "model.fxp"
FORMAT: Final = 2
BUILD_LOG: Final = "build.log"
"""What the vendor's tool said when it was called last."""

TOOLS: Final = {
    "Vitis": "vitis-run",
    "Vivado": "vivado_hls",
    "Catapult": "catapult",
    "Quartus": "i++",
}
"""Program of the vendor that makes hardware of a project."""


class HlsError(FxpError, RuntimeError):
    """A tool failed or is missing."""


class HlsProject:
    """A folder with an hls4ml project.

    Attributes
    ----------
    folder
        Where it is.
    graph
        The integer graph that it computes.
    notes
        Backend, sizes, the layer of every value, and the shapes of the inputs with which every
        layer was found equal to the engine (None if it was not tried), as in ``fxp_project.json``.

    Raises
    ------
    HlsError
        If the folder holds no project, or its notes or its model are damaged.
    """

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.folder = Path(folder).absolute()
        try:
            notes = parse_json((self.folder / NOTES).read_bytes(), NOTES)
            if isinstance(notes, dict) and notes.get("format", FORMAT) != FORMAT:
                raise HlsError(f"{self.folder} was exported by another version of fxp")
            self.graph: Graph = load_graph(self.folder / MODEL)[0]
            _check_notes(notes, self.graph)
        except (OSError, FileError) as error:
            raise HlsError(f"{self.folder} holds no hls4ml project of fxp: {error}") from None
        self.notes: dict[str, Any] = notes

    @property
    def backend(self) -> str:
        """Backend of hls4ml."""
        return self.notes["backend"]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every value, which the C++ code fixes."""
        return {name: tuple(shape) for name, shape in self.notes["shapes"].items()}

    def note_verified(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Keep in the notes with which shapes of the inputs every layer was equal."""
        self.notes["verified"] = {
            value.name: list(shapes[value.name]) for value in self.graph.inputs
        }
        write_notes(self.folder, self.notes)

    def compile(self) -> None:
        """Compile the C simulation with g++, whether or not it was compiled before.

        Raises
        ------
        HlsError
            If g++ is missing or fails; the message has its first error.
        """
        if shutil.which("g++") is None:
            raise HlsError("no g++ to compile the C simulation with")
        (self.folder / SIMULATOR).unlink(missing_ok=True)
        _run(["sh", BUILD_SCRIPT], self.folder, "g++ compiles the C simulation")

    def predict(self, *inputs: Any) -> Any:
        """Run the C simulation on real values; takes and returns what a `FixedModel` does."""
        arguments = Arguments(self.graph, inputs)
        return arguments.real_results(stacked(self._results(list(arguments.quantized()))))

    def predict_raw(self, *inputs: Any) -> Any:
        """Run the C simulation on raw integers; takes and returns what `run_raw` does."""
        arguments = Arguments(self.graph, inputs)
        return arguments.raw_results(stacked(self._results(arguments.images)))

    def trace(self, *inputs: Any) -> list[dict[str, IntArray]]:
        """Run the C simulation on raw integers and return the result of every node.

        Returns
        -------
        list
            For each image of the batch, raw integers ``(C, H, W)`` or ``(F,)`` by node.
        """
        return self.trace_images(Arguments(self.graph, inputs).images)

    def trace_images(self, images: Sequence[Sequence[NDArray]]) -> list[dict[str, IntArray]]:
        """Return the result of every node, for calls of one raw array per input."""
        return self._simulate(images, [node.name for node in self.graph.nodes], trace=True)

    def run_images(self, images: Sequence[Sequence[NDArray]]) -> list[dict[str, IntArray]]:
        """Return the outputs by name, for calls of one raw array per input."""
        return self._simulate(images, self.graph.outputs)

    def build(self, **options: Any) -> dict[str, Any]:
        """Call the vendor's tool, which makes hardware of the project.

        Parameters
        ----------
        options
            Steps by name, such as ``csim=False, synth=True, cosim=False, export=False``, see the
            documentation of the backend in hls4ml: truth values, numbers and texts.

        Returns
        -------
        dict
            What `report` returns.

        Raises
        ------
        HlsError
            If the tool is not installed or fails; ``build.log`` in the folder has what it said.
            `fxp.hls.emit_rtl` needs none.
        """
        tool = TOOLS[self.backend]
        if shutil.which(tool) is None:
            raise HlsError(
                f"the backend {self.backend} needs {tool} on the path to make hardware, and it is "
                "not there; hls.emit_rtl makes SystemVerilog without a vendor's tool"
            )
        # In a process of its own, which ends together with this one and takes the vendor's tool
        # along.
        given = json.dumps([self.backend, str(self.folder), PROJECT_NAME, options])
        command = [sys.executable, "-c", _VENDOR_BUILD, given]
        done = run_process(command, self.folder, output=self.folder / BUILD_LOG)
        if done.code:
            text = (self.folder / BUILD_LOG).read_text(errors="replace")
            reason = next(iter(reversed(text.strip().splitlines())), f"exit code {done.code}")
            raise HlsError(f"{tool} failed: {reason} (see {self.folder / BUILD_LOG})")
        return self.report()

    def report(self) -> dict[str, Any]:
        """Return what the vendor's tool reported: latency, resources, timing.

        Raises
        ------
        HlsError
            If it has not run, or its report cannot be read.
        """
        parser, results = _REPORTS[self.backend]
        found = None
        if any(self.folder.glob(results)):
            try:
                with contextlib.redirect_stdout(None):
                    found = getattr(hls4ml_report, f"parse_{parser}_report")(str(self.folder))
            except Exception as error:
                # hls4ml raises whatever a damaged or unfinished report leads to.
                raise HlsError(
                    f"the report of {TOOLS[self.backend]} in {self.folder} cannot be read: {error}"
                ) from error
        if not found:
            raise HlsError(
                f"{self.folder} has no report of {TOOLS[self.backend]}; call build first"
            )
        return found

    def __repr__(self) -> str:
        return f"<HlsProject {self.graph.name!r}, {self.backend}, {self.folder}>"

    def _results(self, images: Sequence[Sequence[NDArray]]) -> list[Result]:
        outputs = self.graph.outputs
        return [
            Result(tuple(values[name] for name in outputs), {})
            for values in self.run_images(images)
        ]

    def _simulate(
        self, images: Sequence[Sequence[NDArray]], names: Sequence[str], *, trace: bool = False
    ) -> list[dict[str, IntArray]]:
        """Run the compiled program on files in a temporary folder."""
        if not (self.folder / SIMULATOR).is_file():
            raise HlsError(f"the C simulation in {self.folder} is not compiled; call compile")
        shapes, layers = self.shapes, self.notes["layers"]
        calls = [start(self.graph, image)[0] for image in images]
        for name, array in ((name, array) for call in calls for name, array in call.items()):
            if array.shape != shapes[name]:
                raise HlsError(
                    f"the project takes {name!r} of shape {shapes[name]}, not "
                    f"{array.shape}; sizes are fixed when it is exported"
                )
        with tempfile.TemporaryDirectory() as scratch:
            for value in self.graph.inputs:
                frames = np.stack([call[value.name] for call in calls])
                frames.astype("<i8").tofile(Path(scratch, f"{layers[value.name]}.bin"))
            command = [str(self.folder / SIMULATOR), scratch, scratch]
            _run(command + ["trace"] * trace, self.folder, "C simulation")
            frames_of = {}
            for name in names:
                path = Path(scratch, f"{layers[name]}.bin")
                found = (
                    np.fromfile(path, "<i8").astype(np.int64) if path.is_file() else np.array(())
                )
                if found.size != len(images) * math.prod(shapes[name]):
                    raise HlsError(f"the C simulation wrote {found.size} values of {name!r}")
                frames_of[name] = found.reshape(len(images), *shapes[name])
        return [{name: frames_of[name][i] for name in names} for i in range(len(images))]


_VENDOR_BUILD: Final = """
import json, sys
from types import SimpleNamespace
from hls4ml.backends import get_backend

backend, folder, name, options = json.loads(sys.argv[1])
# Backends ask a model only for its folder and its name.
config = SimpleNamespace(get_output_dir=lambda: folder, get_project_name=lambda: name)
get_backend(backend).build(SimpleNamespace(config=config), **options)
"""
"""Program that calls the vendor's tool."""

_REPORTS: Final = {
    "Vitis": ("vivado", "*_prj"),
    "Vivado": ("vivado", "*_prj"),
    "Catapult": ("catapult", "*_prj"),
    "Quartus": ("quartus", "*-fpga.prj"),
}
"""hls4ml's parser, and the folder where the tool leaves what it reports."""


def write_notes(folder: Path, notes: Mapping[str, Any]) -> None:
    """Write ``fxp_project.json``."""
    replace_file(folder / NOTES, (json.dumps(notes, indent=1) + "\n").encode())


def _check_notes(notes: Any, graph: Graph) -> None:
    """Raise FileError unless the notes suit the model beside them."""
    backend, *_, shapes, layers, _ = object_values(notes, NOTES, *_KEYS)[1:]
    if text_of(backend, f"{NOTES}: backend") not in TOOLS:
        raise FileError(f"{NOTES}: there is no backend {backend!r}")
    names = [value.name for value in graph.inputs] + [node.name for node in graph.nodes]
    # Names of layers become names of files.
    files = object_values(layers, f"{NOTES}: layers", *names)
    if not all(
        isinstance(file, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", file) for file in files
    ):
        raise FileError(f"{NOTES}: layers must be words, got {files}")
    given = object_values(shapes, f"{NOTES}: shapes", *names)
    try:
        sizes = graph.bind([tuple(shapes[value.name]) for value in graph.inputs])
        right = graph.concrete_shapes(sizes)
    except (GraphError, TypeError) as error:
        raise FileError(f"{NOTES}: shapes: {error}") from None
    if given != [list(right[name]) for name in names]:
        raise FileError(f"{NOTES}: shapes are not those of {MODEL}")


_KEYS: Final = (
    "format", "backend", "io_type", "strategy", "reuse_factor", "shapes", "layers", "verified",
)  # fmt: skip


def _run(command: Sequence[str], folder: Path, what: str) -> None:
    """Run a program to its end; raises HlsError with its first error if it fails."""
    try:
        code, output = run_process(command, folder)
    except ProcessError as error:
        raise HlsError(f"{what}: {error}") from None
    if code == 0:
        return
    lines = output.splitlines()
    reason = next((line for line in lines if "error" in line.lower()), "".join(lines[-1:]))
    end = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    raise HlsError(f"{what}: {Path(command[0]).name} {end}: {reason or 'it said nothing'}")
