"""Groups of channels that a model names by splitting the axis of the channels.

``x.view(N, groups, C // groups, H, W).std(2)`` and its like read some parts of an axis together.
Here such a view becomes a value whose channels lie group by group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fxp.frontend.arrange import ArrangementError, arranged
from fxp.frontend.builder import Term
from fxp.frontend.context import Context
from fxp.frontend.views import Atom, Axes, of_source, renumbered, replaced
from fxp.graph.ops.statistics import Scope


@dataclass(frozen=True)
class Groups:
    """What an op over some axes of a tensor reads together.

    Attributes
    ----------
    value
        The image or vector that the tensor is a view of, its channels group by group.
    count
        Number of groups.
    scope
        Whether rows and columns are read together, too.
    axes
        What the axes of the tensor run over in a result of one channel per group; nothing for those
        that the op is over.
    """

    value: Term
    count: int
    scope: Scope
    axes: Axes


def _parts(term: Term, dims: frozenset[int]) -> tuple[list[Atom], list[Atom], Scope] | None:
    """Channels outside and inside of some axes; None if these are no groups of channels."""
    base = term.base
    outside = [atom for dim, axis in enumerate(term.axes) if dim not in dims for atom in axis]
    inside = [atom for dim, axis in enumerate(term.axes) if dim in dims for atom in axis]
    if len(base.torch_shape) != len(base.shape) + 1 or any(a.source is None for a in inside):
        return None
    scope: Scope
    if not any(atom.source for atom in inside):
        scope = "pixel"
    elif not any(atom.source for atom in outside):
        scope = "image"
    else:
        return None
    return (
        [atom for atom in outside if atom.source == 0],
        [atom for atom in inside if atom.source == 0],
        scope,
    )


def _arranged(context: Context, term: Term, axes: Axes) -> Term | None:
    try:
        return arranged(context.helper, term.base, axes)
    except ArrangementError:
        return None


def grouped(context: Context, term: Term, dims: frozenset[int]) -> Groups | None:
    """Return the groups of channels that axes of a tensor are; None if they are something else.

    Parameters
    ----------
    context
        The op.
    term
        The tensor.
    dims
        Its axes that the op is over.
    """
    found = _parts(term, dims)
    if found is None:
        return None
    outside, inside, scope = found
    rest = [tuple(of_source(term.axes, source)) for source in range(1, len(term.base.shape))]
    made = _arranged(context, term, ((), (*outside, *inside), *rest))
    if made is None or made.shape != term.base.shape:
        return None
    value = Term(made.name, made.shape, term.base.torch_shape)
    count = math.prod(atom.size for atom in outside)
    kept = tuple(() if dim in dims else axis for dim, axis in enumerate(term.axes))
    return Groups(value, count, scope, replaced(kept, renumbered(outside, 0)))


def groups_on_rows(context: Context, term: Term, dims: frozenset[int]) -> Groups | None:
    """Return whole groups of channels as the channels of an image, each with its own on rows.

    So a sum over a group is one over rows and columns. None if the axes are something else.

    Parameters
    ----------
    context
        The op.
    term
        The tensor.
    dims
        Its axes that the op is over.
    """
    found = _parts(term, dims)
    outer = [axis for dim, axis in enumerate(term.axes) if dim not in dims]
    if found is None or not found[1] or any(atom.source for axis in outer for atom in axis):
        return None
    outside, inside, _ = found
    rows, columns = (tuple(of_source(term.axes, source)) for source in (1, 2))
    made = _arranged(context, term, ((), tuple(outside), (*inside, *rows), columns))
    if made is None:
        return None
    count, length = (math.prod(atom.size for atom in atoms) for atoms in (outside, inside))
    sizes = [*term.base.torch_shape[2:], 1, 1][:2]
    value = Term(made.name, made.shape, (1, count, sizes[0] * length, sizes[1]))
    kept = tuple(() if dim in dims else axis for dim, axis in enumerate(term.axes))
    return Groups(value, count, "image", replaced(kept, renumbered(outside, 0)))
