"""Arithmetic on sizes: ``Shape``, and what a graph computes from it before a ``Reshape``.

Sizes are arrays of Python numbers, some of which may be symbols of torch, so that the heights and
widths of images stay free. Constants of a graph are computed in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.frontend.onnx.call import Call, Translator
from fxp.frontend.onnx.limits import MAX_STATIC

Array = NDArray[Any]


def objects(values: Any) -> Array:
    """Return numbers as an array of Python numbers."""
    return np.array(values, dtype=object)


def shape(call: Call) -> Array:
    """Sizes of a tensor."""
    value = call.values[0]
    sizes = list(value.shape) if value is not None else []
    return objects(sizes[call.attribute("start", 0) : call.attribute("end", len(sizes))])


def element_count(call: Call) -> Array:
    """Count the elements of a tensor."""
    count = 1
    for size in list(call.tensor(0).shape):
        count = count * size
    return objects(count)


def _arithmetic(function: Callable[[Any, Any], Any]) -> Translator:
    def compute(call: Call) -> Array:
        left, right = call.known(0), call.known(1)
        if np.broadcast(left, right).size > MAX_STATIC:
            call.refuse("it computes too many sizes", "compute with tensors")
        if any(array.dtype == object for array in (left, right)):
            left, right = _whole(left), _whole(right)
        with np.errstate(all="ignore"):
            return np.asarray(function(left, right))

    return compute


def _whole(array: Array) -> Array:
    """Write whole numbers as integers, so that a size times 2.0 stays a size."""
    return (
        objects(array)
        if array.dtype == object
        else objects(
            [int(item) if float(item).is_integer() else item for item in array.ravel().tolist()]
        ).reshape(array.shape)
    )


def _divided(left: Array, right: Array) -> Array:
    if left.dtype.kind == "f" or right.dtype.kind == "f":
        return left / right
    if any(isinstance(item, float) for item in (*left.ravel(), *right.ravel())):
        return left / right
    if not right.all():
        raise ZeroDivisionError("a size is divided by zero")
    return left // right


def cast(call: Call) -> Array:
    """Conversion of sizes; whole numbers keep their value."""
    array, target = call.known(0), call.attribute("to", 1)
    if array.dtype == object:
        return array
    if target in (1, 10, 16):
        return array.astype(np.float32)
    return array.astype(np.float64 if target == 11 else np.int64)


def gather(call: Call) -> Array:
    """Take some of several sizes."""
    return np.asarray(np.take(_small(call, 0), _small(call, 1).astype(np.int64),
                              axis=call.attribute("axis", 0)))  # fmt: skip


def concat(call: Call) -> Array:
    """Sizes one after the other."""
    arrays = [_small(call, position) for position in range(len(call.values))]
    return np.concatenate(arrays, axis=call.attribute("axis", 0))


def slices(call: Call) -> Array:
    """Every step-th of several sizes."""
    array = _small(call, 0)
    starts, ends = call.setting("starts", 1), call.setting("ends", 2)
    axes = call.axes(3, array.ndim, range(len(starts))) or []
    steps = call.setting("steps", 4, [1] * len(starts))
    index: list[slice] = [slice(None)] * array.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        index[axis] = slice(start, None if step < 0 and end < -array.shape[axis] else end, step)
    return array[tuple(index)]


def unsqueeze(call: Call) -> Array:
    """Sizes with further axes of one entry."""
    array = _small(call, 0)
    axes = call.axes(1, array.ndim + len(np.atleast_1d(call.setting("axes", 1))), None)
    return np.expand_dims(array, tuple(axes or ()))


def squeeze(call: Call) -> Array:
    """Sizes without axes of one entry."""
    array = _small(call, 0)
    axes = call.axes(1, array.ndim, None)
    return np.squeeze(array, None if axes is None else tuple(axes))


def reshape(call: Call) -> Array:
    """Sizes in another arrangement."""
    return _small(call, 0).reshape([int(size) for size in call.setting("shape", 1)])


def transpose(call: Call) -> Array:
    """Sizes with their axes in another order."""
    return np.transpose(_small(call, 0), call.attribute("perm"))


def product(call: Call) -> Array:
    """Product of sizes."""
    array = _small(call, 0)
    axes = call.axes(1, array.ndim, None)
    return np.asarray(
        np.multiply.reduce(
            array,
            None if axes is None else tuple(axes),
            keepdims=bool(call.attribute("keepdims", 1)),
        )
    )


def floor(call: Call) -> Array:
    """Floor of sizes."""
    return _rounded(call, np.floor)


def ceil(call: Call) -> Array:
    """Ceiling of sizes."""
    return _rounded(call, np.ceil)


def _rounded(call: Call, function: Callable[[Array], Array]) -> Array:
    array = _small(call, 0)
    if array.dtype != object:
        return function(array)
    if any(isinstance(item, float | torch.SymFloat) for item in array.ravel()):
        call.refuse("it rounds a size that is computed from the image", "use whole ratios")
    return array


def identity(call: Call) -> Array:
    """Return what it reads."""
    return call.known(0)


def arange(call: Call) -> Array:
    """Numbers from a start to a limit."""
    start, limit, delta = (call.known(position).item() for position in range(3))
    if not delta or not abs((limit - start) / delta) < MAX_STATIC:
        call.refuse("it counts too far", "make it a constant")
    return np.arange(start, limit, delta)


def _small(call: Call, position: int) -> Array:
    array = call.known(position)
    if array.size > MAX_STATIC:
        call.refuse(f"it computes {array.size} numbers", "store the result as a constant")
    return array


SIZES: Final[dict[str, Translator]] = {
    "Add": _arithmetic(np.add),
    "Sub": _arithmetic(np.subtract),
    "Mul": _arithmetic(np.multiply),
    "Div": _arithmetic(_divided),
    "Cast": cast,
    "Ceil": ceil,
    "Concat": concat,
    "Floor": floor,
    "Gather": gather,
    "Identity": identity,
    "Mod": _arithmetic(np.mod),
    "Range": arange,
    "ReduceProd": product,
    "Reshape": reshape,
    "Slice": slices,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
"""Operations on what is known without the image, by name."""
