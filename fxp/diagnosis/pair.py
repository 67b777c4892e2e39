"""An integer graph beside the float graph that it was made from: who stands for whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import torch

from fxp.executors.torch_forward import (
    constant_values,
    evaluate,
    quantized_and_kept,
    start_values,
)
from fxp.formats import Format, Quantization
from fxp.graph import Graph, Node
from fxp.support.errors import ArgumentError

Tensors = Mapping[str, torch.Tensor]

OTHER_SIGNS: Final = 0.25
"""Weights of which more than this share have another sign than the model's are other weights."""
_ADVICE: Final = "give the network, with the weights, that the model was made from"
SCALED: Final = 0.4
"""Binary exponents by which the weights of a channel differ if it has been scaled."""


@dataclass(frozen=True)
class FixedStep:
    """One run of the integer graph.

    Attributes
    ----------
    values
        Real values by name.
    kept
        For inputs and nodes, where no value was clipped.
    low, high
        Smallest and largest accumulator of every node, as raw integers.
    """

    values: dict[str, torch.Tensor]
    kept: dict[str, torch.Tensor] = field(default_factory=dict)
    low: dict[str, float] = field(default_factory=dict)
    high: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Local:
    """What one value becomes if it alone is quantized, and why.

    Attributes
    ----------
    wanted, found
        The float value, and the quantized one.
    computed
        The float value with the error of the op: of its rounded weights, or of its table.
    kept
        Where nothing was clipped.
    """

    wanted: torch.Tensor
    found: torch.Tensor
    computed: torch.Tensor
    kept: torch.Tensor


class ScaledChannelsError(ArgumentError):
    """The model's channels are those of the float network times powers of two."""


