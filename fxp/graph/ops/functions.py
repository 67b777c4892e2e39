"""Functions of one value that become stored tables: one row each.

A row is a class: its name, the function for NumPy (which fills the table) and for torch (which is
the float forward and gives the gradient), the range of its results, and its parameters as fields.
Everything else, from the integer executors to the file format, knows `Table` alone. The front end
takes a row as it is, if its name and parameters are those of its ``aten`` op.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Format, IntArray, Overflow, Rounding, quantize
from fxp.graph.ops.base import Operand, Range, TableUse, register, require
from fxp.graph.ops.tables import Table, check_table_bits
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as torch_functional
else:
    torch = lazy_import("torch", "torch")
    torch_functional = lazy_import("torch.nn.functional", "torch")

Reals = NDArray[np.float64]
INFINITY: Final = math.inf
_ERF: Final = np.frompyfunc(math.erf, 1, 1)
_ERFC: Final = np.frompyfunc(math.erfc, 1, 1)


class FunctionTable(Table):
    """A known function; its table is computed once, when a network is quantized."""

    arity: ClassVar[tuple[int, int]] = (1, 2)
    table_use: ClassVar[TableUse | None] = "result"

    @abstractmethod
    def evaluate(self, x: Reals) -> Reals:
        """Results in float64; finite for every finite `x`, without warnings."""

    @abstractmethod
    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same by PyTorch, which can be differentiated."""

    def table_values(self, source: Operand, bits: int) -> Reals:
        """Return the result for every code of the source, from the smallest to the largest."""
        check_table_bits(source.format)
        codes = np.arange(source.format.min_raw, source.format.max_raw + 1, dtype=np.float64)
        with np.errstate(over="ignore"):  # infinity is refused where the table is stored
            return self.evaluate(np.ldexp(codes, -source.format.frac))

    def tabulate(self, source: Format, result: Format) -> IntArray:
        """Raw results for every code, rounded half up and clipped to a format.

        Parameters
        ----------
        source
            Format of the codes, of at most 16 bits.
        result
            Format of the entries.

        Returns
        -------
        numpy.ndarray
            int64, ``(2**source.width,)``.

        Raises
        ------
        GraphError
            If `source` has more than 16 bits.
        """
        values = self.table_values(Operand((1,), (source,)), result.width)
        return quantize(values, result, Rounding.HALF_UP, Overflow.SATURATE)

    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Look the code up in the table; without a table, the function itself."""
        if len(tensors) == 1:
            return self.evaluate_torch(tensors[0])
        return super().torch(operands, *tensors)


class _OfPositive(FunctionTable):
    """A function without results at zero, or at and below zero.

    In a table these codes have the result of the smallest positive code.
    """

    def has_result(self, x: Reals) -> NDArray[np.bool_]:
        """Where the function is defined and finite."""
        return x > 0

    def table_values(self, source: Operand, bits: int) -> Reals:
        """Return the result for every code, that of one step where there is none."""
        check_table_bits(source.format)
        codes = np.arange(source.format.min_raw, source.format.max_raw + 1, dtype=np.float64)
        values = np.ldexp(codes, -source.format.frac)
        values = np.where(self.has_result(values), values, 2.0**-source.format.frac)
        return self.evaluate(values)


def _softplus(x: Reals) -> Reals:
    """``log(1 + exp(x))`` without overflow."""
    return np.logaddexp(0.0, x)


@register
@dataclass(frozen=True)
class Sigmoid(FunctionTable):
    """Logistic function ``1 / (1 + exp(-x))``."""

    name: ClassVar[str] = "sigmoid"
    output_range: ClassVar[Range | None] = (0.0, 1.0)

    def evaluate(self, x: Reals) -> Reals:
        """By tanh, which cannot overflow."""
        return 0.5 * (1.0 + np.tanh(0.5 * x))

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.sigmoid."""
        return torch.sigmoid(x)


@register
@dataclass(frozen=True)
class Tanh(FunctionTable):
    """Hyperbolic tangent."""

    name: ClassVar[str] = "tanh"
    output_range: ClassVar[Range | None] = (-1.0, 1.0)

    def evaluate(self, x: Reals) -> Reals:
        """numpy.tanh."""
        return np.tanh(x)

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.tanh."""
        return torch.tanh(x)


@register
@dataclass(frozen=True)
class HardSigmoid(FunctionTable):
    """``clamp(x + 3, 0, 6) / 6`` (Howard et al., ICCV 2019)."""

    name: ClassVar[str] = "hardsigmoid"
    output_range: ClassVar[Range | None] = (0.0, 1.0)

    def evaluate(self, x: Reals) -> Reals:
        """As written."""
        return np.clip(x + 3.0, 0.0, 6.0) / 6.0

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.hardsigmoid."""
        return torch_functional.hardsigmoid(x)


