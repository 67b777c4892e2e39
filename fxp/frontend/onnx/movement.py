"""Translators of operations that move values, or change the size of images."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional

from fxp.frontend.onnx.call import Call, Translator
from fxp.frontend.onnx.limits import MAX_STATIC


def identity(call: Call) -> torch.Tensor:
    """Leave everything as it is."""
    return call.tensor(0)


def dropout(call: Call) -> torch.Tensor:
    """Leave everything as it is, as dropout does in a trained network."""
    if call.has(2) and bool(call.known(2).any()):
        call.refuse("it drops values at random", "export the network for inference, in eval mode")
    return call.tensor(0)


def concat(call: Call) -> torch.Tensor:
    """Concatenation."""
    return torch.cat(call.tensors, call.attribute("axis", 1))


def split(call: Call) -> tuple[torch.Tensor, ...]:
    """Parts of given sizes, or equal ones."""
    x, axis = call.tensor(0), call.attribute("axis", 0)
    parts = call.setting("split", 1)
    if parts is None:
        return torch.split(x, -(-x.shape[axis] // len(call.node.outputs)), axis)
    return torch.split(x, parts, axis)


def slices(call: Call) -> torch.Tensor:
    """Every step-th entry between two positions."""
    x = call.tensor(0)
    starts, ends = call.setting("starts", 1), call.setting("ends", 2)
    axes = call.axes(3, x.ndim, range(len(starts))) or []
    steps = call.setting("steps", 4, [1] * len(starts))
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = x.shape[axis]
        if step > 0:
            index: list[slice] = [slice(None)] * x.ndim
            index[axis] = slice(start or None, None if _is_far(end) else end, step)
            x = x[tuple(index)]
            continue
        if not isinstance(size, int) or size > MAX_STATIC:
            call.refuse("it reverses an axis whose size is free or large", "fix the size")
        picked = list(range(size))[start : None if end < -size else end : step]
        x = torch.index_select(x, axis, torch.tensor(picked))
    return x


def _is_far(end: Any) -> bool:
    """Whether an end is how exporters write that of the axis."""
    return isinstance(end, int) and end >= (1 << 31) - 1


def gather(call: Call) -> torch.Tensor:
    """Entries of one axis by a constant list."""
    x, axis = call.tensor(0), call.attribute("axis", 0)
    picked = call.known(1)
    if picked.ndim == 0:
        return x.select(axis, picked.item())
    if picked.ndim > 1:
        call.refuse(f"its indices have {picked.ndim} axes", "give a list")
    size = x.shape[axis]
    return torch.index_select(
        x, axis, torch.tensor([index + size if index < 0 else index for index in picked.tolist()])
    )


def reshape(call: Call) -> torch.Tensor:
    """Give the same values another shape."""
    x, wanted = call.tensor(0), call.setting("shape", 1)
    if not call.attribute("allowzero", 0):
        wanted = [
            x.shape[axis] if isinstance(size, int) and size == 0 and axis < x.ndim else size
            for axis, size in enumerate(wanted)
        ]
    return x.reshape(wanted)


def flatten(call: Call) -> torch.Tensor:
    """Two axes: those before a position, and those from it on."""
    x = call.tensor(0)
    axis = call.attribute("axis", 1)
    if axis < 0:
        axis += x.ndim
    if axis == 1:
        return x.flatten(1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def squeeze(call: Call) -> torch.Tensor:
    """Without axes of one entry."""
    x = call.tensor(0)
    axes = call.axes(1, x.ndim, None)
    return x.squeeze() if axes is None else x.squeeze(axes)


def unsqueeze(call: Call) -> torch.Tensor:
    """With further axes of one entry."""
    x = call.tensor(0)
    given = call.setting("axes", 1)
    for axis in sorted(call.axes(1, x.ndim + len(np.atleast_1d(given)), []) or []):
        x = x.unsqueeze(axis)
    return x


def transpose(call: Call) -> torch.Tensor:
    """Axes in another order."""
    x = call.tensor(0)
    return x.permute(*call.attribute("perm", list(reversed(range(x.ndim)))))


def expand(call: Call) -> torch.Tensor:
    """Repeat axes of one entry."""
    x = call.tensor(0)
    return x.expand(torch.broadcast_shapes(x.shape, tuple(call.setting("shape", 1))))


def tile(call: Call) -> torch.Tensor:
    """Repeat along axes."""
    return call.tensor(0).repeat(call.known(1).tolist())


_MODES: Final = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


def pad(call: Call) -> torch.Tensor:
    """Pad with a number, with the border, or with the mirrored image."""
    x = call.tensor(0)
    pads = list(call.attribute("paddings") or call.setting("pads", 1))
    mode = call.attribute("mode", "constant")
    if mode not in _MODES:
        call.refuse(f"its mode is {mode!r}", f"use one of {', '.join(_MODES)}")
    value = call.attribute("value", 0.0)
    if call.has(2):
        value = call.known(2).item()
    axes = call.axes(3, x.ndim, range(x.ndim)) or []
    if len(pads) != 2 * len(axes):
        call.refuse(f"its pads are {pads}", f"give {2 * len(axes)} of them")
    amounts: dict[int, tuple[Any, Any]] = {
        axis: (pads[place], pads[place + len(axes)]) for place, axis in enumerate(axes)
    }
    moved = {axis for axis, sizes in amounts.items() if any(map(_is_size, sizes))}
    # Rows and columns of images (N, H, W, C) are padded as those of (N, C, H, W).
    turned = x.ndim == 4 and moved == {1, 2}
    if turned:
        x = x.permute(0, 3, 1, 2)
        amounts = {axis + 1: amounts[axis] for axis in moved}
    padded = _padded(x, amounts, mode, value)
    return padded.permute(0, 2, 3, 1) if turned else padded


def _is_size(size: Any) -> bool:
    return not isinstance(size, int) or size != 0


def _padded(
    x: torch.Tensor, amounts: dict[int, tuple[Any, Any]], mode: str, value: float
) -> torch.Tensor:
    """Pad axes by amounts before and behind."""
    order: list[Any] = []
    for axis in reversed(range(x.ndim)):
        order.extend(amounts.get(axis, (0, 0)))
    while order and not any(map(_is_size, order[-2:])):
        del order[-2:]
    if not order:
        return x
    if mode == "constant":
        return functional.pad(x, order, "constant", float(value))
    return functional.pad(x, order + [0] * (2 * (x.ndim - 2) - len(order)), _MODES[mode])


def depth_to_space(call: Call) -> torch.Tensor:
    """Pixel shuffle, in both orders of the channels."""
    x, size = call.tensor(0), call.attribute("blocksize")
    if call.attribute("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(x, size)
    n, channels, height, width = x.shape
    each = channels // (size * size)
    x = x.reshape(n, size, size, each, height, width).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, each, height * size, width * size)


def space_to_depth(call: Call) -> torch.Tensor:
    """Blocks of pixels as channels."""
    x, size = call.tensor(0), call.attribute("blocksize")
    n, channels, height, width = x.shape
    x = x.reshape(n, channels, height // size, size, width // size, size)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(
        n, channels * size * size, height // size, width // size
    )


def resize(call: Call) -> torch.Tensor:
    """Interpolate: nearest by any rule, bilinear, and bicubic by centres or corners."""
    x = call.tensor(0)
    if x.ndim != 4:
        call.refuse(f"it reads a tensor of {x.ndim} axes", "use images (N, C, H, W)")
    old = call.node.op == "Upsample" or call.opset < 11
    turned = _channels_first(call, 1 if old else 2)
    if turned is not None:
        return resize(turned).permute(0, 2, 3, 1)
    scales, sizes = _targets(call, x, 1 if old else 2, None if old else 3)
    mode = call.attribute("mode", "nearest")
    centres = call.attribute("coordinate_transformation_mode",
                             "asymmetric" if old else "half_pixel")  # fmt: skip
    if call.attribute("antialias", 0) or call.attribute("exclude_outside", 0):
        call.refuse("it smooths, or leaves out what is outside", "set both options to 0")
    if mode == "nearest":
        return _nearest(call, x, scales, sizes, centres, old)
    if mode in ("linear", "bilinear") and centres == "asymmetric" and scales is not None:
        return _between_corners(call, x, scales)
    torch_mode = {"linear": "bilinear", "bilinear": "bilinear", "cubic": "bicubic"}.get(mode)
    aligned = centres == "align_corners"
    if torch_mode is None or not (aligned or centres in ("half_pixel", "pytorch_half_pixel")):
        call.refuse(
            f"it interpolates with mode {mode!r} and {centres!r} coordinates",
            "use half_pixel or align_corners coordinates",
        )
    if centres == "pytorch_half_pixel":
        # An axis of one entry takes the first one, not the middle.
        made = sizes or [math.floor(n * s) for n, s in zip(x.shape[2:], scales or (), strict=True)]
        if any(isinstance(size, int) and size == 1 for size in made):
            first = [slice(1) if isinstance(n, int) and n == 1 else slice(None) for n in made]
            x, sizes, scales = x[:, :, first[0], first[1]], made, None
    if mode == "cubic" and not math.isclose(call.attribute("cubic_coeff_a", -0.75), -0.75):
        call.refuse("its cubic kernel is not that of torch", "set cubic_coeff_a to -0.75")
    return functional.interpolate(
        x, size=sizes, scale_factor=scales, mode=torch_mode, align_corners=aligned
    )


def _between_corners(call: Call, x: torch.Tensor, scales: list[float]) -> torch.Tensor:
    """Bilinear interpolation where entry ``i`` of an axis becomes entry ``scale * i``.

    A transposed convolution puts the weights of the entries between two of the image around each.
    """
    if not all(float(scale).is_integer() and scale >= 1 for scale in scales):
        call.refuse(
            f"it interpolates by {scales} with 'asymmetric' coordinates",
            "use whole scales, or half_pixel or align_corners coordinates",
        )
    rows, columns = (int(scale) for scale in scales)
    slopes = [
        torch.tensor([1 - abs(place) / scale for place in range(1 - scale, scale)], dtype=x.dtype)
        for scale in (rows, columns)
    ]
    kernel = torch.outer(*slopes).repeat(x.shape[1], 1, 1, 1)
    # Beyond the last entry lies a copy of it.
    x = functional.pad(x, (0, 1, 0, 1), mode="replicate")
    y = functional.conv_transpose2d(
        x, kernel, stride=(rows, columns), padding=(rows - 1, columns - 1), groups=x.shape[1]
    )
    return y[:, :, :-1, :-1]


def _channels_first(call: Call, scales_at: int) -> Call | None:
    """Return the node for images ``(N, C, H, W)`` if it scales rows and columns of others.

    Parameters
    ----------
    call
        The node.
    scales_at
        Which input has its scales.
    """
    given = call.setting("scales", scales_at)
    if not given or len(given) != 4 or given[3] != 1 or given[1] == 1 or call.attribute("axes"):
        return None
    scales = [given[place] for place in (0, 3, 1, 2)]
    values = list(call.values)
    values[0] = call.tensor(0).permute(0, 3, 1, 2)
    node = call.node
    if "scales" in node.attributes:
        node = replace(node, attributes={**node.attributes, "scales": scales})
    else:
        values[scales_at] = np.array(scales)
    return Call(node, values, {}, call.keeps_tensors)


def _targets(
    call: Call, x: torch.Tensor, scales_at: int, sizes_at: int | None
) -> tuple[list[float] | None, list[Any] | None]:
    """Scales, or else sizes, of rows and columns."""
    given = call.setting("scales", scales_at)
    wanted = call.known(sizes_at).tolist() if sizes_at and call.has(sizes_at) else None
    axes = call.attribute("axes", range(4))
    if call.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        call.refuse("it keeps the aspect ratio", "give the sizes")
    if not given and not wanted:
        call.refuse("it has neither scales nor sizes", "give one of them")
    listed = {axis % 4: item for axis, item in zip(axes, given or wanted or [], strict=True)}
    unmoved = all(listed.get(a) in (None, 1 if given else x.shape[a]) for a in (0, 1))
    if not unmoved:
        call.refuse("it changes the number of channels", "resize rows and columns alone")
    pair = [listed.get(axis, 1 if given else x.shape[axis]) for axis in (2, 3)]
    if given and not all(1 / MAX_STATIC <= scale <= MAX_STATIC for scale in pair):
        call.refuse(f"it resizes by {pair}", "repair its scales")
    return (pair, None) if given else (None, pair)


def _nearest(
    call: Call, x: torch.Tensor, scales: list[float] | None, sizes: list[Any] | None,
    centres: str, old: bool,
) -> torch.Tensor:  # fmt: skip
    rule = call.attribute("nearest_mode", "floor" if old else "round_prefer_floor")
    if scales is None and sizes is not None:
        factors = [_factor(big, small) for big, small in zip(sizes, x.shape[2:], strict=True)]
        if None not in factors:
            scales = [float(factor) for factor in factors if factor is not None]
            if max(scales) > MAX_STATIC:
                call.refuse(f"it resizes by {scales}", "repair its sizes")
    if scales is not None and all(_is_plain(scale, centres, rule) for scale in scales):
        return functional.interpolate(x, scale_factor=scales, mode="nearest")
    for place, axis in enumerate((2, 3)):
        shift = None if scales is None else _shift(scales[place], centres, rule)
        if scales is not None and shift is not None:
            x = _shifted(x, axis, scales[place], shift)
            continue
        size = x.shape[axis]
        made = sizes[place] if sizes is not None else None
        if not isinstance(size, int) or not isinstance(made, int | None):
            call.refuse("it resizes to a size that is no multiple of a free one", "fix the size")
        if made is None:
            assert scales is not None
            made = math.floor(size * scales[place])
        ratio = scales[place] if scales is not None else made / size
        picked = _positions(call, size, made, ratio, centres, rule)
        if picked != list(range(size)):
            x = torch.index_select(x, axis, torch.tensor(picked))
    return x


def _is_plain(scale: float, centres: str, rule: str) -> bool:
    """Whether pixels are repeated, or every k-th one is taken, whatever the size of the image."""
    if rule not in _RULES or centres not in ("asymmetric", "half_pixel", "pytorch_half_pixel"):
        return False
    shift = 0.0 if centres == "asymmetric" else 0.5
    if scale >= 1:
        positions = [(place + shift) / scale - shift for place in range(int(scale))]
        return float(scale).is_integer() and not any(map(_RULES[rule], positions))
    # Of an axis of fewer entries than k nothing is left, so that the clamp at the end is not met.
    step = 1 / scale
    return step.is_integer() and _RULES[rule]((0 + shift) * step - shift) == 0


def _shift(scale: float, centres: str, rule: str) -> int | None:
    """By how many pixels of the larger image a plain choice has to be moved, None if none will do.

    Parameters
    ----------
    scale
        The result's size by the image's.
    centres, rule
        Coordinates and rounding.
    """
    if centres == "pytorch_half_pixel" and scale > 1:
        centres = "half_pixel"  # It differs where the result has one entry.
    if rule not in _RULES or centres not in ("asymmetric", "half_pixel"):
        return None
    centre = 0.0 if centres == "asymmetric" else 0.5
    if scale >= 1 and float(scale).is_integer():
        # Entry i is floor((i + s) / scale): each entry that lies one further moves the next ones.
        positions = [(place + centre) / scale - centre for place in range(int(scale))]
        return sum(map(_RULES[rule], positions))
    # Every k-th entry from s on; ONNX Runtime's float32 quotients are exact for powers of two.
    step = 1 / scale
    return _RULES[rule](centre * step - centre) if step in (2, 4, 8, 16, 32, 64) else None


def _shifted(x: torch.Tensor, axis: int, scale: float, shift: int) -> torch.Tensor:
    """Nearest pixels along an axis, moved by some pixels of the larger image; see `_shift`."""

    def cut(image: torch.Tensor, start: int, end: int) -> torch.Tensor:
        """Leave out entries at the start and at the end."""
        if not start and not end:
            return image
        bounds = slice(start, -end or None)
        return image[:, :, bounds] if axis == 2 else image[:, :, :, bounds]

    factors = [scale if place == axis else 1.0 for place in (2, 3)]
    if scale < 1:
        # As many entries are added behind, so that the size stays; none of them is chosen.
        x = cut(functional.pad(x, _beyond(axis, 0, shift), mode="replicate") if shift else x,
                shift, 0)  # fmt: skip
        return functional.interpolate(x, scale_factor=factors, mode="nearest")
    if not shift:
        return functional.interpolate(x, scale_factor=factors, mode="nearest")
    x = functional.pad(x, _beyond(axis, int(shift < 0), int(shift > 0)), mode="replicate")
    x = functional.interpolate(x, scale_factor=factors, mode="nearest")
    return cut(x, shift % int(scale), -shift % int(scale))


def _beyond(axis: int, before: int, behind: int) -> list[int]:
    """Return the padding of one axis as torch lists it."""
    return [before, behind, 0, 0] if axis == 3 else [0, 0, before, behind]


def _factor(large: int | torch.SymInt, small: int | torch.SymInt) -> int | None:
    """Return the whole number by which one size is larger than another, for images of any size."""
    factor = _example(large) // _example(small)
    rest = large - factor * small
    is_zero = rest == 0 if isinstance(rest, int) else rest.node.expr.is_zero
    return factor if is_zero else None


def _example(size: int | torch.SymInt) -> int:
    return size if isinstance(size, int) else int(size.node.hint)


_RULES: Final = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round_prefer_floor": lambda value: math.ceil(value - 0.5),
    "round_prefer_ceil": lambda value: math.floor(value + 0.5),
}


def _positions(
    call: Call, size: int, made: int, ratio: float, centres: str, rule: str
) -> list[int]:
    """Which entry of an axis each entry of the result is."""
    if not 1 <= made <= MAX_STATIC:
        call.refuse(f"it resizes an axis to {made}", "repair its scales")
    if rule not in _RULES:
        call.refuse(f"its nearest_mode is {rule!r}", f"use one of {', '.join(_RULES)}")
    found = []
    # ONNX Runtime computes them in float32, in which three times 0.33333334 is 1.
    half, scale = np.float32(0.5), np.float32(ratio)
    for place in map(np.float32, range(made)):
        if centres == "asymmetric":
            position = float(place / scale)
        elif centres == "half_pixel" or (centres == "pytorch_half_pixel" and made > 1):
            position = float((place + half) / scale - half)
        elif centres == "align_corners":
            position = float(place * np.float32(size - 1) / np.float32(made - 1 or 1))
        else:
            call.refuse(f"its coordinates are {centres!r}", "use half_pixel or asymmetric ones")
        found.append(min(max(_RULES[rule](position), 0), size - 1))
    return found


def constant_of_shape(call: Call) -> torch.Tensor:
    """Fill a tensor with one number."""
    value = call.attribute("value")
    number = 0.0 if value is None else np.asarray(value).item()
    return torch.full(tuple(call.setting("shape", 0)), number)


MOVEMENT: Final[dict[str, Translator]] = {
    "Concat": concat,
    "ConstantOfShape": constant_of_shape,
    "DepthToSpace": depth_to_space,
    "Dropout": dropout,
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Identity": identity,
    "Pad": pad,
    "Reshape": reshape,
    "Resize": resize,
    "Slice": slices,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Upsample": resize,
}
"""Translators by operation."""