class Pair:
    """A float graph and the integer graph that it became, matched by name.

    Values are float64; where they are given as float32, as large networks need it for their speed,
    so are the results. Values that only the integer graph has are copies in another format, which
    stand for the value that they copy.

    Parameters
    ----------
    network
        The float graph.
    fixed
        The integer graph.
    same_weights
        Whether the one is known to be made from the other, so that weights need no check.

    Raises
    ------
    ArgumentError
        If the one was not made from the other; the message says where they differ.
    """

    def __init__(self, network: Graph, fixed: Graph, *, same_weights: bool = False) -> None:
        self.network, self.fixed = network, fixed
        _check(network, fixed)
        if not same_weights:
            _check_weights(network, fixed, _ADVICE)
        self._float_nodes = {node.name: node for node in network.nodes}
        self.source: dict[str, str] = {}
        for name in fixed.values:
            self.source[name] = name
        for node in fixed.nodes:
            if node.name not in self._float_nodes:
                self.source[node.name] = self.source[node.inputs[0]]
        self._constants: dict[tuple[bool, torch.dtype], Mapping[str, torch.Tensor]] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Inputs, states and nodes of the integer graph in order."""
        return tuple(self.fixed.values)

    @cached_property
    def roundable(self) -> tuple[str, ...]:
        """Inputs and nodes, which is what can be quantized by itself."""
        states = {state.value.name for state in self.fixed.states}
        return tuple(name for name in self.names if name not in states)

    @cached_property
    def fixed_nodes(self) -> Mapping[str, Node]:
        """Nodes of the integer graph by name."""
        return {node.name: node for node in self.fixed.nodes}

    def run_float(
        self,
        inputs: Sequence[torch.Tensor],
        states: Tensors | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> dict[str, torch.Tensor]:
        """Return all values of the float graph, in some type.

        Parameters
        ----------
        inputs, states
            As for `torch_forward.run`.
        dtype
            float64, or float32 for speed.
        """
        started = start_values(self.network, inputs, states)
        values = {name: tensor.to(dtype) for name, tensor in started.items()}
        evaluate(self.network, values, self._constants_of(self.network, dtype))
        return values

    def run_fixed(self, inputs: Sequence[torch.Tensor], states: Tensors | None = None) -> FixedStep:
        """Return all values of the integer graph, and what its accumulators reached.

        Accumulators beyond the 53 bits of float64 are not exact here; their errors are far below
        what is measured.
        """
        graph = self.fixed
        step = FixedStep(start_values(graph, inputs, states))
        for value, tensor in zip(graph.inputs, inputs, strict=True):
            assert value.format is not None
            step.kept[value.name] = quantized_and_kept(
                tensor.to(torch.float64), Quantization(value.format)
            )[1]
        for node in graph.nodes:
            assert node.quantization is not None
            assert node.accumulator is not None
            exact = self._integer_op(node, step.values)
            fracs = torch.tensor(node.accumulator.fracs, dtype=torch.int32)
            raw = torch.ldexp(exact, fracs.reshape(-1, *[1] * (exact.ndim - 2)))
            step.low[node.name], step.high[node.name] = map(float, torch.aminmax(raw))
            step.values[node.name], step.kept[node.name] = quantized_and_kept(
                exact, node.quantization
            )
        return step

    def next_states(self, graph: Graph, values: Tensors) -> dict[str, torch.Tensor]:
        """Return what either graph feeds back."""
        return {state.value.name: values[state.source] for state in graph.states}

    def local(self, name: str, values: Tensors) -> Local:
        """Quantize one value of the float graph and nothing else.

        The error of the op is what its integer version gives beyond its float version, both for
        operands rounded to their formats: that of rounded weights and tables. The rounding of
        the operands belongs to these.

        Parameters
        ----------
        name
            An input or node of the integer graph.
        values
            All float values that its op reads, and its own unless these differ from the network's.
        """
        node = self.fixed_nodes.get(name)
        if node is None:
            form = self.fixed.values[name].format
            assert form is not None
            wanted = values[name]
            return Local(wanted, *_parts(wanted, wanted, Quantization(form)))
        assert node.quantization is not None
        wanted = values[self.source[name]]
        computed = wanted
        if name in self._float_nodes:
            computed = wanted + self.op_error(node, self._rounded_operands(node, values))
        return Local(wanted, *_parts(wanted, computed, node.quantization))

    def op_error(
        self, node: Node, operands: Tensors, constants: Tensors | None = None
    ) -> torch.Tensor:
        """Return what a node's integer op gives beyond its float op.

        Parameters
        ----------
        node
            Of the integer graph.
        operands
            What it reads, by name.
        constants
            Real values of constants in place of the node's own.
        """
        exact = self._integer_op(node, operands, constants)
        # Where the integer op reads a copy in another format, the float op reads what was copied.
        real = {self.source.get(name, name): tensor for name, tensor in operands.items()}
        return exact - self._float_op(self._float_nodes[node.name], real)

    def operands_of(self, name: str, values: Tensors) -> dict[str, torch.Tensor]:
        """Return the operands of a node of the integer graph, rounded to their formats."""
        return self._rounded_operands(self.fixed_nodes[name], values)

    def outputs_with(
        self, name: str, values: Tensors, states: Tensors, found: torch.Tensor | None = None
    ) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]] | None:
        """Return outputs and next states of the float network with one value quantized.

        Parameters
        ----------
        name
            The value, an input or node of the integer graph.
        values
            All values of the float graph.
        states
            States that differ from those of the float graph.
        found
            What the value becomes; by default as its format says.

        Returns
        -------
        tuple or None
            None if nothing differs.
        """
        changed: dict[str, torch.Tensor] = dict(states)
        extra = self.source[name] != name
        inputs = {value.name for value in self.network.inputs}
        if name in inputs:
            changed[name] = self.local(name, values).found if found is None else found
        for node in self.network.nodes:
            reads = any(operand in changed for operand in node.inputs)
            if reads:
                changed[node.name] = self._float_op(node, _Overlay(changed, values))
            if node.name == name:
                changed[name] = (
                    self.local(name, _Overlay(changed, values)).found if found is None else found
                )
        now = _Overlay(changed, values)
        copied = None
        if extra:
            copied = self.local(name, now).found if found is None else found
        outputs = [
            copied if copied is not None and fixed == name else now[given]
            for fixed, given in zip(self.fixed.outputs, self.network.outputs, strict=True)
        ]
        following: dict[str, torch.Tensor] = {}
        for state, own in zip(self.fixed.states, self.network.states, strict=True):
            if copied is not None and state.source == name:
                following[state.value.name] = copied
            elif own.source in changed:
                following[state.value.name] = changed[own.source]
        return outputs, following

    def _constants_of(self, graph: Graph, dtype: torch.dtype) -> Mapping[str, torch.Tensor]:
        """Return the real values of a graph's constants in some type, made once."""
        key = graph.is_integer, dtype
        if key not in self._constants:
            self._constants[key] = constant_values(graph, dtype=dtype)
        return self._constants[key]

    def _rounded_operands(self, node: Node, values: Tensors) -> dict[str, torch.Tensor]:
        found = {}
        for operand in node.inputs:
            if operand in self.fixed.constants_by_name:
                continue
            form = self.fixed.values[operand].format
            assert form is not None
            found[operand] = quantized_and_kept(values[self.source[operand]], Quantization(form))[0]
        return found

    def _integer_op(
        self, node: Node, values: Tensors, constants: Tensors | None = None
    ) -> torch.Tensor:
        return self._op(self.fixed, node, values, constants or {})

    def _float_op(self, node: Node, values: Tensors) -> torch.Tensor:
        return self._op(self.network, node, values, {})

    def _op(self, graph: Graph, node: Node, values: Tensors, constants: Tensors) -> torch.Tensor:
        dtype = values[
            next(name for name in node.inputs if name not in graph.constants_by_name)
        ].dtype
        own = self._constants_of(graph, dtype)
        tensors = [
            constants[key].to(dtype)
            if key in constants
            else own[key]
            if key in graph.constants_by_name
            else values[key]
            for key in node.inputs
        ]
        return node.op.torch(graph.operands[node.name], *tensors).to(dtype)


