"""A traced model to a float graph, one aten op at a time."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx import Node as FxNode

from fxp.frontend.activations import ACTIVATIONS
from fxp.frontend.arithmetic import ARITHMETIC
from fxp.frontend.builder import (
    MAX_FACTOR,
    Builder,
    KnownTensor,
    PoolIndices,
    Term,
    UnifySizesError,
)
from fxp.frontend.comparison import CHOICES, MASKED, Comparison, chosen, where
from fxp.frontend.constants import filled_operand, filled_result
from fxp.frontend.context import Context, Converter, module_of, op_name, refusal
from fxp.frontend.derivation import Derivation, Overload, Parameter
from fxp.frontend.elementwise import on_views
from fxp.frontend.errors import FrontendError
from fxp.frontend.layers import LAYERS, max_unpool
from fxp.frontend.movement import FILLS, MOVEMENT, identity
from fxp.frontend.normalization import NORMALIZATION
from fxp.frontend.patterns import find_patterns
from fxp.frontend.quantizer_marks import MARKS
from fxp.frontend.refusals import ADVICE, DEFAULT, refuse_products_of_values
from fxp.frontend.resizing import RESIZING
from fxp.frontend.statistics import STATISTICS
from fxp.frontend.trace import Symbols, Trace, example_size, sizes_of
from fxp.graph import Graph, State, Value
from fxp.graph.extents import Extent, evaluate_shape
from fxp.graph.ops import GraphError, Requantize
from fxp.graph.remove_dead_code import remove_dead_code

CONVERTERS: dict[str, Converter] = {
    **LAYERS,
    **RESIZING,
    **ACTIVATIONS,
    **NORMALIZATION,
    **STATISTICS,
    **ARITHMETIC,
    **CHOICES,
    **MOVEMENT,
    **MARKS,
}
"""Every supported aten op and overload, and the mark of a quantizer."""

VALUE_READS = ("aten.item", "aten._local_scalar_dense")
"""Ops whose result is no tensor, but depends on the values of one."""

SCALARS = (torch.SymInt, torch.SymFloat, torch.SymBool, int, float, bool)


def convert(
    trace: Trace, name: str, states: Sequence[tuple[int, int]]
) -> tuple[Graph, dict[str, int], dict[str, Extent]]:
    """Return the float graph, with batch normalization and padding still on their own.

    Parameters
    ----------
    trace
        The exported model.
    name
        Name of the graph.
    states
        Pairs of an input position and the position of the output that feeds it in the next call.

    Returns
    -------
    graph
        The float graph.
    lowest
        By symbol, the smallest size in pixels that keeps to the traced path.
    extents
        Size of each of torch's symbols, as a formula of the graph's.

    Raises
    ------
    FrontendError
        If the model holds something that a graph cannot.
    """
    solved: dict[str, Extent] = {}
    factors: dict[str, int] = {}
    reals = {node: _as_real(tensor) for node, (_, tensor) in trace.constants.items()}
    while True:
        try:
            symbols = Symbols(solved, factors)
            conversion = _Conversion(trace, reals, name, states, symbols)
            return conversion.run(), conversion.lowest, symbols.extents
        except UnifySizesError as found:
            if found.factor == 1:
                # Two free sizes proved equal; each such round leaves one symbol less.
                solved[found.symbol] = found.extent
                continue
            factor = factors.get(found.symbol, 1) * found.factor
            if factor > MAX_FACTOR:
                raise FrontendError(
                    f"image sizes would have to be multiples of {factor}", size_dependent=True
                ) from None
            # A multiple divides sizes without rest on the way down, so that they match on the way
            # up. Earlier solutions were in terms of the symbol's old meaning.
            factors[found.symbol] = factor
            solved.clear()


class _Conversion:
    """One pass over the traced nodes."""

    def __init__(
        self,
        trace: Trace,
        reals: Mapping[FxNode, torch.Tensor],
        name: str,
        states: Sequence[tuple[int, int]],
        symbols: Symbols,
    ) -> None:
        self._trace = trace
        self._name = name
        self._fed = _check_states(states, len(trace.inputs), len(trace.outputs))
        keys = [key for key, _ in trace.constants.values()]
        self._environment: dict[FxNode, Any] = {
            node: KnownTensor(reals[node], key, source=Parameter(key, reals[node]))
            for node, (key, _) in trace.constants.items()
        }
        self._sources: list[Value] = []
        self._copies: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        # States come last, so that the sizes are those of the images given with every call.
        order = sorted(range(len(trace.inputs)), key=lambda position: position in self._fed)
        shapes = {p: symbols.shape(sizes_of(trace.inputs[p].meta["val"])) for p in order}
        self._builder = Builder(keys, symbols.order)
        for position, node in enumerate(trace.inputs):
            term = Term(
                self._builder.unique(node.name), shapes[position], sizes_of(node.meta["val"])
            )
            self._environment[node] = term
            self._builder.terms[term.name] = term
            self._sources.append(Value(term.name, term.shape))
            for size, extent in zip(term.torch_shape[1:], term.shape, strict=True):
                if isinstance(extent, Extent) and extent.symbol not in self._sizes:
                    self._sizes[extent.symbol] = extent.smallest(trace.sizes[str(size)])
        self.lowest = {
            name: symbols.unit(name).smallest(trace.lowest[symbol])
            for name, symbol in symbols.by_name.items()
            if symbol in trace.lowest and name in self._sizes
        }
        self._patterns = find_patterns(trace.nodes)
        self._inner = frozenset[FxNode]().union(*(item.inner for item in self._patterns.values()))
        last_of_call = {
            module_of(node).call: node
            for node in trace.nodes
            if str(node.target) in CONVERTERS or node in self._patterns
        }
        self._whole_layers = set(last_of_call.values())

    def run(self) -> Graph:
        """Convert all nodes and close the graph."""
        refuse_products_of_values(self._trace)
        for node in self._trace.nodes:
            # First, since what comes before it, such as the parts of a list, needs no other advice.
            if node.users and op_name(node) in VALUE_READS:
                raise refusal(
                    node,
                    "it reads a number out of a tensor, as .item() and .tolist() do",
                    ADVICE[op_name(node)],
                    size_dependent=False,
                )
        for node in self._trace.nodes:
            # Only assertions of export have no reader: they check what shapes already say, and
            # ops that write to their arguments are gone.
            if node.users and node not in self._inner:
                self._environment[node] = self._convert(node)
        ends = [self._end(output, position) for position, output in enumerate(self._trace.outputs)]
        for position, output in self._fed.items():
            end = self._environment[self._trace.outputs[output]]  # type: ignore[index]
            self._builder.unify(self._sources[position].shape, end.shape)
        states = tuple(
            State(self._sources[position], ends[output]) for position, output in self._fed.items()
        )
        self._check_state_sizes(states)
        fed_by = set(self._fed.values())
        builder = self._builder
        try:
            nodes = remove_dead_code(builder.nodes, ends)
            used = {source for node in nodes for source in node.inputs}
            return Graph(
                self._name,
                tuple(v for p, v in enumerate(self._sources) if p not in self._fed),
                nodes,
                tuple(end for position, end in enumerate(ends) if position not in fed_by),
                tuple(item for key, item in builder.constants.items() if key in used),
                states,
            )
        except GraphError as error:
            raise FrontendError(str(error), size_dependent=True) from error

    def _convert(self, node: FxNode) -> Any:
        """Return what a node computes: a Term, KnownTensor, a tuple of them, or a number."""
        value = node.meta.get("val")
        if isinstance(value, SCALARS):
            return value
        pattern = self._patterns.get(node)
        if pattern is not None:
            arguments = {key: self._resolved(item) for key, item in pattern.arguments.items()}
            return self._converted(node, pattern.converter, arguments)
        arguments = self._arguments(node)
        if node.target is operator.getitem:
            items, index = arguments["0"], arguments["1"]
            if index >= len(items):
                raise refusal(
                    node, f"its result {index} is not supported", DEFAULT, size_dependent=False
                )
            return items[index]
        if isinstance(node.target, torch._ops.OpOverload) and not _holds_term(arguments):
            made = filled_result(node, arguments, MOVEMENT)
            if made is not None:
                return made
            if str(node.target) not in FILLS or not _has_free_size(arguments):
                return self._constant(node, arguments)
        converter = CONVERTERS.get(str(node.target))
        if converter is None:
            advice = ADVICE.get(op_name(node), DEFAULT)
            raise refusal(node, "this op is not supported", advice, size_dependent=False)
        compares = isinstance(value, torch.Tensor) and value.dtype == torch.bool
        if (
            isinstance(value, torch.Tensor)
            and not value.is_floating_point()
            and not (compares and str(node.target) in CHOICES)
        ):
            raise refusal(node, f"its result is {value.dtype}", DEFAULT, size_dependent=False)
        return self._converted(node, converter, arguments)

    def _converted(self, node: FxNode, converter: Converter, arguments: dict[str, Any]) -> Any:
        """Return what a converter makes of a node."""
        context = Context(self._builder, node, arguments, node in self._whole_layers)
        if str(node.target) not in MOVEMENT:
            arguments.update(filled_operand(context))
        leaves = _flat(list(arguments.values()))
        if converter is not max_unpool and any(isinstance(leaf, PoolIndices) for leaf in leaves):
            context.refuse("it reads the indices of a pooling", "only max_unpool2d takes them")
        if converter is not where and any(isinstance(leaf, Comparison) for leaf in leaves):
            if str(node.target) not in MASKED:
                context.refuse("it reads the result of a comparison",
                               "choose by it with torch.where, or multiply by it")  # fmt: skip
            for key, item in arguments.items():
                if isinstance(item, Comparison):
                    arguments[key] = chosen(context, item, 1.0, 0.0)
        try:
            result = on_views(context, converter)
        except GraphError as error:
            raise refusal(
                node, str(error), "change the model, or give inputs that fit", size_dependent=True
            ) from error
        for term in result if isinstance(result, tuple) else (result,):
            if isinstance(term, Term) and term.view is None:
                self._check_shape(node, term)
        return result

    def _arguments(self, node: FxNode) -> dict[str, Any]:
        """Arguments by the names of the op's schema, defaults included."""
        if not isinstance(node.target, torch._ops.OpOverload):
            given = {str(position): item for position, item in enumerate(node.args)}
            return {key: self._resolved(item) for key, item in {**given, **node.kwargs}.items()}
        arguments = {}
        for position, argument in enumerate(node.target._schema.arguments):
            if position < len(node.args):
                item = node.args[position]
            else:
                item = node.kwargs.get(argument.name, argument.default_value)
            arguments[argument.name] = self._resolved(item)
        return arguments

    def _resolved(self, item: Any) -> Any:
        if isinstance(item, FxNode):
            if item not in self._environment:
                raise refusal(item, "this op is not supported", DEFAULT, size_dependent=False)
            return self._environment[item]
        if isinstance(item, list | tuple):
            return [self._resolved(element) for element in item]
        return item

    def _constant(self, node: FxNode, arguments: dict[str, Any]) -> Any:
        """Evaluate an op on constants, such as weight normalization."""
        target = node.target
        assert isinstance(target, torch._ops.OpOverload)
        first = next(iter(arguments.values()), None)
        if (
            isinstance(first, KnownTensor)
            and CONVERTERS.get(str(target)) is identity
            and first.tensor.is_floating_point() == _is_real(node)
        ):
            return first
        if torch.Tag.nondeterministic_seeded in target.tags:
            raise refusal(
                node, "it draws random numbers", "make them an input", size_dependent=False
            )
        if _has_free_size(arguments):
            raise refusal(
                node,
                "it makes a constant whose size or value depends on the image size",
                "give it as a further input of the model",
                size_dependent=True,
            )
        schema = target._schema.arguments
        positional = [_bare(arguments[a.name]) for a in schema if not a.kwarg_only]
        named = {a.name: _bare(arguments[a.name]) for a in schema if a.kwarg_only}
        named = {key: item for key, item in named.items() if item is not None}
        try:
            with torch.no_grad():
                result = target(*positional, **named)
        except Exception as error:
            # torch raises many unrelated types for operands that do not fit.
            summary = str(error).strip().partition("\n")[0]
            raise refusal(
                node,
                f"torch cannot compute it from constants ({type(error).__name__}: {summary})",
                "store its result as a constant",
                size_dependent=False,
            ) from error
        source = Derivation(
            Overload(str(target)),
            tuple(_source(arguments[a.name]) for a in schema if not a.kwarg_only),
            {key: _source(arguments[key]) for key in named},
        )
        if isinstance(result, torch.Tensor):
            return KnownTensor(_as_real(result), source=source)
        return tuple(
            KnownTensor(_as_real(item), source=Derivation(operator.getitem, (source, index)))
            for index, item in enumerate(result)
        )

    def _check_shape(self, node: FxNode, term: Term) -> None:
        """Compare the graph's shape with torch's in the example: a converter cannot be wrong."""
        found = evaluate_shape(term.shape, self._sizes)
        wanted = tuple(example_size(size) for size in term.torch_shape)
        if len(found) + 1 == len(wanted) and (1, *found) != wanted:
            raise refusal(
                node, f"the graph would give {found}, torch gives {wanted[1:]}",
                "report this as a bug", size_dependent=True,
            )  # fmt: skip

    def _end(self, output: object, position: int) -> str:
        """Name of the value that is an output."""
        if not isinstance(output, FxNode):
            raise FrontendError(
                f"output {position} of the model is {output!r}; return tensors alone"
            )
        term = self._environment[output]
        if not isinstance(term, Term):  # a constant, of one number or of many
            raise FrontendError(
                f"output {position} of the model is constant; return computed values alone"
            )
        if isinstance(term, PoolIndices):
            raise FrontendError(
                f"output {position} of the model holds the indices of a pooling; only max_unpool2d "
                "takes them"
            )
        if isinstance(term, Comparison):
            raise FrontendError(
                f"output {position} of the model holds the result of a comparison; only "
                "torch.where takes it"
            )
        if term.view is None and any(term.name == source.name for source in self._sources):
            # An output must be the result of a node, which gives it a format.
            if term.name not in self._copies:
                copy = self._builder.emit(
                    Requantize(), [term], f"{term.name}.output", "", term.torch_shape
                )
                self._copies[term.name] = copy.name
            return self._copies[term.name]
        context = Context(self._builder, output, {}, False)
        return context.standard(term).name

    def _check_state_sizes(self, states: Sequence[State]) -> None:
        known = {
            size.symbol
            for position, value in enumerate(self._sources)
            if position not in self._fed
            for size in value.shape
            if isinstance(size, Extent)
        }
        for state in states:
            free = [s for s in state.value.shape if isinstance(s, Extent) and s.symbol not in known]
            if free:
                raise FrontendError(
                    f"the size of state {state.value} does not follow from any input; join or add "
                    "the state with something computed from the input",
                    size_dependent=True,
                )