@register
@dataclass(frozen=True)
class HardSwish(FunctionTable):
    """``x * clamp(x + 3, 0, 6) / 6`` (Howard et al., ICCV 2019)."""

    name: ClassVar[str] = "hardswish"
    output_range: ClassVar[Range | None] = (-0.375, INFINITY)

    def evaluate(self, x: Reals) -> Reals:
        """As written."""
        return x * (np.clip(x + 3.0, 0.0, 6.0) / 6.0)

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.hardswish."""
        return torch_functional.hardswish(x)


@register
@dataclass(frozen=True)
class Silu(FunctionTable):
    """``x / (1 + exp(-x))``, also called swish (Elfwing et al., 2017)."""

    name: ClassVar[str] = "silu"
    output_range: ClassVar[Range | None] = (-0.2785, INFINITY)

    def evaluate(self, x: Reals) -> Reals:
        """By the logarithm of the logistic function, which cannot overflow."""
        return x * np.exp(-_softplus(-x))

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.silu."""
        return torch_functional.silu(x)


@register
@dataclass(frozen=True)
class Mish(FunctionTable):
    """``x * tanh(log(1 + exp(x)))`` (Misra, BMVC 2020)."""

    name: ClassVar[str] = "mish"
    output_range: ClassVar[Range | None] = (-0.3089, INFINITY)

    def evaluate(self, x: Reals) -> Reals:
        """As written."""
        return x * np.tanh(_softplus(x))

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.mish."""
        return torch_functional.mish(x)


Approximation = Literal["none", "tanh"]


@register
@dataclass(frozen=True)
class Gelu(FunctionTable):
    """``x`` times the normal distribution function, or its tanh approximation (Hendrycks, 2016)."""

    name: ClassVar[str] = "gelu"
    output_range: ClassVar[Range | None] = (-0.1705, INFINITY)

    approximate: Approximation = "none"

    def __post_init__(self) -> None:
        require(
            self.approximate in ("none", "tanh"),
            f"approximate must be 'none' or 'tanh', got {self.approximate!r}",
        )

    def evaluate(self, x: Reals) -> Reals:
        """By erfc, whose small values are exact; or as written."""
        if self.approximate == "none":
            return 0.5 * x * np.asarray(_ERFC(-x / math.sqrt(2.0)), dtype=np.float64)
        with np.errstate(over="ignore"):  # tanh of infinity is 1
            inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
        return 0.5 * x * (1.0 + np.tanh(inner))

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.gelu."""
        return torch_functional.gelu(x, approximate=self.approximate)


@register
@dataclass(frozen=True)
class Elu(FunctionTable):
    """``scale * x`` above zero, ``scale * alpha * (exp(input_scale * x) - 1)`` below.

    ELU has `alpha` alone, CELU an `input_scale` of ``1 / alpha``, SELU two constants.
    """

    name: ClassVar[str] = "elu"
    output_range: ClassVar[Range | None] = (-INFINITY, INFINITY)

    alpha: float = 1.0
    scale: float = 1.0
    input_scale: float = 1.0

    def __post_init__(self) -> None:
        numbers = (self.alpha, self.scale, self.input_scale)
        require(
            all(map(math.isfinite, numbers)) and self.input_scale >= 0,
            f"needs a finite alpha and scale, and an input_scale from 0 on, got {numbers}",
        )

    def evaluate(self, x: Reals) -> Reals:
        """By expm1 of what is below zero."""
        below = self.alpha * np.expm1(np.minimum(x, 0.0) * self.input_scale)
        return self.scale * np.where(x > 0, x, below)

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``aten.elu``, of which torch.nn.functional has a part."""
        return torch.ops.aten.elu(x, self.alpha, self.scale, self.input_scale)


@register
@dataclass(frozen=True)
class Softplus(FunctionTable):
    """``log(1 + exp(beta * x)) / beta``, and ``x`` where ``beta * x`` exceeds `threshold`."""

    name: ClassVar[str] = "softplus"
    output_range: ClassVar[Range | None] = (0.0, INFINITY)

    beta: float = 1.0
    threshold: float = 20.0

    def __post_init__(self) -> None:
        require(
            0 < self.beta < INFINITY and 0 <= self.threshold < INFINITY,
            f"needs a finite beta above 0 and a finite threshold from 0 on, got {self.beta} and "
            f"{self.threshold}",
        )

    def evaluate(self, x: Reals) -> Reals:
        """As written."""
        inner = self.beta * x
        return np.where(inner > self.threshold, x, _softplus(inner) / self.beta)

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.softplus."""
        return torch_functional.softplus(x, self.beta, self.threshold)


