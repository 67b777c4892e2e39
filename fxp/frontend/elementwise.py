"""Element-wise ops on views: they work on the viewed value, and the result is viewed alike."""

from __future__ import annotations

from typing import Any, Final

from fxp.frontend.activations import ACTIVATIONS
from fxp.frontend.arithmetic import ARITHMETIC
from fxp.frontend.builder import KnownTensor, Term
from fxp.frontend.context import Context, Converter, shape_of
from fxp.frontend.pull_back import PullBackError, collapsed, constant_in_frame, in_frame
from fxp.frontend.quantizer_marks import MARKS
from fxp.frontend.views import Axes, count, fingerprints

ELEMENTWISE: Final = frozenset({*ACTIVATIONS, *ARITHMETIC, *MARKS}) - {"aten.prelu.default"}
"""Ops that treat all entries alike; a PReLU has a slope for every channel."""
CHANNELWISE: Final = frozenset(
    ("aten.prelu.default", "aten.batch_norm.default",
     "aten._native_batch_norm_legit_no_training.default")
)  # fmt: skip
"""Ops that treat all entries of a channel alike."""


def on_views(context: Context, converter: Converter) -> Any:
    """Run a converter; if it is element-wise and reads views, on the values they are views of.

    Parameters
    ----------
    context
        The op and its arguments.
    converter
        Writes its nodes.
    """
    terms = {name: item for name, item in context.arguments.items() if isinstance(item, Term)}
    if str(context.node.target) in CHANNELWISE:
        return _channelwise(context, converter, terms)
    if (
        str(context.node.target) not in ELEMENTWISE
        or "dim" in context.arguments
        or all(term.view is None for term in terms.values())
    ):
        return converter(context)
    wanted = fingerprints(context.result_shape)
    terms = _without_repetitions(terms)
    frame = _frame(terms, wanted)
    if frame is None:
        return converter(context.with_arguments(terms))
    try:
        arguments: dict[str, Any] = {}
        for name, item in context.arguments.items():
            if name in terms:
                arguments[name] = in_frame(frame, terms[name])
            elif isinstance(item, KnownTensor):
                arguments[name] = constant_in_frame(frame, item)
    except PullBackError:
        shapes = " and ".join(shape_of(term) for term in terms.values())
        context.refuse(
            f"it combines {shapes}, whose axes are split in ways that do not go together",
            "combine them before the axes are merged or ordered anew",
        )
    result = converter(context.with_arguments(arguments, frame.base.torch_shape))
    return result.viewed(frame.axes, context.result_shape)


def _channelwise(context: Context, converter: Converter, terms: dict[str, Term]) -> Any:
    """Run a converter on the image of a tensor whose second axis holds its channels."""
    (name, term), *others = terms.items()
    base = term.base
    if others or term.view is None or len(base.shape) != 3 or term.axes[1] != base.axes[1]:
        return converter(context)
    result = converter(context.with_arguments({name: base}, base.torch_shape))
    if isinstance(result, tuple):
        return tuple(item.viewed(term.axes, context.result_shape) for item in result)
    return result.viewed(term.axes, context.result_shape)


def _without_repetitions(terms: dict[str, Term]) -> dict[str, Term]:
    """Leave out repetitions along axes that another operand has; the ops repeat by themselves."""
    found = {}
    for name, term in terms.items():
        others: dict[int, int] = {}
        for other in terms:
            if other != name:
                others |= _sizes_with_values(terms[other].axes)
        found[name] = collapsed(term, others)
    return found


def _sizes_with_values(axes: Axes) -> dict[int, int]:
    """By axis from the end, the size of axes that do not repeat."""
    return {
        place - len(axes): count(axis)
        for place, axis in enumerate(axes)
        if any(atom.source is not None for atom in axis)
    }


def _frame(terms: dict[str, Term], wanted: tuple[int, ...]) -> Term | None:
    """Operand of the full size whose value is worked on, one that is no view if there is any."""
    full = [
        term
        for term in terms.values()
        if fingerprints(term.torch_shape) == wanted
        and all(atom.source is not None for axis in term.axes for atom in axis)
        and not any(term.axes[:1])
    ]
    plain = [term for term in full if term.view is None]
    return None if plain else next(iter(full), None)
