"""The options of quantization: one definition for Python, for training and for the command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from numbers import Real
from operator import index
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict, get_args

from fxp.formats import Format, FormatError, Overflow, Rounding
from fxp.support.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    import torch

WEIGHT_BITS: Final = 10
ACTIVATION_BITS: Final = 14
FEWEST_BITS, MOST_BITS = 2, 32
"""Narrowest and widest weights and activations."""

Method = Literal["minmax", "percentile", "mse"]
"""How fraction bits follow from the values of one tensor."""
METHODS: Final = get_args(Method)
SearchMethod = Literal["minmax", "percentile", "mse", "search"]
"""The same, or by what the whole network gives."""
WeightRounding = Literal["nearest", "learned"]
Effort = Literal["fast", "balanced", "best"]
"""How much is tried to make the integer network better."""
REFINEMENTS: Final = ("equalization", "bias_correction", "add_biases", "weight_rounding")
"""Options that change weights and biases of a trained network before they are rounded."""

Formats = Format | str | Mapping[str, Format | str]
"""One format for all, or formats by name; a string such as ``ap_fixed<14,6>`` stands for one."""


class QuantizeKeywords(TypedDict, total=False):
    """The fields of `QuantizeOptions` as keywords, for type checkers."""

    weight_bits: int | Iterable[int]
    activation_bits: int | Iterable[int]
    bits: Mapping[str, int] | None
    min_sqnr: float | None
    effort: Effort
    method: SearchMethod | None
    percentile: float
    headroom: float | None
    per_channel: bool
    rounding: Rounding | str
    overflow: Overflow | str
    wide_bits: int
    input_format: Formats | None
    output_format: Formats | None
    fracs: Mapping[str, int] | None
    equalization: bool | None
    bias_correction: bool | None
    add_biases: bool | None
    weight_rounding: WeightRounding | None
    states: Sequence[tuple[int, int]]
    initial_states: Sequence[torch.Tensor]
    hold_states: bool
    name: str | None


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """How a network is quantized; `fxp.quantize` and `fxp.prepare_qat` take it, or its fields.

    Every field may be left out. Formats may be given as text, rounding and overflow modes by their
    Python or their ``ap_fixed`` name, and whole numbers as NumPy integers.

    Attributes
    ----------
    weight_bits, activation_bits
        Widths of weights and activations, 2 to 32; several, such as ``range(4, 13)``, to search for
        the smallest that reach `min_sqnr` (`fxp.quantization.search.search_bits`).
    bits
        Widths by name of a weight, or of a value: an input, a state, or what a node computes, an
        output for example. They replace `weight_bits` and `activation_bits` there, and the value
        is rounded to that width even where its exact sum could flow on. A state has the width of
        its own name, or else that of the value which is fed back.
    min_sqnr
        SQNR in dB of the output on the calibration data, against the float network, that several
        widths are searched for.
    effort
        How much is tried for a better result: ``fast`` makes the refinements that are asked for,
        and no others; ``balanced`` tries those that are neither asked for nor refused, and keeps
        what helps on calibration data that was left out (`fxp.quantization.refinement.choose`);
        ``best`` also searches fraction bits, refines large layers, and refines twice; and where
        the SQNR stays below 40 dB, it tries formats without headroom.
    method
        How fraction bits are chosen: ``minmax``, ``percentile`` or ``mse`` per tensor
        (`fxp.quantization.calibrate.choose_frac`); ``search`` starts from ``mse`` and improves
        every fraction greedily by the network's output (`fxp.quantization.search.search_fracs`).
        If not given, ``mse``, or ``minmax`` where `effort` finds that better.
    percentile
        For the method of that name: percentage of values to cover, above 50, at most 100.
    headroom
        How many bits further than on the calibration data the values may reach before they are
        clipped: 0 if no further, 1 if twice as far. None, the default, estimates it from the number
        of calibration images and from how much their extremes differ, and weighs it against
        rounding. Values of known range, such as those of a sigmoid, a clamp or pictures in 0…1,
        get none.
    per_channel
        Whether weights get fraction bits per output channel, which costs no multiplier bit; False
        for one format per layer.
    rounding, overflow
        Modes wherever a value is rounded.
    wide_bits
        Accumulators up to this width flow into ReLUs and additions without being rounded; 0 rounds
        after every op.
    input_format, output_format
        Fixed formats, for all or by name; chosen from the calibration data if not given.
    fracs
        Fraction bits by value or weight name that override the method; the search keeps them.
    equalization
        Whether channels are scaled first so that weights before and after them have similar ranges
        (`fxp.quantization.refinement.equalize`); the float network computes the same. This and the
        next refinements are chosen by `effort` where they are None.
    bias_correction
        Whether biases take off the mean errors of their layers on the calibration data; if not
        given, also with `hold_states` for recurrent networks, whatever the effort.
    add_biases
        Whether layers that have no bias get one for that; if not given, where `bias_correction` is
        asked for.
    weight_rounding
        Rounding of weights: ``nearest``, or ``learned``, up or down for the least error of each
        layer's outputs on the calibration data; if not given, learned also with `hold_states` for
        recurrent networks, in all but large layers.
    states
        Pairs of input and output position of a module: the output is fed back as that input, which
        the calibration data leaves out.
    initial_states
        For each of `states` a tensor of zeros with batch, of the size that fits the first
        calibration input.
    hold_states
        Whether a recurrent network gets what holds its accuracy over many steps: calibration that
        goes on beyond the steps given, more bits where errors accumulate, learned rounding and bias
        correction (`fxp.quantization.states`).
    name
        Name of the graph; the module's class name by default.

    Raises
    ------
    ArgumentError
        A `ValueError`: a name is unknown, the states are no pairs of positions, or there are
        several widths and no `min_sqnr`.
    ArgumentTypeError
        A `TypeError`: a width is not a whole number.
    FormatError
        A `ValueError`: a text is no format, or no mode.

    Examples
    --------
    >>> options = QuantizeOptions(weight_bits=8, input_format="ap_ufixed<8,0>")
    >>> options.input_format
    Format(width=8, frac=8, signed=False)
    """

    weight_bits: int | Iterable[int] = WEIGHT_BITS
    activation_bits: int | Iterable[int] = ACTIVATION_BITS
    bits: Mapping[str, int] | None = None
    min_sqnr: float | None = None
    effort: Effort = "balanced"
    method: SearchMethod | None = None
    percentile: float = 99.99
    headroom: float | None = None
    per_channel: bool = True
    rounding: Rounding | str = Rounding.HALF_UP
    overflow: Overflow | str = Overflow.SATURATE
    wide_bits: int = 32
    input_format: Formats | None = None
    output_format: Formats | None = None
    fracs: Mapping[str, int] | None = None
    equalization: bool | None = None
    bias_correction: bool | None = None
    add_biases: bool | None = None
    weight_rounding: WeightRounding | None = None
    states: Sequence[tuple[int, int]] = ()
    initial_states: Sequence[torch.Tensor] = field(default=(), repr=False, compare=False)
    hold_states: bool = True
    name: str | None = None

    def __post_init__(self) -> None:
        if self.effort not in get_args(Effort):
            raise ArgumentError(
                f"unknown effort {self.effort!r}; choose one of {', '.join(get_args(Effort))}"
            )
        if self.method is not None and self.method not in get_args(SearchMethod):
            raise ArgumentError(
                f"unknown calibration method {self.method!r}; choose one of "
                f"{', '.join(get_args(SearchMethod))}"
            )
        if self.weight_rounding is not None and self.weight_rounding not in get_args(
            WeightRounding
        ):
            raise ArgumentError(
                f"unknown weight rounding {self.weight_rounding!r}; choose one of "
                f"{', '.join(get_args(WeightRounding))}"
            )
        converted = {
            "weight_bits": _widths("weight_bits", self.weight_bits),
            "activation_bits": _widths("activation_bits", self.activation_bits),
            "headroom": _headroom(self.headroom),
            "wide_bits": whole_number("wide_bits", self.wide_bits),
            "rounding": Rounding(self.rounding),
            "overflow": Overflow(self.overflow),
            "input_format": _formats(self.input_format),
            "output_format": _formats(self.output_format),
            "bits": {
                key: check_width(f"bits[{key!r}]", whole_number(f"bits[{key!r}]", width))
                for key, width in _named("bits", self.bits)
            },
            "fracs": {
                key: whole_number(f"fracs[{key!r}]", n) for key, n in (self.fracs or {}).items()
            },
            "states": _states(self.states),
            "initial_states": tuple(self.initial_states),
        }
        for name, value in converted.items():
            object.__setattr__(self, name, value)
        counts = [len(self.widths(name)) for name in ("weight_bits", "activation_bits")]
        if not all(counts) or (self.min_sqnr is None and max(counts) > 1):
            raise ArgumentError("several widths need min_sqnr, and none at all cannot be searched")

    def widths(self, name: Literal["weight_bits", "activation_bits"]) -> tuple[int, ...]:
        """Return the widths to try, one or several."""
        bits = getattr(self, name)
        return (bits,) if isinstance(bits, int) else bits

    def formats_by_name(
        self, field_name: Literal["input_format", "output_format"], names: Iterable[str]
    ) -> Mapping[str, Format]:
        """Return `input_format` or `output_format` as a mapping; one format stands for all names.

        Parameters
        ----------
        field_name
            Which of the two.
        names
            Inputs or outputs of the graph.
        """
        given = getattr(self, field_name)
        return dict.fromkeys(names, given) if isinstance(given, Format) else dict(given or {})


def merged(
    options: QuantizeOptions | None, keywords: Mapping[str, Any], function: str
) -> QuantizeOptions:
    """Return options with some fields replaced by keywords.

    Parameters
    ----------
    options
        Where to begin; all defaults if there are none.
    keywords
        Fields by name.
    function
        Who takes the keywords, for the message.

    Raises
    ------
    ArgumentTypeError
        A `TypeError`: a keyword is no option; the message names the nearest one.
    """
    known = [item.name for item in fields(QuantizeOptions)]
    for key in keywords:
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"its options are {', '.join(known)}"
            raise ArgumentTypeError(f"{function} has no option {key!r}; {hint}")
    if not isinstance(options, QuantizeOptions | None):
        raise ArgumentTypeError(
            f"options must be a fxp.QuantizeOptions, got {type(options).__name__}; give single "
            "options by keyword"
        )
    return replace(options or QuantizeOptions(), **keywords)


def check_width(name: str, bits: Any) -> int:
    """Return a width of weights or activations; raise FormatError unless it is an allowed one.

    Parameters
    ----------
    name
        Option that the width was given for, for the message.
    bits
        The width.
    """
    whole = isinstance(bits, int) and not isinstance(bits, bool)
    if not whole or not FEWEST_BITS <= bits <= MOST_BITS:
        raise FormatError(
            f"{name} must be an integer from {FEWEST_BITS} to {MOST_BITS}, got {bits!r}"
        )
    return bits


def _named(name: str, given: Any) -> Iterable[tuple[str, Any]]:
    """Return the items of a mapping whose keys are names."""
    if given is None:
        return ()
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ArgumentTypeError(
            f"{name} must be a mapping from names of values and weights to whole numbers, such as "
            f"{{'conv1.weight': 8}}; got {given!r}"
        )
    return given.items()


def whole_number(name: str, value: Any) -> int:
    """Return a whole number as int, also of NumPy."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return index(value)
    except TypeError:
        raise ArgumentTypeError(f"{name} must be a whole number, got {value!r}") from None


