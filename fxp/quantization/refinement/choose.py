"""Refinements are tried one after the other, and kept where they help on data left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from fxp.executors.calls import Calls
from fxp.formats import FormatError
from fxp.graph import Graph
from fxp.graph.ops import GraphError
from fxp.model.summary import POOR
from fxp.quantization.calibrate import Statistics
from fxp.quantization.lowering import lower, rounded_names
from fxp.quantization.options import QuantizeOptions
from fxp.quantization.refinement.equalization import channel_sizes, equalize
from fxp.quantization.refinement.extreme_pictures import extreme_pictures
from fxp.quantization.refinement.judgement import Judge, Quality, references_of
from fxp.quantization.refinement.parts import Parts, divide
from fxp.quantization.refinement.refine import Refinement, refine
from fxp.quantization.search import search_fracs
from fxp.quantization.settings import LoweringSettings
from fxp.support.progress import Progress

BALANCED_COLUMNS: Final = 1280
"""With effort ``balanced``, layers with more weights per output channel keep nearest integers."""
NO_LIMIT: Final = 1 << 62
"""Of weights per output channel."""

Observe = Callable[[Graph], Mapping[str, Statistics]]
"""Gathers the statistics of a float graph on all calibration data."""


@dataclass(frozen=True)
class Trial:
    """A refinement that was tried.

    Attributes
    ----------
    name
        Which one.
    sqnr
        SQNR in dB of the worst output on the data that was left out; None if the refinement gives
        no graph that could be run.
    kept
        Whether it stays.
    """

    name: str
    sqnr: float | None
    kept: bool


@dataclass(frozen=True)
class Chosen:
    """What was chosen, and why.

    Attributes
    ----------
    reference
        The float graph, equalized as far as that was chosen.
    graph
        The same with refined biases.
    statistics, settings
        What `fxp.quantization.lowering.lower` made the integer graph with.
    lowered
        The integer graph.
    trials
        In order; the first is the network without automatic refinements.
    """

    reference: Graph
    graph: Graph
    statistics: Mapping[str, Statistics]
    settings: LoweringSettings
    lowered: Graph
    trials: tuple[Trial, ...] = ()

    def as_data(self, options: QuantizeOptions) -> dict[str, Any]:
        """Return what was tried, as `json.dumps` takes it: what a model's metadata keep.

        Parameters
        ----------
        options
            Those that the choice was made with.
        """
        tried = [
            {
                "name": trial.name,
                "sqnr": _rounded(trial.sqnr),
                "kept": trial.kept,
            }
            for trial in self.trials
        ]
        data = {"effort": options.effort, "trials": tried}
        if self.reference.states and options.hold_states:
            extra = self.settings.extra_bits
            states = {state.value.name: extra[state.source] for state in self.reference.states}
            data["states"] = {
                "bits": states,
                "rounding": options.weight_rounding != "nearest",
                "biases": options.bias_correction is not False,
            }
        return data


def choose(
    graph: Graph,
    statistics: Mapping[str, Statistics],
    settings: LoweringSettings,
    calls: Calls,
    options: QuantizeOptions,
    observe: Observe,
    progress: Progress | None = None,
) -> Chosen:
    """Turn a float graph into an integer graph, with the refinements that help.

    Refinements that the options ask for are made, and those that they refuse are not; holding
    states asks for learned rounding and bias correction (`fxp.quantization.states`). The others are
    tried where `effort` allows it: a change is kept if it improves what the network gives on
    calibration data that the change was not fitted to (`Quality.improves`). What was measured is
    what the result is: nothing is fitted again afterwards.

    Parameters
    ----------
    graph, statistics, settings
        As for `fxp.quantization.lowering.lower`.
    calls
        Calibration data.
    options
        `effort`, and what the user wants of each refinement.
    observe
        Gives the statistics of an equalized graph.
    progress
        Called during every trial.
    """
    # Errors that are the same in every step and at every pixel add up most in states.
    held = bool(graph.states) and options.hold_states
    learned = options.weight_rounding == "learned"
    asked = Refinement(
        rounding=learned or (held and options.weight_rounding is None),
        biases=options.bias_correction is True or (held and options.bias_correction is None),
        add_biases=options.add_biases is not False,
        most_columns=NO_LIMIT if learned or options.effort == "best" else BALANCED_COLUMNS,
    )
    trying = options.effort != "fast"
    parts = divide(graph, calls) if trying or asked.rounding or asked.biases else Parts([], [])
    trying = trying and bool(parts.held_out)
    if trying and options.headroom is None:
        pictures = extreme_pictures(graph, statistics, settings.input_formats, calls)
        parts = replace(parts, rare=pictures)
    plain = Chosen(graph, graph, statistics, settings, lower(graph, statistics, settings))
    if not trying:
        return _asked(plain, asked, parts, progress)
    choice = _Choice(parts, options, asked, observe, progress, plain)
    # Large networks take gigabytes: what is not chosen is not kept.
    del plain
    return choice.result()


def _rounded(sqnr: float | None) -> float | None:
    """Return hundredths of a decibel; None for what JSON has no number for."""
    return None if sqnr is None or not math.isfinite(sqnr) else round(sqnr, 2)


def _asked(chosen: Chosen, asked: Refinement, parts: Parts, progress: Progress | None) -> Chosen:
    """Make the refinements that the user asks for."""
    if not asked.rounding and not asked.biases:
        return chosen
    return _refined(chosen, parts.everything, asked, progress)


def _refined(
    chosen: Chosen, calls: Calls, refinement: Refinement, progress: Progress | None
) -> Chosen:
    graph, settings = refine(
        chosen.reference, chosen.graph, chosen.lowered, chosen.settings, calls, refinement, progress
    )
    lowered = lower(graph, chosen.statistics, settings)
    return replace(chosen, graph=graph, settings=settings, lowered=lowered)


class _Choice:
    """One run of trials."""

    def __init__(
        self,
        parts: Parts,
        options: QuantizeOptions,
        asked: Refinement,
        observe: Observe,
        progress: Progress | None,
        plain: Chosen,
    ) -> None:
        self._best = plain
        self._parts, self._options, self._asked = parts, options, asked
        self._observe, self._progress = observe, progress
        self._trials: list[Trial] = []

    def result(self) -> Chosen:
        """Try everything in order."""
        self._tell("measuring")
        self._judge = Judge(self._best.reference, self._parts)
        self._quality = self._judge.quality(self._best.lowered)
        self._trials.append(Trial("none", self._quality.sqnr, kept=True))
        options, plain = self._options, self._best
        self._try_all()
        # What `balanced` chooses is where `best` goes on from.
        if options.effort == "best":
            if self._try("search", self._searched) or self._fitted:
                self._fit()
            if options.headroom is None and not plain.graph.states and self._quality.sqnr < POOR:
                self._try_without_headroom(plain)
        return replace(self._best, trials=tuple(self._trials))

    def _try_all(self) -> None:
        """Try one change after the other."""
        options = self._options
        if options.equalization is None:
            self._try("equalization", self._equalized)
            if options.per_channel:
                self._try("equalization of values", self._with_equal_values)
        if options.method is None:
            self._try("method minmax", self._with_minmax)
        if self._asked.rounding or self._asked.biases:
            self._best = _asked(self._best, self._asked, self._parts, self._progress)
            self._quality = self._judge.quality(self._best.lowered)
            self._trials.append(Trial("asked", self._quality.sqnr, kept=True))
        self._fit()
        self._narrow()

    def _try_without_headroom(self, plain: Chosen) -> None:
        """Go through it again with formats that hold the calibration data and no more.

        Where few bits lose much, a finer step may be worth more than room for inputs to come. That
        shows only after channels are equalized and rounding is learned for the finer step.
        """
        kept, quality, trials = self._best, self._quality, self._trials
        settings = replace(plain.settings, headroom=0)
        lowered = lower(plain.graph, plain.statistics, settings)
        if lowered == plain.lowered:
            return
        self._best = replace(plain, settings=settings, lowered=lowered)
        self._quality = self._judge.quality(lowered)
        self._trials = [Trial("", self._quality.sqnr, kept=True)]
        self._try_all()
        found = [
            replace(trial, name=f"no headroom, {trial.name}" if trial.name else "no headroom")
            for trial in self._trials
        ]
        if self._quality.improves(quality):
            trials = [replace(trial, kept=trial.name == "none") for trial in trials]
        else:
            self._best, self._quality = kept, quality
            found = [replace(trial, kept=False) for trial in found]
        self._trials = trials + found

    def _fit(self) -> None:
        """Try what is fitted to data."""
        self._fitted = False
        if self._options.weight_rounding is None and not self._asked.rounding:
            self._fitted |= self._try("learned rounding", self._refined(rounding=True))
        if self._options.bias_correction is None and not self._asked.biases:
            self._fitted |= self._try("bias correction", self._refined(biases=True))

    def _narrow(self) -> None:
        """Try to take back what formats hold for pictures of rare kinds.

        All of it; or else, if there is time, what each value holds.
        """
        names = tuple(self._widened())
        kept = names and self._try("ranges of images alone", self._without_rare(names))
        if self._options.effort == "best" and len(names) > 1 and not kept:
            for name in names:
                self._try(f"range of images alone: {name}", self._without_rare([name]))

    def _try(self, name: str, change: Callable[[], Chosen | None]) -> bool:
        """Make a change, and keep it if it helps."""
        self._tell(name)
        quality: Quality | None = None
        try:
            candidate = change()
            if candidate is None or candidate.lowered == self._best.lowered:
                return False
            quality = self._judge.quality(candidate.lowered)
        except (GraphError, FormatError):
            # Scaled or changed numbers may need wider accumulators than there are.
            candidate = None
        kept = candidate is not None and quality is not None and quality.improves(self._quality)
        self._trials.append(Trial(name, None if quality is None else quality.sqnr, kept))
        if kept:
            assert candidate is not None
            assert quality is not None
            self._best, self._quality = candidate, quality
        return kept

    def _equalized(self) -> Chosen | None:
        return self._of_graph(equalize(self._best.graph))

    def _with_equal_values(self) -> Chosen | None:
        graph = self._best.graph
        return self._of_graph(equalize(graph, channel_sizes(graph, self._parts.everything)))

    def _of_graph(self, graph: Graph) -> Chosen | None:
        """Return the choice so far for a graph that computes the same; None if it is no other."""
        if graph == self._best.graph:
            return None
        settings, statistics = self._best.settings, self._observe(graph)
        lowered = lower(graph, statistics, settings)
        return Chosen(graph, graph, statistics, settings, lowered)

    def _with_minmax(self) -> Chosen:
        return self._with(replace(self._best.settings, method="minmax"))

    def _widened(self) -> dict[str, int]:
        """Fraction bits of values that have fewer of them for pictures of rare kinds."""
        best = self._best
        if all(found.rare is None for found in best.statistics.values()):
            return {}
        values = best.lowered.values
        chosen = rounded_names(best.lowered, best.settings)
        names = [name for name in chosen if name in best.statistics]
        narrow = self._without_rare(names)().lowered.values
        pairs = {
            name: (values[name].format, narrow[name].format) for name in names if name in narrow
        }
        return {
            name: form.frac
            for name, (form, other) in pairs.items()
            if form is not None and other is not None and form.frac < other.frac
        }

    def _without_rare(self, names: Iterable[str]) -> Callable[[], Chosen]:
        best = self._best

        def change() -> Chosen:
            found = best.statistics
            statistics = {**found, **{name: found[name].without_rare() for name in names}}
            lowered = lower(best.graph, statistics, best.settings)
            return replace(best, statistics=statistics, lowered=lowered)

        return change

    def _searched(self) -> Chosen:
        best, fitted = self._best, self._parts.fitted
        inputs, references = references_of(best.reference, fitted)
        # The data of the search would have them narrow again.
        kept = replace(best.settings, fracs={**best.settings.fracs, **self._widened()})
        settings, _ = search_fracs(
            best.graph, best.statistics, kept, inputs, references, rounds=1, progress=self._progress
        )
        return self._with(settings)

    def _refined(self, *, rounding: bool = False, biases: bool = False) -> Callable[[], Chosen]:
        columns = NO_LIMIT if self._options.effort == "best" else BALANCED_COLUMNS
        wanted = Refinement(rounding, biases, add_biases=False, most_columns=columns)

        def change() -> Chosen:
            return _refined(self._best, self._parts.fitted, wanted, self._progress)

        return change

    def _with(self, settings: LoweringSettings) -> Chosen:
        best = self._best
        lowered = lower(best.graph, best.statistics, settings)
        return replace(best, settings=settings, lowered=lowered)

    def _tell(self, text: str) -> None:
        if self._progress is not None:
            self._progress(0, 0, text)
