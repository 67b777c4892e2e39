"""The options of commands that quantize, and what their texts mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from fxp.formats import Overflow, Rounding
from fxp.quantization.options import ACTIVATION_BITS, WEIGHT_BITS
from fxp.support.errors import ArgumentError

SEARCHED_WEIGHT_BITS, SEARCHED_ACTIVATION_BITS = range(4, 13), range(8, 17)
"""Widths that ``--min-sqnr`` searches if none are given."""


class MethodChoice(StrEnum):
    """How fraction bits are chosen; see fxp.quantize."""

    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"
    SEARCH = "search"


class EffortChoice(StrEnum):
    """How much is tried for a better result; see fxp.quantize."""

    FAST = "fast"
    BALANCED = "balanced"
    BEST = "best"


class WeightRoundingChoice(StrEnum):
    """How weights are rounded; see fxp.quantize."""

    NEAREST = "nearest"
    LEARNED = "learned"


def _searched(widths: range) -> str:
    return f"{widths[0]}-{widths[-1]}"


WeightBitsOption = Annotated[
    str | None,
    typer.Option(
        metavar="BITS",
        help=f"Bits of every weight, or a range to search with --min-sqnr; default {WEIGHT_BITS}, "
        f"or {_searched(SEARCHED_WEIGHT_BITS)}.",
    ),
]
ActivationBitsOption = Annotated[
    str | None,
    typer.Option(
        metavar="BITS",
        help=f"Bits of every activation, or a range; default {ACTIVATION_BITS}, or "
        f"{_searched(SEARCHED_ACTIVATION_BITS)}.",
    ),
]
BitsOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=WIDTH",
        help="Bits of one weight or value: conv1.weight=8; repeatable.",
    ),
]
MinSqnrOption = Annotated[
    float | None,
    typer.Option(
        help="Least SQNR of the output in dB: the smallest widths that reach it are searched."
    ),
]
EffortOption = Annotated[EffortChoice, typer.Option(help="How much is tried for a better result.")]
MethodOption = Annotated[
    MethodChoice | None, typer.Option(help="Rule for fraction bits; default: mse or minmax.")
]
PercentileOption = Annotated[
    float | None,
    typer.Option(help="Percentage of values to cover, such as 99.99; means --method percentile."),
]
HeadroomOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=16,
        help="Bits further than the calibration images that values may reach; default: by how "
        "many images there are and how much they differ.",
    ),
]
PerChannelOption = Annotated[
    bool,
    typer.Option(
        "--per-channel/--per-layer", help="Weight fraction bits per output channel or layer."
    ),
]
InputFormatOption = Annotated[
    str | None,
    typer.Option(help="Format of the input, such as 'ap_ufixed<8,0>'; default: by the data."),
]
OutputFormatOption = Annotated[
    str | None, typer.Option(help="Format of the output; default: by the data.")
]
RoundingOption = Annotated[
    Rounding,
    typer.Option(
        metavar="MODE", help=f"Rounding mode: {', '.join(mode.value for mode in Rounding)}."
    ),
]
OverflowOption = Annotated[
    Overflow,
    typer.Option(
        metavar="MODE", help=f"Overflow mode: {', '.join(mode.value for mode in Overflow)}."
    ),
]
EqualizationOption = Annotated[
    bool | None, typer.Option(help="Scale channels to weights of similar range.")
]
BiasCorrectionOption = Annotated[bool | None, typer.Option(help="Take mean errors off the biases.")]
AddBiasesOption = Annotated[
    bool | None, typer.Option(help="Whether that gives biases to layers without one.")
]
WeightRoundingOption = Annotated[
    WeightRoundingChoice | None,
    typer.Option(help="Nearest, or up or down by what layers give."),
]
StatesOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="INPUT:OUTPUT:CxHxW",
        help="A state of a recurrent network: position of the input that an output is fed back to, "
        "that output's, and its size; begins as zeros; repeatable.",
    ),
]
HoldStatesOption = Annotated[
    bool, typer.Option(help="Longer calibration and more bits where errors of states accumulate.")
]


def width_range(option: str, text: str) -> range:
    """Return the widths of a text such as ``4-10``, or the one of ``8``.

    Raises
    ------
    ArgumentError
        If the text is neither.
    """
    first, _, last = text.partition("-")
    ends = [first, last or first]
    if not all(end.isascii() and end.isdigit() for end in ends) or int(ends[0]) > int(ends[1]):
        raise ArgumentError(f"{option} must be written as FROM-TO, such as 4-10, not {text!r}")
    return range(int(ends[0]), int(ends[1]) + 1)


def widths(option: str, text: str | None, otherwise: int | range) -> int | range:
    """Return one width, or several to search.

    Parameters
    ----------
    option
        Name of the option, for the message.
    text
        What was given; None for nothing.
    otherwise
        What is taken then.
    """
    found = otherwise if text is None else width_range(option, text)
    return found[0] if isinstance(found, range) and len(found) == 1 else found


def named_widths(texts: Sequence[str]) -> dict[str, int]:
    """Return the widths of ``--bits NAME=WIDTH`` by name.

    Raises
    ------
    ArgumentError
        If a text has another form, or a name is given twice.
    """
    found: dict[str, int] = {}
    for text in texts:
        name, _, width = text.rpartition("=")
        if not name or not (width.isascii() and width.isdigit()):
            raise ArgumentError(f"--bits {text!r} must be NAME=WIDTH, such as conv1.weight=8")
        if name in found:
            raise ArgumentError(f"--bits gives {name!r} twice")
        found[name] = int(width)
    return found


def percentile_method(method: MethodChoice | None, percentile: float | None) -> MethodChoice | None:
    """Return the method that the options mean: a percentile alone asks for the one of its name.

    Parameters
    ----------
    method, percentile
        The options.

    Raises
    ------
    ArgumentError
        If another method is asked for, which would leave the percentile without effect.
    """
    if percentile is None or method is MethodChoice.PERCENTILE:
        return method
    if method is not None:
        raise ArgumentError(f"--percentile has no effect on --method {method.value}; leave one out")
    return MethodChoice.PERCENTILE


@dataclass(frozen=True)
class StateOption:
    """One ``--states``.

    Attributes
    ----------
    positions
        Of the input that the state takes, and of the output that is fed back, counted from 0.
    shape
        Of the state, without batch; empty if the text ends before it.
    """

    positions: tuple[int, int]
    shape: tuple[int, ...]


def read_states(texts: Sequence[str] | None, *, with_shapes: bool) -> list[StateOption]:
    """Read ``INPUT:OUTPUT:CxHxW``, or ``INPUT:OUTPUT`` where the shapes are known.

    Parameters
    ----------
    texts
        What was given; None for nothing.
    with_shapes
        Whether each must say its shape.

    Raises
    ------
    ArgumentError
        If a text has another form.
    """
    found = []
    for text in texts or []:
        source, _, rest = text.partition(":")
        fed, _, sizes = rest.partition(":")
        numbers = [source, fed, *(sizes.split("x") if sizes or with_shapes else [])]
        if not all(number.isascii() and number.isdigit() for number in numbers):
            form = "INPUT:OUTPUT:CxHxW" if with_shapes else "INPUT:OUTPUT"
            example = "1:1:8x32x32" if with_shapes else "1:1"
            raise ArgumentError(
                f"--states {text!r} must be {form}, such as {example}: positions counted from 0"
                + (", and the state's channels, height and width" if with_shapes else "")
            )
        first, second, *shape = map(int, numbers)
        found.append(StateOption((first, second), tuple(shape)))
    return found