def _check_states(states: Sequence[tuple[int, int]], inputs: int, outputs: int) -> dict[int, int]:
    fed: dict[int, int] = {}
    for source, result in states:
        if not (0 <= source < inputs and 0 <= result < outputs) or source in fed:
            raise FrontendError(
                f"states {list(states)} must be pairs (input position, output position) below "
                f"({inputs}, {outputs}), every input once"
            )
        fed[source] = result
    if len(fed) == inputs or len(set(fed.values())) == outputs:
        raise FrontendError("besides the states, a model needs an input and an output")
    return fed


def _is_real(node: FxNode) -> bool:
    """Whether a node computes a tensor of real numbers."""
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _as_real(tensor: torch.Tensor) -> torch.Tensor:
    """Return floats in float64, which holds every narrower float exactly; integers as they are."""
    tensor = tensor.detach().cpu()
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor


def _bare(item: Any) -> Any:
    if isinstance(item, KnownTensor):
        return item.tensor
    return [_bare(element) for element in item] if isinstance(item, list) else item


def _source(item: Any) -> Any:
    if isinstance(item, KnownTensor):
        return item.tensor if item.source is None else item.source
    return [_source(element) for element in item] if isinstance(item, list) else item


def _flat(item: Any) -> list[Any]:
    if isinstance(item, list | tuple):
        return [leaf for element in item for leaf in _flat(element)]
    return [item]


def _has_free_size(arguments: dict[str, Any]) -> bool:
    return any(isinstance(item, SCALARS[:3]) for item in _flat(list(arguments.values())))


def _holds_term(arguments: dict[str, Any]) -> bool:
    return any(isinstance(leaf, Term) for leaf in _flat(list(arguments.values())))
