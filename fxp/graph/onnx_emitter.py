"""A small writer of ONNX nodes over int64 tensors, used by the ONNX face of every op.

Stock ONNX Runtime has int64 kernels for MatMul, Add, Sub, Mul, Div, Mod, Where, comparisons, Pad,
Slice, Gather and the shape ops, but not for Conv, Resize, pooling or DepthToSpace: the ops spell
those out. Its Min, Max, Clip and ReduceMax are wrong for values beyond 32 bits on processors
that run the SSE2 code of its Eigen (microsoft/onnxruntime pull request 25280), and its ReduceSum is
exact up to 2**53 only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fxp.formats import Format, Overflow, Rounding, saturation_limits
from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
    import onnx.helper as onnx_helper
    import onnx.numpy_helper as onnx_numpy
else:
    onnx_helper = lazy_import("onnx.helper", "onnx")
    onnx_numpy = lazy_import("onnx.numpy_helper", "onnx")

DOUBLE, INT64 = 11, 7
"""Numbers of float64 and int64 in ONNX."""
TO_THE_END = np.iinfo(np.int64).max


class Emitter:
    """Collects ONNX nodes and initializers; calling it adds a node and returns its output name.

    Attributes
    ----------
    scope
        What the names of further nodes begin with.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._constants: dict[tuple[Any, ...], str] = {}
        self._count = 0
        self.scope = ""

    def __call__(self, op_type: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        self._count += 1
        output = output or f"/t{self._count}"  # graph names hold no slash
        name = f"{self.scope}/{op_type}_{self._count}"
        self.nodes.append(
            onnx_helper.make_node(op_type, list(inputs), [output], name, **attributes)
        )
        return output

    def constant(self, values: ArrayLike, dtype: type = np.int64) -> str:
        """Add a constant tensor, or return the name of an equal one."""
        array = np.asarray(values, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"/c{len(self._constants)}"
            self._constants[key] = name
            self.initializers.append(onnx_numpy.from_array(array, name))
        return self._constants[key]

    def slice(self, name: str, axis: int, start: int, stop: int | None, step: int = 1) -> str:
        """Slice one axis as Python does.

        Parameters
        ----------
        name
            Name of the tensor.
        axis
            The axis, from 0.
        start, stop
            First position, and the one after the last; negative ones count from the end, and a stop
            of None is the end.
        step
            Distance between the positions kept, at least 1.

        Returns
        -------
        str
            Name of the result: the tensor itself where all of it is kept.
        """
        if start == 0 and stop is None and step == 1:
            return name
        bounds = (start, TO_THE_END if stop is None else stop)
        return self("Slice", name, *(self.constant([n]) for n in (*bounds, axis, step)))

    def reshape(self, name: str, shape: Sequence[int]) -> str:
        """Reshape; 0 keeps an axis, -1 infers one."""
        return self("Reshape", name, self.constant(shape))

    def scaled(self, name: str, factors: ArrayLike) -> str:
        """Multiply by constant integers."""
        factors = np.asarray(factors, dtype=np.int64)
        return name if (factors == 1).all() else self("Mul", name, self.constant(factors))

    def windows(
        self,
        name: str,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        dilation: tuple[int, int] = (1, 1),
    ) -> list[str]:
        """Slice a padded image into one strided image per kernel tap, in row-major order.

        Parameters
        ----------
        name
            Name of a tensor ``(N, C, H, W)`` that is padded already.
        kernel, stride, dilation
            Rows and columns of the window, between windows, and between the taps of a window.

        Returns
        -------
        list of str
            Names of ``kernel[0] * kernel[1]`` tensors of the size of the result.
        """
        taps = []
        for row in range(kernel[0]):
            rows = self._tap(name, 2, row, kernel[0], stride[0], dilation[0])
            taps += [
                self._tap(rows, 3, column, kernel[1], stride[1], dilation[1])
                for column in range(kernel[1])
            ]
        return taps

    def requantize(
        self,
        name: str,
        shift: np.ndarray,
        target: Format,
        rounding: Rounding,
        overflow: Overflow,
        bits: int,
        output: str,
    ) -> str:
        """Emit shift, rounding and overflow.

        The rounding constants need one bit more than the accumulator, and a left shift as many as
        it shifts; 64 bits are enough because the graph proves at most 63.

        Parameters
        ----------
        name
            Name of the int64 tensor of exact results.
        shift
            Bits to shift right, negative to the left: integers that broadcast with the tensor.
        target
            Format of the result.
        rounding, overflow
            Modes.
        bits
            Width of the accumulator.
        output
            Name of the result.

        Raises
        ------
        ArgumentError
            If a shift needs more than 64 bits.
        """
        right, left = np.maximum(shift, 0), np.maximum(-shift, 0)
        if bits + int(left.max()) > 62 or int(right.max()) > 61:
            raise ArgumentError(
                f"ONNX needs 64-bit arithmetic: {bits} accumulator bits shifted by "
                f"{-int(left.max())} to {int(right.max())} do not fit"
            )
        value = self.scaled(name, 1 << left)
        if right.any():
            value = self._round(value, right, rounding)
        low, high = saturation_limits(target, overflow)
        if overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
            return self.minimum(
                self.maximum(value, self.constant(low)), self.constant(high), output
            )
        if overflow is Overflow.SATURATE_TO_ZERO:
            outside = self(
                "Or",
                self("Greater", value, self.constant(high)),
                self("Less", value, self.constant(low)),
            )
            return self("Where", outside, self.constant(0), value, output=output)
        return self._wrap(value, target, overflow, output)

    def maximum(self, left: str, right: str) -> str:
        """Larger of two tensors, of any 64-bit values."""
        return self("Where", self("Less", left, right), right, left)

    def minimum(self, left: str, right: str, output: str = "") -> str:
        """Smaller of two tensors, of any 64-bit values.

        Parameters
        ----------
        left, right
            Names of the tensors.
        output
            Name of the result; empty for a new one.
        """
        return self("Where", self("Less", left, right), left, right, output=output)

    def largest(self, name: str, bits: int, axes: Sequence[int] = (2, 3)) -> str:
        """Maximum over axes, which stay with size 1.

        Parameters
        ----------
        name
            Name of the tensor.
        bits
            Two's-complement bits of its values.
        axes
            The axes, from 0; height and width by default.
        """
        over = self.constant(axes)
        if bits <= 32:
            return self("ReduceMax", name, over, keepdims=1)
        # The largest upper part, then the largest lower part beside it.
        unit = self.constant(1 << 31)
        upper, lower = self.floor_divide(name, 1 << 31), self("Mod", name, unit)
        largest = self("ReduceMax", upper, over, keepdims=1)
        beside = self("Where", self("Equal", upper, largest), lower, self.constant(-1))
        lowest = self("ReduceMax", beside, over, keepdims=1)
        return self("Add", self("Mul", largest, unit), lowest)

    def sum(self, name: str, axes: Sequence[int], bits: int) -> str:
        """Exact sum over axes, which stay with size 1.

        Parameters
        ----------
        name
            Name of the tensor; of at most 2**26 values for each result if it is wide.
        axes
            The axes, from 0.
        bits
            Bits of the largest magnitude that a sum can have.
        """
        over = self.constant(axes)
        if bits <= 53:
            return self("ReduceSum", name, over, keepdims=1)
        # Sums of the upper and of the lower parts, each below 2**53.
        unit = 1 << 26
        upper = self("ReduceSum", self.floor_divide(name, unit), over, keepdims=1)
        lower = self("ReduceSum", self("Mod", name, self.constant(unit)), over, keepdims=1)
        return self("Add", self.scaled(upper, unit), lower)

    def count(self, name: str, axes: Sequence[int]) -> str:
        """Return the number of values along axes at run time, a scalar."""
        sizes = self("Gather", self("Shape", name), self.constant(axes))
        return self("ReduceProd", sizes, keepdims=0)

    def floor_sqrt(self, name: str) -> str:
        """Largest integers whose squares do not exceed values from 0 to ``2**62 - 1``."""
        # As fxp.formats.floor_sqrt: the root in float64 is off by one at most.
        root = self("Cast", self("Sqrt", self("Cast", name, to=DOUBLE)), to=INT64)
        above = self("Greater", self("Mul", root, root), name)
        root = self("Sub", root, self("Cast", above, to=INT64))
        following = self("Add", root, self.constant(1))
        above = self("Greater", self("Mul", following, following), name)
        return self("Where", above, root, following)

    def floor_divide(self, name: str, divisor: ArrayLike) -> str:
        """Divide by positive integers, rounding down (ONNX Div rounds toward zero)."""
        divisors = self.constant(divisor)
        return self("Div", self("Sub", name, self("Mod", name, divisors)), divisors)

    def _tap(self, name: str, axis: int, tap: int, kernel: int, stride: int, dilation: int) -> str:
        behind = (kernel - 1 - tap) * dilation
        return self.slice(name, axis, tap * dilation, -behind if behind else None, stride)

    def _round(self, name: str, shift: np.ndarray, rounding: Rounding) -> str:
        # Rounding of the other executors: fxp/formats/conversion.py (oracle),
        # fxp/kernels/requantize.py (engine), fxp/executors/torch_forward.py (PyTorch).
        step = np.int64(1) << shift
        half = step >> 1  # zero where nothing is shifted out: then every mode is the identity
        if rounding is Rounding.FLOOR:
            return self.floor_divide(name, step)
        if rounding is Rounding.HALF_UP:
            return self.floor_divide(self("Add", name, self.constant(half)), step)
        if rounding is Rounding.HALF_DOWN:
            below = np.maximum(half - 1, 0)
            return self.floor_divide(self("Add", name, self.constant(below)), step)
        negative = self("Less", name, self.constant(0))
        if rounding is Rounding.HALF_EVEN:
            odd = self("Mod", self.floor_divide(name, step), self.constant(2))
            bias = self("Add", self.constant(np.maximum(half - 1, 0)), odd)
            bias = self("Mul", bias, self.constant((step > 1).astype(np.int64)))
        else:
            above = {Rounding.TO_ZERO: 0, Rounding.HALF_AWAY: half}.get(
                rounding, np.maximum(half - 1, 0)
            )
            below = {
                Rounding.TO_ZERO: step - 1,
                Rounding.HALF_AWAY: np.maximum(half - 1, 0),
            }.get(rounding, half)
            shape = np.broadcast(above, below, step).shape
            bias = self(
                "Where",
                negative,
                self.constant(np.broadcast_to(below, shape)),
                self.constant(np.broadcast_to(above, shape)),
            )
        return self.floor_divide(self("Add", name, bias), step)

    def _wrap(self, name: str, target: Format, overflow: Overflow, output: str) -> str:
        if target.width > 61:
            raise ArgumentError(f"ONNX wrap-around to {target} does not fit 64-bit arithmetic")
        modulus = self.constant(1 << target.width)
        half = self.constant(1 << (target.width - 1)) if target.signed else self.constant(0)
        if overflow is Overflow.WRAP_SIGN_MAGNITUDE:
            dropped = self("Mod", self.floor_divide(name, 1 << target.width), self.constant(2))
            kept = self("Mod", name, modulus)
            sign = self.floor_divide(kept, 1 << (target.width - 1))
            inverted = self("Sub", self.constant((1 << target.width) - 1), kept)
            name = self("Where", self("Equal", dropped, sign), kept, inverted)
        wrapped = self("Mod", self("Add", name, half), modulus)
        return self("Sub", wrapped, half, output=output)
