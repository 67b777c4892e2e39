"""Layers that work along the last axis of a tensor, such as ``nn.Linear`` on ``(N, H, W, C)``."""

from __future__ import annotations

import math
from collections.abc import Callable

from fxp.frontend.arrange import ArrangementError, arranged
from fxp.frontend.builder import Term
from fxp.frontend.context import Context, shape_of
from fxp.frontend.selection import with_channels
from fxp.frontend.views import count, merged, of_source, renumbered, replaced, whole


def last_axis_as_channels(context: Context, term: Term) -> tuple[Term, Callable[[Term], Term]]:
    """Return an image whose channels are the last axis of a tensor, without moving anything else.

    Parameters
    ----------
    context
        The op.
    term
        A tensor of at least three axes.

    Returns
    -------
    image
        Every other axis lies on its rows and columns.
    restore
        Views an image of the same rows and columns, with any channels, in the order of the tensor.
    """
    axes = with_channels(context, term, len(term.axes) - 1)
    base, last = axes.base, axes.axes[-1]
    others = [atom for atom in of_source(axes.axes, 0) if atom not in last]
    rows, columns = ([*of_source(axes.axes, source)] for source in (1, 2))
    image, mapped = base, axes.axes
    if others or len(base.shape) == 1 or last != base.axes[1]:
        target = ((), last, (*others, *rows), tuple(columns))
        try:
            made = arranged(context.helper, base, target)
        except ArrangementError as error:
            context.refuse(
                f"it works along the last axis of {shape_of(term)}: {error}",
                "work along channels, with a 1x1 nn.Conv2d",
                size_dependent=error.size_dependent,
            )
        sizes = [*base.torch_shape, 1, 1][:4]
        sizes[1] = count(last)
        sizes[2] = sizes[2] * math.prod(atom.size for atom in others)
        image = Term(made.name, made.shape, tuple(sizes))
        mapped = replaced(axes.axes, renumbered([*others, *rows], 1) | renumbered(columns, 2))

    def restore(result: Term) -> Term:
        channels = whole(0, int(result.shape[0]))  # type: ignore[arg-type]
        return result.viewed((*map(merged, mapped[:-1]), channels), context.result_shape)

    return image, restore
