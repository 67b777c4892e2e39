"""What the converters write to: nodes, constants and unique, readable names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from fxp.frontend.derivation import Derivation, Source
from fxp.frontend.trace import Size, substituted
from fxp.frontend.views import Axes, fingerprint, whole
from fxp.graph import Constant, Node
from fxp.graph.extents import Extent, Shape
from fxp.graph.ops import Flatten, MaxPoolIndices, Op

MAX_NAME = 190
"""Room is left below the 200 characters of a graph's names for a suffix."""

MAX_FACTOR = 64
"""Images are at most asked to be a multiple of this, six halvings."""


@dataclass(frozen=True)
class Term:
    """A value of the graph with the shape torch gives it.

    Attributes
    ----------
    name, shape
        Name and shape in the graph.
    torch_shape
        Shape in the model, with the batch axis. A ``(C, 1, 1)`` image whose torch shape is
        ``(1, C)`` is flattened only when an op wants the vector.
    view
        What each axis of the tensor runs over if the tensor is not the value itself.
    base_shape
        If it is a view, the torch shape of the value itself.
    """

    name: str
    shape: Shape
    torch_shape: tuple[Size, ...]
    view: Axes | None = field(default=None, kw_only=True)
    base_shape: tuple[Size, ...] = field(default=(), kw_only=True)

    @property
    def axes(self) -> Axes:
        """What each axis of the tensor runs over."""
        return self.own_axes(self.torch_shape) if self.view is None else self.view

    @property
    def base(self) -> Term:
        """The value itself."""
        return self if self.view is None else Term(self.name, self.shape, self.base_shape)

    def own_axes(self, torch_shape: Sequence[Size]) -> Axes:
        """Return the axes of the value itself, in as many axes as its torch shape has."""
        sizes = [fingerprint(size) for size in torch_shape[1:]]
        return ((), *(whole(source, size) for source, size in enumerate(sizes)))

    def viewed(self, axes: Axes, torch_shape: Sequence[Size]) -> Term:
        """Return another view of the value.

        Parameters
        ----------
        axes
            What each axis runs over.
        torch_shape
            Shape of the tensor.
        """
        base, torch_shape = self.base, tuple(torch_shape)
        standard = len(torch_shape) == len(base.shape) + 1 and axes == base.own_axes(torch_shape)
        if standard:
            return Term(self.name, self.shape, torch_shape)
        return Term(self.name, self.shape, torch_shape, view=axes, base_shape=base.torch_shape)


@dataclass(frozen=True)
class PoolIndices(Term):
    """Indices of a max pooling, which count within the window and not, as torch's, in the image.

    Attributes
    ----------
    op, image
        What they come from.
    """

    op: MaxPoolIndices
    image: Term


@dataclass(frozen=True)
class KnownTensor:
    """A tensor known before the model runs.

    Attributes
    ----------
    tensor
        Its value; float64 if it is floating point.
    key
        State-dict key if the tensor is a parameter or buffer, else None.
    order
        What tells its order of elements from that of the parameter, if it differs.
    source
        How it follows from the tensors of the model; by default it is fixed.
    """

    tensor: torch.Tensor
    key: str | None = None
    order: str = ""
    source: Source | None = None

    def derived(self, function: Callable[..., torch.Tensor], *arguments: Any) -> KnownTensor:
        """Return a function of it and of further arguments, without key."""
        source = self.tensor if self.source is None else self.source
        return KnownTensor(
            function(self.tensor, *arguments), source=Derivation(function, (source, *arguments))
        )


@dataclass(frozen=True)
class FilledTensor:
    """A tensor that holds one number everywhere, and whose size may be free.

    Attributes
    ----------
    value
        The number.
    torch_shape
        Shape in the model.
    """

    value: float
    torch_shape: tuple[Size, ...]


class UnifySizesError(Exception):
    """Two sizes that the model needs to be equal are not, but can be made so.

    Attributes
    ----------
    symbol, extent
        What has to stand for the symbol: an extent of another one, or a multiple of itself.
    factor
        The multiple, or 1.
    """

    def __init__(self, symbol: str, extent: Extent, factor: int = 1) -> None:
        super().__init__(f"{symbol} = {extent}")
        self.symbol = symbol
        self.extent = extent
        self.factor = factor


