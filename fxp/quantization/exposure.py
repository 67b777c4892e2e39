"""Calibration pictures that are too dark or too flat to show how far a network's values go."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import torch

from fxp.executors.calls import Calls, one_by_one
from fxp.formats import Format
from fxp.graph import Graph
from fxp.graph.ops.base import Range
from fxp.quantization.options import QuantizeOptions
from fxp.quantization.ranges import PICTURE_SHARE, PICTURES
from fxp.quantization.refinement.extreme_pictures import pictures_in

LEVELS: Final = (255, 65535)
"""Steps from black to white that files of pictures have."""
NEAR: Final = 0.01
"""How far a pixel may be from a step, as a share of one: the error of float32 is below it."""
FAINT_SHARE: Final = 0.25
"""Values from 0 to less than this are asked about, where nothing says what they are."""


def exposed(graph: Graph, calls: Calls, options: QuantizeOptions) -> tuple[Calls, tuple[str, ...]]:
    """Return the calibration data with faint pictures stretched, and what has to be said about it.

    Photographs at night, or one black picture, say nothing about the bright ones to come. An input
    is a faint picture if its data fills less than `PICTURE_SHARE` of a range of pixels and either
    its given format has that range, or all values are `LEVELS` of it. All its data is then
    stretched to the whole range by one factor. What holds one value alone cannot be stretched: it
    gives way to black, white and stripes.

    Parameters
    ----------
    graph
        A float graph. Its data is returned as it is if it has states.
    calls
        Calibration data.
    options
        The formats of inputs that are given. The data stays as it is if its headroom is.

    Returns
    -------
    tuple
        The data, and sentences for the user.
    """
    if graph.states or options.headroom is not None:
        return calls, ()
    names = [value.name for value in graph.inputs]
    formats = options.formats_by_name("input_format", names)
    stretched: dict[int, tuple[Range, Range]] = {}
    texts: list[str] = []
    flat = [
        all(_is_flat(image) for call in calls for image in call[place])
        for place in range(len(graph.inputs))
    ]
    for place, value in enumerate(graph.inputs):
        # What holds one number in each image beside pictures is a level, such as that of noise.
        if flat[place] and not all(flat):
            continue
        tensors = [call[place] for call in calls]
        low = min((float(tensor.min()) for tensor in tensors if tensor.numel()), default=math.nan)
        high = max((float(tensor.max()) for tensor in tensors if tensor.numel()), default=math.nan)
        if len(value.shape) != 3 or not math.isfinite(high - low):
            continue
        whole = _faint_range(tensors, (low, high), formats.get(value.name))
        about = f"the calibration data of input {value.name!r} "
        about += f"is {low:.3g} everywhere" if low == high else f"lies from {low:.3g} to {high:.3g}"
        if whole is not None:
            stretched[place] = (low, high), whole
            black, white = (round(end) for end in whole)
            share = (high - low) / (white - black)
            texts.append(
                f"{about}, {share:.0%} of what pictures from {black} to {white} can hold."
                " Formats are chosen for pictures that fill it; give typical pictures, or "
                "headroom=0 if all pictures to come are like these"
            )
        elif low == high:
            texts.append(f"{about}, which says nothing of other values; give typical inputs")
        elif value.shape[0] in (1, 3) and low >= 0 and high < FAINT_SHARE:
            texts.append(
                f"{about}. If these are pictures from black 0 to white 1, larger values will be "
                "clipped: give typical pictures, or their format, input_format='ap_ufixed<8,0>'"
            )
    return _stretched(calls, stretched), tuple(texts)


def _is_flat(image: torch.Tensor) -> bool:
    return bool((image == image.flatten()[:1].reshape([1] * image.ndim)).all())


def _faint_range(tensors: Sequence[torch.Tensor], seen: Range, form: Format | None) -> Range | None:
    """Return black and white of an input whose pictures fill little of what lies between."""
    low, high = seen
    for black, white in PICTURES:
        if not (black <= low and high <= white):
            continue
        if high - low >= PICTURE_SHARE * (white - black):
            return None
        if form is not None:
            # The largest number of a format without a sign is one step below a power of two.
            step = math.ldexp(1.0, -form.frac)
            end = 1.0 if white == 1 else 256.0
            if (form.min, form.max + step) == (black, end) and not form.signed:
                return black, min(white, form.max)
        # Small whole numbers may count something, or be labels: they say nothing about pixels.
        if white == 1 and any(_in_levels(tensors, (black, white), count) for count in LEVELS):
            return black, white
    return None


def _in_levels(tensors: Sequence[torch.Tensor], whole: Range, count: int) -> bool:
    """Return whether all values are among so many equal steps from black to white."""
    black, white = whole
    for tensor in tensors:
        steps = (tensor.double() - black) * (count / (white - black))
        if (steps - steps.round()).abs().max() > NEAR:
            return False
    return True


def _stretched(calls: Calls, ranges: Mapping[int, tuple[Range, Range]]) -> Calls:
    """Stretch some inputs from the range seen to another; draw pictures for one that is flat."""
    if not ranges:
        return calls
    changed = []
    for call in calls:
        tensors = list(call)
        for place, ((low, high), (black, white)) in ranges.items():
            if low < high:
                share = (tensors[place] - low) * ((white - black) / (high - low))
                tensors[place] = (black + share).clamp(black, white)
        changed.append(tensors)
    flat = {place: whole for place, ((low, high), whole) in ranges.items() if low == high}
    if not flat:
        return changed
    first = one_by_one(changed[:1])[0]
    drawn = {place: pictures_in(first[place], whole) for place, whole in flat.items()}
    count = len(next(iter(drawn.values())))
    return [
        [drawn[place][number] if place in drawn else tensor for place, tensor in enumerate(first)]
        for number in range(count)
    ]