def _headroom(value: Any) -> float | None:
    """Return a number of bits as float."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ArgumentTypeError(f"headroom must be a number of bits or None, got {value!r}")
    return float(value)


def _widths(name: str, given: Any) -> int | tuple[int, ...]:
    # A tensor or array of no axes has `__iter__`, and is one number.
    several = isinstance(given, Iterable) and getattr(given, "ndim", 1) != 0
    if several and not isinstance(given, str | bytes):
        return tuple(whole_number(name, bits) for bits in given)
    return whole_number(name, given)


def _states(given: Any) -> tuple[tuple[int, int], ...]:
    """Return pairs of input and output position as integers."""
    try:
        if isinstance(given, Mapping | str | bytes):
            raise TypeError
        pairs = tuple(
            (whole_number("states", source), whole_number("states", fed)) for source, fed in given
        )
        if any(position < 0 for pair in pairs for position in pair):
            raise ValueError
    except (TypeError, ValueError):
        raise ArgumentError(
            "states must be a list of pairs (input position, output position) of the module, "
            f"counted from 0, such as [(1, 1)] where forward(x, h) returns (y, h); got {given!r}"
        ) from None
    return pairs


def _formats(given: Formats | None) -> Format | Mapping[str, Format] | None:
    if isinstance(given, Mapping):
        return {name: Format.of(form) for name, form in given.items()}
    return None if given is None else Format.of(given)