class Builder:
    """Collects nodes and constants; no name is given twice.

    Parameters
    ----------
    reserved
        State-dict keys, so that no node takes their names.
    symbol_order
        Names of the free sizes; of two that must be equal the later is replaced.
    """

    def __init__(self, reserved: Sequence[str], symbol_order: Sequence[str]) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, Constant] = {}
        self.terms: dict[str, Term] = {}
        """Every value by name, those of the model's inputs included."""
        self._taken: set[str] = set()
        # A key that is a valid name keeps it, whatever other keys are cleaned to.
        in_order = sorted(reserved, key=lambda key: clean_name(key) != key)
        self._names_of_keys = {key: self.unique(key) for key in dict.fromkeys(in_order)}
        self._keyed: dict[tuple[str, str, tuple[int, ...]], str] = {}
        self._flattened: dict[str, Term] = {}
        self.arranged: dict[tuple[str, Axes], Term] = {}
        """Values that hold the entries of views, by the viewed value and the axes."""
        self._order = list(symbol_order)

    def unique(self, wanted: str) -> str:
        """Return a free name close to the wanted one, and take it."""
        base = clean_name(wanted)
        name, count = base, 0
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

    def constant(self, weights: KnownTensor, shape: Sequence[int], wanted: str) -> str:
        """Enter a constant and return its name: the state-dict key, or else the wanted name.

        Parameters
        ----------
        weights
            The tensor, of any real dtype; it is stored as float64.
        shape
            Sizes to reshape it to.
        wanted
            Name of a tensor without a key; a number is added to it if it is taken.
        """
        shape = tuple(int(size) for size in shape)
        if weights.key is not None and (weights.key, weights.order, shape) in self._keyed:
            return self._keyed[weights.key, weights.order, shape]
        data = weights.tensor.detach().cpu().to(torch.float64).reshape(shape).numpy()
        key = weights.key
        if key is None:
            name = self.unique(wanted)
        else:
            # The first tensor of a key has its name.
            name = self._names_of_keys.pop(key, None) or self.unique(key)
            self._keyed[key, weights.order, shape] = name
        source = weights.tensor if weights.source is None else weights.source
        derivation = Derivation(torch.reshape, (source, shape))
        own = np.array(data, dtype=np.float64)
        own.setflags(write=False)
        self.constants[name] = Constant(name, own, (), derivation)
        return name

    def emit(
        self,
        op: Op,
        operands: Sequence[Term | str],
        wanted: str,
        origin: str,
        torch_shape: tuple[int | torch.SymInt, ...],
    ) -> Term:
        """Append a node and return its value; constants are given by name.

        Parameters
        ----------
        op
            The op with its attributes.
        operands
            Values, and names of constants, in the order of the op's inputs.
        wanted
            Name of the node; a number is added to it if it is taken.
        origin
            Where the node comes from in the user's model, for messages.
        torch_shape
            Sizes of the tensor in torch that the value stands for.

        Raises
        ------
        GraphError
            If the shapes do not fit.
        UnifySizesError
            If they would fit once two free sizes are made one.
        """
        names = tuple(item if isinstance(item, str) else item.name for item in operands)
        shapes = [
            self.constants[item].data.shape if isinstance(item, str) else item.shape
            for item in operands
        ]
        images = [item.shape for item in operands if isinstance(item, Term)]
        for image in images[1:] if op.equal_sizes else ():
            self.unify(images[0], image)
        shape = op.shape(*shapes)
        name = self.unique(wanted)
        self.nodes.append(Node(name, op, names, origin=origin))
        self.terms[name] = Term(name, shape, torch_shape)
        return self.terms[name]

    def flattened(self, term: Term, origin: str) -> Term:
        """Return a ``(C, 1, 1)`` image as a vector; one node however often it is asked for."""
        if term.name not in self._flattened:
            self._flattened[term.name] = self.emit(
                Flatten(), [term], f"{term.name}.flatten", origin, term.torch_shape
            )
        return self._flattened[term.name]

    def unify(self, left: Shape, right: Shape) -> None:
        """Raise `UnifySizesError` if two shapes differ, but would not once two sizes are one."""
        for a, b in zip(left, right, strict=False):
            if not (isinstance(a, Extent) and isinstance(b, Extent)) or a == b:
                continue
            if a.symbol == b.symbol:
                _find_factor(a, b)
                continue
            older, newer = sorted((a, b), key=lambda extent: self._order.index(extent.symbol))
            if isinstance(newer.base, str) and newer.divisor == 1:
                _solve(older, newer)


def _solve(older: Extent, newer: Extent) -> None:
    """Ask for what the symbol of `newer` stands for, or for the multiple that makes it whole."""
    assert isinstance(newer.base, str)
    for factor in range(1, newer.scale + 1):
        if newer.scale % factor:
            continue
        multiple = Extent(older.symbol) * factor
        wanted = substituted(older, {older.symbol: multiple})
        solution = (wanted - newer.offset) // newer.scale
        if solution * newer.scale + newer.offset == wanted:
            if factor == 1:
                raise UnifySizesError(newer.base, solution)
            raise UnifySizesError(older.symbol, multiple, factor)


def _find_factor(a: Extent, b: Extent) -> None:
    """Ask for a multiple that makes sizes such as ``H`` and ``2*(H//2)`` equal, if there is one."""
    for factor in range(2, MAX_FACTOR + 1):
        multiple = Extent(a.symbol) * factor
        solved = {a.symbol: multiple}
        if substituted(a, solved) == substituted(b, solved):
            raise UnifySizesError(a.symbol, multiple, factor)


def clean_name(name: str) -> str:
    """Replace what a graph name may not hold."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", name).lstrip(".")[:MAX_NAME] or "value"
