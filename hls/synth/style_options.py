"""Options of commands that say how the layers of a core multiply."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import typer

from fxp.cli.console import progress_bar
from fxp.hls.rtl.core import Multipliers
from fxp.hls.rtl.styles import LayerFolds, LayerMultipliers
from fxp.hls.synth.fit import fit
from fxp.hls.synth.targets import TARGETS
from fxp.model.sources import ModelSource
from fxp.support.errors import ArgumentError

TargetName = Literal["ecp5-12k", "ecp5-25k", "ecp5-45k", "ecp5-85k", "xilinx-us", "gowin-18k"]
assert get_args(TargetName) == tuple(TARGETS)

LayerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--layer", metavar="NAME=STYLE[:FOLD]", help="dsp or shift_add for one layer; repeatable."
    ),
]
FitOption = Annotated[
    TargetName | None, typer.Option(help="Choose for every layer, so that the core fits this.")
]
FpsOption = Annotated[
    float | None, typer.Option(min=0.001, help="Frames per second, with --fit; default 60.")
]
DEFAULT_FPS = 60
DEFAULT_MEGAHERTZ = 150


def megahertz_of(given: float | None) -> float:
    """Return the clock frequency that an option gives, or what there is without it.

    Raises
    ------
    ArgumentError
        If it is no finite number above zero.
    """
    megahertz = DEFAULT_MEGAHERTZ if given is None else given
    if not 0 < megahertz < math.inf:
        raise ArgumentError(f"--megahertz must be a finite number above zero, not {megahertz:g}")
    return megahertz


def layer_styles(
    model: ModelSource,
    *,
    multipliers: Multipliers,
    fold: int,
    layers: Sequence[str],
    target: TargetName | None,
    fps: float | None,
    width: int,
    height: int | None,
    initial_size: tuple[int, int] | None,
    megahertz: float,
    levels_per_register: int,
    register_shared: bool,
) -> tuple[LayerMultipliers, LayerFolds, str]:
    """Return multipliers and fold as `fxp.hls.emit_rtl` takes them, and what was chosen, in words.

    Parameters
    ----------
    model
        The quantized model.
    multipliers, fold
        Of all layers that are not named.
    layers
        Texts of the form ``NAME=STYLE`` or ``NAME=STYLE:FOLD``.
    target
        Device to fit, if the layers are to be chosen.
    fps, width, height, initial_size, megahertz, levels_per_register, register_shared
        As for `fxp.hls.fit`.

    Raises
    ------
    ArgumentError
        If a text has another form, or layers are named as well as chosen.
    SynthesisError
        If nothing fits the device.
    """
    if target is not None:
        if layers or multipliers != "dsp" or fold != 1:
            raise ArgumentError("--fit chooses multipliers and fold itself; leave these out")
        with progress_bar("choosing multipliers") as report:
            found = fit(model, target, fps=DEFAULT_FPS if fps is None else fps, width=width,
                        height=height, initial_size=initial_size, megahertz=megahertz,
                        levels_per_register=levels_per_register,
                        register_shared=register_shared, progress=report)  # fmt: skip
        return found.multipliers, found.fold, str(found)
    if fps is not None:
        raise ArgumentError("--fps says what --fit is to reach; give --fit as well")
    if not layers:
        return multipliers, fold, ""
    if multipliers != "dsp" or fold != 1:
        raise ArgumentError(
            "layers that are not named with --layer use multipliers, one for a weight; leave out "
            "--multipliers and --fold"
        )
    styles: dict[str, Multipliers] = {}
    folds: dict[str, int] = {}
    for text in layers:
        name, _, choice = text.rpartition("=")
        style, _, number = choice.partition(":")
        if not name or style not in get_args(Multipliers) or (number and not number.isdecimal()):
            raise ArgumentError(
                f"--layer {text!r} must be NAME=STYLE or NAME=STYLE:FOLD, with one of the styles "
                f"{', '.join(get_args(Multipliers))}"
            )
        styles[name] = style  # type: ignore[assignment]
        if number:
            folds[name] = int(number)
    return styles, folds or 1, ""