class _Overlay(Mapping[str, torch.Tensor]):
    """Changed values before the others, without a copy."""

    def __init__(self, changed: Tensors, values: Tensors) -> None:
        self._changed, self._values = changed, values

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._changed[name] if name in self._changed else self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._values, **self._changed})

    def __len__(self) -> int:
        return len({**self._values, **self._changed})


def _parts(
    wanted: torch.Tensor, computed: torch.Tensor, target: Quantization
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    found, kept = quantized_and_kept(computed, target)
    return found, computed, kept


def _check(network: Graph, fixed: Graph) -> None:
    """Refuse a float graph that is not the one of the integer graph."""
    if network.is_integer:
        raise ArgumentError(f"network {network.name!r} is an integer graph; give the float network")
    advice = _ADVICE
    for what, own, other in (
        ("inputs", fixed.inputs, network.inputs),
        ("outputs", fixed.outputs, network.outputs),
        ("states", fixed.states, network.states),
    ):
        if len(own) != len(other):
            raise ArgumentError(
                f"the network has {len(other)} {what}, but the model has {len(own)}; {advice}"
            )
    known = network.values
    mapped = [value.name for value in fixed.inputs] + [s.value.name for s in fixed.states]
    mapped += [node.name for node in fixed.nodes if node.op.name != "requantize"]
    missing = [name for name in mapped if name not in known]
    lacking = [name for name in known if name not in fixed.values]
    if missing or lacking:
        which = (
            f"the network has no {missing[0]!r}, which the model has"
            if missing
            else (f"the model has no {lacking[0]!r}, which the network has")
        )
        raise ArgumentError(f"{which}; {advice}")
    for name in mapped:
        if len(known[name].shape) != len(fixed.values[name].shape) or (
            known[name].shape[0] != fixed.values[name].shape[0]
        ):
            raise ArgumentError(
                f"{name!r} has shape {known[name].shape} in the network, but "
                f"{fixed.values[name].shape} in the model; {advice}"
            )


def _check_weights(network: Graph, fixed: Graph, advice: str) -> None:
    """Refuse other weights, which would make every figure one of nothing."""
    scaled = ""
    for node in fixed.nodes:
        for position, name in enumerate(node.inputs):
            if node.op.constant_roles.get(position) != "weight":
                continue
            own = fixed.constants_by_name[name].values
            given = network.constants_by_name[network.node(node.name).inputs[position]].values
            if own.shape != given.shape:
                raise ArgumentError(
                    f"the weights of {node.name!r} have shape {given.shape} in the network, but "
                    f"{own.shape} in the model; {advice}"
                )
            both = (own != 0) & (given != 0)
            if not both.any():
                continue
            if (np.sign(own[both]) != np.sign(given[both])).mean() > OTHER_SIGNS:
                raise ArgumentError(
                    f"the weights of {node.name!r} are not those of the model; {advice}"
                )
            if _is_scaled(own, given):
                scaled = scaled or node.name
    if scaled:
        raise ScaledChannelsError(
            f"the channels of {scaled!r} are scaled in the model, as equalization does; give the "
            "scaled graph as network: fxp.quantization.refinement.scaled_like(graph, model.graph)"
        )


def _is_scaled(own: np.ndarray, given: np.ndarray) -> bool:
    """Whether the largest weights of a channel differ by a factor, by less than which none round.

    The largest weight of a channel is the one that rounding changes least; clipping changes it,
    but makes it smaller only, and not by one factor for all large weights.
    """
    rows = zip(own.reshape(len(own), -1), given.reshape(len(given), -1), strict=True)
    count = 0
    for mine, yours in rows:
        large = np.abs(yours) >= np.abs(yours).max() / 4
        both = large & (mine != 0) & (yours != 0)
        if both.sum() < 2:
            continue
        ratios = np.log2(np.abs(mine[both]) / np.abs(yours[both]))
        middle = float(np.median(ratios))
        nearest = round(middle)
        spread = float(np.abs(ratios - nearest).max())
        count += nearest != 0 and abs(middle - nearest) < SCALED / 4 and spread < SCALED
    return count > 0


def smallest_width(low: float, high: float) -> int:
    """Bits of a two's-complement register that holds these raw integers."""
    above, below = max(int(high), 0).bit_length(), (~min(int(low), -1)).bit_length()
    return max(above, below) + 1


__all__ = ["FixedStep", "Format", "Local", "Pair", "Tensors", "smallest_width"]