@register
@dataclass(frozen=True)
class LogSigmoid(FunctionTable):
    """``-log(1 + exp(-x))``, the logarithm of the logistic function."""

    name: ClassVar[str] = "log_sigmoid"
    output_range: ClassVar[Range | None] = (-INFINITY, 0.0)

    def evaluate(self, x: Reals) -> Reals:
        """As written."""
        return -_softplus(-x)

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.nn.functional.logsigmoid."""
        return torch_functional.logsigmoid(x)


@register
@dataclass(frozen=True)
class Exp(FunctionTable):
    """Exponential function."""

    name: ClassVar[str] = "exp"
    output_range: ClassVar[Range | None] = (0.0, INFINITY)

    def evaluate(self, x: Reals) -> Reals:
        """Return numpy.exp, constant where float64 ends."""
        return np.exp(np.minimum(x, 700.0))

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.exp."""
        return torch.exp(x)


@register
@dataclass(frozen=True)
class Log(_OfPositive):
    """Natural logarithm; that of the smallest positive code at and below zero."""

    name: ClassVar[str] = "log"
    output_range: ClassVar[Range | None] = (-INFINITY, INFINITY)

    def evaluate(self, x: Reals) -> Reals:
        """Return numpy.log."""
        return np.log(np.maximum(x, 5e-324))

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.log."""
        return torch.log(x)


@register
@dataclass(frozen=True)
class Erf(FunctionTable):
    """Error function."""

    name: ClassVar[str] = "erf"
    output_range: ClassVar[Range | None] = (-1.0, 1.0)

    def evaluate(self, x: Reals) -> Reals:
        """Return math.erf."""
        return np.asarray(_ERF(x), np.float64)

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.erf."""
        return torch.erf(x)


@register
@dataclass(frozen=True)
class Sin(FunctionTable):
    """Sine."""

    name: ClassVar[str] = "sin"
    output_range: ClassVar[Range | None] = (-1.0, 1.0)

    def evaluate(self, x: Reals) -> Reals:
        """numpy.sin."""
        return np.sin(x)

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.sin."""
        return torch.sin(x)


@register
@dataclass(frozen=True)
class Cos(FunctionTable):
    """Cosine."""

    name: ClassVar[str] = "cos"
    output_range: ClassVar[Range | None] = (-1.0, 1.0)

    def evaluate(self, x: Reals) -> Reals:
        """numpy.cos."""
        return np.cos(x)

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """torch.cos."""
        return torch.cos(x)


@register
@dataclass(frozen=True)
class Power(_OfPositive):
    """``x ** exponent``: square root, its reciprocal, reciprocal and any other fixed power.

    Powers that are infinite or not a number have the result of the smallest positive code; roots of
    negative numbers are those of zero.
    """

    name: ClassVar[str] = "power"
    output_range: ClassVar[Range | None] = (-INFINITY, INFINITY)

    exponent: float = 0.5

    def __post_init__(self) -> None:
        require(abs(self.exponent) <= 16, f"exponent must be from -16 to 16, got {self.exponent}")

    def has_result(self, x: Reals) -> NDArray[np.bool_]:
        """Everywhere but at zero for whole exponents; for others from zero on."""
        zero = (x == 0) & (self.exponent >= 0)
        return (x != 0) | zero if self.exponent.is_integer() else (x > 0) | zero

    def table_values(self, source: Operand, bits: int) -> Reals:
        """Return the power of every code."""
        values = super().table_values(source, bits)
        if self.exponent > 0 and not self.exponent.is_integer():
            values[: max(-source.format.min_raw, 0)] = 0.0
        return values

    def evaluate(self, x: Reals) -> Reals:
        """Return numpy.power; 0 where that is infinite or not a number."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            powers = np.power(x, self.exponent)
        return np.nan_to_num(powers, nan=0.0, posinf=0.0, neginf=0.0)

    def evaluate_torch(self, x: torch.Tensor) -> torch.Tensor:
        """Return torch.pow."""
        return torch.pow(x, self.exponent)
