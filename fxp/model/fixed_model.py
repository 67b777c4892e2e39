"""A quantized network ready to run: the object users hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike, NDArray

from fxp.engine import Engine, Plan, Profile, profile
from fxp.executors import oracle
from fxp.executors.execution import Result
from fxp.formats import IntArray
from fxp.graph import Graph, Limits
from fxp.model.arguments import Arguments, in_order, input_shapes, stacked
from fxp.model.clipping import (
    ClippedCounter,
    ClippedShares,
    RunningClipped,
    proved_by_one_step,
)
from fxp.model.levels import CLIPPED_KEY, ONE_STEP_KEY, SQNR_KEY, written_levels
from fxp.model.origin import Origin
from fxp.model.stream import RecurrentStream
from fxp.model.summary import SummaryRow, as_html, as_text, count_parameters, summary_rows
from fxp.store import save_graph
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import
from fxp.support.progress import Progress

if TYPE_CHECKING:
    import torch

    from fxp.diagnosis import analysis
    from fxp.diagnosis.report import Report
else:
    # A saved model runs without the front end and PyTorch, which the room below needs.
    analysis = lazy_import("fxp.diagnosis.analysis", "report")


class FixedModel:
    """An integer graph with its engine; calling it takes and returns real values.

    Parameters
    ----------
    graph
        An integer graph.
    metadata
        Text to keep with the model, such as the training command.
    calibration_clipped
        Share of clipped values on the calibration data, 0 to 1, by name, as `clipped` returns it.
    calibration_clipped_by_one_step
        Share that was clipped by one step at most, as `clipped_by_one_step` returns it.
    calibration_sqnr
        SQNR in dB of every value on the calibration data against the float network, infinite where
        it is exact; everything up to the value is quantized.
    limits
        Most that one run may need, checked before it begins.

    Attributes
    ----------
    origin
        What the model was made from, for `report`; `fxp.quantize` sets it. Neither files nor copies
        have it.

    Examples
    --------
    >>> model = fxp.load("kimsr.fxp")      # doctest: +SKIP
    >>> enlarged = model(luma)             # doctest: +SKIP
    """

    def __init__(
        self,
        graph: Graph,
        *,
        metadata: Mapping[str, str] | None = None,
        calibration_clipped: Mapping[str, float] | None = None,
        calibration_clipped_by_one_step: Mapping[str, float] | None = None,
        calibration_sqnr: Mapping[str, float] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._engine = Engine(graph, limits=limits)
        self._stream = self.stream()
        self.metadata = dict(metadata or {})
        self.calibration_clipped = dict(calibration_clipped or {})
        self.calibration_clipped_by_one_step = {
            **dict(calibration_clipped_by_one_step or {}),
            **proved_by_one_step(graph, self.calibration_clipped),
        }
        self.calibration_sqnr = dict(calibration_sqnr or {})
        self.origin: Origin | None = None

    @property
    def graph(self) -> Graph:
        """The integer graph."""
        return self._engine.graph

    @property
    def limits(self) -> Limits:
        """Most that one run may need, of the engine and of the oracle."""
        return self._engine.limits

    @property
    def parameters(self) -> int:
        """Number of weights and biases, without tables; shared ones count once."""
        return count_parameters(self.graph)

    def __call__(self, *inputs: Any, threads: int | None = None, named: bool = False) -> Any:
        """Run the engine on real values.

        Parameters
        ----------
        inputs
            For each input a NumPy array or torch tensor, ``(N, C, H, W)``, ``(C, H, W)`` or, for
            one channel, ``(H, W)``; vectors ``(N, F)`` or ``(F,)``. Quantized to the input format
            with HALF_UP and SATURATE. For a graph with states the batch axis is time: the calls
            run in order, from the reset state.
        threads
            Number of threads, all processors by default.
        named
            Whether to return a dictionary of the outputs by name; a module that returns a
            dictionary has its keys as names.

        Returns
        -------
        numpy.ndarray or torch.Tensor
            Same kind and axes as the inputs: float64 if they are float64 or the output format needs
            it, else float32. A tuple if the graph has several outputs.

        Raises
        ------
        GraphError
            If a shape does not fit.
        FormatError
            For NaN or infinity.
        """
        arguments = Arguments(self.graph, inputs)
        if self._is_batch(arguments):
            raws = self._engine.run_batch(arguments.quantized_batches(), threads=threads)
        else:
            raws = stacked(self._one_by_one(arguments.quantized(), threads))
        found = arguments.real_results(raws)
        if not named:
            return found
        outputs = self.graph.outputs
        return dict(zip(outputs, (found,) if len(outputs) == 1 else found, strict=True))

    def oracle(self, *inputs: Any) -> Any:
        """Run the slow reference instead of the engine; same arguments and results."""
        arguments = Arguments(self.graph, inputs)
        execute = partial(oracle.run, self.graph, limits=self.limits)
        return arguments.real_results(stacked(in_order(arguments.quantized(), execute)))

    def run_raw(self, *inputs: Any, threads: int | None = None) -> Any:
        """Run the engine on raw integers.

        Parameters
        ----------
        inputs
            Integer arrays of the input formats' raw values, with the axes `__call__` takes.
        threads
            Number of threads, all processors by default.

        Returns
        -------
        numpy.ndarray
            Raw integers of the output, int64; a tuple if the graph has several outputs.

        Raises
        ------
        GraphError, FormatError
            If a shape does not fit, or an integer lies outside the input format.
        """
        arguments = Arguments(self.graph, inputs)
        if self._is_batch(arguments):
            return arguments.raw_results(self._engine.run_batch(arguments.batches, threads=threads))
        return arguments.raw_results(stacked(self._one_by_one(arguments.images, threads)))

    def stream(self, *, count_clipped: bool = True) -> RecurrentStream:
        """Return a new sequence of a recurrent network, which runs step by step by itself.

        Parameters
        ----------
        count_clipped
            Whether to count clipped values, for `RecurrentStream.running_clipped` and for the
            `fxp.ClippingWarning`. It costs some time.
        """

        def expected() -> dict[str, float]:
            one_step = self.calibration_clipped_by_one_step
            return {
                name: share - one_step.get(name, 0)
                for name, share in self.calibration_clipped.items()
            }

        return RecurrentStream(self._engine, expected, count_clipped=count_clipped)

    def step(self, *inputs: Any, threads: int | None = None) -> Any:
        """Run one time step of a recurrent network, from the state that the last one left.

        The model has one state for this; sequences that run side by side take a `stream` each.

        Parameters
        ----------
        inputs
            As for `__call__`, with a batch of one.
        threads
            Number of threads, all processors by default.

        Returns
        -------
        numpy.ndarray or torch.Tensor
            As `__call__`; a tuple if the graph has several outputs.
        """
        return self._stream.step(*inputs, threads=threads)

    def step_raw(self, *inputs: Any, threads: int | None = None) -> Any:
        """Run one time step on raw integers; takes and returns what `run_raw` does."""
        return self._stream.step_raw(*inputs, threads=threads)

    def reset_state(self) -> None:
        """Begin a new sequence with the next `step`, and the count of clipped values."""
        self._stream.reset_state()

    @property
    def running_clipped(self) -> RunningClipped:
        """How many elements of every input and node `step` has clipped since the sequence began."""
        return self._stream.running_clipped

    @property
    def state(self) -> dict[str, IntArray]:
        """Raw integers of every state after the last `step`, a copy; empty before the first."""
        return self._stream.state

    def load_state(self, source: Mapping[str, ArrayLike] | str | PathLike[str]) -> None:
        """Continue from an earlier `state`, or from a file; see `RecurrentStream.load_state`."""
        self._stream.load_state(source)

    def save_state(self, path: str | PathLike[str]) -> None:
        """Write the state to a file, exactly and as a whole."""
        self._stream.save_state(path)

    def run(
        self,
        *inputs: NDArray,
        states: Mapping[str, NDArray] | None = None,
        threads: int | None = None,
        keep_values: bool = False,
        count_clipped: bool = True,
        narrow: bool = False,
    ) -> Result:
        """Run the engine once on raw integers and return everything it knows.

        Fastest with ``count_clipped=False, narrow=True``.

        Parameters
        ----------
        inputs
            Raw integers ``(C, H, W)`` or ``(F,)`` of every input.
        states
            Those of the previous result; by default the reset state.
        threads
            Number of threads, all processors by default.
        keep_values
            Whether the result holds every value.
        count_clipped
            Whether the result holds how many elements of every node were clipped.
        narrow
            Whether arrays come in the narrowest integer type of their format instead of int64.

        Raises
        ------
        GraphError, FormatError
            If a shape does not fit, or an integer lies outside the input format.
        """
        return self._engine.run(
            inputs,
            states,
            threads=threads,
            keep_values=keep_values,
            count_clipped=count_clipped,
            narrow=narrow,
        )

    def plan(self, *sizes: int | Sequence[int], threads: int | None = None) -> Plan:
        """Return how the engine runs images of one size; ``print(plan.describe())`` shows it.

        Parameters
        ----------
        sizes
            Height and width, ``plan(540, 960)``, of every image input; or for each input its size,
            ``plan((540, 960), (270, 480))``, where ``(C, H, W)`` and, for vectors, ``(F,)`` are
            taken too. States follow.
        threads
            Number of threads, all processors by default.

        Raises
        ------
        GraphError
            If the sizes do not fit the graph.
        """
        shapes = input_shapes(self.graph, sizes)
        return self._engine.plan(shapes, threads=threads, count_clipped=False)

    def profile(self, *inputs: NDArray, repeats: int = 20) -> Profile:
        """Measure how long every stage takes on one thread, on raw integers as `run` takes them.

        The shortest time of so many repetitions counts; ``print`` the result for a table.
        """
        return profile(self._engine, inputs, repeats=repeats)

    def clipped(self, *inputs: Any) -> dict[str, float]:
        """Return the share of clipped values, 0 to 1, of every input and node.

        A value is clipped if its overflow mode changes it. Takes real values as `__call__` does.
        """
        return dict(self._clipped(Arguments(self.graph, inputs).images).total)

    def saturation(self, *inputs: Any) -> dict[str, float]:
        """Return `clipped`, by its earlier name."""
        return self.clipped(*inputs)

    def clipped_by_one_step(self, *inputs: Any) -> dict[str, float]:
        """Return the share of values that saturation changes by one step at most, 0 to 1.

        Known for every input, and for every node whose clipped values are all proved to be such, as
        those of a clamp to 0...1 in a format without integer bits; part of what `clipped` returns.
        Takes real values as `__call__` does.
        """
        return dict(self._clipped(Arguments(self.graph, inputs).images).by_one_step)

    def record_clipped(self, *sequences: Iterable[Sequence[NDArray]]) -> None:
        """Set `calibration_clipped` and `calibration_clipped_by_one_step` by calibration data.

        Parameters
        ----------
        sequences
            For every call, real values, one ``(C, H, W)`` or ``(F,)`` array per input; run in
            order. Each sequence starts from the reset state.
        """
        found = self._clipped(*sequences)
        self.calibration_clipped = dict(found.total)
        self.calibration_clipped_by_one_step = dict(found.by_one_step)

    def summary_rows(self) -> list[SummaryRow]:
        """Return what `summary` shows as data that `json.dumps` takes, one row for every value."""
        shares = ClippedShares(self.calibration_clipped, self.calibration_clipped_by_one_step)
        return summary_rows(self.graph, shares, self.calibration_sqnr)

    def summary(self) -> str:
        """Table of every value's effective format, accumulator bits, parameters and precision.

        The share of clipped values and the SQNR are those of the calibration data. Below the table
        stands the SQNR of the outputs, a warning where it is below 40 dB or where a value is more
        than 20 dB worse than all that it reads, and which refinements were tried and kept.
        `summary_rows` gives the table as data.
        """
        return as_text(self.graph, self.summary_rows(), self.metadata)

    def report(
        self,
        calibration: Iterable[Any],
        *,
        network: torch.nn.Module | Graph | None = None,
        states: Sequence[tuple[int, int]] = (),
        images: int | None = None,
        measure: bool = False,
        progress: Progress | None = None,
    ) -> Report:
        """Find out where this model loses precision, why, and what to change.

        Needs the extra ``report``.

        Parameters
        ----------
        calibration
            Typical inputs, of any kind that `fxp.quantize` takes; one sequence, in order, for a
            recurrent network.
        network
            The float network that the model was made from, a module in eval mode or a float graph.
            May be left out right after `fxp.quantize`; a file does not hold it.
        states
            Pairs of input and output position of a recurrent module, as for `fxp.quantize`.
        images
            Most images or steps to measure; by default 16 images, or 64 steps.
        measure
            Whether to quantize again with every change that is proposed, and measure its gain; only
            right after `fxp.quantize`, which knows the options.
        progress
            ``progress(done, total, text)``.

        Returns
        -------
        fxp.Report
            `print` shows a table, ``save("report.html")`` writes a page.

        Raises
        ------
        ArgumentError
            A `ValueError`: there is no float network, it is not the one that the model was made
            from, or the data is empty, does not fit or holds NaN.
        """
        origin = self.origin
        if origin is None and (measure or network is None):
            raise ArgumentError(
                "a model from a file or a copy has neither its float network nor its options: pass "
                "network=..., the module or graph that it was made from, and no measure=True"
            )
        return analysis.analyse(
            self.graph,
            calibration,
            origin.network if network is None and origin is not None else network,
            states=states,
            images=images,
            requantize=origin.requantize if measure and origin is not None else None,
            progress=progress,
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write a ``.fxp`` file; an existing file is replaced only when the new one is complete."""
        metadata = dict(self.metadata)
        metadata[CLIPPED_KEY] = json.dumps(self.calibration_clipped, sort_keys=True)
        inputs = {value.name for value in self.graph.inputs}
        one_step = {
            name: share
            for name, share in self.calibration_clipped_by_one_step.items()
            if share and name in inputs
        }
        if one_step:
            metadata[ONE_STEP_KEY] = json.dumps(one_step, sort_keys=True)
        if self.calibration_sqnr:
            metadata[SQNR_KEY] = written_levels(self.calibration_sqnr)
        save_graph(self.graph, path, metadata=metadata)

    def __repr__(self) -> str:
        graph = self.graph
        return (
            f"<FixedModel {graph.name!r}: {len(graph.nodes)} nodes, {self.parameters:,} parameters>"
        )

    def _repr_html_(self) -> str:
        return as_html(self.graph, self.summary_rows(), self.metadata)

    def __eq__(self, other: object) -> bool:
        """Whether two models have one graph and the same texts and calibration figures."""
        if not isinstance(other, FixedModel):
            return NotImplemented
        return (
            self.graph == other.graph
            and self.metadata == other.metadata
            and self.calibration_clipped == other.calibration_clipped
        )

    def __hash__(self) -> int:
        return hash(self.graph)

    def __reduce__(self) -> tuple[Any, ...]:
        # What an engine has compiled and planned is made again where the copy runs.
        made = partial(
            FixedModel,
            metadata=self.metadata,
            calibration_clipped=self.calibration_clipped,
            calibration_clipped_by_one_step=self.calibration_clipped_by_one_step,
            calibration_sqnr=self.calibration_sqnr,
            limits=self.limits,
        )
        return made, (self.graph,), self.state

    def __setstate__(self, state: Mapping[str, IntArray]) -> None:
        self.load_state(state)

    def _clipped(self, *sequences: Iterable[Sequence[NDArray]]) -> ClippedShares:
        """Count what is clipped over sequences of calls, run in order."""
        counter = ClippedCounter(self.graph)

        def execute(call: Sequence[NDArray], states: Mapping[str, IntArray] | None) -> Result:
            (raws,) = Arguments(self.graph, call).quantized()
            counter.add_inputs(call)
            return self._engine.run(raws, states)

        for calls in sequences:
            for result in in_order(calls, execute):
                counter.add_nodes(result.clipped, result.sizes)
        return counter.shares()

    def _is_batch(self, arguments: Arguments) -> bool:
        """Whether the images of a call do not depend on each other, and are several."""
        return len(arguments.images) > 1 and not self.graph.states

    def _one_by_one(
        self, calls: Iterable[Sequence[NDArray]], threads: int | None
    ) -> Iterator[Result]:
        """Run the engine on one call after the other."""
        execute = partial(self._engine.run, threads=threads, count_clipped=False, narrow=True)
        return in_order(calls, execute)
