"""Translators of activations, arithmetic and reductions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional

from fxp.frontend.onnx.call import Call, Translator

_BOUND: Final = 3e38
"""Bounds beyond this are those that old operator sets write for none."""


def _one(function: Callable[[torch.Tensor], torch.Tensor]) -> Translator:
    """Return the translator of a function of one tensor."""

    def compute(call: Call) -> torch.Tensor:
        return function(call.tensor(0))

    return compute


def _two(function: Callable[[Any, Any], torch.Tensor]) -> Translator:
    """Return the translator of a function of two tensors, either of which may be one number."""

    def compute(call: Call) -> torch.Tensor:
        left, right = (_operand(call, position) for position in range(2))
        if not isinstance(left, torch.Tensor) and not isinstance(right, torch.Tensor):
            left = call.tensor(0)
        return function(left, right)

    return compute


def _operand(call: Call, position: int) -> torch.Tensor | float:
    """Return a constant of one number as that number, and anything else as a tensor."""
    value = call.values[position]
    if call.keeps_tensors:
        return call.tensor(position)
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype != object:
        others = [item for item in call.values if isinstance(item, torch.Tensor)]
        if others and value.ndim <= others[0].ndim:
            return value.item()
    return call.tensor(position)


def _many(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Translator:
    """Return the translator of a function of any number of tensors."""

    def compute(call: Call) -> torch.Tensor:
        return reduce(function, call.tensors)

    return compute


def mean_of_several(call: Call) -> torch.Tensor:
    """Mean of several tensors."""
    return reduce(torch.add, call.tensors) / len(call.values)


def power(call: Call) -> torch.Tensor:
    """Power with a fixed exponent."""
    return call.tensor(0) ** _number(call, 1)


def _number(call: Call, position: int) -> float:
    array = call.known(position)
    if array.size != 1:
        call.refuse(f"its input {position} is {array.size} numbers", "give one number")
    return array.item()


def clip(call: Call) -> torch.Tensor:
    """Clip between two numbers, either of which may be missing."""
    bounds: list[float | None] = []
    for position, name in ((1, "min"), (2, "max")):
        bound = call.attribute(name)
        if bound is None and call.has(position):
            bound = _number(call, position)
        bounds.append(None if bound is None or abs(bound) > _BOUND else float(bound))
    low, high = bounds
    return call.tensor(0) if low is high is None else torch.clamp(call.tensor(0), low, high)


def leaky_relu(call: Call) -> torch.Tensor:
    """LeakyReLU."""
    return functional.leaky_relu(call.tensor(0), call.attribute("alpha", 0.01))


def prelu(call: Call) -> torch.Tensor:
    """PReLU with one slope, or one per channel."""
    x, slope = call.tensor(0), call.tensor(1)
    shape = (*(1,) * (x.ndim - slope.ndim), *slope.shape)
    others = [size for axis, size in enumerate(shape) if axis != 1]
    if math.prod(others) == 1:
        return functional.prelu(x, slope.reshape(-1))
    return functional.relu(x) - slope * functional.relu(-x)


def hard_sigmoid(call: Call) -> torch.Tensor:
    """``clamp(alpha * x + beta, 0, 1)``."""
    alpha, beta = call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    return torch.clamp(call.tensor(0) * alpha + beta, 0.0, 1.0)


def elu(call: Call) -> torch.Tensor:
    """ELU."""
    return functional.elu(call.tensor(0), call.attribute("alpha", 1.0))


def selu(call: Call) -> torch.Tensor:
    """SELU; other constants than the usual ones are an ELU and a factor."""
    alpha = call.attribute("alpha", 1.67326319217681884765625)
    gamma = call.attribute("gamma", 1.05070102214813232421875)
    return functional.elu(call.tensor(0), alpha) * gamma


def celu(call: Call) -> torch.Tensor:
    """CELU."""
    return functional.celu(call.tensor(0), call.attribute("alpha", 1.0))


def gelu(call: Call) -> torch.Tensor:
    """GELU, or its tanh approximation."""
    return functional.gelu(call.tensor(0), approximate=call.attribute("approximate", "none"))


def softmax(call: Call) -> torch.Tensor:
    """Softmax over one axis, or, up to operator set 12, over all axes from one on."""
    x = call.tensor(0)
    old = call.opset < 13
    axis = call.attribute("axis", 1 if old else -1) % x.ndim
    if not old or axis == x.ndim - 1:
        return torch.softmax(x, axis)
    return torch.softmax(x.flatten(axis), axis).reshape(x.shape)


def shrink(call: Call) -> torch.Tensor:
    """Soft threshold by one number."""
    bias, bound = call.attribute("bias", 0.0), call.attribute("lambd", 0.5)
    if bias != bound:
        call.refuse(f"its bias {bias} is not its threshold {bound}", "use a soft threshold")
    return functional.softshrink(call.tensor(0), bound)


def softsign(x: torch.Tensor) -> torch.Tensor:
    """``x / (1 + |x|)``."""
    return x / (1 + x.abs())


def where(call: Call) -> torch.Tensor:
    """Choice between two numbers by a comparison with a number."""
    condition = call.tensor(0)
    if isinstance(call.values[0], np.ndarray):
        condition = condition.bool()
    return torch.where(condition, _operand(call, 1), _operand(call, 2))  # type: ignore[arg-type]


def convert(call: Call) -> torch.Tensor:
    """Conversion between floating-point types, which changes no value here."""
    if call.attribute("to", 1) not in (1, 10, 11, 16):
        call.refuse("it converts values to integers", "leave that outside of the network")
    return call.tensor(0)


def _reduction(function: Callable[[torch.Tensor, list[int], bool], torch.Tensor]) -> Translator:
    def compute(call: Call) -> torch.Tensor:
        x = call.tensor(0)
        axes = call.axes(1, x.ndim, None)
        if not axes:
            if call.attribute("noop_with_empty_axes", 0):
                return x
            axes = list(range(x.ndim))
        return function(x, axes, bool(call.attribute("keepdims", 1)))

    return compute


ELEMENTWISE: Final[dict[str, Translator]] = {
    "Abs": _one(torch.abs),
    "Add": _two(torch.add),
    "Cast": convert,
    "Celu": celu,
    "Clip": clip,
    "Cos": _one(torch.cos),
    "Div": _two(torch.div),
    "Elu": elu,
    "Erf": _one(torch.erf),
    "Exp": _one(torch.exp),
    "Gelu": gelu,
    "Greater": _two(torch.gt),
    "GreaterOrEqual": _two(torch.ge),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _one(functional.hardswish),
    "LeakyRelu": leaky_relu,
    "Less": _two(torch.lt),
    "LessOrEqual": _two(torch.le),
    "Log": _one(torch.log),
    "Max": _many(torch.maximum),
    "Mean": mean_of_several,
    "Min": _many(torch.minimum),
    "Mish": _one(functional.mish),
    "Mul": _two(torch.mul),
    "Neg": _one(torch.neg),
    "PRelu": prelu,
    "Pow": power,
    "Reciprocal": _one(torch.reciprocal),
    "ReduceL1": _reduction(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    "ReduceMax": _reduction(lambda x, axes, keep: x.amax(axes, keep)),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceMin": _reduction(lambda x, axes, keep: x.amin(axes, keep)),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keep)),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: (x * x).sum(axes, keep)),
    "Relu": _one(functional.relu),
    "Selu": selu,
    "Shrink": shrink,
    "Sigmoid": _one(torch.sigmoid),
    "Sign": _one(torch.sign),
    "Sin": _one(torch.sin),
    "Softmax": softmax,
    "Softplus": _one(functional.softplus),
    "Softsign": _one(softsign),
    "Sqrt": _one(torch.sqrt),
    "Sub": _two(torch.sub),
    "Sum": _many(torch.add),
    "Tanh": _one(torch.tanh),
    "Where": where,
}
"""Translators by operation."""
