"""What a graph consists of: values, states, constants and nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Format, FormatError, Quantization, check_raw, saturation_limits
from fxp.graph.extents import Extent, Shape, shape_text
from fxp.graph.ops.base import Accumulator, GraphError, Op, Operand


@dataclass(frozen=True)
class Value:
    """A named image ``(C, H, W)`` or vector ``(F,)`` with its format (None in a float graph)."""

    name: str
    shape: Shape
    format: Format | None = None

    def __post_init__(self) -> None:
        shape = tuple(int(size) if isinstance(size, np.integer) else size for size in self.shape)
        if any(isinstance(size, bool) or not isinstance(size, int | Extent) for size in shape):
            raise GraphError(f"value {self.name!r}: sizes must be int or Extent, got {shape}")
        if not isinstance(self.format, Format | None):
            raise GraphError(f"value {self.name!r}: {self.format!r} is not a Format")
        object.__setattr__(self, "shape", shape)

    def __str__(self) -> str:
        return f"{self.name}: {shape_text(self.shape)}{f' {self.format}' if self.format else ''}"


@dataclass(frozen=True)
class State:
    """A value fed back from the previous call.

    Attributes
    ----------
    value
        What the nodes read; before the first call every element is `reset`.
    source
        Name of the value that becomes `value` in the next call; same shape and format.
    reset
        Raw integer (integer graph) or number (float graph) before the first call.
    """

    value: Value
    source: str
    reset: float = 0

    def __post_init__(self) -> None:
        if not isinstance(self.value, Value) or not isinstance(self.source, str):
            raise GraphError(f"state {self.value}: needs a Value and the name of its source")


@dataclass(frozen=True, eq=False)
class Constant:
    """Weights, biases, tables and numbers.

    Attributes
    ----------
    name
        Name in the graph; for weights the state-dict key of the torch module where there is one.
    data
        float64 values, or int64 raw integers; read-only.
    formats
        Empty in a float graph; one format; or one per index of the first axis.
    derivation
        How the data of a float graph follows from a trained model, for training; not stored.
    """

    name: str
    data: NDArray
    formats: tuple[Format, ...] = ()
    derivation: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        formats = self.formats
        if not isinstance(formats, Sequence) or any(not isinstance(f, Format) for f in formats):
            raise GraphError(f"constant {self.name!r}: formats must be a tuple of Format")
        expected = np.dtype(np.int64 if self.formats else np.float64)
        data = np.asarray(self.data)
        if data.flags.writeable or data.base is not None:
            # What nobody can change need not be copied.
            data = data.copy()
        if data.dtype != expected:
            raise GraphError(f"constant {self.name!r}: needs dtype {expected}, got {data.dtype}")
        if data.size == 0 or data.ndim == 0:
            raise GraphError(f"constant {self.name!r}: shape {data.shape} holds no axis or element")
        if not self.formats and not np.isfinite(data).all():
            raise GraphError(f"constant {self.name!r}: holds NaN or infinity")
        if self.formats:
            if len(self.formats) not in (1, data.shape[0]):
                raise GraphError(
                    f"constant {self.name!r}: {len(self.formats)} formats for {data.shape[0]} "
                    "channels; give one, or one per channel"
                )
            self._check_range(data)
        data.setflags(write=False)
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "formats", tuple(self.formats))

    def _check_range(self, data: NDArray) -> None:
        """Raise `GraphError` unless every raw integer fits its format."""
        rows = data.reshape(len(data), -1) if len(self.formats) > 1 else data.reshape(1, -1)
        least = np.array([form.min_raw for form in self.formats])
        most = np.array([form.max_raw for form in self.formats])
        outside = (rows.min(axis=1) < least) | (rows.max(axis=1) > most)
        if outside.any():
            channel = int(outside.argmax())
            form = self.formats[channel]
            try:
                check_raw(data if len(self.formats) == 1 else data[channel], form, narrow=True)
            except FormatError as error:
                raise GraphError(f"constant {self.name!r}: {error}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and (
            self.name == other.name
            and self.formats == other.formats
            and np.array_equal(self.data, other.data)
        )

    def __hash__(self) -> int:
        return hash((self.name, self.data.shape, self.formats))

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of an array is writable; made anew, the constant is checked and read-only again.
        return Constant, (self.name, self.data, self.formats, self.derivation)

    @cached_property
    def operand(self) -> Operand:
        """What ops know of the constant; one object, which remembers sums of the data."""
        return Operand(self.data.shape, self.formats, self.data)

    @property
    def values(self) -> NDArray[np.float64]:
        """The real values."""
        if not self.formats:
            return self.data
        fracs = np.array([form.frac for form in self.formats])
        values = self.data.astype(np.float64)
        return np.ldexp(values, -fracs.reshape((-1,) + (1,) * (values.ndim - 1)), out=values)

    def __str__(self) -> str:
        if not self.formats:
            kind = ""
        elif len(set(self.formats)) == 1:
            kind = f" {self.formats[0]}"
        else:
            fracs = [form.frac for form in self.formats]
            kind = f" {self.formats[0].width} bit, frac {min(fracs)} to {max(fracs)} per channel"
        return f"{self.name}: {shape_text(self.data.shape)}{kind}"


@dataclass(frozen=True)
class Node:
    """One op applied to named values; its result carries the node's name.

    Attributes
    ----------
    name
        Name of the node and of the value it computes.
    op
        The op with its attributes.
    inputs
        Names of values and constants.
    quantization
        Format, rounding and overflow of the result; None in a float graph.
    accumulator
        Proved range of the exact result; set by the graph, never by hand.
    origin
        Where the node comes from in the user's model, for messages.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    quantization: Quantization | None = None
    accumulator: Accumulator | None = field(default=None, compare=False, repr=False)
    origin: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.op, Op):
            raise GraphError(f"node {self.name!r}: {self.op!r} is not an op")
        unhashable = [n for n, v in self.op.attributes().items() if isinstance(v, list)]
        if unhashable:
            raise GraphError(f"node {self.name!r}: {unhashable} must be tuples, not lists")
        if isinstance(self.inputs, str) or any(not isinstance(name, str) for name in self.inputs):
            raise GraphError(f"node {self.name!r}: inputs must be a tuple of names")
        if not isinstance(self.quantization, Quantization | None):
            raise GraphError(f"node {self.name!r}: {self.quantization!r} is not a Quantization")
        object.__setattr__(self, "inputs", tuple(self.inputs))

    @cached_property
    def is_exact(self) -> bool:
        """Whether rounding and overflow change no value that the proved accumulator can take."""
        accumulator, target = self.accumulator, self.quantization
        assert accumulator is not None
        assert target is not None
        form = target.format
        if form.frac < accumulator.frac:
            return False
        low, high = saturation_limits(form, target.overflow)
        return all(
            below << (form.frac - frac) >= low and above << (form.frac - frac) <= high
            for below, above, frac in zip(
                accumulator.low, accumulator.high, accumulator.fracs, strict=True
            )
        )


class GraphView(Protocol):
    """What a module below `fxp.graph.graph` may read of a graph; see `fxp.graph.graph.Graph`."""

    @property
    def name(self) -> str:
        """Name of the graph."""
        ...

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What a caller gives."""
        ...

    @property
    def nodes(self) -> tuple[Node, ...]:
        """In execution order."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what a caller gets."""
        ...

    @property
    def constants(self) -> tuple[Constant, ...]:
        """Weights, biases, tables and numbers."""
        ...

    @property
    def states(self) -> tuple[State, ...]:
        """Values fed back from the previous call."""
        ...

    @property
    def is_integer(self) -> bool:
        """Whether values have formats."""
        ...

    @property
    def values(self) -> Mapping[str, Value]:
        """Inputs, states and node results by name."""
        ...

    @cached_property
    def constants_by_name(self) -> Mapping[str, Constant]:
        """Constants by name."""
        ...
