"""Quantization-aware training: a trained network becomes one that trains with its roundings."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Unpack

import numpy as np
import torch

from fxp.executors.calls import Calls, calibration_calls, one_by_one
from fxp.executors.torch_forward import evaluate as evaluate_graph
from fxp.executors.torch_forward import fake_quantize
from fxp.formats import MAX_WIDTH, Format, Quantization
from fxp.frontend.derivation import Source, evaluate
from fxp.frontend.model_import import TRACING
from fxp.frontend.unwrap import unwrapped
from fxp.graph import Constant, Graph
from fxp.model import FixedModel
from fxp.quantization.mixed import MixedPrecision
from fxp.quantization.options import REFINEMENTS, QuantizeKeywords, QuantizeOptions, merged
from fxp.quantization.quantize import calibrated, choose_formats, float_graph
from fxp.quantization.signed_digits import REACH, digit_penalty
from fxp.support.errors import ArgumentError, ArgumentTypeError
from fxp.support.progress import Progress


@dataclass(frozen=True)
class LiveConstant:
    """A constant of the integer graph that follows from parameters.

    Attributes
    ----------
    constant
        As it was when the formats were chosen.
    source
        How its real values follow from the model's tensors.
    is_bias
        Whether it is a bias, whose width follows from its values.
    """

    constant: Constant
    source: Source
    is_bias: bool

    def raw(self, tensors: Mapping[str, torch.Tensor], device: torch.device) -> torch.Tensor:
        """Integers in float64, differentiable."""
        form = self.constant.formats[0]
        target = Format(MAX_WIDTH if self.is_bias else form.width, 0, form.signed)
        return fake_quantize(self.scaled(tensors, device), Quantization(target))

    def scaled(self, tensors: Mapping[str, torch.Tensor], device: torch.device) -> torch.Tensor:
        """Real values in units of the formats' steps, before they are rounded, in float64."""
        return evaluate(self.source, tensors, device).to(torch.float64) * self.scale(device)

    def values(self, tensors: Mapping[str, torch.Tensor], device: torch.device) -> torch.Tensor:
        """Real values of those integers in float64."""
        return self.raw(tensors, device) / self.scale(device)

    def scale(self, device: torch.device) -> torch.Tensor:
        """Power of two per channel, or one for all."""
        steps = [2.0**form.frac for form in self.constant.formats]
        shape = (-1, *[1] * (self.constant.data.ndim - 1))
        return torch.tensor(steps, dtype=torch.float64, device=device).reshape(shape)

    def fixed(self, tensors: Mapping[str, torch.Tensor]) -> Constant:
        """Return the constant of the tensors' present values, which are on the CPU."""
        data = self.raw(tensors, torch.device("cpu")).numpy().astype(np.int64)
        formats = self.constant.formats
        if self.is_bias:
            least = Format.for_range(min(int(data.min()), -1), int(data.max()), 0).width
            formats = tuple(replace(form, width=max(form.width, least)) for form in formats)
        return replace(self.constant, data=data, formats=formats)


