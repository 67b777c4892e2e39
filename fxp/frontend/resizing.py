"""Converters of interpolation, and of pooling to a given size."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from typing import Any, Final

import torch
from sympy import Integer

from fxp.frontend.builder import Term
from fxp.frontend.context import Context, Converter
from fxp.frontend.layers import image_of
from fxp.frontend.trace import Size, difference, example_size
from fxp.graph.ops import (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    GlobalAveragePool,
    GlobalMaxPool,
    Interpolate,
    MaxPool,
    Nearest,
    Op,
    ReduceMax,
    ReduceMean,
    Slice,
)
from fxp.graph.ops.interpolation import Interpolation

MAX_DENOMINATOR: Final = 1024
"""A scale factor counts as a ratio of integers up to about this one."""
MAX_NEAREST: Final = 64
"""Largest factor of `Nearest`."""
_FACTORS: Final = (2, 3, 4, 8, 16, 32)
"""Multiples and parts of known sizes that are recognized."""
_PROBED: Final = 256
"""Periods of a ratio over which positions of a free size are compared with torch's."""
_TORCH_MODES: Final[dict[Interpolation, str]] = {
    "nearest": "nearest",
    "nearest_exact": "nearest-exact",
}


def _scales(context: Context) -> list[float] | None:
    """Scale factors for rows and columns, if they are given."""
    arguments = context.arguments
    rows, columns = arguments.get("scale_factors") or (
        arguments.get("scales_h"),
        arguments.get("scales_w"),
    )
    return None if rows is None or columns is None else [float(rows), float(columns)]


def _ratio(scale: float | None, source: Size, result: Size) -> Fraction | None:
    """Ratio of the sizes that holds for every size; None if there is none, or it is not rational.

    Parameters
    ----------
    scale
        The scale factor, if it is given.
    source, result
        The sizes.
    """
    if scale is not None:
        ratio = Fraction(scale).limit_denominator(MAX_DENOMINATOR)
        return ratio if abs(float(ratio) - scale) <= 1e-7 * scale else None
    if isinstance(source, int) and isinstance(result, int):
        return Fraction(result, source)
    factor, rest = divmod(example_size(result), example_size(source))
    # A wanted size that only happens to be a multiple in the example must not pass.
    whole = rest == 0 and factor >= 1 and difference(result, source * factor) == 0
    return Fraction(factor) if whole else None


def _interpolated(context: Context, mode: Interpolation, align_corners: bool = False) -> Term:
    """Emit the op that enlarges or reduces the image."""
    arguments = context.arguments
    image = image_of(context, "input" if "input" in arguments else "self")
    if arguments.get("scale_factors") is None and arguments.get("output_size") is None:
        context.refuse("it has neither size nor factor", "give scale_factor")
    sources, results = image.torch_shape[2:], context.result_shape[2:]
    scales = _scales(context)
    ratios = [
        _ratio(scale, source, result)
        for scale, source, result in zip(scales or (None, None), sources, results, strict=True)
    ]
    if None not in ratios:
        return _by_ratio(context, image, mode, align_corners, ratios)  # type: ignore[arg-type]
    if scales is not None:
        context.refuse(
            f"its scale factors are {scales}",
            "give a ratio of small integers, or the size, or set recompute_scale_factor=True",
        )
    if all(isinstance(result, int) for result in results):
        size = (int(results[0]), int(results[1]))
        return context.emit(Interpolate(mode, size=size, align_corners=align_corners), image)
    like = _of_size(context, results)
    if like is None:
        context.refuse(
            f"it enlarges {sources[0]} x {sources[1]} to {results[0]} x {results[1]}, which is no "
            "whole multiple for every size",
            "give a scale factor, or the size of another image, size=other.shape[2:]",
            size_dependent=True,
        )
    return context.emit(Interpolate(mode, align_corners=align_corners), image, like)


