"""Converters of ops that only say how the axes of a tensor are read: they write no nodes.

Where an op needs an image or a vector, `Context.standard` writes the nodes that move the values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fxp.frontend.arrange import ArrangementError, arranged
from fxp.frontend.builder import Term
from fxp.frontend.context import Context, Converter, shape_of
from fxp.frontend.trace import difference
from fxp.frontend.views import Atom, Axes, Axis, count, fingerprints, merged, reshaped
from fxp.graph.ops import Flatten


def reshape(context: Context) -> Term:
    """Flatten, view, reshape, squeeze and unsqueeze."""
    term: Term = context["self"]
    wanted = context.result_shape
    if len(wanted) == len(term.torch_shape) and all(
        a is b or difference(a, b) == 0 for a, b in zip(wanted, term.torch_shape, strict=True)
    ):
        return term
    if wanted[0] != 1 and fingerprints(wanted[:1]) != (1,):
        context.refuse(
            f"it makes shape {tuple(wanted)} of {shape_of(term)}, which moves values to the batch "
            "axis", "keep images (1, C, H, W) and vectors (1, F), batch axis included",
        )  # fmt: skip
    sizes = fingerprints(wanted)
    axes = reshaped(term.axes, sizes)
    if axes is None:
        term = _one_axis(context, term)
        axes = reshaped(term.axes, sizes)
        assert axes is not None
    if (
        len(wanted) == 2
        and len(term.shape) == 3
        and term.shape[1:] != (1, 1)
        and (axes == _natural(term))
    ):
        return context.emit(Flatten(), term.base)
    return term.viewed(axes, wanted)


def _natural(term: Term) -> Axes:
    """Axes of the flattened value: channel by channel, row by row."""
    own = term.base.axes
    return ((), merged(atom for axis in own for atom in axis))


def _one_axis(context: Context, term: Term) -> Term:
    """Write the entries of a view in order as a vector, whose one axis can be split anywhere."""
    flat = merged(atom for axis in term.axes for atom in axis)
    try:
        vector = arranged(context.helper, term.base, ((), flat))
    except ArrangementError as error:
        context.refuse(
            f"it makes shape {tuple(context.result_shape)} of {shape_of(term)}; {error}",
            "split and merge whole factors of the axes",
            size_dependent=error.size_dependent,
        )
    features = int(vector.shape[0])  # type: ignore[arg-type]
    return Term(vector.name, vector.shape, (1, features))


def _reordered(context: Context, order: Sequence[int]) -> Term:
    term: Term = context["self"]
    return term.viewed(tuple(term.axes[axis] for axis in order), context.result_shape)


def permute(context: Context) -> Term:
    """Order the axes anew."""
    rank = len(context.result_shape)
    return _reordered(context, [axis % rank for axis in context["dims"]])


def transpose(context: Context) -> Term:
    """Exchange two axes."""
    rank = len(context.result_shape)
    first, second = context["dim0"] % rank, context["dim1"] % rank
    order = list(range(rank))
    order[first], order[second] = second, first
    return _reordered(context, order)


def transpose_last(context: Context) -> Term:
    """Exchange the last two axes."""
    rank = len(context.result_shape)
    return _reordered(context, [*range(rank - 2), *range(rank)[:-3:-1]])


def expand(context: Context) -> Term:
    """Repeat axes of size 1."""
    term: Term = context["self"]
    wanted = context.result_shape
    before, after = fingerprints(term.torch_shape), fingerprints(wanted)
    new = len(after) - len(before)
    axes = tuple(
        _repeated((), size) if axis < new or before[axis - new] != size else term.axes[axis - new]
        for axis, size in enumerate(after)
    )
    return term.viewed(axes, wanted)


def _repeated(axis: Axis, times: int) -> Axis:
    return merged((Atom(None, times, 0), *axis))


def repeat(context: Context) -> Term:
    """Repeat the whole of every axis."""
    term: Term = context["self"]
    times = fingerprints(context.arguments.get("repeats") or context["dims"])
    new = len(times) - len(term.axes)
    times = (1,) * -new + times
    axes = (((),) * new) + term.axes
    return term.viewed(tuple(map(_repeated, axes, times)), context.result_shape)


def repeat_interleave(context: Context) -> Term:
    """Repeat every entry of an axis."""
    term: Term = context["self"]
    if context["dim"] is None:
        context.refuse("it flattens its input", "name the axis: dim=1, 2 or 3")
    (times,) = fingerprints([context["repeats"]])
    axes = list(term.axes)
    dim = context["dim"] % len(axes)
    axes[dim] = merged((*axes[dim], Atom(None, times, 0)))
    return term.viewed(tuple(axes), context.result_shape)


def channel_shuffle(context: Context) -> Term:
    """Channels of several groups in turn (Zhang et al., ShuffleNet, CVPR 2018)."""
    term: Term = context["self"]
    groups = context["groups"]
    axes = term.axes
    parts = reshaped((axes[1],), (groups, count(axes[1]) // groups))
    if parts is None:
        context.refuse("its channels are ordered anew before", "shuffle them once")
    axes = (axes[0], merged((*parts[1], *parts[0])), *axes[2:])
    return term.viewed(axes, context.result_shape)


def order_of(axis: Axis) -> np.ndarray:
    """Entries of the source that an axis of one source runs over."""
    places = np.zeros(1, dtype=np.int64)
    for atom in axis:
        places = (places[:, None] + atom.stride * np.arange(atom.size)).ravel()
    return places


RESHAPING: dict[str, Converter] = {
    **dict.fromkeys(
        (
            "aten.flatten.using_ints", "aten.view.default", "aten.reshape.default",
            "aten._unsafe_view.default", "aten.squeeze.default", "aten.squeeze.dim",
            "aten.squeeze.dims", "aten.unsqueeze.default", "aten.unflatten.int",
        ),
        reshape,
    ),
    "aten.permute.default": permute,
    "aten.transpose.int": transpose,
    "aten.swapaxes.default": transpose,
    "aten.t.default": transpose_last,
    "aten.mT.default": transpose_last,
    "aten.expand.default": expand,
    "aten.repeat.default": repeat,
    "aten.tile.default": repeat,
    "aten.repeat_interleave.self_int": repeat_interleave,
    "aten.channel_shuffle.default": channel_shuffle,
    "aten.native_channel_shuffle.default": channel_shuffle,
}  # fmt: skip
"""Converters by aten op and overload."""