@dataclass(frozen=True, eq=False)
class Preparation:
    """What a model that trains was prepared with; never changed, and shared by copies.

    Attributes
    ----------
    source, lowered
        The float graph, and the integer graph with the chosen formats.
    calls
        Calibration data.
    options
        How the formats were chosen, with the states of the module.
    """

    source: Graph
    lowered: Graph
    calls: Calls
    options: QuantizeOptions

    def __deepcopy__(self, memo: object) -> Preparation:
        return self

    @cached_property
    def live(self) -> Mapping[str, LiveConstant]:
        """Constants that are computed anew in every forward, by name in the integer graph."""
        nodes = {node.name: node for node in self.source.nodes}
        found: dict[str, LiveConstant] = {}
        for node in self.lowered.nodes:
            # Tables come behind the float node's inputs; other nodes were added by the lowering.
            inputs = nodes[node.name].inputs if node.name in nodes else ()
            for position, (name, float_name) in enumerate(zip(node.inputs, inputs, strict=False)):
                constant = self.source.constants_by_name.get(float_name)
                if constant is None or constant.derivation is None:
                    continue
                is_bias = node.op.constant_roles.get(position) == "bias" or (
                    name in found and found[name].is_bias
                )
                lowered = self.lowered.constants_by_name[name]
                found[name] = LiveConstant(lowered, constant.derivation, is_bias)
        return found

    @cached_property
    def weights(self) -> tuple[LiveConstant, ...]:
        """The constants that multiply, each of which is as many products as it has numbers."""
        names = {
            node.inputs[position]: None
            for node in self.lowered.nodes
            for position, role in node.op.constant_roles.items()
            if role == "weight" and position < len(node.inputs)
        }
        return tuple(self.live[name] for name in names if name in self.live)

    @cached_property
    def fixed(self) -> Mapping[str, torch.Tensor]:
        """Real values of the other constants, such as tables, by name."""
        return {
            constant.name: torch.tensor(constant.values)
            for constant in self.lowered.constants
            if constant.name not in self.live
        }


