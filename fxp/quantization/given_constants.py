"""Integers of constants whose values are known exactly: no format is chosen, it follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.formats import Format
from fxp.frontend.derivation import Derivation, Parameter, evaluate
from fxp.frontend.onnx.quantizers import Declared
from fxp.graph import Constant

MOST_BITS = 16
"""Bits of a constant whose format the file does not give; numbers of training need more."""


@dataclass(frozen=True)
class Raw:
    """Integers of a constant.

    Attributes
    ----------
    data
        int64.
    formats
        One, or one for each index of the first axis.
    exact
        Whether they stand for the very values.
    """

    data: NDArray[np.int64]
    formats: tuple[Format, ...]
    exact: bool = True


def needed_frac(values: NDArray[np.float64]) -> int:
    """Return the fewest fraction bits with which all values are integers; at least those of 0."""
    values = values[values != 0]
    if values.size == 0:
        return 0
    mantissas, exponents = np.frexp(values)
    integers = np.abs(np.ldexp(mantissas, 53)).astype(np.int64)
    zeros = np.frexp((integers & -integers).astype(np.float64))[1] - 1
    return int((53 - exponents - zeros).max())


def integers_of(values: NDArray[np.float64], frac: int | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return values in steps, as whole numbers where they are."""
    return np.ldexp(values, frac)


def are_whole(steps: NDArray[np.float64]) -> bool:
    """Whether all are integers of at most 62 bits."""
    return bool((steps == np.rint(steps)).all() and (np.abs(steps) < 2.0**62).all())


def declared_of(
    constant: Constant, declared: Mapping[str, Declared]
) -> tuple[Declared, NDArray[np.int64]] | None:
    """Return what the file declares of the tensor that a constant holds, in the constant's order.

    Parameters
    ----------
    constant
        Of a float graph.
    declared
        By key of the state dict.
    """
    key = key_of(constant)
    if key is None or (found := declared.get(key)) is None:
        return None
    tensors = {key: torch.from_numpy(found.fracs.astype(np.float64))}
    try:
        fracs = evaluate(constant.derivation, tensors, torch.device("cpu"))
    except (RuntimeError, ValueError, IndexError):
        return None
    if tuple(fracs.shape) != constant.data.shape:
        return None
    return found, np.rint(fracs.numpy()).astype(np.int64)


def key_of(constant: Constant) -> str | None:
    """Key of the state dict that alone a constant follows from, None if there is no such."""
    keys = _keys(constant.derivation)
    return next(iter(keys)) if len(keys) == 1 else None


def _keys(source: object) -> set[str]:
    if isinstance(source, Parameter):
        return {source.key}
    if isinstance(source, Derivation):
        parts = [*source.arguments, *source.named.values()]
        return set[str]().union(*map(_keys, parts))
    if isinstance(source, list | tuple):
        return set[str]().union(*map(_keys, source))
    return set()


def raw_of(
    values: NDArray[np.float64],
    given: tuple[Declared, NDArray[np.int64]] | None,
    per_channel: bool,
) -> Raw | None:
    """Return integers that stand for the very values, None where they need too many bits.

    Parameters
    ----------
    values
        float64.
    given
        What the file declares.
    per_channel
        Whether each index of the first axis may have a format of its own.
    """
    if given is not None:
        found, fracs = given
        rows = fracs.reshape(len(fracs), -1)
        uniform = bool((fracs == fracs.flat[0]).all())
        uniform = uniform and not (per_channel and found.several)
        if uniform or (per_channel and bool((rows == rows[:, :1]).all())):
            steps = np.ldexp(values, fracs)
            if are_whole(steps):
                whole = rows[:1, 0] if uniform else rows[:, 0]
                formats = tuple(Format(found.width, int(frac), found.signed) for frac in whole)
                low, high = formats[0].min_raw, formats[0].max_raw
                if steps.min() >= low and steps.max() <= high:
                    return Raw(steps.astype(np.int64), formats)
    rows = values.reshape(len(values), -1) if per_channel else values.reshape(1, -1)
    fracs_of_rows = [needed_frac(row) for row in rows]
    view = np.array(fracs_of_rows).reshape((-1,) + (1,) * (values.ndim - 1))
    steps = np.ldexp(values, view)
    most = 24 if given is not None else MOST_BITS
    if not (np.abs(steps) <= 2.0**most).all():
        return None
    return _in_formats(steps.astype(np.int64), fracs_of_rows)


def rounded(values: NDArray[np.float64], per_channel: bool) -> Raw:
    """Return the nearest integers of `MOST_BITS` bits.

    Parameters
    ----------
    values
        float64.
    per_channel
        Whether each index of the first axis has a format of its own.
    """
    rows = values.reshape(len(values), -1) if per_channel else values.reshape(1, -1)
    largest = np.abs(rows).max(axis=1)
    exponents = np.where(largest > 0, np.frexp(largest)[1], 0)
    fracs = [MOST_BITS - 2 - int(exponent) for exponent in exponents]
    view = np.array(fracs).reshape((-1,) + (1,) * (values.ndim - 1))
    made = _in_formats(np.rint(np.ldexp(values, view)).astype(np.int64), fracs)
    return Raw(made.data, made.formats, exact=False)


def _in_formats(integers: NDArray[np.int64], fracs: list[int]) -> Raw:
    width = Format.for_range(min(int(integers.min()), -1), max(int(integers.max()), 0), 0).width
    fracs = fracs[:1] if len(set(fracs)) == 1 else fracs
    return Raw(integers, tuple(Format(width, frac) for frac in fracs))
