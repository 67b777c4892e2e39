"""Register-tile multiply-accumulate of quads of bytes: four products a lane.

As `fxp.kernels.pair_mac`, for inputs and weights of 8 bits: ``acc += x0*w0 + x1*w1 + x2*w2 +
x3*w3`` in int32 that wraps, the sum of four products in full. Weights are signed. Inputs are stored
less a constant, so that they begin at `FIRST_BYTE`: processors multiply unsigned by signed
bytes (``vpdpbusd``), or only signed ones (``sdot``). The start of the sums makes up for it.

The instruction is named where the processor has one. Elsewhere the IR says the same in vectors of
int32, which is exact but slower than pairs of int16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from zlib import crc32

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types

from fxp.kernels.compiler import I8, I32, code_generator, literals
from fxp.kernels.pair_mac import FINGERPRINT as PAIR_FINGERPRINT
from fxp.kernels.pair_mac import emit_dense_tile

FINGERPRINT: Final = PAIR_FINGERPRINT ^ crc32(Path(__file__).read_bytes())
"""Of the code generators, as `fxp.kernels.pair_mac.FINGERPRINT`."""


def _is_arm() -> bool:
    return llvm.get_process_triple().startswith(("aarch64", "arm64"))


def quad_instruction(lanes: int) -> str | None:
    """Name the instruction that multiplies four bytes and accumulates, for so many int32 lanes.

    None if this processor has none.
    """
    features = llvm.get_host_cpu_features()
    if _is_arm():
        return "sdot" if features.get("dotprod") and lanes == 4 else None
    if features.get("avx512vnni") and (lanes == 16 or features.get("avx512vl")):
        return "vpdpbusd"
    if features.get("avxvnni") and lanes in (4, 8):
        return "{vex} vpdpbusd"
    return None


FIRST_BYTE: Final = -128 if quad_instruction(4) == "sdot" else 0
"""Smallest stored input; the largest is 255 more."""


def add_quads(builder: ir.IRBuilder, total: Any, left: Any, right: Any) -> Any:
    """``total[i] + left[4i]*right[4i] + ... + left[4i+3]*right[4i+3]`` in wrapping int32.

    Parameters
    ----------
    builder
        Writes the code.
    total
        Vector of int32 sums.
    left
        Vector of bytes with four times as many elements, from `FIRST_BYTE` on.
    right
        The same of int8.
    """
    sums = total.type
    lanes = sums.count
    instruction = quad_instruction(lanes)
    if instruction == "sdot":
        kind = ir.FunctionType(sums, [sums, left.type, right.type])
        name = "llvm.aarch64.neon.sdot.v4i32.v16i8"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        return builder.call(function, [total, left, right])
    if instruction is not None:
        # The form that does not saturate: vpdpbusds does.
        kind = ir.FunctionType(sums, [sums, sums, sums])
        code = ir.InlineAsm(kind, f"{instruction} $3, $2, $0", "=v,0,v,v", side_effect=False)
        return builder.call(
            code, [total, builder.bitcast(left, sums), builder.bitcast(right, sums)]
        )
    wide = ir.VectorType(I32, 4 * lanes)
    inputs = builder.sext(left, wide) if FIRST_BYTE < 0 else builder.zext(left, wide)
    product = builder.mul(inputs, builder.sext(right, wide))
    for first in range(4):
        order = ir.Constant(ir.VectorType(I32, lanes), [4 * i + first for i in range(lanes)])
        total = builder.add(total, builder.shuffle_vector(product, product, order))
    return total


@code_generator
def quad_tile(typingctx, output, output_step, image, image_step, taps, rule, other, form):  # type: ignore[no-untyped-def]
    """Accumulate one tile of ``pixels × (vectors * lanes)`` outputs of bytes and store it.

    Parameters
    ----------
    output, output_step, rule, other
        As in `fxp.kernels.pair_mac.dense_tile`.
    image, image_step
        Address of bytes, and bytes from one pixel of the tile to the next.
    taps
        As in `dense_tile`, with quads of bytes: ``(runs, run_count, quads, weights, start)``.
    form
        Literals ``(pixels, vectors, lanes, stored, factor, FINGERPRINT)``, as in `dense_tile`.

    Returns
    -------
    int
        How many results overflowed; 0 if not counted.
    """
    values = literals(form)
    if values is None:
        return None
    signature = types.int64(output, output_step, image, image_step, taps, rule, other, form)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return emit_dense_tile(builder, arguments, values[:5], I8, add_quads)

    return signature, codegen
