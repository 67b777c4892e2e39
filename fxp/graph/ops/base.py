"""What an op is: one class that holds every face of it.

An op computes, from its integer operands, an exact integer *accumulator* per output element; the
executor that runs it then requantizes once, to the format of the node. So the faces of an op only
ever say what the accumulator is; rounding and overflow are the business of `fxp.formats` and of the
one requantize step of each executor.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from fxp.formats import MAX_WIDTH, Format, FormatError, IntArray
from fxp.graph.extents import Shape, shape_text
from fxp.graph.ops.windows import Kernel, Summary
from fxp.support.errors import FxpError

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter


class GraphError(FxpError, ValueError):
    """A graph breaks a rule; the message names the node and the rule."""


class NoSuchNodeError(GraphError, KeyError):
    """A graph has no node of the name that was asked for."""

    # A KeyError alone would show its message in quotes.
    __str__ = Exception.__str__


@dataclass(frozen=True)
class Operand:
    """What is known of an op's input before it runs.

    Attributes
    ----------
    shape
        Shape, without batch.
    formats
        Empty in a float graph; one format; or, for a constant, one per index of its first axis.
    constant
        Raw integers (integer graph) or float64 values (float graph) of a constant, else None.
    """

    shape: Shape
    formats: tuple[Format, ...] = ()
    constant: NDArray | None = None

    @property
    def channels(self) -> int:
        """Size of the first axis, which is never symbolic."""
        size = self.shape[0]
        assert isinstance(size, int)
        return size

    @property
    def is_integer(self) -> bool:
        """Whether the operand belongs to an integer graph."""
        return bool(self.formats)

    @property
    def format(self) -> Format:
        """The only format; raises `GraphError` if there is one per channel."""
        if len(self.formats) != 1:
            raise GraphError("needs one format for the whole tensor, not one per channel")
        return self.formats[0]

    @property
    def fracs(self) -> IntArray:
        """Fraction bits per channel, length 1 or the size of the first axis."""
        return np.array([item.frac for item in self.formats], dtype=np.int64)

    @cached_property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest raw integer the operand can take."""
        if self.constant is not None:
            return int(self.constant.min()), int(self.constant.max())
        return self.format.min_raw, self.format.max_raw

    @cached_property
    def signed_sums(self) -> tuple[list[int], list[int]]:
        """Sums of a constant's positive and of its negative raw integers, per first index."""
        assert self.constant is not None
        rows = self.constant.reshape(len(self.constant), -1)
        bits = max(form.width for form in self.formats) + (rows.shape[1] - 1).bit_length()
        # Python integers where a sum may pass 64 bits; a few rows at once stay in the cache.
        step = max(1, SUM_BLOCK // rows.shape[1])
        positive: list[int] = []
        negative: list[int] = []
        for first in range(0, len(rows), step):
            some = rows[first : first + step].astype(np.int64 if bits < 64 else object, copy=False)
            positive += map(int, np.maximum(some, 0).sum(axis=1))
            negative += map(int, np.minimum(some, 0).sum(axis=1))
        return positive, negative


SUM_BLOCK: Final = 1 << 15
"""Elements of a constant that are added up at once."""


@dataclass(frozen=True)
class Accumulator:
    """Proved range of an op's exact result, per output channel.

    Attributes
    ----------
    low, high
        Smallest and largest raw integer that any input can produce.
    fracs
        Fraction bits of each channel's integer.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    fracs: tuple[int, ...]

    @classmethod
    def uniform(cls, channels: int, low: int, high: int, frac: int) -> Accumulator:
        """Return the same range and fraction bits for every channel.

        Parameters
        ----------
        channels
            How many.
        low, high
            Smallest and largest raw integer.
        frac
            Fraction bits.
        """
        return cls((low,) * channels, (high,) * channels, (frac,) * channels)

    @property
    def bits(self) -> int:
        """Width of the two's-complement register that holds every channel."""
        above = max(*self.high, 0).bit_length()
        below = (~min(*self.low, -1)).bit_length()
        return max(above, below) + 1

    @property
    def frac(self) -> int:
        """Fraction bits after aligning all channels, the largest of theirs."""
        return max(self.fracs)

    @property
    def exact_format(self) -> Format:
        """Narrowest format that holds every channel's result without rounding.

        Raises
        ------
        FormatError
            If it would be wider than 63 bits.
        """
        most = self.frac
        shifts = [most - frac for frac in self.fracs]
        low = min(value << shift for value, shift in zip(self.low, shifts, strict=True))
        high = max(value << shift for value, shift in zip(self.high, shifts, strict=True))
        return Format.for_range(min(low, high), max(high, 0), most)

    @property
    def dtype(self) -> np.dtype:
        """int32 if the final sum fits it, else int64.

        Partial sums may leave the range: two's-complement addition wraps back exactly.
        """
        return np.dtype(np.int32 if self.bits <= 32 else np.int64)

    def check(self) -> None:
        """Raise `GraphError` if more than 63 bits are needed."""
        if self.bits > MAX_WIDTH:
            raise GraphError(
                f"the accumulator needs {self.bits} bits for the range "
                f"{min(self.low)} to {max(self.high)}; at most {MAX_WIDTH} are supported"
            )


Role = Literal["weight", "factor", "slope", "bias", "offset", "table"]
"""What a constant does, which decides its format when a network is quantized.

``weight``: multiplied, may have a format per output channel; ``factor``: multiplied, one format;
``slope``: multiplied like a factor, where other values are multiplied by one, so that its fraction
bits are not negative; ``bias``: added to the products, has their fraction bits; ``offset``: added
to values; ``table``: results of a function by code.
"""

TableUse = Literal["result", "factor"]
"""What the table holds that an op gets when a network is quantized.

``result``: results of a function, one for each code of the operand; ``factor``: non-negative
numbers that are multiplied and added before anything is rounded.
"""


Range = tuple[float, float]
"""Smallest and largest real number, infinite where there is none."""
UNBOUNDED: Final[Range] = (-math.inf, math.inf)


def hull(*ranges: Range) -> Range:
    """Return the smallest range that holds others."""
    return min(low for low, _ in ranges), max(high for _, high in ranges)


class Op(ABC):
    """One operation with all its faces; the dataclass fields of a subclass are its attributes.

    Every subclass is a frozen dataclass and is entered in the registry with `register`.
    Operands come in the order of the node's inputs. Images are ``(C, H, W)`` for the oracle,
    ``(H, W, C)`` for the kernel and ``(N, C, H, W)`` for torch and ONNX; vectors are ``(F,)``,
    ``(1, 1, F)`` and ``(N, F)``.
    """

    name: ClassVar[str]
    arity: ClassVar[tuple[int, int]] = (1, 1)
    """Fewest and most inputs."""
    constant_roles: ClassVar[Mapping[int, Role]] = {}
    """Positions that must be constants, and what they are."""
    other_constants: ClassVar[Role | None] = None
    """What constants at the other positions are; None if they must be values."""
    takes_accumulators: ClassVar[bool] = False
    """Whether a preceding exact accumulator may flow in without being rounded first."""
    integer_only: ClassVar[bool] = False
    """Whether the op has no meaning in a float graph."""
    never_rounded: ClassVar[bool] = False
    """Whether quantization must keep the result exact, such as the numbers of pixels."""
    reads_part: ClassVar[bool] = False
    """Whether the op reads a part of its operand: several such readers share a wide value."""
    keeps_place: ClassVar[bool] = True
    """Whether results lie where their operands do, so that strips of rows can be computed."""
    equal_sizes: ClassVar[bool] = True
    """Whether free sizes of its images must be made one; not where one image gives a size only."""
    table_use: ClassVar[TableUse | None] = None
    """What the table holds that quantization computes for the op; None if there is none."""
    output_range: ClassVar[Range | None] = None
    """Bounds of the results of an op whose table holds them, whatever the operand."""
    recordable: ClassVar[bool] = True
    """Whether the kernel calls nothing but routines, so that an engine may write them down."""
    format_is_given: ClassVar[bool] = False
    """Whether the op only moves its operand to a format that something else asks for."""

    def attributes(self) -> dict[str, object]:
        """Return the op's attributes by name, in order."""
        return {item.name: getattr(self, item.name) for item in fields(self)}  # type: ignore[arg-type]

    def attributes_text(self) -> str:
        """Attributes that differ from their defaults, ``stride=(2, 2), groups=4``."""
        defaults = {item.name: item.default for item in fields(self)}  # type: ignore[arg-type]
        return ", ".join(
            f"{name}={value}"
            for name, value in self.attributes().items()
            if value != defaults[name]
        )

    @abstractmethod
    def shape(self, *shapes: Shape) -> Shape:
        """Shape rule; raises `GraphError` for shapes that do not fit.

        Works on integers and on symbolic extents alike.
        """

    def canvas(self, result: tuple[int, ...], *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """Concrete shape of the largest image an executor may lay out: operand and borders.

        Parameters
        ----------
        result
            Concrete shape of the result.
        shapes
            Concrete shapes of the operands.
        """
        channels, *sizes = shapes[0]
        top, bottom, left, right = getattr(self, "padding", (0, 0, 0, 0))
        borders = (top + bottom, left + right)
        return channels, *(size + more for size, more in zip(sizes, borders, strict=False))

    def operations(self, result: tuple[int, ...], *shapes: tuple[int, ...]) -> int:
        """Multiplications and additions that a result takes, about; bounds a run beforehand.

        Parameters
        ----------
        result
            Concrete shape of the result.
        shapes
            Concrete shapes of the operands.
        """
        weights = sum(
            math.prod(shape) * math.prod(result[1:])
            for position, shape in enumerate(shapes)
            if self.constant_roles.get(position) == "weight"
        )
        window = math.prod(getattr(self, "window", ()))
        return weights + math.prod(result) * window + sum(math.prod(shape) for shape in shapes)

    @abstractmethod
    def accumulator(self, *operands: Operand) -> Accumulator:
        """Format rule and worst-case bound: range and fraction bits of the exact result."""

    @abstractmethod
    def oracle(self, operands: Sequence[Operand], *arrays: IntArray) -> IntArray:
        """Return the exact accumulator as int64: slow, obvious NumPy, the definition of the op."""

    @abstractmethod
    def kernel(self, operands: Sequence[Operand], dtype: np.dtype) -> Kernel:
        """Bind constants and return the Numba kernel that accumulates in `dtype`."""

    def real_range(self, *ranges: Range) -> Range:
        """Return the range that no result of the float op leaves, whatever the data.

        Parameters
        ----------
        ranges
            Those of the operands.
        """
        return UNBOUNDED if self.output_range is None else self.output_range

    def table_values(self, source: Operand, bits: int) -> NDArray[np.float64]:
        """Real values of the op's table; only for ops with a `table_use`.

        Parameters
        ----------
        source
            The value that the table is entered with; its format counts.
        bits
            Width with which the entries will be stored.

        Raises
        ------
        GraphError
            If the op has no table, or the source is too wide for one.
        """
        raise GraphError(f"{self.name} has no table")

    def summary(self, operands: Sequence[Operand]) -> Summary | None:
        """Return how to summarize the first input, or None; kernels do without one as well."""
        return None

    def reach(
        self,
        operands: Sequence[Operand],
        axis: int,
        position: int,
        first: int,
        last: int,
        size: int,
    ) -> tuple[int, int]:
        """Rows or columns of an input that a range of outputs reads; everything by default.

        An op that reads zeros beyond the borders may return a range that leaves the image: the
        executor fills these positions of the window with zeros.

        Parameters
        ----------
        operands
            As for the other faces.
        axis
            0 for rows, 1 for columns.
        position
            Which input.
        first, last
            Output rows or columns ``first…last-1``, at least one.
        size
            Size of the input along the axis.

        Returns
        -------
        tuple
            First and last position, the last one excluded.
        """
        return 0, size

    @abstractmethod
    def torch(self, operands: Sequence[Operand], *tensors: torch.Tensor) -> torch.Tensor:
        """Return the real value of the accumulator; exact in float64 below 2**53.

        Also the float forward of an op in a float graph.
        """

    @abstractmethod
    def onnx(self, emit: Emitter, operands: Sequence[Operand], *names: str) -> str:
        """Emit int64 ONNX nodes that compute the accumulator; returns its tensor name."""


REGISTRY: dict[str, type[Op]] = {}
"""Every op by name; filled once, while `fxp.graph.ops` is imported."""


OpClass = TypeVar("OpClass", bound=type[Op])


def register(op_class: OpClass) -> OpClass:
    """Class decorator that enters an op in the registry."""
    if op_class.name in REGISTRY:
        raise ValueError(f"op {op_class.name!r} is registered twice")
    REGISTRY[op_class.name] = op_class
    return op_class


def require(condition: bool, rule: str) -> None:
    """Raise `GraphError` with the broken rule unless `condition` holds."""
    if not condition:
        raise GraphError(rule)


def require_image(shape: Shape) -> None:
    """Raise unless the shape is ``(C, H, W)``."""
    require(len(shape) == 3, f"needs an image (C, H, W), got {shape_text(shape)}")


def require_vector(shape: Shape) -> None:
    """Raise unless the shape is ``(F,)``."""
    require(len(shape) == 1, f"needs a vector (F,), got {shape_text(shape)}")


def channel_view(values: Sequence[int] | IntArray, rank: int) -> IntArray:
    """Reshape per-channel integers so that they broadcast over an image or a vector."""
    return np.asarray(values, dtype=np.int64).reshape((-1,) + (1,) * (rank - 1))


def moved(operand: Operand, channels: int) -> Accumulator:
    """Accumulator of an op that only moves values: the operand's own range."""
    low, high = operand.limits
    return Accumulator.uniform(channels, low, high, operand.format.frac)


__all__ = [
    "REGISTRY",
    "UNBOUNDED",
    "Accumulator",
    "FormatError",
    "GraphError",
    "Op",
    "Operand",
    "Range",
    "Role",
    "channel_view",
    "hull",
    "moved",
    "register",
    "require",
    "require_image",
    "require_vector",
]