def _of_size(context: Context, sizes: Sequence[Size]) -> Term | None:
    """Return an image that has so many rows and columns at every size, if there is one.

    Where only a multiple or a part of an image's size is wanted, such as ``x.shape[2] // 2``, one
    channel of that image is resized; nothing reads its values.
    """
    images = [
        term
        for term in reversed(context.builder.terms.values())
        if len(term.torch_shape) == 4 and len(term.shape) == 3 and term.view is None
    ]
    for term in images:
        if _all_equal(term.torch_shape[2:], sizes):
            return term
    for term, factor in product(images, _FACTORS):
        known = term.torch_shape[2:]
        if _all_equal([size * factor for size in known], sizes):
            op = Interpolate("nearest", (factor, factor))
        elif _all_equal([size // factor for size in known], sizes):
            op = Interpolate("nearest", (1, 1), (factor, factor))
        else:
            continue
        return context.helper(op, context.helper(Slice("channel", 0, 1), term))
    return None


def _all_equal(sizes: Sequence[Size], others: Sequence[Size]) -> bool:
    """Whether sizes are equal whatever the free ones are."""
    return all(difference(one, other) == 0 for one, other in zip(sizes, others, strict=True))


def _by_ratio(
    context: Context,
    image: Term,
    mode: Interpolation,
    align_corners: bool,
    ratios: Sequence[Fraction],
) -> Term:
    rows, columns = ratios
    if rows == columns == 1:
        return context.reshaped(image)
    if mode in _TORCH_MODES:
        for ratio, source in zip(ratios, image.torch_shape[2:], strict=True):
            _check_positions(context, mode, ratio, source)
    if not align_corners and rows == columns:
        op = _plain(mode, rows)
        if op is not None:
            return context.emit(op, image)
    numerators = (rows.numerator, columns.numerator)
    denominators = (rows.denominator, columns.denominator)
    op = Interpolate(mode, numerators, denominators, align_corners=align_corners)
    return context.emit(op, image)


def _plain(mode: Interpolation, ratio: Fraction) -> Op | None:
    """Return the op of its own that an interpolation by a ratio equals, if there is one."""
    if mode in _TORCH_MODES and ratio.denominator == 1 and ratio <= MAX_NEAREST:
        return Nearest(ratio.numerator)
    if mode == "bilinear" and ratio == 2:
        return BilinearUpsample()
    if mode == "bilinear" and ratio == Fraction(1, 2):
        return AveragePool((2, 2), (2, 2))
    if mode == "bicubic" and ratio == 2:
        return BicubicUpsample(parameter=-0.75, border="replicate")
    return None


def _check_positions(context: Context, mode: Interpolation, ratio: Fraction, source: Size) -> None:
    """Refuse a ratio where rounding in torch's float32 picks other pixels than the ratio does."""
    size = source if isinstance(source, int) else ratio.denominator * _PROBED
    pixels = torch.arange(size, dtype=torch.float32).reshape(1, 1, size, 1)
    found = torch.nn.functional.interpolate(
        pixels, scale_factor=(float(ratio), 1.0), mode=_TORCH_MODES[mode]
    ).flatten()
    outputs = torch.arange(len(found))
    twice = 2 * outputs + (mode == "nearest_exact")
    wanted = (twice * ratio.denominator) // (2 * ratio.numerator)
    if not torch.equal(found.long(), wanted.clamp(max=size - 1)):
        context.refuse(
            f"at a ratio of {ratio} the rounding of float32 decides which pixels it takes",
            'use mode="nearest-exact", or another ratio',
        )


def nearest(context: Context) -> Term:
    """Nearest-neighbour interpolation by any ratio, or to any size."""
    return _interpolated(context, "nearest")


def nearest_exact(context: Context) -> Term:
    """Nearest-neighbour interpolation of pixel centres, by any ratio or to any size."""
    return _interpolated(context, "nearest_exact")


def bilinear(context: Context) -> Term:
    """Bilinear interpolation by any ratio, or to any size, with or without aligned corners."""
    return _interpolated(context, "bilinear", context["align_corners"])


def bicubic(context: Context) -> Term:
    """Bicubic interpolation with the kernel torch uses, by any ratio or to any size."""
    return _interpolated(context, "bicubic", context["align_corners"])


def _adaptive(
    context: Context,
    window: type[AveragePool] | type[MaxPool],
    line: type[ReduceMean] | type[ReduceMax],
    whole: Op,
    any_size: type[AdaptiveAveragePool] | type[AdaptiveMaxPool],
) -> Term:
    """Emit a pooling to a given size.

    Parameters
    ----------
    context
        The op.
    window
        Pools windows of one size.
    line
        Reduces whole rows or columns.
    whole
        Reduces the whole image.
    any_size
        Pools windows that differ in size.
    """
    image = image_of(context, "self")
    wanted: Any = list(context["output_size"])
    wanted = tuple(wanted * 2 if len(wanted) == 1 else wanted)
    if wanted == (1, 1):
        return context.emit(whole, image)
    pixels = [
        _pixels(source, count) for source, count in zip(image.torch_shape[2:], wanted, strict=True)
    ]
    if pixels[0] is not None and pixels[1] is not None:
        sizes = (pixels[0], pixels[1])
        made = context.emit(window(window=sizes, stride=sizes), image)
        # Where a window would be left over, torch takes windows that overlap.
        whole_windows = tuple(s * k for s, k in zip(made.shape[1:], sizes, strict=True))
        context.builder.unify(image.shape[1:], whole_windows)
        return made
    enlarged = _repeated(context, image, wanted)
    if enlarged is not None:
        return enlarged
    if all(isinstance(count, int) for count in wanted):
        return context.emit(any_size(wanted), image)
    kept = [axis for axis in (0, 1) if pixels[axis] == 1 and wanted[1 - axis] == 1]
    if not kept:
        context.refuse(
            f"adaptive pooling to {wanted[0]} x {wanted[1]} moves with the image size",
            "use a fixed output size, or a pooling with a fixed window",
            size_dependent=True,
        )
    return context.emit(line(channels=False, rows=kept[0] == 1, columns=kept[0] == 0), image)


def _pixels(source: Size, count: Size) -> int | None:
    """Pixels of every window along an axis, if they are equally many wherever that is possible."""
    pixels, rest = divmod(example_size(source), example_size(count))
    return pixels if rest == 0 and _is_part(count, source, pixels) else None


def _is_part(part: Size, whole: Size, times: int) -> bool:
    """Whether a size is a whole part of another at every size that is such a multiple."""
    if difference(whole, part * times) == 0:
        return True
    if times == 1 or isinstance(part, int) or isinstance(whole, int):
        return False
    symbols = part.node.expr.free_symbols | whole.node.expr.free_symbols
    if len(symbols) != 1:
        return False
    # Torch writes x.shape[2] * 0.5 with roundings that no algebra undoes.
    compared = 0
    for number in range(1, _PROBED * times + 1):
        sizes = dict.fromkeys(symbols, Integer(number))
        large, small = (size.node.expr.xreplace(sizes) for size in (whole, part))
        if large > 0 and large % times == 0:
            compared += 1
            if small * times != large:
                return False
    return compared > 1


def _repeated(context: Context, image: Term, wanted: Sequence[Size]) -> Term | None:
    """Repeat pixels, which is what windows do that are parts of a pixel; None if some are not."""
    sources = image.torch_shape[2:]
    pairs = list(zip(wanted, sources, strict=True))
    factors = [example_size(result) // example_size(source) for result, source in pairs]
    if min(factors) < 1 or max(factors) > MAX_NEAREST:
        return None
    if not all(
        example_size(result) == example_size(source) * factor and _is_part(source, result, factor)
        for (result, source), factor in zip(pairs, factors, strict=True)
    ):
        return None
    like = _of_size(context, wanted)
    made = _by_ratio(context, image, "nearest", False, [Fraction(factor) for factor in factors])
    if like is not None:
        context.builder.unify(like.shape[1:], made.shape[1:])
    return made


def adaptive_average_pool(context: Context) -> Term:
    """Average pooling to any fixed size, or of whole rows or columns."""
    return _adaptive(context, AveragePool, ReduceMean, GlobalAveragePool(), AdaptiveAveragePool)


def adaptive_max_pool(context: Context) -> tuple[Term]:
    """Max pooling to any fixed size, or of whole rows or columns."""
    # One result of two; the indices are refused where something reads them.
    return (_adaptive(context, MaxPool, ReduceMax, GlobalMaxPool(), AdaptiveMaxPool),)


RESIZING: Final[dict[str, Converter]] = {
    "aten.adaptive_avg_pool2d.default": adaptive_average_pool,
    "aten.adaptive_max_pool2d.default": adaptive_max_pool,
    "aten.upsample_nearest2d.vec": nearest,
    "aten.upsample_nearest2d.default": nearest,
    "aten._upsample_nearest_exact2d.vec": nearest_exact,
    "aten._upsample_nearest_exact2d.default": nearest_exact,
    "aten.upsample_bilinear2d.vec": bilinear,
    "aten.upsample_bilinear2d.default": bilinear,
    "aten.upsample_bicubic2d.vec": bicubic,
    "aten.upsample_bicubic2d.default": bicubic,
}
"""Converters by aten op and overload."""