class QatModel(torch.nn.Module):
    """A network whose forward is the arithmetic of its integer graph, made by `prepare_qat`.

    It has the parameters, buffers and submodules of the original under the same state-dict keys;
    the submodules only hold them, and are not called.
    """

    def __init__(self, model: torch.nn.Module, preparation: Preparation) -> None:
        super().__init__()
        own = copy.deepcopy(model)
        self._parameters.update(own._parameters)
        self._buffers.update(own._buffers)
        self._non_persistent_buffers_set.update(own._non_persistent_buffers_set)
        self._modules.update(own._modules)
        self.training = model.training
        self._preparation = preparation

    @property
    def graph(self) -> Graph:
        """The integer graph when the formats were chosen last."""
        return self._preparation.lowered

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Run the network on real values with batch, in the type of the parameters.

        Takes the inputs of the original, states included, and returns its outputs: one tensor, or a
        tuple of them.
        """
        values = self.values(*inputs)
        graph = self._preparation.lowered
        fed = {
            result: state.source
            for (_, result), state in zip(self._states, graph.states, strict=True)
        }
        rest = iter(graph.outputs)
        names = [fed[i] if i in fed else next(rest) for i in range(len(graph.outputs) + len(fed))]
        outputs = [values[name] for name in names]
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    def values(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every value of the integer graph by name; takes what `forward` takes."""
        preparation = self._preparation
        graph = preparation.lowered
        positions = [source for source, _ in self._states]
        plain = [tensor for i, tensor in enumerate(inputs) if i not in positions]
        wanted = len(graph.inputs) + len(graph.states)
        if len(inputs) != wanted:
            raise ArgumentTypeError(f"{graph.name} takes {wanted} inputs, got {len(inputs)}")
        if not torch.compiler.is_compiling():
            graph.concrete_shapes(graph.bind([tuple(tensor.shape[1:]) for tensor in plain]))
            self._check_finite(inputs)
        device = inputs[0].device
        dtype = next((tensor.dtype for tensor in self.parameters()), inputs[0].dtype)
        tensors = self._tensors()
        constants = {
            name: live.values(tensors, device).to(dtype) for name, live in preparation.live.items()
        }
        for name, tensor in preparation.fixed.items():
            constants[name] = tensor.to(device, dtype)
        sources = [*graph.inputs, *(state.value for state in graph.states)]
        given = [*plain, *(inputs[position] for position in positions)]
        values: dict[str, torch.Tensor] = {}
        for value, tensor in zip(sources, given, strict=True):
            assert value.format is not None
            values[value.name] = fake_quantize(tensor.to(dtype), Quantization(value.format))
        evaluate_graph(graph, values, constants)
        return values

    def digit_penalty(self, reach: int = REACH) -> torch.Tensor:
        """Return the mean number of signed digits of a weight, to add to a loss.

        A weighted sum without multipliers takes an adder for nearly every digit. The gradient pulls
        each weight to a cheaper one nearby, see
        `fxp.quantization.signed_digits.digit_penalty`; the rest of the loss says how far it may go.

        Parameters
        ----------
        reach
            Steps within which a weight looks for a cheaper one.

        Examples
        --------
        >>> loss = error(training(images), targets) + 1e-4 * training.digit_penalty()
        ... # doctest: +SKIP
        """
        weights = self._preparation.weights
        tensors = self._tensors()
        device = next(self.parameters()).device
        scaled = [weight.scaled(tensors, device) for weight in weights]
        count = sum(values.numel() for values in scaled)
        total = sum((digit_penalty(values, reach) for values in scaled), torch.zeros(()))
        return (total / max(count, 1)).to(next(self.parameters()).dtype)

    @torch.no_grad()
    def requantize(self, calibration: Iterable[Any] | None = None) -> None:
        """Choose all formats anew for the present parameters, with the settings of `prepare_qat`.

        Parameters
        ----------
        calibration
            Typical inputs as `fxp.quantize` takes them; by default those given last.
        """
        preparation = self._preparation
        calls = preparation.calls
        if calibration is not None:
            calls = calibration_calls(calibration, preparation.source)
            if preparation.source.states:
                calls = one_by_one(calls)
        source = self.float_graph()
        lowered = choose_formats(source, calls, preparation.options)
        self._preparation = replace(preparation, source=source, lowered=lowered, calls=calls)

    @torch.no_grad()
    def float_graph(self) -> Graph:
        """Return the float graph of the present parameters."""
        tensors, graph = self._finite_tensors(), self._preparation.source
        cpu = torch.device("cpu")
        constants = tuple(
            constant
            if constant.derivation is None
            else replace(constant, data=evaluate(constant.derivation, tensors, cpu).numpy())
            for constant in graph.constants
        )
        return Graph(graph.name, graph.inputs, graph.nodes, graph.outputs, constants, graph.states)

    @torch.no_grad()
    def integer_graph(self) -> Graph:
        """Return the integer graph of the present parameters, in the chosen formats."""
        graph, live = self._preparation.lowered, self._preparation.live
        tensors = self._finite_tensors()
        constants = tuple(
            live[constant.name].fixed(tensors) if constant.name in live else constant
            for constant in graph.constants
        )
        return Graph(graph.name, graph.inputs, graph.nodes, graph.outputs, constants, graph.states)

    @property
    def _states(self) -> Sequence[tuple[int, int]]:
        return self._preparation.options.states

    def _finite_tensors(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers on the CPU; raise ArgumentError if one cannot be quantized."""
        tensors = {key: tensor.cpu() for key, tensor in self._tensors().items()}
        for key, tensor in tensors.items():
            if broken := _broken(tensor):
                raise ArgumentError(
                    f"{key} holds {broken}, so the training has diverged; go on from an earlier "
                    "state, with a lower learning rate"
                )
        return tensors

    @torch.no_grad()
    def _check_finite(self, inputs: Sequence[torch.Tensor]) -> None:
        """Raise ArgumentError if an input, a parameter or a buffer holds NaN or infinity."""
        sums = [tensor.sum() for tensor in (*inputs, *self.parameters(), *self.buffers())]
        # One look at all of them, because every look at a GPU waits for it.
        if torch.stack([item.to(sums[0].device, torch.float64) for item in sums]).isfinite().all():
            return
        for position, tensor in enumerate(inputs):
            if broken := _broken(tensor):
                raise ArgumentError(f"input {position} holds {broken}")
        self._finite_tensors()

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Parameters and buffers by state-dict key; floats in float64."""
        named = {
            **dict(self.named_parameters(remove_duplicate=False)),
            **dict(self.named_buffers(remove_duplicate=False)),
        }
        return {
            key: tensor.to(torch.float64) if tensor.is_floating_point() else tensor
            for key, tensor in named.items()
        }


def _broken(tensor: torch.Tensor) -> str | None:
    """Say what a tensor holds besides numbers, if anything."""
    if not tensor.is_floating_point() or torch.isfinite(tensor).all():
        return None
    return "NaN" if tensor.isnan().any() else "infinity"


def prepare_qat(
    model: torch.nn.Module,
    calibration: Iterable[Any],
    options: QuantizeOptions | MixedPrecision | None = None,
    *,
    progress: Progress | None = None,
    **keywords: Unpack[QuantizeKeywords],
) -> QatModel:
    """Turn a trained network into one that computes, and trains, as its fixed-point model will.

    Every value is rounded where the integer graph rounds it. Gradients pass straight through the
    roundings and are zero where a value or a weight is clipped. Formats stay as they are until
    `QatModel.requantize`; the width of a bias follows its values. Batch normalization is folded in
    every forward from its present weight and bias, with its stored statistics, which no longer
    change; dropout is left out.

    Threads may call this, also with one model for all; they wait for each other, as in
    `fxp.quantize`, which says what other threads must not do meanwhile.

    Parameters
    ----------
    model
        In eval mode; it is not modified, and the result shares no memory with it.
    calibration
        As for `fxp.quantize`.
    options
        How to quantize; all defaults if not given. What `fxp.quantize_mixed` found stands for the
        options it found, with the width of every weight and value. Refinements are refused, because
        training moves weights and biases itself.
    progress
        ``progress(done, total, text)`` during a search.
    keywords
        Fields of `QuantizeOptions`, which replace those of `options`.

    Returns
    -------
    QatModel
        With the model's state-dict keys. In float64 its forward equals that of `convert`'s result
        exactly, while every accumulator fits 52 bits; in float32, as far as float32 is exact.

    Raises
    ------
    fxp.frontend.FrontendError, GraphError, ArgumentError, ArgumentTypeError
        As `fxp.quantize` does.

    Examples
    --------
    >>> training = fxp.prepare_qat(model.eval(), batches, weight_bits=8)   # doctest: +SKIP
    >>> optimizer = torch.optim.Adam(training.parameters(), lr=1e-4)       # doctest: +SKIP
    """
    model = unwrapped(model)
    if not isinstance(model, torch.nn.Module):
        raise ArgumentTypeError(
            f"fxp.prepare_qat takes a torch.nn.Module, got {type(model).__name__}"
        )
    if isinstance(options, MixedPrecision):
        options = options.options
    defaults = QuantizeOptions()
    refused = [
        key
        for key in REFINEMENTS
        if key in keywords or (options and getattr(options, key) != getattr(defaults, key))
    ]
    if refused:
        raise ArgumentTypeError(
            f"fxp.prepare_qat takes no {refused[0]}: it refines models that are not trained further"
        )
    options = merged(options, keywords, "fxp.prepare_qat")
    # The model is also copied, which must not happen while another thread traces it.
    with TRACING:
        calls = calibration_calls(calibration, model, options.states)
        source = float_graph(model, calls[0], options)
        if source.states:
            calls = one_by_one(calls)
        lowered = choose_formats(source, calls, options, progress)
        return QatModel(model, Preparation(source, lowered, calls, options))


def convert(model: QatModel) -> FixedModel:
    """Return the fixed-point model of a network that was trained with `prepare_qat`.

    Raises
    ------
    GraphError
        If an accumulator would need more than 63 bits.
    ArgumentError
        A `ValueError`: a parameter holds NaN or infinity; the message names it.
    ArgumentTypeError
        A `TypeError`: the model is another one.
    """
    if not isinstance(model, QatModel):
        raise ArgumentTypeError(
            f"fxp.convert takes what fxp.prepare_qat returns, got {type(model).__name__}"
        )
    return calibrated(model.integer_graph(), model._preparation.calls)
