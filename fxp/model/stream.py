"""A sequence run through a recurrent network step by step, and its state kept in a file."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import warnings
from collections.abc import Callable, Mapping
from os import PathLike
from reprlib import repr as shortened
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.engine import Engine
from fxp.executors.execution import Result
from fxp.formats import FormatError, IntArray, check_raw
from fxp.graph import Graph
from fxp.graph.extents import evaluate_shape, fit_sizes
from fxp.graph.ops.base import GraphError
from fxp.model.arguments import Arguments, format_of, stacked
from fxp.model.clipping import (
    ClippingWarning,
    RunningClipped,
    count_clipped_inputs,
    harmless_clipping,
)
from fxp.store import container, graph_digest
from fxp.store.container import FileError, object_values
from fxp.support.errors import ArgumentTypeError
from fxp.support.files import replace_file

_KEY: Final = "fxp.state"
_VERSION: Final = 1


class RecurrentStream:
    """One sequence: remembers the states of a graph from each step to the next.

    Any number of streams may share an engine, each in a thread of its own. Steps of one stream wait
    for each other.

    Parameters
    ----------
    engine
        What runs the graph.
    expected
        Returns the share of clipped values on the calibration data, by name; a stream that clips
        much more of a value gives one `fxp.ClippingWarning`. Values without a share give none.
    count_clipped
        Whether to count clipped values, which costs some time.
    """

    def __init__(
        self,
        engine: Engine,
        expected: Callable[[], Mapping[str, float]] = dict,
        *,
        count_clipped: bool = True,
    ) -> None:
        self._engine = engine
        self._expected = expected
        self._counts = count_clipped
        self._harmless = harmless_clipping(engine.graph) if count_clipped else frozenset()
        self._lock = threading.Lock()
        self._states: dict[str, NDArray] = {}
        self._clipped = RunningClipped()
        self._warned = False

    def step(self, *inputs: Any, threads: int | None = None) -> Any:
        """Run one time step on real values, from the state that the last one left.

        Takes and returns what `FixedModel.__call__` does, with a batch of one. An error leaves the
        state as it was.
        """
        arguments = self._one_step(inputs)
        (image,) = arguments.quantized()
        counted = ({}, {})
        if self._counts:
            counted = count_clipped_inputs(self._engine.graph, arguments.images[0])
        return arguments.real_results(stacked([self._run(image, threads, *counted)]))

    def step_raw(self, *inputs: Any, threads: int | None = None) -> Any:
        """Run one time step on raw integers, as `FixedModel.run_raw` with a batch of one."""
        arguments = self._one_step(inputs)
        return arguments.raw_results(stacked([self._run(arguments.images[0], threads, {}, {})]))

    def reset_state(self) -> None:
        """Begin a new sequence, and the count of clipped values."""
        with self._lock:
            self._states = {}
            self._clipped = RunningClipped()

    @property
    def running_clipped(self) -> RunningClipped:
        """How many elements of every input and node were clipped since the sequence began."""
        return self._clipped

    @property
    def state(self) -> dict[str, IntArray]:
        """Raw integers of every state, a copy; empty before the first step."""
        return {name: array.astype(np.int64) for name, array in self._states.items()}

    def load_state(self, source: Mapping[str, ArrayLike] | str | PathLike[str]) -> None:
        """Continue from a state: one that `state` has returned, or the file of `save_state`.

        Parameters
        ----------
        source
            Raw integers by name of the state, or a path. Nothing at all is the reset state.

        Raises
        ------
        GraphError, FormatError, TypeError
            If a state is missing or unknown, its shape does not fit, or an integer lies outside its
            format; the stream then keeps the state it has.
        FileError
            A `FormatError`: likewise for a file, also if it is damaged or belongs to another model.
        """
        graph = self._engine.graph
        if isinstance(source, Mapping):
            states = _checked(graph, source)
        elif not isinstance(source, str | PathLike):
            raise ArgumentTypeError(
                "a state is integers by name, as `state` returns them, or the path of a file that "
                f"save_state wrote; got {type(source).__name__}"
            )
        else:
            try:
                states = _from_bytes(graph, container.read(source))
            except (FormatError, GraphError) as error:
                raise FileError(f"{os.fspath(source)}: {error}") from None
        with self._lock:
            self._states = states

    def save_state(self, path: str | PathLike[str]) -> None:
        """Write the state to a file, whose content is exact.

        An existing file is replaced only when the new one is complete.
        """
        replace_file(path, _to_bytes(self._engine.graph, self._states))

    def _one_step(self, inputs: tuple[Any, ...]) -> Arguments:
        arguments = Arguments(self._engine.graph, inputs)
        if len(arguments.images) != 1:
            raise GraphError(
                f"a step takes one image per input, got a batch of {len(arguments.images)}; call "
                "the model itself to run a whole sequence"
            )
        return arguments

    def _run(
        self,
        image: list[NDArray],
        threads: int | None,
        counts: Mapping[str, int],
        sizes: Mapping[str, int],
    ) -> Result:
        with self._lock:
            result = self._engine.run(
                image, self._states, threads=threads, count_clipped=self._counts, narrow=True
            )
            clipped = self._clipped
            if self._counts:
                clipped = clipped.after({**counts, **result.clipped}, {**sizes, **result.sizes})
                self._warn(clipped)
            self._states, self._clipped = result.states, clipped
        return result

    def _warn(self, clipped: RunningClipped) -> None:
        """Warn once of values that are clipped much more than on the calibration data."""
        text = None if self._warned else clipped.warning(self._expected(), self._harmless)
        if text is not None:
            self._warned = True
            warnings.warn(f"{self._engine.graph.name}: {text}", ClippingWarning, stacklevel=4)


def _checked(graph: Graph, given: Mapping[str, ArrayLike]) -> dict[str, NDArray]:
    """Check a state that comes from outside; returns arrays of its own."""
    names = [state.value.name for state in graph.states]
    for name in given:
        if name not in names:
            raise GraphError(f"graph {graph.name!r} has no state {shortened(name)}, only {names}")
    if not given:
        return {}
    checked = {}
    for state in graph.states:
        value = state.value
        if value.name not in given:
            raise GraphError(f"state {value.name!r} is missing; give all of {names} or none")
        try:
            array = check_raw(np.asarray(given[value.name]), format_of(value))
        except (FormatError, TypeError, ValueError, RuntimeError) as error:
            kind = FormatError if isinstance(error, FormatError) else ArgumentTypeError
            raise kind(f"state {value.name!r}: {error}") from None
        if array.ndim != len(value.shape):
            raise GraphError(f"state {value} does not fit the shape {array.shape}")
        checked[value.name] = array.astype(format_of(value).dtype)
    shapes = {name: array.shape for name, array in checked.items()}
    sizes = fit_sizes((state.value.shape, shapes[state.value.name]) for state in graph.states)
    for state in graph.states:
        shape = shapes[state.value.name]
        if 0 in shape or evaluate_shape(state.value.shape, sizes) != shape:
            raise GraphError(f"state {state.value} does not fit the shape {shape}")
    return checked


def _to_bytes(graph: Graph, states: dict[str, NDArray]) -> bytes:
    document = {
        "version": _VERSION,
        "name": graph.name,
        "graph": graph_digest(graph),
        "content": _digest(states),
    }
    return container.encode(states, {_KEY: json.dumps(document, sort_keys=True)})


def _from_bytes(graph: Graph, data: bytes) -> dict[str, NDArray]:
    tensors, texts = container.decode(data)
    if set(texts) != {_KEY}:
        raise FileError(
            f"header: must hold the one key {_KEY!r}, got {shortened(sorted(texts))}; this is not "
            "the state of a model"
        )
    document = container.parse_json(texts[_KEY], _KEY)
    version, name, digest, content = object_values(
        document, _KEY, "version", "name", "graph", "content"
    )
    if version != _VERSION:
        raise FileError(f"its version is {shortened(version)}, this fxp reads {_VERSION}")
    if digest != graph_digest(graph):
        raise FileError(f"it is the state of another model, {shortened(name)}")
    if content != _digest(tensors):
        raise FileError("its content is damaged")
    return _checked(graph, tensors)


def _digest(tensors: Mapping[str, NDArray]) -> str:
    return hashlib.sha256(container.encode(tensors, {})).hexdigest()
