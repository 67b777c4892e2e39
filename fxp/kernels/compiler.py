"""Numba's tools under types that say what they give; what every code generator here shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numba
from llvmlite import ir
from numba import types
from numba.core.ccallback import CFunc
from numba.core.sigutils import normalize_signature
from numba.extending import intrinsic

from fxp.kernels.kernel_cache import kernel_cache

carray: Final[Any] = numba.carray  # type: ignore[reportPrivateImportUsage]
"""View of memory as an array, in compiled code."""

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


def njit(*, cache: bool, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make a decorator that compiles a function for each signature it is called with.

    Parameters
    ----------
    cache
        Whether to keep the compiled code on disk; see `fxp.kernels.kernel_cache`.
    options
        As for `numba.njit`.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher: Any = numba.njit(**options)(function)
        kept = kernel_cache(function) if cache else None
        if kept is not None:
            dispatcher._cache = kept
        return dispatcher

    return compiled


def cfunc(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make a decorator that compiles a function as a C function, or finds it on disk."""

    def compiled(function: Callable[..., Any]) -> Any:
        made: Any = CFunc(function, normalize_signature(signature), {}, {})
        kept = kernel_cache(function)
        if kept is not None:
            made._cache = kept
        made.compile()
        return made

    return compiled


def code_generator(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that returns a signature and a generator of IR callable in compiled code.

    Arguments that are literals reach it as literal types.
    """
    return intrinsic(prefer_literal=True)(function)  # type: ignore[operator, return-value]


def literals(form: Any) -> list[int] | None:
    """Values of a tuple of literal integers, or of one; None if they are not literals."""
    kinds = form.types if isinstance(form, types.BaseTuple) else [form]  # type: ignore[attr-defined]
    values = [getattr(kind, "literal_value", None) for kind in kinds]
    return None if None in values else values  # type: ignore[return-value]


def address(builder: ir.IRBuilder, base: Any, offset: Any, pointee: ir.Type) -> Any:
    """Pointer `offset` elements of `pointee` behind the address `base`.

    Parameters
    ----------
    builder
        Writes the code.
    base
        An int64 value.
    offset
        Elements, an integer value.
    pointee
        Type of an element.
    """
    return builder.gep(builder.inttoptr(base, pointee.as_pointer()), [offset])


def load(builder: ir.IRBuilder, pointer: Any, kind: ir.Type, align: int) -> Any:
    """Load a scalar or vector from a pointer to its elements.

    Parameters
    ----------
    builder
        Writes the code.
    pointer
        Pointer to the first element.
    kind
        Type to load.
    align
        Bytes that the address is a multiple of.
    """
    value: Any = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    value.align = align
    return value


def store(builder: ir.IRBuilder, value: Any, pointer: Any, align: int) -> None:
    """Store a scalar or vector at a pointer to its elements.

    Parameters
    ----------
    builder
        Writes the code.
    value
        Scalar or vector.
    pointer
        Pointer to the first element.
    align
        Bytes that the address is a multiple of.
    """
    instruction: Any = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()))
    instruction.align = align


def splat(builder: ir.IRBuilder, scalar: Any, lanes: int) -> Any:
    """Vector of one scalar.

    Parameters
    ----------
    builder
        Writes the code.
    scalar
        The value.
    lanes
        Elements of the vector.
    """
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(undefined, scalar, I32(0))
    zeros = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
    return builder.shuffle_vector(single, undefined, zeros)


def loop(
    builder: ir.IRBuilder,
    count: Any,
    carried: list[Any],
    body: Callable[[Any, list[Any]], list[Any]],
) -> list[Any]:
    """``for index in range(count)`` with values carried in registers; count must be at least 1.

    Parameters
    ----------
    builder
        Writes the code.
    count
        Number of turns.
    carried
        Values before the first turn.
    body
        Called once with the index and the carried values; returns the next ones.
    """
    before = builder.block
    head = builder.append_basic_block("loop")
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(I64)
    index.add_incoming(I64(0), before)
    phis = []
    for value in carried:
        phi = builder.phi(value.type)
        phi.add_incoming(value, before)
        phis.append(phi)
    results = body(index, list(phis))
    following = builder.add(index, I64(1))
    last = builder.block
    after = builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", following, count), head, after)
    index.add_incoming(following, last)
    for phi, result in zip(phis, results, strict=True):
        phi.add_incoming(result, last)
    builder.position_at_end(after)
    return results
